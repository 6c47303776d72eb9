"""Embeddings of all processes together, with gradient: a loss must not depend on how a batch is shared out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from torch import Tensor


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        n_ranks = dist.get_world_size()
        # Ranks may have batches of different sizes, but can only send tensors of one.
        own = torch.tensor([rows.shape[0]], device=rows.device)
        each = [torch.empty_like(own) for _ in range(n_ranks)]
        dist.all_gather(each, own)
        sizes = [int(size) for size in each]
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[: rows.shape[0]] = rows
        parts = [torch.empty_like(padded) for _ in range(n_ranks)]
        dist.all_gather(parts, padded)
        start = sum(sizes[: dist.get_rank()])
        ctx.own = slice(start, start + rows.shape[0])
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        # Every rank's loss depends on these rows.
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total[ctx.own]


def gather(rows: Tensor) -> Tensor:
    """Return the rows of all processes, in the order of their ranks; or the rows as they are in a single process.

    The gradient of a row is the sum of those of all processes. If each computes the same loss over all rows, the mean
    over processes that `DistributedDataParallel` takes is the gradient of that loss, as one process would compute it.
    Every process must take part, as often as the others.

    Parameters
    ----------
    rows
        (n_cells, n) embeddings of this process.

    Returns
    -------
    Tensor
        (n_cells_of_all, n).
    """
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows)
    return gathered


def mean_over_ranks(value: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes, without gradient; itself in a single process.

    A sum divided by the mean of its weights over the processes has, after `DistributedDataParallel` has taken its own
    mean, the gradient of the sum of all divided by the weights of all, however unevenly they are spread.
    """
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return value.detach()
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()
