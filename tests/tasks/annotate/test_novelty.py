"""Distances from a reference: against loops, and what each of the scores is for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.tasks.annotate.novelty import SCORES, SHRINK, Space, Trial, even_sample


def reference(seed=0, *, n=120, width=5, n_types=3):
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % n_types
    centres = rng.normal(0, 6, (n_types, width))
    return (centres[codes] + rng.normal(size=(n, width)) @ rng.normal(size=(width, width))).astype(np.float32), codes


def slow_scores(x, codes, query, *, k):
    """Every score from the covariance itself, without new coordinates."""
    types = sorted(set(codes.tolist()))
    within = np.concatenate([x[codes == t] - x[codes == t].mean(axis=0) for t in types]).astype(np.float64)
    covariance = within.T @ within / len(x)
    inverse = np.linalg.inv(covariance + SHRINK * np.trace(covariance) / len(covariance) * np.eye(len(covariance)))

    def distance(a, b):
        return float(np.sqrt((a - b) @ inverse @ (a - b)))

    centres = [x[codes == t].astype(np.float64).mean(axis=0) for t in types]
    spread = [
        np.median([distance(cell, centre) for cell in x[codes == t]]) for t, centre in zip(types, centres, strict=True)
    ]
    typical = []
    for t in types:
        own = np.flatnonzero(codes == t)
        typical.append(np.median([np.mean(sorted(distance(x[i], c) for c in x)[1 : k + 1]) for i in own]))
    out = {name: [] for name in SCORES}
    for cell in query:
        to_centre = [distance(cell, centre) for centre in centres]
        out["type"].append(min(to_centre))
        out["scaled type"].append(min(d / s for d, s in zip(to_centre, spread, strict=True)))
        near = sorted((distance(cell, c), int(code)) for c, code in zip(x, codes, strict=True))[:k]
        out["cells"].append(np.mean([d for d, _ in near]))
        out["scaled cells"].append(out["cells"][-1] / np.mean([typical[types.index(code)] for _, code in near]))
    return {name: np.log(values) for name, values in out.items()}


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000))
def test_against_loops(seed):
    x, codes = reference(seed, n=45, width=3)
    query = np.random.default_rng(seed).normal(0, 5, (6, 3)).astype(np.float32)
    space = Space.fit(x, codes=codes, k=4, seed=0)
    for name, slow in slow_scores(x, codes, query, k=4).items():
        np.testing.assert_allclose(space.score(query, kind=name), slow, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", SCORES)
def test_turning_and_stretching_the_embedding_changes_nothing(kind):
    x, codes = reference()
    query = x[:10] + 1
    expected = Space.fit(x, codes=codes, k=5, seed=0).score(query, kind=kind)
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))
    found = Space.fit(x @ turn * 7, codes=codes, k=5, seed=0).score(query @ turn * 7, kind=kind)
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("kind", SCORES)
def test_odd_references(kind):
    for x, codes in (
        (np.ones((4, 3), dtype=np.float32), np.array([0, 0, 1, 1])),
        (np.eye(3, dtype=np.float32), np.array([0, 1, 2])),
        (np.zeros((1, 3), dtype=np.float32), np.array([5])),
    ):
        found = Space.fit(x, codes=codes, k=5, seed=0).score(np.stack([x[0], x[0] + 10]), kind=kind)
        assert np.isfinite(found).all()
        assert found[1] > found[0]


def test_even_samples_keep_rare_types():
    codes = np.repeat([3, 1, 7], [1000, 20, 300])
    rows = even_sample(codes, n=200, seed=0)
    assert len(rows) == 200
    assert (np.diff(rows) > 0).all()
    assert np.bincount(codes[rows])[[1, 3, 7]].tolist() == [20, 90, 90]
    np.testing.assert_array_equal(rows, even_sample(codes, n=200, seed=0))
    np.testing.assert_array_equal(even_sample(codes, n=5000, seed=0), np.arange(1320))


def test_a_trial_never_looks_at_the_cells_own_fold_nor_at_the_type_taken_out():
    x, codes = reference(n=90)
    fold = np.arange(90) // 45
    trial = Trial(embedding=x, codes=codes, fold=fold, bank=np.arange(90), k=3, seed=0)
    rows = np.array([3, 50, 7])
    for without in (None, 1):
        found = trial.scores(rows, without=without)
        for place, row in enumerate(rows):
            rest = (fold != fold[row]) & (codes != (-1 if without is None else without))
            space = Space.fit(x[rest], codes=codes[rest], k=3, seed=0)
            for name in SCORES:
                assert found[name][place] == pytest.approx(space.score(x[[row]], kind=name)[0], abs=1e-4)
    nothing = Trial(embedding=x, codes=codes, fold=np.zeros(90, dtype=int), bank=np.arange(90), k=3, seed=0)
    assert np.isinf(nothing.scores(rows)["type"]).all()


def test_cells_may_be_judged_where_another_encoder_puts_them():
    x, codes = reference(n=90)
    fold, judged = np.arange(90) // 45, x + np.random.default_rng(5).normal(size=x.shape)
    trial = Trial(embedding=x, codes=codes, fold=fold, bank=np.arange(90), k=3, seed=0, judged=judged)
    rows = np.array([3, 50])
    found = trial.scores(rows)
    for place, row in enumerate(rows):
        space = Space.fit(x[fold != fold[row]], codes=codes[fold != fold[row]], k=3, seed=0)
        for name in SCORES:
            assert found[name][place] == pytest.approx(space.score(judged[[row]], kind=name)[0], abs=1e-4)
