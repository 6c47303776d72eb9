"""The PCA baseline against dense linear algebra."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

import scssl
from scssl.corpus import Corpus
from scssl.errors import DataError, SettingsError
from scssl.genes import GenePanel
from scssl.study import PCAEncoder, pca_knn
from scssl.study.baselines import log_normalise


@pytest.fixture(scope="module")
def cells():
    adata = scssl.datasets.simulate_atlas(500, 200, n_types=4, seed=1)
    held_out = adata.obs["donor"].isin(adata.obs["donor"].cat.categories[::3]).to_numpy()
    return adata[~held_out].copy(), adata[held_out].copy()


def dense_pca(reference, query, n):
    """Normalise, centre and decompose, all in dense double precision."""

    def values(adata):
        counts = adata.X.toarray().astype(np.float64)
        return np.log1p(1e4 * counts / counts.sum(1, keepdims=True))

    x, mean = values(reference), values(reference).mean(0)
    _, _, components = np.linalg.svd(x - mean, full_matrices=False)
    return (x - mean) @ components[:n].T, (values(query) - mean) @ components[:n].T


def test_embedding_is_that_of_dense_algebra(cells):
    reference, query = cells
    encoder = PCAEncoder("human", n_components=8).fit(reference)
    for adata, expected in zip(cells, dense_pca(reference, query, 8), strict=True):
        found = encoder.embed(adata)
        assert found.dtype == np.float32
        sign = np.sign((found * expected).sum(0))
        np.testing.assert_allclose(found * sign, expected, atol=2e-3)
        np.testing.assert_array_equal(encoder.embed(adata, batch_size=7).shape, found.shape)
        np.testing.assert_allclose(encoder.embed(adata, batch_size=7), found, atol=1e-4)


def test_labels_are_those_of_a_loop_over_all_pairs(cells):
    reference, query = cells
    annotation = pca_knn(reference, query, n_components=8)
    a, b = dense_pca(reference, query, 8)
    names = reference.obs["cell_type"].to_numpy().astype(str)
    agree = 0
    for i, cell in enumerate(b):
        nearest = np.argsort(((a - cell) ** 2).sum(1), kind="stable")[:5]
        votes = {name: int((names[nearest] == name).sum()) for name in names[nearest]}
        best = max(votes.values())
        winner = next(name for name in names[nearest] if votes[name] == best)
        agree += winner == annotation.labels[i]
    # Single precision may turn a neighbour around where two are as good as level.
    assert agree >= len(b) - 2
    scores = annotation.score("cell_type")
    truth = query.obs["cell_type"].to_numpy().astype(str)
    assert scores.accuracy == pytest.approx((np.asarray(annotation.labels).astype(str) == truth).mean())
    assert scores.accuracy > 0.6


def test_same_seed_same_embedding(cells):
    first, second = (PCAEncoder("human", n_components=5, seed=4).fit(cells[0]).embed(cells[1]) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_top_genes_are_those_that_vary_most(cells):
    encoder = PCAEncoder("human", n_components=5, n_top_genes=30).fit(cells[0])
    values = np.zeros((cells[0].n_obs, len(encoder.panel)))
    counts = cells[0].X.toarray().astype(np.float64)
    values[:, encoder.panel.index_of(cells[0].var_names)] = np.log1p(1e4 * counts / counts.sum(1, keepdims=True))
    expected = np.argsort(-values.var(0))[:30]
    assert set(encoder.genes) == set(expected)
    assert encoder.embed(cells[1]).shape == (cells[1].n_obs, 5)


def test_only_genes_measured_in_both_are_used(cells):
    reference, query = cells
    part = query[:, ::2].copy()
    expected = pca_knn(reference[:, ::2].copy(), part, n_components=8)
    found = pca_knn(reference, part, n_components=8)
    np.testing.assert_allclose(np.abs(found.embedding), np.abs(expected.embedding), atol=1e-4)
    assert list(found.labels) == list(expected.labels)


def test_components_can_come_from_other_cells_and_from_a_corpus(cells):
    reference, query = cells
    panel = GenePanel.builtin("human")
    whole = Corpus.from_anndata(reference, genes=panel, split_by="cell", val=0.0, test=0.0)
    from_corpus = pca_knn(reference, query, panel=panel, fit_on=whole, n_components=8)
    directly = pca_knn(reference, query, panel=panel, n_components=8)
    np.testing.assert_allclose(np.abs(from_corpus.embedding), np.abs(directly.embedding), atol=5e-3)
    from_query = pca_knn(reference, query, panel=panel, fit_on=query, n_components=8)
    assert not np.allclose(np.abs(from_query.embedding), np.abs(directly.embedding), atol=5e-3)
    with pytest.raises(SettingsError, match="same genes"):
        PCAEncoder("mouse").fit(whole)


def test_a_sample_of_the_cells_will_do(cells):
    few = PCAEncoder("human", n_components=5, max_cells=50).fit(cells[0])
    assert few.embed(cells[1]).shape == (cells[1].n_obs, 5)
    assert few._sample(cells[0], layer=None).shape[0] == 50


def test_log_normalise():
    counts = sparse.csr_matrix(np.array([[1, 3, 0], [0, 0, 0]], np.uint16))
    expected = [[np.log1p(2500), np.log1p(7500), 0], [0, 0, 0]]
    np.testing.assert_allclose(log_normalise(counts).toarray(), expected, rtol=1e-6)
    assert counts.dtype == np.uint16


def test_mistakes(cells):
    with pytest.raises(SettingsError, match="n_components is 0"):
        PCAEncoder("human", n_components=0)
    with pytest.raises(SettingsError, match="call fit"):
        PCAEncoder("human").embed(cells[0])
    with pytest.raises(DataError, match="at least 3"):
        PCAEncoder("human").fit(cells[0][:2])
    log = cells[1].copy()
    log.X = log.X.astype(np.float32).log1p()
    with pytest.raises(DataError, match="log1p"):
        pca_knn(cells[0], log)
