"""The space in which populations of cells are compared: log expression and its main directions among training cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

COMPONENTS: Final = 30


@dataclass(frozen=True, kw_only=True, eq=False)
class Space:
    """Principal components of log1p of counts at the median total of the training cells, control and case."""

    target_sum: float
    mean: NDArray[np.float64]
    """(n_genes,) of the log values."""
    components: NDArray[np.float64]
    """(n_genes, n_components)."""

    @classmethod
    def fit(cls, counts: sp.csr_matrix, *, n_components: int = COMPONENTS) -> Self:
        """Find the directions in which cells with counts differ most."""
        from sklearn.utils.extmath import randomized_svd

        totals = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
        target_sum = float(np.median(totals))
        values = log_values(counts, target_sum=target_sum)
        mean = np.asarray(values.mean(axis=0)).ravel()
        n = max(1, min(n_components, *(size - 1 for size in values.shape)))
        centred = (values.toarray() - mean).astype(np.float32)
        _, _, right = randomized_svd(centred, n_components=n, random_state=0)
        return cls(target_sum=target_sum, mean=mean, components=right.T.astype(np.float64))

    def of(self, counts: sp.csr_matrix) -> NDArray[np.float64]:
        """(n_cells, n_components) coordinates of cells."""
        return self.project(log_values(counts, target_sum=self.target_sum))

    def project(self, values: sp.csr_matrix) -> NDArray[np.float64]:
        """(n_cells, n_components) coordinates of log values."""
        return np.asarray(values @ self.components - self.mean @ self.components)


def log_values(counts: Any, *, target_sum: float) -> sp.csr_matrix:
    """(n_cells, n_genes) log1p of counts scaled to a total; cells without counts stay zero."""
    values = sp.csr_matrix(counts, dtype=np.float64)
    totals = np.asarray(values.sum(axis=1)).ravel()
    values = sp.csr_matrix(sp.diags(target_sum / np.maximum(totals, 1e-12)) @ values)
    values.data = np.log1p(values.data)
    return values
