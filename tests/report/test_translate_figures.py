"""Figures of translations show the scores that they were given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scssl import report
from scssl.errors import DataError
from scssl.tasks.translate.scores import TranslationScores, score


def make(n_features=12, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(60, n_features)).astype(np.float32)
    noise = rng.normal(size=truth.shape) * np.linspace(0.1, 5, n_features)
    predicted = {"translator": truth + noise, "mean": np.zeros_like(truth), "ridge": truth + 1.2 * noise}
    names = [f"CD{i}" for i in range(n_features)]
    overall, features, donors = score(truth, predicted, names=names, donors=None, open_peaks=False)
    return TranslationScores(
        to="protein", mode="probe", scale="as given", n_cells=60, overall=overall, features=features, donors=donors,
        chosen={}, truth=truth, predicted=predicted["translator"],
    )  # fmt: skip


def test_scatter_shows_the_best_and_the_worst():
    scores = make()
    figure = report.translation_scatter(scores, n=6)
    figure.canvas.draw()
    shown = [axes for axes in figure.axes if axes.get_visible()]
    mine = scores.features[scores.features["method"] == "translator"].sort_values("pearson", ascending=False)
    order = mine["feature"].tolist()
    assert [axes.get_title(loc="left") or axes.get_title() for axes in shown] == [*order[:3], *order[-3:]]
    place = int(order[0].removeprefix("CD"))
    np.testing.assert_allclose(shown[0].lines[1].get_xdata(), scores.predicted[:, place])
    np.testing.assert_allclose(shown[0].lines[1].get_ydata(), scores.truth[:, place])


def test_bars_show_both_methods_in_order():
    scores = make(60)
    assert scores.best_baseline == "ridge"
    axes = report.translation_bars(scores).axes[0]
    widths = [bar.get_width() for bar in axes.patches]
    assert len(widths) == 40
    assert widths == sorted(widths)
    names = [label.get_text() for label in axes.get_yticklabels()]
    ridge = scores.features[scores.features["method"] == "ridge"].set_index("feature")["pearson"]
    np.testing.assert_allclose(axes.lines[0].get_xdata(), ridge[names])
    assert "40 of 60" in axes.get_xlabel()


def test_mistakes():
    with pytest.raises(DataError, match="no baseline 'nope'; methods are translator, mean, ridge"):
        report.translation_bars(make(), baseline="nope")
    flat = make()
    nothing = TranslationScores(**{**vars(flat), "features": flat.features.assign(pearson=np.nan)})
    with pytest.raises(DataError, match="no feature varies"):
        report.translation_scatter(nothing)
    assert isinstance(nothing.donors, pd.DataFrame)
