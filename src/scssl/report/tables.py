"""Tables as the page shows them: rounded for the eye, whole for sorting and CSV."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

MAX_ROWS = 1000
"""Rows shown in the page."""


def table(data: pd.DataFrame, *, name: str) -> dict[str, Any]:
    """Turn a table into what the page's template shows.

    Parameters
    ----------
    data
        The table.
    name
        File name for the download.

    Returns
    -------
    dict
        `name`, `columns` (name, number), `rows` (cells with text, raw, number), `n_rows`.
    """
    columns: list[dict[str, Any]] = [
        {"name": str(column), "number": data[column].dtype.kind in "fiu", "decimals": _decimals(data[column])}
        for column in data.columns
    ]
    rows = [
        [_cell(value, column) for value, column in zip(row, columns, strict=True)]
        for row in data.head(MAX_ROWS).itertuples(index=False, name=None)
    ]
    return {"name": name, "columns": columns, "rows": rows, "n_rows": len(data)}


def _decimals(values: pd.Series) -> int:
    """Return how many decimals (at most 3) a column needs, so that its numbers line up."""
    if values.dtype.kind != "f":
        return 0
    numbers = values.to_numpy(dtype=float)
    numbers = numbers[np.isfinite(numbers)]
    return next((d for d in range(3) if np.array_equal(numbers, numbers.round(d))), 3)


def _cell(value: Any, column: Mapping[str, Any]) -> dict[str, Any]:
    number = column["number"]
    if pd.isna(value):
        return {"text": "", "raw": "", "number": number}
    if isinstance(value, float | np.floating):
        # A number too small for the column's decimals must not be shown as zero.
        size = abs(float(value))
        text = f"{value:.3g}" if 0 < size < 0.001 or size >= 1e9 else f"{value:,.{column['decimals']}f}"
        return {"text": text, "raw": repr(float(value)), "number": number}
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return {"text": f"{value:,}", "raw": str(value), "number": number}
    return {"text": str(value), "raw": str(value), "number": number}


def flatten(content: Mapping[str, Any], *, prefix: str = "") -> list[tuple[str, str]]:
    """List nested settings as (dotted name, value) pairs.

    Parameters
    ----------
    content
        Settings, nested.
    prefix
        Name of the level above.

    Examples
    --------
    >>> flatten({"model": {"layers": [512, 64]}, "seed": 0})
    [('model.layers', '512, 64'), ('seed', '0')]
    """
    found: list[tuple[str, str]] = []
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found.extend(flatten(value, prefix=f"{name}."))
        elif isinstance(value, list | tuple):
            found.append((name, ", ".join(map(str, value))))
        else:
            found.append((name, "" if value is None else str(value)))
    return found


def seconds(duration: float) -> str:
    """Say a duration in the unit that suits it.

    Parameters
    ----------
    duration
        Seconds.

    Examples
    --------
    >>> seconds(3.21), seconds(125), seconds(7260)
    ('3.2 s', '2 min 5 s', '2 h 1 min')
    """
    if duration < 60:
        return f"{duration:.1f} s"
    minutes, rest = divmod(round(duration), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
