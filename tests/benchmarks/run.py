"""`make bench GOAL="G24 demo"`: each goal's comparisons, one JSON line each; fails where one does not pass."""

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.benchmarks import (
    accuracy,
    again,
    images,
    incremental,
    ingest,
    loaders,
    loading,
    memory,
    orchestration,
    prepare,
    scoring,
    serving,
    start_up,
    tracked,
    training,
)
from tests.benchmarks.measure import tell

GOALS = {
    "G24": (start_up.help_text,),
    "demo": (start_up.demo,),
    **{goal: orchestration.cases(goal) for goal in ("G16", "G17", "G18")},
    "G1": (loading.store,),
    "G2": (loading.torch_loader,),
    "G3": tuple(map(loaders.images, ("litdata", "mosaic", "webdataset", "huggingface"))),
    "G4": (loaders.columns("huggingface", 5, 10), loaders.columns("arrow", 1, 1)),
    "G5": (images.first_pass,),
    "G6": (images.second_epoch,),
    "G7": (images.optimize(whole=False), images.optimize(whole=True)),
    "G8": (ingest.polars, ingest.duckdb),
    "G9": (ingest.dask,),
    "G11": (ingest.growth, ingest.memory, ingest.workers),
    "G10": (prepare.nothing, prepare.little, prepare.little_text),
    "G26": (prepare.polars,),
    "G12": (training.loop("cnn", 128, 1.03, 1.0), training.loop("mlp", 64, 1.4, 1.15)),
    "G13": (training.lightning,),
    "G14": tuple(accuracy.beside(peer, part) for peer in accuracy.PEERS for part in ("whole", "training")),
    "G15": (training.one_process(1.5, 1.8), training.script(0.97, 1.0)),
    "G19": (tracked.cost, tracked.added),
    "G21": (scoring.script, scoring.command),
    "G22": (*map(serving.against, ("mlflow", "litserve", "bare")), serving.latency),
    "G23": (serving.together, serving.alone),
    "G25": (again.nothing, again.warm, again.anew),
    "memory": (memory.training,),
    "incremental": (incremental.media, incremental.middling_media, incremental.partitions, incremental.small_media),
}


def main(wanted):
    unknown = [one for one in wanted if one not in GOALS]
    if unknown:
        sys.exit(f"there is no goal {', '.join(unknown)}; there are: {', '.join(GOALS)}")
    # Each in a process of its own: what one has started or set does not reach another.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        failed = [one for goal in wanted or GOALS for one in pool.submit(below, goal, goal in wanted).result()]
    if failed:
        sys.exit(f"below what must hold: {', '.join(failed)}")


def below(goal, wanted):
    """Measure it; which of its cases do not pass."""
    failed = []
    for measure in GOALS[goal]:
        try:
            comparison = measure()
        except FileNotFoundError as missing:
            print(f"{goal} left out: {missing}", flush=True)
            failed += [f"{goal}, which needs data,"] if wanted else []
            continue
        tell(comparison)
        failed += [] if comparison.passes else [f"{goal} {comparison.case}"]
    return failed


if __name__ == "__main__":
    main(sys.argv[1:])
