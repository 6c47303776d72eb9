"""Queries that lie away from the reference as a whole."""

from __future__ import annotations

import numpy as np

from scssl.tasks.annotate.shift import settle_shift
from scssl.tasks.annotate.unknown import FAR, LOW

REASONS = np.array([FAR] * 6 + [LOW] * 2 + [""] * 2, dtype=object)


def test_some_far_cells_stay_rejected(caplog):
    few = np.where(np.arange(10) < 5, REASONS, "").astype(object)
    found, note = settle_shift(few, np.full(10, 0.9), held_out=0.9, trained=False, file="q")
    assert found.tolist() == few.tolist()
    assert note == "by distance"
    assert not caplog.text


def test_a_shifted_query_of_sure_labels_is_kept(caplog):
    found, note = settle_shift(REASONS, np.full(10, 0.85), held_out=0.9, trained=False, file="q.h5ad")
    assert found.tolist() == [""] * 6 + [LOW] * 2 + [""] * 2
    assert note.startswith("not by distance")
    assert "q.h5ad: 60 % of the cells are farther from the reference than its own held-out cells" in caplog.text


def test_a_query_of_other_types_stays_rejected(caplog):
    found, note = settle_shift(REASONS, np.full(10, 0.5), held_out=0.9, trained=False, file="q")
    assert found.tolist() == REASONS.tolist()
    assert "does not seem" in note
    assert "does not seem to have the types" in caplog.text


def test_a_trained_encoder_may_be_less_sure():
    found, _ = settle_shift(REASONS, np.full(10, 0.7), held_out=0.9, trained=True, file="q")
    assert FAR not in found
    found, _ = settle_shift(REASONS, np.full(10, 0.7), held_out=0.9, trained=False, file="q")
    assert FAR in found


def test_no_cells():
    assert (
        settle_shift(np.empty(0, dtype=object), np.empty(0), held_out=0.9, trained=False, file="q")[1] == "by distance"
    )
