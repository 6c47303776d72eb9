"""How well the batches of a study are mixed in an embedding, and how well its types are kept: scib-metrics, raw."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.cores import same_threads
from scssl.errors import DataError, import_extra

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

TYPES: Final = ("nmi", "ari", "silhouette_label", "isolated_labels", "clisi")
"""Scores of how well types are kept; they need labels."""
MIXING: Final = ("ilisi", "kbet", "graph_connectivity", "pcr", "silhouette_batch", "bras")
"""Scores of how well batches are mixed."""
WITHOUT_LABELS: Final = ("ilisi", "kbet", "pcr")
"""What is left of them without labels."""
NEIGHBOURS: Final = 90
"""As in scib-metrics: 90 for LISI, 50 for kBET, 15 for clusters and connectivity; fewer where cells are fewer."""


@dataclass(frozen=True, kw_only=True)
class IntegrationScores:
    """Scores of one embedding, each from 0 to 1, 1 the best."""

    types: dict[str, float] = field(default_factory=dict)
    """By name from `TYPES`; empty without labels."""
    mixing: dict[str, float]
    """By name from `MIXING`; those of `WITHOUT_LABELS` without labels."""

    @property
    def type_score(self) -> float | None:
        """Mean of `types`; None without labels."""
        return float(np.mean([*self.types.values()])) if self.types else None

    @property
    def mixing_score(self) -> float:
        """Mean of `mixing`."""
        return float(np.mean([*self.mixing.values()]))


def integration_scores(
    embedding: NDArray[np.floating],
    *,
    batch: NDArray[Any],
    labels: NDArray[Any] | None = None,
    before: NDArray[np.floating],
) -> IntegrationScores:
    r"""Score an embedding of several batches with scib-metrics (Luecken et al. 2022, doi 10.1038/s41592-021-01336-8).

    Types: ``nmi`` and ``ari`` of Leiden clusters with the labels (best of ten resolutions, by NMI);
    ``silhouette_label``; ``isolated_labels``, the silhouette of the labels in the fewest batches; ``clisi``, one label
    among neighbours. Mixing: ``ilisi``, many batches among neighbours; ``kbet``, neighbourhoods with the batches in
    the shares of all (within each label; over all cells without labels); ``graph_connectivity``, cells of a label
    connected; ``pcr``, :math:`(R^2_{before} - R^2) / R^2_{before}` with :math:`R^2` the variance that the batch
    explains, 0 where it grew; ``silhouette_batch`` and ``bras`` (its correction for nested batches, Rautenstrauch and
    Ohler 2025), batches of a label not apart.

    Scores are as scib-metrics computes them: none is rescaled by what else is in a table. Neighbours are exact.

    Parameters
    ----------
    embedding
        (n_cells, n_dimensions).
    batch
        (n_cells,) names.
    labels
        (n_cells,) names, None where a cell has none: such cells count only where labels do not matter.
    before
        (n_cells, n_dimensions) unintegrated principal components, for ``pcr``.

    Raises
    ------
    DataError
        If shapes do not fit, values are not finite, or there are fewer than two batches, two labels or 20 cells.
    MissingExtraError
        If scib-metrics is not installed.

    Returns
    -------
    IntegrationScores
        Without labels `types` is empty.
    """
    with _quiet():
        scib = import_extra("scib_metrics", extra="integrate")
    x, before = (np.ascontiguousarray(array, dtype=np.float32) for array in (embedding, before))
    batch = np.asarray(batch).astype(str)
    _check(x, batch, before)
    known = None if labels is None else np.array([name is not None and name == name for name in labels])
    with _quiet(), same_threads():
        near = neighbours(x, k=NEIGHBOURS)
        mixing = {"ilisi": scib.ilisi_knn(near, batch)}
        mixing["pcr"] = scib.pcr_comparison(before, x, batch, categorical=True)
        if labels is None or known is None or not known.any():
            mixing["kbet"] = scib.kbet(near.subset_neighbors(min(50, near.n_neighbors)), batch)[0]
            return IntegrationScores(mixing=_named(mixing, WITHOUT_LABELS))
        names, own = np.asarray(labels, dtype=object)[known].astype(str), batch[known]
        x = x[known]
        _check_labels(names, own)
        near = near if known.all() else neighbours(x, k=NEIGHBOURS)
        few, some = (near.subset_neighbors(min(k, near.n_neighbors)) for k in (15, 50))
        types = dict(scib.nmi_ari_cluster_labels_leiden(few, names))
        types["silhouette_label"] = scib.silhouette_label(x, names)
        types["isolated_labels"] = scib.isolated_labels(x, names, own)
        types["clisi"] = scib.clisi_knn(near, names)
        with _exact_search():
            mixing["kbet"] = scib.kbet_per_label(some, own, names)
        mixing["graph_connectivity"] = scib.graph_connectivity(few, names)
        mixing["silhouette_batch"] = scib.silhouette_batch(x, names, own)
        mixing["bras"] = scib.bras(x, names, own)
    return IntegrationScores(types=_named(types, TYPES), mixing=_named(mixing, MIXING))


def neighbours(x: NDArray[np.float32], *, k: int) -> Any:
    """Find the nearest cells of each, itself first, exactly and in bounded memory, as scib-metrics wants them.

    Parameters
    ----------
    x
        (n_cells, n_dimensions).
    k
        How many; fewer where cells are fewer.
    """
    from sklearn.metrics import pairwise_distances_chunked

    results = import_extra("scib_metrics.nearest_neighbors", extra="integrate").NeighborsResults
    k = min(k, len(x))

    def nearest(distance: NDArray[np.floating], first: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        rows = np.arange(len(distance))
        # A cell is its own nearest, also where others lie in the same place.
        distance[rows, first + rows] = -1.0
        found = np.argpartition(distance, k - 1, axis=1)[:, :k] if k < len(x) else np.tile(np.arange(k), (len(rows), 1))
        gaps = np.take_along_axis(distance, found, axis=1)
        order = np.argsort(gaps, axis=1, kind="stable")
        gaps = np.maximum(np.take_along_axis(gaps, order, axis=1), 0.0)
        return np.take_along_axis(found, order, axis=1), gaps.astype(np.float32)

    parts = list(pairwise_distances_chunked(x, reduce_func=nearest, working_memory=256))
    return results(
        indices=np.concatenate([part[0] for part in parts]), distances=np.concatenate([part[1] for part in parts])
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what scib-metrics says to itself, and the root logger, which it sets up, as it was."""
    root, talker = logging.getLogger(), logging.getLogger("scib_metrics")
    handlers, level = root.handlers[:], talker.level
    # With a handler there, no other is added.
    root.addHandler(logging.NullHandler())
    talker.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Of arrays that are copied, and of a batch effect that grew, which a score of 0 says.
            warnings.simplefilter("ignore")
            yield
    finally:
        root.handlers[:] = handlers
        talker.setLevel(level)


@contextmanager
def _exact_search() -> Iterator[None]:
    """Let kBET find neighbours exactly: the approximate search takes a minute to compile in every new process."""
    module: Any = import_extra("scib_metrics.nearest_neighbors", extra="integrate")
    approximate = module.pynndescent
    module.pynndescent = lambda x, n_neighbors: neighbours(np.ascontiguousarray(x, dtype=np.float32), k=n_neighbors)
    try:
        yield
    finally:
        module.pynndescent = approximate


def _named(scores: dict[str, Any], order: tuple[str, ...]) -> dict[str, float]:
    return {name: float(scores[name]) for name in order}


def _check(x: NDArray[np.float32], batch: NDArray[Any], before: NDArray[np.float32]) -> None:
    if x.ndim != 2 or before.ndim != 2 or not len(x) == len(batch) == len(before):
        message = (
            f"integration scores: embedding {x.shape}, batch {batch.shape} and unintegrated components {before.shape} "
            "must be of the same cells"
        )
        raise DataError(message)
    if not (np.isfinite(x).all() and np.isfinite(before).all()):
        message = "integration scores: the embedding contains values that are not finite"
        raise DataError(message)
    if len(x) < 20 or len(np.unique(batch)) < 2:
        message = (
            f"integration scores: {len(x)} cells of {len(np.unique(batch))} batch(es); at least 20 cells of two "
            "batches are needed"
        )
        raise DataError(message)


def _check_labels(names: NDArray[Any], batch: NDArray[Any]) -> None:
    pairs = np.unique(np.stack([names, batch]), axis=1)
    n_batches, n_cells = (np.unique(array, return_counts=True)[1] for array in (pairs[0], names))
    # Where every cell of a label is a batch of its own, none lies nearer to its batch than to others.
    shared = bool(((n_batches > 1) & (n_batches < n_cells)).any())
    if len(names) < 20 or len(np.unique(names)) < 2 or len(np.unique(batch)) < 2 or not shared:
        message = (
            f"integration scores: {len(names)} labelled cells with {len(np.unique(names))} label(s); at least 20 cells "
            "with two labels are needed, one of them in two batches and with several cells in one. Leave the labels "
            "out for scores of mixing alone"
        )
        raise DataError(message)
