"""Language modelling: each token of a text from those before it."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.errors import ConfigError
from components.contracts.spec import ROW_WEIGHT, TensorSpec
from components.objectives.objective import Answers, Facts, Figure, Pooled, Target, Told

PADDING, SPECIAL = 0, 3
"""The token that fills up, and how many tokens are no text (features/pieces.py)."""
SHOWN, LENGTH, SEED, HEAT, LIKELIEST = 10, 30, 0, 0.8, 40
"""Texts of the report, tokens of each, and how they are drawn."""


class LanguageModel(StepConfig):
    """Learn the next token of one text feature."""

    relative: ClassVar[bool] = True
    targets: ClassVar[tuple[str, ...]] = ("none",)
    models: ClassVar[tuple[str, ...]] = ("decoder", "encoder-decoder")
    monitored: ClassVar[Mapping[str, bool]] = {}
    metrics: ClassVar[tuple[str, ...]] = ("nats", "perplexity")
    lower_is_better: ClassVar[frozenset[str]] = frozenset({"nats", "perplexity"})
    baseline_name: ClassVar[str] = "every token alike"

    kind: Literal["language-model"] = "language-model"
    feature: str = Field("", description="which text is told, where there are several; the others are read first")

    def outputs(self, targets: Sequence[TensorSpec], inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        """A score for each token behind each token, under the text's name."""
        texts = {one.name: one for one in inputs if one.sequence and len(one.classes) == 1}
        chosen = self.feature or next(iter(texts), "")
        if chosen not in texts or (len(texts) > 1 and not self.feature):
            raise ConfigError(
                "E_CONFIG",
                "a language model tells the tokens of one text",
                place="objective.feature",
                value=self.feature or ", ".join(one.name for one in inputs),
                allowed=", ".join(texts) or "a feature of kind text",
                action="name the one",
            )
        return (TensorSpec(name=chosen, shape=(-1, texts[chosen].classes[0]), dtype="float32"),)

    def loss(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Any:
        """Mean of the tokens' cross-entropy in nats, each row times ROW_WEIGHT if given."""
        nats, tokens, _ = _told(outputs, targets)
        return (nats * targets.get(ROW_WEIGHT, 1)).sum() / tokens.sum().clamp(min=1)

    def scores(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> dict[str, Any]:
        """The loss says it."""
        return {}

    def decode(self, outputs: Mapping[str, Any], inputs: Mapping[str, Any], target: Target) -> Answers:
        """Of each row the `nats` of all its tokens, how many `tokens` they are, and the `alike` nats, float64[rows]."""
        nats, tokens, words = _told(outputs, inputs)
        many = tokens.cpu().numpy().astype(np.float64)
        return {"nats": nats.cpu().numpy().astype(np.float64), "tokens": many, "alike": many * np.log(words)}

    def columns(self, target: Target) -> dict[str, pa.DataType]:
        """`prediction`, the perplexity of the row, and of how many `tokens`."""
        return {"prediction": pa.float64(), "tokens": pa.int64()}

    def table(self, answers: Answers, target: Target) -> pa.Table:
        """How surprising each text is: among how many tokens alike the next one seems to be drawn."""
        return pa.table({
            "prediction": pa.array(np.exp(answers["nats"] / np.maximum(answers["tokens"], 1))),
            "tokens": pa.array(answers["tokens"].astype(np.int64)),
        })

    def row_metrics(self, answers: Answers, truth: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Nats a token."""
        return {"nats": answers["nats"] / np.maximum(answers["tokens"], 1)}

    def facts(self, answers: Answers, truth: NDArray[np.int64]) -> Facts:
        """What `decode` gives."""
        return {"truth": truth, **answers}

    def pooled(self, facts: Facts) -> Pooled:
        """Perplexity: e to the nats of all tokens over their number."""
        nats, tokens = facts["nats"], facts["tokens"]
        return lambda weights: {"perplexity": float(np.exp(weights @ nats / max(float(weights @ tokens), 1.0)))}

    def constant(self, target: Target, facts: Facts) -> Answers:
        """Every token of the vocabulary alike."""
        return {"nats": facts["alike"], "tokens": facts["tokens"], "alike": facts["alike"]}

    def badness(self, answers: Answers, truth: NDArray[np.int64]) -> NDArray[np.float64]:
        """Nats a token."""
        return np.asarray(answers["nats"] / np.maximum(answers["tokens"], 1))

    def told(self, answers: Answers, truth: NDArray[np.int64], row: int, target: Target) -> Told:
        """How surprising the text is."""
        many = int(answers["tokens"][row])
        nats = answers["nats"][row] / max(many, 1)
        return Told(truth="a text", predicted=f"perplexity {np.exp(nats):.4g}", note=f"over {many} tokens")

    def figures(self, facts: Facts, target: Target) -> list[Figure]:
        """How surprising texts are."""
        heights, edges = np.histogram(facts["nats"] / np.maximum(facts["tokens"], 1), 40)
        return [{
            "kind": "histogram", "title": "Texts", "of": "nats a token",
            "heights": heights.tolist(), "edges": edges.tolist(),
        }]  # fmt: skip

    def portraits(self, network: Any, fitted: Sequence[tuple[Any, Mapping[str, Any]]]) -> list[Figure]:
        """Texts that the model writes on from a frequent token each; none of a model that has to read first."""
        if len(fitted) != 1:
            return []
        import torch

        ((feature, state),) = fitted
        names = [word for word, _ in sorted(state["tokenizer"]["vocab"].items(), key=lambda one: one[1])]
        begun = torch.arange(SPECIAL, min(SPECIAL + SHOWN, len(names)))[:, None]
        if not len(begun):
            return []
        draw = torch.Generator().manual_seed(SEED)
        with torch.inference_mode():
            found = network.write(begun, LENGTH, draw, heat=HEAT, likeliest=LIKELIEST)
        between = " " if feature.tokens == "word" else ""
        rows = [[names[row[0]], between.join(names[at] for at in row)] for row in found.tolist()]
        return [{"kind": "table", "title": "Written", "head": ["from", "on"], "rows": rows}]


def _told(outputs: Mapping[str, Any], inputs: Mapping[str, Any]) -> tuple[Any, Any, int]:
    """Nats and tokens of each row, float32[rows], the first token left out; and how many words there are."""
    from torch.nn.functional import cross_entropy

    ((name, scores),) = outputs.items()
    tokens = inputs[name]
    wanted = tokens[:, 1 : scores.shape[1]]
    rows = cross_entropy(scores[:, :-1].transpose(1, 2), wanted, ignore_index=PADDING, reduction="none").sum(1)
    return rows, (wanted != PADDING).sum(1), scores.shape[-1]
