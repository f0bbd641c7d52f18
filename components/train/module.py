"""The Lightning module: how it is learnt from batches, one optimiser or one for each player.

Steps are made here and not by Lightning's loop, which costs as much as a small model's step (data.py).
"""

import math
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from components.contracts.spec import ROW_WEIGHT
from components.train.data import Stretch
from components.train.forward import Forward
from components.train.optimizers import optimizer_of, schedule_of
from components.train.sharding import shard, whole
from components.train.starting import groups, thaw


class Watch(Protocol):
    """Who is told of every step (watch.py)."""

    over: bool
    """Nothing more is to be learnt."""
    measures: bool
    """The next step's gradient is to be measured."""

    def learnt(self, loss: Tensor, *, left: int) -> None:
        """A step was made; so many are left of its epoch."""

    def looked(self) -> None:
        """A part of a step was made."""

    def checked(self) -> None:
        """A validation batch was looked at."""

    def measured(self, norm: float) -> None:
        """The gradient is so long."""


class Unwatched:
    """Tells nobody."""

    over = measures = False

    def learnt(self, loss: Tensor, *, left: int) -> None:
        """Nothing."""

    def looked(self) -> None:
        """Nothing."""

    def checked(self) -> None:
        """Nothing."""

    def measured(self, norm: float) -> None:
        """Nothing."""


class Learner(Forward):
    """One job's model in training."""

    def __init__(self, job: dict[str, Any], steps_per_epoch: int) -> None:
        super().__init__(job)
        self._batches, self._accumulate = steps_per_epoch, self.settings["accumulate"]
        self._steps = -(-steps_per_epoch // self._accumulate) * self.settings["max_epochs"]
        self._more_is_better = job["more_is_better"]
        self._pretrained = self.settings["pretrained"] or {"rates": {}, "freeze": {}}
        self._players: tuple[str, ...] = getattr(self.objective, "players", ())
        self._lost: dict[str, Tensor] = {}
        self.automatic_optimization = False
        self.watch: Watch = Unwatched()
        self.schedules: list[Any] = []
        kind = "cuda" if torch.cuda.is_available() and self.settings["accelerator"] != "cpu" else "cpu"
        self.scaler = torch.amp.GradScaler(kind, enabled=self.settings["precision"] == "float16")

    def training_step(self, batches: Stretch, _: int) -> None:
        """Learn from batches in a row."""
        moved = self.device.type != "cpu"
        for number, batch in batches:
            if self.watch.over:
                self.watch.looked()
                return
            here = self.transfer_batch_to_device(batch, self.device, 0) if moved else batch
            if self._players:
                self.watch.learnt(self._play(here, number), left=self._batches - number - 1)
                continue
            loss = self.loss_of(here, number)
            # Who waits for another's gradients is further than the one who does not come so far.
            self.watch.looked()
            whole = (number + 1) % self._accumulate == 0 or number + 1 == self._batches
            self._learn(loss, number)
            if whole:
                self._advance()
                self.watch.learnt(loss.detach(), left=-((number + 1 - self._batches) // self._accumulate))

    def configure_model(self) -> None:
        """Divide the network among the processes, where that was asked for."""
        if self.settings["strategy"] == "fsdp" and self.trainer.world_size > 1:
            shard(self.network, self.device_mesh["data_parallel"])

    @property
    def partly_learnt(self) -> bool:
        """Whether a loss may leave some weights without a gradient: another player's, frozen or a user's own ones."""
        return bool(self._players or self._pretrained["freeze"] or self._own)

    def on_validation_epoch_start(self) -> None:
        """Look with the first process's running means: the kept weights have them."""
        if self.trainer.world_size > 1:
            for one in self.network.buffers():
                torch.distributed.broadcast(one, 0)

    def on_train_epoch_start(self) -> None:
        """Let learn what is no longer frozen."""
        if self._pretrained["freeze"]:
            thaw(self.network, self._pretrained["freeze"], self.epoch)

    def validation_step(self, batches: Stretch, _: int) -> None:
        """The metrics of batches in a row."""
        moved = self.device.type != "cpu"
        for _number, batch in batches:
            self._step(self.transfer_batch_to_device(batch, self.device, 0) if moved else batch, "validation")
            self.watch.checked()

    def configure_optimizers(self) -> Any:
        """The optimisers, one for each player; their schedules are stepped here."""
        betas = self.objective.betas if self._players else (0.9, 0.999)
        rates, peak = self._pretrained["rates"], self.settings["learning_rate"]
        parts = [f"{name}." for name in self._players] or [""]
        made = [optimizer_of(groups(self.network, rates, peak, part), self.settings, betas) for part in parts]
        how = {"players": bool(self._players), "more_is_better": self._more_is_better}
        self.schedules = [one for each in made if (one := schedule_of(each, self.settings, self._steps, **how))]
        return made

    def ended(self, monitored: float) -> None:
        """Note the end of an epoch that reached this figure; a schedule may hang on it."""
        self.epoch += 1
        for one in self.schedules:
            if isinstance(one, ReduceLROnPlateau):
                one.step(monitored)

    def _learn(self, loss: Tensor, number: int) -> None:
        """Add the gradient of the `number`th batch's loss; the step is made from the mean of the batches it is for."""
        if self._accumulate > 1:
            first = number // self._accumulate * self._accumulate
            loss = loss / (min(first + self._accumulate, self._batches) - first)
        self._backward(self.scaler.scale(loss))

    def _backward(self, loss: Tensor) -> None:
        if self.trainer.world_size > 1:
            self.manual_backward(loss)
        else:
            torch.autograd.backward(loss)

    def _advance(self) -> None:
        optimizer = self.trainer.strategy.optimizers[0]
        if self.settings["clip"] or self.watch.measures:
            self.scaler.unscale_(optimizer)
        if self.watch.measures:
            self.watch.measured(norm(self.network))
        if self.settings["clip"]:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings["clip"])
        self.scaler.step(optimizer)
        self.scaler.update()
        optimizer.zero_grad()
        self._step_schedules()

    def _step_schedules(self) -> None:
        for one in self.schedules:
            if not isinstance(one, ReduceLROnPlateau):
                one.step()

    def _play(self, batch: dict[str, Tensor], number: int) -> Tensor:
        """Let the players learn in turn from one batch; the sum of their losses."""
        batch = _filled(batch)
        inputs, _, _ = self._augmented(self._inputs(batch), number)
        optimizers = self.trainer.strategy.optimizers
        rows = torch.tensor(float(len(batch[self._targets[0].config["name"]])))
        turns = self.objective.turns(self.network, inputs, number)
        lengths: list[float] = []
        while True:
            with self._cast():
                player, loss = next(turns, ("", None))
            if loss is None:
                break
            self._lost[player] = loss.detach()
            if not loss.requires_grad:
                # Its weights are frozen.
                continue
            optimizer = optimizers[self._players.index(player)]
            optimizer.zero_grad()
            self._backward(self.scaler.scale(loss))
            self.scaler.unscale_(optimizer)
            mine = getattr(self.network, player)
            if self.watch.measures:
                lengths.append(norm(mine))
            if self.settings["clip"]:
                torch.nn.utils.clip_grad_norm_(mine.parameters(), self.settings["clip"])
            self.scaler.step(optimizer)
            self.scaler.update()
        if lengths:
            self.watch.measured(math.hypot(*lengths))
        self._step_schedules()
        # Who had no turn lost as much as in the last one.
        self._add("train", {**{player: loss * rows for player, loss in self._lost.items()}, "rows": rows})
        return torch.stack(list(self._lost.values())).sum()

    def progress(self) -> dict[str, Any]:
        """What a checkpoint keeps beside weights and optimisers."""
        return {
            "epoch": self.epoch,
            "schedules": [one.state_dict() for one in self.schedules],
            "scaler": self.scaler.state_dict(),
        }

    def go_on(self, state: dict[str, Any]) -> None:
        """Take up what `progress` gave."""
        self.epoch = state["epoch"]
        for one, known in zip(self.schedules, state["schedules"], strict=True):
            one.load_state_dict(known)
        self.scaler.load_state_dict(state["scaler"])

    def compiled(self) -> None:
        """Compile the network where it stands; its weights keep their names."""
        self.network.compile()

    def sums(self) -> dict[str, Any]:
        """What this process has added up of the epoch."""
        sums = {split: {name: value.cpu() for name, value in one.items()} for split, one in self._sums.items()}
        return {"sums": sums, "lost": {name: value.cpu() for name, value in self._lost.items()}}

    def take_sums(self, given: list[dict[str, Any]]) -> None:
        """Take up what processes had added up."""
        for one in given:
            for split, sums in one["sums"].items():
                self._add(split, sums)
            self._lost = {name: value.to(self.device) for name, value in one["lost"].items()}


def norm(network: torch.nn.Module) -> float:
    """How long its gradient is."""
    gradients = [one.grad for one in network.parameters() if one.grad is not None]
    return float(whole(torch.nn.utils.get_total_norm(gradients))) if gradients else 0.0


def _filled(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """A batch without the rows that only fill it up, while two are left for normalisation."""
    real = batch[ROW_WEIGHT] > 0 if ROW_WEIGHT in batch else None
    if real is None or int(real.sum()) < 2 or not all(isinstance(one, Tensor) for one in batch.values()):
        return batch
    return {name: one[real] for name, one in batch.items()}
