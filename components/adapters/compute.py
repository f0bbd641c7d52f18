"""Dask, in the three sizes that partitions need: threads here, worker processes here, or a scheduler elsewhere.

Threads are as fast as processes up to about 140 MiB and start in 0.06 s instead of 2, so small data never start a
cluster; work that spends its time in C loops without the interpreter's lock (`native`) stays faster in threads at any
size (infra/decisions/0010). A function given to `map` is a module-level one, its items can be pickled, and it may run
twice: the commit kernel makes that harmless.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from components.contracts.errors import EnvironmentFault

THREADS_UP_TO_BYTES = 140 * 2**20
CONNECT_SECONDS = 10
POLL_SECONDS = 0.02
LOOK_SECONDS, LOOKS = 3.0, 3
"""How often workers are looked at while none finishes, and how often they have to be found paused."""
OWN_CLUSTER = {"distributed.scheduler.allowed-failures": 1, "distributed.scheduler.worker-saturation": 1.0}
"""An item that a worker process ended at is tried once more; no other waits there to be blamed for it."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Compute:
    """Runs one function over partitions."""

    def __init__(self, *, workers: int, address: str = "", synchronous: bool = False) -> None:
        self.workers, self.address, self.synchronous = workers, address, synchronous

    def map(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        size_bytes: int,
        done: Callable[[int, Any], None] = lambda *_: None,
        *,
        native: bool = False,
        names: Sequence[str] = (),
    ) -> list[Result]:
        """`function` of every item, in order; `done(finished, result)` as they finish. The first error ends the call.

        Raises:
            EnvironmentFault: E_WORKER, worker processes ended at one item, which `names` calls by its name.
        """
        if not items:
            return []
        if self.address or (size_bytes > THREADS_UP_TO_BYTES and not self.synchronous and not native):
            with self._client() as client:
                return self._in_processes(client, function, items, done, names=names)
        return self._here(function, items, done, native=native)

    def _here(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        done: Callable[[int, Any], None],
        *,
        native: bool,
    ) -> list[Result]:
        from dask._task_spec import Task
        from dask.local import get_sync
        from dask.threaded import get

        finished = 0

        def run(item: Item) -> Result:
            nonlocal finished
            result = function(item)
            finished += 1
            done(finished, result)
            return result

        # Written out: `delayed` would look through every item for graphs inside it, at twelve times the cost.
        graph = {number: Task(number, run, item) for number, item in enumerate(items)}
        if self.synchronous or len(items) == 1:
            return list(get_sync(graph, list(graph)))
        # One more than cores: while one waits for the disk, another works.
        return list(get(graph, list(graph), num_workers=self.workers + native))

    def _in_processes(
        self,
        client: Any,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        done: Callable[[int, Any], None],
        *,
        names: Sequence[str],
    ) -> list[Result]:
        from distributed import KilledWorker

        # Asked now: when a worker has just ended there may be none to ask.
        limit = _limit(client)
        futures = client.map(function, items, pure=False, retries=1)
        for finished, future in enumerate(_finished(futures, client, limit), 1):
            try:
                result = future.result()
            except KilledWorker as error:
                at = next(at for at, one in enumerate(futures) if one.key == future.key)
                raise _ended(names[at] if names else str(at), limit) from error
            done(finished, result)
        return list(client.gather(futures))

    @contextmanager
    def _client(self) -> Iterator[Any]:
        from dask import config
        from distributed import Client, LocalCluster

        logging.getLogger("distributed").setLevel(logging.ERROR)
        if self.address:
            try:
                client = Client(self.address, set_as_default=False, timeout=CONNECT_SECONDS)
            except (OSError, ValueError) as error:
                raise EnvironmentFault(
                    "E_SERVER_UNREACHABLE",
                    "no Dask scheduler answers there",
                    place="MILLRACE_DASK_ADDRESS",
                    value=self.address,
                    action="start that scheduler, or unset the variable to work on this machine",
                ) from error
            with client:
                yield client
            return
        # The default dashboard listens on every interface while its link says 127.0.0.1.
        with (
            config.set(OWN_CLUSTER),
            LocalCluster(
                n_workers=self.workers,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.ERROR,
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client


def _finished(futures: Sequence[Any], client: Any, limit: str) -> Iterator[Any]:
    """The futures as they finish.

    Raises:
        EnvironmentFault: E_WORKER, no worker takes work any more: each is over its memory with nothing in hand.
    """
    from distributed import as_completed

    left = as_completed(futures, loop=client.loop)
    looked = time.monotonic()
    idle = 0
    while not left.is_empty():
        if left.has_ready():
            idle, looked = 0, time.monotonic()
            yield next(left)
        elif time.monotonic() - looked < LOOK_SECONDS:
            time.sleep(POLL_SECONDS)
        else:
            looked = time.monotonic()
            idle = idle + 1 if _all_paused(client) else 0
            if idle == LOOKS:
                raise EnvironmentFault(
                    "E_WORKER",
                    f"every worker process waits for memory with no work in hand{limit}",
                    place="dask",
                    action="give the workers more memory, or start fewer of them",
                )


def _all_paused(client: Any) -> bool:
    """Whether every worker is paused, and none works at anything that it took before."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    busy = any(one["metrics"].get("task_counts", {}).get("executing") for one in workers)
    return bool(workers) and not busy and all(one["status"] == "paused" for one in workers)


def _limit(client: Any) -> str:
    limits = [worker["memory_limit"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()]
    return f", of which each may use {min(limits) >> 20} MiB of memory" if limits and min(limits) else ""


def _ended(name: str, limit: str) -> EnvironmentFault:
    return EnvironmentFault(
        "E_WORKER",
        f"worker processes ended whenever they worked on this part{limit}",
        place=name,
        action="look for what kills them (memory, a library that crashes); make parts smaller (source.…_per_partition)",
    )
