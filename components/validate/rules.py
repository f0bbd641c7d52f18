"""What is asked of a snapshot beyond single columns: rules between columns, rows, age, classes, drift."""

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from components.cleaning.keep_rows import COMPARE
from components.contracts.config import StepConfig
from components.contracts.errors import ConfigError
from components.validate.checks import Failure

SAYS = {
    "equal": "is not that of", "not-equal": "is that of", "less": "is not less than", "at-most": "is more than",
    "greater": "is not more than", "at-least": "is less than", "needs": "stands without",
}  # fmt: skip


class Rule(StepConfig):
    """How two columns of a row belong together; a comparison with a missing cell holds."""

    column: str = Field(min_length=1, description="the column that is looked at")
    when: Literal["equal", "not-equal", "less", "at-most", "greater", "at-least", "needs"] = Field(
        description="how its cell compares to the other's; needs: where it stands, the other has to stand too"
    )
    other: str = Field(min_length=1, description="the other column")

    def failure(self, table: pa.Table) -> Failure:
        """The rows that break the rule.

        Raises:
            ConfigError: E_CONFIG, cells of these types cannot be compared.
        """
        first, second = table[self.column], table[self.other]
        if self.when == "needs":
            wrong = pc.and_(pc.is_valid(first), pc.is_null(second))
        else:
            try:
                wrong = pc.invert(COMPARE[self.when](first, second))
            except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
                raise ConfigError(
                    "E_CONFIG",
                    f"{self.column} ({first.type}) and {self.other} ({second.type}) cannot be compared",
                    place="checks.rules",
                    action="declare both columns as the same type",
                ) from error
        rows = np.asarray(pc.fill_null(wrong, False)).astype(bool)
        return Failure(rows=rows, code="E_VALUE", column=self.column, reason=f"{SAYS[self.when]} {self.other}")


class Freshness(StepConfig):
    """How old the newest row may be when a run begins."""

    column: str = Field(min_length=1, description="a date or timestamp column")
    max_age_hours: float = Field(gt=0, description="hours since the newest of it")


class Balance(StepConfig):
    """How rare a class may be."""

    column: str = Field(min_length=1, description="the column whose values are classes")
    min_rows: int = Field(0, ge=0, description="fewest rows of any class")
    min_share: float = Field(0.0, ge=0, lt=1, description="smallest share of any class")
