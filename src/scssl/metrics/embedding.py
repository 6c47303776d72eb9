"""What an embedding looks like as a cloud of points: whether it has collapsed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def effective_rank(embedding: NDArray[np.floating]) -> float:
    r"""Return the number of dimensions that an embedding really uses.

    .. math:: \exp\left(-\sum_i p_i \log p_i\right), \quad p_i = \sigma_i / \sum_j \sigma_j

    with :math:`\sigma` the singular values of the centred embedding (Roy and Vetterli, EUSIPCO 2007).

    Parameters
    ----------
    embedding
        (n_cells, n_dimensions).

    Returns
    -------
    float
        Between 1 (all cells on a line, or in one point) and the number of dimensions.

    Example
    -------
    >>> round(effective_rank(np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])), 6)
    2.0
    """
    centred = embedding - embedding.mean(axis=0)
    values = np.linalg.svd(centred.astype(np.float64), compute_uv=False)
    if not values.sum() > 0:
        return 1.0
    share = values[values > 0] / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def mean_spread(embedding: NDArray[np.floating]) -> float:
    """Return the standard deviation over cells, averaged over dimensions; 0 for an embedding that has collapsed.

    Parameters
    ----------
    embedding
        (n_cells, n_dimensions).
    """
    return float(embedding.astype(np.float64).std(axis=0).mean())
