"""Figures of a comparison: what is drawn, in which order, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scssl.errors import DataError
from scssl.report.compare import DRAWN, donor_shares, draw, programme_shifts, volcano
from scssl.report.compare_ranking import UNTESTED, by_type, comparison_overview, share_changes, short, state_shifts
from scssl.report.style import INK, TEXT

pytest.importorskip("matplotlib")


def genes():
    rng = np.random.default_rng(0)
    names = [f"G{i}" for i in range(40)]
    parts = [
        pd.DataFrame({"cell_type": kind, "symbol": names, "log2_ratio": rng.normal(size=40), "p_value": rng.random(40)})
        for kind in ("T", "B", "NK", "Mono", "DC", "Mk", "Plasma")
    ]
    table = pd.concat(parts, ignore_index=True).assign(q_value=0.9)
    table.loc[0, ["log2_ratio", "p_value", "q_value"]] = [4.0, 1e-9, 1e-6]
    table.loc[279, "p_value"] = np.nan
    return table


def answers():
    return pd.DataFrame(
        {
            "cell_type": ["B", "T", "T", "B", "NK"],
            "kind": ["genes", "state", "composition", "state", "state"],
            "found": [True, True, False, False, False],
            "effect": [3.0, 0.9, -1.25, 0.2, 5.0],
            "p_value": [1e-8, 0.001, 0.03, 0.5, np.nan],
            "q_value": [1e-7, 0.005, 0.1, 0.6, np.nan],
            "smallest_p": [np.nan, 0.001, 0.001, 0.25, np.nan],
            "n_found": [3, 1, 0, 0, 0],
            "n_tests": [1200, 1, 1, 1, 0],
        }
    )


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_nine_types_at_most_and_found_genes_named():
    figure = volcano(genes())
    assert len(figure.axes) == 7
    assert figure._supxlabel is None
    four = volcano(genes()[lambda table: table["cell_type"].isin(["T", "B", "NK", "Mono"])])
    assert [axes.get_subplotspec().get_geometry()[:2] for axes in four.axes] == [(2, 2)] * 4
    # A type that was asked about, of which no gene could be tested.
    assert volcano(genes(), types=["T", "pDC"])._supxlabel.get_text() == "Not drawn: 1 cell type, none with genes found"
    assert figure.axes[0].get_title(loc="left") == "T: 1 of 40"
    assert texts(figure) == ["G0"]
    with pytest.raises(DataError, match="no gene was tested"):
        volcano(genes().assign(p_value=np.nan))


def test_a_volcano_draws_types_with_findings_first_in_the_order_of_the_overview(monkeypatch):
    monkeypatch.setattr("scssl.report.compare.PANELS", 2)
    table = genes()
    # Found by its own correction, though other types have smaller p-values.
    plasma = table.index[table["cell_type"] == "Plasma"][0]
    table.loc[plasma, ["p_value", "q_value"]] = [0.4, 0.03]
    order = ["NK", "Plasma", "B", "T", "Mono", "DC", "Mk"]
    figure = volcano(table, types=order)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Plasma: 1 of 39", "T: 1 of 40"]
    assert figure._supxlabel.get_text() == "Not drawn: 5 cell types, none with genes found"
    nk = table.index[table["cell_type"] == "NK"][0]
    figure = draw(
        "volcano", table.assign(q_value=table["q_value"].where(table.index != nk, 0.01)), fdr=0.05, types=order
    )
    assert [axes.get_title(loc="left").partition(":")[0] for axes in figure.axes] == ["NK", "Plasma"]
    assert figure._supxlabel.get_text() == "Not drawn: 5 cell types, 1 with genes found"


def test_each_donor_is_a_bar_that_sums_to_one():
    rows = [
        {"donor": donor, "condition": "a" if donor < "d3" else "b", "cell_type": kind, "share": share}
        for donor in ("d1", "d2", "d10", "d3")
        for kind, share in (("T", 0.25), ("B", 0.75))
    ]
    figure = donor_shares(pd.DataFrame(rows))
    (axes,) = figure.axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["d1", "d2", "d10", "d3"]
    assert texts(figure) == ["a", "b"]
    tops = [bar.get_y() + bar.get_height() for bar in axes.patches if bar.get_y() > 0]
    assert tops == [1.0] * 4
    with pytest.raises(DataError, match="no samples"):
        donor_shares(pd.DataFrame(columns=["donor"]))


def test_states_are_ranked_by_how_far_cells_move():
    table = pd.DataFrame(
        {
            "cell_type": ["B", "T", "NK"], "relative_shift": [0.1, 0.8, np.nan], "low": [np.nan, 0.5, 0],
            "high": [np.nan, 1.2, 0], "auc": [0.5, 0.91, 0.5], "p_value": [0.4, 0.0005, np.nan],
            "q_value": [0.5, 0.01, np.nan], "unit": "donor",
        }
    )  # fmt: skip
    figure = state_shifts(table)
    (axes,) = figure.axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["T", "B"]
    assert texts(figure) == ["AUC 0.91, p = 5e-04, q = 0.01", "AUC 0.50, p = 0.4, q = 0.5"]
    assert texts(state_shifts(table.assign(unit="cell", p_value=np.nan)))[0] == "these cells only"
    with pytest.raises(DataError, match="nothing was compared"):
        state_shifts(table.iloc[2:])


def test_shares_are_ranked_by_size_whatever_the_direction():
    table = pd.DataFrame(
        {
            "cell_type": ["B", "T"], "log2_ratio": [0.5, -2.0], "low": [0.1, -3.0], "high": [0.9, -1.0],
            "p_value": [0.02, 1e-4], "q_value": [0.2, 1e-3], "unit": "donor",
        }
    )  # fmt: skip
    (axes,) = share_changes(table).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["T", "B"]
    # Differences of centred log-ratios, whose signs are not those of the ratio of the shares.
    assert axes.get_xlabel() == "change of log2 share against the mean of all types"


def test_programmes_that_are_found_have_a_dot():
    from matplotlib.colors import to_rgba

    table = pd.DataFrame(
        {
            "cell_type": ["T", "B", "T", "B"], "programme": ["one", "one", "two", "two"],
            "log2_ratio": [1.0, -0.5, 0.1, 0.0], "p_value": [1e-6, 0.01, 0.5, 0.9], "q_value": [1e-5, 0.04, 0.6, 0.9],
            "n_genes": [5, 12, 7, 7],
        }
    )  # fmt: skip
    axes = programme_shifts(table).axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["one  (5-12)", "two  (7)"]
    assert len(axes.lines) == 2
    assert {line.get_color() for line in axes.lines} == {INK}
    assert INK.lower() != TEXT.lower()
    # Grey where there is no value, also on a page, whose axes have no background.
    image = programme_shifts(table.iloc[:3]).axes[0].images[0]
    grey = 255 * np.array(to_rgba(UNTESTED))
    empty = np.ma.getmaskarray(np.ma.masked_invalid(image.get_array()))
    shades = image.to_rgba(image.get_array(), bytes=True)
    assert empty.sum() == 1
    np.testing.assert_allclose(shades[empty], [grey], atol=1)
    with pytest.raises(DataError, match="none were compared"):
        programme_shifts(table.iloc[:0])


def test_the_overview_has_types_in_order_and_numbers():
    assert by_type(answers()) == ["T", "B", "NK"]
    figure = comparison_overview(answers())
    # A page turns the colour of text into its own, light on dark screens; the boxes stay light.
    assert all(text.get_color() in (INK, "white") for text in figure.axes[0].texts)
    assert texts(figure) == ["-1.25", "0.90", "", "", "0.20", "3 of 1,200", "", "5.00", ""]
    assert "change of log2\nshare against" in figure.axes[0].get_xticklabels()[0].get_text()
    tiny = answers().assign(effect=-0.001)
    assert "-0.00" not in texts(comparison_overview(tiny))
    with pytest.raises(DataError, match="nothing was asked"):
        comparison_overview(answers().iloc[:0])


def test_every_section_of_the_report_has_its_figure():
    tables = {"answers": answers(), "volcano": genes()}
    for kind, table in tables.items():
        assert kind in DRAWN
        assert draw(kind, table, fdr=0.05).axes


def test_long_names_are_cut():
    assert short("x" * 60) == "x" * 42 + "..."
    assert short("monocyte", most=24) == "monocyte"
