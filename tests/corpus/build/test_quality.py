"""Limits of quality: the same as scanpy's metrics would give, whatever the panel."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scssl.corpus import Corpus
from scssl.corpus.build.quality import REASONS, low_quality, mitochondrial_features
from scssl.corpus.settings import BuildSettings
from scssl.errors import DataError, SettingsError


def reason_of(counts, genes, mito, settings):
    """One cell, by hand."""
    counted = [c for c, g in zip(counts, genes, strict=True) if g]
    if sum(counted) < settings.min_counts:
        return "few counts"
    if sum(c > 0 for c in counted) < settings.min_genes:
        return "few genes"
    mitochondrial = sum(c for c, g, m in zip(counts, genes, mito, strict=True) if g and m)
    return "mitochondrial" if mitochondrial > settings.max_mito * sum(counted) else None


@given(
    hnp.arrays(np.int32, (7, 5), elements=st.integers(0, 4)),
    hnp.arrays(bool, 5),
    hnp.arrays(bool, 5),
    st.integers(0, 9),
    st.integers(0, 5),
    st.sampled_from([0.1, 0.25, 0.5, 1.0]),
)
def test_low_quality(counts, genes, mito, min_counts, min_genes, max_mito):
    settings = BuildSettings(min_counts=min_counts, min_genes=min_genes, max_mito=max_mito)
    found = low_quality(sp.csr_matrix(counts), settings, genes=genes, mitochondrial=mito if max_mito < 1 else None)
    expected = [reason_of(row, genes, mito, settings) for row in counts]
    assert [REASONS[i] if i >= 0 else None for i in found] == expected


def test_mitochondrial_features():
    var = pd.DataFrame(index=["MT-CO1", "mt-Nd1", "MT1A", "ENSG00000198804.2", "ENSMUSG00000064351", "CD3E"])
    assert mitochondrial_features(var).tolist() == [True, True, False, True, True, False]
    named = pd.DataFrame({"symbol": ["CD4", "MT-ND1"]}, index=["ENSG00000010610", "ENSG00000198888"])
    assert mitochondrial_features(named).tolist() == [False, True]


def test_a_build_leaves_out_cells_and_says_how_many(atlas, tmp_path, caplog):
    adata = atlas.copy()
    totals, n_genes = adata.X.sum(axis=1).A1, adata.X.getnnz(axis=1)
    min_counts, min_genes = int(np.quantile(totals, 0.1)), int(np.quantile(n_genes, 0.1))
    adata.write_h5ad(tmp_path / "a.h5ad")
    corpus = Corpus.build(
        tmp_path / "a.h5ad", tmp_path / "c", genes="union", source="study", min_counts=min_counts, min_genes=min_genes
    )
    few = totals < min_counts
    bad = few | (n_genes < min_genes)
    assert 0 < few.sum() < bad.sum()
    assert sorted(corpus.obs().index) == sorted(adata.obs_names[~bad])
    assert sum(s["n_few_counts"] for s in corpus.report["sources"]) == few.sum()
    assert sum(s["n_few_genes"] for s in corpus.report["sources"]) == (bad & ~few).sum()
    memory = Corpus.from_anndata(adata, genes="union", source="study", min_counts=min_counts, min_genes=min_genes)
    assert sorted(memory.obs().index) == sorted(corpus.obs().index)
    np.testing.assert_array_equal(memory.gene_counts, corpus.gene_counts)


def test_mitochondrial_cells_are_judged_by_genes_outside_the_panel(tmp_path, caplog):
    rng = np.random.default_rng(0)
    names = ["MT-CO1", "MT-ND1", *[f"ENSG{i:011d}" for i in range(60)]]
    X = rng.poisson(3, (80, len(names))).astype(np.float32)
    X[:20, :2] = 500
    obs = pd.DataFrame({"donor": [f"d{i % 8}" for i in range(80)]}, index=[f"c{i}" for i in range(80)])
    adata = ad.AnnData(sp.csr_matrix(X), obs=obs, var=pd.DataFrame(index=names))
    panel = tmp_path / "panel.txt"
    panel.write_text("\n".join(names[2:]))
    corpus = Corpus.from_anndata(adata, genes=panel, max_mito=0.5)
    assert corpus.n_cells() == 60
    assert corpus.report["sources"][0]["n_mitochondrial"] == 20
    Corpus.from_anndata(adata[:, 2:].copy(), genes=panel, max_mito=0.5)
    assert "has no mitochondrial genes" in caplog.text
    with pytest.raises(DataError, match="no cell meets the limits of quality"):
        Corpus.from_anndata(adata, genes=panel, min_counts=1_000_000)


@pytest.mark.parametrize("options", [{"min_counts": -1}, {"min_genes": -5}, {"max_mito": 0}, {"max_mito": 20}])
def test_impossible_limits(options):
    with pytest.raises(SettingsError, match=next(iter(options))):
        BuildSettings(**options)
