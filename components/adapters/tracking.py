"""MLflow: one run for a pipeline run.

MLflow's own run lifecycle calls a run FINISHED when it crashed and RUNNING when it was killed; here a run is ended by
name with its true status, and one whose process is gone is ended by flows/reconcile.py. Metrics go through an outbox:
on SQLite one `log_metric` costs as much as sixty in a batch. Imports mlflow when first used.
"""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from components.adapters.mlflow_files import file_of
from components.adapters.model_registry import Registry
from components.adapters.outbox import BATCH, Outbox, Point, left
from components.adapters.tracking_calls import OUTAGE_SECONDS, answered, answered_once, mapped, may_pass
from components.contracts.errors import EnvironmentFault
from components.contracts.placement import Placement


class Tracker(Registry):
    """One tracking server. Without a run that was started, metrics go nowhere.

    Raises from every method:
        EnvironmentFault: E_TRACKING, E_DISK_FULL, E_PERMISSION.
    """

    def __init__(self, placement: Placement) -> None:
        super().__init__(placement)
        self._outbox: Outbox | None = None

    @answered_once
    def start(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Begin a run; its id."""
        from mlflow.entities import Param

        run = self.client.create_run(self.create(), run_name=name, tags=dict(tags))
        self.run_id = str(run.info.run_id)
        entries = [Param(key, str(value)[:6000]) for key, value in params.items()]
        self.client.log_batch(self.run_id, params=entries)
        return self.run_id

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Note values of one step; they are written soon, and all of them before the run ends (outbox.py)."""
        if not self.run_id:
            return
        if self._outbox is None:
            self._outbox = Outbox(self._placement.home / "outbox", self.run_id, self._send, self._close, may_pass)
        now = int(time.time() * 1000)
        self._outbox.put([(key, float(value), now, step) for key, value in values.items()])

    def _send(self, run_id: str, points: Sequence[Point]) -> None:
        from mlflow.entities import Metric

        self.client.log_batch(run_id, metrics=[Metric(*one) for one in points])

    @answered
    def model_metrics(self, name: str, version: str, values: Mapping[str, float], dataset: tuple[str, str]) -> None:
        """Note values of the run that are of this version, and of a dataset (name and digest)."""
        from mlflow.entities import Metric

        model, now, (called, digest) = self.model_id(name, version), int(time.time() * 1000), dataset
        metrics = [
            Metric(
                key,
                float(value),
                now,
                0,
                model_id=model,
                dataset_name=called,
                dataset_digest=digest[:36],
                run_id=self.run_id,
            )
            for key, value in values.items()
        ]
        self.client.log_batch(self.run_id, metrics=metrics)

    @answered
    def send_left(self) -> list[str]:
        """Send what earlier processes could not, and end their runs as they said; the runs."""
        sent = []
        for run_id, points, status in left(self._placement.home / "outbox"):
            try:
                with suppress(LookupError), mapped(self.address):
                    for start in range(0, len(points), BATCH):
                        self._send(run_id, points[start : start + BATCH])
                    if status:
                        self._close(run_id, status)
            except EnvironmentFault as fault:
                if isinstance(fault.__cause__, Exception) and may_pass(fault.__cause__):
                    # They wait for a run after this one.
                    break
                # Nobody will take them: their run was deleted, for one.
                path = self._placement.home / "outbox" / f"{run_id}.jsonl"
                path.rename(path.with_suffix(".refused"))
                continue
            sent.append(run_id)
        return sent

    @answered
    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run."""
        for key, value in tags.items():
            self.client.set_tag(self.run_id, key, value)

    @answered
    def dataset(self, name: str, digest: str, source: Mapping[str, Any], rows: Mapping[str, int]) -> None:
        """Note what the run read: a name, a digest, where from and how many rows; never rows themselves."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        entry = Dataset(
            name=name,
            digest=digest[:36],
            source_type="millrace",
            source=json.dumps(source),
            profile=json.dumps({"num_rows": sum(rows.values()), **rows}),
        )
        self.client.log_inputs(
            self.run_id, datasets=[DatasetInput(dataset=entry, tags=[InputTag("mlflow.data.context", "training")])]
        )

    @answered
    def text(self, name: str, body: str) -> None:
        """Add a file of the run that holds this text."""
        self.client.log_text(self.run_id, body, name)

    @answered
    def file(self, path: Path, folder: str = "") -> None:
        """Add a file to the run."""
        self.client.log_artifact(self.run_id, str(path), folder or None)

    def end(self, status: str) -> str:
        """End the run as FINISHED, FAILED or KILLED, after everything buffered is written; what is still to be sent.

        A run whose metrics MLflow refuses is FAILED, and says so. While it is away, its status waits with them.
        """
        outbox, self._outbox = self._outbox, None
        if not self.run_id:
            return ""
        try:
            with mapped(self.address):
                waits = outbox.close(OUTAGE_SECONDS) if outbox else 0
        except EnvironmentFault:
            self._terminated("FAILED")
            raise
        if outbox and waits and outbox.leave(status):
            return f"MLflow does not answer: {waits} or more points and the run's end wait in {outbox.path}"
        self._terminated(status)
        return ""

    def _close(self, run_id: str, status: str) -> None:
        self.client.set_terminated(run_id, status)

    @answered
    def _terminated(self, status: str) -> None:
        self.client.set_terminated(self.run_id, status)

    @answered
    def end_tagged(self, tag: str, value: str, status: str) -> None:
        """End every run that carries the tag and still counts as running."""
        found = self.client.search_runs([self.create()], f"tags.`{tag}` = '{value}' and attributes.status = 'RUNNING'")
        for run in found:
            self.client.set_terminated(run.info.run_id, status)

    @answered
    def artifact_link(self, path: str) -> str:
        """Where a person can open a file of the run: its page on a server, or the file itself."""
        info = self.client.get_run(self.run_id).info
        if self.address.startswith("http"):
            return f"{self.run_link()}/artifacts/{path}"
        return file_of(f"{info.artifact_uri}/{path}", self.address) or f"{info.artifact_uri}/{path}"

    @answered
    def run_link(self) -> str:
        """The run's page; empty without a server."""
        page = f"{self.address}/#/experiments/{self.create()}/runs/{self.run_id}"
        return page if self.address.startswith("http") else ""
