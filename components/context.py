"""What a step is given to work with, and the one cache that every step goes through.

`RunContext.commit` runs a step or finds its result; `RunContext.parts` does the same for each partition. `open` builds
a context anywhere from a `Placement`. Nothing here knows Prefect; sources, features, models and objectives never see
a context.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from components.adapters import dataset_store, snapshot_rows, store
from components.adapters.compute import Compute
from components.adapters.pointers import Pointer
from components.adapters.store import Record, Store
from components.adapters.stores import open_store
from components.adapters.tracking import Tracker
from components.contracts.artifacts import Artifact, Ledger, Part
from components.contracts.config import Frozen
from components.contracts.content import content_of
from components.contracts.errors import IntegrityError
from components.contracts.fingerprint import Fingerprint, code_of, digest, fingerprint
from components.contracts.placement import Placement

FORMATS: dict[str, int | str] = {"store": store.FORMAT, "shards": dataset_store.FORMAT, "rows": snapshot_rows.FORMAT}
"""Numbers of what the adapters write, part of every fingerprint. Raise one when its bytes or meaning change."""

Kind = TypeVar("Kind", bound=Artifact)
PartWork = Callable[..., dict[str, Any]]
"""A module-level function (store, config, item, folder) -> meta with `rows` and, for a data step, `ledger`."""


class Outcome(Frozen):
    """How one step went, as the run's page and the final record say it."""

    step: str
    reused: bool
    why: str
    seconds: float
    rows: int | None = None
    fingerprint: str = ""
    content: str = ""


class Progress(Protocol):
    """Who is told how a run goes; flows/console.py draws it."""

    def started(self, step: str) -> None:
        """A step begins."""

    def advanced(self, step: str, done: float, total: int, unit: str, note: str = "") -> None:
        """`done` of `total` parts or epochs."""

    def finished(self, outcome: Outcome) -> None:
        """A step ended well."""

    def warned(self, line: str) -> None:
        """Something that a person should read."""


class Silent:
    """Tells nobody."""

    def started(self, step: str) -> None:
        """Nothing."""

    def advanced(self, step: str, done: float, total: int, unit: str, note: str = "") -> None:
        """Nothing."""

    def finished(self, outcome: Outcome) -> None:
        """Nothing."""

    def warned(self, line: str) -> None:
        """Nothing."""


class NotCommittedError(LookupError):
    """A peeking context met a step whose result is not in the store."""


def _all_go_on(_: Mapping[str, float], _epoch: int) -> None:
    """No training is ended early."""


@dataclass(kw_only=True)
class RunContext:
    """One run's store, compute, tracker and progress; state that is `kept` under another name is only read.

    `rerun` counts, per step, how often it was asked to run anew. `peeking`, what would run raises NotCommittedError.
    `judge` is told what each epoch of a training measured, and raises to end it. `origin` is noted with a model:
    recipe, description, run, commit of the code.
    """

    placement: Placement
    store: Store
    compute: Compute
    tracker: Tracker
    name: str = "notebook"
    progress: Progress = field(default_factory=Silent)
    rerun: Mapping[str, int] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    peeking: bool = False
    kept: str = ""
    judge: Callable[[Mapping[str, float], int], None] = _all_go_on
    origin: Mapping[str, str] = field(default_factory=dict)

    def commit(
        self,
        kind: type[Kind],
        module: str,
        config: Any,
        inputs: Mapping[str, str],
        build: Callable[[Path], Kind],
        *,
        kinds: Sequence[str] = (),
    ) -> Kind:
        """The committed result of a step, made by `build(folder)` unless it is there already.

        `kinds` are modules that the step loads by names in its inputs.

        Raises:
            IntegrityError: E_LEDGER, rows are unaccounted for; nothing was committed.
        """
        return self.committed(kind, self.key(kind, module, config, inputs, kinds=kinds), build)

    def committed(self, kind: type[Kind], key: Fingerprint, build: Callable[[Path], Kind]) -> Kind:
        """The same for a key that is known."""
        began = time.perf_counter()
        entry = self.store.artifact(kind.step, key.key)
        if self.peeking:
            return _peeked(kind, key, entry.record())
        self.progress.started(kind.step)
        last = Pointer(self.store, f"last/{self.name}/{kind.step}")
        record, why = entry.record(), "nothing it depends on changed"
        if record is None:
            why = key.changes_since(standing.value if (standing := last.read()) else None)
            with entry.attempt() as attempt:
                artifact = build(attempt.folder)
                if artifact.ledger is not None:
                    artifact.ledger.check(kind.step)
                made = artifact.model_dump(mode="json", exclude={"fingerprint", "files"})
                seconds = time.perf_counter() - began
                record = attempt.commit({"fingerprint": key.model_dump(), "artifact": made, "seconds": seconds})
        last.set(key.model_dump(mode="json"))
        result = _artifact(kind, key, record)
        self.tell(kind.step, reused=record.reused, why=why, began=began, result=result)
        return result

    def key(
        self, kind: type[Artifact], module: str, config: Any, inputs: Mapping[str, str], *, kinds: Sequence[str] = ()
    ) -> Fingerprint:
        """What a step's result is known by, before there is one."""
        code = code_of(module, config, kinds)
        formats = {**FORMATS, "result": _schema(kind)}
        return fingerprint(kind.step, config, inputs, code, formats=formats, rerun=self.rerun.get(kind.step, 0))

    def load(self, kind: type[Kind], fingerprint: str) -> Kind:
        """The committed result of that fingerprint.

        Raises:
            IntegrityError: E_DIGEST, there is none.
        """
        record = self.store.artifact(kind.step, fingerprint).standing()
        return _artifact(kind, Fingerprint.model_validate(record.meta["fingerprint"]), record)

    def load_key(self, kind: type[Kind], key: Mapping[str, Any]) -> Kind:
        """The committed result of a fingerprint as `last/…` pointers hold it."""
        return self.load(kind, Fingerprint.model_validate(key).key)

    def reruns(self, asked: Sequence[str]) -> dict[str, int]:
        """How often each step of this recipe was asked to run anew, counting `asked` in."""
        counts = Pointer(self.store, f"rerun/{self.name}")
        now = counts.read()
        total = dict(now.value) if now else {}
        for step in asked:
            total[step] = total.get(step, 0) + 1
        if asked:
            counts.set(total)
        return total

    def tell(self, step: str, *, reused: bool, why: str, began: float, result: Artifact) -> None:
        """Note how a step went, for progress, the run's page and the final record."""
        rows = result.ledger.rows_out if result.ledger else None
        outcome = Outcome(
            step=step,
            reused=reused,
            why=why,
            seconds=round(time.perf_counter() - began, 3),
            rows=rows,
            fingerprint=result.fingerprint,
            content=result.content,
        )
        self.outcomes.append(outcome)
        self.progress.finished(outcome)

    def base(self, step: str, module: str, config: Any) -> str:
        """What the keys of a step's parts are made from beside their input: its config and its code."""
        code = code_of(module, config)
        return fingerprint(step, config, {}, code, formats=FORMATS, rerun=self.rerun.get(step, 0)).key

    def parts(
        self,
        step: str,
        *,
        module: str,
        config: Any,
        work: PartWork,
        items: Sequence[tuple[str, str, Any]],
        size_bytes: int,
        native: bool = False,
        base: str = "",
        shown: str = "",
        what: str = "",
    ) -> tuple[list[Part], list[Record]]:
        """Each partition's committed output; `items` are (place, content digest, argument of `work`).

        A `base` takes the place of the step's config and code in the keys: for what must never be made again because
        the code changed. `shown` is the step whose progress this is, where it is part of another; `what` says of what.
        """
        base = base or self.base(step, module, config)
        jobs = [(digest([base, content]), config, argument) for _, content, argument in items]
        run = partial(_run_part, self.placement, step, work)
        rows = 0

        def told(done: int, record: Record) -> None:
            nonlocal rows
            self.store.still_ours()
            rows += record.meta["rows"]
            self.progress.advanced(shown or step, done, len(jobs), "parts", f"{rows:,} rows {what}".rstrip())

        records = self.compute.map(run, jobs, size_bytes, told, native=native, names=[place for place, _, _ in items])
        parts = [
            Part(key=key, digest=record.content, rows=record.meta["rows"], place=place)
            for (key, _, _), record, (place, _, _) in zip(jobs, records, items, strict=True)
        ]
        return parts, records


@cache
def _schema(kind: type[Artifact]) -> str:
    return digest(kind.model_json_schema())


def _run_part(placement: Placement, step: str, work: PartWork, job: tuple[str, Any, Any]) -> Record:
    key, config, argument = job
    opened = open_store(placement)
    entry = opened.part(step, key)
    record = entry.record()
    if record is None:
        with opened.files.using(), entry.attempt() as attempt:
            record = attempt.commit(work(opened, config, argument, attempt.folder))
    return record


def _artifact(kind: type[Kind], key: Fingerprint, record: Record) -> Kind:
    artifact = kind.model_validate(record.meta["artifact"])
    files = {file.name: file.digest for file in record.files}
    content = artifact.content or digest([content_of(artifact), record.digest])
    return artifact.model_copy(update={"fingerprint": key.key, "files": files, "content": content})


def _peeked(kind: type[Kind], key: Fingerprint, record: Record | None) -> Kind:
    if record is None:
        raise NotCommittedError(kind.step)
    return _artifact(kind, key, record)


def summed(records: Sequence[Record], entered: int) -> Ledger:
    """The ledgers of all parts, added up.

    Raises:
        IntegrityError: E_LEDGER, the parts took in another number of rows than the `entered` that the step was given.
    """
    total = Ledger()
    for record in records:
        total = total + Ledger.model_validate(record.meta["ledger"])
    if total.rows_in != entered:
        raise IntegrityError(
            "E_LEDGER",
            f"the step was given {entered} rows, its parts took in {total.rows_in}",
            place=records[0].entry if records else "no parts",
            action="report this: it is a defect of the step",
        )
    return total


def open_context(placement: Placement, name: str = "notebook", progress: Progress | None = None) -> RunContext:
    """A context at `placement`: in a notebook, a worker, a container or a flow."""
    return RunContext(
        placement=placement,
        store=open_store(placement),
        compute=Compute(workers=os.cpu_count() or 1, address=placement.dask_address),
        tracker=Tracker(placement),
        name=name,
        progress=progress or Silent(),
    )
