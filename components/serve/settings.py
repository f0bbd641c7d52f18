"""What a person sets of a server: limits, engine, and what is kept of requests."""

from typing import Literal

from pydantic import Field

from components.contracts.config import StepConfig


class LogConfig(StepConfig):
    """What is kept of requests."""

    share: float = Field(1.0, ge=0, le=1, description="share of requests that is looked at; 0: nothing is logged")
    rows: int = Field(1000, ge=1, description="rows that are kept of each `seconds` at most, drawn evenly")
    seconds: float = Field(60.0, gt=0, description="how often they are written")
    redact: tuple[str, ...] = Field((), description="columns that are never written")
    write: tuple[str, ...] = Field((), description="columns of files or free text that are written all the same")


class ServeConfig(StepConfig):
    """What a server takes on."""

    most_bytes: int = Field(16 * 2**20, ge=1, description="the largest body of a request, in bytes; more is 413")
    most_rows: int = Field(10_000, ge=1, description="the most rows of a request; more is 413")
    batch_rows: int = Field(256, ge=1, description="rows that are answered together at most; 1: none are")
    queue_rows: int = Field(20_000, ge=1, description="rows that wait at most; more is 429")
    body_seconds: float = Field(10.0, gt=0, description="how long a client may take to send its body; more is 408")
    answer_seconds: float = Field(30.0, gt=0, description="how long an answer may take; more is 503")
    engine: Literal["torch", "onnx"] = Field(
        "torch", description="what runs the network; onnx: ONNX Runtime, which takes less time for small ones"
    )
    look_seconds: float = Field(1.0, gt=0, description="how often the champion is looked for")
    lines: bool = Field(True, description="whether each request is a line of JSON on standard error")
    log: LogConfig = Field(LogConfig(), description="what is kept of requests and answers")
