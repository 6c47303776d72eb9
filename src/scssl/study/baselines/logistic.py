"""Logistic regression on log1p values: every gene has its weight, and there is no embedding."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final

import numpy as np

from scssl.study.baselines.base import Fit, register
from scssl.tasks.pca import log_normalise

if TYPE_CHECKING:
    from numpy.typing import NDArray

PENALTY: Final = 10.0
"""Weight of half the squared norm of the coefficients against the summed loss of the cells."""
MAX_ITERATIONS: Final = 200


@register(
    name="logistic",
    title="logistic regression on log1p",
    summary="Multinomial logistic regression on log1p CP10k of all genes, classes weighted equally.",
)
def logistic(fit: Fit) -> NDArray[np.int64]:
    """Label by logistic regression on all genes."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    genes = np.flatnonzero(fit.target.genes)
    train, test = (log_normalise(fit.target.counts[rows][:, genes]) for rows in (fit.train, fit.test))
    if len(np.unique(fit.codes)) == 1:
        return np.full(len(fit.test), fit.codes[0], dtype=np.int64)
    # Genes are not scaled: to blow up those seen in a few cells only adds noise.
    regression = LogisticRegression(C=1 / PENALTY, class_weight="balanced", max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        regression.fit(train.astype(np.float64), fit.codes)
    found: NDArray[np.int64] = regression.predict(test.astype(np.float64)).astype(np.int64)
    return found
