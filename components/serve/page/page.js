"use strict";
// The form is made of the server's OpenAPI document; the answer and its reasons come from /explain. All text from the
// server goes in as text, never as markup.

const SHOWN = 12;
let token = "";
let models = {};
let chosen = "";
const files = {};

const one = (id) => document.getElementById(id);

function made(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") element.className = value;
    else if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

function ask(path, options = {}) {
  const headers = { ...(options.headers || {}) };
  if (token) headers.authorization = `Bearer ${token}`;
  return fetch(path, { ...options, headers });
}

async function open() {
  const answer = await ask("/openapi.json");
  one("token-form").hidden = answer.status !== 401;
  if (answer.status === 401) {
    one("about").textContent = token ? "That token is not the server's." : "";
    return;
  }
  const document_ = await answer.json();
  models = {};
  for (const [path, said] of Object.entries(document_.paths)) {
    if (!path.endsWith("/invocations")) continue;
    const content = said.post.requestBody.content["application/json"];
    const row = document_.components.schemas[said.post["x-row"]];
    const { columns, data } = content.example.dataframe_split;
    const example = Object.fromEntries(columns.map((name, at) => [name, data[0][at]]));
    models[path.replace(/invocations$/, "explain")] = { row, example, title: said.post.summary.replace("Answers of ", "") };
  }
  const paths = Object.keys(models);
  one("model").replaceChildren(...paths.map((path) => made("option", { value: path }, models[path].title)));
  one("model-line").hidden = paths.length < 2;
  document.querySelector("main").hidden = false;
  choose(paths[0]);
}

function choose(path) {
  chosen = path;
  for (const name of Object.keys(files)) delete files[name];
  const { row, example, title } = models[path];
  one("about").textContent = `${title}: the form is filled with a row of its training data.`;
  const fields = Object.entries(row.properties).map(([name, schema]) => field(name, schema, example[name]));
  const buttons = made("div", { class: "wide" }, made("button", {}, "Answer"));
  one("row").replaceChildren(...fields, buttons);
  one("result").replaceChildren();
}

// A cell may be missing where the schema is one of several of which one is null.
const kind = (schema) => (schema.anyOf ? schema.anyOf[0] : schema);
const mayMiss = (schema) => Boolean(schema.anyOf);

function field(name, schema, value) {
  const said = kind(schema);
  const label = `${name}${mayMiss(schema) ? " (may be empty)" : ""}`;
  if (said.contentEncoding) return drop(name, label, said, value);
  const id = `cell ${name}`;
  let input;
  let wide = false;
  if (said.type === "boolean") {
    const options = [["true", "true"], ["false", "false"], ...(mayMiss(schema) ? [["", "missing"]] : [])];
    input = made("select", {}, ...options.map(([key, text]) => made("option", { value: key }, text)));
    input.value = value === null || value === undefined ? "" : String(value);
  } else if (said.type === "array" || (said.type === "string" && String(value || "").length > 60)) {
    input = made("textarea", { value: said.type === "array" ? JSON.stringify(value) : value || "" });
    wide = true;
  } else {
    const number = said.type === "number" || said.type === "integer";
    input = made("input", { type: number ? "number" : said.format === "date" ? "date" : "text" });
    if (number) input.step = said.type === "integer" ? "1" : "any";
    input.value = value === null || value === undefined ? "" : said.format === "date" ? String(value).slice(0, 10) : value;
  }
  input.id = id;
  input.dataset.column = name;
  return made("div", wide ? { class: "wide" } : {}, made("label", { htmlFor: id }, label), input);
}

function drop(name, label, said, value) {
  const picture = made("img", { alt: "", hidden: true });
  const heard = made("div", { class: "dim" }, "Drop a file here, or choose one");
  const input = made("input", { type: "file", id: `cell ${name}` });
  input.accept = said.contentMediaType || "";
  const show = (file) => {
    files[name] = file;
    heard.textContent = file.name ? `${file.name}, ${file.size.toLocaleString("en")} bytes` : "the example's file";
    picture.hidden = !(said.contentMediaType || "").startsWith("image");
    if (!picture.hidden) picture.src = URL.createObjectURL(file);
  };
  if (value) {
    const bytes = Uint8Array.from(atob(value), (letter) => letter.charCodeAt(0));
    show(new Blob([bytes]));
  }
  input.addEventListener("change", () => input.files[0] && show(input.files[0]));
  const zone = made("div", { class: "drop wide" }, made("label", { htmlFor: input.id }, label), picture, heard, input);
  zone.addEventListener("dragover", (event) => { event.preventDefault(); zone.classList.add("over"); });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    if (event.dataTransfer.files[0]) show(event.dataTransfer.files[0]);
  });
  return zone;
}

async function body() {
  const { row } = models[chosen];
  const cells = {};
  for (const input of one("row").querySelectorAll("[data-column]")) {
    const name = input.dataset.column;
    const said = kind(row.properties[name]);
    if (input.value === "" && (said.type !== "string" || mayMiss(row.properties[name]))) cells[name] = null;
    else if (said.type === "boolean") cells[name] = input.value === "true";
    else if (said.type === "number" || said.type === "integer") cells[name] = Number(input.value);
    else if (said.type === "array") cells[name] = JSON.parse(input.value);
    else cells[name] = input.value;
  }
  for (const [name, file] of Object.entries(files)) cells[name] = await base64(file);
  return JSON.stringify({ dataframe_records: [cells] });
}

function base64(file) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => failed(reader.error);
    reader.readAsDataURL(file);
  });
}

async function answer(event) {
  event.preventDefault();
  const button = one("row").querySelector("button");
  button.disabled = true;
  one("result").replaceChildren(made("p", { class: "dim" }, "Asking…"));
  try {
    const sent = await ask(chosen, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: await body(),
    });
    const said = await sent.json();
    if (sent.ok) show(said, sent.headers.get("x-model-version"));
    else refuse(`${said.message} (${said.error_code})`);
  } catch (error) {
    refuse(error instanceof SyntaxError ? `a list is no JSON: ${error.message}` : `the server does not answer: ${error.message}`);
  } finally {
    button.disabled = false;
  }
}

function refuse(text) {
  one("result").replaceChildren(made("p", { class: "wrong", role: "alert" }, text));
}

function show({ answer: given, classes, explanation, why_not: whyNot }, version) {
  const { prediction, probabilities, ...rest } = given;
  const list = Array.isArray(prediction);
  const parts = [
    made("div", { class: "dim" }, `Version ${version} says`),
    made("div", { class: "answer" }, list ? numbers(prediction) : typeof prediction === "number" ? short(prediction) : String(prediction)),
  ];
  if (probabilities && classes.length === probabilities.length) {
    const order = probabilities.map((value, at) => [classes[at], value]).sort((a, b) => b[1] - a[1]);
    parts.push(made("h2", {}, "How sure it is"), bars(order.slice(0, SHOWN), (value) => `${(100 * value).toFixed(1)} %`, 1));
  } else {
    const lines = Object.entries(rest).filter(([, value]) => value !== null);
    if (lines.length) {
      const cells = lines.map(([name, value]) =>
        made("tr", {}, made("td", {}, name), made("td", { class: "number" }, Array.isArray(value) ? numbers(value) : String(value))));
      parts.push(made("table", {}, ...cells));
    }
  }
  if (explanation) parts.push(...reasons(explanation));
  else parts.push(made("p", { class: "dim" }, `Why it says so is not told: ${whyNot}.`));
  one("result").replaceChildren(...parts);
}

const short = (value) => (Number.isInteger(value) ? String(value) : Number(value.toPrecision(5)).toString());
const numbers = (values) => values.slice(0, SHOWN).map((one_) => (typeof one_ === "number" ? short(one_) : String(one_))).join(", ")
  + (values.length > SHOWN ? ", …" : "");

function reasons({ towards, columns, words, pictures }) {
  const colours = columns.length || words.length ? `Green speaks ${towards}, red against.` : "";
  const points = pictures.length ? "In pictures red points speak for what is predicted, blue ones against." : "";
  const parts = [made("h2", {}, "Why"), made("p", { class: "dim" }, `${colours} ${points}`)];
  if (columns.length) {
    const most = Math.max(...columns.map((cell) => Math.abs(cell.weight))) || 1;
    const lines = columns.slice(0, SHOWN).map((cell) => [`${cell.name} = ${cell.value}`, cell.weight]);
    parts.push(bars(lines, (value) => `${value > 0 ? "+" : ""}${value.toFixed(2)}`, most));
    if (columns.length > SHOWN) parts.push(made("p", { class: "dim" }, `and ${columns.length - SHOWN} columns that count less`));
  }
  for (const text of words) {
    const most = Math.max(...text.words.map(([, weight]) => Math.abs(weight)), 1e-9);
    const spans = text.words.flatMap(([word, weight]) => {
      const share = Math.abs(weight) / most;
      const strength = share > 0.5 ? " strong" : "";
      const tone = share < 0.1 ? "" : (weight > 0 ? "for" : "against") + strength;
      return [made("span", { class: tone, title: weight.toFixed(4) }, word), " "];
    });
    parts.push(made("div", { class: "words" }, ...spans));
  }
  if (pictures.length) {
    const figures = pictures.map(({ name, source }) =>
      made("figure", {}, made("img", { src: source, alt: name }), made("figcaption", { class: "dim" }, name)));
    parts.push(made("div", { class: "maps" }, ...figures));
  }
  return parts;
}

function bars(lines, text, most) {
  const rows = lines.map(([name, value]) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    bar.setAttribute("width", `${(100 * Math.abs(value)) / most}%`);
    bar.setAttribute("height", "100%");
    bar.setAttribute("rx", "2");
    bar.setAttribute("class", value < 0 ? "against" : "for");
    svg.append(bar);
    return made("tr", {}, made("td", {}, name), made("td", { class: "bar" }, svg), made("td", { class: "number" }, text(value)));
  });
  return made("table", {}, ...rows);
}

one("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = one("token").value;
  open();
});
one("model").addEventListener("change", (event) => choose(event.target.value));
one("row").addEventListener("submit", answer);
open().catch((error) => { one("about").textContent = `The server does not answer: ${error.message}`; });
