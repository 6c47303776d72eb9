"""The last layer of the decoder, and how well the counts fit what it predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import torch

from scssl.nn.fused.batches import Counts, Group, groups_of, product_type
from scssl.nn.fused.outputs import Outputs

if TYPE_CHECKING:
    from torch import Tensor, nn

    from scssl.corpus.batch import CellBatch

AT_ONCE: Final = 32
"""Cells scored at a time: few enough for what is computed of them to stay in the processor's cache."""


class Loss(Protocol):
    """Loss of some entries, from their counts and what the layers predict of them."""

    def __call__(self, counts: Tensor | None, outputs: list[Tensor], *, total: Tensor, shape: Tensor | None) -> Tensor:
        """Return the loss of each entry.

        Parameters
        ----------
        counts
            Raw counts of the entries; None where all of them are zero.
        outputs
            Per layer, its outputs for them.
        total
            Total counts of the cell of each.
        shape
            A parameter of the gene of each, or None.
        """


def likelihood(
    loss: Loss,
    layers: list[nn.Linear],
    units: Tensor,
    batch: CellBatch,
    *,
    total: Tensor,
    shape: Tensor | None = None,
    masks: Tensor | None = None,
    group_size: int = 1,
    zero_weight: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Return the loss over the measured genes asked for, summed up, and the sum of their weights.

    Most counts are zeros, whose loss is a simpler function. So all entries are scored as if they were, and those that
    are not corrected: there is no dense target, and the costly functions see few values.

    Parameters
    ----------
    loss
        The loss of an entry.
    layers
        Linear layers whose outputs are the genes.
    units
        (n_cells, n_in) their input.
    batch
        Cells, on the processor.
    total
        (n_cells,) what means are multiples of.
    shape
        (n_genes,) a parameter of each gene, or None.
    masks
        (n_masks, n_genes) bool, genes asked of `group_size` consecutive cells each; None for all.
    group_size
        Cells per mask.
    zero_weight
        Weight of entries whose count is zero; others weigh 1.
    """
    counts = Counts.of(batch)
    groups = groups_of(masks, group_size=group_size, n_cells=batch.n_cells, keep=True)
    parameters = [p for layer in layers for p in (layer.weight, layer.bias)]
    found: list[float] = []
    summed: Tensor = _Likelihood.apply(loss, counts, groups, total, zero_weight, found, shape, units, *parameters)
    return summed, torch.tensor(found[0])


class _Likelihood(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        loss: Loss,
        counts: Counts,
        groups: list[Group],
        total: Tensor,
        zero_weight: float,
        found: list[float],
        shape: Tensor | None,
        units: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        read = units.to(product_type())
        layers = [Outputs(read, weight, bias, groups) for weight, bias in zip(*[iter(parameters)] * 2, strict=True)]
        summed, weights = torch.zeros((), dtype=torch.float64), 0.0
        shape = None if shape is None else shape.detach().requires_grad_()
        for number, group in enumerate(groups):
            columns = torch.from_numpy(group.columns(parameters[0].shape[0])).long()
            genes = slice(None) if group.genes is None else torch.from_numpy(group.genes)
            known, masks = torch.from_numpy(counts.measured)[:, genes], torch.from_numpy(group.mask)
            for start in range(group.cells.start, group.cells.stop, AT_ONCE):
                cells = slice(start, min(start + AT_ONCE, group.cells.stop))
                rows = slice(cells.start - group.cells.start, cells.stop - group.cells.start)
                asked = known[torch.from_numpy(counts.pattern[cells])]
                if len(masks):
                    asked = asked & masks[rows]
                predicted = [layer.predicted[number][rows] for layer in layers]
                part, weight = _score(
                    loss, predicted, counts.part(cells), asked, columns, total[cells], zero_weight,
                    None if shape is None else shape, genes,
                )  # fmt: skip
                summed, weights = summed + part, weights + weight
        found.append(weights)
        ctx.layers, ctx.asked, ctx.d_shape = layers, units.dtype, None if shape is None else shape.grad
        return summed.float()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        every = [layer.gradients(gradients[0]) for layer in ctx.layers]
        d_units = torch.stack([own[0] for own in every]).sum(0)
        d_parameters = [gradient for own in every for gradient in own[1:]]
        d_shape = None if ctx.d_shape is None else ctx.d_shape * gradients[0]
        return None, None, None, None, None, None, d_shape, d_units.to(ctx.asked), *d_parameters


def _score(
    loss: Loss,
    predicted: list[Tensor],
    counts: Counts,
    asked: Tensor,
    columns: Tensor,
    total: Tensor,
    zero_weight: float,
    shape: Tensor | None,
    genes: Any,
) -> tuple[Tensor, float]:
    """Sum up the loss of some cells, and overwrite what was predicted by its gradient."""
    first, last = int(counts.indptr[0]), int(counts.indptr[-1])
    lengths = torch.from_numpy(counts.indptr).diff()
    row = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    column = columns[torch.from_numpy(counts.indices[first:last]).long()]
    there = column < asked.shape[1]
    row, column = row[there], column[there]
    counted = asked[row, column]
    row, column = row[counted], column[counted]
    values = torch.from_numpy(counts.values[first:last]).float()[there][counted]
    with torch.enable_grad(), torch.autocast("cpu", enabled=False):
        outputs = [p.detach().float().requires_grad_() for p in predicted]
        own = None if shape is None else shape[genes]
        as_zero = loss(None, outputs, total=total.unsqueeze(1), shape=own)
        here = [output[row, column] for output in outputs]
        of_gene, of_cell = None if own is None else own[column], total[row]
        right = loss(values, here, total=of_cell, shape=of_gene)
        wrong = loss(None, here, total=of_cell, shape=of_gene)
        summed = zero_weight * torch.where(asked, as_zero, 0.0).sum() + (right - zero_weight * wrong).sum()
        summed.backward()
    for old, output in zip(predicted, outputs, strict=True):
        assert output.grad is not None
        old.copy_(output.grad)
    n_seen = len(values)
    return summed.detach().double(), n_seen + zero_weight * (int(asked.sum()) - n_seen)
