"""What an integrated embedding is held against: principal components, Harmony on them, and the limits of the scores."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.sparse as sp

from scssl.corpus.sources.source import open_source
from scssl.errors import DataError, import_extra
from scssl.genes import harmonise

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.genes import GenePanel

COMPONENTS: Final = 50
GENES: Final = 2000
NOISE: Final = 0.1
"""Spread of the oracle's cells around their type."""


def principal_components(
    data: AnnData | Path | str,
    *,
    panel: GenePanel,
    rows: NDArray[np.int64],
    layer: str | None = None,
    n_components: int = COMPONENTS,
    n_genes: int = GENES,
) -> NDArray[np.float32]:
    """Return what one would do without integration: principal components of log1p CP10k of the most variable genes.

    Parameters
    ----------
    data
        AnnData or file with raw counts.
    panel
        Genes to choose from: those of the model, so that both know the same.
    rows
        Sorted cells to take.
    layer
        Where the counts are.
    n_components, n_genes
        How many; fewer where there are fewer.

    Returns
    -------
    numpy.ndarray
        (n_rows, n_components) float32.
    """
    from sklearn.decomposition import PCA

    with open_source(data, layer=layer) as source:
        genes = harmonise(source.var, panel, file=source.file)
        wanted = np.zeros(source.n_cells, dtype=bool)
        wanted[rows] = True
        parts = [log_values(genes.apply(chunk[wanted[part]])) for part, chunk in source.chunks() if wanted[part].any()]
        file = source.file
    values = sp.vstack(parts, format="csr")
    mean = np.asarray(values.mean(axis=0)).ravel()
    variance = np.asarray(values.multiply(values).mean(axis=0)).ravel() - mean**2
    top = np.sort(np.argsort(-variance, kind="stable")[:n_genes])
    values = values[:, top[variance[top] > 0]]
    if min(values.shape) < 3:
        message = f"{file}: {values.shape[0]} cells and {values.shape[1]} genes that vary are too few for PCA"
        raise DataError(message)
    n = min(n_components, min(values.shape) - 1)
    result: NDArray[np.float32] = PCA(n, svd_solver="arpack", random_state=0).fit_transform(values).astype(np.float32)
    return result


def log_values(counts: Any) -> sp.csr_matrix:
    """Return log1p of counts per 10,000, sparse; cells without counts stay zero."""
    values = sp.csr_matrix(counts, dtype=np.float32)
    total = np.asarray(values.sum(axis=1)).ravel()
    values = sp.diags(1e4 / np.maximum(total, 1), dtype=np.float32) @ values
    return sp.csr_matrix(values).log1p()


def harmony(components: NDArray[np.float32], *, batch: NDArray[Any], seed: int = 0) -> NDArray[np.float32]:
    """Return components corrected by harmonypy with its defaults.

    Parameters
    ----------
    components
        (n_cells, n_components).
    batch
        (n_cells,) names.
    seed
        Its seed.

    Raises
    ------
    MissingExtraError
        If harmonypy is not installed.
    """
    import pandas as pd

    module = import_extra("harmonypy", extra="integrate")
    talker = logging.getLogger("harmonypy")
    level = talker.level
    talker.setLevel(logging.WARNING)
    try:
        found = module.run_harmony(components, pd.DataFrame({"batch": batch}), "batch", random_state=seed)
    finally:
        talker.setLevel(level)
    moved = np.asarray(found.Z_corr, dtype=np.float32)
    # Versions before 2 return it on its side.
    return moved if moved.shape == components.shape else np.ascontiguousarray(moved.T)


def shuffled(embedding: NDArray[np.float32], *, seed: int) -> NDArray[np.float32]:
    """Return the embedding with its cells in random order: batches perfectly mixed, types lost.

    Parameters
    ----------
    embedding
        (n_cells, n_latent).
    seed
        Of the order.
    """
    return embedding[np.random.default_rng([seed, 0x5F]).permutation(len(embedding))]


def oracle(labels: NDArray[Any], *, seed: int) -> NDArray[np.float32]:
    """Return a place for each type, with its cells at random around it: what knows all types and no batch.

    Parameters
    ----------
    labels
        (n_cells,) names; cells without one lie by themselves.
    seed
        Of where cells lie.
    """
    names, code = np.unique(np.array([str(name) for name in labels]), return_inverse=True)
    noise = np.random.default_rng([seed, 0x0C]).normal(scale=NOISE, size=(len(code), len(names)))
    return (np.eye(len(names))[code] + noise).astype(np.float32)
