"""Scores of predicted effects, against SciPy and loops."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, mannwhitneyu

from scssl.errors import DataError
from scssl.metrics.perturbation import (
    Differences,
    differences,
    direction_match,
    discrimination_scores,
    overlap,
    pearson_delta,
    recall,
)


def found(fold, fdr):
    fold, fdr = np.asarray(fold, dtype=float), np.asarray(fdr, dtype=float)
    return Differences(log2_fold_change=fold, p_value=fdr, fdr=fdr)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(2, 12))
def test_differences_against_scipy(seed, n, m):
    rng = np.random.default_rng(seed)
    # Few different values: ties among zeros and above.
    x, y = (np.log1p(rng.poisson(rate, size=(k, 9)) * rng.integers(0, 2, 9)) for rate, k in ((1.0, n), (2.0, m)))
    got = differences(sp.csr_matrix(x), sp.csr_matrix(y))
    flat = np.ptp(np.concatenate([x, y]), axis=0) == 0
    with np.errstate(all="ignore"):
        p = mannwhitneyu(x, y, axis=0, method="asymptotic").pvalue
    np.testing.assert_allclose(got.p_value, np.where(flat, 1.0, p), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(got.fdr, false_discovery_control(got.p_value), rtol=1e-12)
    means = [np.expm1(v.mean(axis=0)) + 1e-9 for v in (x, y)]
    np.testing.assert_allclose(got.log2_fold_change, np.log2(means[0] / means[1]), rtol=1e-7, atol=1e-12)


def test_discrimination_against_sorting():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(6, 20))
    predicted = truth + rng.normal(scale=1.5, size=truth.shape)
    for row, score in enumerate(discrimination_scores(predicted, truth)):
        distances = [np.abs(effect - predicted[row]).sum() for effect in truth]
        assert score == pytest.approx(1 - sorted(distances).index(distances[row]) / 6)
    # One prediction for all tells nothing apart.
    assert discrimination_scores(np.repeat(truth.mean(axis=0)[None], 6, axis=0), truth).mean() == pytest.approx(7 / 12)
    same = np.ones((4, 3))
    np.testing.assert_allclose(discrimination_scores(same, same), 1 - 1.5 / 4)
    with pytest.raises(DataError, match=r"\(6, 20\) and \(5, 20\)"):
        discrimination_scores(predicted, truth[:5])


def test_pearson_delta_sees_the_pattern_and_not_the_size():
    rng = np.random.default_rng(1)
    control, truth = rng.random(30), rng.random(30)
    guess = control + 0.3 * (truth - control) + 0.1 * rng.normal(size=30)
    expected = np.corrcoef(guess - control, truth - control)[0, 1]
    assert pearson_delta(guess, truth, control) == pytest.approx(expected)
    assert pearson_delta(control + 10 * (guess - control), truth, control) == pytest.approx(expected)
    assert np.isnan(pearson_delta(control, truth, control))


def test_overlap_recall_and_direction_by_hand():
    truth = found([3, -2, 1, 0.5, 4], [0.01, 0.01, 0.01, 0.5, 0.9])
    guess = found([1, 2, -5, 3, 9], [0.01, 0.9, 0.01, 0.01, 0.2])
    assert truth.significant.tolist() == [0, 1, 2]
    assert guess.significant.tolist() == [2, 3, 0]
    assert overlap(guess, truth) == pytest.approx(2 / 3)
    assert overlap(guess, truth, k=1) == 0
    assert overlap(guess, truth, k=100) == pytest.approx(2 / 3)
    assert recall(guess, truth) == pytest.approx(2 / 3)
    assert direction_match(guess, truth) == pytest.approx(1 / 3)
    nothing = found([1, 1, 1, 1, 1], [1, 1, 1, 1, 1])
    assert overlap(guess, nothing) == 0
    assert np.isnan(recall(guess, nothing))
    assert np.isnan(direction_match(guess, nothing))


def test_cells_that_cannot_be_compared():
    x = sp.csr_matrix(np.ones((3, 4)))
    with pytest.raises(DataError, match=r"\(0, 4\)"):
        differences(x[:0], x)
    with pytest.raises(DataError, match=r"\(3, 3\)"):
        differences(x[:, :3], x)
