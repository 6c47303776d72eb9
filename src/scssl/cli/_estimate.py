"""Time and memory that using a model on a file will take, said before it starts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CELLS_PER_SECOND = 5_000
"""Read, embedded and looked up, on two cores."""
START_UP = 8.0
"""Seconds to load the libraries and the model."""
JUDGED = 5e-4
"""Seconds per labelled cell to learn what unknown cells look like."""
FOLDS = 6
"""Classifiers that a probe learns where its labels are judged: five without some donors, one with all."""
ITERATIONS = 100
"""Of the logistic regression, typically."""
REGRESSION = 1e9
"""Cells times dimensions times labels that one iteration goes through in a second."""
EXPLAINED = 4e9
"""Cells times weights of the first layer that explaining goes through in a second."""
READ = 1e7
"""Values of expression and uncertainty read and written in a second."""
STEPPED = 2e10
"""Cells times weights of the first layer that a step of pre-training goes through in a second."""
USUAL = (20_000, 512, 128)
"""Genes, units and dimensions of a model that does not say."""


def estimate(file: Path, *, n_cells: int, n_features: int, n_reference: int = 0, also: float = 0.0) -> str:
    """Return what to expect, in words.

    Parameters
    ----------
    file
        The input.
    n_cells, n_features
        Its size.
    n_reference
        Labelled cells that each cell is compared with.
    also
        Seconds that come on top.
    """
    seconds = START_UP + (n_cells + n_reference) / CELLS_PER_SECOND + n_cells * n_reference / 2e9 + also
    # The libraries take 0.8 GB; a chunk is 4,096 cells; inputs other than .h5ad are read whole to be written.
    memory = 1.2 + 4096 * n_features * 4 / 1e9 + (n_cells + n_reference) * 600 / 1e9
    if file.suffix != ".h5ad":
        memory += n_cells * n_features * 0.1 * 12 / 1e9
    words = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    return f"about {words} and {memory:.1f} GB of memory"


def seconds_to_learn(model: Path, *, n_reference: int, n_labels: int, mode: str, judged: bool) -> float:
    """Return what learning from a reference takes, beside embedding it.

    Parameters
    ----------
    model
        Folder of the model.
    n_reference, n_labels
        Labelled cells, and their names.
    mode
        How labels are found.
    judged
        Whether confidence, label sets and rejection are learned.
    """
    genes, width, latent = _sizes(model)
    seconds = JUDGED * n_reference if judged else 0.0
    if mode == "probe":
        fits = FOLDS if judged else 1
        seconds += fits * ITERATIONS * n_reference * latent * n_labels / REGRESSION
    elif mode in ("finetune", "scratch"):
        from scssl.study.estimate import seconds_to_tune

        seconds += seconds_to_tune(n_reference, weights=genes * width, scratch=mode == "scratch")
    return seconds


def seconds_to_explain(model: Path, *, n_cells: int) -> float:
    """Return what finding the genes that drove the labels takes.

    Parameters
    ----------
    model
        Folder of the model, or of an annotator.
    n_cells
        Cells to explain.
    """
    genes, width, _ = _sizes(model)
    return n_cells * genes * width / EXPLAINED


def seconds_to_reconstruct(model: Path, *, n_cells: int, n_genes: int, steps: int) -> float:
    """Return what reading expression takes, and the training before it.

    Parameters
    ----------
    model
        Folder of the model.
    n_cells, n_genes
        Values to read.
    steps
        Of the training; 0 for none.
    """
    genes, width, _ = _sizes(model)
    return n_cells * n_genes / READ + steps * 512 * genes * width / STEPPED


def _sizes(model: Path) -> tuple[int, int, int]:
    """Return genes, units of the first layer and dimensions; whether they can be used is found out by loading."""
    for folder in (model, model / "model"):
        try:
            content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            shape = content["config"]["architecture"]
            return int(content["n_genes"]), int(shape["hidden"][0]), int(shape["n_latent"])
        except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):
            continue
    return USUAL
