"""Scores of several methods side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scssl.errors import DataError
from scssl.report.style import GRID, TEXT, new_figure, palette, styled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def score_bars(
    table: pd.DataFrame,
    *,
    value: str,
    label: str,
    group: str | None = None,
    low: str | None = None,
    high: str | None = None,
) -> Figure:
    """Draw scores as horizontal bars with the number written at the end, methods of a group in one colour each.

    Parameters
    ----------
    table
        One row per bar.
    value
        Column with the score.
    label
        Column that names the bar (the method).
    group
        Column that puts bars together under one heading (the data set).
    low
        Column with the lower end of the interval.
    high
        Column with the upper end of the interval.

    Returns
    -------
    matplotlib.figure.Figure
        6.4 inches wide, taller with more bars.

    Raises
    ------
    DataError
        If a column is absent, or the table is empty.
    """
    named = [column for column in (value, label, group, low, high) if column is not None]
    absent = [column for column in named if column not in table]
    if absent or table.empty:
        why = f"no column {', '.join(absent)}" if absent else "the table is empty"
        message = f"scores: {why}; columns are {', '.join(map(str, table.columns))}"
        raise DataError(message)
    methods = list(dict.fromkeys(table[label].astype(str)))
    colour = dict(zip(methods, palette(len(methods)), strict=True))
    groups = list(dict.fromkeys(table[group].astype(str))) if group is not None else [""]
    with styled():
        figure, (axes,) = new_figure(6.4, 0.7 + 0.3 * len(table) + 0.35 * (len(groups) if group else 0))
        y, ticks, names = 0.0, [], []
        for heading in groups:
            if group is not None:
                axes.text(0, y, heading, fontsize=10, fontweight="bold", va="center")
                y += 1
            rows = table if group is None else table[table[group].astype(str) == heading]
            for _, row in rows.iterrows():
                score = float(row[value])
                axes.barh(y, score, height=0.75, color=colour[str(row[label])])
                end = score
                if low is not None and high is not None:
                    end = max(score, float(row[high]))
                    axes.plot([row[low], row[high]], [y, y], color=TEXT, linewidth=1.2)
                axes.annotate(
                    f"{score:z.3f}", (end, y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9
                )
                ticks.append(y)
                names.append(str(row[label]))
                y += 1
            y += 0.3
        axes.set_yticks(ticks, names)
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        top = float(np.nanmax(table[[c for c in (value, high) if c is not None]].to_numpy(dtype=float)))
        # Shares are shown on their whole scale, so that small differences look small.
        axes.set_xlim(0, 1.12 if 0 <= top <= 1 else 1.12 * top)
        if 0 <= top <= 1:
            axes.set_xticks(np.linspace(0, 1, 6))
        axes.set_xlabel(value.replace("_", " "))
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color=GRID, alpha=0.25, linewidth=0.6)
        axes.set_axisbelow(True)
    return figure
