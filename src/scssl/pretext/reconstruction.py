"""Predicting expression from the code, and how predictions are scored: the decoder's side of every masked task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from scssl.errors import SettingsError
from scssl.nn import Decoder, dense_counts, fused, log_normalise
from scssl.nn.likelihoods import expressed_loss, negative_binomial_loss, poisson_loss, zero_inflated_loss
from scssl.pretext.gather import mean_over_ranks

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    target_sum
        For `mse`: total to which counts are scaled before log1p.

    Raises
    ------
    SettingsError
        If the decoder ends in a softplus, and the loss wants logits.
    """

    def __init__(self, loss: Loss, decoder: Decoder, *, balance_zeros: bool = False, target_sum: float = 1e4) -> None:
        super().__init__()
        self.loss, self.balance_zeros, self.target_sum = loss, balance_zeros, target_sum
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
        masks: Tensor | None = None,
        group_size: int = 1,
    ) -> Tensor:
        """Return the mean loss over the measured genes asked for.

        Parameters
        ----------
        decoder
            Decoder to use.
        code
            (n_cells, n_latent).
        batch
            The cells.
        masks
            (n_masks, n_genes) bool, genes asked of `group_size` consecutive cells each; None for all. The mean is over
            them, so that its scale does not depend on how many there are.
        group_size
            Cells per mask: only the genes that one is asked for are computed.

        Returns
        -------
        Tensor
            Scalar: log1p units squared, or nats; 0 if nothing is asked for.
        """
        units = decoder.units(code, batch.source)
        if self.loss == "mse" and not decoder.softplus and fused.usable(decoder.output):
            return self._squared_error(decoder, units, batch, masks=masks, group_size=group_size)
        total = batch.size_factor / batch.measured_share[batch.measured_row]
        summed, weight = code.new_zeros(()), code.new_zeros(())
        truth = log_normalise(batch, target_sum=self.target_sum) if self.loss == "mse" else dense_counts(batch)
        balance = self._zero_weight(*_seen(batch, truth, masks, group_size=group_size)) if self.balance_zeros else None
        for part, genes, asked in _parts(batch, masks, group_size=group_size):
            true = truth[part] if genes is None else truth[part][:, genes]
            entries = self._entries(decoder, units[part], true, total[part], genes)
            weights = asked if balance is None else asked * torch.where(true > 0, 1.0, balance)
            summed = summed + torch.where(asked, entries * weights, 0.0).sum()
            weight = weight + weights.sum()
        return summed / mean_over_ranks(weight).clamp(min=1e-12)

    def _squared_error(
        self, decoder: Decoder, units: Tensor, batch: CellBatch, *, masks: Tensor | None, group_size: int
    ) -> Tensor:
        zero_weight = 1.0
        if self.balance_zeros:
            truth = dense_counts(batch)
            zero_weight = float(self._zero_weight(*_seen(batch, truth, masks, group_size=group_size)))
        found = fused.squared_error(
            decoder.output,
            units,
            batch,
            target_sum=self.target_sum,
            masks=masks,
            group_size=group_size,
            zero_weight=zero_weight,
        )
        weight = torch.tensor(found.n_seen + zero_weight * found.n_zero)
        return found.total / mean_over_ranks(weight).clamp(min=1e-12)

    def _zero_weight(self, n_seen: Tensor, n_zero: Tensor) -> Tensor:
        """Weight of a zero, so that all of them weigh as much as all other entries asked for."""
        n_seen, n_zero = mean_over_ranks(torch.stack([n_seen, n_zero]).float())
        return n_seen.clamp(min=0.5) / n_zero.clamp(min=0.5)

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


def _parts(batch: CellBatch, masks: Tensor | None, *, group_size: int) -> Iterator[tuple[slice, Tensor | None, Tensor]]:
    """Yield cells, the genes computed for them (None for all), and which entries are asked for."""
    if masks is None or group_size == 1:
        measured = batch.measured[batch.measured_row]
        yield slice(None), None, measured if masks is None else measured & masks
        return
    for number, mask in enumerate(masks):
        part = slice(number * group_size, min((number + 1) * group_size, batch.n_cells))
        genes = mask.nonzero()[:, 0]
        yield part, genes, batch.measured[:, genes][batch.measured_row[part]]


def _seen(batch: CellBatch, truth: Tensor, masks: Tensor | None, *, group_size: int) -> tuple[Tensor, Tensor]:
    """How many entries asked for are not zero, and how many are."""
    n_seen = n_zero = torch.zeros((), device=truth.device)
    for part, genes, asked in _parts(batch, masks, group_size=group_size):
        seen = (truth[part] if genes is None else truth[part][:, genes]) > 0
        n_seen, n_zero = n_seen + (asked & seen).sum(), n_zero + (asked & ~seen).sum()
    return n_seen, n_zero
