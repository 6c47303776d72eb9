"""Classification scores against hand-written loops and scikit-learn."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from scssl.errors import DataError
from scssl.metrics import classification_scores, confusion_table


def slow_scores(truth, predicted):
    """F1 and recall per class of the truth, counted cell by cell."""
    rows = {}
    for name in sorted(set(truth)):
        tp = fp = fn = 0
        for t, p in zip(truth, predicted, strict=True):
            if t == name and p == name:
                tp += 1
            elif p == name:
                fp += 1
            elif t == name:
                fn += 1
        precision = tp / (tp + fp) if tp + fp else 0.0
        recall = tp / (tp + fn)
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        rows[name] = (tp + fn, precision, recall, f1)
    return rows


names = st.sampled_from(["B", "CD4 T", "CD8 T", "NK", "never seen"])
pairs = st.lists(st.tuples(names, names), min_size=1, max_size=60)


@given(pairs)
def test_against_loops_and_sklearn(cells):
    truth, predicted = (list(column) for column in zip(*cells, strict=True))
    scores = classification_scores(truth, predicted)
    slow = slow_scores(truth, predicted)
    assert list(scores.per_class.index) == sorted(slow)
    for name, (support, precision, recall, f1) in slow.items():
        row = scores.per_class.loc[name]
        assert row["support"] == support
        assert row["precision"] == pytest.approx(precision)
        assert row["recall"] == pytest.approx(recall)
        assert row["f1"] == pytest.approx(f1)
    present = sorted(set(truth))
    for average in ("macro", "weighted"):
        expected = sk.f1_score(truth, predicted, labels=present, average=average, zero_division=0)
        assert getattr(scores, f"{average}_f1") == pytest.approx(expected)
    assert scores.micro_f1 == pytest.approx(sk.f1_score(truth, predicted, average="micro"))
    assert scores.accuracy == pytest.approx(np.mean([t == p for t, p in cells]))
    assert scores.balanced_accuracy == pytest.approx(np.mean([row[2] for row in slow.values()]))


@given(pairs)
def test_confusion_against_loops(cells):
    truth, predicted = (list(column) for column in zip(*cells, strict=True))
    table = confusion_table(truth, predicted)
    assert list(table.index) == sorted(set(truth))
    assert set(table.columns) == set(truth) | set(predicted)
    assert list(table.columns[: len(table)]) == list(table.index)
    for t in table.index:
        for p in table.columns:
            assert table.loc[t, p] == sum(pair == (t, p) for pair in cells)


def test_labels_that_are_nobodys_truth_are_not_averaged_over():
    scores = classification_scores(["B", "B", "T", "T"], ["B", "B", "T", "platelet"])
    assert list(scores.per_class.index) == ["B", "T"]
    assert scores.macro_f1 == pytest.approx((1 + 2 / 3) / 2)
    assert list(scores.confusion.columns) == ["B", "T", "platelet"]
    assert scores.missing_classes == ()


def test_classes_absent_from_the_reference_count_as_wrong_and_are_named():
    scores = classification_scores(["B", "B", "ILC"], ["B", "B", "B"], reference_classes=["B", "T"])
    assert scores.missing_classes == ("ILC",)
    assert not scores.per_class.loc["ILC", "in_reference"]
    assert scores.accuracy == pytest.approx(2 / 3)
    assert scores.per_class.loc["ILC", "f1"] == 0
    # A class that could have been predicted and was not is a different thing.
    assert classification_scores(["B", "T"], ["B", "B"], reference_classes=["B", "T"]).missing_classes == ()


def test_cells_without_truth_are_left_out_and_counted():
    truth = pd.Series(pd.Categorical(["B", "unknown", None, "T"]))
    scores = classification_scores(truth, ["B", "B", "T", "T"], unlabelled=("unknown",))
    assert (scores.n_cells, scores.unused_cells, scores.accuracy) == (2, 2, 1.0)


def test_summary_is_json():
    summary = json.loads(json.dumps(classification_scores(["a", "b"], ["a", "a"]).summary()))
    assert summary["n_classes"] == 2
    assert summary["missing_classes"] == ["b"]


def test_mistakes():
    with pytest.raises(DataError, match="2 true labels but 1 predicted"):
        classification_scores(["a", "b"], ["a"])
    with pytest.raises(DataError, match="none of the 2 cells"):
        classification_scores(["unknown", None], ["a", "a"], unlabelled=["unknown"])
