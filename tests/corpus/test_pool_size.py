"""Sizes of pools: memory that depends on the batch size and never on the number of cells."""

from __future__ import annotations

import subprocess
import sys

import pytest

from scssl.corpus.pool_size import POOL_BYTES, loading_memory, pool_size

GIB = 2**30


@pytest.mark.parametrize("batch_size", [1, 64, 1000, 1024, 8192])
@pytest.mark.parametrize("nonzeros", [1, 500, 2000, 6000])
def test_whole_batches_within_the_aim(batch_size, nonzeros):
    size = pool_size(nonzeros_per_cell=nonzeros, batch_size=batch_size)
    assert size.pool_cells % batch_size == 0
    assert size.pool_cells >= batch_size
    assert size.pool_cells == batch_size or size.pool_cells * nonzeros * 8 <= POOL_BYTES
    narrow = pool_size(nonzeros_per_cell=nonzeros, bytes_per_nonzero=4, batch_size=batch_size)
    assert (narrow.pool_cells, narrow.n_pools) == (size.pool_cells, size.n_pools)
    assert narrow.n_bytes < size.n_bytes
    if batch_size * nonzeros <= 4e6:
        assert size.n_bytes < GIB / 2


def test_threads_do_not_change_the_pools():
    sizes = [pool_size(nonzeros_per_cell=2000, batch_size=512, workers=workers) for workers in (1, 2, 3, 16)]
    assert len({size.pool_cells for size in sizes}) == 1
    assert [size.n_pools for size in sizes] == [2, 3, 4, 5]


def test_asked_and_largest():
    assert pool_size(nonzeros_per_cell=9, batch_size=10, pool_cells=95).pool_cells == 100
    assert pool_size(nonzeros_per_cell=9, batch_size=10, pool_cells=95, largest=59).pool_cells == 50
    assert pool_size(nonzeros_per_cell=9, batch_size=10, largest=3).pool_cells == 10


def test_estimate(small_corpus, many_shards):
    few, many = loading_memory(small_corpus), loading_memory(many_shards([2000] * 4))
    assert 0 < few < many < 64 << 20
    assert loading_memory(small_corpus, selected=1000) == few + 4000
    assert small_corpus.loader().memory_bytes() < 64 << 20


def test_needs_no_torch():
    code = "import sys, scssl.corpus.pool_size; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
