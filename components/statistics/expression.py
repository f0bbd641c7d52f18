"""Which rows an expression holds for: `age >= 60 and sex == 'Female'`.

Comparisons, `in`, `and`, `or`, `not`, `is None`, arithmetic, and FUNCTIONS, of columns and constants; a column whose
name is no Python name stands between backquotes. Where a cell that it needs is missing, a comparison does not hold.
Python's own parser reads it and nothing of it is executed.
"""

import ast
import re
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.contracts.errors import DataError

QUOTED = re.compile(r"`([^`]+)`")
COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
}
ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: pc.add,
    ast.Sub: pc.subtract,
    ast.Mult: pc.multiply,
    ast.Div: lambda one, other: pc.divide(pc.cast(one, pa.float64()), other),
}
FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {
    "characters": pc.utf8_length,
    "words": lambda texts: pc.list_value_length(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(texts))),
}


class Expression:
    """A parsed expression.

    Raises:
        ValueError: It cannot be read, or uses what is not offered.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._names: dict[str, str] = {}
        try:
            self._tree = ast.parse(QUOTED.sub(self._quoted, text), mode="eval").body
        except SyntaxError as error:
            raise ValueError(f"{text!r} cannot be read: {error.msg}") from error
        _check(self._tree, text)

    @property
    def columns(self) -> list[str]:
        """The columns that it names."""
        called = {id(node.func) for node in ast.walk(self._tree) if isinstance(node, ast.Call)}
        names = [node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name) and id(node) not in called]
        return list(dict.fromkeys(self._names.get(name, name) for name in names))

    def holds(self, rows: pa.Table, place: str) -> NDArray[np.bool_]:
        """bool[rows].

        Raises:
            DataError: E_COLUMN_MISSING; E_TYPE, cells are compared with what they cannot be.
        """
        for name in self.columns:
            if name not in rows.column_names:
                raise DataError(
                    "E_COLUMN_MISSING",
                    "no row has the column that this names",
                    place=place,
                    value=name,
                    allowed=", ".join(rows.column_names),
                    action="name one of these, between backquotes if it is more than one word",
                )
        try:
            found = self._value(self._tree, rows)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, TypeError) as error:
            raise DataError(
                "E_TYPE",
                f"it does not fit the columns' types: {str(error).splitlines()[0]}",
                place=place,
                value=self.text,
                action="compare numbers with numbers and texts with 'texts'",
            ) from error
        if isinstance(found, pa.Scalar):
            return np.full(rows.num_rows, bool(found.as_py()))
        return np.asarray(pc.fill_null(found, False)).astype(bool)

    def _quoted(self, match: re.Match[str]) -> str:
        name = f"quoted_{len(self._names)}_"
        self._names[name] = match[1]
        return name

    def _value(self, node: ast.AST, rows: pa.Table) -> Any:
        if isinstance(node, ast.Name):
            return rows[self._names.get(node.id, node.id)]
        if isinstance(node, ast.Constant):
            return pa.scalar(node.value)
        if isinstance(node, ast.Compare):
            return self._compared(node, rows)
        return _joined(node, [self._value(one, rows) for one in _operands(node)])

    def _compared(self, node: ast.Compare, rows: pa.Table) -> Any:
        left, found = self._value(node.left, rows), None
        for op, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, (ast.Is, ast.IsNot)):
                one = pc.is_null(left) if isinstance(op, ast.Is) else pc.is_valid(left)
            elif isinstance(op, (ast.In, ast.NotIn)):
                values = pa.array(ast.literal_eval(right))
                one = pc.is_in(left, value_set=values.cast(left.type))
                one = pc.and_(pc.invert(one), pc.is_valid(left)) if isinstance(op, ast.NotIn) else one
            else:
                other = self._value(right, rows)
                one = COMPARISONS[type(op)](*_alike(left, other))
                left = other
            found = one if found is None else pc.and_kleene(found, one)
        return found


def _operands(node: Any) -> list[ast.AST]:
    if isinstance(node, ast.BoolOp):
        return list(node.values)
    if isinstance(node, ast.BinOp):
        return [node.left, node.right]
    return [node.operand if isinstance(node, ast.UnaryOp) else node.args[0]]


def _joined(node: Any, values: list[Any]) -> Any:
    if isinstance(node, ast.BoolOp):
        return reduce(pc.and_kleene if isinstance(node.op, ast.And) else pc.or_kleene, values)
    if isinstance(node, ast.BinOp):
        return ARITHMETIC[type(node.op)](*values)
    if isinstance(node, ast.UnaryOp):
        return pc.invert(*values) if isinstance(node.op, ast.Not) else pc.negate(*values)
    return FUNCTIONS[node.func.id](*values)


def _alike(left: Any, right: Any) -> tuple[Any, Any]:
    """A constant text beside times is a time."""
    if isinstance(right, pa.Scalar) and pa.types.is_temporal(left.type) and pa.types.is_string(right.type):
        return left, right.cast(pa.timestamp("us")).cast(left.type)
    if isinstance(left, pa.Scalar) and pa.types.is_temporal(right.type) and pa.types.is_string(left.type):
        return left.cast(pa.timestamp("us")).cast(right.type), right
    return left, right


def _check(tree: ast.AST, text: str) -> None:
    """Raise ValueError unless everything in the tree is offered."""
    if isinstance(tree, (ast.Name, ast.Constant)):
        raise ValueError(f"{text!r} compares nothing")  # noqa: TRY004
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            for op, right in zip(node.ops, node.comparators, strict=True):
                _check_side(op, right, text)
        if not _offered(node):
            raise ValueError(f"{text!r} uses {type(node).__name__}, which is not offered")


def _check_side(op: ast.cmpop, right: ast.AST, text: str) -> None:
    if isinstance(op, (ast.In, ast.NotIn)) and not isinstance(right, (ast.List, ast.Tuple, ast.Set)):
        raise ValueError(f"{text!r}: `in` is for a list of values")  # noqa: TRY004
    if isinstance(op, (ast.Is, ast.IsNot)) and not (isinstance(right, ast.Constant) and right.value is None):
        raise ValueError(f"{text!r}: `is` is for None")


OFFERED = (
    ast.Compare, ast.BoolOp, ast.Name, ast.List, ast.Tuple, ast.Set, ast.expr_context, ast.cmpop, ast.boolop, ast.Not,
    ast.USub, *ARITHMETIC,
)  # fmt: skip


def _offered(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        named = isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS
        return named and len(node.args) == 1 and not node.keywords
    if isinstance(node, ast.Constant):
        return isinstance(node.value, (str, int, float, type(None)))
    if isinstance(node, (ast.BinOp, ast.UnaryOp)):
        return isinstance(node.op, OFFERED)
    return isinstance(node, OFFERED)
