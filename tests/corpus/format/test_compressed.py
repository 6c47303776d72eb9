"""Compressed arrays: the same numbers as plain ones, through zarrs or without; no altered byte goes unnoticed."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.corpus.format import compressed
from scssl.corpus.format.compressed import ZarrVector, write_compressed
from scssl.errors import FormatError


def written(folder, values, *, differences, piece=compressed.PIECE):
    with mock.patch.object(compressed, "PIECE", piece):
        write_compressed(zarr.create_group(folder), "x", values, differences=differences, attributes={"kind": "test"})
    return ZarrVector(Path(folder) / "x" / "c" / "0", values.dtype, values.size)


@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3 specification")
@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 60),
    piece=st.sampled_from([1, 3, 16, 100]),
    kind=st.sampled_from(["<u2", "<u4"]),
    differences=st.booleans(),
    zeros=st.booleans(),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_slices_are_those_of_the_array(n, piece, kind, differences, zeros, seed, data):
    largest = np.iinfo(kind).max
    values = np.random.default_rng(seed).integers(0, largest, n, endpoint=True, dtype=kind)
    values = np.zeros_like(values) if zeros else values
    with tempfile.TemporaryDirectory() as folder:
        vector = written(folder, values, differences=differences, piece=piece)
        assert len(vector) == n
        for _ in range(5):
            part = slice(*(data.draw(st.none() | st.integers(-n - 2, n + 2)) for _ in range(2)))
            assert vector[part].tolist() == values[part].tolist()
            assert vector[part].dtype == values.dtype
        plain = zarr.open_array(Path(folder) / "x", mode="r")
        assert plain[:].tolist() == values.tolist()
        assert dict(plain.attrs) == {"kind": "test"}
        assert [path.name for path in (Path(folder) / "x" / "c").iterdir()] == ["0"]


def test_rising_indices_take_less_space(tmp_path):
    """Differences of gene indices as they are in cells: far less than one byte for two."""
    rng = np.random.default_rng(0)
    cells = [np.sort(rng.choice(19_331, 2_000, replace=False)) for _ in range(100)]
    indices = np.concatenate(cells).astype("<u2")
    sizes = [
        written(tmp_path / str(way), indices, differences=way).path.stat().st_size / indices.nbytes
        for way in (True, False)
    ]
    assert sizes[0] < 0.36 < 0.45 < sizes[1]


@pytest.mark.parametrize("differences", [True, False])
def test_any_flipped_byte_or_shorter_file_is_an_error(tmp_path, differences):
    values = np.sort(np.random.default_rng(0).integers(0, 2000, 120)).astype("<u2")
    vector = written(tmp_path, values, differences=differences, piece=50)
    whole = vector.path.read_bytes()
    rng = np.random.default_rng(1)
    for position in range(len(whole)):
        flipped = bytes([whole[position] ^ (1 << int(rng.integers(8)))])
        vector.path.write_bytes(whole[:position] + flipped + whole[position + 1 :])
        with pytest.raises(FormatError, match="damaged or truncated") as caught:
            vector[:]
        assert str(vector.path) in str(caught.value)
    for length in range(len(whole)):
        vector.path.write_bytes(whole[:length])
        with pytest.raises(FormatError, match="damaged or truncated"):
            vector[:]
    vector.path.unlink()
    with pytest.raises(FileNotFoundError):
        vector[:]
    vector.path.write_bytes(whole)
    assert vector[:].tolist() == values.tolist()


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(shape=[119]),
        lambda content: content.update(data_type="uint32"),
        lambda content: content.update(codecs=[]),
        lambda content: content["codecs"][0]["configuration"].update(chunk_shape=[7]),
        lambda content: content.pop("chunk_grid"),
        None,
    ],
)
def test_altered_description(tmp_path, change):
    vector = written(tmp_path, np.arange(120, dtype="<u2"), differences=True, piece=50)
    path = tmp_path / "x" / "zarr.json"
    content = json.loads(path.read_text())
    if change:
        change(content)
    path.write_text(json.dumps(content) if change else "{")
    with pytest.raises(FormatError, match=str(tmp_path / "x")):
        vector[:]


def test_threads_and_processes(tmp_path):
    values = np.random.default_rng(0).integers(0, 60_000, 30_000).astype("<u2")
    vector = written(tmp_path, values, differences=True, piece=1024)
    again = pickle.loads(pickle.dumps(vector))
    assert again == vector
    starts = np.random.default_rng(1).integers(0, 25_000, 60).tolist()
    with ThreadPoolExecutor(4) as pool:
        for start, part in zip(starts, pool.map(lambda s: again[s : s + 4000], starts), strict=True):
            np.testing.assert_array_equal(part, values[start : start + 4000])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks on this system")
def test_a_fork_of_a_process_that_has_read_can_read(tmp_path):
    """As loaders in worker processes do; it gets the bytes without zarrs, whose threads it does not have."""
    vector = written(tmp_path, np.arange(500, dtype="<u2"), differences=True, piece=64)
    script = (
        "import os, pickle, signal, sys\n"
        "vector = pickle.loads(bytes.fromhex(sys.argv[1])); assert vector[7:9][1] == 8\n"
        "if (child := os.fork()) == 0:\n"
        "    signal.alarm(60); os._exit(int(vector[100:400].sum() != sum(range(100, 400))))\n"
        "sys.exit(os.waitpid(child, 0)[1])"
    )
    command = [sys.executable, "-W", "ignore", "-c", script, pickle.dumps(vector).hex()]
    subprocess.run(command, check=True, timeout=200)
