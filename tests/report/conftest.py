"""A small run folder with every kind of section."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from scssl.metrics import confusion_table
from scssl.report import Run, Section

if TYPE_CHECKING:
    from pathlib import Path


def write_run(folder: Path, *, n_cells: int = 600, n_types: int = 6) -> Run:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    kind = rng.integers(0, n_types, n_cells)
    types = np.array([f"type {i}" for i in range(n_types)], dtype=object)[kind]
    guess = np.where(rng.random(n_cells) < 0.8, types, rng.permutation(types))
    angle = kind / n_types * 2 * np.pi
    cells = pd.DataFrame(
        {
            "x": 5 * np.cos(angle) + rng.normal(0, 0.8, n_cells),
            "y": 5 * np.sin(angle) + rng.normal(0, 0.8, n_cells),
            "cell_type": types,
            "donor": [f"donor{i}" for i in rng.integers(1, 12, n_cells)],
            "confidence": rng.random(n_cells).round(3),
        }
    )
    cells.loc[:4, "donor"] = None
    # The gene of type 3, and one that is expressed nowhere.
    cells["CD4"] = np.where(kind == 3, 2.0, 0.0) + 0.1 * rng.random(n_cells).round(3)
    cells["FOXP3"] = 0.0
    cells.to_csv(folder / "cells.csv", index=False)
    epochs = np.arange(1, 11)
    history = pd.DataFrame({"epoch": epochs, "train_loss": 1 / epochs, "val_loss": 1.1 / epochs + 0.01 * epochs})
    history.to_csv(folder / "history.csv", index=False)
    confusion_table(types, guess).to_csv(folder / "confusion.csv")
    scores = pd.DataFrame(
        {
            "data": ["held-out donors", "held-out donors", "PBMC", "PBMC"],
            "method": ["model + kNN", "PCA + kNN"] * 2,
            "macro_f1": [0.91234, 0.8765, 0.71, 0.725],
            "n_cells": [1200, 1200, 350, 350],
        }
    )
    scores.to_csv(folder / "scores.csv", index=False)
    pd.DataFrame({"name": ['b, "x"', "a10", "a9", "=c"], "value": [2.5, 10.0, 9.0, None]}).to_csv(
        folder / "extra.csv", index=False
    )
    cells_shown = {
        "colour": ["cell_type", "donor"],
        "hover": ["cell_type", "donor", "confidence"],
        "features": {"Marker genes": ["CD4", "FOXP3"]},
    }
    bars = {"value": "macro_f1", "label": "method", "group": "data"}
    run = Run(
        title="A run <of> tests & more",
        command="scssl demo --out 'my folder'",
        summary=["Pre-training took 12 s. The model labels 91 % of the cells right.", "A second paragraph."],
        settings={"model": {"hidden": [512, 64]}, "seed": 0},
        data=[{"name": "atlas.h5ad", "cells": 1200, "genes": 900}],
        timings={"simulate": 3.2, "pre-train": 61.5},
        sections=[
            Section(kind="scores", title="Scores", file="scores.csv", text="Higher is better.", options=bars),
            Section(kind="curve", title="Loss", file="history.csv", text="Should fall."),
            Section(kind="embedding", title="Cells", file="cells.csv", options=cells_shown),
            Section(kind="confusion", title="Who is taken for whom", file="confusion.csv"),
            Section(kind="table", title="Extra", file="extra.csv"),
        ],
    )
    run.save(folder)
    return run


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    write_run(tmp_path / "run folder")
    return tmp_path / "run folder"
