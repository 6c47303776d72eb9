"""Conditions on cells, written as a Python-like expression over obs columns; nothing is executed."""

from __future__ import annotations

import ast
import operator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from scssl.errors import DataError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

_ORDER: Final[dict[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_MIRRORED: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE, ast.Eq: ast.Eq, ast.NotEq: ast.NotEq,
}  # fmt: skip
_HELP: Final = (
    "A condition compares columns with values, e.g. 'tissue == \"blood\" and n_genes > 200' or 'file not in "
    '["a", "b"]\'; joined by and, or, not; a column whose name has spaces is written obs["its name"]'
)


class Condition:
    """A parsed condition: ``==``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``in``, ``not in``, ``and``, ``or``, ``not``.

    A missing value equals nothing and is in no list, so ``!=`` and ``not in`` hold for it and all else does not.

    Parameters
    ----------
    text
        The expression.

    Raises
    ------
    SettingsError
        If it is no such expression.

    Example
    -------
    >>> import pandas as pd
    >>> Condition("n > 1 and kind in ['a']").holds(pd.DataFrame({"n": [1, 2], "kind": ["a", "a"]})).tolist()
    [False, True]
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._columns: list[str] = []
        try:
            self._body = ast.parse(text.strip(), mode="eval").body
            self._check(self._body)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = error.args[0] if error.args else "too deeply nested"
            message = f"--where {text!r} is not a condition ({reason}). {_HELP}"
            raise SettingsError(message) from error

    @property
    def columns(self) -> list[str]:
        """Names of the columns it looks at."""
        return list(dict.fromkeys(self._columns))

    def holds(self, obs: pd.DataFrame, *, file: str = "", there: Sequence[str] | None = None) -> NDArray[np.bool_]:
        """(n_cells,) whether the condition holds.

        Parameters
        ----------
        obs
            Annotation of the cells, with at least the columns of the condition that there are.
        file
            What to call the cells in messages.
        there
            All columns that there are, for messages; those of `obs` by default.

        Raises
        ------
        DataError
            If a column is missing, or holds another kind of values than it is compared with.
        """
        missing = [column for column in self.columns if column not in obs.columns]
        if missing:
            known = ", ".join(map(str, obs.columns if there is None else there)) or "none"
            message = f"{file or 'obs'}: no column {missing[0]!r} for --where {self.text!r}; columns there are: {known}"
            raise DataError(message)
        return self._evaluate(self._body, obs, file)

    def _refuse(self, node: ast.AST) -> SettingsError:
        part = ast.unparse(node)
        return SettingsError(f"--where {self.text!r}: {part!r} is not possible in a condition. {_HELP}")

    def _column(self, node: ast.AST) -> str | None:
        if isinstance(node, ast.Name):
            return node.id
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.value, ast.Name)
            and node.value.id == "obs"
            and isinstance(node.slice, ast.Constant)
            and isinstance(node.slice.value, str)
        ):
            return node.slice.value
        return None

    def _literal(self, node: ast.AST) -> Any:
        try:
            value = ast.literal_eval(node)
        except (ValueError, TypeError) as error:
            raise self._refuse(node) from error
        plain = (str, bool, int, float)
        if isinstance(value, list | tuple | set):
            if not all(isinstance(item, plain) for item in value):
                raise self._refuse(node)
        elif not isinstance(value, plain):
            raise self._refuse(node)
        return value

    def _check(self, node: ast.AST) -> None:
        """Refuse whatever is not listed, before any data is looked at."""
        if isinstance(node, ast.BoolOp):
            for value in node.values:
                self._check(value)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self._check(node.operand)
        elif isinstance(node, ast.Compare):
            self._columns.extend(column for column, _, _ in self._pairs(node))
        elif (name := self._column(node)) is not None:
            self._columns.append(name)
        else:
            raise self._refuse(node)

    def _pairs(self, node: ast.Compare) -> list[tuple[str, ast.cmpop, Any]]:
        """Comparisons as (column, operator, value); ``1 < n < 3`` are two."""
        operands = [node.left, *node.comparators]
        pairs: list[tuple[str, ast.cmpop, Any]] = []
        for left, written, right in zip(operands, node.ops, operands[1:], strict=False):
            op, column, other = written, self._column(left), right
            if column is None and type(op) in _MIRRORED:
                op, column, other = _MIRRORED[type(op)](), self._column(right), left
            if column is None or self._column(other) is not None:
                raise self._refuse(node)
            value = self._literal(other)
            many = isinstance(value, list | tuple | set)
            if many != isinstance(op, ast.In | ast.NotIn) or isinstance(op, ast.Is | ast.IsNot):
                raise self._refuse(node)
            pairs.append((column, op, value))
        return pairs

    def _evaluate(self, node: ast.AST, obs: pd.DataFrame, file: str) -> NDArray[np.bool_]:
        if isinstance(node, ast.BoolOp):
            parts = [self._evaluate(value, obs, file) for value in node.values]
            return _all(parts) if isinstance(node.op, ast.And) else ~_all([~part for part in parts])
        if isinstance(node, ast.UnaryOp):
            return ~self._evaluate(node.operand, obs, file)
        if isinstance(node, ast.Compare):
            tests = [self._compare(obs[column], op, value, file) for column, op, value in self._pairs(node)]
            return _all(tests)
        column = obs[self._column(node)]
        if column.dtype != bool:
            message = f"{file or 'obs'}: column {column.name!r} in --where {self.text!r} is not true/false; compare it"
            raise DataError(message)
        return column.to_numpy()

    def _compare(self, column: pd.Series, op: ast.cmpop, value: Any, file: str) -> NDArray[np.bool_]:
        # On the distinct values, of which there are few.
        codes, values = _factorise(column)
        text = any(isinstance(v, str) for v in values)
        items = list(value) if isinstance(value, list | tuple | set) else [value]
        if len(values) and any(isinstance(item, str) != text for item in items):
            kinds = ("text", "quoted") if text else ("numbers", "without quotes")
            message = (
                f"{file or 'obs'}: column {column.name!r} holds {kinds[0]}, so its values in --where {self.text!r} "
                f"are written {kinds[1]}; it holds, e.g., {', '.join(repr(v) for v in values[:3])}"
            )
            raise DataError(message)
        if isinstance(op, ast.Eq | ast.In):
            hits = [v in items for v in values]
        elif isinstance(op, ast.NotEq | ast.NotIn):
            hits = [v not in items for v in values]
        else:
            hits = [bool(_ORDER[type(op)](v, value)) for v in values]
        missing = isinstance(op, ast.NotEq | ast.NotIn)
        answers: NDArray[np.bool_] = np.array([*hits, missing], dtype=bool)[codes]
        return answers


def _all(parts: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    together = parts[0].copy()
    for part in parts[1:]:
        together &= part
    return together


def _factorise(column: pd.Series) -> tuple[NDArray[np.integer], Sequence[Any]]:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy(), column.cat.categories.tolist()
    codes, values = pd.factorize(column)
    return codes, values.tolist()
