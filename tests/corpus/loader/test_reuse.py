"""Memory of batches: never shared while somebody holds it, and used again afterwards."""

from __future__ import annotations

import numpy as np
import torch

from scssl.corpus.loader.reuse import Arrays

INT32 = np.dtype(np.int32)
LARGE = 1 << 17
"""Elements that are not left to malloc."""


def address(array):
    return array.__array_interface__["data"][0]


def test_used_again_once_nobody_holds_it():
    arrays = Arrays(keep=2)
    first = torch.from_numpy(arrays.take(LARGE, INT32))
    part = first[10:20]
    where = first.data_ptr()
    del first
    assert address(arrays.take(LARGE, INT32)) != where  # a view of it is still there
    del part
    assert address(arrays.take(LARGE - 10, INT32)) == where


def test_of_any_type():
    arrays = Arrays(keep=2)
    array = arrays.take(LARGE, INT32)
    where = address(array)
    del array
    array = arrays.take(2 * LARGE, np.dtype(np.uint16))
    assert address(array) == where
    assert (array.dtype, array.size) == (np.uint16, 2 * LARGE)


def test_held_arrays_are_distinct():
    arrays = Arrays(keep=2)
    for size in (LARGE, 50):
        held = [arrays.take(size, INT32) for _ in range(10)]
        for number, array in enumerate(held):
            array[:] = number
        assert [set(array.tolist()) for array in held] == [{number} for number in range(10)]


def test_size_grows_and_little_is_kept():
    arrays = Arrays(keep=2)
    held = [arrays.take(LARGE * size, INT32) for size in (1, 2, 3, 4)]
    held.clear()
    assert len(arrays._free) == 2
    assert arrays.take(LARGE * 10, INT32).size == LARGE * 10
    assert arrays.take(0, INT32).dtype == np.int32
