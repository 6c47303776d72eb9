"""The figure of genes per label shows the table that it was given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from scssl import report
from scssl.errors import DataError, SettingsError
from scssl.report.explain import ABSENT
from scssl.report.style import ACCENT


def table(labels=("B", "T"), n=4):
    rows = [
        {
            "label": label,
            "gene": f"ENSG{i}",
            "symbol": f"{label}{i}" if i else "",
            "score": float(10 - i),
            "mean_log1p": 1.0 if i != 2 else 0.1,
            "baseline_log1p": 0.5,
            "n_cells": 7,
        }
        for label in labels
        for i in range(n)
    ]
    return pd.DataFrame(rows)


def test_bars_are_the_scores_and_colours_say_above_or_below():
    figure = report.explanation(table().sample(frac=1, random_state=0), n_genes=3)
    figure.canvas.draw()
    assert {axes.get_title(loc="left") for axes in figure.axes} == {"B", "T"}
    for axes in figure.axes:
        label = axes.get_title(loc="left")
        np.testing.assert_array_equal([bar.get_width() for bar in axes.patches], [10, 9, 8])
        assert [text.get_text() for text in axes.get_yticklabels()] == ["ENSG0", f"{label}1", f"{label}2"]
        assert [to_hex(bar.get_facecolor()).upper() for bar in axes.patches] == [ACCENT, ACCENT, ABSENT]
        assert axes.yaxis_inverted()


@pytest.mark.parametrize("n_labels", [1, 2, 4, 7])
def test_a_panel_per_label(n_labels):
    labels = [f"type {i}" for i in range(n_labels)]
    assert [axes.get_title(loc="left") for axes in report.explanation(table(labels)).axes] == labels
    chosen = report.explanation(table(labels), labels=labels[-1:])
    assert [axes.get_title(loc="left") for axes in chosen.axes] == labels[-1:]


def test_at_most_twelve_labels_unless_asked_for():
    labels = [f"type {i}" for i in range(15)]
    assert len(report.explanation(table(labels)).axes) == 12
    assert len(report.explanation(table(labels), labels=labels).axes) == 15


def test_mistakes():
    with pytest.raises(DataError, match="no column symbol, score; columns are label"):
        report.explanation(table().drop(columns=["score", "symbol"]))
    with pytest.raises(DataError, match="the table is empty"):
        report.explanation(table()[:0])
    with pytest.raises(DataError, match="no genes for label 'NK'; there are: B, T"):
        report.explanation(table(), labels=["NK"])
    with pytest.raises(SettingsError, match="n_genes is 0"):
        report.explanation(table(), n_genes=0)
