"""An open SOMA experiment: its obs, its matrices, and a CellMatrix that reads them by ranges of cells."""

from __future__ import annotations

import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import scipy.sparse as sp

from scssl.corpus.sources.matrices import BLOCK_VALUES, CellMatrix, usable_dtype
from scssl.errors import DataError, FormatError, import_extra
from scssl.log import logger

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

EXTRA: Final = "census"
MEASUREMENT: Final = "RNA"
LAYER: Final = "raw"
JOINID: Final = "soma_joinid"
MEMORY: Final = {
    # Per column of what is being read; the library's own default is 1 GiB.
    "soma.init_buffer_bytes": str(16 << 20),
    # Tiles that are held uncompressed at a time; default 1 GiB.
    "sm.mem.tile_upper_memory_limit": str(128 << 20),
    # The whole, default 10 GiB. Most of it may go to the places of the tiles, some 60 bytes for each: the default of a
    # tenth would do for less than two million tiles, or some 10^11 values.
    "sm.mem.total_budget": str(1 << 30),
    "sm.mem.reader.sparse_unordered_with_dups.ratio_array_data": "0.6",
    "sm.mem.reader.sparse_global_order.ratio_array_data": "0.6",
    "vfs.s3.connect_max_tries": "10",
}
"""What keeps the library within the memory of a build."""
PAUSES: Final = (5.0, 30.0, 120.0)
"""Seconds to wait before a remote read is tried again."""
SAMPLED: Final = (8, 64)
"""Places, and cells at each, that the number of nonzeros is estimated from."""
WIDEST: Final = 4
"""Cells that lie scattered are read as one range if that is at most this many times as many."""


def is_remote(uri: str) -> bool:
    """Whether a network lies between."""
    return "://" in uri and not uri.startswith("file:")


@contextmanager
def reading(name: str, uri: str) -> Iterator[None]:
    """Turn what the library raises into one message."""
    soma = import_extra("tiledbsoma", extra=EXTRA)
    try:
        yield
    except soma.DoesNotExistError as error:
        message = f"{name}: there is no SOMA experiment at {uri}"
        raise DataError(message) from error
    except (soma.SOMAError, RuntimeError, OSError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        advice = (
            "check the network, the address, and that you may read it"
            if is_remote(uri)
            else "the experiment is damaged; write, copy or download it again"
        )
        message = f"{name}: {uri} cannot be read ({reason}): {advice}"
        raise FormatError(message) from error


def context(region: str | None) -> Any:
    """Make the library's settings; with a region, that of a public S3 bucket, nothing is signed."""
    soma = import_extra("tiledbsoma", extra=EXTRA)
    config = dict(MEMORY)
    if region is not None:
        config |= {"vfs.s3.region": region, "vfs.s3.no_sign_request": "true"}
    return soma.SOMATileDBContext(tiledb_config=config)


def open_experiment(uri: str, *, name: str, region: str | None) -> OpenExperiment:
    """Open an experiment; of several ranges of the same, in one process, only the first has to.

    Parameters
    ----------
    uri
        Folder or address.
    name
        What it is called in messages.
    region
        Region of a public S3 bucket; None to take the user's own settings.
    """
    return _open(uri, name, region, os.getpid())


@lru_cache(maxsize=1)
def _open(uri: str, name: str, region: str | None, _pid: int) -> OpenExperiment:
    return OpenExperiment(uri, name=name, region=region)


def forget() -> None:
    """Close what is kept open, so that changes on disk are seen."""
    _open.cache_clear()


class OpenExperiment:
    """A SOMA experiment, open for reading.

    Attributes
    ----------
    name
        What it is called in messages.
    uri
        Where it is.
    obs
        Its table of cells, a ``tiledbsoma.DataFrame``.
    """

    def __init__(self, uri: str, *, name: str, region: str | None) -> None:
        soma = import_extra("tiledbsoma", extra=EXTRA)
        self.name, self.uri, self.region = name, uri, region
        with reading(name, uri):
            opened = soma.open(uri, context=context(region))
            if not isinstance(opened, soma.Experiment):
                there = ", ".join(sorted(opened.keys())[:8]) if hasattr(opened, "keys") else "no collection"
                message = f"{name}: {uri} is a {type(opened).__name__}, no SOMA experiment (in it: {there})"
                if hasattr(opened, "keys") and "census_data" in opened:
                    message += f"; give one of its experiments, e.g. {uri.rstrip('/')}/census_data/homo_sapiens"
                raise DataError(message)
            missing = [f"no {member}" for member in ("obs", "ms") if member not in opened]
            if missing:
                message = f"{name}: {uri} has {', '.join(missing)}: an experiment that was never finished"
                raise FormatError(message)
            self._experiment = opened
            self.obs = opened.obs
        self._var: dict[str, pd.DataFrame] = {}
        self._per_cell: dict[str, float] = {}

    @property
    def columns(self) -> list[str]:
        """Names of the columns of obs."""
        return [name for name in self.obs.schema.names if name != JOINID]

    def count(self, *, block: int, value_filter: str | None) -> dict[int, int]:
        """Count the cells that pass the filter, per block of so many joinids; blocks without any are left out."""
        counts: Counter[int] = Counter()
        with reading(self.name, self.uri):
            for table in self.obs.read(column_names=[JOINID], value_filter=value_filter):
                blocks, n = np.unique(table[JOINID].to_numpy() // block, return_counts=True)
                counts.update(dict(zip(blocks.tolist(), n.tolist(), strict=True)))
        return dict(sorted(counts.items()))

    def read_obs(
        self, start: int, stop: int, *, columns: Sequence[str], value_filter: str | None
    ) -> tuple[NDArray[np.int64], pd.DataFrame]:
        """Read those of the columns that there are, for the cells start..stop-1 that pass the filter.

        Returns
        -------
        joinids : numpy.ndarray
            Sorted.
        obs : pandas.DataFrame
            Its index is ``obs_id``, or the joinids.
        """
        there = self.columns
        wanted = [JOINID, *(name for name in dict.fromkeys([*columns, "obs_id"]) if name in there)]
        coords: tuple[slice, ...] = (slice(start, stop - 1),)
        if self.obs.index_column_names[0] != JOINID:
            coords = ()
            inside = f"({JOINID} >= {start} and {JOINID} < {stop})"
            value_filter = inside if value_filter is None else f"{inside} and {value_filter}"
        with reading(self.name, self.uri):
            table = self.obs.read(coords, column_names=wanted, value_filter=value_filter).concat()
        # The library adds the columns that the filter looks at.
        obs = table.select(wanted).to_pandas().sort_values(JOINID, ignore_index=True)
        joinids = obs.pop(JOINID).to_numpy(dtype=np.int64)
        names = obs.get("obs_id", joinids)
        if "obs_id" not in columns:
            obs = obs.drop(columns="obs_id", errors="ignore")
        return joinids, obs.set_axis(pd.Index([str(name) for name in names], dtype=object), axis=0)

    @property
    def layers(self) -> list[str]:
        """Matrices as ``measurement/layer``."""
        with reading(self.name, self.uri):
            return [f"{m}/{x}" for m, measured in self._experiment.ms.items() for x in measured.get("X", ())]

    def choose(self, layer: str | None) -> str:
        """Return the key of the matrix asked for, or say what there is.

        Parameters
        ----------
        layer
            Layer of the measurement RNA, or ``measurement/layer``; None is ``raw``, or the only one there is.
        """
        layers = self.layers
        if layer is not None and layer in layers:
            return layer
        mine = [key for key in layers if key.startswith(f"{MEASUREMENT}/")]
        wanted = f"{MEASUREMENT}/{LAYER if layer is None else layer}"
        if wanted in mine:
            return wanted
        if layer is None and len(mine) == 1:
            return mine[0]
        there = ", ".join(f"--layer {key}" for key in layers) or "no matrix at all"
        if not mine:
            what = f"no measurement {MEASUREMENT}"
        elif layer is None:
            what = f"no layer {LAYER} in {MEASUREMENT}, and several others"
        else:
            what = f"no layer {layer!r}"
        message = f"{self.name}: has {what}; there is: {there}"
        raise DataError(message)

    def var(self, layer: str) -> pd.DataFrame:
        """Features of a matrix, in the order of their joinids, which are in the column ``soma_joinid``."""
        measurement = layer.split("/")[0]
        if measurement not in self._var:
            with reading(self.name, self.uri):
                if "var" not in self._experiment.ms[measurement]:
                    message = f"{self.name}: measurement {measurement} has no var, so its features have no names"
                    raise FormatError(message)
                var = self._experiment.ms[measurement].var.read().concat().to_pandas()
            var = var.sort_values(JOINID, ignore_index=True)
            for column in ("feature_id", "var_id"):
                if column in var:
                    var = var.set_index(column)
                    break
            self._var[measurement] = var
        return self._var[measurement]

    def array(self, layer: str) -> Any:
        """Return a matrix, a ``tiledbsoma.SparseNDArray`` or ``DenseNDArray``."""
        measurement, _, name = layer.partition("/")
        with reading(self.name, self.uri):
            return self._experiment.ms[measurement].X[name]

    def member(self, layer: str, name: str) -> Any:
        """Return another member of a matrix's measurement, None if there is none of that name."""
        with reading(self.name, self.uri):
            return self._experiment.ms[layer.split("/")[0]].get(name)

    def nonzeros_per_cell(self, layer: str) -> float:
        """Estimate the mean number of stored values of a cell, from a few cells."""
        if layer not in self._per_cell:
            array, (places, cells) = self.array(layer), SAMPLED
            n_rows = array.shape[0]
            n_values = n_cells = 0
            for start in np.unique(np.linspace(0, max(n_rows - cells, 0), places).astype(np.int64)).tolist():
                with reading(self.name, self.uri):
                    for table in array.read((slice(start, min(start + cells, n_rows) - 1),)).tables():
                        n_values += len(table)
                n_cells += min(cells, n_rows - start)
            self._per_cell[layer] = n_values / max(n_cells, 1)
        return self._per_cell[layer]


class SomaMatrix(CellMatrix):
    """Cells of a SOMA matrix, sparse or dense; the next chunk is read while one is worked on.

    Parameters
    ----------
    experiment
        Where it is.
    layer
        Which matrix: ``measurement/layer``.
    joinids
        (n_cells,) sorted joinids of the cells.
    nnz
        Stored values, None to estimate them from a few cells.
    """

    def __init__(self, experiment: OpenExperiment, *, layer: str, joinids: NDArray[np.int64], nnz: int | None) -> None:
        import tiledbsoma

        self._experiment, self._ids, self._array = experiment, joinids, experiment.array(layer)
        self._features = experiment.var(layer)[JOINID].to_numpy(dtype=np.int64)
        self._dense = isinstance(self._array, tiledbsoma.DenseNDArray)
        shape = (len(joinids), len(self._features))
        if nnz is None and not self._dense:
            nnz = round(experiment.nonzeros_per_cell(layer) * len(joinids))
        super().__init__(shape, nnz=None if self._dense else nnz, where=f"{experiment.name}: {layer}")

    def rows(self, start: int, stop: int) -> sp.csr_matrix:  # noqa: D102
        ids = self._ids[start:stop]
        if len(ids) == 0:
            return sp.csr_matrix((0, self.shape[1]), dtype=np.float32)
        if not self._dense:
            return self._retried(ids)
        # A dense array is read from the first to the last of the cells, so these must not be far apart.
        step = max(1, BLOCK_VALUES // max(self.shape[1], 1))
        parts = np.split(ids, np.flatnonzero(np.diff((ids - ids[0]) // step)) + 1)
        return sp.vstack([self._retried(part) for part in parts], format="csr")

    def chunks(self, size: int) -> Iterator[tuple[slice, sp.csr_matrix]]:  # noqa: D102
        starts = list(range(0, self.shape[0], size))
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="scssl-soma") as pool:
            ahead = pool.submit(self.rows, 0, size)
            for number, start in enumerate(starts):
                block = ahead.result()
                if number + 1 < len(starts):
                    ahead = pool.submit(self.rows, starts[number + 1], starts[number + 1] + size)
                yield slice(start, start + block.shape[0]), block

    def _retried(self, ids: NDArray[np.int64]) -> sp.csr_matrix:
        """Read, and where a network lies between, try again after a while: a build takes hours."""
        read = self._read_dense if self._dense else self._read_sparse
        for pause in PAUSES if is_remote(self._experiment.uri) else ():
            try:
                return read(ids)
            except FormatError as error:
                logger.warning("%s; trying again in %g s", error, pause)
                time.sleep(pause)
        return read(ids)

    def _read_sparse(self, ids: NDArray[np.int64]) -> sp.csr_matrix:
        first, last = int(ids[0]), int(ids[-1])
        coords = slice(first, last) if last - first < WIDEST * len(ids) else ids
        parts = []
        with reading(self._experiment.name, self._experiment.uri):
            for table in self._array.read((coords,)).tables():
                row = _positions(table["soma_dim_0"].to_numpy(), ids)
                column = _positions(table["soma_dim_1"].to_numpy(), self._features)
                value = usable_dtype(table["soma_data"].to_numpy())
                if len(column) and column.min() < 0:
                    what = "it has values for features that are not in var"
                    raise self._damaged(what)
                if len(row) and row.min() < 0:  # a cell between those asked for
                    mine = row >= 0
                    row, column, value = row[mine], column[mine], value[mine]
                # No cell and feature come twice, so nothing is summed here.
                parts.append(sp.coo_matrix((value, (row, column)), shape=(len(ids), self.shape[1])).tocsr())
        return _side_by_side(parts, shape=(len(ids), self.shape[1]))

    def _read_dense(self, ids: NDArray[np.int64]) -> sp.csr_matrix:
        with reading(self._experiment.name, self._experiment.uri):
            block = self._array.read((slice(int(ids[0]), int(ids[-1])),)).to_numpy()
        return sp.csr_matrix(usable_dtype(block[ids - ids[0]][:, self._features]))


def _positions(joinids: NDArray[np.int64], among: NDArray[np.int64]) -> NDArray[np.int32]:
    """Where in a sorted list each joinid is, -1 where it is not."""
    first, last = int(among[0]), int(among[-1])
    if last - first > WIDEST * len(among):
        found = np.minimum(np.searchsorted(among, joinids), len(among) - 1).astype(np.int32)
        found[among[found] != joinids] = -1
        return found
    # A table is several times as fast as a search.
    table = np.full(last - first + 2, -1, dtype=np.int32)
    table[among - first] = np.arange(len(among), dtype=np.int32)
    inside = (joinids >= first) & (joinids <= last)
    return table[np.where(inside, joinids - first, -1)]


def _side_by_side(parts: list[sp.csr_matrix], *, shape: tuple[int, int]) -> sp.csr_matrix:
    """Merge matrices that have no entry in common; unlike scipy's addition, in little more than the room of both."""
    if len(parts) == 1:
        whole = parts[0]
    else:
        indptr = np.sum([part.indptr.astype(np.int64) for part in parts], axis=0, initial=0)
        indptr = np.broadcast_to(indptr, shape[0] + 1).astype(np.int32 if indptr.max() < 2**31 else np.int64)
        dtype = parts[0].dtype if parts else np.dtype(np.float32)
        data, indices = np.empty(indptr[-1], dtype), np.empty(indptr[-1], np.int32)
        start = indptr[:-1].copy()
        for part in parts:
            n = np.diff(part.indptr)
            place = np.repeat(start - part.indptr[:-1], n) + np.arange(part.nnz)
            data[place], indices[place] = part.data, part.indices
            start += n
        whole = sp.csr_matrix((data, indices, indptr), shape=shape)
    whole.sort_indices()
    whole.has_canonical_format = True
    return whole
