"""Adversarial learning (Goodfellow et al. 2014): a generator imitates an input, a critic tells the two apart.

Each has an optimiser of its own, and they take turns. What the epoch is chosen by, and the metric of the test part,
hang on neither: they compare drawn rows with real ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.spec import REALNESS, TensorSpec
from components.objectives.objective import Answers, Facts, Figure, Pooled, Target, Told, given_input

VIEWS, SEED = 16, 0
"""Numbers that a row is projected to, by a matrix that is always the same, where many rows are compared."""
WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Of the kernels, in units of the median distance."""
PICTURES = 40


class Adversarial(StepConfig):
    """Learn to draw rows like those of one input; other inputs that are classes say what is to be drawn."""

    relative: ClassVar[bool] = True
    targets: ClassVar[tuple[str, ...]] = ("none",)
    models: ClassVar[tuple[str, ...]] = ("gan",)
    players: ClassVar[tuple[str, ...]] = ("critic", "generator")
    betas: ClassVar[tuple[float, float]] = (0.5, 0.9)
    monitored: ClassVar[Mapping[str, bool]] = {}
    metrics: ClassVar[tuple[str, ...]] = ("realness", "frechet")
    lower_is_better: ClassVar[frozenset[str]] = frozenset({"frechet"})
    baseline_name: ClassVar[str] = "zeros for every row"

    kind: Literal["adversarial"] = "adversarial"
    feature: str = Field("", description="the input that is imitated; empty: the only one of numbers")
    way: Literal["plain", "wasserstein"] = Field(
        "plain", description="plain: real or not, by cross-entropy; wasserstein: by a distance (Gulrajani et al. 2017)"
    )
    critic_steps: int = Field(1, ge=1, description="batches that the critic learns for each one of the generator")
    penalty: float = Field(10.0, ge=0, description="of wasserstein: for slopes of the critic that are not 1")

    def outputs(self, targets: Sequence[TensorSpec], inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        """A drawn row, under the input's name."""
        return (given_input(inputs, self.feature),)

    def turns(self, network: Any, inputs: Mapping[str, Any], step: int) -> Iterator[tuple[str, Any]]:
        """Who learns next, and from which loss; each loss is made when the one before was learnt."""
        from torch.nn.functional import softplus

        real = inputs[network.name]
        drawn = network.drawn(inputs)
        told, known = network.judged(drawn.detach(), inputs).float(), network.judged(real, inputs).float()
        if self.way == "plain":
            yield "critic", (softplus(told) + softplus(-known)).mean()
        else:
            yield "critic", (told - known).mean() + self.penalty * _slopes(network, real, drawn.detach(), inputs)
        if step % self.critic_steps == 0:
            told = network.judged(drawn, inputs).float()
            yield "generator", softplus(-told).mean() if self.way == "plain" else -told.mean()

    def loss(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Any:
        """How far drawn rows of a batch lie from its real ones: the squared maximum mean discrepancy (Gretton 2012)."""
        import torch

        name = next(one for one in outputs if one in targets)
        both = torch.cat([outputs[name], targets[name]]).flatten(1)
        rows = len(both) // 2
        squares = torch.cdist(both, both).square()
        scale = squares.median().clamp(min=1e-12)
        kernel = torch.stack([(-squares / (width * scale)).exp() for width in WIDTHS]).mean(0)
        return kernel[:rows, :rows].mean() + kernel[rows:, rows:].mean() - 2 * kernel[:rows, rows:].mean()

    def scores(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> dict[str, Any]:
        """The loss says it."""
        return {}

    def decode(self, outputs: Mapping[str, Any], inputs: Mapping[str, Any], target: Target) -> Answers:
        """Of each row `drawn`, float32[rows, numbers], how real the row itself looks, and views of both."""
        name = next(one for one in outputs if one in inputs)
        drawn, real = (one.flatten(1).cpu().numpy() for one in (outputs[name], inputs[name]))
        realness = outputs[REALNESS].sigmoid().cpu().numpy().astype(np.float64)
        return {"drawn": drawn, "realness": realness, "of drawn": _viewed(drawn), "of real": _viewed(real)}

    def columns(self, target: Target) -> dict[str, pa.DataType]:
        """`prediction`, a drawn row, and `realness`, of the row that was given."""
        return {"prediction": pa.list_(pa.float64()), "realness": pa.float64()}

    def table(self, answers: Answers, target: Target) -> pa.Table:
        """The numbers as the model sees them."""
        drawn = pa.array(list(answers["drawn"].astype(np.float64)), self.columns(target)["prediction"])
        return pa.table({"prediction": drawn, "realness": pa.array(answers["realness"])})

    def row_metrics(self, answers: Answers, truth: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """How real real rows look."""
        return {"realness": answers["realness"]}

    def facts(self, answers: Answers, truth: NDArray[np.int64]) -> Facts:
        """The views."""
        return {"truth": truth, "drawn": answers["of drawn"], "real": answers["of real"]}

    def pooled(self, facts: Facts) -> Pooled:
        """The Fréchet distance of normal distributions that fit drawn and real rows (Heusel et al. 2017), of views."""
        drawn, real = facts["drawn"], facts["real"]
        return lambda weights: {"frechet": _frechet(drawn, real, weights)}

    def constant(self, target: Target, facts: Facts) -> Answers:
        """Zeros, of which nobody knows whether they are real."""
        zeros = np.zeros_like(facts["real"])
        return {"realness": np.full(len(zeros), 0.5), "drawn": zeros, "of drawn": zeros, "of real": facts["real"]}

    def badness(self, answers: Answers, truth: NDArray[np.int64]) -> NDArray[np.float64]:
        """How false a real row looks."""
        return np.asarray(1 - answers["realness"])

    def told(self, answers: Answers, truth: NDArray[np.int64], row: int, target: Target) -> Told:
        """What the critic says."""
        return Told(truth="real", predicted=f"{100 * answers['realness'][row]:.1f} % real", note="by the critic")

    def figures(self, facts: Facts, target: Target) -> list[Figure]:
        """None of rows."""
        return []

    def portraits(self, network: Any, fitted: Sequence[tuple[Any, Mapping[str, Any]]]) -> list[Figure]:
        """Some drawn pictures, where pictures are drawn."""
        import torch

        if len(network.shape) != 3:
            return []
        drawn = network.sample(PICTURES, torch.Generator().manual_seed(SEED)).detach().numpy()
        low, high = drawn.min(), drawn.max()
        shades = np.rint((drawn - low) / max(high - low, 1e-12) * 255).astype(np.uint8)
        return [{"kind": "pictures", "title": "Drawn", "pictures": np.moveaxis(shades, 1, -1).tolist()}]


def _slopes(network: Any, real: Any, drawn: Any, inputs: Mapping[str, Any]) -> Any:
    """How far the critic's slopes between real and drawn rows are from 1, squared."""
    import torch

    share = torch.rand(len(real), *[1] * (real.dim() - 1), device=real.device)
    between = (share * real + (1 - share) * drawn).requires_grad_()
    (slopes,) = torch.autograd.grad(network.judged(between, inputs).sum(), between, create_graph=True)
    return ((slopes.flatten(1).norm(dim=1) - 1) ** 2).mean()


def _viewed(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    drawn = np.random.Generator(np.random.PCG64(SEED))
    matrix = drawn.normal(size=(rows.shape[1], VIEWS)) / np.sqrt(rows.shape[1])
    return np.asarray(rows.astype(np.float64) @ matrix)


def _frechet(first: NDArray[np.float64], second: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    means, spreads = [], []
    for rows in (first, second):
        mean = weights @ rows / weights.sum()
        means.append(mean)
        spreads.append((rows - mean).T @ ((rows - mean) * weights[:, None]) / weights.sum())
    # The trace of the root of a product of two covariances is the sum of the roots of its eigenvalues.
    roots = np.sqrt(np.clip(np.linalg.eigvals(spreads[0] @ spreads[1]).real, 0, None)).sum()
    distance = ((means[0] - means[1]) ** 2).sum() + np.trace(spreads[0]) + np.trace(spreads[1]) - 2 * roots
    return float(max(distance, 0.0))
