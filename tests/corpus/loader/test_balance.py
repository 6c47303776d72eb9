"""Balanced sampling: draws shared as a patient person would share them, and interleaved as sorting would."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.corpus.loader.balance import Interleaving, equal_draws

SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=8).map(np.array)


def one_by_one(sizes, max_repeats):
    """Each draw goes to the class that has the fewest so far and may have another one."""
    draws = [0] * len(sizes)
    for _ in range(sum(sizes)):
        open_classes = [i for i, size in enumerate(sizes) if draws[i] < size * max_repeats]
        draws[min(open_classes, key=draws.__getitem__)] += 1
    return draws


@settings(max_examples=150, deadline=None)
@given(sizes=SIZES, max_repeats=st.integers(1, 12), seed=st.integers(0, 5))
def test_equal_draws(sizes, max_repeats, seed):
    draws = equal_draws(sizes, max_repeats=max_repeats, rng=np.random.default_rng(seed))
    assert sorted(draws) == sorted(one_by_one(sizes.tolist(), max_repeats))
    assert np.all(draws <= sizes * max_repeats)
    open_classes = draws[draws < sizes * max_repeats]
    assert np.ptp(open_classes) <= 1 if open_classes.size else True
    assert np.all(draws[draws == sizes * max_repeats] <= open_classes.max(initial=draws.max()))


def test_who_gets_the_remainder_changes():
    draws = {tuple(equal_draws(np.array([5, 5, 4]), max_repeats=9, rng=np.random.default_rng(s))) for s in range(30)}
    assert draws == {(5, 5, 4), (5, 4, 5), (4, 5, 5)}


@settings(max_examples=40, deadline=None)
@given(sizes=SIZES, seed=st.integers(0, 5))
def test_interleaving_is_the_order_of_the_keys(sizes, seed):
    interleaving = Interleaving(sizes, rng=np.random.default_rng(seed))
    phase = np.random.default_rng(seed).random(sizes.size)
    keys = [(float((i + phase[c]) / d), c) for c, d in enumerate(sizes) for i in range(d)]
    classes = [c for _, c in sorted(keys)]
    places = {0, int(sizes.sum()), *np.random.default_rng(seed).integers(0, sizes.sum() + 1, 60).tolist()}
    for place in places:
        expected = np.bincount(classes[:place], minlength=sizes.size)
        np.testing.assert_array_equal(interleaving.before(place), expected)


def test_equal_keys():
    """With the same phases all keys come several times; still every place has its draws."""
    interleaving = Interleaving(np.array([3, 3, 6]), rng=np.random.default_rng(0))
    interleaving._phase = np.zeros(3)
    before = np.array([interleaving.before(place) for place in range(13)])
    np.testing.assert_array_equal(before.sum(axis=1), np.arange(13))
    assert np.all(np.diff(before, axis=0) >= 0)
    assert before[-1].tolist() == [3, 3, 6]


@settings(max_examples=15, deadline=None)
@given(sizes=SIZES, seed=st.integers(0, 5))
def test_every_stretch_has_the_overall_shares(sizes, seed):
    interleaving = Interleaving(sizes, rng=np.random.default_rng(seed))
    total = int(sizes.sum())
    before = np.array([interleaving.before(place) for place in range(total + 1)])
    shares = np.arange(total + 1)[:, None] * sizes / total
    assert np.abs(before - shares).max() <= sizes.size
