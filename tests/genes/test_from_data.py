"""Panels made from data: union, intersection, the most variable genes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scssl.errors import DataError, SettingsError
from scssl.genes import GenePanel, VariableGenes, panel_of_files
from scssl.genes.from_data import standardised_dispersion

HUMAN = GenePanel.builtin("human")
NAMED = np.flatnonzero(HUMAN.symbols != "")[:200]


def var(names):
    return pd.DataFrame(index=pd.Index(list(names), dtype=object))


def test_union_and_intersection_across_spellings():
    files = {"a": var(HUMAN.ids[NAMED[:150]]), "b": var([*HUMAN.symbols[NAMED[50:]], "MALAT1", "no such gene"])}
    union, shared = panel_of_files(files, how="union"), panel_of_files(files, how="intersection")
    assert union.ids.tolist() == sorted([*HUMAN.ids[NAMED], "ENSG00000251562"])
    assert shared.ids.tolist() == HUMAN.ids[NAMED[50:150]].tolist()
    assert union.species == shared.species == "human"
    assert union.symbols[0] == HUMAN.symbols[NAMED[0]]


def test_other_species_count_by_name():
    files = {"a": var(f"fish{i}" for i in range(100)), "b": var(f"fish{i}" for i in range(40, 120))}
    shared = panel_of_files(files, how="intersection")
    assert set(shared.ids) == {f"fish{i}" for i in range(40, 100)}
    assert shared.species is None


def test_refusals():
    human, mouse = var(HUMAN.ids[:100]), var(GenePanel.builtin("mouse").ids[:100])
    with pytest.raises(DataError, match=r"different species \(a: human; b: mouse\)"):
        panel_of_files({"a": human, "b": mouse}, how="union")
    with pytest.raises(DataError, match="intersection of the genes of 2 files has 10 genes"):
        panel_of_files({"a": human, "b": var(HUMAN.ids[90:200])}, how="intersection")
    with pytest.raises(SettingsError, match="'both'"):
        panel_of_files({"a": human}, how="both")
    with pytest.raises(DataError, match="no files"):
        panel_of_files({}, how="union")


@pytest.fixture
def counts():
    rng = np.random.default_rng(0)
    rate = rng.gamma(0.5, 2, 400) * (1 + 3 * (rng.random((300, 400)) < 0.2) * (np.arange(400) % 5 == 0))
    return sp.csr_matrix(rng.poisson(rate).astype(np.uint16))


def slow_scores(dense):
    """Satija et al. 2015, one gene and one bin at a time."""
    cp10k = 1e4 * dense / dense.sum(axis=1, keepdims=True)
    mean, variance = cp10k.mean(axis=0), cp10k.var(axis=0, ddof=1)
    level = np.log1p(mean)
    edges = np.linspace(level.min(), level.max(), 21)
    scores = np.zeros(dense.shape[1])
    bins = [next(b for b in range(20) if level[g] <= edges[b + 1] or b == 19) for g in range(dense.shape[1])]
    for gene in range(dense.shape[1]):
        if mean[gene] == 0:
            continue
        peers = [np.log(variance[g] / mean[g]) for g in range(dense.shape[1]) if bins[g] == bins[gene] and mean[g] > 0]
        own = np.log(variance[gene] / mean[gene])
        scores[gene] = 1.0 if len(peers) == 1 else (own - np.mean(peers)) / np.std(peers, ddof=1)
    return scores


def test_scores_against_a_slow_reference(counts):
    panel = GenePanel.from_names([f"g{i}" for i in range(400)])
    variable = VariableGenes(panel)
    for start in range(0, 300, 70):
        variable.add(counts[start : start + 70])
    expected = slow_scores(counts.toarray().astype(float))
    np.testing.assert_allclose(variable.scores(), expected, rtol=1e-6, atol=1e-9)
    top = variable.top(60)
    assert set(top.ids) == {f"g{i}" for i in np.argsort(-expected, kind="stable")[:60]}
    assert top.index_of(top.ids).tolist() == list(range(60))
    # The genes that vary by construction are found.
    assert np.mean([int(gene[1:]) % 5 == 0 for gene in top.ids]) > 0.7  # 0.2 by chance


@pytest.mark.filterwarnings("ignore")
def test_scores_are_those_of_scanpy(counts):
    import anndata as ad

    sc = pytest.importorskip("scanpy")
    adata = ad.AnnData(counts.astype(np.float64))
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.highly_variable_genes(adata, flavor="seurat", n_top_genes=60)
    variable = VariableGenes(GenePanel.from_names([f"g{i}" for i in range(400)]))
    variable.add(counts)
    expected = adata.var["dispersions_norm"].fillna(0).to_numpy()
    np.testing.assert_allclose(variable.scores(), expected, rtol=1e-4, atol=1e-5)


def test_differences_between_sources_do_not_count(counts):
    panel = GenePanel.from_names([f"g{i}" for i in range(400)])
    shifted = counts.toarray()
    shifted[:150, 1] = 0
    shifted[150:, 1] = 4
    apart, together = VariableGenes(panel), VariableGenes(panel)
    for source, rows in (("a", slice(0, 150)), ("b", slice(150, 300))):
        apart.add(sp.csr_matrix(shifted[rows]), source=source)
        together.add(sp.csr_matrix(shifted[rows]))
    assert together.scores()[1] > apart.scores()[1] + 1


def test_numbers_of_genes_that_are_not_possible(counts):
    variable = VariableGenes(GenePanel.from_names([f"g{i}" for i in range(400)]))
    variable.add(counts)
    for n in (10, 401):
        with pytest.raises(SettingsError, match=rf"hvg:{n}: give a number from 50 to \d+"):
            variable.top(n)
    alone = VariableGenes(GenePanel.from_names([f"g{i}" for i in range(400)]))
    alone.add(counts[:1])
    with pytest.raises(DataError, match="no two cells"):
        alone.scores()


def test_constant_genes_score_nothing():
    assert standardised_dispersion(np.zeros(3), np.zeros(3)).tolist() == [0, 0, 0]
    assert np.isfinite(standardised_dispersion(np.ones(5), np.ones(5))).all()
