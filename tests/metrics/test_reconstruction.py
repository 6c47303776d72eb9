import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import explained_variance_score, mean_poisson_deviance

from scssl.errors import DataError
from scssl.metrics import agreement
from scssl.metrics.reconstruction import ReconstructionTally, nb_deviance, poisson_deviance


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    mean = rng.gamma(1.0, 1.0, size=(60, 8)) + 0.05
    counts = rng.poisson(mean * rng.gamma(2.0, 0.5, size=mean.shape)).astype(float)
    counts[:, 7] = 0
    return counts, mean, rng.random(mean.shape) < 0.6


def tally_of(counts, mean, scored=None, *, sizes=(7, 30, 23), theta=None):
    tally = ReconstructionTally(counts.shape[1], theta=theta, shift=np.full(counts.shape[1], 0.5))
    for stop, size in zip(np.cumsum(sizes), sizes, strict=True):
        rows = slice(stop - size, stop)
        tally.add(
            np.log1p(counts[rows]), np.log1p(mean[rows]), counts=counts[rows], expected=mean[rows],
            scored=None if scored is None else scored[rows],
        )  # fmt: skip
    return tally


def test_scores_against_libraries_and_whatever_the_chunks(cells):
    counts, mean, _ = cells
    found = tally_of(counts, mean).scores(min_cells=1)
    truth, predicted = np.log1p(counts), np.log1p(mean)
    weighted = explained_variance_score(truth, predicted, multioutput="variance_weighted")
    assert found.weighted_explained_variance == pytest.approx(weighted)
    whole = agreement(truth, predicted)
    np.testing.assert_allclose(found.per_gene["pearson"], whole.pearson)
    np.testing.assert_allclose(found.per_gene["explained_variance"], whole.explained_variance)
    np.testing.assert_allclose(found.per_gene["rmse"], whole.rmse)
    np.testing.assert_allclose(found.per_gene["mean"], truth.mean(axis=0))
    np.testing.assert_allclose(found.per_cell["pearson"], agreement(truth, predicted, axis=1).pearson)
    assert found.poisson_deviance == pytest.approx(mean_poisson_deviance(counts.ravel(), mean.ravel()))
    assert found.gene_pearson == pytest.approx(np.nanmean(whole.pearson))
    assert found.gene_explained_variance == pytest.approx(np.nanmedian(whole.explained_variance))
    assert found.cell_pearson == pytest.approx(found.per_cell["pearson"].mean())
    assert (found.n_cells, found.n_genes, found.n_entries) == (60, 7, 480)
    assert np.isnan(found.nb_deviance)
    assert found.summary()["nb_deviance"] is None


def test_only_entries_held_out_count(cells):
    counts, mean, scored = cells
    found = tally_of(counts, mean, scored).scores(min_cells=1)
    changed = np.where(scored, mean, 1e6 * mean)
    again = tally_of(np.where(scored, counts, 99), changed, scored).scores(min_cells=1)
    assert again.summary() == pytest.approx(found.summary(), nan_ok=True)
    whole = agreement(np.log1p(counts), np.log1p(mean), weights=scored.astype(float))
    np.testing.assert_allclose(found.per_gene["pearson"], whole.pearson)
    np.testing.assert_allclose(found.per_gene["explained_variance"], whole.explained_variance)
    nonzero = agreement(np.log1p(counts[:, :7]), np.log1p(mean[:, :7]), weights=(scored & (counts > 0))[:, :7] * 1.0)
    np.testing.assert_allclose(found.per_gene["nonzero_pearson"][:7], nonzero.pearson)


def test_deviances_are_twice_the_loss_of_likelihood(cells):
    counts, mean, _ = cells
    at_best = np.maximum(counts, 1e-12)
    expected = 2 * (stats.poisson.logpmf(counts, at_best) - stats.poisson.logpmf(counts, mean))
    np.testing.assert_allclose(poisson_deviance(counts, mean), expected, atol=1e-9)
    theta = np.linspace(0.2, 9, counts.shape[1])
    expected = 2 * (
        stats.nbinom.logpmf(counts, theta, theta / (theta + at_best))
        - stats.nbinom.logpmf(counts, theta, theta / (theta + mean))
    )
    np.testing.assert_allclose(nb_deviance(counts, mean, theta), expected, atol=1e-9)
    np.testing.assert_allclose(nb_deviance(counts, mean, np.full(8, 1e9)), poisson_deviance(counts, mean), atol=1e-5)
    found = tally_of(counts, mean, theta=theta).scores()
    assert found.nb_deviance == pytest.approx(expected.mean())
    assert np.isfinite(poisson_deviance(np.ones(1), np.zeros(1))).all()


def test_a_constant_prediction_explains_nothing_and_genes_without_counts_are_left_out(cells):
    counts, mean, _ = cells
    constant = np.broadcast_to(counts.mean(axis=0) + 0.1, counts.shape)
    found = tally_of(counts, constant).scores(min_cells=20)
    assert found.weighted_explained_variance == pytest.approx(0, abs=1e-9)
    assert found.gene_pearson == 0
    assert found.n_genes == int((counts[:, :7] > 0).sum(axis=0).__ge__(20).sum())
    assert np.isnan(found.per_gene["pearson"].iloc[7])
    assert tally_of(counts[:0], mean[:0], sizes=(0,)).scores().summary()["weighted_explained_variance"] is None


def test_a_missing_prediction_is_refused():
    tally = ReconstructionTally(1)
    with pytest.raises(DataError, match="expected: some values"):
        tally.add(np.ones((1, 1)), np.ones((1, 1)), counts=np.ones((1, 1)), expected=np.full((1, 1), np.nan))
