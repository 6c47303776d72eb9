"""Baselines by hand, the verdict, and that known hacks gain nothing in the headline score."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scssl.tasks.simulate.baselines import (
    New,
    Seen,
    additive,
    case_mean,
    latent_shift,
    mean_shift,
    ridge,
    type_mean_shift,
)
from scssl.tasks.simulate.judge import _interval, decide
from scssl.tasks.simulate.scoring import Judged, explained, gather, score_groups
from scssl.tasks.simulate.space import Space, log_values


@pytest.fixture(scope="module")
def seen():
    rng = np.random.default_rng(0)
    types, donors = np.array(list("aabbc"), dtype=object), np.array(list("12121"), dtype=object)
    before, after = rng.normal(size=(5, 4)), rng.normal(size=(5, 4))
    return Seen(types, donors, before, after, rng.normal(size=(2, 4)))


def test_shifts_by_hand(seen):
    new = New(["a", "z"], ["1", "9"], np.ones((2, 4)))
    change = seen.change
    by_type = np.stack([change[:2].mean(axis=0), change[2:4].mean(axis=0), change[4]])
    np.testing.assert_allclose(type_mean_shift(seen, new), [by_type[0], by_type.mean(axis=0)])
    np.testing.assert_allclose(mean_shift(seen, new), np.repeat([seen.pooled[1] - seen.pooled[0]], 2, axis=0))
    means = np.stack([seen.after[:2].mean(axis=0), seen.after[2:4].mean(axis=0), seen.after[4]])
    np.testing.assert_allclose(case_mean(seen, new), [means[0] - 1, means.mean(axis=0) - 1])


def test_additive_finds_effects_of_types_and_donors():
    rng = np.random.default_rng(1)
    kind, donor = {"a": 0.0, "b": 1.0}, {"1": 0.5, "2": -0.5}
    keys = [(t, d) for t in kind for d in donor]
    change = np.array([[2 + kind[t] + donor[d]] * 3 for t, d in keys])
    before = rng.normal(size=change.shape)
    known = [0, 1, 2]
    seen = Seen(*(np.array([keys[i][j] for i in known], dtype=object) for j in (0, 1)), before[known],
                (before + change)[known], np.zeros((2, 3)))  # fmt: skip
    np.testing.assert_allclose(additive(seen, New(["b"], ["2"], before[3:])), change[3:], atol=1e-4)
    # Nothing is known of a new donor: the mean over donors.
    np.testing.assert_allclose(additive(seen, New(["a"], ["9"], before[:1])), [[2.0] * 3], atol=1e-4)


def test_ridge_against_refitting_without_each_group():
    rng = np.random.default_rng(2)
    before = rng.normal(size=(6, 9))
    after = before + before[:, :3] @ rng.normal(size=(3, 9)) + 0.1 * rng.normal(size=(6, 9))
    seen = Seen(
        np.array(list("abcdef"), dtype=object), np.array([""] * 6, dtype=object), before, after, np.zeros((2, 9))
    )
    X, Y = before[:, :-1] - before[:, :-1].mean(axis=0), seen.change
    unit = np.trace(X @ X.T) / 6

    def fitted(penalty, rows, at):
        # The intercept is not penalised; products are centred on all groups.
        A = np.concatenate([np.ones((6, 1)), X / np.sqrt(unit)], axis=1)
        P = np.diag([0.0] + [penalty] * X.shape[1])
        return A[at] @ np.linalg.solve(A[rows].T @ A[rows] + P, A[rows].T @ Y[rows])

    everyone = np.arange(6)
    errors = [
        sum(((Y[i] - fitted(penalty, np.delete(everyone, i), i)) ** 2).sum() for i in everyone)
        for penalty in (0.01, 0.1, 1.0, 10.0, 100.0)
    ]
    best = (0.01, 0.1, 1.0, 10.0, 100.0)[int(np.argmin(errors))]
    np.testing.assert_allclose(ridge(seen, New(["x"], [""], before[2:3]))[0], fitted(best, everyone, 2), rtol=1e-6)


def test_latent_shift_reads_the_nearest_cells():
    known = np.array([[0.0], [0.1], [5.0], [5.1]])
    counts = sp.csr_matrix(np.array([[10, 0], [10, 0], [5, 5], [5, 5]]))
    found = latent_shift(np.array([[0.0]]), shift=np.array([5.0]), known=np.repeat(known, 10, axis=0),
                         counts=sp.vstack([counts[[i // 10]] for i in range(40)], format="csr"))  # fmt: skip
    np.testing.assert_allclose(found, [np.log1p(5000) - np.log1p(1e4), np.log1p(5000), 0.0])


def table(model, baseline, n=6, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for fold in range(n):
        noise = rng.normal(scale=0.02, size=3)
        for name, value in (("no change", 1.0), ("cell-type mean shift", baseline), ("model", model)):
            rows.append({"fold": f"f{fold}", "method": name, "distance": value + noise[len(rows) % 3]})
    return pd.DataFrame(rows)


def test_verdict():
    better = decide(table(0.1, 0.4), by="cell types", confidence=0.9)
    assert better.beats
    assert better.method == "model"
    assert better.gain == pytest.approx(0.3, abs=0.05)
    assert better.low < better.gain < better.high
    assert better.text.startswith("the model is better than the cell-type mean shift")
    for model in (0.4, 0.5):
        verdict = decide(table(model, 0.4), by="cell types", confidence=0.9)
        assert not verdict.beats
        assert verdict.method == verdict.best == "cell-type mean shift"
        assert "better than the cell-type mean shift here, on 6 cell types left out" in verdict.text
        assert verdict.text.startswith("the model is not")
    assert "no change at all" in decide(table(1.3, 1.2), by="donors", confidence=0.9).text
    assert explained(np.array([0.5, 0.5]), np.array([1.0, 3.0])) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0.02, 0.004, 0.036), "gain +0.020, 90 % interval +0.004 to +0.036"),
        ((0.3, 0.25, 0.35), "gain +0.30, 90 % interval +0.25 to +0.35"),
        ((0.02, 0.0003, 0.04), "gain +0.0200, 90 % interval +0.0003 to +0.0400"),
    ],
)
def test_no_end_of_an_interval_is_rounded_to_zero_and_its_level_is_named(values, words):
    gain, low, high = values
    assert _interval(gain, low, high, confidence=0.9) == words
    assert "90 % interval" in decide(table(0.1, 0.4), by="cell types", confidence=0.9).text


@pytest.fixture(scope="module")
def judged():
    """Truth, and a baseline that is right about most of the change and wrong about some."""
    rng = np.random.default_rng(3)
    base = rng.dirichlet(np.full(60, 0.7))
    shares = {name: base.copy() for name in ("control", "truth", "guess")}
    shares["truth"][:12] *= 3
    shares["guess"][3:15] *= 2.5

    def draw(share):
        rate = rng.gamma(5, 0.2, (250, 60)) * share / share.sum() * 600
        return sp.csr_matrix(rng.poisson(rate))

    counts = {name: draw(share) for name, share in shares.items()}
    space = Space.fit(sp.vstack([*counts.values()], format="csr"), n_components=15)
    return Judged(key=("t", ""), truth=counts["truth"], control=counts["control"], space=space), counts["guess"]


HACKS = {
    "variance inflated": lambda v, c: np.maximum(v.mean(axis=0) + np.sqrt(2) * (v - v.mean(axis=0)), 0),
    "rescaled": lambda v, c: 1.5 * v,
    "change rescaled": lambda v, c: np.maximum(v + v.mean(axis=0) - c.mean(axis=0), 0),
    "log1p twice": lambda v, c: np.log1p(v),
    "mean for every cell": lambda v, c: np.repeat(v.mean(axis=0)[None], len(v), axis=0),
    "control mean for every cell": lambda v, c: np.repeat(c.mean(axis=0)[None], len(v), axis=0),
}


@pytest.mark.parametrize("hack", HACKS)
def test_hacks_gain_nothing_in_the_headline(judged, hack):
    one, counts = judged
    values = log_values(counts, target_sum=one.space.target_sum)
    control = log_values(one.control, target_sum=one.space.target_sum).toarray()
    honest = one.score_values(values, seed=0)
    tricked = one.score_values(sp.csr_matrix(HACKS[hack](values.toarray(), control)), seed=0)
    assert tricked["distance"] > honest["distance"]


def test_totals_do_not_count_and_the_ceiling_is_near_one(judged):
    one, counts = judged
    doubled = sp.csr_matrix(2 * counts)
    assert one.score(doubled, seed=0)["distance"] == pytest.approx(one.score(counts, seed=0)["distance"])
    rows = score_groups([one], {"no change": [one.control], "model": [counts], "mean shift": [one.truth]}, seed=0)
    scores = gather(rows, skipped=["x"])
    assert scores.methods.loc["no change", "explained"] == 0
    assert 0 < scores.methods.loc["model", "explained"] < 0.95
    assert scores.methods.loc["half of the truth", "explained"] == pytest.approx(1, abs=0.05)
    assert scores.methods.loc["mean shift", "mae"] == 0
    assert scores.best_baseline == "mean shift"
    assert scores.summary()["skipped"] == ["x"]
    assert np.isnan(scores.methods.loc["no change", "pearson_delta"])
