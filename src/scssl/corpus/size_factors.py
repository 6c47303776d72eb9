"""What share of a cell's counts a source could have seen: makes totals over small gene panels comparable.

A source that measured 1,300 genes has totals over these 1,300 only, so counts per 10,000 come out too large against a
source that measured all. With ``pi`` a typical cell's share of counts per gene, and ``f`` the sum of ``pi`` over the
genes that a source measured, ``total / f`` estimates the total that the cell would have had over all genes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_WEIGHT = 5.0
"""A source counts at most this many times as much as the median source, however many cells it has."""
TOLERANCE = 1e-7
MAX_ROUNDS = 1000


def gene_share(
    gene_counts: NDArray[np.integer], measured: NDArray[np.bool_], *, n_cells: NDArray[np.integer]
) -> NDArray[np.float32]:
    """Estimate which share of a typical cell's counts falls on each gene, from sources that measured different genes.

    Fixed point of ``f_s = sum of pi over the genes measured in s`` and
    ``pi_g = weighted mean over the sources s that measured g of (f_s * share of g in the counts of s)``,
    normalised to sum 1. When every source measured every gene, that is the weighted mean profile. Reached in some ten
    rounds where sources share many genes; the less they share, the slower, and the less is known.

    Parameters
    ----------
    gene_counts
        (n_sources, n_genes) total raw counts.
    measured
        (n_sources, n_genes) which genes each source measured.
    n_cells
        (n_sources,) cells behind the counts; a source's weight, capped at five times the median.

    Returns
    -------
    numpy.ndarray
        (n_genes,) float32, sums to 1; 0 for genes that no source measured. Genes that only sources without counts
        measured get 0 too.
    """
    counts = np.where(measured, gene_counts, 0).astype(np.float64)
    totals = counts.sum(axis=1)
    used = totals > 0
    if not used.any():
        anywhere = measured.any(axis=0)
        uniform: NDArray[np.float32] = (anywhere / max(1, anywhere.sum())).astype(np.float32)
        return uniform
    mask = measured[used].astype(np.float64)
    profile = counts[used] / totals[used, None]
    weight = np.maximum(n_cells[used], 1).astype(np.float64)
    weight = np.minimum(weight, LARGEST_WEIGHT * np.median(weight))
    # Constant over the rounds: how much weight stands behind each gene.
    behind = weight @ mask
    share = _normalise(np.divide(weight @ profile, behind, out=np.zeros_like(behind), where=behind > 0))
    seen = mask @ share
    for _ in range(MAX_ROUNDS):
        scaled = (weight * seen) @ profile
        share = _normalise(np.divide(scaled, behind, out=np.zeros_like(behind), where=behind > 0))
        previous, seen = seen, mask @ share
        if np.abs(seen - previous).max() < TOLERANCE:
            break
    result: NDArray[np.float32] = share.astype(np.float32)
    return result


def measured_share(share: NDArray[np.floating], measured: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Share of a typical cell's counts that falls on the genes that each source measured.

    Parameters
    ----------
    share
        (n_genes,) from `gene_share`.
    measured
        (n_sources, n_genes) which genes each source measured.

    Returns
    -------
    numpy.ndarray
        (n_sources,) float32, in (0, 1]; 1 for a source that measured every gene that carries counts. 1 as well where
        the estimate has nothing to go by (a source without counts whose genes no other source has).
    """
    seen = measured.astype(np.float64) @ share.astype(np.float64)
    seen = np.where(seen > 0, np.minimum(seen, 1.0), 1.0)
    return seen.astype(np.float32)


def _normalise(share: NDArray[np.float64]) -> NDArray[np.float64]:
    normalised: NDArray[np.float64] = share / share.sum()
    return normalised
