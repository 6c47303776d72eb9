"""What a translator has to be better than: the mean, ridge regression, nearest cells, ridge on principal components.

All read log1p of counts per 10,000 of the genes that reference and query measured, and predict on the scale of the
scores. What there is to choose (penalty, components, neighbours) is chosen by cross-validation within the reference, by
donor where it has several.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import scipy.sparse as sp

from scssl.tasks.annotate.knn import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Array = NDArray[np.float32]

MEAN, RIDGE, KNN, PCA_RIDGE = "mean", "ridge", "kNN", "PCA + ridge"
METHODS: Final = (MEAN, RIDGE, KNN, PCA_RIDGE)
PENALTIES: Final = tuple(float(10.0**power) for power in np.arange(-5.0, 1.0, 0.5))
"""Shares of the largest squared singular value."""
COMPONENTS: Final = (10, 20, 50, 100)
NEIGHBOURS: Final = (5, 10, 20, 50, 100)
MAX_SIDE, MAX_CELLS, MAX_FOLDS = 2000, 10_000, 5
TARGET_SUM: Final = 1e4


def log_counts(counts: sp.csr_matrix, genes: NDArray[np.int64]) -> Array:
    """Return log1p of counts per 10,000 over some genes, (n_cells, n_genes) dense.

    Parameters
    ----------
    counts
        (n_cells, n_panel) raw counts.
    genes
        Genes to keep; the totals are over these.
    """
    values = counts[:, genes].astype(np.float32)
    totals = np.maximum(np.asarray(values.sum(axis=1)).ravel(), 1.0)
    return np.log1p((sp.diags_array(np.float32(TARGET_SUM) / totals) @ values).toarray())  # type: ignore[no-any-return]


class Fits(NamedTuple):
    """What baselines say, and what was chosen for them."""

    predicted: dict[str, Array]
    """(n_query, n_features) by method, on the scale of the scores."""
    chosen: dict[str, dict[str, float]]


def baselines(
    reference: Array, query: Array, *, target: Array, groups: NDArray[np.object_] | None, seed: int = 0
) -> Fits:
    """Fit all baselines on a reference and predict a query.

    Parameters
    ----------
    reference, query
        (n_cells, n_genes) log counts of either.
    target
        (n_reference, n_features) on the scale of the scores.
    groups
        (n_reference,) donors; None to cross-validate over cells.
    seed
        Of the folds, and of the cells where there are more than can be used.
    """
    rng = np.random.default_rng([seed, 0xBA5E])
    if len(reference) > MAX_CELLS:
        rows = np.sort(rng.permutation(len(reference))[:MAX_CELLS])
        reference, target = reference[rows], target[rows]
        groups = None if groups is None else groups[rows]
    if min(reference.shape) > MAX_SIDE:
        # More would take minutes: the genes that vary most.
        genes = np.sort(np.argsort(-reference.var(axis=0), kind="stable")[:MAX_SIDE])
        reference, query = reference[:, genes], query[:, genes]
    losses: dict[tuple[str, tuple[float, ...]], float] = {}
    for train, val in _folds(len(reference), groups, rng=rng):
        for (method, option), found in _all(reference[train], reference[val], target[train], None):
            error = float(((found - target[val]) ** 2).sum())
            losses[method, option] = losses.get((method, option), 0.0) + error
    best = {m: min((loss, o) for (name, o), loss in losses.items() if name == m)[1] for m in METHODS[1:]}
    predicted = {MEAN: np.repeat(target.mean(axis=0, keepdims=True), len(query), axis=0)}
    predicted |= {method: found for (method, _), found in _all(reference, query, target, best)}
    names = {RIDGE: ("penalty",), KNN: ("k",), PCA_RIDGE: ("components", "penalty")}
    chosen = {m: dict(zip(names[m], option, strict=True)) for m, option in best.items()}
    return Fits({name: predicted[name] for name in METHODS}, chosen)


def _all(
    train: Array, query: Array, target: Array, only: dict[str, tuple[float, ...]] | None
) -> Iterator[tuple[tuple[str, tuple[float, ...]], Array]]:
    """Yield what every method says with every option, or with one only; one decomposition serves all."""
    shift, level = train.mean(axis=0), target.mean(axis=0)
    scores, scale, axes = _decompose(train - shift)
    projected, moved = (query - shift) @ axes.T, scores.T @ (target - level)

    def ridge(n: int, penalty: float) -> Array:
        # Of centred X = U S V' the ridge solution is V (S / (S^2 + a)) U' Y, with U S = scores.
        weight = 1.0 / (scale[:n] ** 2 + penalty * scale[0] ** 2)
        return level + (projected[:, :n] * weight) @ moved[:n]  # type: ignore[no-any-return]

    options: dict[str, list[tuple[float, ...]]] = {
        RIDGE: [(penalty,) for penalty in PENALTIES],
        PCA_RIDGE: [(float(n), penalty) for n in COMPONENTS for penalty in PENALTIES[::2]],
        KNN: [(float(k),) for k in NEIGHBOURS],
    }
    for option in options[RIDGE] if only is None else [only[RIDGE]]:
        yield (RIDGE, option), ridge(len(scale), option[0])
    for option in options[PCA_RIDGE] if only is None else [only[PCA_RIDGE]]:
        yield (PCA_RIDGE, option), ridge(min(int(option[0]), len(scale)), option[1])
    n = min(50, len(scale))
    wanted = options[KNN] if only is None else [only[KNN]]
    most = min(int(max(option[0] for option in wanted)), len(train))
    found, _ = nearest(scores[:, :n], projected[:, :n], k=most)
    for option in wanted:
        k = min(int(option[0]), most)
        total = np.zeros((len(query), target.shape[1]), dtype=np.float32)
        for j in range(k):
            total += target[found[:, j]]
        yield (KNN, option), total / np.float32(k)


def _decompose(centred: Array) -> tuple[Array, Array, Array]:
    """Return principal scores (n_cells, r), singular values (r,) and axes (r, n_genes), by the smaller Gram matrix."""
    n_cells, n_genes = centred.shape
    gram = (centred @ centred.T if n_cells <= n_genes else centred.T @ centred).astype(np.float64)
    values, vectors = np.linalg.eigh(gram)
    order = np.argsort(-values)
    order = order[values[order] > 1e-6 * max(values.max(), 1e-12)]
    scale = np.sqrt(values[order]).astype(np.float32)
    side = vectors[:, order].astype(np.float32)
    if n_cells <= n_genes:
        return side * scale, scale, (side / scale).T @ centred
    return centred @ side, scale, side.T


def _folds(
    n: int, groups: NDArray[np.object_] | None, *, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    fold = rng.permutation(n) % MAX_FOLDS
    if groups is not None:
        names, codes = np.unique(np.where(groups == None, "", groups).astype(str), return_inverse=True)  # noqa: E711
        fold = (rng.permutation(len(names)) % min(MAX_FOLDS, len(names)))[codes]
    for number in np.unique(fold):
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)
