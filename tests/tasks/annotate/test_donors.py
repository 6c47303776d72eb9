"""Which donors are held out, against all choices there are."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.study.splits import make_splits
from scssl.tasks.annotate.donors import MOST, choose_donors, spread
from scssl.tasks.annotate.folds import make_folds
from scssl.tasks.annotate.labelled import choose_validation


def draw(seed, *, most_donors=7):
    """Cells of donors who each have some of the labels."""
    rng = np.random.default_rng(seed)
    n_donors, n_labels, n = int(rng.integers(2, most_donors)), int(rng.integers(2, 8)), int(rng.integers(20, 150))
    has = rng.random((n_donors, n_labels)) < 0.5
    has[:, 0] |= ~has.any(axis=1)
    donors = rng.integers(0, n_donors, n)
    return np.array([rng.choice(np.flatnonzero(has[donor])) for donor in donors]), donors


def most_labels(codes, donors, *, share):
    """Go through all sets of donors without whom every label is still there."""
    best = 0
    for n in range(1, len(set(donors))):
        for chosen in combinations(sorted(set(donors)), n):
            held = np.isin(donors, chosen)
            small = n == 1 or held.sum() <= MOST * share * len(codes)
            if small and set(codes[~held]) == set(codes):
                best = max(best, len(set(codes[held])))
    return best


# The same draws every time: about one choice in 500 misses a label, and some day one would miss two.
@settings(deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_nearly_as_many_labels_as_any_choice_holds_out(seed):
    codes, donors = draw(seed)
    found, n_labels = choose_donors(codes, donors, share=0.3, seed=seed)
    held, best = np.isin(donors, found), most_labels(codes, donors, share=0.3)
    assert set(codes[~held]) == set(codes)
    assert n_labels == len(set(codes[held]))
    assert best - 1 <= n_labels <= best
    assert bool(found) == (best > 0)
    assert len(found) <= 1 or held.sum() <= MOST * 0.3 * len(codes)


def test_as_many_cells_as_wanted_of_different_donors_by_seed():
    donors, codes = np.repeat(np.arange(20), 10), np.tile([0, 1], 100)
    chosen = [choose_donors(codes, donors, share=0.15, seed=seed)[0] for seed in range(10)]
    assert {len(held) for held in chosen} == {3}
    assert len(set(map(tuple, chosen))) > 5
    assert choose_donors(codes, donors, share=0.15, seed=3)[0] == chosen[3]


@pytest.fixture
def sorted_cells():
    """Eight donors of one type each, and two who have all four."""
    donors = np.repeat(np.arange(10), 40)
    codes = np.where(donors < 8, donors % 4, np.tile(np.arange(4), 100))
    return codes, donors


def test_validation_has_all_types_where_one_donor_does(sorted_cells):
    codes, donors = sorted_cells
    for seed in range(20):
        chosen, by_donor = choose_validation(codes, donors, share=0.1, seed=seed)
        assert by_donor
        assert set(codes[chosen]) == {0, 1, 2, 3}


def test_validation_of_a_single_type_is_by_cells_and_said(caplog):
    donors = np.repeat(np.arange(8), 40)
    codes = np.where(donors < 4, 0, 1)
    # Each donor has one type, and two of them together are more than may be held out.
    chosen, by_donor = choose_validation(codes, donors, share=0.1, seed=0)
    assert not by_donor
    assert "validation is by cells" in caplog.text
    assert set(codes[chosen]) == {0, 1}
    chosen, by_donor = choose_validation(codes, donors, share=0.15, seed=0)
    assert by_donor
    assert set(codes[chosen]) == {0, 1}


def test_types_that_are_not_judged_are_counted(sorted_cells, caplog):
    codes, donors = sorted_cells
    codes = np.where(donors == 3, 9, codes)
    caplog.set_level("INFO")
    chosen, by_donor = choose_validation(codes, donors, share=0.1, seed=0)
    assert by_donor
    assert not (codes[chosen] == 9).any()
    assert "have 4 of 5 labels" in caplog.text


def lost(fold_of, codes, donors):
    """Count labels of several donors that are in one fold alone."""
    return sum(
        len(set(donors[codes == code])) > 1 and len(set(fold_of[donors[codes == code]])) == 1 for code in set(codes)
    )


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(2, 3))
def test_no_label_is_left_to_one_fold_that_need_not_be(seed, n_folds):
    codes, donors = draw(seed, most_donors=6)
    donors = np.unique(donors, return_inverse=True)[1]
    n = int(donors.max()) + 1
    if n < n_folds:
        return
    before = np.arange(n) % n_folds
    after = spread(before, codes=codes, donors=donors)
    assert set(after) == set(before)
    assert lost(after, codes, donors) <= lost(before, codes, donors)
    # No move of a single donor gains anything.
    for donor, number in product(range(n), range(n_folds)):
        moved = np.where(np.arange(n) == donor, number, after)
        assert len(set(moved)) < n_folds or lost(moved, codes, donors) >= lost(after, codes, donors)
    if not lost(before, codes, donors):
        np.testing.assert_array_equal(after, before)


def test_folds_of_annotator_and_study_judge_a_type_that_two_donors_have():
    # By size alone, donors 0 and 3 are in one fold of two, and their common type in no other.
    donors = np.repeat(np.arange(4), [40, 30, 30, 20])
    codes = np.where(np.isin(donors, [0, 3]) & (np.arange(120) % 2 == 0), 1, 0)
    size = np.bincount(donors)
    assert size[[0, 3]].sum() == size[[1, 2]].sum()
    splits = make_splits(codes, donors, folds=2)
    assert sum(split.unscored for split in splits) == 0
    donors, codes = np.repeat(np.arange(10), 20), np.tile([0, 0], 100)
    together = np.flatnonzero(make_folds(codes, donors, seed=0) == 0)
    codes[together[::2]] = 1
    fold = make_folds(codes, donors, seed=0)
    assert len(set(fold[codes == 1])) == 2
    assert len(set(fold)) == 5


def test_cells_of_unknown_donor_are_in_no_fold():
    donors = np.array([-1, 0, 0, 1, 1, 2, 2, -1])
    fold = make_folds(np.array([0, 0, 1, 0, 1, 0, 1, 1]), donors, seed=0)
    assert (fold == -1).tolist() == (donors == -1).tolist()
    held, _ = choose_donors(np.array([0, 0, 1, 0, 1, 0, 1, 1]), donors, share=0.3, seed=0)
    assert held
    assert min(held) >= 0
