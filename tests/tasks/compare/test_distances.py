"""Distances of samples against those of populations pair by pair; shifts against their definition and their truth."""

import numpy as np
import pandas as pd
import pytest

from scssl.metrics.populations import energy_distance
from scssl.tasks.compare.distances import adjusted_distances, coordinates, sample_distances, shift_of
from scssl.tasks.compare.layout import Layout
from scssl.tasks.compare.linear import permuted
from scssl.tasks.compare.state import held_out_auc, interval


def cells(rng, *, donors, shift, n=12, spread=0.5):
    """Points of donors, the second half of whom are shifted along the first dimension."""
    points, sample = [], []
    for donor in range(donors):
        centre = rng.normal(0, spread, 3)
        centre[0] += shift * (donor >= donors // 2)
        points.append(rng.normal(size=(n, 3)) + centre)
        sample.append(np.full(n, donor))
    return np.concatenate(points), np.concatenate(sample)


def layout_of(donors, **columns):
    table = pd.DataFrame(
        {"donor": [f"d{i:02}" for i in range(donors)], "case": np.arange(donors) >= donors // 2, **columns}
    )
    return Layout.of(table, covariates=list(columns), paired=False)


def test_each_pair_has_its_energy_distance():
    rng = np.random.default_rng(0)
    sample = rng.permutation(np.repeat([0, 1, 2], [3, 5, 8]))
    points = rng.normal(size=(16, 4)) + sample[:, None]
    found = sample_distances(points, sample=sample, n_samples=3)
    for i in range(3):
        for j in range(3):
            truth = 0.0 if i == j else energy_distance(points[sample == i], points[sample == j])
            assert found[i, j] == pytest.approx(truth, abs=1e-12)


def test_coordinates_give_back_the_distances():
    rng = np.random.default_rng(1)
    points, sample = cells(rng, donors=6, shift=1.0)
    distances = sample_distances(points, sample=sample, n_samples=6)
    places, signs = coordinates(distances)
    back = ((places[:, None] - places[None]) ** 2 * signs).sum(axis=2)
    np.testing.assert_allclose(back, distances, atol=1e-10)


def test_the_shift_is_what_its_formula_says():
    rng = np.random.default_rng(2)
    points, sample = cells(rng, donors=5, shift=1.0)
    d = sample_distances(points, sample=sample, n_samples=5)
    found = shift_of(d, layout_of(5))
    between = np.mean([d[i, j] for i in (0, 1) for j in (2, 3, 4)])
    within = (d[0, 1] + np.mean([d[2, 3], d[2, 4], d[3, 4]])) / 2
    assert found.shift == pytest.approx(between - within)
    assert found.donor_spread == pytest.approx(within)
    assert found.share == pytest.approx(np.clip((between - within) / between, 0, 1))
    # A donor drawn twice counts twice and is not compared with itself.
    twice = shift_of(d, layout_of(5), weight=np.array([2, 0, 1, 1, 1]))
    assert np.isnan(twice.shift)
    assert shift_of(d, layout_of(5), weight=np.array([1, 1, 1, 1, 1])) == found


def test_pairs_are_not_compared_with_themselves():
    d = np.random.default_rng(3).random((4, 4))
    d = d + d.T
    table = pd.DataFrame({"donor": ["a", "b", "a", "b"], "case": [False, False, True, True]})
    found = shift_of(d, Layout.of(table, covariates=[], paired=True))
    assert found.shift == pytest.approx((d[0, 3] + d[1, 2]) / 2 - (d[0, 1] + d[2, 3]) / 2)


def test_the_shift_is_zero_on_average_where_only_donors_differ():
    rng, found = np.random.default_rng(4), []
    for _ in range(200):
        points, sample = cells(rng, donors=6, shift=0.0)
        found.append(shift_of(sample_distances(points, sample=sample, n_samples=6), layout_of(6)).shift)
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(len(found))


def test_permuting_the_coordinates_is_permuting_the_distances():
    rng = np.random.default_rng(5)
    points, sample = cells(rng, donors=6, shift=0.7)
    d, layout = sample_distances(points, sample=sample, n_samples=6), layout_of(6)
    ways = layout.assignments(most=100)
    places, signs = coordinates(d)
    found = permuted(places, layout, ways, signs=signs)[0]

    def apart(case):
        """Squared length between the mean embeddings: between, less half of within, samples with themselves too."""
        return 2 * d[np.ix_(case, ~case)].mean() - d[np.ix_(case, case)].mean() - d[np.ix_(~case, ~case)].mean()

    by_hand = [apart(way) for way in ways.labels]
    assert found == pytest.approx(np.mean([value >= by_hand[0] - 1e-9 for value in by_hand]))


def test_covariates_are_taken_out_of_distances():
    rng = np.random.default_rng(6)
    study = np.array(list("aabbaabb"))
    points, sample = cells(rng, donors=8, shift=0.0, n=30, spread=0.1)
    points[:, 1] += 5.0 * (study[sample] == "b")
    d = sample_distances(points, sample=sample, n_samples=8)
    layout = layout_of(8, study=study)
    assert shift_of(d, layout).donor_spread > 2
    assert shift_of(adjusted_distances(d, layout), layout).donor_spread < 0.5
    points[:, 0] += 2.0 * layout.case[sample]
    moved = sample_distances(points, sample=sample, n_samples=8)
    within = [shift_of(moved[np.ix_(s, s)], layout_of(4)).shift for s in (np.flatnonzero(study == x) for x in "ab")]
    # What both studies have in common is not longer than what each has.
    assert 0.6 * np.mean(within) < shift_of(adjusted_distances(moved, layout), layout).shift < 1.05 * np.mean(within)
    np.testing.assert_array_equal(adjusted_distances(d, layout_of(8)), d)


def test_intervals_need_three_donors_and_hold_the_estimate():
    rng = np.random.default_rng(7)
    points, sample = cells(rng, donors=10, shift=2.0)
    d, layout = sample_distances(points, sample=sample, n_samples=10), layout_of(10)
    low, high = interval(d, layout, resamples=300, seed=0)
    assert low < shift_of(d, layout).shift < high
    assert low > 0
    assert np.isnan(interval(d[:4, :4], layout_of(4), resamples=300, seed=0)).all()


def test_the_classifier_sees_the_condition_not_the_donor():
    rng = np.random.default_rng(8)
    points, sample = cells(rng, donors=8, shift=3.0, n=20, spread=0.1)
    assert held_out_auc(points, sample=sample, layout=layout_of(8)) > 0.95
    # Donors that differ a lot, the condition not at all: a classifier that had seen them would be right.
    points, sample = cells(rng, donors=8, shift=0.0, n=20, spread=10.0)
    assert held_out_auc(points, sample=sample, layout=layout_of(8)) < 0.9
