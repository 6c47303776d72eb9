"""Groups of cells and their mean expression: what a condition is learned from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCALE: Final = 1e4
OFFSET: Final = 4.0
"""Values are log(1 + 10,000 share / 4): nearly linear below four counts per 10,000, so that the ratios of rare genes
do not explode. Of 0.03 to 16, values from 4 on predicted best on development data."""
PLAIN: Final = 1.0
"""The usual log1p of counts per 10,000, in which simple shifts do best."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Bulk:
    """Mean expression of one group of cells, and how sure it is."""

    n_cells: int
    share: NDArray[np.float64]
    """(n_genes,) of all counts of the group."""
    log_total: float
    """Mean log total of the cells."""
    variance: NDArray[np.float64]
    """(n_genes + 1,) squared standard errors of the values of the shares, and of the log total."""

    @property
    def value(self) -> NDArray[np.float64]:
        """(n_genes + 1,) `to_value` of the shares, and the mean log total."""
        return np.append(to_value(self.share), self.log_total)


def to_value(share: NDArray[Any], *, offset: float = OFFSET) -> NDArray[np.float64]:
    """Return log(1 + 10,000 share / offset)."""
    return np.log1p(SCALE / offset * np.asarray(share, dtype=np.float64))


def to_share(value: NDArray[Any], *, offset: float = OFFSET) -> NDArray[np.float64]:
    """Undo `to_value`; what lies below 0 is 0, and the shares of a row sum to 1."""
    share = offset / SCALE * np.expm1(np.clip(np.asarray(value, dtype=np.float64), 0.0, 15.0))
    return np.asarray(share / np.maximum(share.sum(axis=-1, keepdims=True), 1e-12))


def bulk(counts: sp.csr_matrix, *, donors: NDArray[np.int64] | None = None) -> Bulk:
    r"""Return the mean expression of a group of cells with its standard error.

    The share of a gene is :math:`p = \sum_i y_i / \sum_i N_i`, with squared standard error
    :math:`\sum_i (y_i - N_i p)^2 / (\sum_i N_i)^2` over cells; over donors, where there are two or more: donors weigh
    the same then, and the error is that of their mean.

    Parameters
    ----------
    counts
        (n_cells, n_genes), every cell with counts.
    donors
        (n_cells,) number of the donor; None if the cells are of one.
    """
    if donors is not None and len(names := np.unique(donors)) > 1:
        parts = [bulk(counts[np.flatnonzero(donors == name)]) for name in names]
        values = np.stack([part.value for part in parts])
        inner = np.mean([part.variance for part in parts], axis=0)
        # The spread of a few donors is itself unsure, and never less than what counting alone makes.
        spread = np.maximum(values.var(axis=0, ddof=1), inner)
        return Bulk(
            n_cells=int(counts.shape[0]),
            share=np.mean([part.share for part in parts], axis=0),
            log_total=float(values[:, -1].mean()),
            variance=spread / len(parts),
        )
    values = sp.csr_matrix(counts, dtype=np.float64)
    totals = np.asarray(values.sum(axis=1)).ravel()
    everything, n = totals.sum(), len(totals)
    share = np.asarray(values.sum(axis=0)).ravel() / everything
    squares = np.asarray(values.multiply(values).sum(axis=0)).ravel()
    error = squares - 2 * share * (values.T @ totals) + share**2 * (totals**2).sum()
    # A gene without any count may still have had one.
    error = np.maximum(error * n / max(n - 1, 1), 1.0) / everything**2
    slope = SCALE / (OFFSET + SCALE * share)
    logs = np.log(totals)
    of_total = max(float(logs.var(ddof=1)) if n > 1 else 1.0, 1e-4) / n
    return Bulk(
        n_cells=n,
        share=share,
        log_total=float(logs.mean()),
        variance=np.append(error * slope**2, of_total),
    )
