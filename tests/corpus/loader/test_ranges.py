"""Scattered reads: what slicing gives, with few reads, and errors for files that end too early."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.corpus.format.shard import FileVector
from scssl.corpus.loader import ranges
from scssl.corpus.loader.ranges import elements
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


ROWS = st.lists(st.integers(0, N - 1), max_size=40).map(lambda rows: np.array(sorted(rows), dtype=int))


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, gap=st.integers(0, 500))
def test_elements(vector, rows, gap):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "GAP_BYTES", gap)
        patch.setattr(ranges, "PACKED_GAP", gap)
        np.testing.assert_array_equal(elements(vector, rows), CONTENT[rows])


def test_a_file_that_ends_too_early(tmp_path):
    CONTENT[:100].tofile(tmp_path / "0")
    vector = FileVector(tmp_path / "0", CONTENT.dtype, N)
    with pytest.raises(FormatError, match=r"ends before element 120 of 3,000; the file was truncated"):
        elements(vector, np.array([90, 119]))
