"""Tests over donors against textbook ones, and against going through every way by hand."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scssl.tasks.compare.layout import Layout, NotTestable
from scssl.tasks.compare.linear import inverse_trigamma, moderated_t, permuted, prior_variance


def table(n_control, n_case, **columns):
    case = np.arange(n_control + n_case) >= n_control
    return pd.DataFrame({"donor": [f"d{i}" for i in range(len(case))], "case": case, **columns})


def paired(n):
    return pd.DataFrame({"donor": [f"d{i}" for i in range(n)] * 2, "case": np.arange(2 * n) >= n})


def plain(samples, covariates=(), *, pairs=False):
    return Layout.of(samples, covariates=covariates, paired=pairs)


def test_with_two_tests_it_is_students():
    values = np.random.default_rng(0).normal(size=(9, 2))
    found = moderated_t(values, plain(table(4, 5)))
    truth = stats.ttest_ind(values[4:], values[:4])
    np.testing.assert_allclose(found.p, truth.pvalue)
    np.testing.assert_allclose(found.effect, values[4:].mean(axis=0) - values[:4].mean(axis=0))
    interval = truth.confidence_interval(0.95)
    np.testing.assert_allclose(found.low, interval.low)
    np.testing.assert_allclose(found.high, interval.high)


def test_pairs_are_the_paired_test():
    values = np.random.default_rng(1).normal(size=(10, 2)) + np.tile(np.arange(5.0) * 10, 2)[:, None]
    found = moderated_t(values, plain(paired(5), pairs=True))
    np.testing.assert_allclose(found.p, stats.ttest_rel(values[5:], values[:5]).pvalue)


def test_covariates_are_those_of_least_squares():
    rng = np.random.default_rng(2)
    samples = table(6, 6, age=rng.normal(50, 10, 12), sex=list("abab" * 3))
    values = rng.normal(size=(12, 2))
    layout = plain(samples, ["age", "sex"])
    found = moderated_t(values, layout)
    X = np.column_stack([np.ones(12), samples["age"], samples["sex"] == "b", samples["case"]]).astype(float)
    b = np.linalg.lstsq(X, values, rcond=None)[0]
    residual = values - X @ b
    error = np.sqrt((residual**2).sum(axis=0) / 8 * np.linalg.inv(X.T @ X)[3, 3])
    np.testing.assert_allclose(found.effect, b[3])
    np.testing.assert_allclose(found.p, 2 * stats.t.sf(np.abs(b[3]) / error, 8))


def test_the_prior_of_variances_is_found_again():
    rng = np.random.default_rng(3)
    df, prior_df, usual = 4, 8.0, 2.5
    truth = usual * prior_df / rng.chisquare(prior_df, 20_000)
    variance = truth * rng.chisquare(df, 20_000) / df
    found, found_df = prior_variance(variance, df=df)
    assert found == pytest.approx(usual, rel=0.03)
    assert found_df == pytest.approx(prior_df, rel=0.1)
    # Variances that differ no more than chance makes them are all the same.
    same, worth = prior_variance(np.exp(rng.normal(0, 1e-3, 50)), df=df)
    assert np.isinf(worth)
    assert same > 0


def test_moderated_p_values_are_uniform_where_nothing_differs():
    rng = np.random.default_rng(4)
    sd = np.sqrt(6 / rng.chisquare(6, 4000))
    p = moderated_t(rng.normal(size=(6, 4000)) * sd, plain(table(3, 3))).p
    for level in (0.01, 0.05, 0.5):
        assert np.mean(p <= level) == pytest.approx(level, abs=4 * np.sqrt(level / 4000))


def test_tests_lend_each_other_nine_degrees_at_most():
    # The same variance everywhere, as tests that go together make it look: it would count as known.
    values = np.random.default_rng(9).normal(size=(8, 1))[:, [0] * 5] * np.array([1, -1, 1, -1, 1.0])
    found = moderated_t(values, plain(table(4, 4)))
    truth = stats.ttest_ind(values[4:, 0], values[:4, 0])
    usual, worth = prior_variance(np.full(5, found.spread[0] ** 2), df=6)
    assert np.isinf(worth)
    own = (values[:, 0] - np.repeat([values[:4, 0].mean(), values[4:, 0].mean()], 4)).var() * 8 / 6
    error = np.sqrt((9 * prior_variance(np.full(5, own), df=6)[0] + 6 * own) / 15 / 2)
    np.testing.assert_allclose(found.p, 2 * stats.t.sf(abs(found.effect[0]) / error, 15))
    assert np.sign(truth.statistic) == np.sign(found.effect[0])
    assert usual > 0


def test_no_variance_is_below_that_of_counting():
    values = np.random.default_rng(5).normal(size=(8, 3)) * 1e-3
    layout = plain(table(4, 4))
    free, bound = moderated_t(values, layout), moderated_t(values, layout, least=np.array([0.0, 1.0, 0.0]))
    assert bound.spread[1] == 1.0
    assert bound.p[1] > 0.99
    np.testing.assert_allclose(bound.p[[0, 2]], free.p[[0, 2]])


@given(st.floats(1e-5, 1e5))
def test_inverse_trigamma(value):
    from scipy.special import polygamma

    assert float(polygamma(1, inverse_trigamma(value))) == pytest.approx(value, rel=1e-6)


def by_hand(values, case, *, ways):
    """Share of ways with as large a difference of means, each gone through."""
    seen = abs(values[case].mean() - values[~case].mean())
    return np.mean([abs(values[w].mean() - values[~w].mean()) >= seen - 1e-12 for w in ways])


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.integers(2, 4))
def test_permutation_is_that_by_hand(seed, n_control, n_case):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n_control + n_case, 2))
    layout = plain(table(n_control, n_case))
    found = permuted(values, layout, layout.assignments(most=1000))
    ways = []
    for chosen in combinations(range(n_control + n_case), n_case):
        way = np.zeros(n_control + n_case, dtype=bool)
        way[list(chosen)] = True
        ways.append(way)
    for test in range(2):
        assert found[test] == pytest.approx(by_hand(values[:, test], layout.case, ways=ways))


def test_pairs_flip_signs():
    values = np.random.default_rng(6).normal(size=(10, 1))
    layout = plain(paired(5), pairs=True)
    found = permuted(values, layout, layout.assignments(most=1000))
    difference = values[5:, 0] - values[:5, 0]
    flips = np.array(np.meshgrid(*[[-1, 1]] * 5)).reshape(5, -1).T
    assert found[0] == pytest.approx(np.mean(np.abs(flips @ difference) >= abs(difference.sum()) - 1e-12))


def test_levels_of_a_covariate_are_exchanged_within():
    samples = table(4, 4, study=list("aabbaabb"))
    layout = plain(samples, ["study"])
    ways = layout.assignments(most=1000)
    assert len(ways.labels) == 6 * 6
    # What differs between studies alone is no reason to doubt, whatever its size.
    shift = 100.0 * (samples["study"] == "b").to_numpy()[:, None]
    values = np.random.default_rng(7).normal(size=(8, 3))
    np.testing.assert_allclose(permuted(values + shift, layout, ways), permuted(values, layout, ways))


def test_numbers_as_covariates_permute_residuals():
    rng = np.random.default_rng(8)
    p = []
    for _ in range(60):
        age = rng.normal(size=12) + (np.arange(12) >= 6)
        layout = plain(table(6, 6, age=age), ["age"])
        values = 3 * age[:, None] + rng.normal(size=(12, 4))
        p.append(permuted(values, layout, layout.assignments(most=200), seed=1))
    p = np.concatenate(p)
    # Four tests share an age, which hardly ties them: 240 uniform numbers.
    assert stats.kstest(p, "uniform").pvalue > 0.001
    strong = permuted(values + 10 * layout.case[:, None], layout, layout.assignments(most=200))
    assert strong.max() <= 0.02


@pytest.mark.parametrize(
    ("samples", "covariates", "pairs", "words"),
    [
        (table(1, 3), [], False, "only one donor under one of the conditions"),
        (paired(1), [], True, "only one donor has enough cells under both"),
        (table(2, 2, study=list("aabb")), ["study"], False, "cannot be told apart"),
        (table(2, 2, age=[1.0, 2.0, 4.0, 8.0], sex=list("abab")), ["age", "sex"], False, "too few for 4 coefficients"),
    ],
)
def test_what_cannot_be_tested_says_why(samples, covariates, pairs, words):
    with pytest.raises(NotTestable, match=words):
        plain(samples, covariates, pairs=pairs)


def test_what_pairs_already_say_is_left_out():
    samples = paired(4).assign(sex=list("ffmm") * 2)
    layout = plain(samples, ["sex"], pairs=True)
    assert layout.df == 3
    assert len(layout.assignments(most=100).labels) == 16
