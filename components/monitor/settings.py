"""What monitoring compares, and from where on it speaks up."""

from pydantic import Field

from components.contracts.config import StepConfig


class MonitorConfig(StepConfig):
    """How new rows are held against the rows that a model was tested on."""

    rows: int = Field(
        2000, ge=50, le=100_000, description="of new rows, and of test rows, at most so many are compared"
    )
    least_rows: int = Field(100, ge=10, description="of fewer new rows nothing is said")
    alarm_rate: float = Field(
        0.01, gt=0, le=0.2, description="share of batches that have not moved and are taken for moved, at most"
    )
    least_shift: float = Field(
        0.1, ge=0, description="population stability index of a column or the answers from which on it matters"
    )
    least_share: float = Field(
        0.02, ge=0, description="change of the share of missing cells, or of refused rows, from which on it matters"
    )
    least_apart: float = Field(
        0.6,
        ge=0.5,
        le=1,
        description="pictures, texts, sounds: area under the ROC curve of a classifier of old and new rows from which "
        "on it matters; 0.5: they cannot be told apart",
    )
    least_worse: float = Field(
        0.1, ge=0, description="where labels are there: how much worse answers are, in deviations, before it matters"
    )
    draws: int = Field(
        100, ge=0, le=1000, description="batches drawn from the test rows themselves, to count false alarms; 0: none"
    )
    leave_out: tuple[str, ...] = Field((), description="columns that are not compared")
