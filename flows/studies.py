"""A search's trials, kept on disk: what was tried, what it gave, what to try next. Wraps Optuna."""

import fcntl
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from flows.search import Choices, SearchConfig

STARTUP = 5
"""Trials that are drawn at random first, and that none is ended early before."""
WARM_UP = 2
"""Epochs of a trial before it may be ended."""


Past = tuple[list[float], float | None]
"""What a trial reached in each epoch, and in the end; None where it was ended early."""


class Study:
    """One search, resumable: a file in `folder`, which processes that search at the same time share.

    Each that retakes holds a lock until it is closed, so that what others are at is not taken for left behind.
    """

    def __init__(self, folder: Path, name: str, config: SearchConfig, *, more_is_better: bool) -> None:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(logging.ERROR)
        folder.mkdir(parents=True, exist_ok=True)
        self._config = config
        self._asked: dict[int, Any] = {}
        self.path = folder / f"{name}.log"
        self.study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(self.path))),
            study_name=name,
            direction="maximize" if more_is_better else "minimize",
            load_if_exists=True,
        )
        self._lock: IO[str] | None = None
        # A search that goes on draws others than it began with.
        seed = config.seed + len(self.study.get_trials(deepcopy=False))
        self.study.sampler = (
            optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP, constant_liar=True)
            if config.sampler == "tpe"
            else optuna.samplers.RandomSampler(seed=seed)
        )

    def close(self) -> None:
        """Let others take what was begun here for left behind."""
        if self._lock is not None:
            self._lock.close()

    @property
    def done(self) -> int:
        """Trials that ended, well or early."""
        return len([one for one in self.study.get_trials(deepcopy=False) if one.state.name in {"COMPLETE", "PRUNED"}])

    def retake(self) -> int:
        """Try again what processes that are gone had begun; how many."""
        from optuna.trial import TrialState

        self._lock = self._lock or self.path.with_suffix(".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Another search is under way: it may be its.
            fcntl.flock(self._lock, fcntl.LOCK_SH)
            return 0
        gone = self.study.get_trials(deepcopy=False, states=[TrialState.RUNNING])
        for one in gone:
            self.study.tell(one.number, state=TrialState.FAIL)
            self.study.enqueue_trial(dict(one.params))
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        return len(gone)

    def begin(self, values: Mapping[str, Any]) -> None:
        """Let the recipe's own values be tried first."""
        if not self.study.get_trials(deepcopy=False):
            known = {key: _stored(self._config.space[key], value) for key, value in values.items()}
            self.study.enqueue_trial(known)

    def ask(self) -> tuple[int, dict[str, Any]]:
        """The number of a new trial, and the values of its keys."""
        trial = self.study.ask(_distributions(self._config))
        self._asked[trial.number] = trial
        return trial.number, {key: _loaded(self._config.space[key], value) for key, value in trial.params.items()}

    def tell(self, number: int, history: Sequence[float], value: float | None) -> None:
        """What a trial reached in each epoch, and in the end; None where it was ended early or failed."""
        from optuna.trial import TrialState

        trial = self._asked.pop(number)
        for epoch, reached in enumerate(history, 1):
            trial.report(reached, epoch)
        state = TrialState.COMPLETE if value is not None else (TrialState.PRUNED if history else TrialState.FAIL)
        self.study.tell(trial, value, state=state)

    def past(self) -> list[Past]:
        """All ended trials, for `Judge`; none where no trial is to be ended early."""
        ended = [one for one in self.study.get_trials(deepcopy=False) if one.state.name in {"COMPLETE", "PRUNED"}]
        return [
            (list(one.intermediate_values.values()), one.value if one.state.name == "COMPLETE" else None)
            for one in ended
            if self._config.prune
        ]

    def best(self) -> tuple[int, dict[str, Any], float]:
        """The number, values and figure of the best trial."""
        found = self.study.best_trial
        values = {key: _loaded(self._config.space[key], value) for key, value in found.params.items()}
        return found.number, values, float(found.value)

    def importances(self) -> dict[str, float]:
        """How much of the figures' variance hangs on each key (fANOVA), as shares; none of fewer than four trials."""
        from optuna.importance import get_param_importances

        ended = [one for one in self.study.get_trials(deepcopy=False) if one.state.name == "COMPLETE"]
        if len(ended) < 4 or len(self._config.space) < 2 or len({one.value for one in ended}) < 2:
            return {}
        return {key: float(share) for key, share in get_param_importances(self.study).items()}

    def table(self) -> list[dict[str, Any]]:
        """Every trial: number, state, figure, epochs and values."""
        return [
            {
                "trial": one.number,
                "state": one.state.name.lower(),
                "figure": one.value,
                "epochs": len(one.intermediate_values),
                **{key: _loaded(self._config.space[key], value) for key, value in one.params.items()},
            }
            for one in self.study.get_trials(deepcopy=False)
            if one.params
        ]


class Judge:
    """Says of a trial's epoch whether earlier trials were better, wherever it runs."""

    def __init__(self, past: Sequence[Past], *, more_is_better: bool) -> None:
        import optuna
        from optuna.trial import TrialState, create_trial

        optuna.logging.set_verbosity(logging.ERROR)
        self._study = optuna.create_study(direction="maximize" if more_is_better else "minimize")
        for history, value in past:
            state = TrialState.PRUNED if value is None else TrialState.COMPLETE
            reached = dict(enumerate(history, 1))
            self._study.add_trial(create_trial(state=state, value=value, intermediate_values=reached))
        self._trial = self._study.ask()
        self._pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=WARM_UP + 1)

    def worse(self, value: float, epoch: int) -> bool:
        """Whether the trial is to end, having reached `value` in `epoch`."""
        self._trial.report(value, epoch)
        frozen = self._study.get_trials(deepcopy=False)[self._trial.number]
        return bool(self._pruner.prune(self._study, frozen))


def _distributions(config: SearchConfig) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    made: dict[str, Any] = {}
    for key, one in config.space.items():
        if isinstance(one, Choices):
            made[key] = CategoricalDistribution([_text(choice) for choice in one.choices])
        elif one.whole:
            made[key] = IntDistribution(int(one.low), int(one.high), log=one.log, step=int(one.step or 1))
        else:
            made[key] = FloatDistribution(float(one.low), float(one.high), log=one.log, step=one.step)
    return made


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _stored(dimension: Any, value: Any) -> Any:
    return _text(value) if isinstance(dimension, Choices) else value


def _loaded(dimension: Any, value: Any) -> Any:
    return json.loads(value) if isinstance(dimension, Choices) else value
