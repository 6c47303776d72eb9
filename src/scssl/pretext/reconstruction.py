"""Predicting expression from the code, and how predictions are scored: the decoder's side of every masked task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

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
        zero_weight = self._zero_weight(batch, masks, group_size=group_size) if self.balance_zeros else 1.0
        fast = fused.usable(decoder.output) and not decoder.softplus
        compute = self._on_processor if fast else self._plainly
        summed, weight = compute(decoder, units, batch, masks=masks, group_size=group_size, zero_weight=zero_weight)
        return summed / mean_over_ranks(weight).clamp(min=1e-12)

    def _on_processor(
        self, decoder: Decoder, units: Tensor, batch: CellBatch, *, zero_weight: float, **asked: Any
    ) -> tuple[Tensor, Tensor]:
        """Return the weighted sum of the loss, and the sum of the weights."""
        if self.loss == "mse":
            found = fused.squared_error(
                decoder.output, units, batch, target_sum=self.target_sum, zero_weight=zero_weight, **asked
            )
            return found.total, torch.tensor(found.n_seen + zero_weight * found.n_zero)
        layers = [decoder.output] if self.zero is None else [decoder.output, self.zero]
        return fused.likelihood(
            self._entries,
            layers,
            units,
            batch,
            total=_total(batch),
            shape=self.log_theta,
            zero_weight=zero_weight,
            **asked,
        )

    def _plainly(
        self,
        decoder: Decoder,
        units: Tensor,
        batch: CellBatch,
        *,
        masks: Tensor | None,
        group_size: int,
        zero_weight: float,
    ) -> tuple[Tensor, Tensor]:
        """Do the same by torch's own modules, on any device."""
        total = _total(batch).unsqueeze(1)
        summed, weight = units.new_zeros((), dtype=torch.float32), units.new_zeros((), dtype=torch.float32)
        truth = log_normalise(batch, target_sum=self.target_sum) if self.loss == "mse" else dense_counts(batch)
        for part, genes, asked in _parts(batch, masks, group_size=group_size):
            chosen = slice(None) if genes is None else genes
            true = truth[part][:, chosen]
            outputs = [decoder.outputs(units[part], genes).float()]
            if self.zero is not None:
                extra = nn.functional.linear(units[part], self.zero.weight[chosen], self.zero.bias[chosen])
                outputs.append(extra.float())
            shape = None if self.log_theta is None else self.log_theta[chosen]
            entries = self._entries(true, outputs, total=total[part], shape=shape)
            weights = asked * torch.where(true > 0, 1.0, zero_weight)
            summed = summed + torch.where(asked, entries * weights, 0.0).sum()
            weight = weight + weights.sum()
        return summed, weight

    def _zero_weight(self, batch: CellBatch, masks: Tensor | None, *, group_size: int) -> float:
        """Weight of a zero, so that all of them weigh as much as all other entries asked for."""
        measured = batch.measured[batch.measured_row]
        asked = measured if masks is None else measured & masks.repeat_interleave(group_size, dim=0)[: batch.n_cells]
        n_seen = asked[batch.rows(), batch.indices.long()].sum()
        n_seen, n_zero = mean_over_ranks(torch.stack([n_seen, asked.sum() - n_seen]).float())
        return float(n_seen.clamp(min=0.5) / n_zero.clamp(min=0.5))

    def _entries(self, counts: Tensor | None, outputs: list[Tensor], *, total: Tensor, shape: Tensor | None) -> Tensor:
        """Return the loss of entries, whose counts (or log1p values) are all zero if none are given."""
        out = outputs[0]
        if self.loss == "mse":
            return (out if counts is None else out - counts).square()
        if self.loss == "bce":
            return expressed_loss(counts, out)
        mean = total * torch.sigmoid(out)
        if shape is None:
            return poisson_loss(counts, mean)
        log_theta = shape.clamp(max=LARGEST_LOG_THETA)
        if len(outputs) == 1:
            return negative_binomial_loss(counts, mean, log_theta)
        return zero_inflated_loss(counts, mean, log_theta, outputs[1])


def _total(batch: CellBatch) -> Tensor:
    """(n_cells,) counts that each cell would have if all genes were measured."""
    return batch.size_factor / batch.measured_share[batch.measured_row]


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
