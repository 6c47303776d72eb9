"""Time and memory that using a model on a file will take, said before it starts."""

from __future__ import annotations

from pathlib import Path

CELLS_PER_SECOND = 5_000
"""Read, embedded and looked up, on two cores."""
START_UP = 8.0
"""Seconds to load the libraries and the model."""


def estimate(file: Path, *, n_cells: int, n_features: int, n_reference: int = 0) -> str:
    """Return what to expect, in words.

    Parameters
    ----------
    file
        The input.
    n_cells, n_features
        Its size.
    n_reference
        Labelled cells that each cell is compared with.
    """
    seconds = START_UP + (n_cells + n_reference) / CELLS_PER_SECOND + n_cells * n_reference / 2e9
    # The libraries take 0.8 GB; a chunk is 4,096 cells; inputs other than .h5ad are read whole to be written.
    memory = 1.2 + 4096 * n_features * 4 / 1e9 + (n_cells + n_reference) * 600 / 1e9
    if file.suffix != ".h5ad":
        memory += n_cells * n_features * 0.1 * 12 / 1e9
    words = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    return f"about {words} and {memory:.1f} GB of memory"
