r"""The two wide layers of the network on a processor, without dense copies of the batch.

With about 20,000 genes, the first layer of the encoder and the last of the decoder hold nearly all of the arithmetic,
and what surrounds them nearly all of the memory. Here the input is written in one pass from sparse counts (normalised,
centred, hidden and unmeasured genes marked; see `GeneStates`) in the type that the matrix product reads, and the
squared error of the output is taken in one pass which leaves its gradient in the output's place. Where cells share a
mask, both layers compute the genes that matter only: those that are seen, and those that are asked for. The results are
those of the plain modules (tested), up to rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from scssl.compiled import over_rows
from scssl.nn import kernels
from scssl.nn.buffers import Buffers

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from scssl.corpus.batch import CellBatch
    from scssl.nn.inputs import GeneStates

_buffers = Buffers()


def usable(layer: nn.Linear) -> bool:
    """Return whether a layer can be computed here: on the processor, with fp32 weights."""
    return layer.weight.device.type == "cpu" and layer.weight.dtype == torch.float32


class Counts(NamedTuple):
    """What the kernels need of a batch, as arrays."""

    logs: NDArray[np.float32]
    """(n_nonzeros,) log1p values."""
    indices: NDArray[Any]
    indptr: NDArray[np.int64]
    pattern: NDArray[np.int64]
    """(n_cells,) row of `measured`."""
    measured: NDArray[np.bool_]
    """(n_patterns, n_genes) sets of measured genes that cells of this batch have."""

    @classmethod
    def of(cls, batch: CellBatch, *, target_sum: float) -> Counts:
        """Take the logarithms, and find the sets of measured genes that occur."""
        scale = target_sum * batch.measured_share[batch.measured_row] / batch.size_factor.clamp(min=1.0)
        values, indptr = batch.values.numpy(), batch.indptr.numpy()
        logs = np.empty(values.size, dtype=np.float32)
        _over_cells(kernels.log_values, batch.n_cells, values, indptr, scale.float().numpy(), logs)
        measured = batch.measured.numpy()
        if measured.all():
            pattern, measured = np.zeros(batch.n_cells, dtype=np.int64), measured[:1]
        else:
            rows, pattern = np.unique(batch.measured_row.numpy(), return_inverse=True)
            # Many sources have the same genes.
            packed = np.packbits(measured[rows], axis=1)
            _, first, same = np.unique(packed, axis=0, return_index=True, return_inverse=True)
            pattern, measured = same.ravel()[pattern], measured[rows[first]]
        return cls(logs, batch.indices.numpy(), indptr, pattern, measured)

    def part(self, cells: slice) -> Counts:
        """Return some of the cells."""
        indptr = self.indptr[cells.start : cells.stop + 1]
        return self._replace(indptr=indptr, pattern=self.pattern[cells])


def _over_cells(kernel: Any, n_cells: int, *arguments: Any) -> list[Any]:
    return over_rows(kernel, n_cells, *arguments, threads=torch.get_num_threads())


class _Group(NamedTuple):
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


_NO_MASK = np.empty((0, 0), dtype=np.bool_)


def _groups(masks: Tensor | None, *, group_size: int, n_cells: int, keep: bool) -> list[_Group]:
    """Share cells out: with one mask per cell (or none) all at once, else by mask with the genes where it is `keep`."""
    if masks is None:
        return [_Group(slice(0, n_cells), None, _NO_MASK)]
    if group_size == 1:
        return [_Group(slice(0, n_cells), None, masks.numpy())]
    starts = range(0, n_cells, group_size)
    return [
        _Group(slice(start, min(start + group_size, n_cells)), np.flatnonzero(mask == keep), _NO_MASK)
        for start, mask in zip(starts, masks.numpy(), strict=True)
    ]


def first_layer(
    layer: nn.Linear,
    states: GeneStates,
    batch: CellBatch,
    *,
    target_sum: float,
    masks: Tensor | None = None,
    group_size: int = 1,
) -> Tensor:
    r"""Return what a linear layer makes of normalised, centred and masked cells.

    .. math:: h_c = W \, \frac{1}{s_c} \left( (x_c - \bar x) \odot v_c + u \odot (1 - m_c) \right) + b

    with log1p values :math:`x`, gene means :math:`\bar x`, genes that are seen :math:`v` (measured and not hidden) or
    measured :math:`m`, learned values :math:`u`, and the share :math:`s` of the variance that the measured genes carry.

    Parameters
    ----------
    layer
        Its input are the genes.
    states
        Means and shares.
    batch
        Cells, on the processor.
    target_sum
        Total to which counts are scaled before log1p.
    masks
        (n_masks, n_genes) bool, hidden genes of `group_size` consecutive cells each; None for none.
    group_size
        Cells per mask.

    Returns
    -------
    Tensor
        (n_cells, n_out).
    """
    dtype = torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32
    counts = Counts.of(batch, target_sum=target_sum)
    groups = _groups(masks, group_size=group_size, n_cells=batch.n_cells, keep=False)
    out: Tensor = _FirstLayer.apply(layer.weight, layer.bias, states.unmeasured, states, counts, groups, dtype)
    return out


class _FirstLayer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        weight: Tensor,
        bias: Tensor,
        unmeasured: Tensor,
        states: GeneStates,
        counts: Counts,
        groups: list[_Group],
        dtype: torch.dtype,
    ) -> Tensor:
        mean, measured = states.mean.numpy(), torch.from_numpy(counts.measured)
        unit = states.weight_of_measured(measured)
        base = torch.where(measured, -states.mean, 0.0) * unit.unsqueeze(1)
        inputs, out = [], torch.empty(counts.pattern.size, weight.shape[0], dtype=dtype)
        for group in groups:
            part, genes = counts.part(group.cells), group.genes
            read = _buffers.take(part.pattern.size, mean.size if genes is None else genes.size, dtype=dtype)
            here = base.numpy() if genes is None else base.numpy()[:, genes]
            _over_cells(
                kernels.fill_input, part.pattern.size, part.logs, part.indices, part.indptr, mean, part.pattern, here,
                unit.numpy(), group.mask, group.columns(mean.size), _array(read), dtype == torch.bfloat16,
            )  # fmt: skip
            chosen = _columns(weight.detach(), genes, dtype=dtype)
            torch.addmm(bias.detach().to(dtype), read, chosen.t(), out=out[group.cells])
            inputs.append(read)
        ctx.missing = None
        if not counts.measured.all():
            # What is not measured is the same for all cells of a pattern: computed once for each.
            ctx.missing = torch.where(measured, 0.0, unit.unsqueeze(1))
            ctx.pattern = torch.from_numpy(counts.pattern)
            out += torch.mm(ctx.missing * unmeasured.detach(), weight.detach().t()).to(dtype)[ctx.pattern]
            ctx.save_for_backward(weight, unmeasured)
        ctx.inputs, ctx.groups, ctx.shape = inputs, groups, weight.shape
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        gradient = gradients[0].contiguous()
        d_weight, d_unmeasured = _buffers.take(*ctx.shape, dtype=torch.float32), None
        if ctx.groups[0].genes is not None:
            d_weight.zero_()
        for group, read in zip(ctx.groups, ctx.inputs, strict=True):
            product = _buffers.take(ctx.shape[0], read.shape[1], dtype=read.dtype)
            torch.mm(gradient[group.cells].t(), read, out=product)
            if group.genes is None:
                d_weight.copy_(product)
            else:
                _over_cells(kernels.add_columns, ctx.shape[0], _array(product), group.genes, d_weight.numpy(),
                            product.dtype == torch.bfloat16)  # fmt: skip
        if ctx.missing is not None:
            weight, unmeasured = ctx.saved_tensors
            of_pattern = torch.zeros(len(ctx.missing), ctx.shape[0])
            of_pattern.index_add_(0, ctx.pattern, gradient.float())
            d_weight.addmm_(of_pattern.t(), ctx.missing * unmeasured)
            d_unmeasured = (ctx.missing * (of_pattern @ weight)).sum(0)
        ctx.inputs = None
        return d_weight, gradient.sum(0, dtype=torch.float32), d_unmeasured, None, None, None, None


def _array(tensor: Tensor) -> NDArray[Any]:
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _columns(weight: Tensor, genes: NDArray[np.int64] | None, *, dtype: torch.dtype) -> Tensor:
    """Return some columns of an fp32 matrix, in another type."""
    if genes is None:
        return weight if dtype == torch.float32 else _buffers.take(*weight.shape, dtype=dtype).copy_(weight)
    out = _buffers.take(weight.shape[0], genes.size, dtype=dtype)
    bf16 = dtype == torch.bfloat16
    _over_cells(kernels.take_columns, weight.shape[0], weight.numpy(), genes, _array(out), bf16)
    return out


class SquaredError(NamedTuple):
    """Squared error of predictions, summed up."""

    total: Tensor
    """Scalar with gradient, weighted sum."""
    n_zero: int
    """Entries asked for that are zero."""
    n_seen: int
    """Entries asked for that are not."""


def squared_error(
    layer: nn.Linear,
    units: Tensor,
    batch: CellBatch,
    *,
    target_sum: float,
    masks: Tensor | None = None,
    group_size: int = 1,
    zero_weight: float = 1.0,
) -> SquaredError:
    r"""Return the squared error of a linear layer's prediction of log1p values, over the measured genes asked for.

    .. math:: \sum_{(c, g) \in A} w_{cg} (w_g \cdot u_c + b_g - x_{cg})^2

    Parameters
    ----------
    layer
        Its output are the genes.
    units
        (n_cells, n_in) its input.
    batch
        Cells, on the processor.
    target_sum
        Total to which counts are scaled before log1p.
    masks
        (n_masks, n_genes) bool, genes asked of `group_size` consecutive cells each; None for all.
    group_size
        Cells per mask.
    zero_weight
        Weight of entries whose truth is zero; others weigh 1.
    """
    counts = Counts.of(batch, target_sum=target_sum)
    groups = _groups(masks, group_size=group_size, n_cells=batch.n_cells, keep=True)
    found: list[int] = []
    total: Tensor = _SquaredError.apply(units, layer.weight, layer.bias, counts, groups, zero_weight, found)
    return SquaredError(total, found[0], found[1])


class _SquaredError(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        units: Tensor,
        weight: Tensor,
        bias: Tensor,
        counts: Counts,
        groups: list[_Group],
        zero_weight: float,
        found: list[int],
    ) -> Tensor:
        dtype = torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32
        units, ctx.asked = units.to(dtype), units.dtype
        n_genes, results, kept = weight.shape[0], [], []
        for group in groups:
            part, genes = counts.part(group.cells), group.genes
            chosen, known = _rows(weight.detach(), genes, dtype=dtype), part.measured
            shift = bias.detach() if genes is None else bias.detach()[torch.from_numpy(genes)]
            predicted = _buffers.take(part.pattern.size, chosen.shape[0], dtype=dtype)
            torch.addmm(shift.to(dtype), units[group.cells], chosen.t(), out=predicted)
            results += _over_cells(
                kernels.squared_error, part.pattern.size, part.logs, part.indices, part.indptr, part.pattern,
                known if genes is None else np.ascontiguousarray(known[:, genes]), group.mask, group.columns(n_genes),
                zero_weight, _array(predicted), dtype == torch.bfloat16,
            )  # fmt: skip
            kept.append((predicted, chosen))
        found += [sum(r[1] for r in results), sum(r[2] for r in results)]
        ctx.kept, ctx.groups, ctx.units, ctx.shape = kept, groups, units, weight.shape
        return torch.tensor(sum(r[0] for r in results), dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        # The errors were left unscaled: what they are multiplied by is known only now.
        scale = 2.0 * gradients[0]
        d_units = torch.empty(ctx.units.shape, dtype=ctx.units.dtype)
        d_weight = _buffers.take(*ctx.shape, dtype=torch.float32)
        d_bias = torch.zeros(ctx.shape[0])
        if ctx.groups[0].genes is not None:
            d_weight.zero_()
        for group, (error, chosen) in zip(ctx.groups, ctx.kept, strict=True):
            torch.mm(error, chosen, out=d_units[group.cells])
            product = _buffers.take(error.shape[1], ctx.shape[1], dtype=error.dtype)
            torch.mm(error.t(), ctx.units[group.cells], out=product)
            # A product with ones, as sums over rows of bf16 take twelve times as long.
            sums = torch.ones(1, error.shape[0], dtype=error.dtype) @ error
            if group.genes is None:
                torch.mul(product, scale, out=d_weight)
                d_bias = sums[0].float()
            else:
                _over_cells(kernels.add_rows, error.shape[1], _array(product), group.genes, float(scale),
                            d_weight.numpy(), product.dtype == torch.bfloat16)  # fmt: skip
                d_bias.index_add_(0, torch.from_numpy(group.genes), sums[0].float())
        ctx.kept = None
        return (d_units * scale).to(ctx.asked), d_weight, d_bias * scale, None, None, None, None


def _rows(weight: Tensor, genes: NDArray[np.int64] | None, *, dtype: torch.dtype) -> Tensor:
    """Return some rows of an fp32 matrix, in another type."""
    if genes is None:
        return weight if dtype == torch.float32 else _buffers.take(*weight.shape, dtype=dtype).copy_(weight)
    out = _buffers.take(genes.size, weight.shape[1], dtype=dtype)
    _over_cells(kernels.take_rows, genes.size, weight.numpy(), genes, _array(out), dtype == torch.bfloat16)
    return out
