"""Scattered reads: every range comes to its place, by the system or by hand, with few reads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.corpus.format.shard import FileVector
from scssl.corpus.loader import scatter as module
from scssl.corpus.loader.scatter import Places, announce, scatter
from scssl.errors import FormatError

N = 3000
NARROW = np.random.default_rng(0).integers(0, 60_000, N).astype("<u2")
WIDE = np.random.default_rng(0).integers(0, 2**31, N).astype("<u4")
EDGES = st.lists(st.integers(0, N), max_size=40, unique=True).map(lambda edges: np.array(sorted(edges), dtype=int))


@pytest.fixture(scope="module", params=["file", "file, wide", "memory", "memory, wide"])
def vector(request, tmp_path_factory):
    content = WIDE if "wide" in request.param else NARROW
    if "memory" in request.param:
        return content
    path = tmp_path_factory.mktemp("vector") / "0"
    content.tofile(path)
    return FileVector(path, content.dtype, N)


@pytest.fixture
def reads(monkeypatch):
    """Note where the system is asked to read, and how many places it fills."""
    made, preadv = [], module._preadv

    def noted(descriptor, address, n_places, offset):
        made.append((offset, n_places))
        return preadv(descriptor, address, n_places, offset)

    monkeypatch.setattr(module, "_preadv", noted)
    return made


def make_places(lengths, batch_size, dtype):
    """Give places for rows of these lengths, batches of them in arrays of their own."""
    batches = [lengths[first : first + batch_size] for first in range(0, len(lengths), batch_size)]
    indptrs = [np.concatenate([[0], np.cumsum(batch)]) for batch in batches] or [np.zeros(1, dtype=int)]
    arrays = [np.full(indptr[-1], 7, dtype=dtype) for indptr in indptrs]
    return Places(arrays, indptrs), arrays


@settings(max_examples=150, deadline=None)
@given(
    edges=EDGES,
    touch=st.booleans(),
    batch_size=st.integers(1, 9),
    widen=st.booleans(),
    by_system=st.booleans(),
    skip=st.integers(0, 400),
    most=st.integers(1, 6),
    at_once=st.integers(1, 3000),
    piece=st.integers(1, 700),
    seed=st.integers(0, 9),
)
def test_every_range_comes_to_its_place(
    vector, edges, touch, batch_size, widen, by_system, skip, most, at_once, piece, seed
):
    content = WIDE if vector.dtype == WIDE.dtype else NARROW
    starts, stops = (edges[:-1], edges[1:]) if touch else (edges[: edges.size // 2 * 2 : 2], edges[1::2])
    rows = np.random.default_rng(seed).permutation(starts.size)
    lengths = np.empty(starts.size, dtype=int)
    lengths[rows] = stops - starts
    dtype = np.dtype(np.int32) if widen or vector.dtype != NARROW.dtype else vector.dtype
    places, arrays = make_places(lengths, batch_size, dtype)
    preadv = module._preadv

    def lazy(descriptor, address, n_places, offset):
        """Read fewer places than asked for, as a system may."""
        return preadv(descriptor, address, min(n_places, at_once), offset)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SKIP_BYTES", skip)
        patch.setattr(module, "MOST_PLACES", most)
        patch.setattr(module, "PIECE", piece)
        patch.setattr(module, "ANNOUNCED", piece)
        patch.setattr(module, "_preadv", lazy if by_system and preadv else None)
        announce(vector, starts, stops)
        scatter(vector, starts, stops, rows, places)
    wanted = dict(zip(rows.tolist(), zip(starts.tolist(), stops.tolist(), strict=True), strict=True))
    expected = [content[slice(*wanted[row])] for row in range(starts.size)]
    np.testing.assert_array_equal(np.concatenate(arrays), np.concatenate([np.empty(0), *expected]))
    for row, part in enumerate(expected):
        np.testing.assert_array_equal(places[row], part)


def test_the_system_may_stop_within_a_place(tmp_path, monkeypatch):
    NARROW.tofile(tmp_path / "0")
    places, arrays = make_places([100, 50, 150], 2, np.dtype(np.uint16))
    library = module._preadv

    def short(descriptor, address, n_places, offset):
        """Fill at most 33 bytes of the first place."""
        import ctypes

        pair = (ctypes.c_size_t * 2).from_address(address)
        fewer = (ctypes.c_size_t * 2)(pair[0], min(pair[1], 33))
        return library(descriptor, ctypes.addressof(fewer), 1, offset)

    monkeypatch.setattr(module, "_preadv", short)
    vector = FileVector(tmp_path / "0", NARROW.dtype, N)
    scatter(vector, np.array([0, 150, 250]), np.array([150, 250, 300]), np.array([2, 0, 1]), places)
    np.testing.assert_array_equal(np.concatenate(arrays), np.concatenate([NARROW[150:300], NARROW[:150]]))


def test_few_reads(tmp_path, reads, monkeypatch):
    NARROW.tofile(tmp_path / "0")
    vector = FileVector(tmp_path / "0", NARROW.dtype, N)
    monkeypatch.setattr(module, "SKIP_BYTES", 40)
    starts, stops = np.array([100, 120, 145, 1500]), np.array([120, 125, 150, 1510])
    places, _ = make_places((stops - starts).tolist(), 4, vector.dtype)
    scatter(vector, starts, stops, np.arange(4), places)
    # Three places and what lies before the last of them, then the one that is far away.
    assert reads == [(200, 4), (3000, 1)]


def test_a_place_that_cannot_be_written_to(tmp_path):
    NARROW.tofile(tmp_path / "0")
    places, _ = make_places([10], 1, NARROW.dtype)
    places.addresses[:] = 8
    with pytest.raises(OSError, match="Bad address"):
        scatter(FileVector(tmp_path / "0", NARROW.dtype, N), np.array([0]), np.array([10]), np.array([0]), places)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_a_file_that_ends_too_early(tmp_path, dtype):
    NARROW[:100].tofile(tmp_path / "0")
    places, _ = make_places([30], 1, np.dtype(dtype))
    vector = FileVector(tmp_path / "0", NARROW.dtype, N)
    with pytest.raises(FormatError, match=r"ends before element 120 of 3,000; the file was truncated"):
        scatter(vector, np.array([90]), np.array([120]), np.array([0]), places)
