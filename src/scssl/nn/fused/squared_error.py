"""The last layer of the decoder, and the squared error of what it predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from scssl.nn import kernels
from scssl.nn.fused.batches import Counts, Group, as_array, groups_of, over_cells, product_type
from scssl.nn.fused.outputs import Outputs

if TYPE_CHECKING:
    from torch import Tensor, nn

    from scssl.corpus.batch import CellBatch


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
    groups = groups_of(masks, group_size=group_size, n_cells=batch.n_cells, keep=True)
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
        groups: list[Group],
        zero_weight: float,
        found: list[int],
    ) -> Tensor:
        outputs = Outputs(units.to(product_type()), weight, bias, groups)
        results, everything = [], counts.measured
        for group, predicted in zip(groups, outputs.predicted, strict=True):
            part = counts.part(group.cells)
            known = everything if group.genes is None else np.ascontiguousarray(everything[:, group.genes])
            results += over_cells(
                kernels.squared_error, part.pattern.size, part.logs, part.indices, part.indptr, part.pattern, known,
                group.mask, group.columns(weight.shape[0]), zero_weight, as_array(predicted),
                predicted.dtype == torch.bfloat16,
            )  # fmt: skip
        found += [sum(r[1] for r in results), sum(r[2] for r in results)]
        ctx.outputs, ctx.asked = outputs, units.dtype
        return torch.tensor(sum(r[0] for r in results), dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        d_units, d_weight, d_bias = ctx.outputs.gradients(2.0 * gradients[0])
        return d_units.to(ctx.asked), d_weight, d_bias, None, None, None, None
