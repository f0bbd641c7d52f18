"""How alike groups of people are treated, by fairlearn."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.contracts.errors import ConfigError, DataError, EnvironmentFault
from components.contracts.findings import Fairness, Interval
from components.evaluate.slices import Cells
from components.statistics.bootstrap import Measured, intervals
from components.tally import Pair, Whole

RATES = ("selection_rate", "true_positive_rate", "false_positive_rate")
LEAST_OF = 10
"""Truly positive rows, or others, that a group has at least for its rate of them to be judged."""
OF_GROUPS = {
    "demographic_parity_difference": ("selection_rate",),
    "equalized_odds_difference": ("true_positive_rate", "false_positive_rate"),
    "equal_opportunity_difference": ("true_positive_rate",),
}
"""Each difference, and the rates whose largest one it is (Hardt 2016)."""


def fairness_of(
    config: Any, cells: Cells, pair: Pair, target: Any
) -> tuple[tuple[Fairness, ...], list[dict[str, Any]]]:
    """Of each of the config's sensitive columns the groups and their differences, and the figures.

    Raises:
        ConfigError: E_CONFIG, the model says no class, or it is not said which one matters.
        DataError: E_TOO_FEW_ROWS, a column has fewer than two groups.
        EnvironmentFault: E_EXTRA_MISSING, fairlearn is not installed.
    """
    columns, least, whole = config.sensitive, config.least_rows, pair.ours
    if not columns:
        return (), []
    _check_fairlearn()
    at = _positive(config.positive, target, whole)
    for column in columns:
        if column in target.feature.columns:
            raise ConfigError(
                "E_CONFIG",
                "this is what the model says, and no group of people",
                place="evaluate.sensitive",
                value=column,
                action="leave it out",
            )
    found, figures = [], []
    for column in columns:
        groups = np.full(whole.rows, "", object)
        for name, mask in cells.parts(column).items():
            groups[mask] = name
        said = Said.of(whole, at, groups, least)
        if said.judged["selection_rate"].sum() < 2:
            raise DataError(
                "E_TOO_FEW_ROWS",
                f"fewer than two groups have {least} test rows",
                place="evaluate.sensitive",
                value=column,
                action="lower evaluate.least_rows, or name another column",
            )
        likeliest, champion = {}, {}
        if "likeliest" in whole.facts:
            plain = Whole(whole.metrics, whole.facts | {"predicted": whole.facts["likeliest"]}, whole.pooled)
            likeliest = Said.of(plain, at, groups, least).differences()
            likeliest["accuracy"] = float((whole.facts["likeliest"] == whole.facts["truth"]).mean())
        if pair.theirs is not None and "predicted" in pair.theirs.facts:
            champion = Said.of(pair.theirs, at, groups[pair.shared], least).differences()
        one = Fairness(
            column=column,
            positive=target.classes[at],
            least_rows=least,
            groups=said.table(),
            differences=said.intervals(),
            likeliest=likeliest,
            champion=champion,
        )
        found.append(one)
        figures += _figures(one, float(whole.metrics["accuracy"].mean()))
    return tuple(found), figures


@dataclass(frozen=True)
class Said:
    """Of whom the class that matters is true and of whom it is said, bool[rows]; each row's group, and who is judged.

    A rate of a group is one of some of its rows, `among`: the truly positive ones, for one. It is judged where the
    group has rows enough, and enough of those.
    """

    truth: NDArray[np.bool_]
    said: NDArray[np.bool_]
    right: NDArray[np.bool_]
    names: list[str]
    codes: NDArray[np.int64]
    judged: dict[str, NDArray[np.bool_]]

    @classmethod
    def of(cls, whole: Whole, at: int, groups: NDArray[Any], least: int) -> "Said":
        """What is said by these facts of class `at`."""
        truth, predicted = whole.facts["truth"], whole.facts["predicted"]
        names, codes = np.unique(groups.astype(str), return_inverse=True)
        large = np.bincount(codes) >= least
        positive = truth == at
        judged = {name: large & (np.bincount(codes, among) >= LEAST_OF) for name, among in _among(positive).items()} | {
            "selection_rate": large
        }
        return cls(positive, predicted == at, predicted == truth, names.tolist(), codes, judged)

    def table(self) -> dict[str, dict[str, float]]:
        """By group, by fairlearn; a rate of which a group has no row is not there."""
        from fairlearn.metrics import MetricFrame, count, false_positive_rate, selection_rate, true_positive_rate

        rates = (selection_rate, true_positive_rate, false_positive_rate)
        frame = MetricFrame(
            metrics={"rows": count} | {one.__name__: one for one in rates},
            y_true=self.truth,
            y_pred=self.said,
            sensitive_features=np.array(self.names, object)[self.codes],
        )
        among = {name: np.bincount(self.codes, one) for name, one in _among(self.truth).items()}
        right = np.bincount(self.codes, self.right) / np.bincount(self.codes)
        return {
            name: {
                key: float(row[key]) for key in ("rows", *RATES) if key == "rows" or among[key][self.names.index(name)]
            }
            | {"accuracy": float(right[self.names.index(name)])}
            for name, row in frame.by_group.iterrows()
        }

    def differences(self, weights: NDArray[np.float64] | None = None) -> dict[str, float]:
        """Those of which two groups can be judged, where each row counts so often, float64[rows].

        fairlearn's own bootstrap takes 0.2 s for each draw.
        """
        weights = np.ones(len(self.codes)) if weights is None else weights
        apart = {}
        for name, among in _among(self.truth).items():
            if self.judged[name].sum() < 2:
                continue
            of = np.bincount(self.codes, weights * among)
            rates = np.bincount(self.codes, weights * (self.said & among)) / np.where(of > 0, of, 1)
            apart[name] = float(np.ptp(rates[self.judged[name] & (of > 0)]))
        return {
            name: max(apart[one] for one in rates)
            for name, rates in OF_GROUPS.items()
            if all(one in apart for one in rates)
        }

    def intervals(self) -> dict[str, Interval]:
        """The differences with their bootstrap intervals."""

        def of(rows: NDArray[np.int64]) -> Measured:
            some = {name: getattr(self, name)[rows] for name in ("truth", "said", "right", "codes")}
            return replace(self, **some).differences

        return intervals(of, len(self.codes), [self.truth, self.said, self.codes])


def _among(positive: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """By rate, the rows that it is one of."""
    return dict(zip(RATES, (np.ones(len(positive), bool), positive, ~positive), strict=True))


def _positive(name: str, target: Any, whole: Whole) -> int:
    """The index of the class that matters."""
    classes = list(target.classes)
    if "predicted" not in whole.facts or not classes:
        raise ConfigError(
            "E_CONFIG",
            "groups are compared by a class that is said of people",
            place="evaluate.sensitive",
            allowed="objective classification",
            action="leave it out",
        )
    if name in classes:
        return classes.index(name)
    if name or len(classes) != 2:
        raise ConfigError(
            "E_CONFIG",
            "there is no such class" if name else "which class matters to people has to be said",
            place="evaluate.positive",
            value=name or None,
            allowed=", ".join(classes),
            action="name one of these",
        )
    return 1


def _figures(one: Fairness, accuracy: float) -> list[dict[str, Any]]:
    head = [one.column, "rows", f"{one.positive} is said", f"{one.positive} found", "others taken for it", "accuracy"]
    rows = [
        [
            name,
            f"{values['rows']:,.0f}",
            *(f"{values[key]:.4f}" if key in values else "–" for key in (*RATES, "accuracy")),
        ]
        for name, values in one.groups.items()
    ]
    beside = {"without thresholds": one.likeliest, "champion, shared rows": one.champion}
    beside = {name: known for name, known in beside.items() if known}
    differences = [
        [
            name.replace("_", " "),
            f"{known.value:.4f} ({known.low:.4f} to {known.high:.4f})",
            *(f"{other[name]:.4f}" if name in other else "–" for other in beside.values()),
        ]
        for name, known in one.differences.items()
    ]
    if one.likeliest:
        own = [f"{one.likeliest['accuracy']:.4f}" if other is one.likeliest else "" for other in beside.values()]
        differences.append(["accuracy", f"{accuracy:.4f}", *own])
    return [
        {"kind": "table", "title": f"Groups by {one.column}", "head": head, "rows": rows},
        {
            "kind": "table",
            "title": f"Differences by {one.column}",
            "head": ["between the groups farthest apart", "95 % interval", *beside],
            "rows": differences,
            "note": f"Of groups of {one.least_rows} rows and more, with {LEAST_OF} of those that a rate is of; 0 is "
            "alike. Groups that chance alone tells apart are never quite alike, so an interval does not reach 0.",
        },
    ]


def _check_fairlearn() -> None:
    try:
        import fairlearn  # noqa: F401
    except ImportError as error:
        raise EnvironmentFault(
            "E_EXTRA_MISSING",
            "fairlearn is not installed",
            place="evaluate.sensitive",
            action="install it: pip install -e '.[fair]', or leave it out",
        ) from error
