"""Scattered reads: every range comes to its place, from memory, from mapped files and read by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.corpus.format.shard import FileVector
from scssl.corpus.loader import ranges
from scssl.corpus.loader import scatter as module
from scssl.corpus.loader.mapped import Maps
from scssl.corpus.loader.scatter import places_of, scatter
from scssl.errors import FormatError

N = 3000
NARROW = np.random.default_rng(0).integers(0, 60_000, N).astype("<u2")
WIDE = np.random.default_rng(0).integers(0, 2**31, N).astype("<u4")
EDGES = st.lists(st.integers(0, N), max_size=40, unique=True).map(lambda edges: np.array(sorted(edges), dtype=int))


@pytest.fixture(scope="module", params=["file", "file, wide", "mapped", "mapped, wide", "memory", "memory, wide"])
def vector(request, tmp_path_factory):
    content = WIDE if "wide" in request.param else NARROW
    if "memory" in request.param:
        return content
    path = tmp_path_factory.mktemp("vector") / "0"
    content.tofile(path)
    file = FileVector(path, content.dtype, N)
    return Maps().open(file) if "mapped" in request.param else file


def make_places(lengths, batch_size, dtype):
    """Give places for rows of these lengths, batches of them in arrays of their own, with a guard behind each."""
    batches = [lengths[first : first + batch_size] for first in range(0, len(lengths), batch_size)]
    indptrs = [np.concatenate([[0], np.cumsum(batch)]) for batch in batches] or [np.zeros(1, dtype=int)]
    whole = [np.full(indptr[-1] + 3, 7, dtype=dtype) for indptr in indptrs]
    return places_of([array[:-3] for array in whole], indptrs), whole


@settings(max_examples=150, deadline=None)
@given(
    edges=EDGES,
    touch=st.booleans(),
    copies=st.integers(1, 3),
    batch_size=st.integers(1, 9),
    widen=st.booleans(),
    gap=st.integers(0, 400),
    piece=st.integers(1, 700),
    seed=st.integers(0, 9),
)
def test_every_range_comes_to_its_place(vector, edges, touch, copies, batch_size, widen, gap, piece, seed):
    content = WIDE if vector.dtype == WIDE.dtype else NARROW
    starts, stops = (edges[:-1], edges[1:]) if touch else (edges[: edges.size // 2 * 2 : 2], edges[1::2])
    starts, stops = np.repeat(starts, copies), np.repeat(stops, copies)
    rows = np.random.default_rng(seed).permutation(starts.size)
    lengths = np.empty(starts.size, dtype=int)
    lengths[rows] = stops - starts
    dtype = np.dtype(np.int32) if widen or vector.dtype != NARROW.dtype else vector.dtype
    places, arrays = make_places(lengths, batch_size, dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "GAP_BYTES", gap)
        patch.setattr(module, "PIECE", piece)
        largest = scatter(vector, starts, stops, places[rows], dtype=dtype)
    wanted = dict(zip(rows.tolist(), zip(starts.tolist(), stops.tolist(), strict=True), strict=True))
    expected = np.concatenate([np.empty(0), *(content[slice(*wanted[row])] for row in range(starts.size))])
    np.testing.assert_array_equal(np.concatenate([array[:-3] for array in arrays]), expected)
    assert all((array[-3:] == 7).all() for array in arrays)
    assert largest == expected.max(initial=0)


@pytest.mark.parametrize("kind", [np.uint32, np.int32])
@pytest.mark.parametrize("number", [2**31, 2**32 - 1])
def test_numbers_that_do_not_fit_are_told(kind, number):
    vector = np.array([1, number, 3], dtype=np.uint32).view(kind)
    places, _ = make_places([3], 1, np.dtype(np.int32))
    assert scatter(vector, np.array([0]), np.array([3]), places, dtype=np.dtype(np.int32)) == number


def test_few_reads(tmp_path, monkeypatch):
    """Ranges near each other are read together, those that are far apart by themselves."""
    NARROW.tofile(tmp_path / "0")
    reads, read = [], ranges.Reader.read
    monkeypatch.setattr(ranges.Reader, "read", lambda self, *part: reads.append(part) or read(self, *part))
    monkeypatch.setattr(ranges, "GAP_BYTES", 40)
    starts, stops = np.array([100, 120, 145, 1500]), np.array([120, 125, 150, 1510])
    places, _ = make_places((stops - starts).tolist(), 4, NARROW.dtype)
    scatter(FileVector(tmp_path / "0", NARROW.dtype, N), starts, stops, places, dtype=NARROW.dtype)
    assert reads == [(100, 150), (1500, 1510)]


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_a_file_that_ends_too_early(tmp_path, dtype):
    NARROW[:100].tofile(tmp_path / "0")
    places, _ = make_places([30], 1, np.dtype(dtype))
    vector = FileVector(tmp_path / "0", NARROW.dtype, N)
    with pytest.raises(FormatError, match=r"ends before element 120 of 3,000; the file was truncated"):
        scatter(vector, np.array([90]), np.array([120]), places, dtype=np.dtype(dtype))
