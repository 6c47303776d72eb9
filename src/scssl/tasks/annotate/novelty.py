"""How far a cell lies from a labelled reference: the scores that unknown cells are told by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray

Score = Literal["type", "scaled type", "cells", "scaled cells"]
SCORES: tuple[Score, ...] = get_args(Score)
CHUNK = 4096
TYPICAL_CELLS, TYPICAL_IN_ALL = 100, 3000
"""Cells of each type, and of all, that typical distances are found from."""
SHRINK = 1e-3
"""Share of the mean variance that is added to each dimension: dimensions in which no cell differs must not decide."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """A reference in coordinates in which cells of one type vary equally in all directions.

    All distances are those of Mahalanobis, with the covariance within types pooled over them (Lee et al. 2018, doi
    10.48550/arXiv.1807.03888): what differs among cells of one type anyway, as between donors, says little of whether
    a cell is of no type at all.

    - ``type``: to the centre of the nearest type. Needs the fewest cells, and sees best what lies between types.
    - ``scaled type``: the same, with each type's distances divided by their median: dispersed types reach further.
    - ``cells``: mean distance to the k nearest reference cells, for types that are no round clouds.
    - ``scaled cells``: the same, divided by what is typical of the types of these k.
    """

    centres: NDArray[np.float32]
    """(n_types, n_latent) in the coordinates of the space."""
    spread: NDArray[np.float32]
    """(n_types,) median distance of a type's cells from its centre."""
    white: NDArray[np.float32]
    """(n_latent, n_latent) from the embedding to the coordinates."""
    cells: NDArray[np.float32]
    """(n_cells, n_latent) in the coordinates of the space."""
    scale: NDArray[np.float32]
    """(n_cells,) distance to the k nearest other cells that is typical of the cell's type."""
    k: int

    @classmethod
    def fit(cls, embedding: NDArray[np.floating], *, codes: NDArray[np.integer], k: int, seed: int) -> Self:
        """Find coordinates, centres and typical distances.

        Parameters
        ----------
        embedding
            (n_cells, n_latent).
        codes
            (n_cells,) types.
        k
            Nearest cells that count.
        seed
            Draws the cells that typical distances are found from.
        """
        x = np.asarray(embedding, dtype=np.float64)
        types, place = np.unique(codes, return_inverse=True)
        rows = _rows_by_type(place)
        centres = np.stack([x[own].mean(axis=0) for own in rows])
        within = x - centres[place]
        covariance = within.T @ within / len(x)
        size = float(np.trace(covariance)) / len(covariance)
        covariance += (SHRINK * size if size > 0 else 1.0) * np.eye(len(covariance))
        values, axes = np.linalg.eigh(covariance)
        white = axes / np.sqrt(values)
        cells, centres = (x @ white).astype(np.float32), (centres @ white).astype(np.float32)
        away = np.linalg.norm(cells - centres[place], axis=1)
        spread = np.array([np.median(away[own]) for own in rows])
        # A type of one cell has no spread of its own.
        spread = np.where(spread > 0, spread, np.median(spread[spread > 0]) if (spread > 0).any() else 1.0)
        space = cls(
            centres=centres,
            spread=spread.astype(np.float32),
            white=white.astype(np.float32),
            cells=cells,
            scale=np.ones(len(cells), dtype=np.float32),
            k=k,
        )
        rng = np.random.default_rng(seed)
        each = int(np.clip(TYPICAL_IN_ALL // len(types), 1, TYPICAL_CELLS))
        some = [rng.choice(own, min(len(own), each), replace=False) for own in rows]
        distance, _ = space._nearest(cells[np.concatenate(some)], k=k + 1)
        # The first is the cell itself.
        mean = distance[:, 1:].mean(axis=1) if distance.shape[1] > 1 else np.ones(len(distance))
        typical = np.array([np.median(part) for part in np.split(mean, np.cumsum([len(own) for own in some])[:-1])])
        space.scale[:] = np.where(typical > 0, typical, 1.0)[place]
        return space

    def score(self, embedding: NDArray[np.floating], *, kind: Score) -> NDArray[np.float32]:
        """Return how far cells lie from the reference, (n_cells,), as a logarithm.

        Parameters
        ----------
        embedding
            (n_cells, n_latent).
        kind
            Which distance.
        """
        return self.scores(embedding, kinds=(kind,))[kind]

    def scores(
        self, embedding: NDArray[np.floating], *, kinds: Sequence[Score] = SCORES
    ) -> dict[Score, NDArray[np.float32]]:
        """Return several scores, each as `score` does.

        Parameters
        ----------
        embedding
            (n_cells, n_latent).
        kinds
            Which distances.
        """
        out = {kind: np.empty(len(embedding), dtype=np.float32) for kind in kinds}
        for start in range(0, len(embedding), CHUNK):
            rows = slice(start, start + CHUNK)
            points = np.asarray(embedding[rows], dtype=np.float32) @ self.white
            far: dict[Score, NDArray[np.floating]] = {}
            if {"type", "scaled type"} & set(kinds):
                away = np.stack([np.linalg.norm(points - centre, axis=1) for centre in self.centres], axis=1)
                far |= {"type": away.min(axis=1), "scaled type": (away / self.spread).min(axis=1)}
            if {"cells", "scaled cells"} & set(kinds):
                distance, found = self._nearest(points, k=self.k)
                mean = distance.mean(axis=1)
                far |= {"cells": mean, "scaled cells": mean / self.scale[found].mean(axis=1)}
            for kind in kinds:
                out[kind][rows] = np.log(np.maximum(far[kind], np.finfo(np.float32).tiny))
        return out

    def _nearest(self, points: NDArray[np.float32], *, k: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return distances to and rows of the k nearest cells."""
        from sklearn.neighbors import NearestNeighbors

        index = NearestNeighbors(n_neighbors=min(k, len(self.cells)), algorithm="brute").fit(self.cells)
        distance, found = index.kneighbors(points)
        return distance, found


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A reference whose cells can be judged by those of other folds."""

    embedding: NDArray[np.floating]
    """(n_cells, n_latent)."""
    codes: NDArray[np.int64]
    """(n_cells,) types."""
    fold: NDArray[np.int64]
    """(n_cells,) number of the fold."""
    bank: NDArray[np.int64]
    """Rows of the cells that judge the others."""
    k: int
    seed: int
    judged: NDArray[np.floating] | None = None
    """(n_cells, n_latent) of the cells while they are judged, where an encoder that did not learn from them embeds them
    elsewhere."""

    def scores(self, cells: NDArray[np.int64], *, without: int | None = None) -> dict[Score, NDArray[np.float32]]:
        """Score cells by the other folds' cells.

        Parameters
        ----------
        cells
            Their rows.
        without
            Type that is taken out of the reference.

        Returns
        -------
        dict
            Of each score, (n_cells,); infinite where no cell is left to compare with.
        """
        out = {name: np.full(len(cells), np.inf, dtype=np.float32) for name in SCORES}
        judged = self.embedding if self.judged is None else self.judged
        for number in np.unique(self.fold[cells]):
            mine = self.fold[cells] == number
            rest = self.bank[self.fold[self.bank] != number]
            rest = rest if without is None else rest[self.codes[rest] != without]
            if not len(rest):
                continue
            space = Space.fit(self.embedding[rest], codes=self.codes[rest], k=self.k, seed=self.seed)
            for name, values in space.scores(judged[cells[mine]]).items():
                out[name][mine] = values
        return out


def _rows_by_type(place: NDArray[np.integer]) -> list[NDArray[np.int64]]:
    """Return the rows of each type; types are numbered without a gap."""
    return np.split(np.argsort(place, kind="stable"), np.cumsum(np.bincount(place))[:-1])


def even_sample(codes: NDArray[np.integer], *, n: int, seed: int) -> NDArray[np.int64]:
    """Draw cells such that rare types keep all of theirs and common ones share the rest evenly; rows, rising.

    Parameters
    ----------
    codes
        (n_cells,) types.
    n
        Cells to draw at most.
    seed
        Of the draw.
    """
    if len(codes) <= n:
        return np.arange(len(codes))
    rng = np.random.default_rng(seed)
    # The first cell of every type comes before the second of any.
    order = rng.permutation(len(codes))
    by_type = order[np.argsort(codes[order], kind="stable")]
    _, first, count = np.unique(codes[by_type], return_index=True, return_counts=True)
    turn = np.arange(len(codes)) - np.repeat(first, count)
    chosen = by_type[np.lexsort((rng.random(len(codes)), turn))[:n]]
    return np.sort(chosen)
