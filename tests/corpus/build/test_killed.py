"""Builds and additions that are killed at random moments, and started again."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from scssl.corpus import Corpus
from scssl.corpus.build import create, plan, spill

OPTIONS = {"genes": "union", "obs": ["cell_type"], "source": "study"}


def assert_same_files(one, other):
    files = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(other) for p in other.rglob("*") if p.is_file())
    assert [f for f in files if (one / f).read_bytes() != (other / f).read_bytes()] == []


@pytest.fixture
def small_buckets(monkeypatch):
    """Many shards, parts and flushes even for a small corpus."""
    monkeypatch.setattr(create, "SHARD_BYTES", 40_000)
    monkeypatch.setattr(spill, "FLUSH_NONZEROS", 1_000)
    monkeypatch.setattr(plan, "CHUNK", 64)
    monkeypatch.setattr(plan, "PART_NONZEROS", 10_000)


SMALL_PIECES = """
from scssl.corpus import Corpus
from scssl.corpus.build import create as build, plan, spill
build.SHARD_BYTES, spill.FLUSH_NONZEROS, plan.CHUNK, plan.PART_NONZEROS = 40_000, 1_000, 64, 10_000
"""


def kill_and_start_again(call, work, rng, *, kills):
    """Run code in processes that are killed at random moments, until it gets to its end; return how many were."""
    killed = 0
    while True:
        process = subprocess.Popen([sys.executable, "-c", SMALL_PIECES + call], stderr=subprocess.DEVNULL)
        if killed < kills:
            deadline = time.monotonic() + 60
            while not work.exists() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.4))
            process.send_signal(signal.SIGKILL)
        code = process.wait()
        yield code
        if code == 0:
            return
        assert code == -signal.SIGKILL
        killed += 1


@pytest.mark.slow
def test_killed_builds_are_gone_on_with(atlas_file, tmp_path, small_buckets):
    """SIGKILL at many moments: nothing that opens before the end, and then the same bytes as without."""
    Corpus.build(atlas_file, tmp_path / "whole", **OPTIONS)
    call = f"Corpus.build({str(atlas_file)!r}, {str(tmp_path / 'c')!r}, **{OPTIONS!r})"
    rng = np.random.default_rng(0)
    kept = []
    for code in kill_and_start_again(call, tmp_path / ".c.building", rng, kills=12):
        kept.append(len(list((tmp_path / ".c.building").glob("*/[0-9]*.npz"))))
        assert code == 0 or not (tmp_path / "c").exists()
    assert max(kept) > 0, "no kill came late enough to leave anything"
    assert_same_files(tmp_path / "whole", tmp_path / "c")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c", "whole"]


@pytest.mark.slow
def test_killed_additions_are_gone_on_with(atlas, tmp_path, small_buckets):
    """SIGKILL at many moments: the old corpus or the new one, whole, and in the end the same bytes as without."""
    for name, rows in (("a", slice(0, 300)), ("b", slice(300, 600))):
        atlas[rows].copy().write_h5ad(tmp_path / f"{name}.h5ad")
    for name in ("whole", "c"):
        Corpus.build(tmp_path / "a.h5ad", tmp_path / name, **OPTIONS)
    before = Corpus.open(tmp_path / "whole").n_cells()
    after = Corpus.open(tmp_path / "whole").append(tmp_path / "b.h5ad").n_cells()
    call = f"Corpus.open({str(tmp_path / 'c')!r}).append({str(tmp_path / 'b.h5ad')!r})"
    rng = np.random.default_rng(1)
    for _ in kill_and_start_again(call, tmp_path / ".c.building", rng, kills=12):
        corpus = Corpus.open(tmp_path / "c")
        assert corpus.n_cells() == (after if corpus.generation else before)
        if corpus.generation:
            break
    leftovers = [problem for problem in corpus.verify() if "not part" not in problem]
    assert leftovers == []
    if sorted(p.name for p in tmp_path.iterdir()) == ["a.h5ad", "b.h5ad", "c", "whole"]:
        assert_same_files(tmp_path / "whole", tmp_path / "c")


def test_an_interruption_while_what_is_left_is_removed(tmp_path, atlas_file, monkeypatch):
    """The corpus is there by then: the next build must not take the rest for one that is nearly done."""
    out = tmp_path / "c"
    expected = Corpus.build(atlas_file, tmp_path / "other", **OPTIONS)
    remove = shutil.rmtree

    def interrupted(folder, **given):
        if folder.name == ".c.building":
            raise KeyboardInterrupt
        remove(folder, **given)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Corpus.build(atlas_file, out, **OPTIONS)
    assert_same_files(out, expected.path)
    Corpus.build(atlas_file, out, overwrite=True, **OPTIONS)
    assert_same_files(out, expected.path)
    assert not (tmp_path / ".c.building").exists()
