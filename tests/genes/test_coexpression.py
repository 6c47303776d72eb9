"""Correlations between genes, against numpy on dense data; modules and targets that were put into the data."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.corpus import Corpus
from scssl.errors import DataError, SettingsError
from scssl.genes import GenePanel, learn_modules, learn_regulons, load_programmes
from scssl.genes.clustering import centrality, cluster, settle
from scssl.genes.coexpression import BLOCK, CHUNK, CellSample, above_chance, correlate, moments
from scssl.genes.modules import join_others

N_PLANTED = 15
"""Genes of each planted group; the first one is its 'factor'."""


def corpus_of(counts, source, *, measured=None, panel=None, test=0.0):
    """A corpus in memory; `measured` is (n_genes, n_sources) for sources in order of name."""
    names = [f"gene{i:03d}x" for i in range(counts.shape[1])]
    adata = ad.AnnData(sp.csr_matrix(counts.astype(np.int32)))
    adata.var_names = names
    adata.obs_names = [f"cell{i}" for i in range(len(counts))]
    adata.obs["where"] = [f"s{code}" for code in source]
    more = {}
    if measured is not None:
        columns = [f"s{code}" for code in range(measured.shape[1])]
        adata.uns["measured"] = pd.DataFrame(measured, index=names, columns=columns)
        more["measured"] = "uns:measured"
    panel = panel or GenePanel(ids=np.array(names), symbols=np.full(len(names), ""))
    return Corpus.from_anndata(
        adata, genes=panel, source="where", split_by="cell", val=0.0, test=test, duplicates="keep", **more
    )


def random_corpus(seed, *, n_cells=150, n_genes=60, n_sources=3, with_measured=True):
    rng = np.random.default_rng(seed)
    source = rng.integers(0, n_sources, n_cells)
    source[:n_sources] = np.arange(n_sources)
    # Another mean in each source, which is no correlation.
    mean = rng.gamma(0.5, 2.0, (n_sources, n_genes))[source]
    counts = rng.poisson(mean * rng.gamma(2, 0.5, (n_cells, 1)) * rng.gamma(2, 0.5, (n_cells, n_genes)))
    counts[:, -1] = 0
    counts[:, 0] += 1
    measured = np.ones((n_genes, n_sources), dtype=bool)
    if with_measured:
        for code in range(n_sources):  # a source must have 50 genes
            measured[2 + rng.permutation(n_genes - 2)[:8], code] = False
        counts[~measured.T[source]] = 0
    return corpus_of(counts, source, measured=measured)


def dense(corpus):
    """Training cells as (n_cells, n_genes) log1p CP10k and their sources, read shard by shard."""
    X, source = [], []
    for shard in corpus.shards_of("train"):
        rows = shard.rows(0, shard.n_cells)
        counts = np.zeros((shard.n_cells, len(corpus.panel)))
        for cell in range(shard.n_cells):
            part = slice(rows.indptr[cell], rows.indptr[cell + 1])
            counts[cell, rows.indices[part]] = rows.values[part]
        X.append(np.log1p(1e4 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)))
        source.append(shard.read_codes("source", n_names=len(corpus.sources)))
    return np.concatenate(X), np.concatenate(source)


def reference(corpus, i, j):
    """Correlation of two genes: centre each source that measured both, put them together, ask numpy."""
    X, source = dense(corpus)
    left, right = [], []
    for code in range(len(corpus.sources)):
        if corpus.measured[code, i] and corpus.measured[code, j]:
            cells = X[source == code]
            left.append(cells[:, i] - cells[:, i].mean())
            right.append(cells[:, j] - cells[:, j].mean())
    if not left or np.ptp(np.concatenate(left)) < 1e-6 or np.ptp(np.concatenate(right)) < 1e-6:
        return 0.0
    return np.corrcoef(np.concatenate(left), np.concatenate(right))[0, 1]


@given(seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_correlations_are_those_of_numpy(seed):
    corpus = random_corpus(seed)
    sample = CellSample.draw(corpus, n_cells=10_000)
    rows, columns = np.array([1, 5, 59, 20]), np.arange(60)
    found = correlate(sample, rows=rows, columns=columns, known=moments(sample))
    expected = [[reference(corpus, i, j) for j in range(0, 60, 6)] for i in rows]
    np.testing.assert_allclose(found[:, ::6], expected, atol=1e-5)


def test_differences_between_sources_are_no_correlation():
    rng = np.random.default_rng(0)
    source = np.repeat([0, 1], 200)
    counts = rng.poisson(5, (400, 60))
    counts[200:, :2] += 50
    corpus = corpus_of(counts, source)
    sample = CellSample.draw(corpus)
    r = correlate(sample, rows=np.array([0]), columns=np.array([1]), known=moments(sample))[0, 0]
    X, _ = dense(corpus)
    assert np.corrcoef(X[:, 0], X[:, 1])[0, 1] > 0.9
    assert abs(r) < 0.2


def test_moments_against_numpy():
    corpus = random_corpus(3)
    X, source = dense(corpus)
    known = moments(CellSample.draw(corpus))
    for code in range(len(corpus.sources)):
        cells = X[source == code]
        np.testing.assert_allclose(known.mean[code], cells.mean(axis=0), rtol=1e-5)
        scatter = np.where(corpus.measured[code], ((cells - cells.mean(axis=0)) ** 2).sum(axis=0), 0)
        np.testing.assert_allclose(known.scatter[code], scatter, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(known.expressed, (X > 0).sum(axis=0))
    np.testing.assert_array_equal(known.eligible, corpus.measured[source].sum(axis=0))


def test_the_sample_is_of_training_cells_without_repeats_and_in_bounded_memory():
    rng = np.random.default_rng(0)
    counts = rng.poisson(1, (5000, 60))
    counts[:, 0] = np.arange(5000) % 250
    counts[:, 1] = np.arange(5000) // 250
    counts[:, 2] = 1
    corpus = corpus_of(counts, np.zeros(5000, dtype=int), test=0.2)
    n_train = corpus.n_cells("train")
    assert n_train < 5000
    drawn = CellSample.draw(corpus, n_cells=3000, seed=1)
    parts = list(drawn)
    assert sum(len(part.source) for part in parts) == drawn.n_cells == 3000
    assert max(len(part.source) for part in parts) < CHUNK + BLOCK
    values = np.concatenate([part.X.toarray() for part in parts])
    keys = np.expm1(values[:, :2]) / np.expm1(values[:, 2:3])
    assert len({tuple(key) for key in np.round(keys).astype(int)}) == 3000
    again = np.concatenate([part.X.toarray() for part in CellSample.draw(corpus, n_cells=3000, seed=1)])
    np.testing.assert_array_equal(values, again)
    other = np.concatenate([part.X.toarray() for part in CellSample.draw(corpus, n_cells=3000, seed=2)])
    assert not np.array_equal(values, other)
    assert CellSample.draw(corpus, n_cells=10_000).n_cells == n_train


def test_too_few_cells():
    rng = np.random.default_rng(0)
    corpus = corpus_of(rng.poisson(1, (30, 60)), np.zeros(30, dtype=int))
    with pytest.raises(DataError, match="has 30 training cells"):
        learn_modules(corpus, n_modules=2)
    with pytest.raises(SettingsError, match="n_cells is 3"):
        learn_modules(corpus, n_modules=2, n_cells=3)


@pytest.fixture(scope="module")
def planted():
    """Three groups of genes that go together, each of N_PLANTED, and 60 that go with none; two sources."""
    rng = np.random.default_rng(5)
    source = rng.integers(0, 2, 1500)
    level = rng.gamma(1.0, 1.0, (1500, 3))
    rate = np.full((1500, 105), 1.0)
    for group in range(3):
        rate[:, group * N_PLANTED : (group + 1) * N_PLANTED] = 2 * level[:, [group]]
    rate[source == 1] *= rng.gamma(2, 0.5, 105)
    rate *= 60 / rate.sum(axis=1, keepdims=True)
    return corpus_of(rng.poisson(rate), source)


def groups(programmes):
    return {frozenset(np.flatnonzero(members)) for members in programmes.members}


PLANTED = {frozenset(range(g * N_PLANTED, (g + 1) * N_PLANTED)) for g in range(3)}


# One more for the genes that go with none: of a fixed total, they go down together where a group goes up.
@pytest.mark.parametrize("n_modules", [4, 6])
@pytest.mark.parametrize("seed", [0, 1])
def test_planted_modules_are_found(planted, n_modules, seed):
    found = learn_modules(planted, n_modules=n_modules, seed=seed)
    large = found.subset(np.flatnonzero([len(g) == N_PLANTED for g in map(np.flatnonzero, found.members)]))
    assert groups(large) >= PLANTED
    assert found.members.sum(axis=0).max() == 1
    assert found.sizes.tolist() == sorted(found.sizes, reverse=True)
    assert not found.regulators.any()
    assert "1,500 cells of 2 sources" in found.descriptions[0]


def test_expressed_genes_beyond_the_most_variable_ones_join(planted):
    sample = CellSample.draw(planted)
    known = moments(sample)
    C = correlate(sample, rows=np.arange(105), columns=np.arange(105), known=known)
    # Ten genes of each group are clustered, the five others and the 60 of no group are left to join.
    genes = np.array([g * N_PLANTED + i for g in range(3) for i in range(10)])
    part = C[np.ix_(genes, genes)]
    labels = np.repeat(np.arange(3), 10)
    central = centrality(part, labels)
    all_genes, grown, joined = join_others(
        sample, known=known, genes=genes, correlation=part, central=central, labels=labels, min_correlation=0.15
    )
    assert sorted(all_genes) == list(range(105))
    assert {frozenset(all_genes[joined == module]) for module in range(3)} == PLANTED
    np.testing.assert_array_equal(grown[:30], central)
    # The definition: correlation with the sum of the standardised genes that were clustered.
    for row in (30, 60, 104):
        others = genes[:10]
        expected = C[all_genes[row], others].sum() / np.sqrt(C[np.ix_(others, others)].sum())
        assert grown[row, 0] == pytest.approx(expected)


def test_names_are_the_most_central_genes(planted):
    found = learn_modules(planted, n_modules=4, max_genes=12)
    sample = CellSample.draw(planted)
    C = correlate(sample, rows=np.arange(105), columns=np.arange(105), known=moments(sample))
    checked = 0
    for number, (name, members) in enumerate(zip(found.names, found.members, strict=True), start=1):
        if members[3 * N_PLANTED :].any():
            continue
        checked += 1
        assert members.sum() == 12
        group = next(sorted(g) for g in PLANTED if set(np.flatnonzero(members)) <= g)
        central = [C[i, group].sum() for i in group]
        best = group[int(np.argmax(central))]
        assert name.startswith(f"module {number}: ")
        assert f"gene{best:03d}x" in name
        # The least central ones are those that had to go.
        assert group[int(np.argmin(central))] not in np.flatnonzero(members)
    assert checked == 3


def test_the_same_seed_gives_the_same_modules(planted):
    first, second = (learn_modules(planted, n_modules=3, n_cells=700, seed=4) for _ in range(2))
    assert first.names == second.names
    np.testing.assert_array_equal(first.members, second.members)


def test_overlapping_modules_contain_the_others(planted):
    apart = learn_modules(planted, n_modules=3, min_correlation=0.02)
    shared = learn_modules(planted, n_modules=3, min_correlation=0.02, overlapping=True)
    assert shared.members.sum() >= apart.members.sum()
    for members in apart.members:
        assert any(np.all(other[members]) for other in shared.members)


@pytest.mark.parametrize("n_modules", [1, 4, 10])
def test_clusters_have_the_number_asked_for(n_modules):
    rng = np.random.default_rng(0)
    C = np.corrcoef(rng.normal(size=(80, 30)))
    assert len(np.unique(cluster(C, n_modules=n_modules))) == n_modules


def test_centrality_against_sums_of_profiles():
    rng = np.random.default_rng(1)
    Z = rng.normal(size=(400, 20)) + rng.normal(size=(400, 1))
    Z = (Z - Z.mean(axis=0)) / Z.std(axis=0)
    labels = np.array([0] * 8 + [1] * 9 + [-1] * 3)
    found = centrality(np.corrcoef(Z.T), labels)
    for gene in range(20):
        for module in range(2):
            others = [j for j in np.flatnonzero(labels == module) if j != gene]
            expected = np.corrcoef(Z[:, gene], Z[:, others].sum(axis=1))[0, 1]
            assert found[gene, module] == pytest.approx(expected)


def test_small_modules_dissolve():
    C = np.full((30, 30), 0.0)
    C[:20, :20] = 0.6
    C[20:23, 20:23] = 0.6
    np.fill_diagonal(C, 1)
    labels = np.array([0] * 20 + [1] * 3 + [2] * 7)
    _, found = settle(C, labels, min_genes=5, min_correlation=0.1)
    assert found.tolist() == [0] * 20 + [-1] * 10
    _, none = settle(C, labels, min_genes=25, min_correlation=0.1)
    assert (none == -1).all()


def test_noise_has_no_modules():
    rng = np.random.default_rng(0)
    corpus = corpus_of(rng.poisson(3, (3000, 80)), np.zeros(3000, dtype=int))
    with pytest.raises(DataError, match="no 10 genes are expressed together"):
        learn_modules(corpus, n_modules=3, min_correlation=0.3)


def test_targets_of_factors(planted, tmp_path):
    factors = [f"gene{g * N_PLANTED:03d}x" for g in range(3)] + ["gene100x"]
    found = learn_regulons(planted, factors=factors)
    assert found.names == factors[:3]
    for group in range(3):
        first = group * N_PLANTED
        assert np.flatnonzero(found.regulators[group]).tolist() == [first]
        # The factor itself is not its target.
        assert np.flatnonzero(found.members[group]).tolist() == list(range(first + 1, first + N_PLANTED))
    few = learn_regulons(planted, factors=factors, n_targets=10)
    assert few.sizes.tolist() == [10, 10, 10]
    assert not (few.members & ~found.members).any()
    path = tmp_path / "factors.txt"
    path.write_text("\n".join(factors))
    loaded = load_programmes(f"regulons:{path}", planted.panel, corpus=planted)
    np.testing.assert_array_equal(loaded.members, found.members)


def test_targets_are_the_most_correlated_above_the_threshold(planted):
    found = learn_regulons(planted, factors=["gene000x"], n_targets=5, min_genes=1, min_correlation=0.2)
    expected = np.array([reference(planted, 0, j) for j in range(40)])
    expected[0] = 0
    best = np.argsort(-expected)[:5]
    assert set(np.flatnonzero(found.members[0])) == set(best)
    strict = (expected[best[1]] + expected[best[2]]) / 2
    found = learn_regulons(planted, factors=["gene000x"], n_targets=5, min_genes=1, min_correlation=strict)
    assert set(np.flatnonzero(found.members[0])) == set(best[:2])


def test_few_cells_ask_for_stronger_correlations():
    assert above_chance(0.1, n_cells=20_000) == 0.1
    assert above_chance(0.1, n_cells=400) == pytest.approx(0.2)
    rng = np.random.default_rng(0)
    corpus = corpus_of(rng.poisson(3, (200, 300)), np.zeros(200, dtype=int))
    assert np.sum(np.corrcoef(dense(corpus)[0].T)[0] > 0.1) > 10  # by chance
    with pytest.raises(DataError, match=r"has 3 genes that correlate with it by 0\.28"):
        learn_regulons(corpus, factors=["gene000x"], min_genes=3)


def test_factors_without_targets(planted):
    with pytest.raises(DataError, match="none of 1 expressed factors has 10 genes"):
        learn_regulons(planted, factors=["gene100x"], file="factors.txt")
    with pytest.raises(DataError, match=r"factors\.txt: only 0 of 1 genes are known"):
        learn_regulons(planted, factors=["nobody"], file="factors.txt")
    with pytest.raises(SettingsError, match="n_targets is 3; it must be at least min_genes"):
        learn_regulons(planted, factors=["gene000x"], n_targets=3)


def test_modules_by_name_from_a_corpus_on_disk(corpus_dir):
    corpus = Corpus.open(corpus_dir)
    programmes = load_programmes("modules:4", corpus.panel, corpus=corpus, min_genes=8, max_genes=30)
    assert 1 <= len(programmes) <= 4
    assert programmes.sizes.min() >= 8
    assert programmes.sizes.max() <= 30
    assert programmes.panel == corpus.panel


@pytest.mark.slow
def test_modules_of_blood_are_those_of_its_cell_types(real_data):
    cells = ad.read_h5ad(real_data / "cells" / "human_immune_corpus.h5ad")
    corpus = Corpus.from_anndata(cells, source="file", measured="uns:measured")
    found = learn_modules(corpus, n_modules=30, n_genes=2000)
    symbols = corpus.panel.symbols
    sets = [set(symbols[members]) for members in found.members]
    for genes in ({"CD3D", "CD3E"}, {"CD79A", "MS4A1"}, {"NKG7", "GNLY"}, {"IFIT1", "ISG15"}, {"MKI67", "TOP2A"}):
        assert sum(genes <= each for each in sets) == 1, genes
