"""The first layer of the encoder, from sparse counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from scssl.nn import kernels
from scssl.nn.fused.batches import BUFFERS, Counts, Group, as_array, columns_of, groups_of, over_cells, product_type

if TYPE_CHECKING:
    from torch import Tensor, nn

    from scssl.corpus.batch import CellBatch
    from scssl.nn.inputs import GeneStates


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
    counts = Counts.of(batch, target_sum=target_sum)
    groups = groups_of(masks, group_size=group_size, n_cells=batch.n_cells, keep=False)
    out: Tensor = _FirstLayer.apply(layer.weight, layer.bias, states.unmeasured, states, counts, groups, product_type())
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
        groups: list[Group],
        dtype: torch.dtype,
    ) -> Tensor:
        mean, measured = states.mean.numpy(), torch.from_numpy(counts.measured)
        unit = states.weight_of_measured(measured)
        base = torch.where(measured, -states.mean, 0.0) * unit.unsqueeze(1)
        inputs, out = [], torch.empty(counts.pattern.size, weight.shape[0], dtype=dtype)
        for group in groups:
            part, genes = counts.part(group.cells), group.genes
            read = BUFFERS.take(part.pattern.size, mean.size if genes is None else genes.size, dtype=dtype)
            here = base.numpy() if genes is None else base.numpy()[:, genes]
            over_cells(
                kernels.fill_input, part.pattern.size, part.logs, part.indices, part.indptr, mean, part.pattern, here,
                unit.numpy(), group.mask, group.columns(mean.size), as_array(read), dtype == torch.bfloat16,
            )  # fmt: skip
            chosen = columns_of(weight.detach(), genes, dtype=dtype)
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
        d_weight, d_unmeasured = BUFFERS.take(*ctx.shape, dtype=torch.float32), None
        if ctx.groups[0].genes is not None:
            d_weight.zero_()
        for group, read in zip(ctx.groups, ctx.inputs, strict=True):
            product = BUFFERS.take(ctx.shape[0], read.shape[1], dtype=read.dtype)
            torch.mm(gradient[group.cells].t(), read, out=product)
            if group.genes is None:
                d_weight.copy_(product)
            else:
                over_cells(kernels.add_columns, ctx.shape[0], as_array(product), group.genes, d_weight.numpy(),
                            product.dtype == torch.bfloat16)  # fmt: skip
        if ctx.missing is not None:
            weight, unmeasured = ctx.saved_tensors
            of_pattern = torch.zeros(len(ctx.missing), ctx.shape[0])
            of_pattern.index_add_(0, ctx.pattern, gradient.float())
            d_weight.addmm_(of_pattern.t(), ctx.missing * unmeasured)
            d_unmeasured = (ctx.missing * (of_pattern @ weight)).sum(0)
        ctx.inputs = None
        return d_weight, gradient.sum(0, dtype=torch.float32), d_unmeasured, None, None, None, None
