import gc

import pytest
import torch

from scssl.nn.buffers import KEPT, Buffers


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 5), (0, 7), (1,), (2048, 1031)])
def test_tensors_have_the_shape_asked_for_and_can_be_written(shape, dtype):
    tensor = Buffers().take(*shape, dtype=dtype)
    assert tensor.shape == shape
    assert tensor.dtype == dtype
    tensor.fill_(2.0)
    assert (tensor == 2).all()


def test_memory_is_used_again_only_when_nobody_holds_it():
    buffers = Buffers()
    first = buffers.take(40, 50, dtype=torch.float32)
    address, view = first.data_ptr(), first[3:]
    del first
    assert buffers.take(40, 50, dtype=torch.float32).data_ptr() != address
    del view
    gc.collect()
    again = [buffers.take(40, 49, dtype=torch.float32) for _ in range(2)]
    assert address in [tensor.data_ptr() for tensor in again]


def test_no_more_is_kept_than_a_few_pieces_of_a_size():
    buffers = Buffers()
    held = [buffers.take(1000, dtype=torch.float32) for _ in range(3 * KEPT)]
    held.clear()
    gc.collect()
    assert sum(len(free) for free in buffers._free.values()) == KEPT
