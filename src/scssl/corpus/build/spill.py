"""Cells on disk between the two passes of a build: each part's cells sorted by the shard that they will be in."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.sparse as sp

from scssl.corpus.build.read import Block
from scssl.corpus.format.shard import smallest_dtype

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

FLUSH_NONZEROS: Final = 24_000_000
"""Counts gathered before they are written out: the pieces for each shard are large, and 200 MB of memory."""
CODEC: Final = {"cname": b"lz4", "clevel": 1, "shuffle": 2}
"""Blosc with bit shuffle: counts take a third of their size, at about the speed of writing them plain."""
_SEPARATOR: Final = "\0"


class Spill:
    """Write the cells of one part to random buckets; each bucket becomes one shard.

    Parameters
    ----------
    path
        Files ``PATH-0``, ``PATH-1``, ... are written, with an index of the buckets (``.index``) beside each.
    first_bucket
        (n_splits + 1,) number of the first bucket of each split, and of all.
    key
        Seed: with it and its number, a cell's bucket is settled, however the work was divided.
    """

    def __init__(self, path: Path, *, first_bucket: NDArray[np.int64], key: list[int]) -> None:
        self._path, self._first, self._key = path, first_bucket, key
        self._waiting: list[tuple[Block, NDArray[np.int64]]] = []
        self._nonzeros = self._files = 0
        self.n_cells = np.zeros(int(first_bucket[-1]), dtype=np.int64)
        """(n_buckets,) cells written."""

    def add(self, block: Block) -> NDArray[np.int64]:
        """Take some cells; return the bucket of each."""
        split = block.split.astype(np.int64)
        draw = np.random.default_rng([*self._key, int(block.cell[0])]).random(split.size)
        bucket = self._first[split] + (draw * np.diff(self._first)[split]).astype(np.int64)
        self._waiting.append((block, bucket))
        self._nonzeros += block.X.nnz
        if self._nonzeros >= FLUSH_NONZEROS:
            self.flush()
        return bucket

    def flush(self) -> None:
        """Write what has been gathered."""
        if not self._waiting:
            return
        bucket = np.concatenate([b for _, b in self._waiting])
        order = np.argsort(bucket, kind="stable")
        blocks = join([block for block, _ in self._waiting])
        self._waiting, self._nonzeros = [], 0
        blocks = blocks.take(order)
        n_buckets = self.n_cells.size
        edges = np.searchsorted(bucket[order], np.arange(n_buckets + 1))
        self.n_cells += np.diff(edges)
        starts = np.zeros(n_buckets + 1, dtype=np.int64)
        path = self._path.with_name(f"{self._path.name}-{self._files}")
        with path.open("wb") as file:
            for number in range(n_buckets):
                starts[number] = file.tell()
                if edges[number] < edges[number + 1]:
                    file.write(_pack(blocks, slice(edges[number], edges[number + 1])))
            starts[n_buckets] = file.tell()
        starts.tofile(path.with_name(f"{path.name}.index"))
        self._files += 1


def read_bucket(folder: Path, bucket: int, *, split: int, n_genes: int) -> Iterator[Block]:
    """Read one bucket from what all parts wrote, in the order of the files.

    Parameters
    ----------
    folder
        Where `Spill` wrote.
    bucket
        Its number.
    split
        Position in `SPLITS` of the split that it belongs to.
    n_genes
        Genes of the panel.
    """
    for index in sorted(folder.glob("*.index")):
        start, stop = np.fromfile(index, dtype=np.int64, count=2, offset=8 * bucket)
        if start < stop:
            with index.with_suffix("").open("rb") as file:
                file.seek(start)
                yield _unpack(file.read(stop - start), split=split, n_genes=n_genes)


def join(blocks: list[Block]) -> Block:
    """Put blocks one after the other."""
    if len(blocks) == 1:
        return blocks[0]
    return Block(
        X=sp.vstack([block.X for block in blocks], format="csr"),
        codes=np.concatenate([block.codes for block in blocks]),
        split=np.concatenate([block.split for block in blocks]),
        n_counts=np.concatenate([block.n_counts for block in blocks]),
        names=np.concatenate([block.names for block in blocks]),
        cell=np.concatenate([block.cell for block in blocks]),
    )


def _pack(blocks: Block, rows: slice) -> bytes:
    from numcodecs import blosc

    X = blocks.X
    first, last = X.indptr[rows.start], X.indptr[rows.stop]
    values = X.data[first:last]
    record: list[NDArray[Any]] = [
        values.astype(smallest_dtype(int(values.max(initial=0)))),
        X.indices[first:last].astype(smallest_dtype(X.shape[1] - 1)),
        np.diff(X.indptr[rows.start : rows.stop + 1]).astype(np.int32),
        np.ascontiguousarray(blocks.codes[rows]),
        blocks.n_counts[rows],
        blocks.cell[rows],
        np.frombuffer(_SEPARATOR.join(blocks.names[rows]).encode(), dtype=np.uint8),
    ]
    out = io.BytesIO()
    for array in record:
        packed = blosc.compress(array, **CODEC) if array.size else b""
        np.save(out, np.array([array.itemsize, len(packed)]), allow_pickle=False)
        out.write(packed)
    return out.getvalue()


def _unpack(record: bytes, *, split: int, n_genes: int) -> Block:
    from numcodecs import blosc

    stream = io.BytesIO(record)
    arrays = []
    for kind in ("u", "u", "i", "i", "i", "i", "u"):
        itemsize, length = np.load(stream, allow_pickle=False)
        packed = stream.read(int(length))
        arrays.append(np.frombuffer(blosc.decompress(packed) if packed else b"", dtype=f"{kind}{itemsize}"))
    values, indices, lengths, codes, n_counts, cell, names = arrays
    n = lengths.size
    # int32 throughout, else scipy widens both to int64.
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    X = sp.csr_matrix((values, indices.astype(np.int32), indptr), shape=(n, n_genes))
    text = np.array(names.tobytes().decode().split(_SEPARATOR), dtype=object)
    return Block(X, codes.reshape(n, -1), np.full(n, split, dtype=np.int8), n_counts, text, cell)
