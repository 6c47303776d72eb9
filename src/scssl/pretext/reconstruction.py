"""Predicting expression from the code, and how predictions are scored: the decoder's side of every masked task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from scssl.errors import SettingsError
from scssl.nn import Decoder, dense_counts
from scssl.nn.likelihoods import expressed_loss, negative_binomial_loss, poisson_loss, zero_inflated_loss
from scssl.pretext.gather import mean_over_ranks

if TYPE_CHECKING:
    from scssl.corpus.batch import CellBatch

Loss = Literal["mse", "nb", "zinb", "poisson", "bce"]
LARGEST_LOG_THETA = 12.0
"""Above this, a negative binomial is Poisson, and gammas lose their digits."""


class Reconstruction(nn.Module):
    r"""Score predictions of some genes of some cells.

    - ``mse``: squared error of log1p values.
    - ``nb``, ``zinb``, ``poisson``: negative log-likelihood of the raw counts, with mean
      :math:`\mu_{cg} = \ell_c \, \sigma(o_{cg})`: the decoder's output :math:`o` is the logit of the gene's share of
      the cell's counts, and :math:`\ell_c` the cell's total (over the share of a typical cell's counts that its source
      measured). One inverse dispersion is learned per gene. ``zinb`` has a second output, the logit of an extra zero.
    - ``bce``: whether the gene was seen at all.

    Parameters
    ----------
    loss
        Which.
    decoder
        Decoder to score; not owned.
    balance_zeros
        Let zero and non-zero targets weigh the same in all, whatever their numbers.

    Raises
    ------
    SettingsError
        If the decoder ends in a softplus, and the loss wants logits.
    """

    def __init__(self, loss: Loss, decoder: Decoder, *, balance_zeros: bool = False) -> None:
        super().__init__()
        self.loss, self.balance_zeros = loss, balance_zeros
        if loss != "mse" and decoder.softplus:
            message = f"task.loss {loss!r} needs architecture.output=linear: its decoder predicts logits"
            raise SettingsError(message)
        n_genes, width = decoder.output.out_features, decoder.output.in_features
        self.log_theta = nn.Parameter(torch.zeros(n_genes)) if loss in ("nb", "zinb") else None
        self.zero = nn.Linear(width, n_genes) if loss == "zinb" else None
        if self.zero is not None:
            nn.init.zeros_(self.zero.weight)
            # At first an extra zero is unlikely, as in a plain negative binomial.
            nn.init.constant_(self.zero.bias, -4.0)

    def start_from(self, decoder: Decoder, *, gene_mean: Tensor, gene_share: Tensor) -> None:
        """Let the untrained decoder predict about what a typical cell has.

        Parameters
        ----------
        decoder
            Decoder to set.
        gene_mean
            (n_genes,) mean log1p value.
        gene_share
            (n_genes,) share of a typical cell's counts.
        """
        if self.loss == "mse":
            decoder.start_from(gene_mean)
        elif self.loss == "bce":
            # Genes that are seen more are seen in more cells: the mean of log1p values is a start, no more.
            decoder.start_from(torch.log(gene_mean.clamp(min=1e-3)))
        else:
            decoder.start_from(torch.logit(gene_share.clamp(min=1e-8, max=0.5)))

    def forward(
        self,
        decoder: Decoder,
        code: Tensor,
        *,
        batch: CellBatch,
        x: Tensor,
        target: Tensor,
        group_size: int = 1,
    ) -> Tensor:
        """Return the mean loss over the targets.

        Parameters
        ----------
        decoder
            Decoder to use.
        code
            (n_cells, n_latent).
        batch
            The cells.
        x
            (n_cells, n_genes) their log1p values.
        target
            (n_cells, n_genes) bool: the entries that count. The mean is over them, so that its scale does not depend on
            how many there are.
        group_size
            Consecutive cells with the same mask: only the genes that one of them is asked for are computed.

        Returns
        -------
        Tensor
            Scalar: log1p units squared, or nats; 0 if nothing is asked for.
        """
        truth = x if self.loss == "mse" else dense_counts(batch)
        weights = self._weights(truth, target)
        total = batch.size_factor / batch.measured_share[batch.measured_row]
        units = decoder.units(code, batch.source)
        if group_size == 1:
            entries = self._entries(decoder, units, truth, total)
            summed, weight = torch.where(target, entries * weights, 0.0).sum(), (target * weights).sum()
            return summed / mean_over_ranks(weight).clamp(min=1e-12)
        summed, weight = code.new_zeros(()), code.new_zeros(())
        for start in range(0, batch.n_cells, group_size):
            part = slice(start, start + group_size)
            genes = target[part].any(dim=0).nonzero()[:, 0]
            entries = self._entries(decoder, units[part], truth[part][:, genes], total[part], genes)
            counted = target[part][:, genes]
            mine = weights if weights.ndim == 0 else weights[part][:, genes]
            summed = summed + torch.where(counted, entries * mine, 0.0).sum()
            weight = weight + (counted * mine).sum()
        return summed / mean_over_ranks(weight).clamp(min=1e-12)

    def _weights(self, truth: Tensor, target: Tensor) -> Tensor:
        if not self.balance_zeros:
            return torch.ones((), device=truth.device)
        seen = truth > 0
        n_seen, n_zero = mean_over_ranks(torch.stack([(target & seen).sum(), (target & ~seen).sum()]).float())
        return torch.where(seen, 1.0, n_seen.clamp(min=0.5) / n_zero.clamp(min=0.5))

    def _entries(
        self, decoder: Decoder, units: Tensor, truth: Tensor, total: Tensor, genes: Tensor | None = None
    ) -> Tensor:
        out = decoder.outputs(units, genes).float()
        if self.loss == "mse":
            return (out - truth).square()
        if self.loss == "bce":
            return expressed_loss(truth, out)
        mean = total.unsqueeze(1) * torch.sigmoid(out)
        if self.log_theta is None:
            return poisson_loss(truth, mean)
        log_theta = (self.log_theta if genes is None else self.log_theta[genes]).clamp(max=LARGEST_LOG_THETA)
        if self.zero is None:
            return negative_binomial_loss(truth, mean, log_theta)
        chosen = slice(None) if genes is None else genes
        extra = nn.functional.linear(units, self.zero.weight[chosen], self.zero.bias[chosen])
        return zero_inflated_loss(truth, mean, log_theta, extra.float())
