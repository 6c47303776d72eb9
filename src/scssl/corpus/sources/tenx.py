"""10x Genomics matrices: .h5 files of Cell Ranger 2 and 3+, and folders with matrix.mtx, barcodes and features."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scssl.corpus.sources.matrices import BLOCK_VALUES, RowCompressed, Unordered
from scssl.corpus.sources.source import CellSource, choose_layer
from scssl.errors import DataError, FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack
    from pathlib import Path
    from typing import IO

    from scssl.corpus.sources.matrices import Triplets

_ARRAYS = {"data", "indices", "indptr", "shape", "barcodes"}


def is_tenx_file(file: Any) -> bool:
    """Say whether an open HDF5 file is a 10x matrix (of Cell Ranger 3+, or one group per genome as before)."""
    return bool(_genomes(file)) and "obs" not in file


def _genomes(file: Any) -> list[str]:
    return [name for name in file if hasattr(file[name], "keys") and set(file[name]) >= _ARRAYS]


def open_file(file: Any, *, path: Path, layer: str | None, stack: ExitStack) -> CellSource:
    """Open a 10x ``.h5``; `var` gets the columns gene_ids and, where the file says it, feature_types and genome."""
    genomes = _genomes(file)
    if len(genomes) > 1:
        message = f"{path}: holds {len(genomes)} genomes ({', '.join(genomes)}); split it into one file per species"
        raise DataError(message)
    group = file[genomes[0]]
    n_features, n_cells = (int(n) for n in group["shape"][:])
    choose_layer(layer, ["X"], file=str(path), n_cells=n_cells)
    features = group.get("features", group)
    columns = {
        "gene_ids": "id" if "id" in features else "genes",
        "symbol": "name" if "name" in features else "gene_names",
        "feature_types": "feature_type",
        "genome": "genome",
    }
    table = {new: _text(features[old]) for new, old in columns.items() if old in features}
    if not {"gene_ids", "symbol"} <= set(table):
        message = f"{path}: a 10x matrix without gene IDs and names (it holds: {', '.join(features)})"
        raise FormatError(message)
    var = pd.DataFrame({key: value for key, value in table.items() if key != "symbol"}, index=table["symbol"])
    obs = pd.DataFrame(index=_text(group["barcodes"]))
    # 10x stores features by barcodes by columns, which is cells by features by rows.
    matrix = RowCompressed(
        group["data"], group["indices"], group["indptr"], (n_cells, n_features), where=f"{path}: {genomes[0]}"
    )
    return CellSource(matrix, name=path.stem, path=path, obs=obs, var=var, stack=stack)


def _text(dataset: Any) -> np.ndarray:
    return np.array([item.decode() if isinstance(item, bytes) else str(item) for item in dataset[:]], dtype=object)


def _find(folder: Path, *names: str) -> list[Path]:
    """Files of these names, plain or gzipped, with or without a sample's prefix (``GSM123_matrix.mtx.gz``)."""
    endings = tuple(name + end for name in names for end in ("", ".gz"))
    return sorted(p for p in folder.iterdir() if p.is_file() and p.name.endswith(endings))


def is_mtx_folder(folder: Path) -> bool:
    """Say whether a folder holds a Matrix Market matrix."""
    return bool(_find(folder, "matrix.mtx"))


def open_mtx_folder(folder: Path, *, layer: str | None) -> CellSource:
    """Open a 10x folder: ``matrix.mtx``, ``barcodes.tsv`` and ``features.tsv`` (or ``genes.tsv``), plain or gzipped.

    Raises
    ------
    DataError
        If one of the three is missing, or the folder holds several samples.
    """
    found = {
        "matrix.mtx": _find(folder, "matrix.mtx"),
        "barcodes.tsv": _find(folder, "barcodes.tsv"),
        "features.tsv": _find(folder, "features.tsv", "genes.tsv"),
    }
    for name, paths in found.items():
        if not paths:
            message = f"{folder}: lacks {name} (or {name}.gz), which belongs to matrix.mtx"
            raise DataError(message)
        if len(paths) > 1:
            several = ", ".join(path.name for path in paths[:3])
            message = f"{folder}: holds several {name} files ({several}, ...); give each sample its own folder"
            raise DataError(message)
    path = found["matrix.mtx"][0]
    (n_features, n_cells, nnz), skip = _header(path)
    choose_layer(layer, ["X"], file=str(folder), n_cells=n_cells)
    features = _read_list(found["features.tsv"][0])
    names = features[1] if 1 in features else features[0]
    var = pd.DataFrame({"gene_ids": features[0].to_numpy()}, index=names.to_numpy())
    if 2 in features:
        var["feature_types"] = features[2].to_numpy()
    obs = pd.DataFrame(index=_read_list(found["barcodes.tsv"][0])[0].to_numpy())

    def blocks() -> Iterator[Triplets]:
        seen = 0
        kind = {0: np.int32, 1: np.int32, 2: np.float64}
        with _open(path) as stream:
            for _ in range(skip):
                stream.readline()
            if nnz == 0:
                return
            reader = pd.read_csv(stream, sep=r"\s+", header=None, dtype=kind, chunksize=BLOCK_VALUES // 4, engine="c")
            for block in reader:
                seen += len(block)
                value = block[2].to_numpy()
                whole = np.all(value == np.rint(value)) and np.all(np.abs(value) < 2**31)
                yield block[1].to_numpy() - 1, block[0].to_numpy() - 1, value.astype(np.int32) if whole else value
        if seen != nnz:
            message = f"{path}: announces {nnz:,} values but holds {seen:,}; damaged or truncated"
            raise FormatError(message)

    matrix = Unordered(blocks, (n_cells, n_features), nnz=nnz, where=str(path))
    return CellSource(matrix, name=_sample_name(folder), path=folder, obs=obs, var=var)


def _sample_name(folder: Path) -> str:
    """Name of the sample: Cell Ranger's own folder names say nothing, so go up past them."""
    parts = [part for part in folder.resolve().parts if part not in ("outs", "count")]
    plain = [part for part in parts if "bc_matri" not in part and part not in ("hg19", "GRCh38", "mm10", "GRCm38")]
    return plain[-1] if plain else folder.name


def _header(path: Path) -> tuple[tuple[int, int, int], int]:
    """Read the three sizes and the number of lines before the values."""
    lines = 0
    try:
        with _open(path) as stream:
            for line in stream:
                lines += 1
                if lines == 1 and not line.lower().startswith("%%matrixmarket matrix coordinate"):
                    break
                if line.startswith("%") or not line.strip():
                    continue
                n_features, n_cells, nnz = (int(part) for part in line.split())
                return (n_features, n_cells, nnz), lines
    except (ValueError, EOFError, OSError) as error:
        message = f"{path}: damaged or truncated Matrix Market file ({error})"
        raise FormatError(message) from error
    message = f"{path}: not a Matrix Market file of coordinates"
    raise FormatError(message)


def _read_list(path: Path) -> pd.DataFrame:
    try:
        with _open(path) as stream:
            return pd.read_csv(stream, sep="\t", header=None, dtype=str, keep_default_na=False, quoting=3)
    except pd.errors.EmptyDataError as error:
        message = f"{path}: the file is empty"
        raise DataError(message) from error
    except (EOFError, OSError) as error:
        message = f"{path}: damaged or truncated ({error})"
        raise FormatError(message) from error


def _open(path: Path) -> IO[str]:
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open("rt", encoding="utf-8")
