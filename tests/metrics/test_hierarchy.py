"""Hierarchical scores against a loop over cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scssl.errors import DataError
from scssl.metrics import classification_scores, hierarchical_scores
from scssl.metrics.hierarchy import is_kind_of, lift

CLASSES = ["B", "CD4 T", "CD8 T", "T", "lymphocyte"]
ABOVE = {
    "B": ["B", "lymphocyte"],
    "CD4 T": ["CD4 T", "T", "lymphocyte"],
    "CD8 T": ["CD8 T", "T", "lymphocyte"],
    "T": ["T", "lymphocyte"],
    "lymphocyte": ["lymphocyte"],
}
DESCENDS = np.array([[b in ABOVE[a] for b in CLASSES] for a in CLASSES])

names = st.sampled_from([*CLASSES, "unrelated", "unknown"])


def slow(truth, predicted):
    """Relation of each cell's prediction to its truth, and the prediction that counts."""
    counts, lifted = dict.fromkeys(("same", "finer", "coarser", "other"), 0), []
    for t, p in zip(truth, predicted, strict=True):
        if p == t:
            relation = "same"
        elif t in ABOVE.get(p, []):
            relation = "finer"
        elif p in ABOVE.get(t, []):
            relation = "coarser"
        else:
            relation = "other"
        lifted.append(t if relation == "finer" else p)
        if t != "unknown":
            counts[relation] += 1
    return counts, lifted


@given(st.lists(st.tuples(names, names), min_size=1, max_size=40), st.sets(names))
def test_against_a_loop(cells, reference):
    truth, predicted = (list(column) for column in zip(*cells, strict=True))
    truth.append("B")
    predicted.append("unrelated")
    counts, lifted = slow(truth, predicted)
    scores = hierarchical_scores(
        truth, predicted, classes=CLASSES, descends=DESCENDS, reference_classes=reference, unlabelled=["unknown"]
    )
    expected = classification_scores(truth, lifted, unlabelled=["unknown"])
    assert scores.relations == counts
    for name in ("accuracy", "macro_f1", "balanced_accuracy", "n_cells", "unused_cells"):
        assert getattr(scores.hierarchical, name) == pytest.approx(getattr(expected, name))
    raw = classification_scores(truth, predicted, reference_classes=reference, unlabelled=["unknown"])
    assert scores.raw.summary() == raw.summary()
    assert scores.hierarchical.accuracy >= scores.raw.accuracy
    missing = {t for t in set(truth) - {"unknown"} if not any(t == r or t in ABOVE.get(r, []) for r in reference)}
    assert set(scores.hierarchical.missing_classes) == missing


@given(st.lists(st.tuples(st.integers(-1, 6), st.integers(-1, 6)), max_size=40))
def test_codes_are_lifted_as_names_are(cells):
    truth, predicted = (np.array([cell[i] for cell in cells], dtype=np.int64) for i in (0, 1))
    known = range(len(CLASSES))
    right = [p in known and t in known and CLASSES[t] in ABOVE[CLASSES[p]] for t, p in cells]
    assert is_kind_of(predicted, truth, descends=DESCENDS).tolist() == right
    lifted = lift(np.stack([predicted, truth]), truth, descends=DESCENDS)
    assert lifted[0].tolist() == [t if finer else p for (t, p), finer in zip(cells, right, strict=True)]
    assert lifted[1].tolist() == truth.tolist()


def test_without_relations_both_scores_are_the_same():
    truth, predicted = ["B", "T", None, "T"], ["B", "B", "T", "T"]
    scores = hierarchical_scores(truth, predicted, classes=["B", "T"], descends=np.eye(2, dtype=bool))
    assert scores.raw.summary() == scores.hierarchical.summary()
    assert scores.relations == {"same": 2, "finer": 0, "coarser": 0, "other": 1}
    assert scores.summary()["relations"] == scores.relations


def test_two_names_of_one_type_are_both_right():
    both = np.ones((2, 2), dtype=bool)
    scores = hierarchical_scores(["a", "b"], ["b", "a"], classes=["a", "b"], descends=both)
    assert (scores.raw.accuracy, scores.hierarchical.accuracy) == (0, 1)


def test_a_class_that_only_finer_names_reach_is_not_missing():
    scores = hierarchical_scores(
        ["T", "B"], ["CD4 T", "CD4 T"], classes=CLASSES, descends=DESCENDS, reference_classes=["CD4 T"]
    )
    assert scores.raw.missing_classes == ("B", "T")
    assert scores.hierarchical.missing_classes == ("B",)


@pytest.mark.parametrize(("classes", "n"), [(["a"], 2), (["a", "a"], 2)])
def test_a_matrix_of_other_classes_is_refused(classes, n):
    with pytest.raises(DataError, match="needs a row and a column for each"):
        hierarchical_scores(["a"], ["a"], classes=classes, descends=np.eye(n, dtype=bool))
