"""What a server counts, in Prometheus' text format."""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from typing import Any

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Seconds up to which requests are counted together."""
ROUTES = ("/invocations", "/explain", "/models", "/version", "/metrics", "/openapi.json")
"""What paths are counted as: a client cannot make up others."""


class Metrics:
    """Counters of one process; `served` are its models."""

    def __init__(self, served: Mapping[str, Any]) -> None:
        self._served = served
        self._requests: Counter[tuple[str, int]] = Counter()
        self._times = [0] * (len(BOUNDS) + 1)
        self._seconds, self._rows, self._began = 0.0, 0, time.time()

    def counted(self, path: str, status: int, rows: int, seconds: float) -> None:
        """Count one request."""
        route = next((one for one in ROUTES if path.startswith(one)), "other")
        self._requests[route, status] += 1
        self._times[bisect_left(BOUNDS, seconds)] += 1
        self._seconds += seconds
        self._rows += rows

    def text(self) -> str:
        """All of it."""
        lines = ["# TYPE millrace_requests_total counter"]
        lines += [
            f'millrace_requests_total{{route="{route}",status="{status}"}} {count}'
            for (route, status), count in sorted(self._requests.items())
        ]
        lines.append("# TYPE millrace_request_seconds histogram")
        total = 0
        for bound, count in zip((*BOUNDS, "+Inf"), self._times, strict=True):
            total += count
            lines.append(f'millrace_request_seconds_bucket{{le="{bound}"}} {total}')
        lines += [f"millrace_request_seconds_sum {self._seconds:.6f}", f"millrace_request_seconds_count {total}"]
        lines += ["# TYPE millrace_rows_total counter", f"millrace_rows_total {self._rows}"]
        for name, kind, value in (
            ("waiting_rows", "gauge", lambda one: one.batcher.waiting_rows),
            ("swaps_total", "counter", lambda one: one.host.swaps),
            ("refused_version", "gauge", lambda one: int(bool(one.host.refused))),
            ("logged_rows_total", "counter", lambda one: one.log.written),
            ("log_lost_rows_total", "counter", lambda one: one.log.lost),
        ):
            lines.append(f"# TYPE millrace_{name} {kind}")
            lines += [f'millrace_{name}{{model="{model}"}} {value(one)}' for model, one in self._served.items()]
        lines.append("# TYPE millrace_model_info gauge")
        lines += [
            f'millrace_model_info{{model="{model}",version="{one.host.now.place.version}"}} 1'
            for model, one in self._served.items()
        ]
        lines += _drift(self._served)
        lines += ["# TYPE millrace_start_time_seconds gauge", f"millrace_start_time_seconds {self._began:.0f}"]
        return "\n".join(lines) + "\n"


def _drift(served: Mapping[str, Any]) -> list[str]:
    """What monitoring found last of the models: the size of each change, how many are alarms, and when it looked."""
    known = {model: one.host.drift for model, one in served.items() if one.host.drift}
    if not known:
        return []
    lines = ["# TYPE millrace_drift gauge"]
    for model, found in known.items():
        lines += [
            f'millrace_drift{{model="{model}",what="{_quoted(what)}"}} {size}' for what, size in found["sizes"].items()
        ]
    lines.append("# TYPE millrace_drift_alarms gauge")
    lines += [f'millrace_drift_alarms{{model="{model}"}} {len(found["alarms"])}' for model, found in known.items()]
    lines.append("# TYPE millrace_drift_time_seconds gauge")
    lines += [f'millrace_drift_time_seconds{{model="{model}"}} {found["at"]:.0f}' for model, found in known.items()]
    return lines


def _quoted(text: str) -> str:
    """A label's value, as Prometheus' text format has it."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
