"""Memory of batches: never shared while somebody holds it, and used again afterwards."""

from __future__ import annotations

import numpy as np
import torch

from scssl.corpus.loader.reuse import Arrays


def address(array):
    return array.__array_interface__["data"][0]


def test_used_again_once_nobody_holds_it():
    arrays = Arrays(keep=2)
    first = torch.from_numpy(arrays.take(100))
    part = first[10:20]
    where = first.data_ptr()
    del first
    assert address(arrays.take(100)) != where  # a view of it is still there
    del part
    assert address(arrays.take(90)) == where


def test_held_arrays_are_distinct():
    arrays = Arrays(keep=2)
    held = [arrays.take(50) for _ in range(10)]
    for number, array in enumerate(held):
        array[:] = number
    assert [array.tolist() for array in held] == [[number] * 50 for number in range(10)]


def test_size_grows_and_little_is_kept():
    arrays = Arrays(keep=2)
    held = [arrays.take(size) for size in (1, 5, 10, 20)]
    held.clear()
    assert len(arrays._free) == 2
    assert arrays.take(1000).size == 1000
    assert arrays.take(0).dtype == np.int32
