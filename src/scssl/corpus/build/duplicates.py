"""De-duplication during a build: the keys and sketches of all cells on disk, compared a range of keys at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.corpus.build.barcodes import barcode_keys
from scssl.corpus.build.copies import N_ENTRIES, Sketch, find_copies, sketch
from scssl.corpus.build.stored import cells_with_keys, read_sketch
from scssl.corpus.format.shard import SOURCE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from scssl.corpus.build.read import Block
    from scssl.corpus.store import Corpus

CELLS_AT_ONCE: Final = 250_000
"""Cells compared at a time, about: 250 MB of memory."""
ENDING: Final = ".keys.npy"
RECORD: Final = np.dtype(
    [
        ("key", "<u8"),
        ("cell", "<i8"),
        ("bucket", "<i4"),
        ("source", "<i4"),
        ("genes", "<i4", (N_ENTRIES,)),
        ("counts", "<u2", (N_ENTRIES,)),
    ]
)
"""What is remembered of a cell."""


@dataclass
class KeyWriter:
    """Gather what is needed to recognise the cells of a part.

    Parameters
    ----------
    rank
        (n_genes,) from `gene_order`.
    """

    rank: NDArray[np.int32]
    _parts: list[NDArray[Any]] = field(default_factory=list)

    def add(self, block: Block, bucket: NDArray[np.integer]) -> None:
        """Take some cells and the buckets that they went to."""
        self._parts.append(records(block, bucket, self.rank))

    def sorted(self) -> NDArray[Any]:
        """Return the records in the order of their keys."""
        joined = np.concatenate([np.empty(0, dtype=RECORD), *self._parts])
        return joined[np.argsort(joined["key"], kind="stable")]


def records(block: Block, bucket: NDArray[np.integer], rank: NDArray[np.int32]) -> NDArray[Any]:
    """(n_cells,) of `RECORD`."""
    keys, sketched = barcode_keys(block.names), sketch(block.X, rank)
    return _records(keys, sketched, cell=block.cell, bucket=bucket, source=block.codes[:, 0])


def _records(
    keys: NDArray[np.uint64],
    sketched: Sketch,
    *,
    cell: NDArray[np.integer],
    bucket: NDArray[np.integer] | int,
    source: NDArray[np.integer],
) -> NDArray[Any]:
    found = np.empty(len(keys), dtype=RECORD)
    found["key"], found["cell"], found["bucket"], found["source"] = keys, cell, bucket, source
    found["genes"], found["counts"] = sketched.genes, np.minimum(sketched.counts, np.iinfo(np.uint16).max)
    return found


def key_ranges(n_cells: int) -> list[tuple[int, int]]:
    """Ranges (first, last) of keys, each with about `CELLS_AT_ONCE` of the cells."""
    n = max(1, -(-n_cells // CELLS_AT_ONCE))
    edges = [i * (1 << 64) // n for i in range(n + 1)]
    return [(first, after - 1) for first, after in pairwise(edges)]


def read_range(files: Sequence[Path], first: int, last: int) -> Iterator[NDArray[Any]]:
    """Read the records with keys from `first` to `last` of each file."""
    for path in files:
        held = np.load(path, mmap_mode="r", allow_pickle=False)
        start = int(np.searchsorted(held["key"], np.uint64(first), side="left"))
        stop = int(np.searchsorted(held["key"], np.uint64(last), side="right"))
        yield np.array(held[start:stop])


def write_known(corpus: Corpus, files: Sequence[Path], rank: NDArray[np.int32], folder: Path) -> int:
    """Write the records of the corpus' cells whose keys are among those of new cells, a file per shard.

    Barcodes come from lists of some hundred thousand, so that most cells of a large corpus may be among them.

    Parameters
    ----------
    corpus
        Where to look: the names of all cells are read, and the counts of those that are wanted.
    files
        Records of new cells.
    rank
        (n_genes,) the order of the sketches.
    folder
        Where to write.

    Returns
    -------
    int
        How many there are.
    """
    # 8 bytes for each new cell: nothing else is held of them.
    wanted = np.unique(np.concatenate([np.load(path, mmap_mode="r", allow_pickle=False)["key"] for path in files]))
    n = 0
    for number, shard in enumerate(corpus.shards):
        rows, keys = cells_with_keys(shard, wanted)
        if rows.size:
            sketched = read_sketch(corpus, shard, rows, rank)
            source = shard.read_codes(SOURCE, n_names=len(corpus.sources))[rows]
            found = _records(keys, sketched, cell=shard.first_cell + rows, bucket=-1, source=source)
            np.save(folder / f"{number:06d}{ENDING}", found[np.argsort(keys, kind="stable")], allow_pickle=False)
            n += rows.size
    return n


def find_dropped(
    parts: Sequence[NDArray[Any]],
    rank: NDArray[np.int32],
    measured: NDArray[np.bool_],
    *,
    known: Sequence[NDArray[Any]] = (),
) -> NDArray[Any]:
    """Find the cells that are copies of others; of these, the one of the source that measured most genes is kept.

    Parameters
    ----------
    parts
        Records.
    rank
        (n_genes,) the order of the sketches.
    measured
        (n_sources, n_genes) which genes each source measured.
    known
        Records of cells that are in the corpus already, and stay.

    Returns
    -------
    numpy.ndarray
        The records of the copies.
    """
    new = np.concatenate([np.empty(0, dtype=RECORD), *parts])
    richness = measured.sum(axis=1)[new["source"]]
    new = new[np.lexsort((new["cell"], -richness))]
    old = np.concatenate([np.empty(0, dtype=RECORD), *known])
    found = np.concatenate([old, new])
    sketches = Sketch(found["genes"], found["counts"].astype(np.int32), rank)
    copy_of = find_copies(found["key"], found["source"], sketches, measured)
    copy_of[: len(old)] = -1
    return found[copy_of >= 0]
