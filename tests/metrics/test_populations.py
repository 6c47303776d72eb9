"""Distances of populations, against loops over all pairs and against what is known of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import energy_distance as of_scipy

from scssl.errors import DataError
from scssl.metrics import populations
from scssl.metrics.populations import energy_distance, median_distance, mmd, population_distance


def slow(x, y, of, *, unbiased):
    """Means of `of` over pairs: x with y, x with x, y with y."""

    def within(points):
        pairs = [of(a, b) for i, a in enumerate(points) for j, b in enumerate(points) if i != j or not unbiased]
        return np.mean(pairs)

    return np.mean([of(a, b) for a in x for b in y]), within(x), within(y)


def clouds(seed, n=9, m=7, d=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(loc=0.7, scale=2.0, size=(m, d))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(2, 12), st.integers(2, 12), st.booleans(), st.integers(1, 40))
def test_against_loops_over_all_pairs_whatever_the_block(seed, n, m, unbiased, block):
    x, y = clouds(seed, n, m)
    between, xs, ys = slow(x, y, lambda a, b: np.linalg.norm(a - b), unbiased=unbiased)
    kept, populations.BLOCK = populations.BLOCK, block
    try:
        assert energy_distance(x, y, unbiased=unbiased) == pytest.approx(2 * between - xs - ys, abs=1e-10)
        between, xs, ys = slow(x, y, lambda a, b: np.exp(-((a - b) ** 2).sum() / 2 / 1.5**2), unbiased=unbiased)
        assert mmd(x, y, bandwidth=1.5, unbiased=unbiased) == pytest.approx(xs + ys - 2 * between, abs=1e-10)
    finally:
        populations.BLOCK = kept


def test_energy_distance_is_the_square_of_scipys_in_one_dimension():
    x, y = clouds(0, 40, 30, 1)
    assert energy_distance(x, y, unbiased=False) == pytest.approx(of_scipy(x[:, 0], y[:, 0]) ** 2)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
def test_symmetric_not_negative_when_biased_and_zero_for_the_same_cells(seed):
    x, y = clouds(seed)
    for distance in (energy_distance, mmd):
        assert distance(x, y) == pytest.approx(distance(y, x))
        assert distance(x, y, unbiased=False) >= 0
        assert distance(x, x, unbiased=False) == pytest.approx(0, abs=1e-12)
        assert distance(x, x) < 0  # without the pairs of a cell with itself the rest lies further apart


def test_without_bias_halves_of_one_population_are_at_zero_on_average():
    rng = np.random.default_rng(0)
    for distance in (energy_distance, mmd):
        drawn = [distance(*np.split(rng.normal(size=(20, 4)), 2)) for _ in range(300)]
        assert abs(np.mean(drawn)) < 3 * np.std(drawn) / np.sqrt(300)
        biased = [distance(*np.split(rng.normal(size=(20, 4)), 2), unbiased=False) for _ in range(50)]
        assert np.mean(biased) > 0.05


def test_the_same_mean_with_another_spread_is_another_population():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3))
    assert energy_distance(x, 3 * x) > 10 * abs(energy_distance(x[:150], x[150:]))
    assert mmd(x, 3 * x) > 10 * abs(mmd(x[:150], x[150:]))


def test_population_distance_is_that_of_means_and_that_of_shapes():
    x, y = clouds(2)
    pairs = [np.linalg.norm(a - b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j]
    chance = np.trace(np.cov(x.T)) / len(x) + np.trace(np.cov(y.T)) / len(y)
    means = ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum() - chance
    around = [(c - c.mean(axis=0)) * np.sqrt(len(c) / (len(c) - 1)) for c in (x, y)]
    between = np.mean([np.linalg.norm(a - b) for a in around[0] for b in around[1]])
    _, xs, ys = slow(x, y, lambda a, b: np.linalg.norm(a - b), unbiased=True)
    expected = means / np.mean(pairs) + 2 * between - xs - ys
    assert population_distance(x, y) == pytest.approx(expected)
    with pytest.raises(DataError, match="all in one point"):
        population_distance(x, np.ones_like(y))


def test_a_wrong_mean_cannot_be_hidden_by_spread():
    rng = np.random.default_rng(0)
    truth, wrong = rng.normal(size=(400, 4)), rng.normal(size=(400, 4)) + 2.0
    scattered = wrong.mean(axis=0) + 1.5 * (wrong - wrong.mean(axis=0))
    assert energy_distance(scattered, truth) < energy_distance(wrong, truth)
    assert population_distance(scattered, truth) > population_distance(wrong, truth)
    tight = wrong.mean(axis=0) + 0.2 * (wrong - wrong.mean(axis=0))
    assert population_distance(tight, truth) > population_distance(wrong, truth)
    drawn = [population_distance(*np.split(rng.normal(size=(40, 4)), 2)) for _ in range(200)]
    assert abs(np.mean(drawn)) < 3 * np.std(drawn) / np.sqrt(200) + 0.01


def test_median_distance_is_that_of_different_cells_and_moves_with_the_scale(monkeypatch):
    x, y = clouds(1)
    both = np.concatenate([x, y])
    pairs = [np.linalg.norm(a - b) for i, a in enumerate(both) for b in both[:i]]
    assert median_distance(x, y) == pytest.approx(np.median(pairs))
    assert mmd(x, y) == pytest.approx(mmd(10 * x, 10 * y))
    assert mmd(x, y) == pytest.approx(mmd(x, y, bandwidth=np.median(pairs)))
    monkeypatch.setattr(populations, "SAMPLED", 4)
    assert median_distance(x, y, seed=3) == median_distance(x, y, seed=3) != np.median(pairs)


@pytest.mark.parametrize("distance", [energy_distance, mmd])
def test_what_cannot_be_compared_is_said(distance):
    x, y = clouds(0)
    with pytest.raises(DataError, match=r"\(9, 3\) and \(7, 2\)"):
        distance(x, y[:, :2])
    with pytest.raises(DataError, match="1 and 7 cells"):
        distance(x[:1], y)
    with pytest.raises(DataError, match="0 and 7 cells"):
        distance(x[:0], y, unbiased=False)
    with pytest.raises(DataError, match="missing or infinite"):
        distance(np.full_like(x, np.nan), y)


def test_a_bandwidth_must_be_above_0():
    x = np.zeros((5, 2))
    with pytest.raises(DataError, match="are most cells the same point"):
        mmd(x, x)
    with pytest.raises(DataError, match=r"bandwidth is -1\.0"):
        mmd(x, x, bandwidth=-1)
