"""Figures show what they were given: checked on the drawn artists, not on pixels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scssl import report
from scssl.errors import DataError, MissingExtraError
from scssl.report.embedding import is_number
from scssl.report.style import TEXT


def draw(figure):
    figure.canvas.draw()
    return figure.axes


def test_pl_is_the_report_package():
    import scssl

    assert scssl.pl is report
    assert all(hasattr(report, name) for name in report.__all__)


def test_loss_curve_draws_the_values_and_marks_the_best():
    history = pd.DataFrame({"epoch": [1, 2, 3], "train_loss": [3.0, 2.0, 1.0], "val_loss": [3.5, 2.5, np.nan]})
    axes = draw(report.loss_curve(history))[0]
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_array_equal(lines["training loss"], [3, 2, 1])
    np.testing.assert_array_equal(lines["validation loss"], [3.5, 2.5])
    assert axes.get_title(loc="right") == "best validation loss 2.5 at epoch 2"


def test_loss_curve_without_its_columns_is_an_error():
    with pytest.raises(DataError, match="there are a"):
        report.loss_curve(pd.DataFrame({"a": [1]}))
    with pytest.raises(DataError, match="no column 'epoch'"):
        report.loss_curve(pd.DataFrame({"train_loss": [1]}))


def test_confusion_matrix_shows_row_shares_and_counts():
    counts = pd.DataFrame([[3, 1], [0, 0]], index=["a", "b"], columns=["a", "b"])
    axes = draw(report.confusion_matrix(counts))[0]
    np.testing.assert_allclose(axes.collections[0].get_array().reshape(2, 2), [[0.75, 0.25], [0, 0]])
    assert [text.get_text() for text in axes.texts] == ["3", "1"]
    # The page's background shows through small shares: their numbers have the page's colour.
    assert [text.get_color() for text in axes.texts] == ["white", TEXT]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    # The first true type is in the top row.
    assert axes.yaxis_inverted()
    many = pd.DataFrame(np.eye(20), index=range(20), columns=range(20))
    assert not draw(report.confusion_matrix(many))[0].texts
    with pytest.raises(DataError, match="empty"):
        report.confusion_matrix(pd.DataFrame())


def test_embedding_has_a_panel_per_column_and_draws_every_cell():
    rng = np.random.default_rng(0)
    points = np.repeat([[0.0, 0], [10, 0], [0, 10]], 50, axis=0) + rng.normal(size=(150, 2))
    colours = pd.DataFrame({"type": np.repeat(["x", "y", None], 50), "score": rng.random(150)})
    figure = report.embedding(points, colours)
    panels = draw(figure)
    assert [axes.get_title(loc="left") for axes in panels[:2]] == ["type", "score"]
    for axes in panels[:2]:
        assert sum(len(part.get_offsets()) for part in axes.collections) == 150
    assert {text.get_text() for text in panels[0].texts} == {"x", "y"}
    # The third axes is the colour bar of the number.
    assert len(panels) == 3


def test_mixed_categories_are_listed_beside_the_plot():
    rng = np.random.default_rng(0)
    colours = pd.DataFrame({"donor": rng.choice(["d1", "d2", "d10"], 300)})
    axes = draw(report.embedding(rng.normal(size=(300, 2)), colours))[0]
    assert not axes.texts
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["d1", "d2", "d10"]


def test_embedding_refuses_other_lengths():
    with pytest.raises(DataError, match="2 cells"):
        report.embedding(np.zeros((3, 2)), pd.DataFrame({"a": [1, 2]}))


@pytest.mark.parametrize(
    ("values", "expected"), [([0.1, 0.2, 0.3], True), ([0, 1, 0], False), (["a", "b", "c"], False)]
)
def test_which_columns_are_numbers(values, expected):
    assert is_number(pd.Series(values)) is expected


def test_score_bars_have_the_length_of_the_scores():
    table = pd.DataFrame({"data": ["A", "A", "B"], "method": ["m", "n", "m"], "f1": [0.5, 0.25, 1.0]})
    table["low"], table["high"] = table["f1"] - 0.1, table["f1"] + 0.1
    axes = draw(report.score_bars(table, value="f1", label="method", group="data", low="low", high="high"))[0]
    assert [bar.get_width() for bar in axes.patches] == [0.5, 0.25, 1.0]
    assert axes.patches[0].get_facecolor() == axes.patches[2].get_facecolor() != axes.patches[1].get_facecolor()
    assert [text.get_text() for text in axes.texts] == ["A", "0.500", "0.250", "B", "1.000"]
    with pytest.raises(DataError, match="no column x"):
        report.score_bars(table, value="x", label="method")


def test_umap_keeps_neighbours_and_is_seeded():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(4), 40)
    Z = rng.normal(size=(4, 8))[group] * 8 + rng.normal(size=(160, 8))
    layout = report.umap(Z, seed=1)
    assert layout.shape == (160, 2)
    assert layout.dtype == np.float32
    distances = ((layout[:, None] - layout[None]) ** 2).sum(-1)
    np.fill_diagonal(distances, np.inf)
    assert (group[distances.argmin(1)] == group).mean() > 0.95
    np.testing.assert_array_equal(layout, report.umap(Z, seed=1))
    assert not np.array_equal(layout, report.umap(Z, seed=2))


@pytest.mark.parametrize("Z", [np.zeros((3, 2)), np.zeros(5), np.full((10, 2), np.nan)])
def test_umap_refuses(Z):
    with pytest.raises(DataError, match="4 cells or more"):
        report.umap(Z)


def test_umap_says_which_extra_is_missing(monkeypatch):
    import sys

    # No fallback to something that is not a UMAP.
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'scssl\[report\]'"):
        report.umap(np.random.default_rng(0).normal(size=(20, 3)))
