"""Buckets on disk: the first half of an external shuffle, in which cells go to random buckets in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.sparse as sp

from scssl.corpus.manifest import SPLITS
from scssl.corpus.shard import smallest_dtype
from scssl.corpus.stream import Block

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

FLUSH_NONZEROS: Final = 12_000_000
"""Counts gathered before they are written out: large writes, and 100 MB of memory."""
_SEPARATOR: Final = "\0"


class Spill:
    """Write cells to random buckets of their split; each bucket becomes one shard.

    Parameters
    ----------
    folder
        Where the bucket files go.
    n_buckets
        Per split of `SPLITS`.
    rng
        Decides on the buckets.
    """

    def __init__(self, folder: Path, *, n_buckets: Sequence[int], rng: np.random.Generator) -> None:
        folder.mkdir()
        self._folder, self._rng = folder, rng
        self._first = np.concatenate([[0], np.cumsum(n_buckets)])
        self._n_buckets = np.asarray(n_buckets)
        self._waiting: list[tuple[Block, NDArray[np.int64]]] = []
        self._nonzeros = 0

    def add(self, block: Block) -> None:
        """Take some cells."""
        split = block.split.astype(np.int64)
        bucket = self._first[split] + self._rng.integers(self._n_buckets[split])
        self._waiting.append((block, bucket))
        self._nonzeros += block.X.nnz
        if self._nonzeros >= FLUSH_NONZEROS:
            self.flush()

    def flush(self) -> None:
        """Write what has been gathered."""
        if not self._waiting:
            return
        bucket = np.concatenate([b for _, b in self._waiting])
        order = np.argsort(bucket, kind="stable")
        X = sp.vstack([block.X for block, _ in self._waiting], format="csr")[order]
        codes = np.concatenate([block.codes for block, _ in self._waiting])[order]
        n_counts = np.concatenate([block.n_counts for block, _ in self._waiting])[order]
        names = np.concatenate([block.names for block, _ in self._waiting])[order]
        self._waiting, self._nonzeros = [], 0
        edges = np.searchsorted(bucket[order], np.arange(self._first[-1] + 1))
        for number in np.flatnonzero(np.diff(edges)).tolist():
            start, stop = edges[number], edges[number + 1]
            first, last = X.indptr[start], X.indptr[stop]
            values = X.data[first:last]
            record: list[NDArray[Any]] = [
                values.astype(smallest_dtype(int(values.max(initial=0)))),
                X.indices[first:last].astype(smallest_dtype(X.shape[1] - 1)),
                np.diff(X.indptr[start : stop + 1]).astype(np.int32),
                codes[start:stop],
                n_counts[start:stop],
                np.frombuffer(_SEPARATOR.join(names[start:stop]).encode(), dtype=np.uint8),
            ]
            with self._path(number).open("ab") as file:
                for array in record:
                    np.save(file, array, allow_pickle=False)

    def buckets(self, n_genes: int) -> Iterator[tuple[str, int, list[Block]]]:
        """Give the buckets back one by one, each removed from disk once the next is asked for.

        Yields
        ------
        split : str
        number : int
            Of the bucket among those of its split.
        blocks : list of Block
        """
        self.flush()
        for position, split in enumerate(SPLITS):
            for number in range(self._n_buckets[position]):
                path = self._path(int(self._first[position]) + number)
                if path.exists():
                    yield split, number, _read(path, position, n_genes)
                    path.unlink()

    def _path(self, bucket: int) -> Path:
        return self._folder / f"{bucket}.npy"


def _read(path: Path, split: int, n_genes: int) -> list[Block]:
    blocks = []
    size = path.stat().st_size
    with path.open("rb") as file:
        while file.tell() < size:
            values, indices, lengths, codes, n_counts, names = (np.load(file, allow_pickle=False) for _ in range(6))
            # int32 throughout, else scipy widens both to int64.
            indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
            X = sp.csr_matrix((values, indices.astype(np.int32), indptr), shape=(lengths.size, n_genes))
            text = np.array(names.tobytes().decode().split(_SEPARATOR), dtype=object)
            blocks.append(Block(X, codes, np.full(lengths.size, split, dtype=np.int8), n_counts, text))
    return blocks
