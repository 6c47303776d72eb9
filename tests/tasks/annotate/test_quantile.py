"""Thresholds over donors: against loops, and whether they keep what they promise on data that are exchangeable."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scssl.errors import SettingsError
from scssl.tasks.annotate.quantile import donor_weights, donors_for_guarantee, quantile, threshold


def slow_hierarchical(scores, donors, error_rate):
    """Smallest score at which the mass over K + 1 donors reaches the level, counted score by score."""
    names = sorted(set(donors))
    for candidate in sorted(set(scores)):
        mass = 0.0
        for name in names:
            own = [s for s, d in zip(scores, donors, strict=True) if d == name]
            mass += sum(s <= candidate for s in own) / len(own) / (len(names) + 1)
        if mass >= 1 - error_rate - 1e-9:
            return candidate
    return np.inf


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(8, 14), st.sampled_from([0.25, 0.3, 0.5]))
def test_many_donors_against_a_loop(seed, n_donors, error_rate):
    rng = np.random.default_rng(seed)
    donors = np.concatenate([np.arange(n_donors), rng.integers(0, n_donors, 40)])
    scores = rng.integers(0, 30, len(donors)).astype(float)
    found = threshold(scores, error_rate=error_rate, donors=donors * 3)
    assert found.unit == "donors"
    assert found.value == slow_hierarchical(scores, donors, error_rate)


def test_cells_alone_give_the_split_conformal_quantile():
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 100))
    # The ceil((n + 1) (1 - alpha))-th smallest.
    assert threshold(scores, error_rate=0.1) == (90, "cells")
    assert threshold(scores, error_rate=0.1, donors=np.zeros(99, dtype=int)) == (90, "cells")
    assert threshold(scores, error_rate=0.1, donors=np.full(99, -1)) == (90, "cells")
    assert threshold(scores[:8], error_rate=0.1).value == np.inf
    assert threshold(scores[:0], error_rate=0.1).value == np.inf


def test_unit_depends_on_the_number_of_donors():
    assert donors_for_guarantee(0.1) == 20
    assert donors_for_guarantee(0.05) == 40
    for n_donors, unit in ((19, "few donors"), (20, "donors"), (2, "few donors"), (1, "cells")):
        assert threshold(np.arange(40.0), error_rate=0.1, donors=np.arange(40) % n_donors).unit == unit


def test_cells_of_unknown_donors_are_left_out():
    scores, donors = np.arange(60.0), np.arange(60) % 3
    hidden = np.where(scores > 50, -1, donors)
    assert threshold(scores, error_rate=0.2, donors=hidden) == threshold(
        scores[:51], error_rate=0.2, donors=donors[:51]
    )


def test_few_donors_are_right_when_left_out():
    rng = np.random.default_rng(3)
    donors = np.repeat(np.arange(6), 200)
    scores = rng.normal(size=1200) + rng.normal(0, 1, 6)[donors]
    found = threshold(scores, error_rate=0.1, donors=donors)
    assert found.unit == "few donors"
    # No lower than the pooled quantile, in which each donor counts the same.
    assert found.value >= np.quantile(scores, 0.9) - 1e-6

    def left_out(level):
        shares = []
        for donor in range(6):
            rest = np.sort(scores[donors != donor])
            shares.append((scores[donors == donor] <= quantile(rest, np.full(1000, 1 / 1000), level=level)).mean())
        return np.mean(shares)

    level = (scores <= found.value).mean()
    assert left_out(level) >= 0.9
    assert left_out(level - 0.002) < 0.9


def test_donor_weights():
    np.testing.assert_allclose(donor_weights(np.array([5, 5, 7, -1]), n_cells=4), [0.25, 0.25, 0.5, 0])
    np.testing.assert_allclose(donor_weights(np.array([-1, -1]), n_cells=2), [0.5, 0.5])
    np.testing.assert_allclose(donor_weights(None, n_cells=4), 0.25)


def test_error_rates_that_are_none():
    for rate in (0, 1, -0.1, np.nan):
        with pytest.raises(SettingsError, match="error_rate"):
            threshold(np.arange(5.0), error_rate=rate)


def new_donor_coverage(*, n_donors, effect, n_trials, aware, seed):
    """Share of trials in which one cell of a new donor lies below the threshold."""
    rng = np.random.default_rng(seed)
    hits = 0
    for _ in range(n_trials):
        n_cells = rng.integers(5, 60, n_donors)
        donors = np.repeat(np.arange(n_donors), n_cells)
        # Donors with few cells are the odd ones: cells that count the same hear little of them.
        shift = rng.normal(0, effect, n_donors + 1) * np.append(60 / n_cells, 60 / rng.integers(5, 60)) ** 0.5
        scores = rng.normal(size=len(donors)) + shift[donors]
        found = threshold(scores, error_rate=0.1, donors=donors if aware else None)
        hits += rng.normal() + shift[-1] <= found.value
    return hits


def test_a_new_donor_is_covered_at_the_rate_that_was_asked_for():
    n_trials = 600
    lowest = stats.binom.ppf(1e-4, n_trials, 0.9)
    highest = stats.binom.ppf(1 - 1e-4, n_trials, 0.9 + 1 / 26)
    hits = new_donor_coverage(n_donors=25, effect=1.0, n_trials=n_trials, aware=True, seed=0)
    assert lowest <= hits <= highest
    # No promise, but near it, with few.
    few = new_donor_coverage(n_donors=6, effect=1.0, n_trials=n_trials, aware=True, seed=1)
    assert few >= stats.binom.ppf(1e-4, n_trials, 0.87)


def test_cells_do_not_stand_for_donors():
    aware, naive = (
        new_donor_coverage(n_donors=8, effect=1.5, n_trials=400, aware=aware, seed=2) for aware in (True, False)
    )
    assert aware > naive + 20


def test_without_donor_effects_cells_are_covered_at_the_rate():
    n_trials = 600
    hits = new_donor_coverage(n_donors=5, effect=0.0, n_trials=n_trials, aware=False, seed=3)
    assert stats.binom.ppf(1e-4, n_trials, 0.9) <= hits <= stats.binom.ppf(1 - 1e-4, n_trials, 0.93)
