"""What an integrator knows once it was fitted, and what it gives for cells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from scssl import keys
from scssl.corpus.sources.source import open_source
from scssl.errors import DataError, require_column
from scssl.tasks.output import Results

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.tasks.integrate.correct import Correction

FEW = 20
"""Cells of a batch from which on it is known where it lies."""
SAME = 1e-3
"""How far two codes of the same cell may differ, in units of their spread: sums are rounded otherwise elsewhere."""


class Batches(NamedTuple):
    """Cells and the batches that they are of."""

    obs: pd.DataFrame
    file: str
    """What the cells are called in messages."""
    codes: NDArray[np.int64]
    """(n_cells,) place in `names`."""
    names: list[str]
    column: str
    """Of ``obs``."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A study whose batches were brought together."""

    model: Any
    """`CellModel`: the one given, or what became of it."""
    correction: Correction
    codes: NDArray[np.float32]
    """(n_cells, n_latent) of the model."""
    embedding: NDArray[np.float32]
    """(n_cells, n_latent) with the batches brought together."""
    batch: NDArray[np.int64]
    """(n_cells,) place in `batches`."""
    batches: list[str]
    cells: list[str]
    """Names of the cells."""
    column: str
    """Of ``obs``, with the batches."""
    name: str
    """Where the cells came from."""
    training: dict[str, Any] = field(default_factory=dict)
    """How the training went; empty where there was none."""

    def map(
        self, codes: NDArray[np.float32], cells: Batches, *, empty: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return where cells lie; those of the study itself lie where they lay.

        Parameters
        ----------
        codes
            (n_cells, n_latent) of the model.
        cells
            The same cells' names and batches.
        empty
            (n_cells,) cells without counts, which are not moved.

        Returns
        -------
        embedding : numpy.ndarray
            (n_cells, n_latent) float32.
        known : numpy.ndarray
            (n_cells,) bool, cells of the study.
        """
        place = self._places(codes, cells)
        known = place >= 0
        embedding = codes.copy()
        embedding[known] = self.embedding[place[known]]
        other = ~known & ~empty
        if other.any():
            new, own = np.unique(cells.codes[other], return_inverse=True)
            size = np.bincount(own)
            if size.min() < FEW:
                from scssl.log import logger

                logger.warning(
                    "%s: batch %r has %d cells that are new, of which little can be said as a batch", cells.file,
                    cells.names[new[size.argmin()]], size.min(),
                )  # fmt: skip
            embedding[other] = self.correction.map(codes[other], batch=own)
        return embedding, known

    def _places(self, codes: NDArray[np.float32], cells: Batches) -> NDArray[np.int64]:
        """Return the place of each cell in the study, -1 for others: same batch, same name, same code."""
        mine = pd.MultiIndex.from_arrays([np.array(self.batches, dtype=object)[self.batch], self.cells])
        theirs = pd.MultiIndex.from_arrays(
            [np.array(cells.names, dtype=object)[cells.codes], cells.obs.index.astype(str)]
        )
        if mine.is_unique:
            place = np.asarray(mine.get_indexer(theirs), dtype=np.int64)
        else:
            # Names that occur twice say who is who only in the same order.
            place = np.arange(len(theirs)) if mine.equals(theirs) else np.full(len(theirs), -1)
        rows = np.flatnonzero(place >= 0)
        limit = SAME * max(float(self.codes.std()), 1e-12)
        other = np.abs(codes[rows] - self.codes[place[rows]]).max(axis=1, initial=0.0) > limit
        place[rows[other]] = -1
        return place


@dataclass(frozen=True, kw_only=True)
class Integration:
    """Cells in the space of a study."""

    embedding: NDArray[np.float32]
    """(n_cells, n_latent)."""
    codes: NDArray[np.float32]
    """(n_cells, n_latent) of the model, before batches were moved."""
    known: NDArray[np.bool_]
    """(n_cells,) cells of the study that the integrator was fitted on."""
    empty: NDArray[np.bool_]
    """(n_cells,) cells without any count on the model's genes: where they lie means nothing."""
    batches: Batches
    settings: dict[str, Any]
    """How it came about, as written to ``uns``."""

    def results(self, *, key_added: str | None = None) -> Results:
        """Return the embedding under the name that it has in an AnnData, see `Integrator.predict`.

        Parameters
        ----------
        key_added
            Name in ``obsm`` instead.
        """
        task = "integrate" if key_added is None else f"integrate_{key_added}"
        key = keys.INTEGRATED if key_added is None else key_added
        return Results(task=task, settings=self.settings, obsm={key: self.embedding})


def read_batches(data: AnnData | Path | str, column: str, *, layer: str | None, several: bool) -> Batches:
    """Read which batch each cell is of.

    Parameters
    ----------
    data
        AnnData or file.
    column
        Of ``obs``.
    layer
        Where the counts are.
    several
        Whether there must be more than one.

    Raises
    ------
    DataError
        If there is no such column, cells are of no batch, or all are of one.
    """
    with open_source(data, layer=layer) as source:
        obs, file = source.obs, source.file
    require_column(obs.columns, column, file=file, role="with the batches")
    values = obs[column]
    if isinstance(values.dtype, np.dtype) and values.dtype.kind == "f" and (values.dropna() % 1 != 0).any():
        message = f"{file}: obs[{column!r}] holds numbers with decimals, not batches; choose another --batch"
        raise DataError(message)
    missing = int(values.isna().sum())
    if missing:
        message = (
            f"{file}: {missing:,} of {len(obs):,} cells have no batch in obs[{column!r}]; give them one, or leave "
            "them out"
        )
        raise DataError(message)
    names, codes = np.unique(values.astype(str).to_numpy(dtype=str), return_inverse=True)
    if several and len(names) < 2:
        message = (
            f"{file}: all cells are of one batch ({str(names[0])!r}) in obs[{column!r}], so nothing is to be "
            "integrated; choose another --batch, or use: scssl embed"
        )
        raise DataError(message)
    return Batches(obs, file, codes.astype(np.int64), [str(name) for name in names], column)
