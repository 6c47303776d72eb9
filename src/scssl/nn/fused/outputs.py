"""A linear layer whose outputs are overwritten by the gradient of a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scssl.nn import kernels
from scssl.nn.fused.batches import BUFFERS, Group, as_array, over_cells, rows_of

if TYPE_CHECKING:
    from torch import Tensor


class Outputs:
    """What a linear layer gives for groups of cells, each for its genes.

    Parameters
    ----------
    units
        (n_cells, n_in) input, in the type of the products.
    weight, bias
        (n_out, n_in) and (n_out,) fp32.
    groups
        Cells and their genes.
    """

    def __init__(self, units: Tensor, weight: Tensor, bias: Tensor, groups: list[Group]) -> None:
        self.units, self.groups, self.shape = units, groups, weight.shape
        self.chosen = [rows_of(weight.detach(), group.genes, dtype=units.dtype) for group in groups]
        self.predicted = []
        """Per group (n_cells, n_genes), to be overwritten by the gradient of the loss with regard to them."""
        for group, part in zip(groups, self.chosen, strict=True):
            shift = bias.detach() if group.genes is None else bias.detach()[torch.from_numpy(group.genes)]
            cells = units[group.cells]
            out = BUFFERS.take(cells.shape[0], part.shape[0], dtype=units.dtype)
            self.predicted.append(torch.addmm(shift.to(units.dtype), cells, part.t(), out=out))

    def gradients(self, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of units, weight and bias.

        Parameters
        ----------
        scale
            Scalar that the gradients in `predicted` are still to be multiplied by. It is known only now, and small
            matrices are multiplied sooner than large ones.
        """
        d_units = torch.empty(self.units.shape, dtype=self.units.dtype)
        d_weight, d_bias = BUFFERS.take(*self.shape, dtype=torch.float32), torch.zeros(self.shape[0])
        if self.groups[0].genes is not None:
            d_weight.zero_()
        for group, error, part in zip(self.groups, self.predicted, self.chosen, strict=True):
            torch.mm(error, part, out=d_units[group.cells])
            product = BUFFERS.take(error.shape[1], self.shape[1], dtype=error.dtype)
            torch.mm(error.t(), self.units[group.cells], out=product)
            # A product with ones, as sums over rows of bf16 take twelve times as long.
            sums = (torch.ones(1, error.shape[0], dtype=error.dtype) @ error)[0].float()
            if group.genes is None:
                torch.mul(product, scale, out=d_weight)
                d_bias += sums
            else:
                bf16 = product.dtype == torch.bfloat16
                onto = as_array(d_weight)
                over_cells(kernels.add_rows, error.shape[1], as_array(product), group.genes, float(scale), onto, bf16)
                d_bias.index_add_(0, torch.from_numpy(group.genes), sums)
        self.predicted, self.chosen = [], []
        return d_units * scale, d_weight, d_bias * scale
