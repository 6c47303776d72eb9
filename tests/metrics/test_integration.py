"""Scores of an integration, against scikit-learn and slow counts, and at the limits that everyone knows."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from scssl.errors import DataError
from scssl.metrics.integration import MIXING, TYPES, WITHOUT_LABELS, integration_scores, neighbours

pytest.importorskip("scib_metrics")
N = 120


@pytest.fixture(scope="module")
def cells():
    """Three types in two batches that lie apart: embedding, batch, label."""
    rng = np.random.default_rng(0)
    label, batch = rng.integers(0, 3, N), np.arange(N) % 2
    x = 6.0 * np.eye(3, 5)[label] + rng.normal(size=(N, 5))
    x[:, 4] += 5.0 * batch
    return x.astype(np.float32), np.array(["a", "b"])[batch], np.array(["t1", "t2", "t3"])[label]


@pytest.fixture(scope="module")
def scores(cells):
    x, batch, label = cells
    return integration_scores(x, batch=batch, labels=label, before=x)


def test_neighbours_are_exact_and_the_cell_comes_first(cells):
    x, _, _ = cells
    twins = np.concatenate([x, x[:5]])
    found = neighbours(twins, k=7)
    gaps = np.sqrt(((twins[:, None].astype(float) - twins[None]) ** 2).sum(axis=2))
    assert found.indices[:, 0].tolist() == list(range(len(twins)))
    np.testing.assert_allclose(found.distances, np.sort(gaps, axis=1)[:, :7], atol=1e-3)
    np.testing.assert_allclose(np.take_along_axis(gaps, found.indices, axis=1), found.distances, atol=1e-3)
    assert neighbours(x[:30], k=90).indices.shape == (30, 30)


def test_all_scores_are_there_between_0_and_1(scores):
    assert tuple(scores.types) == TYPES
    assert tuple(scores.mixing) == MIXING
    assert all(0 <= value <= 1 for value in [*scores.types.values(), *scores.mixing.values()])
    assert scores.type_score == pytest.approx(np.mean([*scores.types.values()]))
    assert scores.mixing_score == pytest.approx(np.mean([*scores.mixing.values()]))


def test_against_scikit_learn(cells, scores):
    from sklearn.metrics import silhouette_samples, silhouette_score

    x, batch, label = cells
    assert scores.types["silhouette_label"] == pytest.approx((silhouette_score(x, label) + 1) / 2, abs=1e-4)
    apart = [1 - np.abs(silhouette_samples(x[label == t], batch[label == t])).mean() for t in np.unique(label)]
    assert scores.mixing["silhouette_batch"] == pytest.approx(np.mean(apart), abs=1e-4)


def test_the_batch_taken_out_is_seen_in_all_scores_of_mixing(cells, scores):
    x, batch, label = cells
    moved = x.copy()
    moved[:, 4] -= 5.0 * (batch == "b")
    better = integration_scores(moved, batch=batch, labels=label, before=x)
    for name in ("ilisi", "kbet", "pcr", "silhouette_batch", "bras"):
        assert better.mixing[name] > scores.mixing[name] + 0.1, name
    assert scores.mixing["pcr"] == pytest.approx(0, abs=1e-6)


def test_shuffled_cells_are_mixed_and_lost(cells, scores):
    x, batch, label = cells
    lost = integration_scores(x[np.random.default_rng(1).permutation(N)], batch=batch, labels=label, before=x)
    assert lost.mixing["ilisi"] > 0.5
    assert lost.types["nmi"] < 0.2 < scores.types["nmi"]
    assert lost.type_score < scores.type_score


def test_a_score_does_not_depend_on_who_else_is_scored(cells, scores):
    x, batch, label = cells
    again = integration_scores(x, batch=batch, labels=label, before=x)
    assert again == scores


def test_without_labels_only_mixing_is_scored(cells, scores):
    x, batch, _ = cells
    for labels in (None, [None] * N):
        found = integration_scores(x, batch=batch, labels=labels, before=x)
        assert (found.types, found.type_score, tuple(found.mixing)) == ({}, None, WITHOUT_LABELS)
        assert found.mixing["ilisi"] == pytest.approx(scores.mixing["ilisi"])


def test_cells_without_label_count_where_labels_do_not_matter(cells):
    x, batch, label = cells
    some = label.astype(object)
    some[:30] = None
    found = integration_scores(x, batch=batch, labels=some, before=x)
    known = integration_scores(x[30:], batch=batch[30:], labels=label[30:], before=x[30:])
    assert found.types == pytest.approx(known.types)
    assert found.mixing["ilisi"] == pytest.approx(integration_scores(x, batch=batch, before=x).mixing["ilisi"])


def test_the_root_logger_stays_as_it_was(cells):
    x, batch, label = cells
    root = logging.getLogger()
    before = root.handlers[:]
    integration_scores(x, batch=batch, labels=label, before=x)
    assert root.handlers == before


def test_torch_keeps_its_threads(cells):
    torch = pytest.importorskip("torch")
    x, batch, label = cells
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        integration_scores(x, batch=batch, labels=label, before=x)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_refusals(cells):
    x, batch, _ = cells
    with pytest.raises(DataError, match="must be of the same cells"):
        integration_scores(x[:-1], batch=batch, before=x)
    with pytest.raises(DataError, match=r"20 cells of 1 batch\(es\); at least 20 cells of two"):
        integration_scores(x[:20], batch=["a"] * 20, before=x[:20])
    with pytest.raises(DataError, match="not finite"):
        integration_scores(x * np.nan, batch=batch, before=x)
    with pytest.raises(DataError, match=r"120 labelled cells with 1 label\(s\); .* Leave the labels out"):
        integration_scores(x, batch=batch, labels=["t"] * N, before=x)
    with pytest.raises(DataError, match="one of them in two batches"):
        integration_scores(x, batch=batch, labels=batch, before=x)
    with pytest.raises(DataError, match="several cells in one"):
        integration_scores(x, batch=np.arange(N).astype(str), labels=batch, before=x)
