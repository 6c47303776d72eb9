"""Nearest-neighbour votes against a loop over all pairs."""

from __future__ import annotations

import numpy as np
import pytest

from scssl.tasks.annotate import knn


def slow_vote(reference, labels, query, k):
    """Sort all reference cells of each query cell, count, and break ties by the nearest."""
    out = []
    for cell in query.astype(np.float64):
        pairs = []
        for row, other in enumerate(reference.astype(np.float64)):
            pairs.append((sum((a - b) ** 2 for a, b in zip(cell, other, strict=True)) ** 0.5, row))
        pairs.sort()
        nearest = [row for _, row in pairs[:k]]
        counts = {}
        for row in nearest:
            counts[labels[row]] = counts.get(labels[row], 0) + 1
        best = max(counts.values())
        winner = next(labels[row] for row in nearest if counts[labels[row]] == best)
        out.append((winner, best / k, nearest, [d for d, _ in pairs[:k]]))
    return out


@pytest.mark.parametrize("k", [1, 2, 5, 6])
@pytest.mark.parametrize("ties", [False, True])
def test_against_all_pairs(k, ties):
    rng = np.random.default_rng(k)
    reference = rng.normal(size=(60, 4)).astype(np.float32)
    query = rng.normal(size=(40, 4)).astype(np.float32)
    if ties:
        # A coarse grid: many cells at exactly the same distance, and some in the same place.
        reference, query = np.round(reference), np.round(query)
    labels = rng.integers(0, 3, 60)
    votes = knn.vote(reference, labels, query, k=k)
    for i, (winner, share, nearest, distance) in enumerate(slow_vote(reference, labels, query, k)):
        np.testing.assert_allclose(votes.distance[i], distance, rtol=1e-6)
        if not ties:
            assert votes.label[i] == winner
            assert votes.share[i] == pytest.approx(share)
            assert votes.neighbours[i].tolist() == nearest


def test_the_very_nearest_cell_counts():
    reference = np.array([[0.0, 0], [5, 5], [6, 6]], np.float32)
    votes = knn.vote(reference, np.array([2, 0, 0]), reference[:1], k=1)
    assert (votes.label[0], votes.share[0], votes.distance[0, 0]) == (2, 1, 0)


def test_level_votes_go_to_the_nearest():
    reference = np.array([[1.0], [2], [3], [4]], np.float32)
    labels = np.array([1, 0, 0, 1])
    votes = knn.vote(reference, labels, np.array([[0.0], [5.0]], np.float32), k=4)
    assert votes.label.tolist() == [1, 1]
    assert votes.share.tolist() == [0.5, 0.5]
    assert knn.vote(reference, np.array([2, 0, 1, 1]), np.array([[0.0]], np.float32), k=3).label.tolist() == [2]


def test_equal_distances_come_in_the_order_of_the_reference():
    reference = np.zeros((9, 3), np.float32)
    reference[4:] = 1
    neighbours, distance = knn.nearest(reference, np.zeros((1, 3), np.float32), k=3)
    assert neighbours.tolist() == [[0, 1, 2]]
    assert distance.tolist() == [[0, 0, 0]]


def test_large_values_do_not_round_distances_away():
    reference = np.full((20, 8), 3000.0, np.float32)
    reference[:, 0] += np.arange(20)
    neighbours, distance = knn.nearest(reference, reference[7:8], k=3)
    assert neighbours[0, 0] == 7
    assert distance[0].tolist() == [0, 1, 1]


def test_chunks_do_not_matter(monkeypatch):
    rng = np.random.default_rng(0)
    reference, query = rng.normal(size=(50, 5)), rng.normal(size=(33, 5))
    whole = knn.nearest(reference, query, k=4)
    monkeypatch.setattr(knn, "CHUNK", 7)
    for a, b in zip(whole, knn.nearest(reference, query, k=4), strict=True):
        np.testing.assert_array_equal(a, b)


def test_k_may_be_all_of_the_reference():
    reference = np.arange(4, dtype=np.float32)[:, None]
    neighbours, _ = knn.nearest(reference, np.array([[2.2]], np.float32), k=4)
    assert neighbours.tolist() == [[2, 3, 1, 0]]
