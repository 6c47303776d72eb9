"""Genes into modules by their correlations: clusters, and how central each gene is in each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROUNDS: Final = 3
"""Times that each gene goes to the module that it is most correlated with."""


def cluster(correlation: NDArray[np.float64], *, n_modules: int) -> NDArray[np.int64]:
    """Cluster genes by Ward's method on the leading eigenvectors of their correlations.

    Parameters
    ----------
    correlation
        (n_genes, n_genes) symmetric.
    n_modules
        Number of clusters, and of eigenvectors.

    Returns
    -------
    (n_genes,) int64
        Clusters.
    """
    from scipy.linalg import eigh
    from scipy.sparse.linalg import eigsh
    from sklearn.cluster import AgglomerativeClustering

    if n_modules == 1:
        return np.zeros(len(correlation), dtype=np.int64)
    profile = correlation.copy()
    np.fill_diagonal(profile, 0)
    n_vectors = min(n_modules, len(profile) - 1)
    if 5 * n_vectors < len(profile):
        # The start is given, because ARPACK's own is random.
        values, vectors = eigsh(profile, k=n_vectors, which="LA", v0=np.ones(len(profile)))
    else:
        values, vectors = (part[..., -n_vectors:] for part in eigh(profile))
    points = vectors * np.sqrt(np.maximum(values, 0))
    points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    return np.asarray(AgglomerativeClustering(n_modules, linkage="ward").fit_predict(points), dtype=np.int64)


def centrality(correlation: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Correlation of each gene with the sum of the (standardised) other genes of each module.

    Parameters
    ----------
    correlation
        (n_genes, n_genes) symmetric, 1 on the diagonal.
    labels
        (n_genes,) modules from 0, -1 for none.

    Returns
    -------
    (n_genes, n_modules) float64
        With Σ over the module's genes j, k other than i: Σ r(i, j) / sqrt(Σ r(j, k)).
    """
    member = np.zeros((len(labels), labels.max(initial=-1) + 1))
    member[np.flatnonzero(labels >= 0), labels[labels >= 0]] = 1
    diagonal = np.diag(correlation)[:, None]
    with_all = correlation @ member
    with_others = with_all - diagonal * member
    # The variance of the sum without gene i, which itself has 2 Σ r(i, j) + r(i, i) of it.
    variance = (member * with_all).sum(axis=0) - member * (2 * with_others + diagonal)
    scale = np.sqrt(np.maximum(variance, 0))
    return np.asarray(np.divide(with_others, scale, out=np.zeros_like(with_others), where=scale > 1e-9))


def settle(
    correlation: NDArray[np.float64], labels: NDArray[np.int64], *, min_genes: int, min_correlation: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Move each gene to the module that it is most correlated with; dissolve modules that get too small.

    Parameters
    ----------
    correlation
        (n_genes, n_genes) symmetric, 1 on the diagonal.
    labels
        (n_genes,) modules to start from.
    min_genes
        Fewest genes of a module.
    min_correlation
        Least correlation of a gene with the rest of its module.

    Returns
    -------
    central : (n_genes, n_modules) float64
        Correlation of each gene with each module.
    labels : (n_genes,) int64
        The module of each gene, -1 for none.
    """
    for _ in range(ROUNDS):
        labels = centrality(correlation, labels).argmax(axis=1)
    while True:
        # Genes of no module no longer count for what the modules are.
        _, labels = np.unique(labels, return_inverse=True)
        central = centrality(correlation, labels)
        labels = np.where(central.max(axis=1) >= min_correlation, central.argmax(axis=1), -1)
        sizes = np.bincount(labels[labels >= 0], minlength=central.shape[1])
        if sizes.min() >= min_genes:
            return central, labels
        kept = np.flatnonzero(sizes >= min_genes)
        if len(kept) == 0:
            return np.zeros((len(labels), 0)), np.full(len(labels), -1, dtype=np.int64)
        labels = kept[central[:, kept].argmax(axis=1)]
