"""The genes that spoke for each label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scssl.errors import DataError, SettingsError
from scssl.report.style import ACCENT, GRID, new_figure, styled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

ABSENT = "#D55E00"
"""Colour of genes that spoke for a label by being below their mean."""
MAX_LABELS = 12
_NEEDED = ("label", "gene", "symbol", "score", "mean_log1p", "baseline_log1p")


def explanation(per_type: pd.DataFrame, *, labels: list[str] | None = None, n_genes: int = 8) -> Figure:
    """Draw the genes that spoke most for each label, one panel of bars per label.

    How to read it: a bar is what the gene adds to the log-odds of the label, mean over the cells that got it. Blue
    genes are above their mean over the pre-training corpus in these cells; orange ones are below it: their absence
    spoke for the label. Bars of one panel can be compared; a label that differs little from another has short bars.

    Parameters
    ----------
    per_type
        Table of that name of `scssl.tasks.annotate.explain.Explanation`.
    labels
        Labels to draw, in this order; by default the first 12 of the table.
    n_genes
        Genes per label.

    Returns
    -------
    matplotlib.figure.Figure
        Up to three panels a row.

    Raises
    ------
    DataError
        If the table lacks a column, is empty, or does not have a label asked for.
    SettingsError
        If `n_genes` is not positive.
    """
    absent = [name for name in _NEEDED if name not in per_type]
    if absent or per_type.empty:
        why = f"no column {', '.join(absent)}" if absent else "the table is empty"
        message = f"explanation: {why}; columns are {', '.join(map(str, per_type.columns))}"
        raise DataError(message)
    if n_genes < 1:
        message = f"n_genes is {n_genes}; give at least 1"
        raise SettingsError(message)
    there = list(dict.fromkeys(per_type["label"].astype(str)))
    wanted = there[:MAX_LABELS] if labels is None else labels
    unknown = [label for label in wanted if label not in there]
    if unknown:
        message = f"explanation: no genes for label {unknown[0]!r}; there are: {', '.join(there[:20])}"
        raise DataError(message)
    columns = min(3, len(wanted))
    rows = -(-len(wanted) // columns)
    with styled():
        figure, _ = new_figure(max(4.2, 2.9 * columns), rows * (0.75 + 0.22 * n_genes) + 0.4)
        figure.clear()
        panels = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
        for axes, label in zip(panels, wanted, strict=False):
            mine = per_type[per_type["label"].astype(str) == label]
            mine = mine.sort_values("score", ascending=False, kind="stable").head(n_genes)
            names = [str(symbol) or str(gene) for symbol, gene in zip(mine["symbol"], mine["gene"], strict=True)]
            above = (mine["mean_log1p"] >= mine["baseline_log1p"]).to_numpy()
            places = np.arange(len(mine))
            axes.barh(places, mine["score"], height=0.75, color=[ACCENT if up else ABSENT for up in above])
            axes.set_yticks(places, names)
            axes.set_ylim(n_genes - 0.4, -0.6)
            axes.set_title(label if len(label) <= 32 else label[:31] + "…")
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(False)
            axes.grid(axis="x", color=GRID, alpha=0.25, linewidth=0.6)
            axes.set_axisbelow(True)
        for axes in panels[len(wanted) :]:
            axes.remove()
        figure.supxlabel("added to the log-odds of the label (blue: expressed, orange: absent)", fontsize=9)
    return figure
