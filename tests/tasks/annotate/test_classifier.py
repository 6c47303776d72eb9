"""Scores of the modes that work on a frozen embedding, folds of donors, and what is held out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scssl.errors import DataError
from scssl.tasks.annotate.classifier import hold_out
from scssl.tasks.annotate.folds import make_folds, read_donors
from scssl.tasks.annotate.knn import vote
from scssl.tasks.annotate.probe import learn_probe
from scssl.tasks.annotate.zero_shot import NearestCells


def blobs(n_classes, *, n=40, width=6, spread=1.0, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n_classes, width)) * 3
    codes = np.repeat(np.arange(n_classes), n)
    values = centres[codes] + rng.normal(size=(len(codes), width)) * spread
    order = rng.permutation(len(codes))
    return values[order].astype(np.float32), codes[order]


@given(st.integers(0, 1000), st.integers(1, 7))
def test_the_highest_score_is_the_label_that_wins_the_vote(seed, k):
    rng = np.random.default_rng(seed)
    reference, query = rng.normal(size=(70, 2)).astype(np.float32), rng.normal(size=(30, 2)).astype(np.float32)
    codes = rng.integers(0, 4, 70)
    scores = NearestCells(embedding=reference, codes=codes, n_classes=5, k=k).log_scores(query)
    assert scores.shape == (30, 5)
    assert scores.dtype == np.float32
    assert (scores.argmax(1) == vote(reference, codes, query, k=k).label).all()


def test_votes_are_smoothed_as_stated():
    reference = np.array([[0.0], [1], [2], [10], [11]], np.float32)
    classifier = NearestCells(embedding=reference, codes=np.array([0, 1, 1, 2, 2]), n_classes=4, k=3)
    share = np.exp(classifier.log_scores(np.array([[0.4]], np.float32))[0])
    # 1, 2, 0 and 0 of three votes; 1, 2, 2 and 0 of five wide ones; label 1 wins.
    expected = np.array([1 + 0.1, 2 + 0.2 + 0.5, 0.2, 0]) + 0.1 / 4
    np.testing.assert_allclose(share, expected / 4.1, rtol=1e-5)
    assert share.sum() == pytest.approx(1)


@pytest.mark.parametrize("n_classes", [2, 3, 6])
@pytest.mark.parametrize("class_weight", ["balanced", "none"])
def test_a_probe_is_the_minimum_of_its_loss(n_classes, class_weight):
    values, codes = blobs(n_classes, spread=4.0)
    keep = (codes > 0) | (np.arange(len(codes)) % 4 == 0)
    values, codes = values[keep], codes[keep]
    head = learn_probe(values, codes, n_classes=n_classes, class_weight=class_weight, penalty=2.0)

    standard = (values - values.mean(0)) / values.std(0)
    counts = np.bincount(codes)
    each = (len(codes) / n_classes / counts)[codes] if class_weight == "balanced" else np.ones(len(codes))
    # Back to the coefficients on the standardised embedding.
    weight = head.weight * values.std(0)
    bias = head.bias + head.weight @ values.mean(0)

    def loss(weight, bias):
        total = 0.0
        for x, code, w in zip(standard, codes, each, strict=True):
            scores = weight @ x + bias
            total -= w * (scores[code] - np.log(np.exp(scores).sum()))
        # For two labels scikit-learn has one row of coefficients, the difference of the two.
        free = weight[1:] - weight[:1] if n_classes == 2 else weight
        return total + 2.0 * (free**2).sum() / 2

    best = loss(weight, bias)
    rng = np.random.default_rng(1)
    for _ in range(20):
        moved = loss(weight + rng.normal(size=weight.shape) * 0.03, bias + rng.normal(size=bias.shape) * 0.03)
        assert moved > best - 1e-3
    assert (head.log_scores(values).argmax(1) == codes).mean() > 0.5


def test_labels_without_cells_are_never_chosen():
    values, codes = blobs(3)
    head = learn_probe(values, codes + (codes == 2), n_classes=5)
    scores = head.log_scores(values * 10)
    assert set(scores.argmax(1)) <= {0, 1, 3}
    assert np.isfinite(scores).all()
    alone = learn_probe(values, np.full(len(codes), 1), n_classes=3)
    assert (alone.log_scores(values).argmax(1) == 1).all()


def test_balanced_weights_favour_rare_labels():
    values, codes = blobs(2, n=200, width=2, spread=5.0)
    keep = (codes == 0) | (np.arange(len(codes)) % 10 == 0)
    values, codes = values[keep], codes[keep]
    found = {
        w: learn_probe(values, codes, n_classes=2, class_weight=w).log_scores(values) for w in ("balanced", "none")
    }
    assert (found["balanced"].argmax(1) == 1).sum() > (found["none"].argmax(1) == 1).sum()


def test_hundreds_of_labels():
    values, codes = blobs(600, n=2, width=16, spread=0.3)
    head = learn_probe(values, codes, n_classes=600)
    assert (head.log_scores(values).argmax(1) == codes).mean() > 0.9
    near = NearestCells(embedding=values, codes=codes, n_classes=600, k=1).log_scores(values)
    assert (near.argmax(1) == codes).all()


@given(st.lists(st.integers(-1, 8), min_size=1, max_size=60))
def test_folds_keep_donors_together(donors):
    donors = np.array(donors)
    n_donors = len(set(donors[donors >= 0].tolist()))
    if n_donors < 2:
        return
    fold = make_folds(np.zeros(len(donors), dtype=np.int64), donors, seed=0)
    assert (fold[donors < 0] == -1).all()
    for donor in set(donors[donors >= 0].tolist()):
        assert len(set(fold[donors == donor].tolist())) == 1
    assert set(fold[donors >= 0].tolist()) == set(range(min(5, n_donors)))


def test_folds_over_cells_have_their_share_of_each_label():
    codes = np.repeat([0, 1, 2], [50, 23, 5])
    fold = make_folds(codes, None, seed=3)
    table = np.array([np.bincount(fold[codes == code], minlength=5) for code in range(3)])
    assert table.max(axis=1).tolist() == [10, 5, 1]
    assert table.min(axis=1).tolist() == [10, 4, 1]
    assert (fold != make_folds(codes, None, seed=4)).any()


def test_no_cell_is_scored_by_what_learned_from_its_donor():
    rng = np.random.default_rng(0)
    donors = rng.integers(-1, 7, 200)
    codes = rng.integers(0, 3, 200)
    codes[donors == 6] = 3  # a label that one donor alone has
    place = np.arange(200, dtype=np.float32)[:, None]

    def learn(embedding, codes):
        seen = embedding[:, 0].astype(int)

        class Seen:
            def log_scores(self, query):
                theirs = np.isin(donors[query[:, 0].astype(int)], donors[seen])
                return np.repeat(theirs[:, None], 4, axis=1).astype(np.float32)

        return Seen()

    found = hold_out(learn, place, codes, donors=donors, seed=0)
    assert (found.log_scores == 0).all()
    assert found.rows.tolist() == np.flatnonzero((donors >= 0) & (donors != 6)).tolist()
    assert (found.codes == codes[found.rows]).all()
    assert (found.donors == donors[found.rows]).all()
    assert (found.embedding[:, 0] == found.rows).all()
    few = hold_out(learn, place, codes, donors=donors, seed=0, max_cells=50)
    assert 0 < len(few.rows) <= 50
    assert set(few.rows) <= set(found.rows)


def test_held_out_cells_are_their_own_donors():
    values, codes = blobs(3)
    found = hold_out(lambda e, c: learn_probe(e, c, n_classes=3), values, codes, donors=None, seed=0)
    assert len(set(found.donors.tolist())) == len(codes) == len(found.rows)
    assert (found.log_scores.argmax(1) == codes).mean() > 0.9
    once = hold_out(lambda e, c: learn_probe(e, c, n_classes=3), values[:3], np.arange(3), donors=None, seed=0)
    assert once is None


def test_donors_are_read_from_the_column(caplog):
    obs = pd.DataFrame({"donor": ["a", "b", None, "unknown", "a"], "who": list("xxxxx")})
    kept = np.array([True, True, True, True, False])

    def read(column, rows=kept):
        return read_donors(obs, column, kept=rows, file="f.h5ad", unlabelled=("unknown",))

    assert read(None).tolist() == read("donor").tolist() == [0, 1, -1, -1]
    assert "2 labelled cells have no donor in obs['donor']" in caplog.text
    assert read("cell") is None
    caplog.clear()
    assert read("who") is None
    assert "obs['who'] has 1 donor with labels" in caplog.text
    with pytest.raises(DataError, match=r"f\.h5ad: obs has no column 'person' .*donor, who"):
        read("person")
    assert read_donors(obs[["who"]], None, kept=kept, file="f", unlabelled=()) is None
    assert "obs has no column 'donor'" in caplog.text
