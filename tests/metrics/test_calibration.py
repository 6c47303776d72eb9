"""Calibration scores against loops over cells and scikit-learn."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from scssl.errors import DataError, SettingsError
from scssl.metrics import (
    brier_score,
    calibration_scores,
    expected_calibration_error,
    negative_log_likelihood,
    reliability_curve,
)


def draw(seed, *, n=200, n_classes=4):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(n_classes), n)
    return rng.integers(0, n_classes, n), p


def slow_error(correct, confidence, *, n_bins, bins, weights):
    """Sort cells into bins one by one."""
    members = {}
    for i, sure in enumerate(confidence):
        if bins == "equal_width":
            place = min(int(sure * n_bins), n_bins - 1)
        else:
            place = sum(other < sure for other in confidence) * n_bins // len(confidence)
        members.setdefault(place, []).append(i)
    total, out = sum(weights), 0.0
    for cells in members.values():
        mass = sum(weights[i] for i in cells)
        if mass == 0:
            continue
        right = sum(weights[i] * correct[i] for i in cells) / mass
        sure = sum(weights[i] * confidence[i] for i in cells) / mass
        out += mass / total * abs(right - sure)
    return out


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 20), st.integers(0, 3)), min_size=1, max_size=60),
    st.integers(1, 12),
    st.sampled_from(["equal_mass", "equal_width"]),
)
def test_calibration_error_against_a_loop(cells, n_bins, bins):
    correct, confidence, weights = (np.array(column) for column in zip(*cells, strict=True))
    confidence = confidence / 20
    weights = weights + (weights.sum() == 0)
    ours = expected_calibration_error(correct, confidence=confidence, n_bins=n_bins, bins=bins, weights=weights)
    slow = slow_error(correct.tolist(), confidence.tolist(), n_bins=n_bins, bins=bins, weights=weights.tolist())
    assert ours == pytest.approx(slow)
    curve = reliability_curve(correct, confidence=confidence, n_bins=n_bins, bins=bins, weights=weights)
    assert curve["n_cells"].sum() == len(cells)
    assert curve["weight"].sum() == pytest.approx(1)
    assert len(curve) <= n_bins


def test_equal_mass_bins_hold_equally_many_cells_and_never_split_ties():
    confidence = np.linspace(0.1, 0.9, 60)
    curve = reliability_curve(np.ones(60, dtype=bool), confidence=confidence, n_bins=6)
    assert curve["n_cells"].tolist() == [10] * 6
    np.testing.assert_allclose(curve["low"], confidence[::10])
    np.testing.assert_allclose(curve["high"], confidence[9::10])
    tied = reliability_curve(np.ones(60, dtype=bool), confidence=np.repeat([0.2, 0.8], 30), n_bins=6)
    assert tied["n_cells"].tolist() == [30, 30]


def test_likelihood_and_brier_against_scikit_learn():
    truth, p = draw(0)
    rng = np.random.default_rng(1)
    weights = rng.random(len(truth))
    expected = sk.log_loss(truth, p, labels=range(4), sample_weight=weights)
    assert negative_log_likelihood(truth, p, weights=weights) == pytest.approx(expected)
    onehot = np.eye(4)[truth]
    assert brier_score(truth, p) == pytest.approx(((p - onehot) ** 2).sum(axis=1).mean())
    binary = np.stack([1 - p[:, 0], p[:, 0]], axis=1)
    assert brier_score(truth == 0, binary) == pytest.approx(2 * sk.brier_score_loss(truth == 0, p[:, 0]))


def test_honest_probabilities_score_well_and_boasting_ones_badly():
    rng = np.random.default_rng(2)
    p = rng.dirichlet(np.ones(5), 20_000)
    truth = (p.cumsum(axis=1) < rng.random((len(p), 1))).sum(axis=1)
    honest = calibration_scores(truth, p)
    sharp = p**3 / (p**3).sum(axis=1, keepdims=True)
    boasting = calibration_scores(truth, sharp)
    assert honest.ece < 0.02 < 0.1 < boasting.ece
    assert honest.nll < boasting.nll
    assert honest.brier < boasting.brier
    assert honest.accuracy == boasting.accuracy
    assert boasting.confidence > boasting.accuracy + 0.1
    assert "curve" not in json.loads(json.dumps(honest.summary()))


def test_cells_of_other_types_count_as_wrong():
    p = np.array([[0.9, 0.1], [0.9, 0.1]])
    scores = calibration_scores(np.array([0, -1]), p)
    assert scores.accuracy == 0.5
    assert scores.ece == pytest.approx(0.4)
    assert scores.nll == pytest.approx(-np.log(0.9))
    assert scores.brier == pytest.approx((0.02 + 0.82 + 1) / 2)
    assert np.isnan(negative_log_likelihood(np.array([-1, -1]), p))


def test_certain_and_wrong_is_finite():
    assert negative_log_likelihood(np.array([1]), np.array([[1.0, 0.0]])) == pytest.approx(-np.log(1e-12))
    assert brier_score(np.array([1]), np.array([[1.0, 0.0]])) == 2


def test_bad_input_is_named():
    truth, p = draw(0, n=5)
    with pytest.raises(DataError, match="one class per cell"):
        calibration_scores(truth[:4], p)
    with pytest.raises(DataError, match="one class per cell"):
        calibration_scores(truth + 4, p)
    with pytest.raises(DataError, match="finite"):
        brier_score(truth, np.full_like(p, np.nan))
    with pytest.raises(DataError, match="from 0 to 1"):
        reliability_curve(truth == 0, confidence=p[:, 0] + 1)
    with pytest.raises(DataError, match="from 0 to 1"):
        reliability_curve(np.zeros(0, dtype=bool), confidence=np.zeros(0))
    with pytest.raises(DataError, match="weights"):
        brier_score(truth, p, weights=np.zeros(5))
    with pytest.raises(SettingsError, match="equal_mass, equal_width"):
        reliability_curve(truth == 0, confidence=p[:, 0], bins="deciles")
    with pytest.raises(SettingsError, match="n_bins"):
        reliability_curve(truth == 0, confidence=p[:, 0], n_bins=0)


def test_classes_that_count_as_right_are_one_class():
    truth, p = draw(0)
    own = np.arange(4) == truth[:, None]
    plain, same = calibration_scores(truth, p), calibration_scores(truth, p, right=own)
    assert same.summary() == pytest.approx(plain.summary())
    pd.testing.assert_frame_equal(same.curve, plain.curve)
    pairs = calibration_scores(truth, p, right=(np.arange(4) // 2) == (truth // 2)[:, None])
    merged = p.reshape(-1, 2, 2).sum(2)
    assert pairs.nll == pytest.approx(negative_log_likelihood(truth // 2, merged))
    assert pairs.accuracy == pytest.approx(np.mean(p.argmax(1) // 2 == truth // 2))
    nothing = calibration_scores(truth, p, right=np.zeros_like(own))
    assert (nothing.accuracy, nothing.brier) == (0, pytest.approx(1 + (p**2).sum(1).mean()))
    assert np.isnan(nothing.nll)
    assert json.loads(json.dumps(nothing.summary(), allow_nan=False))["nll"] is None
    with pytest.raises(DataError, match="right has shape"):
        calibration_scores(truth, p, right=own[:, :2])
