"""Figures of an integration: cells before and after, and the table of scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.errors import DataError, import_extra
from scssl.metrics.integration import MIXING, TYPES
from scssl.report.embedding import _panel, categories, umap
from scssl.report.style import INK, new_figure, styled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

MAX_CELLS: Final = 20_000
"""Cells laid out; more are drawn at random."""
_TITLES: Final = {
    "type_score": "types\n(mean)", "mixing_score": "mixing\n(mean)", "nmi": "NMI", "ari": "ARI",
    "silhouette_label": "silhouette\nlabel", "isolated_labels": "isolated\nlabels", "clisi": "cLISI",
    "ilisi": "iLISI", "kbet": "kBET", "graph_connectivity": "graph\nconnect.", "pcr": "PCR",
    "silhouette_batch": "silhouette\nbatch", "bras": "BRAS",
}  # fmt: skip


def before_and_after(
    before: NDArray[np.floating], *, after: NDArray[np.floating], colours: pd.DataFrame, seed: int = 0
) -> Figure:
    """Draw the cells before (upper row) and after integration (lower row), one column per annotation.

    How to read it: batches that lie apart above and together below were mixed. Whether cells that now lie together
    belong together is seen in the types, not in the batches.

    Parameters
    ----------
    before, after
        (n_cells, n_latent) embeddings.
    colours
        One row per cell, one column per annotation: the batch, and the type if it is known.
    seed
        Of the layouts, and of the cells drawn where there are more than 20,000.

    Returns
    -------
    matplotlib.figure.Figure
        5 inches by 4.6 for each panel.

    Raises
    ------
    DataError
        If the numbers of cells differ.
    MissingExtraError
        If umap-learn or matplotlib is not installed.
    """
    if not len(before) == len(after) == len(colours):
        message = f"before {before.shape}, after {after.shape} and colours {colours.shape} are not of the same cells"
        raise DataError(message)
    rows = np.arange(len(colours))
    if len(rows) > MAX_CELLS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MAX_CELLS, replace=False))
    shown = colours.iloc[rows]
    n = shown.shape[1]
    with styled():
        figure, panels = _grid(5 * n, 9.2, columns=n)
        size = float(np.clip(16_000 / len(rows), 1.5, 10))
        orders = categories(shown)
        for number, (name, embedding) in enumerate((("before", before), ("after", after))):
            points = umap(np.asarray(embedding)[rows], seed=seed)
            for column, axes in zip(shown.columns, panels[number], strict=True):
                _panel(figure, axes, points, shown[column], size, orders.get(column, []))
                title = f"{name}: {str(column).replace('_', ' ')}"
                axes.set(title=title, xlabel="UMAP 1", ylabel="UMAP 2", xticks=[], yticks=[])
                axes.set_aspect("equal", adjustable="datalim")
    return figure


def integration_table(table: pd.DataFrame) -> Figure:
    """Draw scores as a table: one row per method, darker the higher.

    How to read it: 1 is best in every column, and columns do not compare with each other. The limits in the last rows
    show what is possible: shuffled cells are perfectly mixed with all types lost.

    Parameters
    ----------
    table
        Of an `IntegrationReport`: index ``method``, a column per score.

    Returns
    -------
    matplotlib.figure.Figure
        Wider with more scores, taller with more methods.

    Raises
    ------
    DataError
        If the table is empty, or has none of the scores.
    """
    columns = [name for name in ("type_score", *TYPES, "mixing_score", *MIXING) if name in table]
    columns = [name for name in columns if table[name].notna().any()]
    if table.empty or not columns:
        message = "integration table: the table has no scores to draw"
        raise DataError(message)
    values = table[columns].to_numpy(dtype=float)
    with styled():
        figure, (axes,) = new_figure(2.2 + 0.75 * len(columns), 1.1 + 0.36 * len(table))
        axes.imshow(values, cmap="Blues", vmin=0, vmax=1.25, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            text = "" if np.isnan(value) else f"{value:.2f}"
            weight = "bold" if columns[column] in ("type_score", "mixing_score") else "normal"
            colour = "white" if value > 0.85 else INK
            axes.text(column, row, text, ha="center", va="center", fontsize=9, color=colour, fontweight=weight)
        axes.set_xticks(range(len(columns)), [_TITLES.get(name, name) for name in columns], fontsize=8)
        axes.set_yticks(range(len(table)), [str(name) for name in table.index])
        _plain(axes)
    return figure


def _grid(width: float, height: float, *, columns: int) -> tuple[Figure, NDArray[Any]]:
    import_extra("matplotlib", extra="report")
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(2, columns, squeeze=False)


def _plain(axes: Any) -> None:
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
