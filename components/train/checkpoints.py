"""Where training is, on disk: weights as safetensors, the rest beside them, and a manifest that says what they are.

One checkpoint is a folder named by its step. It is written under another name, made durable, read back, and renamed;
what a killed process left has no such name. Whoever goes on takes the newest whose bytes are those of its manifest;
bytes are unpickled after that only, and then by torch's reader that makes tensors and plain values alone.
"""

import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3

from components.adapters.local_files import as_fault
from components.contracts.errors import DataError, EnvironmentFault

FORMAT = 1
MANIFEST, WEIGHTS, STATE = "checkpoint.json", "weights.safetensors", "trainer.pt"
LEFT_SECONDS = 600.0
"""Nobody writes one checkpoint for so long."""
Tensors = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a checkpoint holds: the network's weights by name, and everything else of the training."""

    weights: dict[str, Any]
    state: dict[str, Any]


class Checkpoints:
    """The checkpoints of one job in a folder; `job` is what makes it that job, as JSON-able data.

    Raises from `save`:
        EnvironmentFault: E_DISK_FULL, E_PERMISSION, E_IO; those that stand stay.
    """

    def __init__(self, folder: Path, job: Mapping[str, Any], keep: int) -> None:
        self.folder, self._job, self._keep = folder, dict(job), keep

    def steps(self) -> list[int]:
        """The steps of all that were finished, newest first; not yet checked."""
        try:
            found = [int(one.name) for one in self.folder.iterdir() if one.name.isdigit()]
        except FileNotFoundError:
            return []
        return sorted(found, reverse=True)

    def save(self, step: int, progress: Progress) -> Path:
        """Write one, durable and read back, then drop those that are older than the newest few."""
        try:
            return self._saved(step, progress)
        except OSError as error:
            fault = as_fault(error, error.filename or self.folder)
            if fault is None or fault.code != "E_DISK_FULL":
                raise fault or error from error
        # The newest stays: it is what training goes on from if there is no room for another.
        self._drop(self.steps()[1:])
        try:
            return self._saved(step, progress)
        except OSError as error:
            raise as_fault(error, error.filename or self.folder) or error from error

    def _saved(self, step: int, progress: Progress) -> Path:
        try:
            return self._once(step, progress)
        except FileNotFoundError:
            # Another run of the same job was done, and took the whole folder away.
            return self._once(step, progress)

    def _once(self, step: int, progress: Progress) -> Path:
        final, unfinished = self._path(step), self.folder / f".{step}-{os.urandom(6).hex()}"
        try:
            unfinished.mkdir(parents=True)
            files = {WEIGHTS: _packed(progress.weights), STATE: _pickled(progress.state)}
            digests = {name: _written(unfinished / name, body) for name, body in files.items()}
            shapes = {name: [str(one.dtype), list(one.shape)] for name, one in progress.weights.items()}
            manifest = {"format": FORMAT, "step": step, "job": self._job, "files": digests, "weights": shapes}
            body = json.dumps(manifest)
            _written(unfinished / MANIFEST, f"{_digest(body.encode())}\n{body}".encode())
            _synced(unfinished)
            try:
                unfinished.rename(final)
            except OSError:
                # Another run of the same job was here first, or this one before it went back; if not, the disk is ill.
                if not final.is_dir():
                    raise
                shutil.rmtree(final)
                unfinished.rename(final)
            _synced(self.folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        self._drop(self.steps()[self._keep :])
        self._sweep()
        return final

    def newest(
        self, wants: Tensors, warn: Callable[[str], None], only: Sequence[int] | None = None
    ) -> tuple[int, Progress] | None:
        """The newest that is whole (one of `only`), for a network with the tensors `wants`; None where there is none.

        Damaged ones are passed over, and `warn` is told.

        Raises:
            DataError: E_CKPT_MISMATCH, it is of another job or network.
            DataError: E_CKPT_UNTRUSTED, it holds more than tensors and plain values.
        """
        for step in self.steps() if only is None else only:
            path = self._path(step)
            try:
                return step, self._read(path, wants)
            except (OSError, ValueError, KeyError, TypeError) as error:
                if isinstance(error, DataError):
                    raise
                said = " ".join(str(error).split())[:120]
                warn(f"the checkpoint {path} is damaged ({said}); an older one is looked for")
                # It would count as one of the newest, which are kept.
                shutil.rmtree(path, ignore_errors=True)
        return None

    def _read(self, path: Path, wants: Tensors) -> Progress:
        import torch
        from safetensors.torch import load

        digest, _, body = (path / MANIFEST).read_bytes().partition(b"\n")
        if _digest(body) != digest.decode():
            raise ValueError(f"{MANIFEST} has other bytes than were written")
        manifest = json.loads(body)
        if manifest["format"] != FORMAT:
            raise _mismatch(path, "it was written by another release", manifest["format"], f"format {FORMAT}")
        bodies = {}
        for name in (WEIGHTS, STATE):
            bodies[name] = (path / name).read_bytes()
            if _digest(bodies[name]) != manifest["files"][name]:
                raise ValueError(f"{name} has other bytes than were written")
        _check_same(path, manifest, self._job, wants)
        try:
            state = torch.load(io.BytesIO(bodies[STATE]), weights_only=True, map_location="cpu")
        except Exception as error:
            raise DataError(
                "E_CKPT_UNTRUSTED",
                "a checkpoint holds more than tensors and plain values",
                place=str(path / STATE),
                action="remove it: it was not written by training",
            ) from error
        return Progress(weights=load(bodies[WEIGHTS]), state=state)

    def clear(self) -> None:
        """Remove all: the result is kept elsewhere."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what processes left that were killed while they wrote one."""
        for one in self.folder.glob(".*-*"):
            with suppress(FileNotFoundError):
                if time.time() - one.stat().st_mtime > LEFT_SECONDS:
                    shutil.rmtree(one, ignore_errors=True)

    def _path(self, step: int) -> Path:
        return self.folder / f"{step:010d}"

    def _drop(self, steps: list[int]) -> None:
        for step in steps:
            # The manifest goes first: what is left of a checkpoint that is being removed is none.
            (self._path(step) / MANIFEST).unlink(missing_ok=True)
            shutil.rmtree(self._path(step), ignore_errors=True)


def _check_same(path: Path, manifest: Mapping[str, Any], job: Mapping[str, Any], wants: Tensors) -> None:
    """Raise E_CKPT_MISMATCH at the first thing that is not as this job has it."""
    for name, known in _leaves(manifest["job"]):
        mine = dict(_leaves(job)).get(name)
        if mine != known:
            raise _mismatch(path, f"it is of another job: its {name} differs", known, str(mine))
    shapes = {name: [str(one.dtype), list(one.shape)] for name, one in wants.items()}
    for name in sorted({*shapes, *manifest["weights"]}):
        if shapes.get(name) != manifest["weights"].get(name):
            theirs, mine = manifest["weights"].get(name, "nothing"), shapes.get(name, "nothing")
            raise _mismatch(path, f"it is of another network: {name} differs", theirs, str(mine))


def _mismatch(path: Path, what: str, value: Any, allowed: str) -> DataError:
    return DataError(
        "E_CKPT_MISMATCH", what, place=str(path), value=value, allowed=allowed, action="remove it, then run again"
    )


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{place}.{key}" if place else str(key))
    else:
        yield place, value


def _packed(weights: Tensors) -> bytes:
    from safetensors.torch import save

    body: bytes = save({name: one.contiguous() for name, one in weights.items()})
    return body


def _pickled(state: Mapping[str, Any]) -> bytes:
    import torch

    body = io.BytesIO()
    torch.save(dict(state), body)
    return body.getvalue()


def _written(path: Path, body: bytes) -> str:
    """Write durably and read back; the digest of the bytes."""
    wanted = _digest(body)
    with path.open("xb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    if _digest(path.read_bytes()) != wanted:
        raise EnvironmentFault(
            "E_IO", "what was written reads back as something else", place=str(path), action="check the disk"
        )
    return wanted


def _digest(body: bytes) -> str:
    return blake3(body).hexdigest(length=16)


def _synced(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
