"""What a page draws of the cells of a file: at most `MAX_CELLS` of them, their places, columns and genes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from scssl.errors import DataError
from scssl.report.cells import MAX_CELLS
from scssl.report.markers import log_expression, marker_genes, variable_genes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

SYMBOLS = ("feature_name", "gene_symbol", "gene_symbols", "gene_name", "symbol", "symbols")
"""Columns of var in which the names of genes are usually found."""
MANY = 200
"""A column with more names than this is not offered as a colour: nobody could tell them apart."""
COMPONENTS = 30
"""Principal components laid out where a file has no embedding."""


@dataclass(frozen=True, kw_only=True)
class Expression:
    """Some genes in the cells that are drawn."""

    rows: NDArray[np.int64]
    """(n_drawn,) numbers of the cells in the file."""
    X: sp.csr_matrix
    """(n_drawn, n_genes) log1p of counts per 10,000."""
    symbols: NDArray[np.object_]
    """(n_genes,) names to show."""


def choose_rows(n_cells: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Draw the cells that are shown, in the order of the file.

    Parameters
    ----------
    n_cells
        Cells of the file.
    seed
        Of the draw.
    """
    if n_cells <= MAX_CELLS:
        return np.arange(n_cells)
    return np.sort(np.random.default_rng(seed).choice(n_cells, MAX_CELLS, replace=False))


def read_expression(file: Path, rows: NDArray[np.int64], *, layer: str | None) -> Expression:
    """Read the counts of some cells, a chunk of the file at a time.

    Parameters
    ----------
    file
        File with raw counts.
    rows
        Numbers of the cells, ascending.
    layer
        Where the counts are.
    """
    from scssl.corpus.sources.source import open_source

    parts = []
    with open_source(file, layer=layer, obs_columns=[]) as source:
        for cells, X in source.chunks():
            inside = rows[np.searchsorted(rows, cells.start) : np.searchsorted(rows, cells.stop)] - cells.start
            if len(inside):
                parts.append(X[inside].astype(np.float32))
        symbols = gene_names(source.var)
    return Expression(rows=rows, X=log_expression(sp.csr_matrix(sp.vstack(parts))), symbols=symbols)


def gene_names(var: pd.DataFrame) -> NDArray[np.object_]:
    """Return the names of genes that readers know: symbols, from var or from the tables of the package.

    Parameters
    ----------
    var
        Of the file.
    """
    ids = var.index.astype(str).to_numpy(dtype=object)
    for column in SYMBOLS:
        if column in var:
            names = var[column].astype(object).map(str, na_action="ignore")
            return np.where(names.isna() | (names == ""), ids, names).astype(object)
    from scssl.genes import load_panel

    known: dict[str, str] = {}
    for species, prefix in (("human", "ENSG0"), ("mouse", "ENSMUSG0")):
        if any(name.startswith(prefix) for name in ids[:100]):
            panel = load_panel(species)
            known.update(zip(panel.ids, panel.symbols, strict=True))
    return np.array([known.get(name.split(".")[0]) or name for name in ids], dtype=object)


def choose_genes(X: sp.csr_matrix, groups: NDArray[Any] | None) -> tuple[NDArray[np.int64], bool]:
    """Return the genes to offer as colours, and whether they are markers of `groups` rather than the most variable.

    Parameters
    ----------
    X
        (n_cells, n_genes) log1p values.
    groups
        (n_cells,) names, None for cells of no group; None where there are no groups.
    """
    markers = marker_genes(X, groups) if groups is not None else np.empty(0, dtype=np.int64)
    return (markers, True) if len(markers) else (variable_genes(X), False)


def columns_to_show(obs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the columns of obs that a page offers as colours, as numbers and names, and those it leaves out.

    Parameters
    ----------
    obs
        Of the cells that are drawn.
    """
    kept, left = {}, []
    for column in map(str, obs.columns):
        values = obs[column]
        kind = values.dtype.kind if isinstance(values.dtype, np.dtype) else "O"
        if kind in "fiu":
            if kind == "f" and not np.isfinite(values.to_numpy(dtype=np.float64)).any():
                left.append(column)
                continue
            # 0.9 as float32 is 0.8999999761581421.
            kept[column] = values.map(lambda value: float(f"{value:.5g}")) if kind == "f" else values
            continue
        names = values.astype(object).map(str, na_action="ignore")
        if names.nunique() > MANY or not names.notna().any():
            left.append(column)
            continue
        kept[column] = names.where(names != "", None)
    return pd.DataFrame(kept, index=obs.index), left


def lay_out(Z: NDArray[np.floating] | None, X: sp.csr_matrix, *, seed: int = 0) -> NDArray[np.float32]:
    """Lay cells out in the plane by an embedding, or by principal components of their expression if there is none.

    Parameters
    ----------
    Z
        (n_cells, n_latent), or None.
    X
        (n_cells, n_genes) log1p values.
    seed
        Of the layout.
    """
    from scssl.report.embedding import umap

    if Z is None:
        from sklearn.decomposition import TruncatedSVD

        n = min(COMPONENTS, min(X.shape) - 1)
        if n < 2:
            message = f"{X.shape[0]} cells and {X.shape[1]} genes are too few to be laid out"
            raise DataError(message)
        Z = TruncatedSVD(n, random_state=seed).fit_transform(X)
    known = np.isfinite(Z).all(axis=1)
    if Z.shape[1] == 2 or known.sum() < 4:
        return np.asarray(Z[:, :2], dtype=np.float32)
    points = np.full((len(Z), 2), np.nan, dtype=np.float32)
    points[known] = umap(Z[known], seed=seed)
    return points


def unique_names(names: Iterable[str], *, taken: Iterable[str]) -> list[str]:
    """Return names that differ from each other and from those taken, changing as few as can be.

    Parameters
    ----------
    names
        Names, perhaps repeated.
    taken
        Names that are in use.

    Examples
    --------
    >>> unique_names(["CD4", "CD8A", "CD4"], taken=["CD8A"])
    ['CD4', 'CD8A (2)', 'CD4 (2)']
    """
    used, found = set(taken), []
    for name in names:
        n, new = 1, name
        while new in used:
            n += 1
            new = f"{name} ({n})"
        used.add(new)
        found.append(new)
    return found
