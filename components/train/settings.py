"""What a person sets of training: the recipe's `train` section. What says where, or how safely, changes no result."""

from typing import Annotated, Literal

from pydantic import Field

from components.contracts.config import StepConfig, placed
from components.train.pretrained import Pretrained
from components.train.teaching import Teacher

TIMEOUT_SECONDS = 90.0


class TrainSettings(StepConfig):
    """How to train; the recipe's `train` section."""

    max_epochs: int = Field(20, ge=1, description="passes over the training rows, at most")
    max_minutes: float = Field(
        0.0, ge=0, description="end after so many minutes of training, with the best epoch until then; 0: never"
    )
    batch_size: int = Field(64, ge=1, description="rows per batch, over all processes together")
    accumulate: int = Field(
        1, ge=1, description="batches whose gradients are added up for one step: a larger batch in the same memory"
    )
    optimizer: Literal["adamw", "adam", "sgd"] = Field("adamw", description="sgd: with Nesterov's momentum")
    learning_rate: float = Field(1e-3, gt=0, description="peak step size")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    weight_decay: float = Field(1e-2, ge=0, description="decay of the weights; of adamw, apart from the gradient")
    schedule: Literal["one-cycle", "cosine", "plateau", "constant"] = Field(
        "one-cycle",
        description="one-cycle: up for `warm_up` of the steps, then by a cosine to zero, momentum the other way round "
        "(Smith 2018); cosine: the same with momentum as it is; plateau: a tenth whenever `plateau` epochs brought "
        "nothing better",
    )
    warm_up: float = Field(
        0.3, ge=0, lt=1, description="of one-cycle and cosine: share of the steps in which the step size rises"
    )
    plateau: int = Field(3, ge=1, description="of the schedule plateau: epochs without a better one")
    precision: Literal["float32", "bfloat16", "float16", "auto"] = Field(
        "float32",
        description="what the network computes with in training; bfloat16: products in half the bits, weights and loss "
        "in float32 (a CPU with AVX512-BF16 or AMX and any GPU since 2020 are faster with it, other CPUs many times "
        "slower); float16: for older GPUs, with the loss scaled; auto: bfloat16 where it is faster, else float32",
    )
    compile: bool = Field(
        False,
        description="compile the network with torch.compile, up to half a minute before the first step: for GPUs; on "
        "two cores of a CPU steps of five networks took 0.99 to 1.3 times as long (and it needs a C++ compiler)",
    )
    deterministic: bool = Field(
        True, description="the same seed gives the same weights on the same hardware; false: faster on some GPUs"
    )
    clip: float = Field(0.0, ge=0, description="gradients longer than this are shortened to it; 0: none are")
    patience: int = Field(0, ge=0, description="end after this many epochs without a better one; 0: never")
    monitor: str = Field(
        "loss", description="validation metric that chooses the epoch: loss, or one that the objective offers"
    )
    shuffle: Literal["auto", "everywhere", "nearby"] = Field(
        "auto",
        description="everywhere: any row may come next; nearby: rows of neighbouring blocks are mixed, for data that "
        "exceed memory; auto: everywhere, while the training rows take up to half of the memory",
    )
    pretrained: Pretrained | None = Field(None, description="weights that training begins with")
    teacher: Teacher | None = Field(None, description="a registered model that a smaller one learns from")
    seed: int = Field(0, ge=0, description="of weights, order and dropout")
    accelerator: Literal["auto", "cpu", "gpu"] = placed("auto", description="auto: a GPU where there is one")
    devices: Annotated[int, Field(ge=1)] | Literal["auto"] = placed(
        "auto", description="GPUs, or on a CPU processes; auto: every GPU there is, else one process"
    )
    strategy: Literal["auto", "ddp", "fsdp"] = placed(
        "auto",
        description="several processes: ddp, each has the whole model; fsdp: each has a share of it, where one could "
        "not hold it all",
    )
    nodes: int = placed(1, ge=1, description="machines that train together, each with as many devices")
    rendezvous: str = placed(
        "", pattern=r"^([\w.-]+:\d{1,5})?$", description="host:port of the first machine, where `nodes` are several"
    )
    timeout_seconds: float = placed(
        TIMEOUT_SECONDS,
        ge=2,
        description="a process that makes no step for so long is stuck, and is ended; its first step, for which it may "
        "compile or wait for data and a GPU, may take three times as long",
    )
    restarts: int = placed(
        1, ge=0, description="how often training that was killed or stuck goes on from its newest checkpoint"
    )
    checkpoint_seconds: float = placed(
        60.0, gt=0, description="at most so much of training is lost when the machine goes away"
    )
    checkpoint_steps: int = placed(0, ge=0, description="also a checkpoint after every so many steps; 0: none")
    keep_checkpoints: int = placed(2, ge=1, description="how many of the newest stay until training is done")
    log_steps: int = placed(50, ge=0, description="note the loss of every so many steps; 0: epochs only")
