"""Counts that a method may see, and counts that it is scored on: thinning, and hiding genes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import scipy.sparse as sp

from scssl.errors import SettingsError, require

if TYPE_CHECKING:
    from numpy.typing import NDArray

HoldOut = Literal["thinned", "hidden"]
SHARES = {"thinned": 0.5, "hidden": 0.2}
"""Share of the counts, or of the genes, held out by default."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Cells on a panel."""

    counts: sp.csr_matrix
    """(n_cells, n_genes) raw counts."""
    measured: NDArray[np.bool_]
    """(n_genes,) genes that were measured."""
    measured_share: float
    """Share of a typical cell's counts on them."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Cells of which a part was held out."""

    seen: sp.csr_matrix
    """(n_cells, n_genes) counts that methods are given."""
    truth: sp.csr_matrix
    """(n_cells, n_genes) counts that they are scored on; with hidden genes only at hidden entries."""
    hidden: NDArray[np.bool_] | None
    """(n_cells, n_genes) entries that were hidden; None where counts were thinned, and all entries are scored."""
    seen_total: NDArray[np.float64]
    """(n_cells,) counts that each cell would have on the measured genes at the depth of `seen`."""
    expected_total: NDArray[np.float64]
    """(n_cells,) the same at the depth of `truth`, as far as a method may know it."""
    true_total: NDArray[np.float64]
    """(n_cells,) what the held-out counts are divided by to put them on the log scale."""
    rows: NDArray[np.int64]
    """(n_cells,) which cells of the sample these are: those with counts on both sides."""


def hold_out(sample: Sample, how: HoldOut, *, share: float, gene_share: NDArray[np.floating], seed: int) -> Split:
    """Split the counts of cells.

    Parameters
    ----------
    sample
        Cells.
    how
        ``"thinned"``: each count goes to one side or the other by the toss of a coin, which makes two measurements of
        the same cell, at less depth. ``"hidden"``: entries are hidden, each measured gene of each cell on its own.
    share
        Share of the counts, or of the genes, that is held out.
    gene_share
        (n_genes,) share of a typical cell's counts, from which the total that includes hidden genes is estimated.
    seed
        Of the draw.

    Raises
    ------
    SettingsError
        If the way or the share is not possible.
    """
    if how not in get_args(HoldOut):
        message = f"hold_out {how!r} is not known; choose one of: {', '.join(get_args(HoldOut))}"
        raise SettingsError(message)
    require("share", share, holds=0 < share < 1, must="a share between 0 and 1")
    rng = np.random.default_rng(seed)
    seen, truth, hidden = (thin if how == "thinned" else hide)(sample, share=share, rng=rng)
    seen_total = np.asarray(seen.sum(axis=1), dtype=np.float64).ravel()
    true_total = np.asarray(truth.sum(axis=1), dtype=np.float64).ravel()
    both = (seen_total > 0) & (true_total > 0)
    if hidden is not None:
        # What the hidden genes hold is not to be known through the total either.
        weight = np.where(sample.measured, gene_share, 0).astype(np.float64)
        known = np.maximum(1 - hidden @ weight / max(float(weight.sum()), 1e-12), 1e-3)
        true_total, seen_total = true_total + seen_total, seen_total / known
    expected = true_total if hidden is None else seen_total
    rows = np.flatnonzero(both)
    return Split(
        seen=seen[rows],
        truth=truth[rows],
        hidden=None if hidden is None else hidden[rows],
        seen_total=seen_total[rows],
        expected_total=expected[rows],
        true_total=true_total[rows],
        rows=rows,
    )


def thin(
    sample: Sample, *, share: float, rng: np.random.Generator
) -> tuple[sp.csr_matrix, sp.csr_matrix, NDArray[np.bool_] | None]:
    """Split each count by binomial draws; returns what is seen, what is held out, and no entries."""
    counts = sample.counts.tocsr()
    away = rng.binomial(np.round(counts.data).astype(np.int64), share)
    left = np.round(counts.data).astype(np.int64) - away
    return _with(counts, left), _with(counts, away), None


def hide(
    sample: Sample, *, share: float, rng: np.random.Generator
) -> tuple[sp.csr_matrix, sp.csr_matrix, NDArray[np.bool_] | None]:
    """Hide entries of measured genes; returns what is seen, what is held out, and which entries."""
    counts = sample.counts.tocsr()
    hidden = (rng.random(counts.shape, dtype=np.float32) < share) & sample.measured
    rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    away = hidden[rows, counts.indices]
    return _with(counts, np.where(away, 0, counts.data)), _with(counts, np.where(away, counts.data, 0)), hidden


def _with(counts: sp.csr_matrix, data: NDArray[np.generic]) -> sp.csr_matrix:
    out = sp.csr_matrix((data.astype(np.float32), counts.indices.copy(), counts.indptr.copy()), shape=counts.shape)
    out.eliminate_zeros()
    return out
