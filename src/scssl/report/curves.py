"""Training curves: how the loss fell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scssl.errors import DataError
from scssl.report.style import ACCENT, GRID, new_figure, palette, styled

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.figure import Figure


def loss_curve(
    history: pd.DataFrame,
    *,
    x: str = "epoch",
    y: Sequence[str] = ("train_loss", "val_loss"),
    y_label: str = "loss",
) -> Figure:
    """Draw the loss over training, one line per column, with the lowest validation loss marked.

    How to read it: both lines should fall and level off. A validation line that rises again while the training line
    falls on means that the model learns its cells by heart.

    Parameters
    ----------
    history
        One row per epoch (or step), as in ``history.csv`` of a model folder. Missing values are skipped.
    x
        Column on the horizontal axis.
    y
        Columns to draw; those that are absent are left out.
    y_label
        Label of the vertical axis.

    Returns
    -------
    matplotlib.figure.Figure
        A figure of 6 by 3.4 inches.

    Raises
    ------
    DataError
        If `x` or every column of `y` is absent.
    """
    lines = [column for column in y if column in history and history[column].notna().any()]
    if x not in history or not lines:
        message = (
            f"history: no column {x!r} with one of {', '.join(y)}; there are {', '.join(map(str, history.columns))}"
        )
        raise DataError(message)
    with styled():
        figure, (axes,) = new_figure(6, 3.4)
        for column, colour in zip(lines, palette(len(lines)), strict=True):
            points = history[[x, column]].dropna()
            marker = "o" if len(points) <= 30 else ""
            axes.plot(points[x], points[column], color=colour, marker=marker, markersize=4, label=_name(column))
        best = next((column for column in lines if column.startswith("val")), None)
        if best is not None:
            row = history.iloc[int(np.nanargmin(history[best].to_numpy(dtype=float)))]
            axes.axhline(row[best], color=ACCENT, linewidth=0.8, linestyle=":", alpha=0.7)
            note = f"best {_name(best)} {row[best]:.4g} at {x} {row[x]:g}"
            axes.set_title(note, loc="right", fontsize=9)
        axes.set(xlabel=x, ylabel=y_label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(axis="y", color=GRID, alpha=0.25, linewidth=0.6)
        axes.legend(loc="upper right")
    return figure


def _name(column: str) -> str:
    names = {"train": "training", "val": "validation"}
    return " ".join(names.get(word, word) for word in column.split("_"))
