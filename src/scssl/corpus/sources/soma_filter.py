"""Conditions on obs as SOMA value filters, so that cells that do not meet them are never read."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.corpus.where import Condition

if TYPE_CHECKING:
    from collections.abc import Sequence

_NEGATED: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt,
}  # fmt: skip
_SIGNS: Final[dict[type[ast.cmpop], str]] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.In: "in", ast.NotIn: "not in",
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip
_LARGEST: Final = 2**53
"""Whole numbers from here on are rounded where pandas keeps a column with missing values as float64."""


def value_filter(text: str, schema: Any) -> str | None:
    """Translate a condition as far as SOMA can evaluate it.

    The filter lets through every cell that meets the condition. It lets through others only where a part of the
    condition has no exact counterpart (an order of texts, a number that the column's type cannot hold, ...), so the
    condition is to be evaluated again on what was read.

    Parameters
    ----------
    text
        The condition, as `Condition` takes it.
    schema
        Arrow schema of obs.

    Returns
    -------
    str or None
        None if nothing can be left to SOMA: a column is missing, or no part has a counterpart.
    """
    condition = Condition(text)
    if not set(condition.columns) <= set(schema.names):
        return None
    return _node(condition, condition._body, schema, negated=False)


def _node(condition: Condition, node: ast.AST, schema: Any, *, negated: bool) -> str | None:
    if isinstance(node, ast.BoolOp):
        parts = [_node(condition, value, schema, negated=negated) for value in node.values]
        return _join(parts, all_hold=isinstance(node.op, ast.And) != negated)
    if isinstance(node, ast.UnaryOp):
        return _node(condition, node.operand, schema, negated=not negated)
    if isinstance(node, ast.Compare):
        tests = []
        for column, op, value in condition._pairs(node):
            kind = _NEGATED[type(op)] if negated else type(op)
            tests.append(_compare(schema.field(column), kind, value, negated=negated))
        return _join(tests, all_hold=not negated)
    field = schema.field(condition._column(node))
    return _compare(field, ast.Eq, not negated, negated=False)


def _join(parts: Sequence[str | None], *, all_hold: bool) -> str | None:
    """Join filters; a part that cannot be translated lets every cell through."""
    known = [part for part in parts if part is not None]
    if not known or (len(known) < len(parts) and not all_hold):
        return None
    return "(" + (" and " if all_hold else " or ").join(known) + ")"


def _compare(field: Any, kind: type[ast.cmpop], value: Any, *, negated: bool) -> str | None:
    values = list(value) if isinstance(value, list | tuple | set) else [value]
    equality = kind in (ast.Eq, ast.NotEq, ast.In, ast.NotIn)
    if not values or not _comparable(field.type, values, equality=equality):
        return None
    column = f"attr({field.name!r})"
    missing = f"{column} == None" if field.nullable else None
    if kind in (ast.Eq, ast.In):
        return _membership(field.type, column, kind, values)
    if kind in (ast.NotEq, ast.NotIn):
        # To SOMA a missing value differs from nothing, to a condition from everything.
        differs = _membership(field.type, column, kind, values)
        return f"({differs} or {missing})" if missing else differs
    if not negated:
        return f"({column} {_SIGNS[kind]} {values[0]!r})"
    # Without the order being true, the value may be missing: null, or NaN, which SOMA cannot be asked for.
    if _is_float(field.type):
        return None
    order = f"{column} {_SIGNS[kind]} {values[0]!r}"
    return f"({order} or {missing})" if missing else f"({order})"


def _membership(kind: Any, column: str, op: type[ast.cmpop], values: list[Any]) -> str:
    if op in (ast.In, ast.NotIn) and _is_text(kind):
        return f"({column} {_SIGNS[op]} [{', '.join(map(repr, values))}])"
    # Lists with negative numbers or truth values are beyond SOMA's parser.
    sign, join = ("==", " or ") if op in (ast.Eq, ast.In) else ("!=", " and ")
    return "(" + join.join(f"{column} {sign} {value!r}" for value in values) + ")"


def _comparable(kind: Any, values: list[Any], *, equality: bool) -> bool:
    """Whether SOMA compares a column of this type with these values exactly as Python would."""
    import pyarrow as pa

    if _is_text(kind):
        # Categories have no order, and none is asked for.
        return equality and all(isinstance(value, str) for value in values)
    if pa.types.is_boolean(kind):
        return equality and all(isinstance(value, bool) for value in values)
    if any(isinstance(value, bool | str) or abs(value) >= _LARGEST for value in values):
        return False
    if pa.types.is_integer(kind):
        limits = np.iinfo(kind.to_pandas_dtype())
        return all(isinstance(value, int) and limits.min <= value <= limits.max for value in values)
    if pa.types.is_float32(kind):
        return all(float(np.float32(value)) == value for value in values)
    return bool(pa.types.is_float64(kind))


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_float(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_floating(kind))
