"""What a registered version says of itself, and what has to hold before it counts as verified."""

import pytest

from components import evaluate, gate, register
from components.adapters.model_registry import CARD, CARD_TAG, VERIFIED_TAG
from components.contracts.errors import IntegrityError
from components.contracts.findings import Fairness, Interval
from components.register import RegisterConfig
from components.reports.card import measured, model_card
from tests.line import SHORT, packaged, table_recipe, write_table

SAID = {"use": "sorting toys", "limits": "toys without a colour"}
ORIGIN = {"description": "A toy | table.", "recipe": "toy.yaml", "run": "r1", "git_commit": "abc"}


@pytest.fixture(scope="module")
def approved(shared_ctx, tmp_path_factory):
    recipe = table_recipe(write_table(tmp_path_factory.mktemp("card") / "table"))
    dataset, model = packaged(recipe, shared_ctx)
    config = SHORT.model_copy(update={"slices": ("c",), "robustness": True})
    report = evaluate.run(config, model, dataset, None, ctx=shared_ctx)
    return gate.run(recipe.gate, report), model, dataset


def card(ctx, name, version, folder):
    return (ctx.tracker.download(name, version, folder) / CARD).read_text()


def test_a_version_has_a_card_with_what_is_said_and_what_was_measured(approved, shared_ctx, tmp_path, monkeypatch):
    verdict, model, dataset = approved
    monkeypatch.setattr(shared_ctx, "origin", ORIGIN)
    config = RegisterConfig(name="carded", **SAID)
    assert register.run(config, verdict, model, ctx=shared_ctx).version == 1
    text = card(shared_ctx, "carded", "1", tmp_path)
    titles = [
        "Intended use",
        "Limits",
        "Data",
        "Model",
        "Metrics",
        "Where it does worse",
        "Environment",
        "Gate",
        "Lineage",
    ]
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == titles
    accuracy = verdict.report.metrics["accuracy"]
    assert f"| accuracy | {accuracy.value:.4f} | {accuracy.low:.4f} – {accuracy.high:.4f} |" in text
    rows = ", ".join(f"{dataset.rows[part]:,} {part}" for part in ("train", "validation", "test"))
    for said in (
        "A toy | table.",
        *SAID.values(),
        rows,
        f"dataset: `{dataset.content}`",
        "git commit: `abc`",
        "`torch==",
    ):
        assert said in text
    assert "| c = " in text
    tags = shared_ctx.tracker.version_tags("carded", "1")
    assert float(tags["test_accuracy"]) == pytest.approx(accuracy.value, rel=1e-5)
    assert tags["millrace.dataset"] == dataset.content
    assert (tags["millrace.git_commit"], tags["millrace.recipe"], tags[VERIFIED_TAG]) == ("abc", "toy.yaml", "true")
    described = shared_ctx.tracker.client.get_model_version("carded", "1").description
    assert described == f"A toy | table.\n\n- {verdict.checks[0]}"


def test_a_card_is_written_again_when_what_it_says_changes_and_not_for_another_run(
    approved, shared_ctx, tmp_path, monkeypatch
):
    verdict, model, _ = approved
    config, client = RegisterConfig(name="again", **SAID), shared_ctx.tracker.client

    def registered(config, **origin):
        monkeypatch.setattr(shared_ctx, "origin", ORIGIN | origin)
        assert register.run(config, verdict, model, ctx=shared_ctx).version == 1
        return shared_ctx.outcomes[-1].why

    assert "version 1 registered" in registered(config)
    client.delete_model_version_tag("again", "1", CARD_TAG)
    assert registered(config) == "described", "a run that was killed before it had said all"
    assert "as they should be" in registered(config, run="r2", git_commit="def")
    assert registered(config.model_copy(update={"use": "sorting bricks"}), run="r3") == "described"
    text = card(shared_ctx, "again", "1", tmp_path)
    assert "sorting bricks" in text
    assert "run: `r3`" in text


def test_a_version_that_does_not_answer_as_it_did_is_not_verified(approved, shared_ctx, monkeypatch):
    """What comes back of the registry is asked once more, whole as it may be."""
    verdict, model, _ = approved

    def other(folder, own=(), place=""):
        assert (folder / "MLmodel").exists()
        raise IntegrityError("E_SMOKE", "it says something else", place=place, action="")

    config = RegisterConfig(name="unproved")
    monkeypatch.setattr(register, "smoke", other)
    with pytest.raises(IntegrityError, match="E_SMOKE unproved version 1"):
        register.run(config, verdict, model, ctx=shared_ctx)
    assert VERIFIED_TAG not in shared_ctx.tracker.version_tags("unproved", "1")
    assert shared_ctx.tracker.aliased("unproved", "challenger") == ""
    assert register.champion_pointer(shared_ctx, "unproved").read() is None
    monkeypatch.undo()
    assert register.run(config, verdict, model, ctx=shared_ctx).version == 1
    assert shared_ctx.tracker.version_tags("unproved", "1")[VERIFIED_TAG] == "true"


def test_a_card_has_groups_and_its_tables_hold_whatever_data_say(approved):
    verdict, _, dataset = approved
    group = {
        "rows": 40.0,
        "selection_rate": 0.5,
        "true_positive_rate": 0.6,
        "false_positive_rate": 0.1,
        "accuracy": 0.8,
    }
    fair = Fairness(
        column="sex",
        positive="rich",
        least_rows=30,
        groups={"sex = a|b\n<i>": group},
        differences={"demographic_parity_difference": Interval(value=0.2, low=0.1, high=0.3)},
    )
    report = verdict.report.model_copy(update={"fairness": (fair,), "harmed": {}, "searched": 0})
    model = {
        "model": {"kind": "mlp"},
        "objective": {"kind": "classification"},
        "features": [{"config": {"kind": "number", "name": "n"}}],
    }
    body = measured(report, dataset, model, ["torch==2"])
    assert "| sex = a\\|b &lt;i> | 40 | 0.5000 | 0.6000 | 0.1000 | 0.8000 |" in body
    assert "- demographic parity difference: 0.2000 (0.1000 – 0.3000)" in body
    assert "- it was not looked for" in body
    whole = model_card("n", "", "", origin={}, body=body, checks=(), content="c")
    assert "`register.use` in the recipe says it" in whole
