"""Labels from the nearest reference cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scssl.log import progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK = 8192
"""Query cells looked up at a time."""


@dataclass(frozen=True, kw_only=True)
class Votes:
    """What the neighbours of each query cell say."""

    label: NDArray[np.int64]
    """(n_query,) code of the winning label."""
    share: NDArray[np.float32]
    """(n_query,) share of the k neighbours that have it."""
    neighbours: NDArray[np.int64]
    """(n_query, k) rows of the reference, nearest first."""
    distance: NDArray[np.float32]
    """(n_query, k) Euclidean distances."""


def nearest(
    reference: NDArray[np.floating], query: NDArray[np.floating], *, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find the k nearest reference cells of each query cell, exactly; the very nearest is one of them.

    Parameters
    ----------
    reference
        (n_reference, n_latent).
    query
        (n_query, n_latent).
    k
        Number of neighbours, at most n_reference.

    Returns
    -------
    neighbours : numpy.ndarray
        (n_query, k) rows of the reference, nearest first; cells at equal distance in the order of the reference.
    distance : numpy.ndarray
        (n_query, k) Euclidean distances.
    """
    from sklearn.neighbors import NearestNeighbors

    # More than k are fetched, and their distances worked out anew: the search itself rounds, and orders equal
    # distances by how its threads happened to share the work.
    fetched = min(2 * k, len(reference))
    index = NearestNeighbors(n_neighbors=fetched, algorithm="brute").fit(np.asarray(reference, dtype=np.float32))
    neighbours = np.empty((len(query), k), dtype=np.int64)
    distance = np.empty((len(query), k), dtype=np.float32)
    with progress("nearest reference cells", len(query)) as advance:
        for start in range(0, len(query), CHUNK):
            rows = slice(start, start + CHUNK)
            cells = np.asarray(query[rows], dtype=np.float32)
            found = np.sort(index.kneighbors(cells, return_distance=False), axis=1)
            gap = np.empty(found.shape)
            for j in range(fetched):
                difference = reference[found[:, j]].astype(np.float64) - cells
                gap[:, j] = np.sqrt(np.einsum("ij,ij->i", difference, difference))
            order = np.argsort(gap, axis=1, kind="stable")[:, :k]
            neighbours[rows] = np.take_along_axis(found, order, axis=1)
            distance[rows] = np.take_along_axis(gap, order, axis=1)
            advance(len(cells))
    return neighbours, distance


def vote(reference: NDArray[np.floating], labels: NDArray[np.integer], query: NDArray[np.floating], *, k: int) -> Votes:
    """Give each query cell the label that most of its k nearest reference cells have.

    Where labels are level, the one with the nearest cell wins.

    Parameters
    ----------
    reference
        (n_reference, n_latent).
    labels
        (n_reference,) codes from 0.
    query
        (n_query, n_latent).
    k
        Number of neighbours.
    """
    neighbours, distance = nearest(reference, query, k=k)
    label, share = winners(np.asarray(labels, dtype=np.int64)[neighbours])
    return Votes(label=label, share=share, neighbours=neighbours, distance=distance)


def winners(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Count votes; where labels are level, the one with the nearest cell wins.

    Parameters
    ----------
    labels
        (n_cells, k) labels of the neighbours, nearest first.

    Returns
    -------
    label : numpy.ndarray
        (n_cells,) the winner.
    share : numpy.ndarray
        (n_cells,) float32, its share of the votes.
    """
    # agreeing[i, j]: how many neighbours of cell i have the label of its j-th; argmax takes the first, so the nearest.
    agreeing = (labels[:, :, None] == labels[:, None, :]).sum(2)
    winner = agreeing.argmax(1)[:, None]
    share = np.take_along_axis(agreeing, winner, axis=1)[:, 0] / labels.shape[1]
    return np.take_along_axis(labels, winner, axis=1)[:, 0], share.astype(np.float32)
