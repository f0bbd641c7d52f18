"""Libraries of the steps after training, imported while training goes on in a process of its own.

torch, scikit-learn and captum take four seconds, and MLflow, when it first saves a model, one more to list what is
installed. This process does little else meanwhile.
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
    """While the block lasts, import what packaging and evaluating by `config` will; what is begun is finished."""
    if getattr(config.model, "passes", False):
        # It is fitted in this process.
        yield
        return
    names = [*ANSWERS, *(PEERS if config.evaluate.peers else ()), *(EXPLANATIONS if config.evaluate.explain else ())]
    over = threading.Event()

    def work() -> None:
        if over.wait(SETTLED_SECONDS):
            return
        for name in names:
            # What is broken or not installed is told by the step that needs it.
            with suppress(Exception):
                import_module(name)
            if over.is_set():
                return
        with suppress(Exception):
            from mlflow.utils.requirements_utils import warn_dependency_requirement_mismatches

            warn_dependency_requirement_mismatches(["mlflow"])

    # No daemon: an interpreter that ends while a thread of it imports may crash.
    thread = threading.Thread(target=work, name="millrace-imports")
    thread.start()
    try:
        yield
    finally:
        over.set()
    # Two threads that import modules of one library at the same time may see halves of them.
    thread.join()
