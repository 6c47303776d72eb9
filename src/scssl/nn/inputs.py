"""From sparse counts to what the encoder reads: densify, normalise, mark hidden and unmeasured genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

    from scssl.corpus.batch import CellBatch


LEAST_SEEN = 0.05
"""Share of the variance below which measured genes are not weighted up further: noise would be all that grows."""


def log_normalise(batch: CellBatch, *, target_sum: float = 1e4) -> Tensor:
    r"""Return dense log1p values, normalised to a common total per cell.

    .. math:: x_{cg} = \log(1 + T f_c n_{cg} / s_c)

    with counts :math:`n`, target sum :math:`T`, size factor :math:`s_c` (total over the measured panel genes) and
    :math:`f_c` the share of a typical cell's counts that the measured genes carry. Without :math:`f_c` the values of a
    small targeted panel would be inflated, because its few genes would add up to :math:`T` on their own.

    Parameters
    ----------
    batch
        Cells to normalise.
    target_sum
        Total to which each cell is scaled, counts.

    Returns
    -------
    Tensor
        (n_cells, n_genes) float32, log1p CP10k at the default target. A cell without counts is all zeros.
    """
    values, rows = normalised_values(batch, target_sum=target_sum)
    dense = values.new_zeros(batch.n_cells, batch.n_genes)
    dense.view(-1)[rows.mul_(batch.n_genes).add_(batch.indices.long())] = values
    return dense


def normalised_values(batch: CellBatch, *, target_sum: float = 1e4) -> tuple[Tensor, Tensor]:
    """Return what `log_normalise` puts at the stored counts: values and their cells, (n_nonzeros,) each."""
    rows = batch.rows()
    scale = target_sum * batch.measured_share[batch.measured_row] / batch.size_factor.clamp(min=1.0)
    return torch.log1p(batch.values.float() * scale[rows]), rows


def dense_counts(batch: CellBatch) -> Tensor:
    """Return the raw counts as a dense tensor, (n_cells, n_genes) float32."""
    dense = torch.zeros(batch.n_cells, batch.n_genes, device=batch.values.device)
    dense.view(-1)[batch.rows().mul_(batch.n_genes).add_(batch.indices.long())] = batch.values.float()
    return dense


def unmeasured_genes(batch: CellBatch) -> Tensor | None:
    """Return which genes were not measured, (n_cells, n_genes) bool, or None if all were."""
    if bool(batch.measured.all()):
        return None
    return ~batch.measured[batch.measured_row]


class GeneStates(nn.Module):
    """Centre the input, and write "hidden" and "not measured" into it.

    A measured gene reads as its distance from the gene's mean in the corpus, a hidden one as that mean: what is not
    known says nothing. (To learn a value per gene for hidden ones made no difference over four seeds, and costs a
    matrix product per step.) Unmeasured genes have a learned value each, which starts at the mean: with a fixed value
    elsewhere, cells of two data sets lie apart by the genes that were measured rather than by what they are.

    Where genes are unmeasured, the rest is weighted up by the share of the input's variance that it carries, as a
    survey weights up those who answered: else a cell seen through a small panel would lie near the mean of all cells,
    whatever it is.

    Parameters
    ----------
    n_genes
        Genes in the panel.
    """

    mean: Tensor
    variance_share: Tensor

    def __init__(self, n_genes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_genes))
        self.register_buffer("variance_share", torch.full((n_genes,), 1.0 / n_genes))
        self.unmeasured = nn.Parameter(torch.zeros(n_genes))

    def forward(self, x: Tensor, *, hidden: Tensor | None = None, unmeasured: Tensor | None = None) -> Tensor:
        """Centre, and replace the values of hidden and unmeasured genes.

        Parameters
        ----------
        x
            (n_cells, n_genes) log1p values.
        hidden, unmeasured
            (n_cells, n_genes) bool; a gene that is both counts as unmeasured.

        Returns
        -------
        Tensor
            (n_cells, n_genes); holds nothing of the hidden genes' values.
        """
        x = x - self.mean
        if hidden is not None:
            x = torch.where(hidden, 0.0, x)
        if unmeasured is not None:
            weight = self.weight_of_measured(~unmeasured).unsqueeze(1)
            x = torch.where(unmeasured, self.unmeasured, x) * weight
        return x

    def weight_of_measured(self, measured: Tensor) -> Tensor:
        """Return what values are multiplied by, so that the measured genes stand for the others too.

        Parameters
        ----------
        measured
            (n, n_genes) bool.

        Returns
        -------
        Tensor
            (n,), 1 where all genes are measured.
        """
        # Not a matrix product, which autocast would take in bf16.
        missed = torch.where(measured, 0.0, self.variance_share).sum(dim=1)
        return 1.0 / (1.0 - missed).clamp(min=LEAST_SEEN)
