"""The reliability diagram shows the curves it was given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scssl import report
from scssl.errors import DataError
from scssl.metrics import reliability_curve


def draw(figure):
    figure.canvas.draw()
    return figure.axes


def curve(seed=0, *, power=1.0):
    rng = np.random.default_rng(seed)
    confidence = rng.random(400)
    return reliability_curve(rng.random(400) < confidence**power, confidence=confidence, n_bins=8)


def test_points_errors_and_counts_are_those_of_the_curves():
    curves = {"before": curve(power=2.0), "after": curve()}
    axes, below = draw(report.reliability(curves))
    lines = axes.lines[1:]
    for line, table in zip(lines, curves.values(), strict=True):
        np.testing.assert_allclose(line.get_xdata(), table["confidence"])
        np.testing.assert_allclose(line.get_ydata(), table["accuracy"])
    errors = [(t["weight"] * (t["accuracy"] - t["confidence"]).abs()).sum() for t in curves.values()]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == [f"before, ECE {errors[0]:.3f}", f"after, ECE {errors[1]:.3f}"]
    assert len({line.get_marker() for line in lines}) == 2
    heights = [segment[1, 1] for segment in below.collections[0].get_segments()]
    np.testing.assert_allclose(heights, curves["before"]["n_cells"])


def test_bars_are_wilson_intervals():
    table = pd.DataFrame({"n_cells": [10, 40], "confidence": [0.4, 0.9], "accuracy": [0.5, 1.0]})
    axes, _ = draw(report.reliability(table))
    for segment, n, right in zip(axes.collections[0].get_segments(), (10, 40), (5, 40), strict=True):
        expected = stats.binomtest(right, n).proportion_ci(method="wilson")
        np.testing.assert_allclose(segment[:, 1], expected, atol=1e-4)
    # Without weights, cells weigh the same.
    assert axes.get_legend().get_texts()[0].get_text() == "ECE 0.100"


def test_tables_that_cannot_be_drawn_are_named():
    with pytest.raises(DataError, match="no column 'accuracy'"):
        report.reliability(pd.DataFrame({"n_cells": [1], "confidence": [0.5]}))
    with pytest.raises(DataError, match="'after' is empty"):
        report.reliability({"before": curve(), "after": curve().iloc[:0]})
    with pytest.raises(DataError, match="no curve"):
        report.reliability({})
