"""PCA with nearest neighbours or logistic regression: components of the corpus, or of the target's training donors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from scssl.study.baselines.base import Fit, register
from scssl.tasks.annotate.knn import vote
from scssl.tasks.annotate.probe import learn_probe
from scssl.tasks.pca import log_normalise

if TYPE_CHECKING:
    from numpy.typing import NDArray

COMPONENTS: Final = 50
NEIGHBOURS: Final = 5
"""As in zero-shot annotation."""
MAX_CELLS: Final = 50_000
"""Cells that components are fitted on."""


@register(
    name="pca_knn",
    title="PCA of the corpus + kNN",
    summary="50 components of the corpus' log1p values; the five nearest labelled cells vote, as in zero-shot.",
    needs="corpus",
    space="pca",
)
def pca_knn(fit: Fit) -> NDArray[np.int64]:
    """Label by the nearest cells in the corpus' components."""
    assert fit.space is not None
    return nearest_labels(fit.space[fit.train], fit.codes, fit.space[fit.test])


@register(
    name="pca_logistic",
    title="PCA of the corpus + logistic regression",
    summary="Logistic regression on the same 50 components, as in probe.",
    needs="corpus",
    space="pca",
)
def pca_logistic(fit: Fit) -> NDArray[np.int64]:
    """Label by logistic regression on the corpus' components."""
    assert fit.space is not None
    return probe_labels(fit.space[fit.train], fit.codes, fit.space[fit.test], n_classes=fit.n_classes)


@register(
    name="pca_target",
    title="PCA of the target + logistic regression",
    summary="Logistic regression on 50 components of the target's training donors; no corpus at all.",
)
def pca_target(fit: Fit) -> NDArray[np.int64]:
    """Label by logistic regression on components of the target's own cells."""
    train, test = _own_components(fit)
    return probe_labels(train, fit.codes, test, n_classes=fit.n_classes)


@register(
    name="pca_target_knn",
    title="PCA of the target + kNN",
    summary="The five nearest labelled cells on 50 components of the target's training donors.",
)
def pca_target_knn(fit: Fit) -> NDArray[np.int64]:
    """Label by the nearest cells in components of the target's own cells."""
    train, test = _own_components(fit)
    return nearest_labels(train, fit.codes, test)


def nearest_labels(
    reference: NDArray[np.floating], codes: NDArray[np.int64], query: NDArray[np.floating]
) -> NDArray[np.int64]:
    """Return the label that most of the nearest labelled cells have; where they are level, the nearest decides."""
    return vote(reference, codes, query, k=min(NEIGHBOURS, len(codes))).label


def probe_labels(
    reference: NDArray[np.floating], codes: NDArray[np.int64], query: NDArray[np.floating], *, n_classes: int
) -> NDArray[np.int64]:
    """Return labels by the logistic regression that the annotator's probe is."""
    found: NDArray[np.int64] = learn_probe(reference, codes, n_classes=n_classes).log_scores(query).argmax(axis=1)
    return found


def _own_components(fit: Fit) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fit on the unlabelled cells of the training donors; return labelled cells and test cells."""
    from sklearn.decomposition import PCA

    genes = np.flatnonzero(fit.target.genes)
    rows = fit.unlabelled
    if len(rows) > MAX_CELLS:
        rows = np.random.default_rng([fit.seed, 0x9CA]).choice(rows, size=MAX_CELLS, replace=False)
    known = log_normalise(fit.target.counts[rows][:, genes])
    n = min(COMPONENTS, min(known.shape) - 1)
    pca = PCA(n, svd_solver="arpack", random_state=fit.seed).fit(known)
    components, shift = pca.components_.astype(np.float32), (pca.mean_ @ pca.components_.T).astype(np.float32)
    values = [log_normalise(fit.target.counts[rows][:, genes]) @ components.T - shift for rows in (fit.train, fit.test)]
    return np.asarray(values[0]), np.asarray(values[1])
