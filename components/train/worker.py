"""A training process: a job in, weights in its folder, events out. Imports torch and Lightning."""

import logging
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy
from torch.utils import deterministic

from components.train.checkpoints import Checkpoints
from components.train.data import DatasetModule
from components.train.exchange import Exchange, fits
from components.train.module import Learner
from components.train.pulse import Pulse
from components.train.ranks import Ranks, join, newest_of_all
from components.train.watch import Tell, Watch


def work(job: dict[str, Any], tell: Tell, ranks: Ranks = Ranks()) -> dict[str, Any]:
    """Train, or go on; returns the metrics of the kept epoch, all epochs' and the device used.

    Raises:
        PreemptedError: asked to stop; a checkpoint stands.
    """
    settings = job["settings"]
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning")
    pulse = Pulse(Path(job["pulse"]), ranks.local)
    gpu = settings["accelerator"] != "cpu" and torch.cuda.is_available()
    join(ranks, gpu=gpu, timeout_seconds=settings["timeout_seconds"])
    torch.manual_seed(settings["seed"])
    torch.use_deterministic_algorithms(settings["deterministic"], warn_only=True)
    # Filling every new tensor is for finding reads of what was never written; it costs a third of a step.
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # a property of the module
    data = DatasetModule(job, rank=ranks.rank, ranks=ranks.world)
    learner = Learner(job, len(data.training))
    if ranks.world > 1:
        # Weights are the same everywhere; what is drawn from now on is not.
        torch.manual_seed(settings["seed"] + 1 + ranks.rank)
    made_by = {"model": job["model"], "objective": job["objective"]}
    checkpoints = Checkpoints(Path(job["checkpoints"]), made_by, settings["keep_checkpoints"])
    watch = learner.watch = Watch(tell, job, checkpoints, pulse, ranks)
    watch.listen()
    found = newest_of_all(
        ranks, checkpoints, learner.network.state_dict(), lambda line: tell({"event": "warning", "line": line})
    )
    if found is not None:
        learner.network.load_state_dict(found.weights)
        data.load_state_dict(found.state["data"])
        learner.epoch = data.training.epoch
        watch.go_on(found.state)
    if settings["compile"]:
        learner.compiled()
    left = 0 if watch.over else settings["max_epochs"] - data.training.epoch
    if left:
        _trainer(job, learner, watch, left, ranks, gpu=gpu).fit(learner, datamodule=data)
    if ranks.local == 0:
        watch.keep(Path(job["folder"]) / "weights.safetensors")
    return {"metrics": watch.best, "history": watch.history, "device": watch.device, "step": watch.step}


def _trainer(
    job: dict[str, Any], learner: Learner, watch: Watch, epochs: int, ranks: Ranks, *, gpu: bool
) -> pl.Trainer:
    settings = job["settings"]
    strategy: Any = "auto"
    callbacks: list[pl.Callback] = [watch]
    if ranks.world > 1:
        shared = settings["strategy"] == "fsdp"
        strategy = (
            ModelParallelStrategy(data_parallel_size=ranks.world, tensor_parallel_size=1)
            if shared
            else DDPStrategy(find_unused_parameters=learner.partly_learnt)
        )
        if not shared and not gpu and fits(ranks):
            callbacks.append(Exchange(ranks, Path(job["pulse"]), settings["timeout_seconds"]))
    return pl.Trainer(
        accelerator="gpu" if gpu else "cpu",
        devices=ranks.here,
        num_nodes=ranks.nodes,
        strategy=strategy,
        max_epochs=epochs,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        # Half the bits are used where the network is called, not in the whole step: a stretch is many steps.
        precision="32-true",
        default_root_dir=job["folder"],
    )
