"""What the fused layers share: a batch as arrays, cells by mask, parts of weights in the type of a product."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch

from scssl.compiled import over_rows
from scssl.nn import kernels
from scssl.nn.buffers import Buffers

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from scssl.corpus.batch import CellBatch

BUFFERS: Final = Buffers()


def usable(layer: nn.Linear) -> bool:
    """Return whether a layer can be computed here: on the processor, with fp32 weights."""
    return layer.weight.device.type == "cpu" and layer.weight.dtype == torch.float32


def product_type() -> torch.dtype:
    """Return the type that matrix products are taken in: bf16 under autocast, else fp32."""
    return torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32


class Counts(NamedTuple):
    """What the kernels need of a batch, as arrays."""

    values: NDArray[Any]
    """(n_nonzeros,) raw counts."""
    logs: NDArray[np.float32]
    """(n_nonzeros,) log1p values; empty if they were not asked for."""
    indices: NDArray[Any]
    indptr: NDArray[np.int64]
    pattern: NDArray[np.int64]
    """(n_cells,) row of `measured`."""
    measured: NDArray[np.bool_]
    """(n_patterns, n_genes) sets of measured genes that cells of this batch have."""

    @classmethod
    def of(cls, batch: CellBatch, *, target_sum: float | None = None) -> Counts:
        """Take the logarithms, if there is a total to scale to, and find the sets of measured genes that occur."""
        values, indptr = batch.values.numpy(), batch.indptr.numpy()
        logs = np.empty(0 if target_sum is None else values.size, dtype=np.float32)
        if target_sum is not None:
            scale = target_sum * batch.measured_share[batch.measured_row] / batch.size_factor.clamp(min=1.0)
            over_cells(kernels.log_values, batch.n_cells, values, indptr, scale.float().numpy(), logs)
        measured = batch.measured.numpy()
        if measured.all():
            pattern, measured = np.zeros(batch.n_cells, dtype=np.int64), measured[:1]
        else:
            rows, pattern = np.unique(batch.measured_row.numpy(), return_inverse=True)
            # Many sources have the same genes.
            packed = np.packbits(measured[rows], axis=1)
            _, first, same = np.unique(packed, axis=0, return_index=True, return_inverse=True)
            pattern, measured = same.ravel()[pattern], measured[rows[first]]
        return cls(values, logs, batch.indices.numpy(), indptr, pattern, measured)

    def part(self, cells: slice) -> Counts:
        """Return some of the cells."""
        indptr = self.indptr[cells.start : cells.stop + 1]
        return self._replace(indptr=indptr, pattern=self.pattern[cells])


def over_cells(kernel: Any, n_cells: int, *arguments: Any) -> list[Any]:
    """Call a kernel for ranges of cells, with as many threads as torch has: see `over_rows`."""
    return over_rows(kernel, n_cells, *arguments, threads=torch.get_num_threads())


class Group(NamedTuple):
    """Consecutive cells, and the genes computed for them."""

    cells: slice
    genes: NDArray[np.int64] | None
    """Positions in the panel; None for all."""
    mask: NDArray[np.bool_]
    """(n_masks, n_columns); (0, 0) for none."""

    def columns(self, n_genes: int) -> NDArray[np.int32]:
        """Where each gene is; one past the last if it is not there."""
        if self.genes is None:
            return np.arange(n_genes, dtype=np.int32)
        out = np.full(n_genes, self.genes.size, dtype=np.int32)
        out[self.genes] = np.arange(self.genes.size, dtype=np.int32)
        return out


NO_MASK = np.empty((0, 0), dtype=np.bool_)


def groups_of(masks: Tensor | None, *, group_size: int, n_cells: int, keep: bool) -> list[Group]:
    """Share cells out: with one mask per cell (or none) all at once, else by mask with the genes where it is `keep`."""
    if masks is None:
        return [Group(slice(0, n_cells), None, NO_MASK)]
    if group_size == 1:
        return [Group(slice(0, n_cells), None, masks.numpy())]
    starts = range(0, n_cells, group_size)
    return [
        Group(slice(start, min(start + group_size, n_cells)), np.flatnonzero(mask == keep), NO_MASK)
        for start, mask in zip(starts, masks.numpy(), strict=True)
    ]


def as_array(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor as numpy sees it: bf16 as the bits of uint16."""
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def columns_of(weight: Tensor, genes: NDArray[np.int64] | None, *, dtype: torch.dtype) -> Tensor:
    """Return some columns of an fp32 matrix, in another type."""
    if genes is None:
        return weight if dtype == torch.float32 else BUFFERS.take(*weight.shape, dtype=dtype).copy_(weight)
    out = BUFFERS.take(weight.shape[0], genes.size, dtype=dtype)
    bf16 = dtype == torch.bfloat16
    over_cells(kernels.take_columns, weight.shape[0], weight.numpy(), genes, as_array(out), bf16)
    return out


def rows_of(weight: Tensor, genes: NDArray[np.int64] | None, *, dtype: torch.dtype) -> Tensor:
    """Return some rows of an fp32 matrix, in another type."""
    if genes is None:
        return weight if dtype == torch.float32 else BUFFERS.take(*weight.shape, dtype=dtype).copy_(weight)
    out = BUFFERS.take(genes.size, weight.shape[1], dtype=dtype)
    over_cells(kernels.take_rows, genes.size, weight.numpy(), genes, as_array(out), dtype == torch.bfloat16)
    return out
