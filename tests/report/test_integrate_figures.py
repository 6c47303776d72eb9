"""Figures of an integration: what is drawn, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scssl.errors import DataError
from scssl.report.integrate import before_and_after, integration_table

pytest.importorskip("matplotlib")


def test_two_rows_and_a_column_per_annotation():
    rng = np.random.default_rng(0)
    colours = pd.DataFrame({"batch": ["a", "b"] * 15, "cell_type": ["t"] * 10 + ["u"] * 20})
    figure = before_and_after(rng.normal(size=(30, 4)), after=rng.normal(size=(30, 4)), colours=colours)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["before: batch", "before: cell type", "after: batch", "after: cell type"]
    with pytest.raises(DataError, match="not of the same cells"):
        before_and_after(np.ones((29, 4)), after=np.ones((30, 4)), colours=colours)


def test_every_score_is_written_where_there_is_one():
    table = pd.DataFrame(
        {"type_score": [np.nan, np.nan], "nmi": [0.5, np.nan], "mixing_score": [0.25, 0.75]}, index=["PCA", "scssl"]
    )
    figure = integration_table(table)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["0.50", "0.25", "", "0.75"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["PCA", "scssl"]
    for empty in (table.iloc[:0], table[["type_score"]]):
        with pytest.raises(DataError, match="no scores to draw"):
            integration_table(empty)
