"""The bundled PBMC cells: counts restored from rounded log values."""

from __future__ import annotations

import warnings

import anndata
import numpy as np
import pytest

from scssl.datasets import pbmc68k


@pytest.fixture(scope="module")
def adata():
    return pbmc68k()


@pytest.fixture(scope="module")
def packaged():
    scanpy = pytest.importorskip("scanpy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return scanpy.datasets.pbmc68k_reduced()


def test_counts_are_the_nearest_integers_and_those_are_near(adata, packaged):
    values = packaged.raw.X.toarray().astype(np.float64)
    exact = np.expm1(values) * packaged.obs["n_counts"].to_numpy(np.float64)[:, None] / 1e4
    counts = adata.X.toarray()
    np.testing.assert_array_equal(counts, np.round(exact))
    assert np.abs(counts - exact).max() == pytest.approx(0.0815, abs=5e-4)
    # Far more cells than that are much nearer: the worst are the largest counts.
    assert np.quantile(np.abs(counts - exact)[counts > 0], 0.99) < 0.02
    assert ((counts > 0) == (values > 0)).all()


def test_shape_and_annotation(adata, packaged, tmp_path):
    assert adata.shape == (700, 765)
    assert adata.X.dtype == np.uint16
    assert adata.obs["cell_type"].nunique() == 10
    assert (adata.obs["cell_type"].to_numpy() == packaged.obs["bulk_labels"].to_numpy()).all()
    assert {"CD14+ Monocyte", "CD19+ B"} <= set(adata.obs["cell_type"])
    assert adata.var_names.is_unique
    assert (adata.obs["n_counts"].to_numpy() > adata.X.sum(1).A1).all()
    adata.write_h5ad(tmp_path / "pbmc.h5ad")
    again = anndata.read_h5ad(tmp_path / "pbmc.h5ad")
    assert (again.X != adata.X).nnz == 0
