"""Ways to hand out conditions, listed one by one."""

from itertools import product
from math import comb

import numpy as np
import pytest

from scssl.tasks.compare.permute import Assignments


def test_all_ways_of_two_groups():
    case = np.array([True, False, True, False, False])
    ways = Assignments.of(case, strata=np.zeros(5, dtype=int), most=100)
    assert ways.exhaustive
    assert (ways.labels[0] == case).all()
    assert {tuple(row) for row in ways.labels} == {w for w in product([False, True], repeat=5) if sum(w) == 2}
    assert len(ways.labels) == comb(5, 2)
    # With two against three no way is the mirror image of another.
    assert ways.smallest == 1 / 10


@pytest.mark.parametrize(("n", "smallest"), [(2, 1 / 3), (3, 0.1), (4, 2 / 70), (5, 2 / 252)])
def test_the_smallest_p_value_of_n_against_n(n, smallest):
    ways = Assignments.of(np.arange(2 * n) < n, strata=np.zeros(2 * n, dtype=int), most=10_000)
    assert ways.smallest == pytest.approx(smallest)


def test_pairs_are_exchanged_within_donors():
    donor = np.array([0, 1, 2, 0, 1, 2])
    case = np.array([False, False, False, True, True, True])
    ways = Assignments.of(case, strata=donor, most=100)
    assert len(ways.labels) == 2**3
    assert ways.smallest == 2 / 8
    for row in ways.labels:
        assert all(row[donor == d].sum() == 1 for d in range(3))


def test_too_many_ways_are_drawn_and_hold_what_was_observed():
    case = np.arange(30) < 15
    strata = np.arange(30) % 2
    ways = Assignments.of(case, strata=strata, most=200, seed=3)
    assert not ways.exhaustive
    assert ways.labels.shape == (200, 30)
    assert (ways.labels[0] == case).all()
    for code in (0, 1):
        assert (ways.labels[:, strata == code].sum(axis=1) == case[strata == code].sum()).all()
    assert ways.smallest == 1 / 200
    again = Assignments.of(case, strata=strata, most=200, seed=3)
    assert (again.labels == ways.labels).all()


def test_the_p_value_counts_ties():
    ways = Assignments.of(np.array([True, False, False]), strata=np.zeros(3, dtype=int), most=10)
    assert ways.p_value(np.array([2.0, 2.0 * (1 + 1e-15), 1.0])) == pytest.approx(2 / 3)
    assert ways.p_value(np.array([0.0, 1.0, 2.0])) == 1.0
