"""The typed results that steps hand to each other, as they stand in `record.json`.

An artifact is small: it names its files and parts in the store and never holds rows. `content` is the digest of what
it says, not of how it was made, so that a step whose output did not change lets the next one be reused.
"""

from typing import Any, ClassVar, Literal

from pydantic import Field

from components.contracts.config import Frozen
from components.contracts.errors import IntegrityError
from components.contracts.findings import Cost, Explanation, Fairness, Interval, Moved, Shrunk, Slice, Tryout
from components.contracts.spec import Column, TensorSpec


class Ledger(Frozen):
    """Where every row of a data step went, and how many cells of those that stayed were changed."""

    rows_in: int = 0
    added: int = 0
    rows_out: int = 0
    quarantined: int = 0
    deduplicated: int = 0
    dropped: dict[str, int] = Field({}, description="reason to rows")
    changed: dict[str, int] = Field({}, description="operation to cells")

    def __add__(self, other: "Ledger") -> "Ledger":
        return Ledger(
            rows_in=self.rows_in + other.rows_in,
            added=self.added + other.added,
            rows_out=self.rows_out + other.rows_out,
            quarantined=self.quarantined + other.quarantined,
            deduplicated=self.deduplicated + other.deduplicated,
            dropped=_added(self.dropped, other.dropped),
            changed=_added(self.changed, other.changed),
        )

    def check(self, place: str) -> None:
        """Raise E_LEDGER unless every row is accounted for."""
        entered = self.rows_in + self.added
        left = self.rows_out + self.quarantined + self.deduplicated + sum(self.dropped.values())
        if entered != left:
            raise IntegrityError(
                "E_LEDGER",
                f"{entered} rows entered, {left} are accounted for",
                place=place,
                action="report this: it is a defect of the step",
            )


def _added(first: dict[str, int], second: dict[str, int]) -> dict[str, int]:
    return {name: first.get(name, 0) + second.get(name, 0) for name in sorted({*first, *second})}


class Part(Frozen):
    """One partition's output: its key in the store, the digest of its content, its rows."""

    key: str
    digest: str
    rows: int
    place: str


class Artifact(Frozen):
    """The result of one step."""

    step: ClassVar[str]
    fingerprint: str = ""
    content: str = ""
    ledger: Ledger | None = None
    files: dict[str, str] = Field({}, description="name to digest")


class Snapshot(Artifact):
    """Rows as parts (adapters/snapshot_rows.py)."""

    columns: tuple[Column, ...]
    parts: tuple[Part, ...]

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(part.rows for part in self.parts)


class RawSnapshot(Snapshot):
    """Rows as the source has them; `aside` are files that could not be read."""

    step = "ingest"
    aside: tuple[Part, ...] = ()


class ValidSnapshot(Snapshot):
    """Rows that can be used; `columns` now carry the declared types.

    `newest` is the newest time (ISO 8601), `classes` the rows of each class, where the checks ask for them; `drift` is
    how far each column moved from the snapshot before, and no part of the content. `data.html` shows all this.
    """

    step = "validate"
    newest: str = ""
    classes: dict[str, int] = Field({})
    drift: dict[str, float] = Field({})


class CleanSnapshot(Snapshot):
    """Cleaned rows. `operations` are the recipe's, as data: the package applies the same ones to a request."""

    step = "clean"
    operations: tuple[dict[str, Any], ...]
    valid: ValidSnapshot


class FittedFeature(Frozen):
    """A feature's config (with its kind) and the state that was fitted on the training part."""

    config: dict[str, Any]
    state: dict[str, Any]


class Dataset(Artifact):
    """Shards of what does not depend on fitted state, and that state.

    `rates` says how often an epoch has a training row of each class (by its index), `weights` what its loss counts,
    `group_weights` what it counts by its group (whose codes `groups` has) and class; none where rows are left as they
    are. Training rows that are left out as outliers are named, for each part by
    their positions in its training shard, in `<part's key>.npy`; `rows` has them no more. `fitted_on` has the content
    of the snapshot that a feature's state comes from, where that is not `clean`.
    """

    step = "preprocess"
    rates: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()
    groups: FittedFeature | None = None
    group_weights: tuple[tuple[float, ...], ...] = ()
    parts: tuple[Part, ...]
    rows: dict[str, int]
    features: tuple[FittedFeature, ...]
    target: FittedFeature
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    fitted_on: dict[str, str] = Field({})
    split: dict[str, Any]
    clean: CleanSnapshot


class Checkpoint(Artifact):
    """Trained weights (`weights.safetensors`) and how they came about.

    `precision` is what was computed in; empty in results of before it was noted.
    """

    step = "train"
    model: dict[str, Any]
    objective: dict[str, Any]
    metrics: dict[str, float]
    history: tuple[dict[str, float], ...]
    device: str
    precision: str = ""


class ModelPackage(Artifact):
    """What is shipped: an MLflow model folder that turns raw rows into predictions.

    Every package was tried in a clean process; `alone` is how it did in an environment made from its own requirements,
    where the recipe asks for that. `history` has training's metrics of each epoch, `decision` the temperature and the
    thresholds that were found on validation rows (objectives/decision.py), where the recipe asks for some.
    """

    step = "package"
    code: str
    size_bytes: int
    alone: Tryout | None = None
    decision: dict[str, Any] = Field({})
    history: tuple[dict[str, float], ...] = ()


class EvalReport(Artifact):
    """How a package does on the frozen test rows.

    `champion` and `gain` (candidate minus champion, per row) cover the rows that are in both models' test parts.
    `searched` says at how many parts of the rows the search for the worst looked.
    """

    step = "evaluate"
    package: str
    dataset: str = Field("", description="content of the dataset that the package learnt from and was tested on")
    rival: str = Field("", description="content of the champion that it was compared with; empty where there was none")
    metrics: dict[str, Interval]
    champion: dict[str, Interval]
    gain: dict[str, Interval]
    baseline: dict[str, float]
    lower_is_better: tuple[str, ...] = ()
    rows: int
    shared: int = Field(0, description="how many of the rows are in the champion's test part, too")
    slices: tuple[Slice, ...] = ()
    searched: int = 0
    cost: Cost | None = None
    peers: dict[str, dict[str, float]] = Field(
        {}, description="simpler models' metrics on `peer_rows` of the test rows"
    )
    peer_rows: int = 0
    harmed: dict[str, dict[str, float]] = Field({}, description="metrics on test rows that were harmed; none: refused")
    explanation: Explanation | None = None
    fairness: tuple[Fairness, ...] = ()
    alone: Tryout | None = None


class Compressed(Artifact):
    """Smaller versions of a package's network, the package itself first, on the same test rows.

    The last one has all that the recipe asks for: the gate judges it, and a bundle for devices holds it.
    """

    step = "compress"
    package: str
    rows: int
    versions: tuple[Shrunk, ...]
    lower_is_better: tuple[str, ...] = ()


class Approval(Frozen):
    """A person's word that a package may be promoted."""

    who: str
    why: str


class Verdict(Artifact):
    """The gate's answer, with a line per check; it is `forced` where a person's approval overrides a failed one."""

    step = "gate"
    verdict: Literal["approved", "rejected", "awaiting"]
    checks: tuple[str, ...]
    report: EvalReport
    approval: Approval | None = None
    forced: bool = False


class Approved(Verdict):
    """May be registered and promoted."""

    verdict: Literal["approved"] = "approved"


class Rejected(Verdict):
    """Stays unregistered."""

    verdict: Literal["rejected", "awaiting"] = "rejected"


class ModelVersion(Artifact):
    """A registered model."""

    step = "register"
    name: str
    version: int
    aliases: tuple[str, ...]
    package: str


class Scored(Artifact):
    """A registered model's answers to the rows of a snapshot; `delivered` parts went to a sink in this run."""

    step = "score"
    name: str
    version: str
    package: str
    parts: tuple[Part, ...]
    delivered: int = 0


class DriftReport(Artifact):
    """Whether new rows are like those that a model was tested on; `drift.html` shows it.

    `alarms` names what moved. Of `draws` batches of as many test rows, `false_alarms` would have been alarms. `first`
    and `last` are when the rows of a prediction log came. Fewer rows than are asked for have no findings.
    """

    step = "monitor"
    name: str
    version: str
    package: str
    rows: int
    reference_rows: int
    found: tuple[Moved, ...]
    alarms: tuple[str, ...]
    draws: int
    false_alarms: int
    first: str = ""
    last: str = ""
    simulated: float = 0.0
