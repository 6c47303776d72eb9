"""The simple baselines, at several settings each: the best on development data stands for its kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from benchmarks.recipes.scoring import LABELS, draws, labelled, score_embedding
from scssl.metrics import classification_scores
from scssl.tasks.pca import PCAEncoder, log_normalise

if TYPE_CHECKING:
    from pathlib import Path

    import anndata as ad
    from numpy.typing import NDArray

    from benchmarks.recipes.roles import Target
    from benchmarks.recipes.scoring import Labelled
    from scssl import Corpus

COMPONENTS = (20, 50, 100)
STRENGTHS = (0.1, 1.0, 10.0)
"""Inverse strength of the penalty of the logistic regression."""


def log_values(adata: ad.AnnData, *, n_top: int = 0) -> sp.csr_matrix:
    """Return log1p CP10k of all genes, or of those whose log values vary most."""
    values = log_normalise(sp.csr_matrix(adata.X))
    if n_top and n_top < values.shape[1]:
        mean = np.asarray(values.mean(0)).ravel()
        variance = np.asarray(values.multiply(values).mean(0)).ravel() - mean**2
        values = values[:, np.sort(np.argsort(-variance, kind="stable")[:n_top])]
    return values


def own_pca(adata: ad.AnnData, *, n: int, scaled: bool = False, n_top: int = 3000) -> NDArray[np.float32]:
    """Return principal components of the target's own cells, of z-scores (cut at 10) if `scaled`."""
    from sklearn.decomposition import PCA

    dense = log_values(adata, n_top=n_top).toarray()
    if scaled:
        std = dense.std(0)
        dense = np.clip((dense - dense.mean(0)) / np.where(std > 0, std, 1), -10, 10)
    codes: NDArray[np.float32] = PCA(min(n, min(dense.shape) - 1), random_state=0).fit_transform(dense)
    return codes.astype(np.float32)


def score_target(target: Target, folder: Path) -> list[dict[str, object]]:
    """Score what needs no corpus: PCA of the target, and logistic regression on its log values."""
    import anndata as ad

    adata = ad.read_h5ad(target.path(folder))
    cells = labelled(target, adata.obs)
    rows: list[dict[str, object]] = []
    for scaled in (False, True):
        full = own_pca(adata, n=max(COMPONENTS), scaled=scaled)
        for n in COMPONENTS:
            # The first components are the same however many are computed.
            arm = f"PCA of the target ({n}{', z-scores' if scaled else ''})"
            found = score_embedding(full[cells.rows, :n], cells, readouts=("knn", "probe", "probe:0.1"))
            rows += [{"arm": arm, **row} for row in found]
    return rows + score_logistic(adata, cells)


def score_logistic(adata: ad.AnnData, cells: Labelled) -> list[dict[str, object]]:
    """Score logistic regression on the log values of all genes."""
    from sklearn.linear_model import LogisticRegression

    values = log_values(adata)[cells.rows]
    rows: list[dict[str, object]] = []
    for n_labels in LABELS:
        found: dict[float, list[float]] = {strength: [] for strength in STRENGTHS}
        for reference, query in draws(cells, n_labels=n_labels):
            mine = values[reference]
            seen = np.flatnonzero(mine.getnnz(axis=0))
            truth = cells.types[cells.labels[query]]
            for strength, scores in found.items():
                model = LogisticRegression(C=strength, max_iter=200)
                model.fit(mine[:, seen], cells.labels[reference])
                guess = cells.types[model.predict(values[query][:, seen])]
                scores.append(round(classification_scores(truth, guess).macro_f1, 4))
        for strength, scores in found.items():
            arm = f"logistic regression on log values (C={strength:g})"
            rows.append({"arm": arm, "n_labels": n_labels, "readout": "itself", "draws": scores})
    return rows


def score_corpus_pca(corpus: Corpus, targets: tuple[Target, ...], folder: Path) -> list[dict[str, object]]:
    """Score PCA of the corpus on its targets, on the genes that the target measured."""
    import anndata as ad

    from scssl.genes import harmonise

    rows: list[dict[str, object]] = []
    for target in targets:
        adata = ad.read_h5ad(target.path(folder))
        cells = labelled(target, adata.obs)
        measured = harmonise(adata.var, corpus.panel, file=target.name).measured
        encoder = PCAEncoder(corpus.panel, n_components=max(COMPONENTS), genes=measured).fit(corpus)
        codes = encoder.embed(adata)[cells.rows]
        for n in COMPONENTS:
            found = score_embedding(codes[:, :n], cells, readouts=("knn", "probe", "probe:0.1"))
            rows += [{"target": target.name, "arm": f"PCA of the corpus ({n})", **row} for row in found]
    return rows
