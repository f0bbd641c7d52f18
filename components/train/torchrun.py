"""Several training processes on this machine, and with those of others: torchrun's agent, in a child of the supervisor.

The agent starts a process for each device and meets the agents of other machines. When a process died, several agents
start all anew together, up to `restarts` times; a single one ends, and its supervisor decides. Its processes are forked
from the same server as it was, so that none imports torch anew.
"""

import json
import os
import re
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from components.train.endings import tail
from components.train.entry import PREEMPTED, attempted, leave, read, settle, teller

LOOK_SECONDS = 0.2
GONE = re.compile(r"Connection (closed|reset|refused)|closed by peer|DistBackendError|DistNetworkError|Broken pipe")
"""How the libraries below say that another process is not there any more."""
OWN_STORES = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
"""Set, processes that were started anew meet at a new address. Else they may find each other where they were before."""


def lead(job_file: str, log: str, events: Connection, lifeline: Connection) -> None:
    """Be the agent of one machine for the job of `job_file`."""
    settle(log, lifeline)
    os.environ[OWN_STORES] = "1"
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    job = read(job_file)
    settings, scratch = job["settings"], Path(job["scratch"])
    config = LaunchConfig(
        min_nodes=settings["nodes"],
        max_nodes=settings["nodes"],
        nproc_per_node=settings["devices"],
        run_id=job["meeting"],
        rdzv_backend="c10d",
        rdzv_endpoint=settings["rendezvous"] or "127.0.0.1:0",
        rdzv_configs={"timeout": settings["timeout_seconds"]},
        max_restarts=settings["restarts"] if settings["nodes"] > 1 else 0,
        monitor_interval=LOOK_SECONDS,
        start_method="forkserver",
        logs_specs=DefaultLogsSpecs(log_dir=str(scratch / "torchrun")),
    )
    code = 0
    try:
        elastic_launch(config, one_rank)(job_file, log, events, lifeline)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        ended = [one for one in range(settings["devices"]) if _ended(scratch, one).exists()]
        rank, killed = first(failure.local_rank, failure.exitcode, ended, rank_logs(log, settings["devices"]))
        teller(events)({"event": "failed", "rank": rank, "killed": killed})
        code = PREEMPTED if failure.exitcode == PREEMPTED else 1
    except SignalException:
        code = PREEMPTED
    except BaseException:  # noqa: BLE001 - the child's last resort
        traceback.print_exc()
        code = 1
    leave(code)


def one_rank(job_file: str, log: str, events: Connection, lifeline: Connection) -> None:
    """Be one process of several."""
    from components.train.ranks import ranks_of

    ranks, scratch = ranks_of(os.environ), Path(log.removesuffix(".log"))
    _ended(scratch, ranks.local).unlink(missing_ok=True)
    settle(rank_log(log, ranks.local), lifeline)
    # One process writes to the pipe: messages of several could be mixed.
    tell = teller(events) if ranks.local == 0 else _nothing
    job = read(job_file)
    code, error = attempted(job, tell, ranks=ranks)
    if error is not None:
        unfinished = scratch / f"{ranks.local}.unfinished"
        unfinished.write_text(json.dumps(error))
        unfinished.rename(unfinished.with_suffix(".error"))
        code = 1
    _ended(scratch, ranks.local).touch()
    # The agent waits for who went well to return.
    if code:
        leave(code)


def first(seen: int, code: int, ended: list[int], logs: list[Path]) -> tuple[int, bool]:
    """Which of several processes failed first, and whether it was killed; the agent has `seen` one, with its exit code.

    The others fail because of it: those that `ended` by themselves then say in their logs that somebody is gone.
    """
    if code < 0:
        return seen, True
    if not GONE.search(tail(logs[seen])):
        return seen, False
    killed = [one for one in range(len(logs)) if one not in ended]
    own = [one for one in ended if not GONE.search(tail(logs[one]))]
    return (killed or own or [seen])[0], bool(killed)


def _ended(scratch: Path, local: int) -> Path:
    """What a process leaves that ended by itself."""
    return scratch / f"{local}.ended"


def rank_log(log: str, local: int) -> str:
    """Where one process of several writes to."""
    return f"{log.removesuffix('.log')}-{local}.log"


def rank_logs(log: str, number: int) -> list[Path]:
    """Where each process writes to."""
    return [Path(rank_log(log, one)) for one in range(number)]


def _nothing(_: dict[str, Any]) -> None:
    """Another process tells."""
