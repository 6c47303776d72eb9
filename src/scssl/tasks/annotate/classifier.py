"""What every mode of the annotator gives: scores of cells, and scores of reference cells that it did not learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from scssl.tasks.annotate.folds import make_folds

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

MAX_HELD_OUT = 20_000
"""Reference cells that are scored by classifiers which did not learn from them: enough for all that is fitted to it."""


class Scores(NamedTuple):
    """What a mode says of some cells."""

    log_scores: NDArray[np.float32]
    """(n_cells, n_classes) log-probabilities up to a constant per cell; the best guess is the largest."""
    embedding: NDArray[np.float32]
    """(n_cells, n_latent)."""


class HeldOut(NamedTuple):
    """Labelled reference cells, scored by a classifier that did not learn from their donor."""

    log_scores: NDArray[np.float32]
    """(n_held_out, n_classes)."""
    codes: NDArray[np.int64]
    """(n_held_out,) their label."""
    donors: NDArray[np.int64]
    """(n_held_out,) code of their donor; all different where cells, not donors, were held out."""
    embedding: NDArray[np.float32]
    """(n_held_out, n_latent)."""
    rows: NDArray[np.int64]
    """(n_held_out,) their place among the labelled reference cells, rising."""


class Classifier(Protocol):
    """From embeddings to scores."""

    def log_scores(self, embedding: NDArray[np.floating]) -> NDArray[np.float32]:
        """Score cells: (n_cells, n_latent) to (n_cells, n_classes)."""

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return all that has to be kept, by name."""


def hold_out(
    learn: Callable[[NDArray[np.float32], NDArray[np.int64]], Classifier],
    embedding: NDArray[np.float32],
    codes: NDArray[np.int64],
    *,
    donors: NDArray[np.int64] | None,
    seed: int,
    max_cells: int = MAX_HELD_OUT,
) -> HeldOut | None:
    """Score reference cells by classifiers that learned from other donors.

    Cells whose label no other fold has are left out: what such a classifier says of them is not what the one that
    learns from all cells will say of their like. So are cells of unknown donor, who may be of any.

    Parameters
    ----------
    learn
        Makes a classifier of (n_cells, n_latent) embeddings and (n_cells,) codes.
    embedding
        (n_cells, n_latent).
    codes
        (n_cells,) labels.
    donors
        (n_cells,) codes of donors, -1 where not known; None if cells are to be held out one by one.
    seed
        Of the folds over cells, and of the choice of cells.
    max_cells
        Cells to score at most.

    Returns
    -------
    HeldOut or None
        None if there is nothing that could be held out.
    """
    fold = make_folds(codes, donors, seed=seed)
    rng = np.random.default_rng([seed, 0x4E1D])
    scored = np.flatnonzero(fold >= 0)
    if len(scored) > max_cells:
        scored = np.sort(rng.choice(scored, size=max_cells, replace=False))
    wanted = np.zeros(len(codes), dtype=bool)
    wanted[scored] = True
    rows, scores = [], []
    for number in range(int(fold.max(initial=-1)) + 1):
        train = np.flatnonzero((fold >= 0) & (fold != number))
        test = np.flatnonzero((fold == number) & wanted)
        test = test[np.isin(codes[test], codes[train])]
        if test.size:
            rows.append(test)
            scores.append(learn(embedding[train], codes[train]).log_scores(embedding[test]))
    if not rows:
        return None
    found = np.concatenate(rows)
    order = np.argsort(found)
    found = found[order]
    return HeldOut(
        log_scores=np.concatenate(scores)[order],
        codes=codes[found],
        donors=found if donors is None else donors[found],
        embedding=embedding[found],
        rows=found,
    )
