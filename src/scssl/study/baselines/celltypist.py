"""CellTypist: logistic regression with its own feature selection, trained on the same cells."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from scssl.study.baselines.base import Fit, register
from scssl.tasks.pca import log_normalise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData
    from numpy.typing import NDArray


@register(
    name="celltypist",
    title="CellTypist",
    summary="CellTypist trained on the target's labelled cells (its defaults, no majority voting).",
    doi="10.1126/science.abl5197",
    needs="celltypist",
)
def celltypist(fit: Fit) -> NDArray[np.int64]:
    """Label by a CellTypist model of the same labelled cells."""
    if len(np.unique(fit.codes)) == 1:
        return np.full(len(fit.test), fit.codes[0], dtype=np.int64)
    reference, query = _normalised(fit, fit.train), _normalised(fit, fit.test)
    # Codes as names: no label can then be mistaken for one of CellTypist's own.
    reference.obs["code"] = fit.codes.astype(str)
    with _package() as package:
        model = package.train(reference, labels="code", n_jobs=1, check_expression=False)
        found = package.annotate(query, model=model, majority_voting=False)
    labels: NDArray[np.int64] = found.predicted_labels["predicted_labels"].astype(str).astype(np.int64).to_numpy()
    return labels


@contextmanager
def _package() -> Iterator[Any]:
    """Give CellTypist without its words: on import it makes every package's heard, by way of the root logger."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    import celltypist as package  # type: ignore[import-not-found]

    root.handlers[:], own = handlers, logging.getLogger("celltypist.logger")
    root.setLevel(level)
    before = own.level
    own.setLevel(logging.ERROR)
    try:
        yield package
    finally:
        own.setLevel(before)


def _normalised(fit: Fit, rows: NDArray[np.int64]) -> AnnData:
    adata = fit.target.anndata(rows)
    adata.X = log_normalise(adata.X)
    return adata
