"""Read scattered elements of a vector in its file with few, long reads."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.corpus.format.shard import FileVector
from scssl.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO

    from numpy.typing import NDArray

    from scssl.corpus.format.shard import Vector

GAP_BYTES: Final = 32 << 10
"""What is read and thrown away rather than starting another read: a seek costs more."""
PACKED_GAP: Final = 1 << 16
"""Elements between ranges of a compressed vector that are unpacked anyway."""


class Reader:
    """A vector that is open for reads."""

    def __init__(self, vector: Vector, file: FileIO | None) -> None:
        self._vector, self._file = vector, file
        self._memory = np.empty(0, dtype=vector.dtype)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Elements from `start` to `stop`; overwritten by the next read."""
        if self._file is None:
            return self._vector[start:stop]
        if self._memory.size < stop - start:
            self._memory = np.empty(stop - start, dtype=self._vector.dtype)
        out = self._memory[: stop - start]
        buffer, done = out.view(np.uint8), 0
        self._file.seek(start * out.dtype.itemsize)
        while done < buffer.size:
            count = self._file.readinto(buffer[done:].data)
            if not count:
                raise ended(self._file.name, stop, len(self._vector))
            done += count
        return out


def ended(file: object, element: int, length: int) -> FormatError:
    """Return the error of a file that ends before an element."""
    return FormatError(f"{file}: ends before element {element:,} of {length:,}; the file was truncated")


@contextmanager
def reading(vector: Vector) -> Iterator[Reader]:
    """Open a vector; one that is not a plain file is sliced."""
    if isinstance(vector, FileVector):
        with vector.path.open("rb", buffering=0) as file:
            yield Reader(vector, file)
    else:
        yield Reader(vector, None)


def gap_of(vector: Vector) -> int:
    """Return how many elements between two ranges are read rather than starting another read."""
    return GAP_BYTES // vector.dtype.itemsize if isinstance(vector, FileVector) else PACKED_GAP


def runs(starts: NDArray[np.int64], stops: NDArray[np.int64], *, gap: int) -> NDArray[np.int64]:
    """Join ranges that are near each other.

    Parameters
    ----------
    starts, stops
        (n,) ranges, ascending; they may be the same but must not overlap otherwise.
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
        (n,) positions, ascending; they may be the same.
    """
    if isinstance(vector, np.ndarray):
        return vector[rows]
    edges = runs(rows, rows + 1, gap=gap_of(vector))
    out = np.empty(rows.size, dtype=vector.dtype)
    with reading(vector) as reader:
        for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            start, stop = int(rows[first]), int(rows[last - 1]) + 1
            out[first:last] = reader.read(start, stop)[rows[first:last] - start]
    return out
