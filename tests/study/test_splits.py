"""Splits keep donors and data sets apart, test every cell once, and tell all methods the same labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.study.splits import draw_labelled, make_splits


@given(seed=st.integers(0, 10**6), n_donors=st.integers(2, 9), folds=st.integers(2, 6))
@settings(deadline=None, max_examples=40)
def test_donors_are_kept_apart_and_tested_once(seed, n_donors, folds):
    rng = np.random.default_rng(seed)
    donors, codes = rng.integers(0, n_donors, 200), rng.integers(0, 4, 200)
    splits = make_splits(codes, donors, folds=folds, seed=seed)
    if len(np.unique(donors)) < 2:
        return
    assert len(splits) == min(folds, len(np.unique(donors)))
    for split in splits:
        assert split.scheme == "donor"
        assert not set(donors[split.train]) & set(donors[split.test])
        assert set(codes[split.test]) <= set(codes[split.train])
    tested = np.concatenate([split.test for split in splits])
    assert len(np.unique(tested)) == len(tested)
    assert len(tested) + sum(split.unscored for split in splits) == 200


def test_folds_are_about_equal():
    donors = np.repeat(np.arange(6), [50, 40, 30, 20, 10, 10])
    sizes = [len(s.test) for s in make_splits(np.zeros(160, int), donors, folds=3)]
    assert max(sizes) - min(sizes) <= 20


def test_one_donor_means_folds_over_cells_with_every_type():
    codes = np.repeat([0, 1, 2], [30, 9, 3])
    splits = make_splits(codes, np.zeros(42, int), folds=3)
    assert [split.scheme for split in splits] == ["cell"] * 3
    for split in splits:
        np.testing.assert_array_equal(np.bincount(codes[split.test]), [10, 3, 1])
    np.testing.assert_array_equal(np.sort(np.concatenate([s.test for s in splits])), np.arange(42))


def test_a_type_that_one_donor_has_is_not_scored():
    donors = np.repeat([0, 1, 2, 3], 10)
    codes = np.zeros(40, int)
    codes[:5] = 1
    splits = make_splits(codes, donors, folds=4)
    assert sum(split.unscored for split in splits) == 5
    assert not np.isin(np.arange(5), np.concatenate([s.test for s in splits])).any()
    assert np.isin(np.arange(5), np.concatenate([s.named for s in splits])).all()
    untold = next(split for split in splits if split.unscored)
    assert untold.untold.tolist() == untold.named[-5:].tolist() == [0, 1, 2, 3, 4]
    kind, other = np.array([[1, 1], [0, 1]], bool), np.array([[1, 0], [1, 1]], bool)
    assert untold.reached(codes, descends=kind).tolist() == [0, 1, 2, 3, 4]
    assert not len(untold.reached(codes, descends=other))


def test_data_sets_are_left_out_with_their_donors():
    donors = np.repeat([0, 1, 2, 3], 10)
    sources = np.repeat([0, 0, 1, 1], 10)
    sources[10:15] = 1  # donor 1 is in both
    splits = make_splits(np.tile([0, 1], 20), donors, folds=2, sources=sources, source_names=["a", "b"])
    left = {split.name: split for split in splits if split.scheme == "data set"}
    assert set(left) == {"a", "b"}
    assert set(sources[left["a"].test]) == {0}
    assert set(donors[left["a"].train]) == {2, 3}
    assert set(donors[left["b"].train]) == {0}


@pytest.mark.parametrize("n_labels", [1, 5, None])
def test_labels_are_drawn_per_type_and_from_the_key_alone(n_labels):
    codes = np.repeat([0, 1, 2], [40, 20, 3])
    rows = np.arange(0, 63)
    first = draw_labelled(rows, codes, n_labels=n_labels, key=(0, 1, 5))
    np.testing.assert_array_equal(first, draw_labelled(rows, codes, n_labels=n_labels, key=(0, 1, 5)))
    expected = [40, 20, 3] if n_labels is None else [min(n_labels, n) for n in (40, 20, 3)]
    np.testing.assert_array_equal(np.bincount(codes[first]), expected)
    assert (np.diff(first) > 0).all()
    if n_labels == 5:
        assert list(first) != list(draw_labelled(rows, codes, n_labels=n_labels, key=(1, 1, 5)))
