"""Several training processes on this machine, and with those of others: torchrun's agent, in a child of the supervisor.

The agent starts a process for each device, meets the agents of other machines, and starts all anew when one of them
died, up to `restarts` times. Its processes are forked from the same server as it was, so that none imports torch anew.
"""

import json
import os
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from components.train.entry import PREEMPTED, attempted, leave, read, settle, teller

LOOK_SECONDS = 0.2
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
        max_restarts=settings["restarts"],
        monitor_interval=LOOK_SECONDS,
        start_method="forkserver",
        logs_specs=DefaultLogsSpecs(log_dir=str(scratch / "torchrun")),
    )
    code = 0
    try:
        elastic_launch(config, one_rank)(job_file, log, events, lifeline)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        # Who was killed ended first, whoever was seen to end first: the others fail because of it.
        killed = [one for one in range(settings["devices"]) if not _ended(scratch, one).exists()]
        rank = killed[0] if killed else failure.local_rank
        teller(events)({"event": "failed", "rank": rank, "killed": bool(killed)})
        code = 1
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


def _ended(scratch: Path, local: int) -> Path:
    """What a process leaves that ended by itself."""
    return scratch / f"{local}.ended"


def rank_log(log: str, local: int) -> str:
    """Where one process of several writes to."""
    return f"{log.removesuffix('.log')}-{local}.log"


def _nothing(_: dict[str, Any]) -> None:
    """Another process tells."""
