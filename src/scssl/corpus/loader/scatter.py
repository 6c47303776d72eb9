"""Copy ranges of a vector to where they belong, in whatever order that is, and see that no element is too large.

One compiled loop does both, so that each element is touched once.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numba import carray, types  # type: ignore[attr-defined]
from numba.extending import intrinsic

from scssl.compiled import compiled
from scssl.corpus.loader.ranges import gap_of, reading, runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scssl.corpus.format.shard import Vector

PIECE: Final = 1 << 18
"""Elements that go through memory at a time: few enough to stay in the processor's cache. Compressed vectors are packed
in pieces of which this is a multiple, so none is unpacked twice."""


def places_of(arrays: list[NDArray[Any]], indptrs: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Say where in memory the rows of some arrays are.

    Parameters
    ----------
    arrays
        One for each batch, as long as its rows together. They must live for as long as their places are used.
    indptrs
        For each of them where its rows start and end, (n_rows + 1,).

    Returns
    -------
    (n_rows of all,) int64, the address of the first element of each row.
    """
    addresses = [
        array.ctypes.data + indptr[:-1] * array.dtype.itemsize for array, indptr in zip(arrays, indptrs, strict=True)
    ]
    return np.concatenate([np.empty(0, dtype=np.int64), *addresses])


def scatter(
    vector: Vector,
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    places: NDArray[np.int64],
    *,
    dtype: np.dtype[Any],
) -> int:
    """Read ranges of a vector, each to its place.

    Parameters
    ----------
    vector
        The vector.
    starts, stops
        (n,) ranges within it, ascending; they may be the same but must not overlap otherwise.
    places
        (n,) addresses of what the ranges are written to; see `places_of`.
    dtype
        Of the arrays there.

    Returns
    -------
    int
        The largest element, seen as an unsigned number: where it does not fit the type, what was written is something
        else.
    """
    kind = np.empty(0, dtype=dtype)
    if isinstance(vector, np.ndarray):
        return int(_copy(_unsigned(vector), starts, stops, places, kind))
    edges, largest = runs(starts, stops, gap=gap_of(vector)), 0
    with reading(vector) as reader:
        for first, last in pairwise(edges.tolist()):
            start, stop = int(starts[first]), int(stops[last - 1])
            for begin, end in pairwise([start, *range((start // PIECE + 1) * PIECE, stop, PIECE), stop]):
                piece = _unsigned(reader.read(begin, end))
                low, high = np.searchsorted(stops, begin, side="right"), np.searchsorted(starts, end)
                a, b = starts[low:high].clip(min=begin), stops[low:high].clip(max=end)
                there = places[low:high] + (a - starts[low:high]) * dtype.itemsize
                largest = max(largest, int(_copy(piece, a - begin, b - begin, there, kind)))
    return largest


def _unsigned(array: NDArray[Any]) -> NDArray[Any]:
    # One type of array, so that one loop is compiled: those that are mapped cannot be written to.
    view = array.view(f"u{array.dtype.itemsize}")
    view.flags.writeable = False
    return view


def _make_pointer(_context: Any, address: Any, kind: Any) -> Any:
    """Take a number as the address of elements like those of an array."""
    pointer = types.CPointer(kind.dtype)

    def make(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(pointer))

    return pointer(address, kind), make


_pointer: Any = intrinsic(_make_pointer)


@compiled
def _copy(
    vector: NDArray[Any],
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    places: NDArray[np.int64],
    kind: NDArray[Any],
) -> Any:
    largest = vector.dtype.type(0)
    for row in range(starts.size):
        source = vector[starts[row] : stops[row]]
        place = carray(_pointer(places[row], kind), source.size)
        for i in range(source.size):
            element = source[i]
            place[i] = element
            largest = element if element > largest else largest
    return largest


def _prepare() -> None:
    """Compile the loop for what corpora hold, or load it: half a second, in which the first batch would wait."""
    nothing, numbers = np.empty(0, dtype=np.uint16), np.empty(0, dtype=np.int64)
    _copy(_unsigned(nothing), numbers, numbers, numbers, nothing)


_prepare()
