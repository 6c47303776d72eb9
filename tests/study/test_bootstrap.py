"""Intervals against loops over resamples with scikit-learn's scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from scssl.study.bootstrap import MIN_DONORS, best_interval, choose_units, count, expanded_tail, interval, score, total


def draw(rng, *, n=120, n_classes=4, n_donors=6, n_seeds=2):
    donors = rng.integers(0, n_donors, n)
    donors[:n_donors] = np.arange(n_donors)
    truth = rng.integers(0, n_classes, n)
    predicted = np.where(rng.random((n_seeds, n)) < 0.6, truth, rng.integers(-1, n_classes + 1, (n_seeds, n)))
    return donors, truth, predicted


def macro_f1(truth, predicted):
    return f1_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0)


@given(seed=st.integers(0, 1000), n_classes=st.integers(2, 6))
@settings(deadline=None, max_examples=30)
def test_scores_are_those_of_scikit_learn(seed, n_classes):
    _, truth, predicted = draw(np.random.default_rng(seed), n_classes=n_classes)
    counts = total(truth, predicted[0], n_classes=n_classes)
    assert score(counts) == pytest.approx(macro_f1(truth, predicted[0]))
    assert score(counts, metric="accuracy") == pytest.approx(accuracy_score(truth, predicted[0]))
    present = np.isin(predicted[0], np.unique(truth))
    called = np.where(present, predicted[0], truth.max() + 1)
    recall = [np.mean(called[truth == c] == c) for c in np.unique(truth)]
    assert score(counts, metric="balanced_accuracy") == pytest.approx(np.mean(recall))
    if present.all():
        assert np.mean(recall) == pytest.approx(balanced_accuracy_score(truth, predicted[0]))


def test_interval_over_donors_is_that_of_a_loop():
    rng = np.random.default_rng(3)
    donors, truth, first = draw(rng)
    second = draw(np.random.default_rng(4))[2]
    units = choose_units(donors, truth, np.concatenate([first, second]))
    assert units.kind == "donor"
    counts = [np.stack([count(truth, p, units, n_classes=4) for p in part]) for part in (first, second)]
    found = interval(counts[0], units, against=counts[1], n_resamples=200, seed=7)

    rng, values = np.random.default_rng([7, 0xB007]), []
    drawn = rng.multinomial(6, np.full(6, 1 / 6), size=200)
    of_seeds = rng.multinomial(2, [0.5, 0.5], size=200)
    for times, seeds in zip(drawn, of_seeds, strict=True):
        cells = np.concatenate([np.tile(np.flatnonzero(donors == d), times[d]) for d in range(6)]).astype(int)
        each = [
            macro_f1(truth[cells], a[cells]) - macro_f1(truth[cells], b[cells])
            for a, b in zip(first, second, strict=True)
        ]
        values.append(np.dot(seeds / 2, each))
    tail = expanded_tail(0.95, 6)
    assert [found.low, found.high] == pytest.approx(list(np.quantile(values, [tail, 1 - tail])))
    expected = np.mean([macro_f1(truth, a) - macro_f1(truth, b) for a, b in zip(first, second, strict=True)])
    assert found.estimate == pytest.approx(expected)
    assert (found.unit, found.n_units) == ("donor", 6)


def test_few_donors_mean_intervals_over_cells():
    donors, truth, predicted = draw(np.random.default_rng(5), n_donors=MIN_DONORS - 1, n_seeds=1)
    units = choose_units(donors, truth, predicted)
    assert units.kind == "cell"
    assert units.weight.sum() == len(truth)
    counts = count(truth, predicted[0], units, n_classes=4)
    whole = (counts * units.weight[:, None, None]).sum(0)
    np.testing.assert_allclose(whole, total(truth, predicted[0], n_classes=4))
    found = interval(counts[None], units, n_resamples=3000)
    rng = np.random.default_rng(0)
    values = []
    for _ in range(1000):
        cells = rng.integers(0, len(truth), len(truth))
        values.append(macro_f1(truth[cells], predicted[0, cells]))
    # Two independent sets of draws of the same distribution.
    assert [found.low, found.high] == pytest.approx(list(np.quantile(values, [0.025, 0.975])), abs=0.02)
    assert (found.unit, found.n_units) == ("cell", len(truth))


@pytest.mark.parametrize("n_donors", [3, 8])
def test_identical_methods_differ_by_exactly_nothing(n_donors):
    donors, truth, predicted = draw(np.random.default_rng(1), n_donors=n_donors)
    units = choose_units(donors, truth, predicted)
    counts = np.stack([count(truth, p, units, n_classes=4) for p in predicted])
    found = interval(counts, units, against=counts)
    assert (found.estimate, found.low, found.high) == (0, 0, 0)


def test_interval_is_wider_with_fewer_donors_and_the_same_each_time():
    tails = [expanded_tail(0.95, n) for n in (5, 8, 20, 1000)]
    assert tails == sorted(tails)
    assert tails[-1] == pytest.approx(0.025, abs=1e-3)
    # The expanded percentiles of a mean's normal distribution are Student's interval (with the n - 1 spread).
    from scipy.stats import norm, t

    assert -norm.ppf(tails[1]) == pytest.approx(t.ppf(0.975, 7) * np.sqrt(8 / 7))
    donors, truth, predicted = draw(np.random.default_rng(2))
    units = choose_units(donors, truth, predicted)
    counts = np.stack([count(truth, p, units, n_classes=4) for p in predicted])
    assert interval(counts, units, seed=1) == interval(counts, units, seed=1)
    assert interval(counts, units, seed=1) != interval(counts, units, seed=2)


def test_a_better_method_is_found_better():
    rng = np.random.default_rng(0)
    donors, truth = np.repeat(np.arange(8), 60), rng.integers(0, 3, 480)
    good = np.where(rng.random((2, 480)) < 0.95, truth, 0)
    bad = np.where(rng.random((2, 480)) < 0.6, truth, 0)
    units = choose_units(donors, truth, np.concatenate([good, bad]))
    counts = [np.stack([count(truth, p, units, n_classes=3) for p in part]) for part in (good, bad)]
    found = interval(counts[0], units, against=counts[1])
    assert 0.1 < found.low < found.estimate < found.high
    back = interval(counts[1], units, against=counts[0])
    assert (back.estimate, back.low, back.high) == pytest.approx((-found.estimate, -found.high, -found.low))


def test_the_best_is_found_anew_in_each_resample():
    rng = np.random.default_rng(6)
    donors, truth, _ = draw(rng)
    predicted = [draw(np.random.default_rng(seed))[2] for seed in range(4)]
    units = choose_units(donors, truth, np.concatenate(predicted))
    counts = [np.stack([count(truth, p, units, n_classes=4) for p in part]) for part in predicted]
    found = best_interval([counts[:2], counts[2:]], units, n_resamples=150, seed=2)
    rng, values = np.random.default_rng([2, 0xB007]), []
    drawn = rng.multinomial(6, np.full(6, 1 / 6), size=150)
    of_seeds = rng.multinomial(2, [0.5, 0.5], size=150)
    for times, seeds in zip(drawn, of_seeds, strict=True):
        cells = np.concatenate([np.tile(np.flatnonzero(donors == d), times[d]) for d in range(6)]).astype(int)
        each = [np.dot(seeds / 2, [macro_f1(truth[cells], of_seed[cells]) for of_seed in part]) for part in predicted]
        values.append(max(each[:2]) - max(each[2:]))
    tail = expanded_tail(0.95, 6)
    assert [found.low, found.high] == pytest.approx(list(np.quantile(values, [tail, 1 - tail])))
    whole = [np.mean([macro_f1(truth, of_seed) for of_seed in part]) for part in predicted]
    assert found.estimate == pytest.approx(max(whole[:2]) - max(whole[2:]))
    same = best_interval([counts[:2], counts[:2]], units)
    assert (same.estimate, same.low, same.high) == (0, 0, 0)
