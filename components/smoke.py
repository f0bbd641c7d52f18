"""Trying a package in a process that cannot import the project and may not unpickle.

Importing MLflow and torch takes seconds, so one process does it, in the background while other steps run, and forks a
child for each package. It never imports anything of the project, nor of a user's: what a child needs comes from the
package. It ends when the process that started it does, however that went.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

from components.contracts.closure import ROOT
from components.contracts.errors import IntegrityError

END_SECONDS = 5.0

WALL = """
import sys
class Wall:
    names = {"components", "flows"}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(name)
wall = Wall()
sys.meta_path.insert(0, wall)
sys.path = [path for path in sys.path if path and path != sys.argv[1]]
"""

TRY = """
import json, math, os

def alike(one, other):
    if isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-5)
    return one == other

def answers(path):
    import mlflow.pyfunc
    loaded = mlflow.pyfunc.load_model(path)
    said = loaded.predict(loaded.input_example)
    assert len(said) >= 2 and said.iloc[:, 0].notna().all(), said
    golden = os.path.join(path, "artifacts", "package", "golden.json")
    # Packages of before have none.
    wanted = json.load(open(golden)) if os.path.exists(golden) else {}
    for name, cells in wanted.items():
        found = [one.tolist() if hasattr(one, "tolist") else one for one in said[name]]
        assert alike(found, cells), f"{name} is {found} and was {cells} when the package was made"
"""
"""`answers(folder)`: whether an MLflow model folder answers its example as it did when it was made."""

SERVER = (
    WALL
    + TRY
    + """
import queue, shutil, tempfile, threading, traceback

scratch = tempfile.mkdtemp(prefix="millrace-smoke-")
os.chdir(scratch)
asked = queue.SimpleQueue()

def listen():
    for line in sys.stdin:
        asked.put(json.loads(line))
    # Whoever asks is gone.
    shutil.rmtree(scratch, ignore_errors=True)
    os.killpg(0, 9)

threading.Thread(target=listen, daemon=True).start()
import mlflow.pyfunc, pandas, torch
try:
    # MLflow lists what is installed when it first loads a model, in a second: once here, and not in each child.
    from mlflow.utils.requirements_utils import warn_dependency_requirement_mismatches
    warn_dependency_requirement_mismatches(["mlflow"])
except Exception:
    # Each child makes it for itself then.
    pass

def answer(job, log):
    for number in (1, 2):
        os.dup2(log, number)
    wall.names |= set(job["own"])
    answers(job["model"])

while True:
    job = asked.get()
    with tempfile.TemporaryFile(dir=scratch) as log:
        child = os.fork()
        if not child:
            code = 1
            try:
                answer(job, log.fileno())
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        log.seek(0)
        lines = log.read().decode(errors="replace").strip().splitlines()
    print(json.dumps((lines or ["nothing"])[-1] if code else ""), flush=True)
"""
)


class Server:
    """The process that forks; made for the process that holds it."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        clean = {
            "PATH": os.defpath,
            # Both are the server's folder, which it goes to first.
            "HOME": ".",
            "MLFLOW_TRACKING_URI": "sqlite:///none.db",
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        self.process: subprocess.Popen[str] = subprocess.Popen(
            [sys.executable, "-I", "-B", "-c", SERVER, str(ROOT)],
            env=clean,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            # A Ctrl-C in a shell is for whoever asked.
            start_new_session=True,
        )

    def ask(self, model: Path, own: Iterable[str]) -> str:
        """What went wrong when the package was to answer its example, in one line; "" where it answered."""
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("the server has pipes")
        self.process.stdin.write(json.dumps({"model": str(model.absolute()), "own": list(own)}) + "\n")
        self.process.stdin.flush()
        said = self.process.stdout.readline()
        if not said:
            raise BrokenPipeError
        return str(json.loads(said))

    def last_words(self) -> str:
        """The last line that it wrote."""
        self.process.wait(END_SECONDS)
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"it said nothing (exit code {self.process.returncode})"

    def end(self) -> None:
        """End it and what it forked."""
        if os.getpid() != self.owner:
            return
        try:
            self.process.communicate(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()
        self.log.close()


_running: Server | None = None
_asking, _starting = threading.Lock(), threading.Lock()


def prepare() -> None:
    """Start the process, which imports in the background. Harmless when done twice."""
    global _running  # noqa: PLW0603
    with _starting:
        if _running is None or _running.owner != os.getpid():
            _running = Server()
            atexit.register(_running.end)


def smoke(model: Path, own: Iterable[str] = (), place: str = "") -> None:
    """Load the model folder in a clean process, without the user's `own` packages, and let it answer its example.

    An error names `place`, else the folder.

    Raises:
        IntegrityError: E_SMOKE.
    """
    with _asking:
        try:
            said = _asked(model, own)
        except BaseException:
            _forget()
            raise
    if said:
        raise IntegrityError(
            "E_SMOKE",
            f"the package does not answer its own example in a clean process: {said}",
            place=place or str(model),
            action="report this with the recipe",
        )


def _asked(model: Path, own: Iterable[str]) -> str:
    said = ""
    for _ in range(2):
        prepare()
        try:
            return _running.ask(model, own) if _running else ""
        except OSError:
            # It was killed, perhaps while it waited; or it cannot import what it needs.
            said = _running.last_words() if _running else ""
            _forget()
    return f"the clean process ended, twice: {said}"


def _forget() -> None:
    global _running  # noqa: PLW0603
    if _running is not None:
        atexit.unregister(_running.end)
        _running.end()
        _running = None
