"""Figures of simulated cells: what is drawn is what the numbers say."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from scssl.errors import DataError, SettingsError
from scssl.report.simulate import simulation_cells, simulation_means, simulation_table
from scssl.tasks.simulate.beside import Beside
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
    with pytest.raises(SettingsError, match="n is -1"):
        simulation_means(beside, n=-1)


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
