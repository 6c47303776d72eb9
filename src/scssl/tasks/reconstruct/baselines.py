"""What a reconstruction has to beat: means of genes, means of cell types, neighbours, principal components.

All are given the counts that the model is given, of the cells that are scored. Each returns log values (the mean of
log1p of counts per 10,000) and shares of a cell's counts, each in the way that is best for the scores that need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import scipy.sparse as sp
from sklearn.decomposition import TruncatedSVD

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

TARGET_SUM = 1e4
NEIGHBOURS = (5, 15, 50, 150)
"""Numbers of neighbours to choose from."""
COMPONENTS = (5, 10, 20, 40)
"""Numbers of components to choose from."""


class Predicted(NamedTuple):
    """What a method says of some cells."""

    log: NDArray[np.floating]
    """(n_cells, n_genes) log1p of counts per 10,000."""
    share: NDArray[np.floating]
    """(n_cells, n_genes) share of the cell's counts."""


class Method(Protocol):
    """Predicts a range of the cells that it was made for."""

    def __call__(self, cells: slice) -> Predicted:
        """Return predictions for some of the cells."""


@dataclass(frozen=True)
class Given:
    """Counts that methods see, as they need them."""

    counts: sp.csr_matrix
    """(n_cells, n_genes) raw counts of the measured genes."""
    total: NDArray[np.float64]
    """(n_cells,) to which they add up, or would without hidden entries."""
    seen: NDArray[np.bool_] | None
    """(n_cells, n_genes) entries that are not hidden; None for all."""
    scale: float
    """Counts per cell on the log scale: 10,000, less where few genes were measured."""

    @property
    def log(self) -> sp.csr_matrix:
        """(n_cells, n_genes) log1p of scaled counts."""
        return (sp.diags_array(self.scale / np.maximum(self.total, 1)) @ self.counts).tocsr().log1p().astype(np.float32)

    def averaged(self, weights: sp.csr_matrix) -> Method:
        """Return the means over cells, of log values and of shares, over entries that are not hidden.

        Parameters
        ----------
        weights
            (n_cells, n_cells) how much each cell (column) counts for each (row).
        """
        log = self.log
        # Where nothing of a gene is seen among the cells asked, the mean of all cells stands in.
        everywhere = np.asarray(log.sum(axis=0)).ravel() / self._times_seen(np.ones((1, log.shape[0])))[0].clip(1e-9)
        pooled_all = np.asarray(self.counts.sum(axis=0)).ravel()
        pooled_all = pooled_all / self._times_seen(self.total[None, :])[0].clip(1e-9)
        plain = weights.astype(np.float32)
        deep = (plain @ sp.diags_array(self.total)).tocsr()

        def method(cells: slice) -> Predicted:
            n, depth = self._times_seen(plain[cells]), self._times_seen(deep[cells])
            means = np.asarray((plain[cells] @ log).todense()) / np.maximum(n, 1e-9)
            shares = np.asarray((plain[cells] @ self.counts).todense()) / np.maximum(depth, 1e-9)
            return Predicted(np.where(n > 0, means, everywhere), np.where(depth > 0, shares, pooled_all))

        return method

    def _times_seen(self, weights: Any) -> NDArray[np.floating]:
        """(n, n_genes) weight of the cells in which each gene was seen."""
        if self.seen is None:
            n = np.asarray(weights.sum(axis=1), dtype=np.float64).reshape(-1, 1)
            return np.broadcast_to(n, (n.shape[0], self.counts.shape[1]))
        return np.asarray(weights @ self.seen.astype(np.float32))


def gene_mean(given: Given) -> Method:
    """Predict the mean of all cells for every one: what any method has to be better than."""
    n = given.counts.shape[0]
    whole = given.averaged(sp.csr_matrix(np.ones((1, n))))(slice(0, 1))

    def method(cells: slice) -> Predicted:
        rows = len(range(*cells.indices(n)))
        log, share = (np.repeat(np.asarray(values), rows, axis=0) for values in whole)
        return Predicted(log, share)

    return method


def type_mean(given: Given, labels: NDArray[np.object_]) -> Method:
    """Predict the mean of the cells of the same type, the cell itself among them.

    Parameters
    ----------
    given
        Counts.
    labels
        (n_cells,) names of the types; cells without one share one more.
    """
    codes = np.unique(labels.astype(str), return_inverse=True)[1]
    members = sp.csr_matrix((np.ones(len(codes)), (np.arange(len(codes)), codes)))
    return given.averaged((members @ members.T).tocsr())


def neighbours(given: Given, *, codes: NDArray[np.floating], k: int) -> Method:
    """Predict the mean of a cell and its nearest ones.

    Parameters
    ----------
    given
        Counts.
    codes
        (n_cells, n_dimensions) in which they are looked up.
    k
        How many, the cell itself included.
    """
    from sklearn.neighbors import NearestNeighbors

    n = len(codes)
    found = NearestNeighbors(n_neighbors=min(k, n), algorithm="brute").fit(codes)
    index = found.kneighbors(codes, return_distance=False)
    rows = np.repeat(np.arange(n), index.shape[1])
    return given.averaged(sp.csr_matrix((np.ones(index.size), (rows, index.ravel())), shape=(n, n)))


class Components:
    """Principal components of log values; hidden entries stand at the gene's mean.

    Parameters
    ----------
    given
        Counts.
    n
        Number of components to find.
    seed
        Of the solver.
    """

    def __init__(self, given: Given, *, n: int, seed: int) -> None:
        self.given = given
        log = given.log
        self.mean = gene_mean(given)(slice(0, 1)).log[0]
        X = np.asarray(log.todense()) - self.mean
        if given.seen is not None:
            X = np.where(given.seen, X, 0)
        self.n = max(1, min(n, *(size - 1 for size in X.shape)))
        svd = TruncatedSVD(self.n, random_state=seed)
        self.codes = svd.fit_transform(X.astype(np.float32))
        self.axes = svd.components_

    def method(self, n: int) -> Method:
        """Predict from the first `n` components.

        Parameters
        ----------
        n
            Components to use.
        """

        def method(cells: slice) -> Predicted:
            log = np.maximum(self.mean + self.codes[cells, :n] @ self.axes[:n], 0)
            return Predicted(log, shares_of_log(log))

        return method


def shares_of_log(log: NDArray[np.floating]) -> NDArray[np.floating]:
    """Turn log values back into shares of a cell's counts on the measured genes, which add up to 1.

    Parameters
    ----------
    log
        (n_cells, n_genes) log1p values of the measured genes.
    """
    # The mean of logarithms lies below the logarithm of the mean: without scaling all counts would come out too small.
    share = np.expm1(np.maximum(log, 0))
    scaled: NDArray[np.floating] = share / np.maximum(share.sum(axis=1, keepdims=True), 1e-9)
    return scaled


def choose(candidates: dict[int, Method], loss: Callable[[Method], float]) -> int:
    """Return the candidate of the lowest loss.

    Parameters
    ----------
    candidates
        Methods by their number of neighbours or components.
    loss
        Of a method, on counts that it was not given.
    """
    return min(candidates, key=lambda number: loss(candidates[number]))
