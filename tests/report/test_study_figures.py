"""Figures of a study show what they were given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scssl import report
from scssl.errors import DataError, FormatError
from scssl.report.study_run import is_study_folder, run_of_study
from scssl.report.style import GRID, palette


def draw(figure):
    figure.canvas.draw()
    return figure.axes[0]


def scores():
    rows = [("network", "pre-trained", 0.7), ("from scratch", "scratch", 0.8), ("PCA", "baseline", 0.6)]
    table = pd.DataFrame(rows, columns=["title", "group", "macro_f1"])
    return table.assign(low=table["macro_f1"] - 0.05, high=table["macro_f1"] + 0.02)


def test_methods_are_in_order_of_their_score_with_intervals():
    axes = draw(report.method_scores(scores()))
    assert [label.get_text() for label in axes.get_yticklabels()] == ["from scratch", "network", "PCA"]
    lines = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2]
    np.testing.assert_allclose(lines, [[0.75, 0.82], [0.65, 0.72], [0.55, 0.62]])
    assert {text.get_text() for text in axes.figure.legends[0].get_texts()} == {
        "pre-trained",
        "not pre-trained",
        "no network",
    }


def test_columns_of_a_prefix_take_the_place_of_the_others():
    table = scores().rename(columns={name: f"by_{name}" for name in ("macro_f1", "low", "high")})
    axes = draw(report.method_scores(table.assign(macro_f1=0.0, low=0.0, high=0.0), prefix="by_"))
    lines = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2]
    np.testing.assert_allclose(lines, [[0.75, 0.82], [0.65, 0.72], [0.55, 0.62]])
    with pytest.raises(DataError, match="no column other_macro_f1"):
        report.method_scores(table, prefix="other_")


def test_differences_are_coloured_by_what_their_interval_allows():
    table = pd.DataFrame(
        {"method": list("abc"), "against": list("xyz"), "difference": [0.1, -0.1, 0.0], "low": [0.05, -0.2, -0.1],
         "high": [0.2, -0.05, 0.1]}
    )  # fmt: skip
    axes = draw(report.differences(table, min_effect=0.01))
    colours = [line.get_color() for line in axes.lines if len(line.get_xdata()) == 2 and line.get_linewidth() > 1]
    assert colours == [palette(4)[2], palette(4)[3], GRID]
    assert axes.get_yticklabels()[0].get_text() == "a\nagainst x"
    low, high = axes.get_xlim()
    assert low < -0.2
    assert high > 0.2


def test_curves_put_all_labels_last():
    table = pd.concat([scores().assign(labels_per_type=n) for n in ("all", "10", "100", "1")])
    axes = draw(report.learning_curves(table, x="labels_per_type", x_label="labels"))
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "10", "100", "all"]
    assert len(axes.containers) == 3


def test_methods_of_one_point_make_no_curve():
    rows = [
        {"title": title, "group": "g", "labels_per_type": n, "macro_f1": 0.5, "low": 0.4, "high": 0.6}
        for title in [f"method {i}" for i in range(20)]
        for n in ("1", "all")
    ]
    rows.append({**rows[1], "title": "XGBoost"})
    axes = draw(report.learning_curves(pd.DataFrame(rows), x="labels_per_type", x_label="labels"))
    assert [line.get_label() for line in axes.containers] == [f"method {i}" for i in range(20)]
    # What belongs to one number of labels stays nearer to it than to the next.
    places = np.array([container[0].get_xdata() for container in axes.containers])
    assert np.abs(places - [0, 1]).max() < 0.3
    alone = draw(report.learning_curves(pd.DataFrame(rows[-1:]), x="labels_per_type", x_label="labels"))
    assert [line.get_label() for line in alone.containers] == ["XGBoost"]


def test_types_are_in_order_of_their_cells_and_rare_ones_marked():
    rows = [(kind, title, n, n < 20, n / 1000) for kind, n in (("rare", 5), ("T", 900)) for title in ("a", "b")]
    table = pd.DataFrame(rows, columns=["type", "title", "test_cells", "few_cells", "f1"])
    axes = draw(report.type_scores(table))
    assert [label.get_text() for label in axes.get_yticklabels()] == ["T (900)", "rare* (5)"]
    assert [text.get_text() for text in axes.texts] == ["0.90", "0.90", "0.01", "0.01"]


@pytest.mark.parametrize(("n_types", "n_methods"), [(4, 25), (20, 11), (30, 25)])
def test_numbers_of_many_methods_and_types_do_not_overlap(n_types, n_methods):
    rows = [
        (f"type {i}", f"pre-trained (pretext {j}), logistic regression", 500 - i, False, 0.5)
        for i in range(n_types) for j in range(n_methods)
    ]  # fmt: skip
    axes = draw(report.type_scores(pd.DataFrame(rows, columns=["type", "title", "test_cells", "few_cells", "f1"])))
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    # Without them there is nothing to read where there is room.
    assert len(boxes) == (n_types * n_methods if min(n_types, n_methods) < 14 else 0)
    shown = [label.get_text() for label in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    assert len(shown) == n_types + n_methods
    types = [name for name in shown if name.startswith("type ")]
    assert types[0] == "type 0 (500)"


@pytest.mark.parametrize("figure", [report.method_scores, report.differences, report.type_scores])
def test_missing_columns_are_named(figure):
    with pytest.raises(DataError, match="no column"):
        figure(pd.DataFrame({"a": [1]}))


def test_unfinished_studies_are_said_to_be_so(tmp_path):
    assert not is_study_folder(tmp_path)
    (tmp_path / "settings.json").write_text('{"format": "scssl-study", "version": 1, "identity": {}}')
    assert is_study_folder(tmp_path)
    with pytest.raises(FormatError, match="not finished"):
        run_of_study(tmp_path)
    (tmp_path / "settings.json").write_text("not json")
    assert not is_study_folder(tmp_path)
