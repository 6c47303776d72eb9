"""Mapped files: what is in them, few at a time and none held open, errors instead of a process that ends."""

from __future__ import annotations

import ctypes
import errno
import os
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.corpus import Corpus
from scssl.corpus.format.shard import FileVector
from scssl.corpus.loader import mapped as module
from scssl.corpus.loader import pool
from scssl.corpus.loader.mapped import Maps, announce, fetch
from scssl.errors import FormatError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="files are mapped on POSIX systems only")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")


@pytest.fixture
def vectors(tmp_path):
    """Ten files of 5,000 elements each."""
    made = []
    for number in range(10):
        np.full(5000, number, dtype="<u2").tofile(tmp_path / str(number))
        made.append(FileVector(tmp_path / str(number), np.dtype("<u2"), 5000))
    return made


def mapped_files(folder):
    lines = Path("/proc/self/maps").read_text().splitlines()
    return sorted(Path(line.split()[-1]).name for line in lines if line.split()[-1].startswith(f"{folder}/"))


def open_files(folder):
    return [file for file in Path("/proc/self/fd").iterdir() if str(file.resolve()).startswith(f"{folder}/")]


@LINUX
def test_few_files_are_mapped_and_none_is_open(vectors, tmp_path):
    maps = Maps(most=3)
    for vector in [*vectors, vectors[7]]:
        array = maps.open(vector)
        assert (array == int(vector.path.name)).all()
        assert not array.flags.writeable
        assert not open_files(tmp_path)
    del array
    assert mapped_files(tmp_path) == ["7", "8", "9"]
    maps.open(vectors[0])  # 8 was used longest ago
    assert mapped_files(tmp_path) == ["0", "7", "9"]
    held = maps.open(vectors[1])[10:]
    for vector in vectors[2:6]:
        maps.open(vector)
    assert mapped_files(tmp_path) == ["1", "3", "4", "5"]
    assert (held == 1).all()
    del held, maps
    assert mapped_files(tmp_path) == []


def test_threads_share_it(vectors):
    maps = Maps(most=2)

    def use(seed):
        for number in np.random.default_rng(seed).integers(0, 10, 300):
            assert maps.open(vectors[number])[-1] == number

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # or threads would hardly meet
    try:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(use, range(60)))
    finally:
        sys.setswitchinterval(interval)
    assert len(maps._kept) <= 2


def test_what_is_no_plain_file_is_left_as_it_is(tmp_path, vectors, monkeypatch):
    memory = np.arange(3)
    (tmp_path / "empty").touch()
    empty = FileVector(tmp_path / "empty", np.dtype("<u2"), 0)
    assert Maps().open(memory) is memory
    assert Maps().open(empty) is empty
    failing = SimpleNamespace(mmap=lambda *_: module._FAILED)
    monkeypatch.setattr(module, "_system", failing)  # as file systems do that cannot
    assert Maps().open(vectors[0]) is vectors[0]
    monkeypatch.setattr(module, "_system", None)
    assert Maps().open(vectors[0]) is vectors[0]


def test_a_file_that_has_become_shorter(vectors):
    maps = Maps()
    maps.open(vectors[0])
    os.truncate(vectors[0].path, 6000)
    for again in (maps, Maps()):
        with pytest.raises(FormatError, match=r"0: ends before element 3,001 of 5,000; the file was truncated"):
            again.open(vectors[0])


@LINUX
@settings(max_examples=50, deadline=None)
@given(
    edges=st.lists(st.integers(0, 400_000), max_size=20, unique=True).map(sorted),
    gap=st.sampled_from([0, 4096, 100_000]),
    at_once=st.sampled_from([4096, 1 << 20]),
)
def test_all_pages_of_ranges_are_announced_and_fetched(tmp_path_factory, edges, gap, at_once):
    path = tmp_path_factory.mktemp("vector") / "0"
    np.zeros(400_000, dtype="<u2").tofile(path)
    array = Maps().open(FileVector(path, np.dtype("<u2"), 400_000))
    starts, stops = np.array(edges[: len(edges) // 2 * 2 : 2], dtype=int), np.array(edges[1::2], dtype=int)
    touched = {"announced": set(), "fetched": set()}
    page = os.sysconf("SC_PAGE_SIZE")

    def note(address, length, advice):
        assert address % page == 0
        first = address - array.ctypes.data
        assert first >= 0
        assert first + length <= array.nbytes
        pages = range(first // page, -(-(first + length) // page))
        touched["announced" if advice == module.mmap.MADV_WILLNEED else "fetched"].update(pages)
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_system", SimpleNamespace(madvise=note))
        patch.setattr(module, "GAP_BYTES", gap)
        patch.setattr(module, "ANNOUNCED", at_once)
        announce(array, starts, stops)
        fetch(array, starts, stops, path=path)
    needed = {byte // page for a, b in zip(starts, stops, strict=True) for byte in range(2 * a, 2 * b, 2)}
    assert needed <= touched["announced"]
    assert touched["announced"] == touched["fetched"]
    if gap == 0:
        assert touched["announced"] == needed


@LINUX
def test_a_disk_that_cannot_be_read(vectors):
    """A file cut short behind our back, whose lost pages would end the process when they are touched."""
    array = Maps().open(vectors[0])
    os.truncate(vectors[0].path, 0)
    with pytest.raises(OSError, match=r"Input/output error: '.*0'") as caught:
        fetch(array, np.array([0]), np.array([5000]), path=vectors[0].path)
    assert caught.value.errno == errno.EIO


@LINUX
def test_systems_that_cannot_fetch(vectors, monkeypatch):
    def refuse(*_):
        ctypes.set_errno(errno.EINVAL)
        return -1

    array = Maps().open(vectors[3])
    monkeypatch.setattr(module, "_system", SimpleNamespace(madvise=refuse))
    fetch(array, np.array([0]), np.array([5000]), path=vectors[3].path)


def epoch(loader):
    loader.set_epoch(3)
    return [(batch.cell.tolist(), batch.values.tolist(), batch.indices.tolist()) for batch in loader]


@pytest.fixture
def loader(corpus_dir):
    return Corpus.open(corpus_dir).loader(batch_size=32)


def test_what_is_cached_is_neither_announced_nor_fetched(loader, monkeypatch):
    """Once a pool came without the disk; and again as soon as the disk is read."""
    asked, blocks = [], [0]
    monkeypatch.setattr(pool, "announce", lambda *_: asked.append("announce"))
    monkeypatch.setattr(pool, "fetch", lambda *_, **__: asked.append("fetch"))
    monkeypatch.setattr(pool, "disk_reads", lambda: blocks[0])
    expected = epoch(loader)
    assert {"announce", "fetch"} == set(asked)
    asked.clear()
    assert epoch(loader) == expected
    assert not asked
    monkeypatch.setattr(pool, "disk_reads", lambda: blocks.append(len(blocks)) or blocks[-1])
    epoch(loader)  # notices
    assert epoch(loader) == expected
    assert {"announce", "fetch"} == set(asked)
    asked.clear()
    monkeypatch.setattr(pool, "disk_reads", lambda: None)  # systems that do not say
    epoch(loader)
    epoch(loader)
    assert {"announce", "fetch"} == set(asked)


def test_all_that_is_touched_is_fetched_before(loader, monkeypatch):
    """Where rows start, and what is told of cells, as well as counts and genes."""
    fetched = set()
    monkeypatch.setattr(pool, "fetch", lambda *_, path: fetched.add(path))
    epoch(loader)
    touched = {Path(key) for key in loader._reader._maps._kept}
    assert touched
    assert fetched == touched


def write_uncached(path):
    with path.open("wb") as file:
        file.write(bytes(1 << 22))
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@LINUX
def test_the_disk_is_noticed(tmp_path):
    write_uncached(tmp_path / "other")
    with (tmp_path / "other").open("rb", buffering=0) as file:
        try:
            os.preadv(file.fileno(), [bytearray(1 << 22)], 0, os.RWF_NOWAIT)
        except BlockingIOError:
            pass
        else:
            pytest.skip("files here stay in memory")
    write_uncached(tmp_path / "0")
    array = Maps().open(FileVector(tmp_path / "0", np.dtype("<u2"), 1 << 21))
    before = module.disk_reads()
    assert array.sum() == 0
    after = module.disk_reads()
    assert after > before
    array.sum()
    assert module.disk_reads() == after


def test_a_loader_that_has_read_can_be_pickled(loader):
    expected = epoch(loader)
    assert epoch(pickle.loads(pickle.dumps(loader))) == expected


def test_without_maps_the_same_is_read(loader, monkeypatch):
    expected = epoch(loader)
    monkeypatch.setattr(module, "_system", None)
    loader._reader._maps = Maps()
    assert epoch(loader) == expected
