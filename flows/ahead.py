"""Libraries of the steps after training, imported while training goes on in another process.

This process only listens meanwhile. torch, scikit-learn and captum take four seconds, and MLflow, when it first saves
a model, one more to list what is installed.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module

from flows.pipeline import PipelineConfig

SETTLED_SECONDS = 0.3
"""A step that is reused has ended by then."""
ANSWERS = ("torch", "safetensors.torch", "mlflow.pyfunc")
PEERS = ("sklearn.ensemble", "sklearn.svm", "sklearn.linear_model", "sklearn.calibration", "sklearn.pipeline")
EXPLANATIONS = ("captum.attr",)


@contextmanager
def imported_ahead(config: PipelineConfig) -> Iterator[None]:
    """While the block lasts, import what packaging and evaluating by `config` will; then wait for the rest of it."""
    names = [*ANSWERS, *(PEERS if config.evaluate.peers else ()), *(EXPLANATIONS if config.evaluate.explain else ())]
    over, failed = threading.Event(), threading.Event()

    def work() -> None:
        if over.wait(SETTLED_SECONDS):
            return
        for name in names:
            if failed.is_set():
                return
            # What is not installed is told by the step that needs it.
            with suppress(ImportError):
                import_module(name)
        with suppress(ImportError):
            from mlflow.utils.requirements_utils import warn_dependency_requirement_mismatches

            warn_dependency_requirement_mismatches(["mlflow"])

    # No daemon: an interpreter that ends while a thread of it imports may crash.
    thread = threading.Thread(target=work, name="millrace-ahead")
    thread.start()
    try:
        yield
    except BaseException:
        failed.set()
        raise
    finally:
        over.set()
    # Two threads that import modules of one library at the same time may see halves of them.
    thread.join()
