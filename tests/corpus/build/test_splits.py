"""Splits: whole groups, right shares, the same for the same seed."""

from __future__ import annotations

import logging
from collections import defaultdict

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scssl.corpus.build.splits import split_groups
from scssl.errors import DataError


def shares(cells, splits):
    total = defaultdict(int)
    for (_, group), n in cells.items():
        total[splits[group]] += n
    return {split: n / sum(cells.values()) for split, n in total.items()}


@given(
    cells=st.dictionaries(
        st.tuples(st.sampled_from("ABCD"), st.sampled_from([f"d{i}" for i in range(12)])),
        st.integers(1, 1000),
        min_size=3,
        max_size=40,
    ),
    val=st.sampled_from([0.0, 0.1, 0.3]),
    test=st.sampled_from([0.0, 0.1, 0.2]),
    seed=st.integers(0, 5),
)
def test_every_group_once_and_no_split_empty(cells, val, test, seed):
    groups = {group for _, group in cells}
    assume(len(groups) >= 3)
    splits = split_groups(cells, val=val, test=test, seed=seed)
    assert set(splits) == groups
    wanted = {"train", *(["val"] if val else []), *(["test"] if test else [])}
    assert set(splits.values()) == wanted
    assert splits == split_groups(dict(reversed(cells.items())), val=val, test=test, seed=seed)


def test_many_equal_donors_meet_the_shares_in_every_source():
    cells = {(f"s{s}", f"s{s}-d{d}"): 100 for s in range(5) for d in range(20)}
    splits = split_groups(cells, val=0.1, test=0.2, seed=3)
    for source in range(5):
        mine = [splits[group] for (name, group) in cells if name == f"s{source}"]
        assert (mine.count("val"), mine.count("test")) == (2, 4)


def test_sources_of_one_donor_share_out_among_themselves():
    cells = {(f"s{i}", f"d{i}"): 50 for i in range(40)}
    assert shares(cells, split_groups(cells, val=0.1, test=0.1, seed=0)) == {"train": 0.8, "val": 0.1, "test": 0.1}


def test_every_source_with_several_donors_keeps_one_for_training():
    cells = {(f"s{s}", f"s{s}-d{d}"): 1 + 10 * d for s in range(6) for d in range(2)}
    splits = split_groups(cells, val=0.4, test=0.4, seed=0)
    for source in range(6):
        assert "train" in {splits[group] for (name, group) in cells if name == f"s{source}"}


def test_a_donor_in_two_sources_stays_together_and_seeds_differ():
    cells = {(f"s{s}", f"d{d}"): 30 for s in range(2) for d in range(30)}
    first, second = (split_groups(cells, val=0.2, test=0.2, seed=seed) for seed in (0, 1))
    assert len(first) == 30
    assert first != second


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_groups(n):
    cells = {("s", f"d{i}"): 10 for i in range(n)}
    with pytest.raises(DataError, match=r"--split-by cell.*--val 0 --test 0"):
        split_groups(cells, val=0.1, test=0.1, seed=0)


def test_one_group_is_fine_without_held_out_cells():
    assert split_groups({("s", "d"): 10}, val=0, test=0, seed=0) == {"d": "train"}


def test_tells_when_a_share_cannot_be_met(caplog):
    with caplog.at_level(logging.WARNING, logger="scssl"):
        split_groups({("s", f"d{i}"): 100 for i in range(3)}, val=0.05, test=0.05, seed=0)
    assert "val gets 33.3 % of the cells instead of 5.0 %" in caplog.text


def test_no_source_makes_up_for_the_others_with_most_of_its_donors():
    """Nine sources of two large donors can give little; the tenth, of small donors, gives only its share."""
    cells = {(f"s{s}", f"s{s}-d{d}"): 500 for s in range(9) for d in range(2)}
    cells |= {("small", f"d{d}"): 10 for d in range(50)}
    for seed in range(5):
        splits = split_groups(cells, val=0.1, test=0.1, seed=seed)
        assert sum(splits[f"d{d}"] == "train" for d in range(50)) >= 38


def test_known_groups_stay_and_new_ones_are_shared_out():
    known = {f"old{i}": "train" for i in range(9)} | {"old9": "test"}
    cells = {("new", f"d{i}"): 20 for i in range(50)} | {("new", "old3"): 70, ("more", "old9"): 10}
    for seed in range(5):
        splits = split_groups(cells, val=0.1, test=0.1, seed=seed, known=known)
        assert set(splits) == {group for _, group in cells}
        assert (splits["old3"], splits["old9"]) == ("train", "test")
        new = [split for group, split in splits.items() if group not in known]
        assert (new.count("val"), new.count("test")) == (5, 5)
        assert splits == split_groups(cells, val=0.1, test=0.1, seed=seed, known=known)
    assert split_groups({("new", "d"): 5}, val=0.1, test=0.1, seed=0, known=known) == {"d": "train"}


def test_cells_of_unknown_donors_are_trained_on():
    cells = {("s", f"d{i}"): 30 for i in range(10)} | {("s", "(no donor: s)"): 5, ("t", "(no donor: t)"): 40}
    for seed in range(10):
        splits = split_groups(cells, val=0.2, test=0.2, seed=seed, unnamed=["(no donor: s)"])
        assert splits["(no donor: s)"] == "train"
        assert set(splits) == {group for _, group in cells}
        assert {splits[f"d{i}"] for i in range(10)} == {"train", "val", "test"}
