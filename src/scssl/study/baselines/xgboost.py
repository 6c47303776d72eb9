"""XGBoost: boosted trees on log1p values of the genes that vary most; the strongest classical method on scTab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from scssl.study.baselines.base import Fit, register
from scssl.tasks.pca import log_normalise

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROUNDS: Final = 200
TOP_GENES: Final = 3000


@register(
    name="xgboost",
    title="XGBoost",
    summary="Boosted trees (200 rounds, depth 6) on log1p CP10k of the 3,000 most variable genes.",
    doi="10.1145/2939672.2939785",
    needs="xgboost",
)
def xgboost(fit: Fit) -> NDArray[np.int64]:
    """Label by boosted trees."""
    from xgboost import XGBClassifier  # type: ignore[import-not-found]

    genes = np.flatnonzero(fit.target.genes)
    train, test = (log_normalise(fit.target.counts[rows][:, genes]) for rows in (fit.train, fit.test))
    variance = np.asarray(train.multiply(train).mean(axis=0)).ravel() - np.asarray(train.mean(axis=0)).ravel() ** 2
    top = np.sort(np.argsort(-variance, kind="stable")[:TOP_GENES])
    present, local, n = np.unique(fit.codes, return_inverse=True, return_counts=True)
    if len(present) == 1:
        return np.full(len(fit.test), present[0], dtype=np.int64)
    trees = XGBClassifier(
        n_estimators=ROUNDS,
        max_depth=6,
        learning_rate=0.1,
        subsample=0.8,
        colsample_bytree=0.5,
        tree_method="hist",
        random_state=fit.seed,
        n_jobs=1,
    )
    trees.fit(train[:, top], local, sample_weight=(len(local) / (len(present) * n))[local])
    found: NDArray[np.int64] = present[trees.predict(test[:, top])]
    return found
