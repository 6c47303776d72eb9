"""Figures of simulated cells: what is drawn is what the numbers say."""

from __future__ import annotations

import json
import re

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scssl.errors import DataError, SettingsError
from scssl.report.file_run import run_of_file
from scssl.report.page import write_page
from scssl.report.simulate import draw_simulated, simulation_bars, simulation_cells, simulation_means, simulation_table
from scssl.tasks.simulate import Simulation
from scssl.tasks.simulate.beside import KINDS, Beside, from_tables, to_tables
from scssl.tasks.simulate.scoring import SimulationScores

mpl.use("agg")


@pytest.fixture(scope="module")
def beside():
    rng = np.random.default_rng(0)
    control, change = rng.random(30), np.concatenate([[2.0, -1.0], np.zeros(28)])
    points = rng.normal(size=(40, 5))
    return Beside(
        title="T: stim, by the model",
        genes=[f"G{i}" for i in range(30)],
        mean_control=control,
        mean_measured=control + change,
        mean_simulated=control + 0.8 * change,
        control=points,
        measured=points + np.eye(5)[0] * 4,
        simulated=points[:20] + np.eye(5)[0] * 3,
    )


def test_means_lie_where_they_are_and_the_largest_are_named(beside):
    axes = simulation_means(beside, n=2).axes[0]
    x, y = next(line for line in axes.lines if line.get_marker() == ".").get_data()
    np.testing.assert_allclose(y[:3], [2, -1, 0])
    np.testing.assert_allclose(x[:3], [1.6, -0.8, 0], atol=1e-12)
    assert {"G0", "G1"} <= {text.get_text() for text in axes.texts}
    assert "G2" not in {text.get_text() for text in axes.texts}
    # The table of scores has means over types, which are other numbers.
    assert any(text.get_text().startswith("all cells together:\nPearson delta") for text in axes.texts)
    with pytest.raises(SettingsError, match="n is -1"):
        simulation_means(beside, n=-1)


def test_genes_of_the_same_change_are_all_named(beside):
    from dataclasses import replace

    alike = beside.mean_control + np.concatenate([np.full(4, 2.0), np.zeros(26)])
    texts = {text.get_text() for text in simulation_means(replace(beside, mean_measured=alike), n=4).axes[0].texts}
    assert {"G0", "G1", "G2", "G3"} <= texts


def test_means_themselves_are_drawn_over_those_of_the_control_cells(beside):
    axes = simulation_means(beside).axes[1]
    control, simulated = (line.get_data() for line in axes.lines if line.get_marker() == ".")
    np.testing.assert_allclose(simulated[0], beside.mean_simulated)
    np.testing.assert_allclose(control[0], beside.mean_control)
    np.testing.assert_allclose(simulated[1], beside.mean_measured)


def test_cells_lie_along_the_change(beside):
    figure = simulation_cells(beside)
    points = figure.axes[0].collections[0].get_offsets()
    assert len(points) == 100
    assert points[:, 0].max() - points[:, 0].min() > 4
    labels = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert labels == ["control (40 cells)", "measured (40 cells)", "simulated (20 cells)"]
    with pytest.raises(DataError, match="no cells to draw"):
        simulation_cells(Beside(**{**vars(beside), "simulated": np.zeros((0, 5))}))


def test_table_is_sorted_with_the_ceiling_last():
    rows = {"no change": (0.0, 0.2), "model": (0.9, 0.1), "half of the truth": (1.0, 0.05), "mean shift": (0.5, 0.15)}
    methods = pd.DataFrame.from_dict(rows, orient="index", columns=["explained", "mae"])
    axes = simulation_table(SimulationScores(methods=methods, groups=pd.DataFrame())).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "model", "mean shift", "no change", "half of the truth"
    ]  # fmt: skip
    assert {"0.90", "0.100"} <= {text.get_text() for text in axes.texts}
    assert axes.get_xlabel().startswith("means over cell types")
    axes = simulation_table(SimulationScores(methods=methods - 0.004, groups=pd.DataFrame())).axes[0]
    assert "-0.00" not in {text.get_text() for text in axes.texts}


def test_equal_numbers_have_one_shade():
    rows = {
        "model": (0.9, 0.6),
        "additive": (0.5, 0.62),
        "mean shift": (0.5, 0.62 - 1e-12),
        "half of the truth": (1, 0.7),
    }
    methods = pd.DataFrame.from_dict(rows, orient="index", columns=["explained", "de_overlap"])
    axes = simulation_table(SimulationScores(methods=methods, groups=pd.DataFrame())).axes[0]
    shades = np.array([patch.get_facecolor() for patch in axes.patches]).reshape(2, 4, 4)
    assert (shades[1, 1] == shades[1, 2]).all()
    assert (shades[1, 0] != shades[1, 1]).any()
    assert (shades[1, 1] != shades[1, 3]).any()


METHODS = {"no change": 0.0, "model": 0.9, "control mean": -2.5, "additive": 0.5, "half of the truth": 0.98}


@pytest.mark.parametrize("made", ["model", "additive"])
def test_bars_mark_what_made_the_cells_and_show_what_is_worse_than_nothing(made):
    table = pd.DataFrame({"method": list(METHODS), "explained": list(METHODS.values())})
    axes = draw_simulated("simulation_scores", table, options={"made": [made]}).axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert [name.removesuffix(" (made the cells)") for name in labels] == [
        "model",
        "additive",
        "no change",
        "control mean",
    ]
    assert [name for name in labels if name.endswith("(made the cells)")] == [f"{made} (made the cells)"]
    colours = {name: bar.get_facecolor() for name, bar in zip(labels, axes.patches, strict=True)}
    assert [name for name, colour in colours.items() if list(colours.values()).count(colour) == 1] == [
        f"{made} (made the cells)"
    ]
    texts = {text.get_text(): text for text in axes.texts}
    assert "-2.50 (longer than drawn)" in texts
    arrows = [line for line in axes.lines if line.get_marker() == "<"]
    assert [line.get_ydata()[0] for line in arrows] == [3]
    figure = axes.figure
    figure.canvas.draw()
    label = axes.xaxis.label.get_window_extent()
    assert label.x0 >= 0
    assert label.x1 <= figure.bbox.x1
    # Inside the axes, as texts outside are not drawn.
    assert all(axes.get_xlim()[0] <= text.xy[0] <= axes.get_xlim()[1] for text in axes.texts)
    assert axes.patches[3].get_width() < 0
    with_unknown = pd.concat([table, pd.DataFrame({"method": ["x"], "explained": [np.nan]})])
    assert "not known" in {text.get_text() for text in simulation_bars(with_unknown, made=[]).axes[0].texts}


def test_table_marks_what_made_the_cells():
    methods = pd.DataFrame({"explained": METHODS}).rename_axis("method")
    labels = simulation_table(
        SimulationScores(methods=methods, groups=pd.DataFrame()), made=["additive"]
    ).axes[0].get_yticklabels()  # fmt: skip
    assert {label.get_text(): label.get_fontweight() for label in labels}["additive (made the cells)"] == "bold"
    assert {label.get_text(): label.get_fontweight() for label in labels}["model"] == "normal"


def with_types(beside):
    sizes = {name: len(getattr(beside, name)) for name in KINDS}
    return Beside(**{**vars(beside), "types": {name: np.array(["T"] * n, object) for name, n in sizes.items()}})


def test_what_a_file_keeps_is_what_is_drawn(beside, monkeypatch):
    cells, genes = to_tables({"a/1": with_types(beside), "b": with_types(beside)})
    found = from_tables(cells, genes)
    assert list(found) == ["a/1", "b"]
    assert found["b"].genes == beside.genes
    np.testing.assert_allclose(found["b"].mean_simulated, beside.mean_simulated)
    np.testing.assert_allclose(found["b"].simulated, beside.simulated, rtol=1e-6)
    assert found["b"].types["measured"].tolist() == ["T"] * 40
    monkeypatch.setattr("scssl.tasks.simulate.beside.MOST_KEPT", 10)
    few = from_tables(*to_tables({"b": with_types(beside)}))["b"]
    assert [len(getattr(few, name)) for name in KINDS] == [10, 10, 10]
    known = {tuple(row) for row in beside.measured.astype(np.float32)}
    assert {tuple(row) for row in few.measured.astype(np.float32)} <= known


def simulation(obs, cases):
    table = pd.DataFrame({"B": [0.0, 1.0, 2.0]})
    settings = {"cases": cases, "control": "well", "columns": {"condition": "state"}, "warning": "no measurements.",
                "hold_out": "cell_type=B"}  # fmt: skip
    counts, var = sp.csr_matrix(np.arange(3 * len(obs)).reshape(-1, 3) % 5 + 1), pd.DataFrame(index=["G1", "G2", "G3"])
    return Simulation(counts=counts, obs=obs, var=var, change=table, sd=table, settings=settings)


def test_the_page_shows_simulated_beside_measured_cells_and_marks_the_method(beside, tmp_path, monkeypatch):
    for module in ("file_run", "file_simulate"):
        # A UMAP takes its time to be compiled.
        monkeypatch.setattr(f"scssl.report.{module}.lay_out", lambda Z, X: (X if Z is None else Z)[:, :2] @ np.eye(2))
    obs = pd.DataFrame(
        {"state": "ill", "scssl_type": "B", "scssl_method": "additive"}, index=[f"c{i}" for i in range(30)]
    )
    case = {"method": "additive", "verdict": "better here", "uncertainty": "held 91% of the measured changes"}
    made = simulation(obs, {"ill/1": case})
    scores = SimulationScores(
        methods=pd.DataFrame({"explained": METHODS, "mae": 0.1}).rename_axis("method"), groups=pd.DataFrame()
    )
    # Rounded twice these are 0.660 and 0.029.
    methods = {name: {"explained": value, "de_overlap": 0.66052, "mae": 0.02847} for name, value in METHODS.items()}
    made.settings["record"] = json.dumps({"created": "2026", "scores": {"methods": methods}})
    made.write(tmp_path / "a.h5ad", scores=scores, beside={"ill/1": with_types(beside)})
    (folder := tmp_path / "tables").mkdir()
    run = run_of_file(tmp_path / "a.h5ad", folder)
    assert "ill/1: made by additive; better here. Uncertainty: held 91% of the measured changes." in run.summary
    kinds = {section.title: section.kind for section in run.sections}
    assert kinds["Against baselines"] == "simulation_scores"
    assert kinds["Mean expression, simulated and measured"] == "simulation_means"
    assert kinds["Simulated beside measured cells"] == "simulation_cells"
    assert kinds["The same cells as a UMAP"] == "embedding"
    assert not any(name.startswith("beside") for name in run.settings["simulate"])
    section = next(one for one in run.sections if one.title == "The same cells as a UMAP")
    drawn = pd.read_csv(folder / section.file)
    assert drawn["kind"].value_counts().to_dict() == {"control": 40, "measured": 40, "simulated": 20}
    text = write_page(run, folder=folder).read_text()
    assert "additive (made the cells)" in text
    assert ">0.661<" in re.sub(r"\s", "", text)
    assert ">0.028<" in re.sub(r"\s", "", text)
    assert "means over cell types" in text
    assert "all cells together" in text
    assert "change of mean log expression, simulated" in text
    assert "simulated (20 cells)" in text
