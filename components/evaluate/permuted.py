"""What the package loses where a raw column's cells change places among the rows."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.statistics.bootstrap import means

ROWS, TIMES, COLUMNS = 1000, 3, 50


def losses(predictor: Any, rows: pa.Table, truth: NDArray[Any]) -> dict[str, str]:
    """Of each raw column that the model reads, what the first metric loses, and its interval; none of one column."""
    needed = list(dict.fromkeys(name for one in predictor.features for name in one.columns))
    objective = predictor.objective
    if not 1 < len(needed) <= COLUMNS:
        return {}
    chosen = np.unique(np.linspace(0, rows.num_rows - 1, ROWS).astype(int))
    rows, truth = rows.take(chosen), truth[chosen]
    whole = objective.row_metrics(predictor.predict(rows).answers, truth)
    name = next(iter(whole))
    sign = -1 if name in objective.lower_is_better else 1
    random = np.random.Generator(np.random.PCG64(0))
    lost = []
    for column in needed:
        drops = []
        for _ in range(TIMES):
            moved = rows[column].take(pa.array(random.permutation(rows.num_rows)))
            harmed = rows.set_column(rows.column_names.index(column), column, moved)
            drops.append(whole[name] - objective.row_metrics(predictor.predict(harmed).answers, truth)[name])
        lost.append(sign * np.mean(drops, axis=0))
    found = zip(needed, means(np.stack(lost, axis=1)), strict=True)
    return {column: f"{loss.value:.4f} ({loss.low:.4f} to {loss.high:.4f})" for column, loss in found}
