"""The tables of a corpus beside its shards: genes, what was measured, totals, and who is in which split."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from tokenize import TokenError
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scssl.corpus.format import manifest
from scssl.corpus.format.compressed import ZarrVector
from scssl.corpus.format.manifest import SPLITS
from scssl.corpus.format.shard import N_COUNTS, SOURCE, SPLIT, FileVector, Shard
from scssl.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from scssl.genes import GenePanel

GENES = "genes.tsv"


def table_names(generation: int) -> tuple[str, str]:
    """Names of the files of `Corpus.measured` and `Corpus.gene_counts`, which change when cells are added."""
    number = f"-{generation}" if generation else ""
    return f"measured{number}.npy", f"gene_counts{number}.npy"


def groups_name(generation: int) -> str:
    """Name of the file that says which group is in which split, which changes when cells are added."""
    return f"splits-{generation}.tsv" if generation else "splits.tsv"


def write_groups(path: Path, rows: Sequence[tuple[str, str, str, int]]) -> None:
    """Write the table of splits: source, group, split, cells. Cells added later follow it."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["source", "group", "split", "cells"])
        writer.writerows(sorted(rows))


def read_groups(path: Path) -> list[tuple[str, str, str, int]]:
    """Read what `write_groups` wrote.

    Raises
    ------
    FormatError
        If the table is altered.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", strict=True))
        return [(row["source"], row["group"], row["split"], int(row["cells"])) for row in rows]
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        message = (
            f"{path}: cannot be read ({error}); the file is truncated or altered, or cells were added to the corpus "
            "since it was opened: open it again"
        )
        raise FormatError(message) from error


def read_panel(root: Path, entry: Mapping[str, Any]) -> GenePanel:
    """Read the genes of a corpus, which must be those of its manifest's entry."""
    from scssl.genes import GenePanel

    panel = replace(GenePanel.from_file(root / GENES), name=entry["name"], species=entry.get("species"))
    if panel.fingerprint != entry["fingerprint"]:
        message = f"{root / GENES}: these are not the genes that the corpus was built with: the file was altered"
        raise FormatError(message)
    return panel


def check_lengths(root: Path, folder: str, shard: Shard, files: Mapping[str, Any]) -> None:
    """Make sure that a shard's arrays are files of the corpus, as long as the manifest says."""
    arrays = (shard.values, shard.indices, shard.indptr, shard.n_counts, *shard.codes.values())
    for array in arrays:
        assert isinstance(array, FileVector | ZarrVector)
        name = f"{folder}/{array.path.relative_to(root / folder).as_posix()}"
        # How long a compressed array is, its own description says when it is first read.
        if name not in files or (
            isinstance(array, FileVector) and files[name]["bytes"] != len(array) * array.dtype.itemsize
        ):
            message = f"{root / manifest.FILE}: {name} is not listed with the size that its shard has; it was altered"
            raise FormatError(message)


def read_table(path: Path, shape: tuple[int, int], dtype: np.dtype) -> NDArray[Any]:
    """Read a .npy file that must hold an array of a shape and type."""
    try:
        with path.open("rb") as file:
            if np.lib.format.read_magic(file) != (1, 0):
                message = "not of version 1.0 of the format"
                raise ValueError(message)
            # The header before any value: it says how much memory to take.
            found, by_column, kind = np.lib.format.read_array_header_1_0(file)
            if found != shape or kind != dtype or by_column:
                message = f"{path}: holds {kind} {found}, expected {dtype} {shape}; the file was altered"
                raise FormatError(message)
            table: NDArray[Any] = np.fromfile(file, dtype=dtype, count=math.prod(shape)).reshape(shape)
    # numpy reads the header as Python literals.
    except (OSError, ValueError, TypeError, SyntaxError, TokenError) as error:
        message = f"{path}: cannot be read ({str(error).partition(chr(10))[0]}); the file is truncated or altered"
        raise FormatError(message) from error
    return table


def read_obs(
    shards: Sequence[Shard], *, sources: Sequence[str], categories: Mapping[str, Sequence[str]]
) -> pd.DataFrame:
    """Read the annotations of the cells of some shards; see `Corpus.obs`."""

    def join(parts: list[NDArray[Any]], dtype: Any) -> NDArray[Any]:
        return np.concatenate([np.empty(0, dtype=dtype), *parts])

    names = {SOURCE: sources, **categories}
    columns: dict[str, Any] = {}
    for column, values in names.items():
        codes = join([shard.read_codes(column, n_names=len(values)) for shard in shards], np.int32)
        columns[column] = pd.Categorical.from_codes(codes, categories=pd.Index(list(values), dtype=object))
    which = np.repeat([SPLITS.index(s.split) for s in shards], [s.n_cells for s in shards]).astype(np.int8)
    columns[SPLIT] = pd.Categorical.from_codes(which, categories=pd.Index(SPLITS, dtype=object))
    columns[N_COUNTS] = join([shard.n_counts[:] for shard in shards], np.int64)
    index = pd.Index(join([shard.cell_names() for shard in shards], object), dtype=object)
    first = [SOURCE, SPLIT, N_COUNTS]
    return pd.DataFrame(columns, index=index)[[*first, *(c for c in columns if c not in first)]]


def count_sources(shards: Sequence[Shard], *, n_sources: int) -> NDArray[np.int64]:
    """(n_sources,) cells of each source in some shards."""
    counts = np.zeros(n_sources, dtype=np.int64)
    for shard in shards:
        codes = shard.read_codes(SOURCE, n_names=n_sources)
        counts += np.bincount(codes[codes >= 0], minlength=n_sources)
    return counts
