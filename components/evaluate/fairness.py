"""How alike groups of people are treated, by fairlearn."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.contracts.errors import ConfigError, DataError, EnvironmentFault
from components.contracts.findings import Fairness, Interval
from components.evaluate.slices import Cells
from components.evaluate.tally import Whole
from components.statistics.bootstrap import intervals

OF_GROUPS = {
    "demographic_parity_difference": ("selection_rate",),
    "equalized_odds_difference": ("true_positive_rate", "false_positive_rate"),
    "equal_opportunity_difference": ("true_positive_rate",),
}
"""Each difference, and the rates whose largest one it is (Hardt 2016)."""


def fairness_of(
    config: Any, cells: Cells, whole: Whole, target: Any
) -> tuple[tuple[Fairness, ...], list[dict[str, Any]]]:
    """Of each of the config's sensitive columns the groups and their differences, and the figures.

    Raises:
        ConfigError: E_CONFIG, the model says no class, or it is not said which one matters.
        EnvironmentFault: E_EXTRA_MISSING, fairlearn is not installed.
    """
    columns, least = config.sensitive, config.least_rows
    if not columns:
        return (), []
    _check_fairlearn()
    at = _positive(config.positive, target, whole)
    truth = whole.facts["truth"] == at
    found, figures = [], []
    for column in columns:
        groups = np.full(whole.rows, "", object)
        for name, mask in cells.parts(column).items():
            groups[mask] = name
        said = whole.facts["predicted"] == at
        table, differences = _differences(truth, said, groups, least, column)
        likeliest: dict[str, float] = {}
        if "likeliest" in whole.facts:
            _, plain = _differences(truth, whole.facts["likeliest"] == at, groups, least, column)
            likeliest = {name: one.value for name, one in plain.items()}
            likeliest["accuracy"] = float((whole.facts["likeliest"] == whole.facts["truth"]).mean())
        one = Fairness(
            column=column,
            positive=target.classes[at],
            least_rows=least,
            groups=table,
            differences=differences,
            likeliest=likeliest,
        )
        found.append(one)
        figures += _figures(one, float(whole.metrics["accuracy"].mean()))
    return tuple(found), figures


def _differences(
    truth: NDArray[np.bool_], said: NDArray[np.bool_], groups: NDArray[Any], least: int, column: str
) -> tuple[dict[str, dict[str, float]], dict[str, Interval]]:
    from fairlearn.metrics import MetricFrame, count, false_positive_rate, selection_rate, true_positive_rate
    from sklearn.metrics import accuracy_score

    rates = {
        "selection_rate": selection_rate,
        "true_positive_rate": true_positive_rate,
        "false_positive_rate": false_positive_rate,
    }
    every = MetricFrame(
        metrics={"rows": count, **rates, "accuracy": accuracy_score},
        y_true=truth,
        y_pred=said,
        sensitive_features=groups,
    )
    keys = ("rows", *rates, "accuracy")
    table = {str(name): {key: float(row[key]) for key in keys} for name, row in every.by_group.iterrows()}
    names, counts = np.unique(groups.astype(str), return_counts=True)
    large = np.isin(groups.astype(str), names[counts >= least])
    if len(set(groups[large])) < 2:
        raise DataError(
            "E_TOO_FEW_ROWS",
            f"fewer than two groups have {least} test rows",
            place="evaluate.sensitive",
            value=column,
            action="lower evaluate.least_rows, or name another column",
        )
    judged = MetricFrame(metrics=rates, y_true=truth[large], y_pred=said[large], sensitive_features=groups[large])
    value = judged.difference()
    bounds = intervals(_measured(truth[large], said[large], groups[large]), int(large.sum()))
    found = {
        name: bounds[name].model_copy(update={"value": float(max(value[one] for one in rates_of))})
        for name, rates_of in OF_GROUPS.items()
    }
    return table, found


def _measured(
    truth: NDArray[np.bool_], said: NDArray[np.bool_], groups: NDArray[Any]
) -> Callable[[NDArray[np.float64]], dict[str, float]]:
    """The differences as a function of the rows' weights: fairlearn's own bootstrap takes 0.2 s for each draw."""
    _, codes = np.unique(groups.astype(str), return_inverse=True)

    def rate(hit: NDArray[np.bool_], among: NDArray[np.bool_], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        of = np.bincount(codes, weights * among)
        return np.bincount(codes, weights * (hit & among)) / np.where(of > 0, of, 1)

    def measured(weights: NDArray[np.float64]) -> dict[str, float]:
        rates = {
            "selection_rate": rate(said, np.ones(len(said), bool), weights),
            "true_positive_rate": rate(said, truth, weights),
            "false_positive_rate": rate(said, ~truth, weights),
        }
        apart = {name: float(np.ptp(values)) for name, values in rates.items()}
        return {name: max(apart[one] for one in rates_of) for name, rates_of in OF_GROUPS.items()}

    return measured


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
        [name, f"{values['rows']:,.0f}", *(f"{values[key]:.4f}" for key in list(values)[1:])]
        for name, values in one.groups.items()
    ]
    differences = [
        [name.replace("_", " "), f"{known.value:.4f} ({known.low:.4f} to {known.high:.4f})"]
        + ([f"{one.likeliest[name]:.4f}"] if one.likeliest else [])
        for name, known in one.differences.items()
    ]
    last = []
    if one.likeliest:
        differences.append(["accuracy", f"{accuracy:.4f}", f"{one.likeliest['accuracy']:.4f}"])
        last = ["without thresholds"]
    return [
        {"kind": "table", "title": f"Groups by {one.column}", "head": head, "rows": rows},
        {
            "kind": "table",
            "title": f"Differences by {one.column}",
            "head": ["between the groups farthest apart", "95 % interval", *last],
            "rows": differences,
            "note": f"Of groups of {one.least_rows} rows and more; 0 is alike.",
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
