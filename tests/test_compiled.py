"""Loops shared out over threads give what one thread gives, also in forked processes and where nothing can be kept."""

import subprocess
import sys

import numpy as np
import pytest

from scssl import compiled as module
from scssl.compiled import compiled, over_rows


@compiled
def double(start, stop, values, out):
    total = 0
    for row in range(start, stop):
        out[row] = 2 * values[row]
        total += values[row]
    return total


@pytest.mark.parametrize("threads", [1, 2, 3, 64])
@pytest.mark.parametrize("n_rows", [0, 1, 15, 16, 100])
def test_rows_are_done_once_whatever_the_number_of_threads(n_rows, threads):
    values, out = np.arange(n_rows), np.full(n_rows, -1)
    totals = over_rows(double, n_rows, values, out, threads=threads)
    np.testing.assert_array_equal(out, 2 * values)
    assert sum(totals) == values.sum()
    assert len(totals) == max(1, min(threads, n_rows // 16))


FORKED = """
import multiprocessing
import numpy as np
from scssl.compiled import compiled, over_rows

@compiled
def double(start, stop, values, out):
    for row in range(start, stop):
        out[row] = 2 * values[row]
    return 0

def in_child(values, queue):
    out = np.empty_like(values)
    over_rows(double, values.size, values, out, threads=2)
    queue.put(out)

values = np.arange(100)
in_child(values, queue := multiprocessing.get_context("fork").Queue())
queue.get()
child = multiprocessing.get_context("fork").Process(target=in_child, args=(values, queue))
child.start()
np.testing.assert_array_equal(queue.get(timeout=60), 2 * values)
child.join()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_forked_process_has_threads_of_its_own(tmp_path):
    """In a process of its own: what else a test run has loaded (JAX) has threads that forking stops."""
    (tmp_path / "forked.py").write_text(FORKED)
    done = subprocess.run([sys.executable, tmp_path / "forked.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_loop_is_compiled_where_nothing_can_be_kept(monkeypatch):
    def njit(**options):
        if "cache" in options:
            message = "cannot cache function: no locator available"
            raise RuntimeError(message)
        return lambda function: function

    monkeypatch.setattr(module, "njit", njit)
    assert compiled(abs)(-3) == 3
