"""Genes worth looking at: those that set groups of cells apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

N_MARKERS = 50
FEWEST_CELLS = 5
"""Groups with fewer cells have no markers: what sets so few apart is mostly noise."""
EXPRESSED = 0.1
"""Share of a group's cells that must have a count of its marker."""


def log_expression(counts: sp.csr_matrix, *, target_sum: float = 1e4) -> sp.csr_matrix:
    """Return log1p of counts per 10,000, sparse.

    Parameters
    ----------
    counts
        (n_cells, n_genes) raw counts.
    target_sum
        What the counts of a cell are scaled to.
    """
    counts = sp.csr_matrix(counts, dtype=np.float32, copy=True)
    total = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    scale = target_sum / np.maximum(total, 1e-12)
    counts.data = np.log1p(counts.data * np.repeat(scale, np.diff(counts.indptr))).astype(np.float32)
    return counts


def variable_genes(X: sp.csr_matrix, *, n: int = N_MARKERS) -> NDArray[np.int64]:
    """Return the positions of the genes that vary most, most first.

    Parameters
    ----------
    X
        (n_cells, n_genes) log1p values.
    n
        At most so many.
    """
    total, squares = np.asarray(X.sum(axis=0)).ravel(), np.asarray(X.multiply(X).sum(axis=0)).ravel()
    variance = squares / X.shape[0] - (total / X.shape[0]) ** 2
    order = np.argsort(-variance, kind="stable")[:n]
    return np.asarray(order[variance[order] > 0], dtype=np.int64)


def marker_genes(X: sp.csr_matrix, groups: Sequence[Any] | NDArray[Any], *, n: int = N_MARKERS) -> NDArray[np.int64]:
    """Return the positions of the genes that set groups apart, the groups taking turns.

    A gene is ranked for a group by Welch's t between its cells and all others. Cells of one donor are not independent,
    so this finds genes to look at; it tests nothing.

    Parameters
    ----------
    X
        (n_cells, n_genes) log1p values.
    groups
        (n_cells,) name of each cell's group; None for cells of none.
    n
        At most so many.

    Returns
    -------
    ndarray
        int64 positions, the best gene of each group first, groups with more cells before those with fewer; empty
        where no group has a marker.
    """
    groups = np.asarray(groups, dtype=object)
    known = np.array([group is not None for group in groups])
    names, codes = np.unique(groups[known].astype(str), return_inverse=True)
    X = sp.csr_matrix(X)[np.flatnonzero(known)]
    n_cells = np.bincount(codes, minlength=len(names)).astype(float)
    if len(names) < 2:
        return np.empty(0, dtype=np.int64)
    member = sp.csr_matrix((np.ones(len(codes)), (codes, np.arange(len(codes)))), shape=(len(names), len(codes)))
    total, squares = (member @ X).toarray(), (member @ X.multiply(X)).toarray()
    expressed = (member @ (X > 0).astype(np.float64)).toarray()
    ranked = []
    for group in np.argsort(-n_cells, kind="stable"):
        own, others = n_cells[group], n_cells.sum() - n_cells[group]
        if own < FEWEST_CELLS or others < FEWEST_CELLS:
            continue
        mean, rest = total[group] / own, (total.sum(axis=0) - total[group]) / others
        spread = squares[group] / own - mean**2
        spread_rest = (squares.sum(axis=0) - squares[group]) / others - rest**2
        error = np.sqrt(np.maximum(spread, 0) / own + np.maximum(spread_rest, 0) / others)
        t = (mean - rest) / np.maximum(error, 1e-9)
        t[expressed[group] < EXPRESSED * own] = -np.inf
        order = np.argsort(-t, kind="stable")
        ranked.append(order[t[order] > 0])
    found: dict[int, None] = {}
    for turn in range(max(map(len, ranked), default=0)):
        for genes in ranked:
            if len(found) < n and turn < len(genes):
                found.setdefault(int(genes[turn]), None)
        if len(found) >= n:
            break
    return np.array(list(found), dtype=np.int64)
