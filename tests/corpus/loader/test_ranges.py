"""Scattered reads: what slicing gives, with few reads, and errors for files that end too early."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.corpus.format.shard import FileVector
from scssl.corpus.loader import ranges
from scssl.corpus.loader.ranges import Reader, elements, ranges_into
from scssl.corpus.loader.reuse import Scratch
from scssl.errors import FormatError

N = 3000
CONTENT = np.random.default_rng(0).integers(0, 60_000, N).astype("<u2")


@pytest.fixture(scope="module", params=["file", "memory"])
def vector(request, tmp_path_factory):
    if request.param == "memory":
        return CONTENT
    path = tmp_path_factory.mktemp("vector") / "0"
    CONTENT.tofile(path)
    return FileVector(path, CONTENT.dtype, N)


@pytest.fixture
def reads(monkeypatch):
    """Note the ranges that are read."""
    made = []
    read = Reader.read

    def noted(self, start, stop):
        made.append((start, stop))
        return read(self, start, stop)

    monkeypatch.setattr(Reader, "read", noted)
    return made


ROWS = st.lists(st.integers(0, N - 1), max_size=40, unique=True).map(lambda rows: np.array(sorted(rows), dtype=int))


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, gap=st.integers(0, 500))
def test_elements(vector, rows, gap):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "GAP_BYTES", gap)
        patch.setattr(ranges, "PACKED_GAP", gap)
        np.testing.assert_array_equal(elements(vector, rows), CONTENT[rows])


@settings(max_examples=100, deadline=None)
@given(edges=ROWS, gap=st.integers(0, 500), piece=st.integers(1, 700), touch=st.booleans())
def test_ranges(vector, edges, gap, piece, touch):
    starts, stops = edges[:-1], edges[1:]
    if not touch:
        starts, stops = starts[::2], stops[::2]
    expected = np.concatenate([np.empty(0), *(CONTENT[a:b] for a, b in zip(starts, stops, strict=True))])
    out = np.empty(expected.size, dtype=np.int32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "GAP_BYTES", gap)
        patch.setattr(ranges, "PACKED_GAP", gap)
        patch.setattr(ranges, "PIECE", piece)
        largest = ranges_into(vector, starts, stops, out, scratch=Scratch())
    np.testing.assert_array_equal(out, expected)
    assert largest >= expected.max(initial=0)


def test_empty_ranges(vector):
    at = np.array([0, 7, 7, 2000, N])
    ranges_into(vector, at, at, np.empty(0, dtype=np.int32), scratch=Scratch())
    assert ranges_into(vector, at[1:2], at[1:2], np.empty(0, dtype=np.int32), scratch=Scratch()) == 0


def test_near_ranges_are_read_at_once_and_far_ones_are_not(vector, reads, monkeypatch):
    monkeypatch.setattr(ranges, "GAP_BYTES", 20)
    monkeypatch.setattr(ranges, "PACKED_GAP", 10)
    starts, stops = np.array([100, 130, 145, 1500]), np.array([120, 140, 150, 1510])
    ranges_into(vector, starts, stops, np.empty(45, dtype=np.int32), scratch=Scratch())
    assert reads == [(100, 150), (1500, 1510)]


def test_long_ranges_are_read_in_pieces(vector, reads, monkeypatch):
    monkeypatch.setattr(ranges, "PIECE", 1000)
    ranges_into(vector, np.array([500]), np.array([2500]), np.empty(2000, dtype=np.int32), scratch=Scratch())
    assert reads == [(500, 1000), (1000, 2000), (2000, 2500)]


def test_a_file_that_ends_too_early(tmp_path):
    CONTENT[:100].tofile(tmp_path / "0")
    vector = FileVector(tmp_path / "0", CONTENT.dtype, N)
    with pytest.raises(FormatError, match=r"ends before element 120 of 3,000; the file was truncated"):
        elements(vector, np.array([90, 119]))
