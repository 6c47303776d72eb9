"""The confusion matrix: which type is taken for which."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scssl.errors import DataError
from scssl.report.style import ACCENT, TEXT, new_figure, styled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MAX_COUNTS = 16
"""Up to this many types the counts are written into the cells."""


def confusion_matrix(counts: pd.DataFrame) -> Figure:
    """Draw a confusion matrix: each row shows where the cells of one true type went, as a share of that type.

    How to read it: a dark diagonal is good; a dark cell off the diagonal is a pair of types that is mixed up.

    Parameters
    ----------
    counts
        Rows: true labels; columns: predicted labels; values: numbers of cells, as from `scssl.metrics.confusion_table`.

    Returns
    -------
    matplotlib.figure.Figure
        Grows with the number of types; the counts are written into the cells up to 16 types.

    Raises
    ------
    DataError
        If the table is empty.
    """
    if counts.empty:
        message = "confusion: the table is empty"
        raise DataError(message)
    table = counts.to_numpy(dtype=float)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    n_rows, n_columns = table.shape
    longest = max(len(str(name)) for name in [*counts.index, *counts.columns])
    side = 0.42 if max(table.shape) <= MAX_COUNTS else 0.24
    margin = 0.075 * min(longest, 32)
    with styled():
        from matplotlib.colors import LinearSegmentedColormap
        from matplotlib.ticker import PercentFormatter

        figure, (axes,) = new_figure(max(4.2, side * n_columns + margin + 1.6), max(3.2, side * n_rows + margin + 0.6))
        # From clear to the accent: the page's background shows through, light or dark.
        colours = LinearSegmentedColormap.from_list("share", [(*_rgb(ACCENT), alpha) for alpha in (0, 1)])
        drawn = axes.pcolormesh(share, cmap=colours, vmin=0, vmax=1, edgecolors=(0.5, 0.5, 0.5, 0.25), linewidth=0.5)
        if max(table.shape) <= MAX_COUNTS:
            for i, j in np.argwhere(table > 0):
                colour = "white" if share[i, j] > 0.55 else TEXT
                axes.text(j + 0.5, i + 0.5, _short(table[i, j]), ha="center", va="center", fontsize=7.5, color=colour)
        axes.set_xticks(np.arange(n_columns) + 0.5, [_clip(name) for name in counts.columns], rotation=90)
        axes.set_yticks(np.arange(n_rows) + 0.5, [_clip(name) for name in counts.index])
        axes.tick_params(length=0)
        axes.invert_yaxis()
        axes.set(xlabel="predicted", ylabel="truth", aspect="equal")
        bar = figure.colorbar(drawn, ax=axes, shrink=0.6, label="share of the true type", format=PercentFormatter(1))
        bar.outline.set_visible(False)
    return figure


def _rgb(colour: str) -> tuple[float, float, float]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))  # type: ignore[return-value]


def _short(count: float) -> str:
    return f"{count:.0f}" if count < 10_000 else f"{count / 1000:.0f}k"


def _clip(name: object) -> str:
    text = str(name)
    return text if len(text) <= 32 else text[:31] + "…"
