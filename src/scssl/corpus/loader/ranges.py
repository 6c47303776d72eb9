"""Read scattered elements of a vector in its file with few, long reads."""

from __future__ import annotations

import os
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.corpus.format.shard import FileVector
from scssl.corpus.loader.reuse import Scratch
from scssl.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO

    from numpy.typing import NDArray

    from scssl.corpus.format.shard import Vector

GAP_BYTES: Final = 32 << 10
"""What is read and thrown away rather than starting another read: a seek costs more."""
PIECE: Final = 1 << 18
"""Elements read at a time: few enough to stay in the processor's cache until they are converted. Compressed vectors are
packed in pieces of which this is a multiple, so none is unpacked twice."""
PACKED_GAP: Final = 1 << 16
"""Elements between ranges of a compressed vector that are unpacked anyway."""


class Reader:
    """A vector that is open for reads."""

    def __init__(self, vector: Vector, file: FileIO | None, scratch: Scratch) -> None:
        self._vector, self._file, self._scratch = vector, file, scratch

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Elements from `start` to `stop`; overwritten by the next read."""
        vector = self._vector
        if self._file is None:
            return vector[start:stop]
        out = self._scratch.take(stop - start, vector.dtype)
        buffer, done = out.view(np.uint8), 0
        self._file.seek(start * vector.dtype.itemsize)
        while done < buffer.size:
            count = self._file.readinto(buffer[done:].data)
            if not count:
                message = f"{self._file.name}: ends before element {stop:,} of {len(vector):,}; the file was truncated"
                raise FormatError(message)
            done += count
        return out

    def announce(self, start: int, stop: int) -> None:
        """Tell the system that elements from `start` to `stop` will be read, so that the disk works ahead."""
        if self._file is not None and hasattr(os, "posix_fadvise"):
            item = self._vector.dtype.itemsize
            os.posix_fadvise(self._file.fileno(), start * item, (stop - start) * item, os.POSIX_FADV_WILLNEED)


@contextmanager
def reading(vector: Vector, scratch: Scratch) -> Iterator[Reader]:
    """Open a vector; one that is not a plain file is sliced."""
    if isinstance(vector, FileVector):
        with vector.path.open("rb", buffering=0) as file:
            yield Reader(vector, file, scratch)
    else:
        yield Reader(vector, None, scratch)


def _gap(vector: Vector) -> int:
    return GAP_BYTES // vector.dtype.itemsize if isinstance(vector, FileVector) else PACKED_GAP


def runs(starts: NDArray[np.int64], stops: NDArray[np.int64], *, gap: int) -> NDArray[np.int64]:
    """Join ranges that are near each other.

    Parameters
    ----------
    starts, stops
        (n,) ranges, ascending and not overlapping.
    gap
        Largest distance that is bridged.

    Returns
    -------
    (n_runs + 1,) int64, which range each run starts with; the last is `n`.
    """
    if not starts.size:
        return np.zeros(1, dtype=np.int64)
    return np.concatenate([[0], np.flatnonzero(starts[1:] - stops[:-1] > gap) + 1, [starts.size]])


def elements(vector: Vector, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Read single elements.

    Parameters
    ----------
    vector
        The vector.
    rows
        (n,) positions, ascending.
    """
    edges = runs(rows, rows + 1, gap=_gap(vector))
    out = np.empty(rows.size, dtype=vector.dtype)
    with reading(vector, Scratch()) as reader:
        for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            start, stop = int(rows[first]), int(rows[last - 1]) + 1
            read = reader.read(start, stop)
            out[first:last] = read if stop - start == last - first else read[rows[first:last] - start]
    return out


def ranges_into(
    vector: Vector,
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    out: NDArray[np.int32],
    *,
    scratch: Scratch,
) -> int:
    """Read ranges one after the other into an array, converted to its type.

    Parameters
    ----------
    vector
        The vector.
    starts, stops
        (n,) ranges, ascending and not overlapping.
    out
        As long as the ranges together.
    scratch
        Memory of this thread.

    Returns
    -------
    int
        The largest element read (0 without any).
    """
    # Ranges that touch are one; those near each other are read at once.
    touching = runs(starts, stops, gap=0)
    starts, stops = starts[touching[:-1]], stops[touching[1:] - 1]
    edges = runs(starts, stops, gap=_gap(vector)).tolist()
    wanted = list(zip(starts.tolist(), stops.tolist(), strict=True))
    reads = [(wanted[a][0], wanted[b - 1][1], a) for a, b in pairwise(edges)]
    largest, filled = 0, 0
    with reading(vector, scratch) as reader:
        for start, stop, _ in reads:
            reader.announce(start, stop)
        for start, stop, number in reads:
            cuts = [start, *range((start // PIECE + 1) * PIECE, stop, PIECE), stop]
            for begin, end in pairwise(cuts):
                piece = reader.read(begin, end)
                largest = max(largest, int(piece.max(initial=0)))
                while number < len(wanted) and wanted[number][0] < end:
                    low, high = max(wanted[number][0], begin), min(wanted[number][1], end)
                    out[filled : filled + high - low] = piece[low - begin : high - begin]
                    filled += high - low
                    if wanted[number][1] > end:
                        break
                    number += 1
    return largest
