"""G22, G23: rows answered over HTTP, beside MLflow's server, LitServe and a bare app; and with batches or without."""

import base64
import contextlib
import json
import sys
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from components.exports.graph import write_onnx
from components.features.number import Number
from components.models.cnn import Cnn, Conv, Dense, Pool
from components.models.mlp import Mlp
from components.packages import open_package
from components.raw_rows import folder_of
from components.sources.files import FilesSource
from components.train import TrainSettings
from components.validate import ValidateConfig
from tests.benchmarks.measure import compared
from tests.benchmarks.peers import environment
from tests.benchmarks.servers import Server, free, ours
from tests.line import image_recipe, png, registered, table_recipe, write_images
from tests.serve.conftest import Line

COLUMNS, CLASSES, HIDDEN = 64, 10, (128, 128)
ROUNDS, CLIENTS, MANY = 7, 16, 64
MUST = {"mlflow": (4.0, 10.0), "litserve": (1.0, 1.3), "bare": (0.8, 0.95)}


def wide(folder, rows=4000):
    """A table of numbers and the class of each row."""
    draw = np.random.default_rng(0)
    cells = draw.normal(3, 2, (rows, COLUMNS))
    labels = (cells[:, : 4 * CLASSES] @ draw.normal(size=(4 * CLASSES, CLASSES))).argmax(1)
    columns = {f"x{at}": cells[:, at] for at in range(COLUMNS)}
    folder.mkdir()
    pq.write_table(pa.table({**columns, "label": labels}), folder / "rows.parquet")
    return cells


def wide_recipe(folder):
    return table_recipe(
        folder,
        source=FilesSource(uri=str(folder)),
        checks=ValidateConfig(),
        cleaning=(),
        features=(Number(columns=tuple(f"x{at}" for at in range(COLUMNS))),),
        model=Mlp(hidden=HIDDEN),
        settings=TrainSettings(max_epochs=2),
    )


def layers(predictor):
    """The network's weights and biases, the standardising of its inputs in the first."""
    found = list(predictor.network.state_dict().values())
    state = predictor.fitted[0].state
    mean, scale = (torch.tensor(state[name], dtype=torch.float64) for name in ("mean", "scale"))
    pairs = [(weight.double(), bias.double()) for weight, bias in zip(found[::2], found[1::2], strict=True)]
    weight, bias = pairs[0]
    pairs[0] = weight / scale, bias - weight @ (mean / scale)
    return [(weight.float(), bias.float()) for weight, bias in pairs]


def sequential(pairs):
    made = []
    for weight, bias in pairs:
        made += [torch.nn.Linear(weight.shape[1], weight.shape[0]), torch.nn.ReLU()]
        made[-2].load_state_dict({"weight": weight, "bias": bias})
    return torch.nn.Sequential(*made[:-1]).eval()


@cache
def tables():
    """Turns of every server of the table, by its name."""
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        folder = Path(scratch)
        cells = wide(folder / "rows")
        line = Line.__new__(Line)
        line.home = folder
        ctx = line.context("bench")
        package, _, _ = registered(wide_recipe(folder / "rows"), ctx, "wide")
        predictor = open_package(folder_of(package, ctx.store))
        names = [f"x{at}" for at in range(COLUMNS)]
        rows = pa.table({name: cells[:8, at] for at, name in enumerate(names)})
        write_onnx(predictor, predictor.cleaned(rows), folder / "model.onnx")
        pairs = layers(predictor)
        torch.save(pairs, folder / "net.pt")
        _mlflow(sequential(pairs), cells, names, folder / "mlflow")
        body = folder / "body.json"
        body.write_text(json.dumps({"dataframe_split": {"columns": names, "data": [cells[0].tolist()]}}))
        python = environment("serving")
        script, lit = (str(Path(__file__).with_name(f"serving_{name}.py")) for name in ("peers", "litserve"))
        ports = [free() for _ in range(4)]
        served = [
            sys.executable,
            "-m",
            "mlflow",
            "models",
            "serve",
            "-m",
            str(folder / "mlflow"),
            "--env-manager",
            "local",
        ]
        servers = {
            "onnx": ours(folder / "home", "wide", "engine=onnx"),
            "torch": ours(folder / "home", "wide"),
            "bare": Server([python, script, str(folder), str(ports[0])], ports[0]),
            "litserve": Server([python, lit, str(folder), str(ports[1]), "1"], ports[1]),
            "litserve in batches": Server([python, lit, str(folder), str(ports[2]), "16"], ports[2]),
            "mlflow": Server([*served, "-p", str(ports[3])], ports[3]),
        }
        for one in servers.values():
            stack.callback(one.end)
        wanted = predictor.predict(rows.slice(0, 1)).table().to_pylist()[0]["probabilities"]
        for name, one in servers.items():
            said = one.wait(body.read_bytes())
            found = said["probabilities"] if isinstance(said, dict) and "probabilities" in said else _shares(said)
            np.testing.assert_allclose(found, wanted, atol=1e-4, err_msg=name)
            one.turn(body, CLIENTS, 1.0)
        found = {name: [] for name in servers}
        for _ in range(ROUNDS):
            for name, one in servers.items():
                found[name].append(one.turn(body, CLIENTS))
        return found


def _shares(said):
    """MLflow tells the logits, by their columns."""
    logits = np.array([float(one) for one in (said.values() if isinstance(said, dict) else said)])
    raised = np.exp(logits - logits.max())
    return raised / raised.sum()


def _mlflow(net, cells, names, path):
    import mlflow
    import pandas as pd
    from mlflow.models import infer_signature

    frame = pd.DataFrame(cells[:4], columns=names)
    with torch.inference_mode():
        logits = net(torch.tensor(cells[:4], dtype=torch.float32)).numpy()
    signature = infer_signature(frame, pd.DataFrame(logits))
    mlflow.pytorch.save_model(net, str(path), signature=signature, serialization_format="pickle")


def against(peer):
    """Requests a second of ours, by ONNX Runtime, over the peer's."""

    def measure():
        turns = tables()
        rate = {name: [one["rate"] for one in each] for name, each in turns.items()}
        name = peer
        if peer == "litserve" and np.median(rate["litserve in batches"]) > np.median(rate["litserve"]):
            name = "litserve in batches"
        must, stretch = MUST[peer]
        medians = {one: round(float(np.median(values)), 1) for one, values in rate.items()}
        return compared(
            list(zip(rate["onnx"], rate[name], strict=True)),
            goal="G22", case=f"{CLIENTS} clients, one row of {COLUMNS} numbers, requests a second", peer=name,
            must=must, stretch=stretch, better="higher", checksum=json.dumps(medians),
        )  # fmt: skip

    return measure


def latency():
    """The slowest hundredth beside MLflow's."""
    turns = tables()
    pairs = [(one["p99"], other["p99"]) for one, other in zip(turns["onnx"], turns["mlflow"], strict=True)]
    return compared(
        pairs, goal="G22", case=f"{CLIENTS} clients, one row of {COLUMNS} numbers, p99", peer="mlflow",
        must=0.4, stretch=0.2, better="lower", checksum="p99 in seconds",
    )  # fmt: skip


@cache
def pictures():
    """Turns of a server that answers together what waits, and of one that answers one by one."""
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        folder = Path(scratch)
        line = Line.__new__(Line)
        line.home = folder
        network = Cnn(layers=(Conv(channels=16), Pool(), Conv(channels=32), Pool(), Dense(units=64)))
        recipe = image_recipe(write_images(folder / "images"), model=network)
        registered(replace(recipe, features=(recipe.features[0].model_copy(update={"height": 16, "width": 16}),)),
                   line.context("bench"), "pictures")  # fmt: skip
        body = folder / "body.json"
        body.write_text(json.dumps({"dataframe_records": [{"image": base64.b64encode(png(30, 16)).decode()}]}))
        servers = {
            "together": ours(folder / "home", "pictures"),
            "alone": ours(folder / "home", "pictures", "batch_rows=1"),
        }
        for one in servers.values():
            stack.callback(one.end)
        for one in servers.values():
            one.wait(body.read_bytes())
            one.turn(body, MANY, 1.0)
        found = {(name, clients): [] for name in servers for clients in (MANY, 1)}
        for _ in range(ROUNDS):
            for (name, clients), turns in found.items():
                turns.append(servers[name].turn(body, clients))
        return found


def together():
    """Requests a second of batches over none."""
    turns = pictures()
    pairs = [
        (one["rate"], other["rate"]) for one, other in zip(turns["together", MANY], turns["alone", MANY], strict=True)
    ]
    return compared(
        pairs, goal="G23", case=f"{MANY} clients, a picture each, requests a second", peer="own server, one by one",
        must=2.5, stretch=5.0, better="higher", checksum="200 each",
    )  # fmt: skip


def alone():
    """What one client waits for, with batches over without."""
    turns = pictures()
    pairs = [(one["p50"], other["p50"]) for one, other in zip(turns["together", 1], turns["alone", 1], strict=True)]
    return compared(
        pairs, goal="G23", case="one client, a picture, p50", peer="own server, one by one",
        must=1.2, stretch=1.05, better="lower", checksum="200 each",
    )  # fmt: skip
