"""What the folder of a saved search for similar cells holds: settings, the reference's codes and obs, and the model."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final, get_args

import pandas as pd

from scssl.tasks.saved import MODEL, Kind, read_arrays, read_model, take, write_arrays
from scssl.tasks.similar import Backend, Reference

if TYPE_CHECKING:
    from pathlib import Path

    from scssl.model.cell_model import CellModel
    from scssl.tasks.similar import SimilarCells

CODES: Final = "codes.safetensors"
CELLS: Final = "cells.csv"
NAME: Final = "cell"
"""Column of the table with the cells' names."""
KIND: Final = Kind(
    named="a search for similar cells", format="scssl-similar", version=1, settings="similar.json",
    holds={"k": int, "backend": str, "name": str},
)  # fmt: skip


def write(path: Path, search: SimilarCells, *, overwrite: bool) -> None:
    """Write a folder that appears only when complete.

    Raises
    ------
    SettingsError
        If `fit` has not been called, or there is something at `path` that is not to be replaced.
    """
    reference = search._fitted()
    with KIND.new(path, overwrite=overwrite) as folder:
        search.model.save(folder / MODEL)
        write_arrays(folder / CODES, {"codes": reference.codes})
        reference.obs.set_axis(reference.cells).to_csv(folder / CELLS, index_label=NAME, lineterminator="\n")
        KIND.close(folder, {"k": search.k, "backend": search.backend, "name": reference.name})


def read(path: Path) -> tuple[CellModel, dict[str, Any], Reference]:
    """Read and check a folder.

    Raises
    ------
    FormatError
        If anything is missing, altered, malformed, of a later version, or does not fit together.
    """
    content = KIND.read(path)
    with KIND.using(path / KIND.settings):
        if content["k"] < 1 or content["backend"] not in get_args(Backend):
            raise ValueError(content["k"], content["backend"])
    with KIND.using(path / CELLS):
        table = pd.read_csv(io.BytesIO((path / CELLS).read_bytes()), dtype=str, keep_default_na=False, index_col=NAME)
    model = read_model(path)
    with KIND.using(path / CODES):
        codes = take(read_arrays(path / CODES), "codes", shape=(len(table), model.n_latent))
    cells = table.index.astype(str)
    return model, content, Reference(codes=codes, cells=cells, obs=table.astype(object), name=content["name"])
