"""What a run will have to do, read off the store before anything is started."""

from dataclasses import replace
from typing import Any

from components.context import NotCommittedError, Silent
from flows.line import STAGES
from flows.runs import Run


def will_train(run: Run) -> bool:
    """Whether the store lacks the run's checkpoint, or anything that leads to it."""
    ctx = replace(run.ctx, peeking=True, progress=Silent(), outcomes=[])
    found: dict[str, Any] = {}
    try:
        for name, stage in STAGES.items():
            found[name] = stage.run(stage.config(run.config), *(found[one] for one in stage.takes), ctx=ctx)
            if name == "train":
                return False
    except NotCommittedError:
        pass
    return True
