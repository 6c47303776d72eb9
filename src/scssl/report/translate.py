"""Predicted proteins or peaks against measured ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scssl.errors import DataError, require
from scssl.report.style import GRID, TEXT, new_figure, palette, styled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from scssl.tasks.translate import TranslationScores

MOST_POINTS = 3000
MOST_BARS = 40
TRANSLATOR = "translator"


def translation_scatter(scores: TranslationScores, *, n: int = 8) -> Figure:
    """Draw measured over predicted values of the features that were predicted best and worst.

    How to read it: every point is a cell; on the dashed line both agree. A cloud without slope was not predicted,
    whatever its height. The upper row has the best features, the lower one the worst, by Pearson correlation.

    Parameters
    ----------
    scores
        From `Translator.evaluate`.
    n
        Features to draw, half of them best and half worst.

    Returns
    -------
    matplotlib.figure.Figure
        Two rows; one with fewer than `n` features, all of them.

    Raises
    ------
    DataError
        If no feature varies, so that there is nothing to correlate.
    """
    require("n", n, holds=n >= 2, must="a whole number, 2 or more")
    table = _of(scores, TRANSLATOR)
    order = table.sort_values("pearson", ascending=False, kind="stable").index.to_numpy()
    rows = [order] if len(order) < n else [order[: n // 2], order[len(order) - n // 2 :]]
    shown = np.arange(scores.n_cells)
    if len(shown) > MOST_POINTS:
        shown = np.sort(np.random.default_rng(0).permutation(len(shown))[:MOST_POINTS])
    width = max(len(row) for row in rows)
    with styled():
        figure, _ = new_figure(0.4 + 2.0 * width, 0.4 + 2.1 * len(rows))
        figure.clear()
        grid = figure.subplots(len(rows), width, squeeze=False)
        for axes in grid.flat:
            axes.set_visible(False)
        for line, row in zip(grid, rows, strict=True):
            for axes, place in zip(line, row, strict=False):
                axes.set_visible(True)
                x, y = scores.predicted[shown, place], scores.truth[shown, place]
                ends = [min(x.min(), y.min()), max(x.max(), y.max())]
                axes.plot(ends, ends, color=GRID, linewidth=1, linestyle="--")
                axes.plot(x, y, ".", color=palette(1)[0], markersize=3, alpha=0.35, markeredgewidth=0, rasterized=True)
                name = str(table.loc[place, "feature"])
                axes.set_title(name if len(name) <= 20 else f"{name[:19]}…", fontsize=9)
                label = f"r = {table.loc[place, 'pearson']:.2f}"
                axes.annotate(
                    label, (0.04, 0.95), xycoords="axes fraction", fontsize=8, va="top", color=TEXT,
                    bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1},
                )  # fmt: skip
                axes.tick_params(labelsize=7)
        figure.supxlabel("predicted", fontsize=10)
        figure.supylabel(f"measured ({scores.scale})", fontsize=10)
    return figure


def translation_bars(scores: TranslationScores, *, baseline: str | None = None) -> Figure:
    """Draw the correlation of each feature, beside that of a baseline.

    How to read it: the bar is the translator's correlation with what was measured, the mark the baseline's. Where the
    mark lies beyond the bar, the baseline is better. Of many features an even choice over their order is shown.

    Parameters
    ----------
    scores
        From `Translator.evaluate`.
    baseline
        Method to compare with; the best one by default.

    Returns
    -------
    matplotlib.figure.Figure
        6 inches wide, taller with more features.

    Raises
    ------
    DataError
        If there is no such method, or no feature varies.
    """
    other = scores.best_baseline if baseline is None else baseline
    there = list(scores.overall["method"])
    if other not in there or other == TRANSLATOR:
        message = f"translation: there is no baseline {other!r}; methods are {', '.join(there)}"
        raise DataError(message)
    mine, theirs = _of(scores, TRANSLATOR), _of(scores, str(other))
    table = mine.assign(other=theirs["pearson"]).sort_values("pearson", kind="stable")
    few = table.iloc[np.unique(np.linspace(0, len(table) - 1, min(MOST_BARS, len(table))).round().astype(int))]
    with styled():
        figure, (axes,) = new_figure(6.0, 0.9 + 0.2 * len(few))
        y = np.arange(len(few))
        colours = palette(2)
        axes.barh(y, few["pearson"], height=0.7, color=colours[0], label="translator")
        axes.plot(few["other"], y, "|", color=colours[1], markersize=9, markeredgewidth=2.2, label=str(other))
        names = [name if len(name) <= 24 else f"{name[:23]}…" for name in few["feature"].astype(str)]
        axes.set_yticks(y, names, fontsize=8)
        axes.set_ylim(-0.7, len(few) - 0.3)
        axes.axvline(0, color=GRID, linewidth=1)
        low = float(few[["pearson", "other"]].min().min())
        axes.set_xlim(min(0.0, low - 0.05), 1)
        shown = "" if len(few) == len(table) else f", {len(few)} of {len(table)} features"
        axes.set_xlabel(f"Pearson correlation per feature{shown}")
        axes.grid(axis="x", color=GRID, alpha=0.25, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.legend(loc="lower right", frameon=True, framealpha=0.9)
    return figure


def _of(scores: TranslationScores, method: str) -> pd.DataFrame:
    """Return a method's features that vary, by their place."""
    table = scores.features[scores.features["method"] == method].reset_index(drop=True)
    table = table[table["pearson"].notna()]
    if table.empty:
        message = "translation: no feature varies over the cells, so there is nothing to correlate"
        raise DataError(message)
    return table
