"""Temperature scaling: against a grid, on data with a known temperature, and where data say little."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.errors import DataError, SettingsError
from scssl.metrics import expected_calibration_error
from scssl.tasks.annotate import calibrate
from scssl.tasks.annotate.calibrate import HIGHEST, LOWEST, fit_temperature, probabilities


def cells(seed, *, n=4000, n_classes=5, sharpness=1.0):
    """Log-scores whose softmax at temperature `sharpness` is the truth."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 1.5, (n, n_classes))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    codes = (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return z * sharpness, codes


def slow_loss(z, codes, temperature, weights):
    """Weighted negative log-likelihood, cell by cell."""
    out = 0.0
    for row, code, weight in zip(z, codes, weights, strict=True):
        terms = [float(np.exp((value - max(row)) / temperature)) for value in row]
        out -= weight * np.log(terms[code] / sum(terms))
    return out


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 4.0])
def test_finds_the_temperature_that_made_the_labels(sharpness):
    z, codes = cells(0, sharpness=sharpness)
    found = fit_temperature(z, codes=codes)
    assert found == pytest.approx(sharpness, rel=0.08)
    p, raw = probabilities(z, temperature=found), probabilities(z)
    error = [expected_calibration_error(q.argmax(axis=1) == codes, confidence=q.max(axis=1)) for q in (p, raw)]
    assert error[0] < 0.03
    if sharpness != 1:
        assert error[0] < error[1] / 2


def test_against_a_fine_grid_with_donors_counting_the_same():
    z, codes = cells(1, n=300, sharpness=2.0)
    donors = np.random.default_rng(0).choice([0, 0, 0, 0, 1, 2], 300)
    weights = [1 / (3 * (donors == donor).sum()) for donor in donors]
    grid = np.exp(np.linspace(np.log(0.5), np.log(8), 400))
    loss = [slow_loss(z, codes, t, weights) + np.log(t) ** 2 / 600 for t in grid]
    assert fit_temperature(z, codes=codes, donors=donors) == pytest.approx(grid[np.argmin(loss)], rel=0.01)


def test_each_donor_counts_the_same():
    few, many = cells(2, n=500, sharpness=4.0), cells(3, n=5000, sharpness=1.0)
    z, codes = np.concatenate([few[0], many[0]]), np.concatenate([few[1], many[1]])
    donors = np.repeat([0, 1], [500, 5000])
    assert fit_temperature(z, codes=codes) < fit_temperature(z, codes=codes, donors=donors) - 0.3
    # Unknown donors weigh nothing, unless nobody is known.
    alone = np.where(donors == 0, 0, -1)
    assert fit_temperature(z, codes=codes, donors=alone) == pytest.approx(fit_temperature(few[0], codes=few[1]))
    nobody = np.full(len(codes), -1)
    assert fit_temperature(z, codes=codes, donors=nobody) == fit_temperature(z, codes=codes)


def test_separable_cells_do_not_drive_the_temperature_to_the_bound():
    codes = np.arange(30) % 3
    sure = fit_temperature(np.eye(3)[codes], codes=codes)
    assert LOWEST < sure < 0.5
    # Twice as many right cells are reason to be surer still.
    assert fit_temperature(np.eye(3)[np.tile(codes, 10)], codes=np.tile(codes, 10)) < sure


def test_always_wrong_stays_within_bounds():
    codes = np.zeros(1000, dtype=int)
    assert 5 < fit_temperature(np.tile([0.0, 5.0], (1000, 1)), codes=codes) <= HIGHEST


def test_one_class_or_none_left_changes_nothing():
    assert fit_temperature(np.zeros((5, 1)), codes=np.zeros(5, dtype=int)) == pytest.approx(1, abs=0.01)
    assert fit_temperature(np.zeros((5, 3)), codes=np.full(5, -1)) == 1
    assert fit_temperature(np.zeros((0, 3)), codes=np.zeros(0, dtype=int)) == 1


def test_classes_that_were_not_known_are_left_out():
    z, codes = cells(4, sharpness=2.0)
    expected = fit_temperature(z, codes=codes)
    more = np.concatenate([np.where(np.arange(5) == 2, -np.inf, 0.0)[None].repeat(50, 0), z])
    assert fit_temperature(more, codes=np.concatenate([np.full(50, 2), codes])) == pytest.approx(expected, rel=1e-4)


def test_many_cells_are_subsampled_reproducibly(monkeypatch):
    z, codes = cells(5, sharpness=2.0)
    monkeypatch.setattr(calibrate, "MAX_VALUES", 10_000)
    found = fit_temperature(z, codes=codes, seed=1)
    assert found == fit_temperature(z, codes=codes, seed=1)
    assert found == pytest.approx(2, rel=0.2)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 20), st.sampled_from([1e-6, 1.0, 1e4]))
def test_the_label_never_changes(seed, temperature, size):
    rng = np.random.default_rng(seed)
    z = (rng.normal(size=(50, 4)) * size).astype(np.float32)
    z[::7, 1] = z[::7].max(axis=1)
    p = probabilities(z, temperature=temperature)
    np.testing.assert_array_equal(p.argmax(axis=1), z.argmax(axis=1))
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    assert p.dtype == np.float32


def test_bad_scores_are_named():
    with pytest.raises(DataError, match="NaN"):
        fit_temperature(np.array([[np.nan, 0]]), codes=np.array([0]))
    with pytest.raises(DataError, match="one code below 2"):
        fit_temperature(np.zeros((2, 2)), codes=np.array([0, 2]))
    with pytest.raises(DataError, match="every class"):
        probabilities(np.full((1, 2), -np.inf))
    with pytest.raises(DataError, match="n_cells, n_classes"):
        probabilities(np.zeros(3))
    with pytest.raises(SettingsError, match="temperature"):
        probabilities(np.zeros((1, 2)), temperature=0)
