"""Figures of a reconstruction: what is explained of each gene, and predictions beside what was held out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scssl.errors import DataError
from scssl.report.style import ACCENT, GRID, TEXT, new_figure, palette, styled

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from scssl.tasks.reconstruct import Evaluation

BINS = 8
"""Groups of genes of about the same number, along the mean, for the lines."""
LOWEST = -0.5
"""Values below are drawn here."""
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
FEWEST = 3
"""Genes of about the same mean that have a median."""
MIN_CELLS = 10
"""Cells with a held-out count that a gene needs to be drawn."""


def gene_scores(evaluation: Evaluation) -> Figure:
    """Draw the explained variance of each gene over its mean: a point per gene for the model, a line per method.

    How to read it: at 0 a prediction is as good as the gene's mean, and says nothing of how cells differ. Held-out
    counts are noisy, the more so the fewer there are: that genes of high mean are explained better says little about
    the method. What does is which line lies highest; lines are medians of genes of about the same mean.

    Parameters
    ----------
    evaluation
        From `Reconstructor.evaluate`.

    Returns
    -------
    matplotlib.figure.Figure
        A figure of 6.4 by 4.2 inches.

    Raises
    ------
    DataError
        If no gene was seen in enough cells.
    """
    tables = {name: _known(scores.per_gene) for name, scores in evaluation.scores.items()}
    first = next(iter(tables))
    if tables[first].empty:
        message = f"no gene has held-out counts in {MIN_CELLS} cells: there is nothing to draw; evaluate on more cells"
        raise DataError(message)
    with styled():
        figure, (axes,) = new_figure(6.4, 4.2)
        axes.axhline(0, color=GRID, linewidth=1)
        points = tables[first]
        low = points["explained_variance"].clip(lower=LOWEST)
        axes.scatter(points["mean"], low, s=6, color=ACCENT, alpha=0.3, linewidths=0, rasterized=True)
        for (name, table), colour, style in zip(tables.items(), palette(len(tables)), LINES, strict=False):
            middle = _medians(table)
            axes.plot(
                middle["mean"], middle["explained_variance"].clip(lower=LOWEST), color=colour, linestyle=style,
                linewidth=2 if name == first else 1.5, label=name,
            )  # fmt: skip
        axes.set(
            xscale="log", xlabel="mean of the held-out values (log1p of counts per 10,000)",
            ylabel="explained variance", title="Explained variance of each gene",
        )  # fmt: skip
        axes.grid(color=GRID, alpha=0.25, linewidth=0.6)
        axes.legend(loc="upper left")
    return figure


def held_out(evaluation: Evaluation) -> Figure:
    """Draw predictions beside held-out values, for the genes that vary most.

    How to read it: each point is a cell. Points on lines of their own are counts of 0, 1, 2, ... in cells of different
    depth. A prediction cannot follow that noise; what it can is lie higher where more was counted. The line joins the
    means of cells of about the same prediction: on the dashed line, predictions are right on average.

    Parameters
    ----------
    evaluation
        From `Reconstructor.evaluate`.

    Returns
    -------
    matplotlib.figure.Figure
        A figure of 7.2 by 4.8 inches, up to six genes.

    Raises
    ------
    DataError
        If nothing was predicted.
    """
    genes = list(dict.fromkeys(evaluation.examples["gene"]))
    if not genes:
        message = "no predictions were kept: there is nothing to draw"
        raise DataError(message)
    with styled():
        figure, _ = new_figure(7.2, 4.8)
        figure.clear()
        panels = np.ravel(figure.subplots(2, 3))
        for axes, gene in zip(panels, genes, strict=False):
            cells = evaluation.examples[evaluation.examples["gene"] == gene]
            x, y = cells["predicted"].to_numpy(), cells["truth"].to_numpy()
            top = max(float(x.max()), float(y.max()), 0.1)
            axes.plot([0, top], [0, top], color=GRID, linestyle="--", linewidth=1)
            axes.scatter(x, y, s=5, color=ACCENT, alpha=0.25, linewidths=0, rasterized=True)
            middle = _means(x, y)
            axes.plot(middle[:, 0], middle[:, 1], color=TEXT, marker="o", markersize=3, linewidth=1.2)
            varies = x.std() > 0 and y.std() > 0
            r = f", r = {np.corrcoef(x, y)[0, 1]:.2f}" if varies else ""
            axes.set_title(f"{gene}{r}")
        for axes in panels[len(genes) :]:
            axes.set_axis_off()
        figure.supxlabel("predicted (log1p of counts per 10,000)", fontsize=10)
        figure.supylabel("held out", fontsize=10)
    return figure


def write_figures(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write figures and tables of an evaluation.

    Parameters
    ----------
    evaluation
        From `Reconstructor.evaluate`.
    folder
        Folder to make: ``gene_scores.png``, ``held_out.png``, ``scores.csv``, ``genes.csv``.

    Returns
    -------
    list of pathlib.Path
        The files.
    """
    # Drawn first, so that what cannot be drawn leaves no folder.
    figures = {"gene_scores.png": gene_scores(evaluation), "held_out.png": held_out(evaluation)}
    folder.mkdir(parents=True)
    with styled():
        for name, figure in figures.items():
            figure.savefig(folder / name)
    evaluation.table.to_csv(folder / "scores.csv", index_label="method")
    parts = {name: scores.per_gene for name, scores in evaluation.scores.items()}
    pd.concat(parts, names=["method", "gene"]).to_csv(folder / "genes.csv")
    return [folder / name for name in (*figures, "scores.csv", "genes.csv")]


def _known(table: pd.DataFrame) -> pd.DataFrame:
    enough = (table["nonzero"] >= MIN_CELLS) & table["explained_variance"].notna() & (table["mean"] > 0)
    return table[enough]


def _medians(table: pd.DataFrame) -> pd.DataFrame:
    # In equal steps of the axis: in equal numbers, the few genes of high mean would have no point.
    edges = np.geomspace(table["mean"].min(), table["mean"].max(), BINS + 1)
    steps = np.searchsorted(edges[1:-1], table["mean"].to_numpy(), side="right")
    groups = table[["mean", "explained_variance"]].groupby(steps)
    return groups.median()[groups.size() >= min(FEWEST, len(table))]


def _means(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    order = np.argsort(x, kind="stable")
    parts = np.array_split(order, min(BINS, len(order)))
    return np.array([[x[part].mean(), y[part].mean()] for part in parts])
