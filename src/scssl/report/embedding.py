"""Cells in the plane: the UMAP layout and its figure."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from scssl.cores import same_threads
from scssl.errors import DataError, import_extra
from scssl.report.style import MISSING, category_order, new_figure, palette, styled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

MAX_LABELS = 40
MANY_MORE = 1.5
"""A column takes over the colours of another that has at most so many times its names."""


def umap(
    Z: NDArray[np.floating], *, n_neighbors: int = 15, min_dist: float = 0.3, seed: int = 0
) -> NDArray[np.float32]:
    """Lay cells out in the plane with UMAP (McInnes et al. 2018).

    The nearest neighbours are found exactly, which up to some 20,000 cells takes less time than compiling the
    approximate search. Distances between groups in the picture mean little; who is near whom means something.

    Parameters
    ----------
    Z
        (n_cells, n_latent) embedding.
    n_neighbors
        Cells that count as near: fewer show finer structure.
    min_dist
        How tightly near cells are packed.
    seed
        Seed; the same seed gives the same picture on the same machine.

    Returns
    -------
    ndarray
        (n_cells, 2) float32.

    Raises
    ------
    DataError
        If there are fewer than 4 cells, or values that are not finite.
    MissingExtraError
        If umap-learn is not installed.
    """
    Z = np.ascontiguousarray(Z, dtype=np.float32)
    if Z.ndim != 2 or Z.shape[0] < 4 or not np.isfinite(Z).all():
        message = f"umap: needs a finite (n_cells, n_latent) array with 4 cells or more, got shape {Z.shape}"
        raise DataError(message)
    with warnings.catch_warnings(), same_threads():
        # The import mentions Tensorflow, the call that new points cannot be added: neither matters here.
        warnings.simplefilter("ignore")
        module = import_extra("umap", extra="report")
        from sklearn.neighbors import NearestNeighbors

        k = min(n_neighbors, Z.shape[0] - 1)
        distances, indices = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(Z).kneighbors(Z)
        layout = module.UMAP(
            n_neighbors=k,
            min_dist=min_dist,
            random_state=seed,
            n_jobs=1,
            # The spectral start needs a connected graph; the first two principal components always exist.
            init="pca",
            precomputed_knn=(indices, distances, None),
        ).fit_transform(Z)
    return np.asarray(layout, dtype=np.float32)


def embedding(points: NDArray[np.floating], colours: pd.DataFrame, *, title: str = "UMAP") -> Figure:
    """Draw cells in the plane, one panel per column of `colours`.

    Categories (up to 40) are named on the plot, so that colour alone carries nothing; numbers get a colour bar.

    Parameters
    ----------
    points
        (n_cells, 2) positions, e.g. from `umap`.
    colours
        One row per cell; each column makes a panel. Missing values are drawn grey, underneath.
    title
        Name of the axes.

    Returns
    -------
    matplotlib.figure.Figure
        5 inches by 4.6 for each panel.

    Raises
    ------
    DataError
        If `points` and `colours` do not have the same number of cells.
    """
    points = np.asarray(points)
    if points.shape != (len(colours), 2):
        message = f"embedding: points of shape {points.shape} for {len(colours)} cells; expected ({len(colours)}, 2)"
        raise DataError(message)
    size = float(np.clip(16_000 / max(len(points), 1), 1.5, 10))
    with styled():
        orders = categories(colours)
        figure, panels = new_figure(5 * colours.shape[1], 4.6, columns=colours.shape[1])
        for axes, column in zip(panels, colours.columns, strict=True):
            _panel(figure, axes, points, colours[column], size, orders.get(column, []))
            axes.set(
                title=str(column).replace("_", " "), xlabel=f"{title} 1", ylabel=f"{title} 2", xticks=[], yticks=[]
            )
            axes.set_aspect("equal", adjustable="datalim")
    return figure


def categories(colours: pd.DataFrame) -> dict[str, list[str]]:
    """Return the names of each column that is not a number, in the order in which they get their colours.

    A column whose names are among those of another (predicted labels and true ones) takes over its order, so that a
    name has one colour in both; unless the other has many more (label sets), whose colours could not be told apart.

    Parameters
    ----------
    colours
        One row per cell.
    """
    columns = [column for column in colours.columns if not is_number(colours[column])]
    own = {column: category_order(colours[column].dropna().astype(str).tolist()) for column in columns}
    return {
        column: max((o for o in own.values() if set(names) <= set(o) and len(o) <= MANY_MORE * len(names) + 2), key=len)
        for column, names in own.items()
    }


def is_number(values: pd.Series) -> bool:
    """Say whether a column is drawn as a number (with a colour bar) rather than as categories."""
    return values.dtype.kind in "fiu" and values.nunique() > 2


def _panel(
    figure: Figure, axes: Any, points: NDArray[np.floating], values: pd.Series, size: float, order: list[str]
) -> None:
    absent = values.isna().to_numpy()
    axes.scatter(*points[absent].T, s=size, color=MISSING, linewidths=0, rasterized=True)
    points, values = points[~absent], values[~absent]
    if is_number(values):
        drawn = axes.scatter(*points.T, s=size, c=values.to_numpy(), cmap="viridis", linewidths=0, rasterized=True)
        figure.colorbar(drawn, ax=axes, shrink=0.6)
        return
    names = values.astype(str).to_numpy()
    colour = dict(zip(order, palette(len(order)), strict=True))
    # In random order, or the last category hides the others where they mix.
    shuffled = np.random.default_rng(0).permutation(len(points))
    axes.scatter(
        *points[shuffled].T, s=size, c=[colour[name] for name in names[shuffled]], linewidths=0, rasterized=True
    )
    if len(order) > MAX_LABELS:
        return
    _label(axes, points, names, order)


def _label(axes: Any, points: NDArray[np.floating], names: NDArray[Any], order: list[str]) -> None:
    """Name each category at the cell nearest to its median if its cells lie together, beside the plot if not."""
    from matplotlib.lines import Line2D
    from matplotlib.patheffects import withStroke

    spread = np.median(np.abs(points - np.median(points, axis=0)))
    colour = dict(zip(order, palette(len(order)), strict=True))
    own = {name: points[names == name] for name in order if (names == name).any()}
    compact = {name: np.median(np.abs(p - np.median(p, axis=0))) < 0.5 * spread for name, p in own.items()}
    if np.mean(list(compact.values())) >= 0.5 and len(order) > 1:
        width, height = np.ptp(points, axis=0)
        placed: list[NDArray[np.floating]] = []
        for name, cells in own.items():
            middle = cells[np.argmin(((cells - np.median(cells, axis=0)) ** 2).sum(axis=1))].copy()
            # Types that lie on top of each other: one name below the other.
            while any(abs(middle[0] - x) < 0.15 * width and abs(middle[1] - y) < 0.04 * height for x, y in placed):
                middle[1] -= 0.01 * height
            placed.append(middle)
            stroke = [withStroke(linewidth=2.5, foreground="white")]
            axes.text(*middle, name, ha="center", va="center", fontsize=9, color="black", path_effects=stroke)
        return
    handles = [Line2D([], [], marker="o", linestyle="", markersize=5, color=colour[name], label=name) for name in own]
    axes.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1, 1), ncols=1 + (len(order) - 1) // 20, handletextpad=0.1
    )
