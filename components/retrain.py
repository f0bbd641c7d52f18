"""Whether a model is trained again: a pure policy over what is known, so that no night need be waited for to try it.

Hours are counted from when the last retraining began, and not in days of a calendar: a change to summer time, or a
clock that is set, neither skips one nor does one twice.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from components.contracts.config import Frozen

Reason = Literal["schedule", "data", "drift", "performance", "hand"]
STANDS_IN = 0.5
"""A retraining for another reason that began less than this part of a window before stands in for a schedule's."""
HOUR = 3600.0


class RetrainPolicy(Frozen):
    """When it is worth it."""

    on: tuple[Literal["schedule", "data", "drift", "performance"], ...] = Field(
        ("schedule", "data", "drift", "performance"), description="what trains it again, beside a person"
    )
    window_hours: float = Field(24.0, gt=0, description="however often it is triggered, it is trained once in so long")
    cool_down_hours: float = Field(
        0.0, ge=0, description="after a retraining, drift and new data wait so long at least"
    )
    least_new_rows: int = Field(0, ge=0, description="with fewer rows that the champion did not see it is not worth it")
    warm: bool = Field(
        False, description="training begins with the champion's weights, and not anew; its step is then never reused"
    )
    overrides: tuple[str, ...] = Field(
        (), description="changes of the recipe, each key.path=value; SINCE is the day `days` before"
    )
    days: float = Field(0.0, ge=0, description="how far back SINCE lies")


class Last(Frozen):
    """The retraining before: when it began (seconds since 1970), why and how it went.

    `due` is the newest time of a schedule for which there was one.
    """

    at: float
    reason: Reason = "hand"
    due: str = ""
    state: Literal["running", "done", "failed"]


class Decision(Frozen):
    """Whether to train again, and why or why not."""

    go: bool
    why: str


class Asked(Frozen):
    """What asks for it, now (seconds since 1970), and what is known.

    `due` is the time of the schedule whose turn it is, `new_rows` how many rows the champion did not see.
    """

    reason: Reason
    now: float
    due: str = ""
    last: Last | None = None
    new_rows: int | None = None


def decide(policy: RetrainPolicy, asked: Asked) -> Decision:
    """Whether it is trained again."""
    against = next(_against(policy, asked), "")
    said = "asked for by hand" if asked.reason == "hand" else f"{asked.reason}, and nothing speaks against it"
    return Decision(go=not against, why=against or said)


def _against(policy: RetrainPolicy, asked: Asked) -> Iterator[str]:
    """What speaks against it, weightiest first."""
    last = asked.last
    if last is not None and last.state == "running":
        yield "another one is under way"
    if asked.reason == "hand":
        return
    if asked.reason not in policy.on:
        yield f"{asked.reason} is not among retrain.on"
    if last is not None and last.state == "done":
        if asked.due and last.due and _was_done(asked, last):
            yield f"it was done for {last.due} before"
        wait, since = _wait(policy, asked, last), (asked.now - last.at) / HOUR
        # A time far ahead is that of a clock that was wrong.
        if -wait < since < wait:
            yield f"the last one began {max(since, 0):.1f} hours ago, less than {wait:g}"
    least = max(policy.least_new_rows, int(asked.reason == "data"))
    if asked.new_rows is not None and asked.new_rows < least:
        yield f"{asked.new_rows:,} new rows are fewer than {least:,}"


def _was_done(asked: Asked, last: Last) -> bool:
    """Whether a time of a schedule was served, be it by a later one. One that lies ahead is a wrong clock's."""
    due, before = (datetime.fromisoformat(one) for one in (asked.due, last.due))
    return due == before or due < before <= datetime.fromtimestamp(asked.now, UTC)


def _wait(policy: RetrainPolicy, asked: Asked, last: Last) -> float:
    """Hours that have to lie between them. The times of a schedule are those of whoever made it."""
    if asked.reason != "schedule":
        return max(policy.window_hours, policy.cool_down_hours)
    return 0.0 if last.reason == "schedule" else STANDS_IN * policy.window_hours
