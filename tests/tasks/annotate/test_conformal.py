"""Label sets: coverage where data are exchangeable, sizes that are of use, names, and what is written and read."""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scssl.errors import DataError, FormatError, SettingsError
from scssl.tasks.annotate.calibrate import probabilities
from scssl.tasks.annotate.conformal import AMBIGUOUS, MOST_OTHERS, LabelSets, back_off, coverage


def atlas(seed, *, n_donors=25, n_cells=60, n_classes=4, effect=0.0, shares=None, apart=2.0):
    """Probabilities, codes and donors; each donor shifts all scores in a way of its own."""
    rng = np.random.default_rng(seed)
    donors = np.repeat(np.arange(n_donors), n_cells)
    codes = rng.choice(n_classes, len(donors), p=shares)
    z = rng.normal(size=(len(donors), n_classes)) + effect * rng.normal(size=(n_donors, n_classes))[donors]
    z[np.arange(len(donors)), codes] += apart
    return probabilities(z), codes, donors


def held(sets, codes):
    return sets[np.arange(len(codes)), codes]


@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_new_donors_are_covered(effect):
    hits, n_trials = 0, 300
    for seed in range(n_trials):
        p, codes, donors = atlas(seed, n_donors=24, n_cells=40, n_classes=3, effect=effect)
        new = donors == 23
        sets = LabelSets.fit(p[~new], codes=codes[~new], donors=donors[~new], error_rate=0.1)
        assert sets.unit == "donors"
        # One cell of the new donor for each trial, so that trials are independent.
        hits += held(sets.sets(p[new]), codes[new])[0]
    assert hits >= stats.binom.ppf(1e-4, n_trials, 0.9)


def test_donors_cover_better_than_cells_where_donors_differ():
    shares = {"aware": [], "naive": []}
    for seed in range(60):
        # Half of the donors gave few and poor cells: among all cells, these hardly count.
        poor = np.random.default_rng(seed).random(9) < 0.5
        parts = [
            atlas(100 * seed + i, n_donors=1, n_cells=30 if bad else 300, apart=1.0 if bad else 5.0)
            for i, bad in enumerate(poor)
        ]
        p, codes = (np.concatenate([part[j] for part in parts]) for j in (0, 1))
        donors = np.repeat(np.arange(9), [len(part[1]) for part in parts])
        new = donors == 8
        for name, units in (("aware", donors[~new]), ("naive", None)):
            sets = LabelSets.fit(p[~new], codes=codes[~new], donors=units, error_rate=0.1)
            shares[name].append(held(sets.sets(p[new]), codes[new]).mean())
    assert np.mean(shares["naive"]) < 0.85
    assert np.mean(shares["aware"]) > np.mean(shares["naive"]) + 0.05
    assert np.mean(shares["aware"]) >= 0.87


def test_the_rate_holds_for_each_type_with_a_threshold_of_its_own():
    p, codes, donors = atlas(0, n_donors=50, n_cells=200, shares=[0.7, 0.2, 0.08, 0.02], apart=3.0)
    fitted = donors < 25
    sets = LabelSets.fit(p[fitted], codes=codes[fitted], donors=donors[fitted], error_rate=0.1)
    found = held(sets.sets(p[~fitted]), codes[~fitted])
    for code in np.flatnonzero(sets.own):
        mine = found[codes[~fitted] == code]
        assert mine.mean() >= 0.9 - 4 * np.sqrt(0.09 / len(mine))
    assert sum(sets.own) >= 3


def test_a_type_that_cannot_be_told_does_not_sit_in_every_set():
    rng = np.random.default_rng(1)
    p, codes, donors = atlas(1, n_donors=25, n_cells=200, shares=[0.5, 0.4, 0.06, 0.04], apart=5.0)
    # Nothing tells the last type from the first.
    lost = codes == 3
    p[lost] = p[rng.choice(np.flatnonzero(codes == 0), lost.sum())]
    sets = LabelSets.fit(p, codes=codes, donors=donors, error_rate=0.1)
    inside = sets.sets(p)
    assert sets.own == (True, True, True, False)
    assert inside[~lost, 3].mean() <= MOST_OTHERS + 0.01
    assert inside.sum(axis=1).mean() < 1.3
    # Over all cells, the rate holds in spite of the type that is given up.
    assert held(inside, codes).mean() >= 0.9


def test_rare_types_share_a_threshold():
    p, codes, donors = atlas(2, n_donors=10, n_cells=100, n_classes=4, shares=[0.48, 0.48, 0.02, 0.02])
    sets = LabelSets.fit(p, codes=codes, donors=donors, error_rate=0.2)
    assert sets.own == (True, True, False, False)
    assert sets.n_cells == tuple(np.bincount(codes))
    assert sets.n_donors[2] == len(np.unique(donors[codes == 2]))
    # In one donor only, however many cells: not its own either.
    one = np.where(codes == 1, 0, donors)
    assert LabelSets.fit(p, codes=codes, donors=one, error_rate=0.2).own == (True, False, False, False)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 5), st.sampled_from([0.01, 0.1, 0.5, 0.9]))
def test_sets_are_never_empty_and_hold_the_best_guess(seed, n_cells, n_classes, error_rate):
    p, codes, _ = atlas(seed, n_donors=1, n_cells=n_cells, n_classes=n_classes)
    sets = LabelSets.fit(p, codes=codes, error_rate=error_rate)
    inside = sets.sets(p)
    assert inside[np.arange(n_cells), p.argmax(axis=1)].all()
    assert sets.unit == "cells"
    if (n_cells + 1) * error_rate < 1:
        # Too few cells to promise anything by less than naming everything.
        assert inside.all()


def test_smaller_error_rates_give_larger_sets():
    p, codes, donors = atlas(3, effect=0.5)
    sizes = [
        LabelSets.fit(p, codes=codes, donors=donors, error_rate=rate).sets(p).sum(axis=1).mean()
        for rate in (0.3, 0.2, 0.1)
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_cells_without_label_or_donor_are_left_out():
    p, codes, donors = atlas(4)
    expected = LabelSets.fit(p[200:], codes=codes[200:], donors=donors[200:])
    unnamed, nobody = codes.copy(), donors.copy()
    unnamed[:100], nobody[100:200] = -1, -1
    assert LabelSets.fit(p, codes=unnamed, donors=nobody) == expected


def test_coverage_counts_donor_by_donor():
    sets = np.array([[1, 0], [1, 1], [0, 1], [1, 0]], dtype=bool)
    table = coverage(sets, codes=np.array([0, 1, 0, -1]), donors=["b", "b", "a", None])
    assert table.loc["b"].tolist() == [2, 1, 1.5, 0.5]
    assert table.loc["a"].tolist() == [1, 0, 1, 1]
    assert coverage(sets, codes=np.array([0, 1, 0, -1])).loc["all", "coverage"] == 0.5
    kinds = np.array([[0, 1], [1, 0], [1, 1], [1, 0]], dtype=bool)
    assert coverage(sets, codes=np.array([0, 1, 0, -1]), right=kinds).loc["all", "coverage"] == 0.75


class Ancestor(NamedTuple):
    name: str
    term: str | None


class Tree:
    """CD4 T and CD8 T are T cells; everything is a cell."""

    def common_ancestor(self, codes):
        codes = set(codes)
        if codes <= {0, 1}:
            return Ancestor("T cell", "CL:0000084")
        return Ancestor("cell", "CL:0000000") if 5 not in codes else None


CLASSES = ["CD4 T", "CD8 T", "B", "NK", "DC", "odd"]


def one_hot(*codes):
    return np.isin(np.arange(6), codes)


def test_sets_are_named_by_what_their_labels_share():
    sets = np.stack([one_hot(0), one_hot(0, 1), one_hot(0, 2), one_hot(2, 5), one_hot(0, 1, 2), one_hot(0, 1, 2, 3)])
    expected = ["CD4 T", "T cell", "cell", "B | odd", "cell", "cell"]
    assert back_off(sets, classes=CLASSES, tree=Tree()).tolist() == expected
    expected = ["CD4 T", "CD4 T | CD8 T", "CD4 T | B", "B | odd", "CD4 T | CD8 T | B", AMBIGUOUS]
    assert back_off(sets, classes=CLASSES).tolist() == expected


def test_an_ancestor_that_all_labels_share_says_nothing():
    sets = np.stack([one_hot(0, 2), one_hot(0, 1, 2, 3), one_hot(0, 1)])[:, :5]
    assert back_off(sets, classes=CLASSES[:5], tree=Tree()).tolist() == ["CD4 T | B", AMBIGUOUS, "T cell"]


def test_written_and_read():
    p, codes, donors = atlas(5)
    sets = LabelSets.fit(p, codes=codes, donors=donors)
    values = json.loads(json.dumps(sets.to_dict()))
    assert LabelSets.from_dict(values, n_classes=4) == sets
    for key, wrong in (
        ("error_rate", 2), ("error_rate", None), ("error_rate", True), ("least", [0.1]), ("least", [2.0] * 4),
        ("least", [float("nan")] * 4), ("least", "abcd"), ("own", [1, 0, 1, 0]), ("units", ["planets"] * 4),
        ("n_cells", [0.5] * 4),
    ):  # fmt: skip
        with pytest.raises(FormatError, match="label sets"):
            LabelSets.from_dict({**values, key: wrong}, n_classes=4)
    for wrong in ({}, None, [], "x"):
        with pytest.raises(FormatError, match="label sets"):
            LabelSets.from_dict(wrong, n_classes=4)
    with pytest.raises(FormatError, match="5 classes"):
        LabelSets.from_dict(values, n_classes=5)


def test_bad_input_is_named():
    p, codes, donors = atlas(6)
    with pytest.raises(SettingsError, match="error_rate"):
        LabelSets.fit(p, codes=codes, error_rate=0)
    with pytest.raises(DataError, match="no held-out cell"):
        LabelSets.fit(p, codes=np.full(len(codes), -1))
    with pytest.raises(DataError, match="one code below 4"):
        LabelSets.fit(p, codes=codes[:-1], donors=donors)
    with pytest.raises(DataError, match="3 classes"):
        LabelSets.fit(p, codes=codes).sets(p[:, :3])
