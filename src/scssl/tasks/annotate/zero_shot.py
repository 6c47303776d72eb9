"""Zero-shot: the vote of the nearest reference cells, as scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scssl.tasks.annotate.knn import nearest, winners

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDE = 50
"""Neighbours whose labels are looked at beside the vote: they order the labels that got no vote."""
SMOOTHING = 0.1
"""Votes that the labels without any neighbour share."""


@dataclass(frozen=True, kw_only=True)
class NearestCells:
    """Labelled reference cells whose k nearest vote.

    The score of a label is the log of its votes, among k, plus half of its share among the `WIDE` nearest, plus a half
    for the winner; so the winner of the vote, with the nearest cell deciding where labels are level, always scores
    highest, and whole votes come before all else.
    """

    embedding: NDArray[np.float32]
    """(n_reference, n_latent)."""
    codes: NDArray[np.int64]
    """(n_reference,) labels."""
    n_classes: int
    k: int

    def log_scores(self, embedding: NDArray[np.floating]) -> NDArray[np.float32]:
        """Score cells.

        Parameters
        ----------
        embedding
            (n_cells, n_latent).

        Returns
        -------
        numpy.ndarray
            (n_cells, n_classes) float32, log-probabilities.
        """
        k = min(self.k, len(self.codes))
        wide = min(max(WIDE, k), len(self.codes))
        neighbours, _ = nearest(self.embedding, embedding, k=wide)
        labels = self.codes[neighbours]
        winner, _ = winners(labels[:, :k])
        rows = np.arange(len(labels))
        votes = np.full((len(labels), self.n_classes), SMOOTHING / self.n_classes, dtype=np.float32)
        for place in range(wide):
            # One neighbour at a time: every cell occurs once, so plain indexing adds up.
            votes[rows, labels[:, place]] += (place < k) + np.float32(0.5 / wide)
        votes[rows, winner] += np.float32(0.5)
        scores: NDArray[np.float32] = np.log(votes / np.float32(k + 1 + SMOOTHING))
        return scores

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return embedding and codes of the reference."""
        return {"embedding": self.embedding, "codes": self.codes}
