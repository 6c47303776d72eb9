"""Tables as the page shows them: rounded for the eye, whole for sorting and CSV."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

MAX_ROWS = 1000
"""Rows shown in the page."""
SHORT = 10
"""Words of so many letters are never broken."""
LONGEST = 24
"""Letters that have to be side by side at most."""


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
        text = f"{value:.3g}" if 0 < size < 0.001 or size >= 1e9 else f"{value:z,.{column['decimals']}f}"
        return {"text": text, "raw": repr(float(value)), "number": number}
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return {"text": f"{value:,}", "raw": str(value), "number": number}
    return {"text": str(value), "raw": str(value), "number": number}


def breakable(text: str, *, short: int = SHORT) -> Any:
    """Return a text as HTML that may be broken after the signs in its words, and nowhere else within them.

    Narrow columns then break "mean_confidence" before "confidence", rather than anywhere. Words without any sign, such
    as checksums, may be broken every 24 letters.

    Parameters
    ----------
    text
        As it is.
    short
        Letters up to which a word stays whole.

    Examples
    --------
    >>> str(breakable("scores.mean_confidence < 1"))
    'scores.<wbr>mean_<wbr>confidence &lt; 1'
    """
    from markupsafe import Markup, escape

    words = []
    for word in re.split(r"(\s+)", text):
        parts = re.split(r"(?<=\w[._/\\|=,:+-])(?=\w)", word) if len(word) > short else [word]
        parts = [part[i : i + LONGEST] for part in parts for i in range(0, max(len(part), 1), LONGEST)]
        words.append(Markup("<wbr>").join(escape(part) for part in parts))
    return Markup("").join(words)


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
            found.append((name, ", ".join(named(str(one)) for one in value)))
        else:
            found.append((name, "" if value is None else named(str(value))))
    return found


def named(text: str) -> str:
    """Return the name of a file in place of its whole path, which is said where inputs and command are.

    Parameters
    ----------
    text
        Any value of a setting.

    Examples
    --------
    >>> named("/home/ada/data/cells.h5ad"), named("data/cells.h5ad"), named("a/b of it")
    ('cells.h5ad', 'data/cells.h5ad', 'a/b of it')
    """
    return Path(text).name or text if text.startswith(("/", "~/")) and "\n" not in text else text


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
