"""Who watches training from inside: says how it goes, keeps the best epoch, writes checkpoints, and stops when asked.

A step costs a look at the clock. About twice a second more is done: losses are looked at and told, and it is seen
whether a checkpoint is due or somebody asked to stop. Several processes do this after the same step, which they agree
on, since a checkpoint needs all of them.
"""

import math
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import Callback
from safetensors.torch import save_file
from torch import Tensor

from components.train.blame import blamed
from components.train.checkpoints import Checkpoints, Progress
from components.train.pulse import Pulse
from components.train.ranks import Ranks, agreed, gathered
from components.train.sharding import optimizer_state, take_state, whole

Tell = Callable[[dict[str, Any]], None]
LOOK_SECONDS = 0.5
MOST_STEPS = 1000
"""Several processes look at least after so many steps."""
LAST_GOOD = "last-good.safetensors"
LONG_CHECK_SECONDS, LONG_EPOCH_SECONDS = 5.0, 30.0
"""A validation that takes so long, or the first one after so long, has a checkpoint before it."""


class PreemptedError(BaseException):
    """The process was asked to stop; a checkpoint of the last step stands. Not an Exception, since nothing failed."""


class Watch(Callback):
    """What is known of a training, and what is done about it."""

    def __init__(self, tell: Tell, job: dict[str, Any], checkpoints: Checkpoints, pulse: Pulse, ranks: Ranks) -> None:
        self._settings, self._total = job["settings"], job["settings"]["max_epochs"]
        self._sign = 1 if job["more_is_better"] else -1
        self._checkpoints, self._pulse, self._ranks = checkpoints, pulse, ranks
        self._tell = tell if ranks.rank == 0 else lambda _: None
        self._asked = False
        self._began = self._looked = self._saved = time.monotonic()
        self._next, self._looked_step = 1, 0
        self._losses: list[tuple[int, Tensor]] = []
        self._loss = torch.zeros(())
        self._trainer: Any = None
        self._learner: Any = None
        self._going_on: dict[str, Any] = {}
        self._elapsed = 0.0
        self._best_epoch = 0
        self._norm = 0.0
        self._checking: float | None = None
        self._learnt, self._stands = self._began, False
        self.over, self.measures = False, bool(self._settings["log_steps"])
        self.step = 0
        self.best: dict[str, float] = {}
        self.history: list[dict[str, float]] = []
        self.weights: dict[str, Tensor] = {}
        self.device = ""

    def go_on(self, state: dict[str, Any]) -> None:
        """Take up what a checkpoint says; optimisers follow when there are some."""
        mine = state["watch"]
        self.step, self.over, self.history, self.best = mine["step"], mine["over"], mine["history"], mine["best"]
        self._best_epoch, self._elapsed, self.weights = mine["best_epoch"], mine["elapsed"], mine["weights"]
        self._going_on, self._next, self._looked_step = state, self.step + 1, self.step

    def listen(self, *_: Any) -> None:
        """Take the signal that asks to stop."""
        signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, *_: Any) -> None:
        self._asked = True
        self._looked = -math.inf

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Note the device (when fit returns, the module is back on the CPU) and go on from where training was."""
        self._trainer, self._learner, self.device = trainer, module, str(module.device)
        # Lightning has put a handler of its own in place.
        self.listen()
        state = self._going_on
        if not state:
            return
        for one, known in zip(trainer.strategy.optimizers, state["optimizers"], strict=True):
            take_state(one, known)
        module.go_on(state["learner"])
        if len(state["ranks"]) == self._ranks.world:
            mine = state["ranks"][self._ranks.rank]
            torch.set_rng_state(mine["random"])
            if module.device.type == "cuda" and "cuda" in mine:
                torch.cuda.set_rng_state(mine["cuda"], module.device)
            module.take_sums([mine])
        elif self._ranks.rank == 0:
            module.take_sums(state["ranks"])
        self._tell({"event": "resumed", "step": self.step, "history": self.history})
        self._going_on = {}

    def learnt(self, loss: Tensor, *, left: int) -> None:
        """A step was made."""
        self.step += 1
        self._loss = loss
        self._pulse.beat()
        if not left:
            self._learnt = time.monotonic()
        every = self._settings["log_steps"]
        if every and self.step % every == 0:
            self._losses.append((self.step, loss))
        wanted = self._settings["checkpoint_steps"]
        before = left == 1 and self._checks_long()
        due = before or (wanted > 0 and self.step % wanted == 0)
        if self._ranks.world > 1:
            # Whether the validation takes long, each process knows for itself.
            if self.step < self._next and not due and left != 1:
                return
        elif time.monotonic() - self._looked < LOOK_SECONDS and not due:
            return
        self._look(last=not left, due=due)
        self._stands = left < 2 and (self._stands or self._saved >= self._looked)

    def looked(self) -> None:
        """A part of a step was made."""
        self._pulse.beat()

    def checked(self) -> None:
        """A validation batch was looked at; nobody waits for the last one where a checkpoint stands before them all."""
        self._pulse.beat()
        if self._asked and self._stands:
            raise PreemptedError

    def _checks_long(self) -> bool:
        """Whether the validation to come may take longer than somebody who asks to stop would wait."""
        if self._checking is None:
            return time.monotonic() - self._began > LONG_EPOCH_SECONDS
        return self._checking > LONG_CHECK_SECONDS

    def measured(self, norm: float) -> None:
        """The gradient is so long."""
        self._norm, self.measures = norm, False

    def _look(self, *, last: bool, due: bool) -> None:
        now = time.monotonic()
        seconds = max(now - self._looked, 1e-6) if math.isfinite(self._looked) else LOOK_SECONDS
        steps = self.step - self._looked_step
        interval = max(1, min(MOST_STEPS, int(LOOK_SECONDS * steps / seconds)))
        late = bool(self._limit) and self._spent(now) > self._limit
        wrong = not math.isfinite(float(self._loss))
        said = (self._asked, due or self._due(now), late, wrong, interval)
        asked, wanted, over, failed, interval = agreed(self._ranks, said, self._learner.device)
        self._looked, self._looked_step, self._next = now, self.step, self.step + interval
        if failed:
            self._fail(self._learner.seen)
        self._report(steps / seconds)
        self.over = self.over or bool(over)
        # After the last step of an epoch its validation comes first.
        if last or self.over:
            self._saved = -math.inf if wanted else self._saved
        elif asked or wanted:
            self._save()
            if asked:
                raise PreemptedError

    @property
    def _limit(self) -> float:
        return 60.0 * float(self._settings["max_minutes"])

    def _spent(self, now: float) -> float:
        return self._elapsed + now - self._began

    def _due(self, now: float) -> bool:
        return bool(now - self._saved >= self._settings["checkpoint_seconds"])

    def _fail(self, seen: Any) -> None:
        """Raise, since a loss is no number; what was good until then is kept."""
        error = blamed(self._learner.network, seen, self._learner.epoch + 1)
        if self.weights and self._ranks.local == 0:
            self._checkpoints.folder.mkdir(parents=True, exist_ok=True)
            path = self._checkpoints.folder / LAST_GOOD
            save_file(_contiguous(self.weights), path)
            error = error.advised(f"the weights of epoch {self._best_epoch + 1} are kept in {path}")
        raise error

    def _report(self, rate: float) -> None:
        done = self._learner.epoch + self._share()
        event = {"event": "step", "done": min(done, self._total), "total": self._total, "metrics": {}}
        rows = self._settings["batch_size"] * self._settings["accumulate"]
        now = {
            "loss": float(self._loss),
            "learning_rate": self._trainer.strategy.optimizers[0].param_groups[0]["lr"],
            **({"rows_per_second": rate * rows} if rate else {}),
            **({"gradient_norm": self._norm} if self._norm else {}),
        }
        losses = [[step, float(loss)] for step, loss in self._losses]
        self._losses.clear()
        self.measures = bool(self._settings["log_steps"])
        self._tell({**event, "step": self.step, "losses": losses, "now": now})

    def _share(self) -> float:
        """How much of the epoch was learnt."""
        data = self._trainer.datamodule.training
        return float(data.batch / max(len(data), 1)) if data.epoch == self._learner.epoch else 1.0

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """Compare with the best epoch so far, after its validation."""
        self._checking, self._stands = time.monotonic() - self._learnt, False
        metrics = module.epoch_metrics()
        if not all(map(math.isfinite, metrics.values())):
            self._fail(module.seen)
        self.history.append(metrics)
        monitored = metrics[f"validation_{self._settings['monitor']}"]
        better = not self.best or self._sign * monitored > self._sign * self.best[self._monitored]
        if better:
            self.best, self._best_epoch = metrics, module.epoch
            self.weights = {name: value.clone() for name, value in self._weights().items()}
        if self.step < self._settings["log_steps"]:
            self._losses.append((self.step, self._loss))
        if self._losses:
            self._report(0.0)
        patience = self._settings["patience"]
        self.over = self.over or bool(patience and module.epoch - self._best_epoch >= patience)
        module.ended(monitored)
        self._tell({
            "event": "epoch",
            "done": module.epoch,
            "total": self._total,
            "metrics": metrics,
            "step": self.step,
        })
        now = time.monotonic()
        ended = self.over or module.epoch >= self._total
        asked, due, *_ = agreed(self._ranks, (self._asked, self._due(now), 0, 0), module.device)
        if (asked or due) and not ended:
            self._save()
            if asked:
                raise PreemptedError
        trainer.should_stop = ended

    @property
    def _monitored(self) -> str:
        return f"validation_{self._settings['monitor']}"

    def _weights(self) -> dict[str, Tensor]:
        """The network's, whole and on the CPU; of shared ones every process has to ask."""
        return {name: whole(value).detach().cpu() for name, value in self._learner.network.state_dict().items()}

    def _save(self) -> None:
        began = time.monotonic()
        strategy, data = self._trainer.strategy, self._trainer.datamodule
        weights, optimizers = self._weights(), [optimizer_state(one) for one in strategy.optimizers]
        if not all(bool(weights[name].isfinite().all()) for name, _ in self._learner.network.named_parameters()):
            # The loss may have been one yet: its gradient was not.
            self._fail(self._learner.seen)
        mine = {"random": torch.get_rng_state(), **self._learner.sums()}
        if self._learner.device.type == "cuda":
            mine["cuda"] = torch.cuda.get_rng_state(self._learner.device)
        ranks = gathered(self._ranks, mine)
        if self._ranks.local == 0:
            watch = {
                "step": self.step,
                "over": self.over,
                "history": self.history,
                "best": self.best,
                "best_epoch": self._best_epoch,
                "elapsed": self._spent(began),
                "weights": self.weights,
            }
            state = {
                "watch": watch,
                "data": data.state_dict(),
                "optimizers": optimizers,
                "learner": self._learner.progress(),
                "ranks": ranks,
            }
            self._checkpoints.save(self.step, Progress(weights=weights, state=state))
        # Nobody leaves while another one writes.
        agreed(self._ranks, (0,), self._learner.device)
        self._saved = time.monotonic()
        self._tell({"event": "checkpoint", "step": self.step, "seconds": self._saved - began})

    def keep(self, path: Path) -> None:
        """Write the best epoch's weights."""
        save_file(_contiguous(self.weights), path)


def _contiguous(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.contiguous() for name, value in weights.items()}
