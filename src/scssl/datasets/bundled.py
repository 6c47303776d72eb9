"""Real cells that need no network: the 700 blood cells inside scanpy, with their counts restored."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from scssl.errors import import_extra

if TYPE_CHECKING:
    from anndata import AnnData

TARGET_SUM = 1e4
"""Total to which the packaged values were normalised before the logarithm."""


def pbmc68k() -> AnnData:
    """Return 700 blood cells of one donor (10x Genomics, fresh 68k PBMCs; Zheng et al. 2017), as raw counts.

    scanpy carries these cells log-normalised and rounded to three decimals. ``round(expm1(x) * n_counts / 1e4)``
    gives the counts back: the values before rounding lie within 0.082 of an integer, the worst among counts above 100.
    Only 765 genes are left of the original, so totals are about a fifth of those that were sequenced.

    Returns
    -------
    anndata.AnnData
        - ``X``: raw counts, CSR uint16, shape (700, 765).
        - ``obs["cell_type"]``: ten types, from sorted reference populations (``bulk_labels`` in scanpy), categorical.
        - ``obs["n_counts"]``: float32, total counts of the cell over all the genes once sequenced.
        - ``var``: index gene symbols.
        - ``obsm["X_umap"]``: float32, (700, 2), as computed by scanpy's authors.

    Raises
    ------
    scssl.errors.MissingExtraError
        If scanpy is not installed.

    Notes
    -----
    doi 10.1038/ncomms14049. Data CC BY 4.0, 10x Genomics. One donor: nothing can be said about other people from it.
    """
    scanpy = import_extra("scanpy", extra="demo")
    from anndata import AnnData

    with warnings.catch_warnings():
        # scanpy's file is in an old form, about which anndata warns in ways that differ between versions.
        warnings.simplefilter("ignore")
        packaged = scanpy.datasets.pbmc68k_reduced()
    values = sp.csr_matrix(packaged.raw.X, dtype=np.float64)
    n_counts = packaged.obs["n_counts"].to_numpy(dtype=np.float64)
    scale = sp.diags_array(n_counts / TARGET_SUM)
    counts = sp.csr_matrix(scale @ values.expm1())
    counts.data = np.rint(counts.data)
    counts.eliminate_zeros()
    counts.sort_indices()

    obs = packaged.obs[["bulk_labels", "n_counts"]].rename(columns={"bulk_labels": "cell_type"})
    adata = AnnData(
        X=counts.astype(np.uint16),
        obs=obs.astype({"n_counts": np.float32}).rename_axis(index=None),
        var=packaged.raw.var[[]].rename_axis(index=None),
    )
    adata.obsm["X_umap"] = np.asarray(packaged.obsm["X_umap"], dtype=np.float32)
    return adata
