"""Masked autoencoding: hide some genes, predict them from the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from scssl.errors import SettingsError
from scssl.nn import Decoder, unmeasured_genes
from scssl.pretext.base import Draw, PretextRecord, PretextTask, register
from scssl.pretext.masking import random_mask

if TYPE_CHECKING:
    from torch import Tensor

    from scssl.corpus.batch import CellBatch
    from scssl.nn import Architecture, Encoder


@dataclass(frozen=True, kw_only=True)
class MaskedSettings:
    """Settings of the masked task."""

    masking: Literal["random"] = "random"
    """How hidden genes are chosen: `random`, each gene on its own."""
    rate: float = 0.5
    """Share of the genes hidden in each cell."""

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            message = f"task.rate is {self.rate}; it is the share of genes hidden and must lie between 0 and 1"
            raise SettingsError(message)


def hidden_mse(predicted: Tensor, target: Tensor, hidden: Tensor) -> Tensor:
    """Mean squared error over hidden entries only.

    Parameters
    ----------
    predicted, target
        (n_cells, n_genes).
    hidden
        (n_cells, n_genes) bool: the entries that count. The mean is over them: its scale does not depend on the rate.

    Returns
    -------
    Tensor
        Scalar; 0 if nothing is hidden.
    """
    difference = torch.where(hidden, predicted.float() - target, 0.0)
    return difference.square().sum() / hidden.sum().clamp(min=1)


@register
class MaskedAutoencoder(PretextTask):
    r"""Hide genes, let the encoder see the others, and predict the hidden ones.

    .. math:: L = \frac{1}{|H|} \sum_{(c, g) \in H} (\hat x_{cg} - x_{cg})^2

    over the set :math:`H` of hidden and measured entries. Hidden, unmeasured and zero are three different inputs
    (`scssl.nn.GeneStates`); the value of a hidden gene does not reach the encoder, beyond the cell's
    total.
    """

    record = PretextRecord(
        name="masked",
        summary="Hide genes at random and predict their expression from the others (masked autoencoder).",
        doi="10.1038/s42256-024-00934-3",
        settings=MaskedSettings,
        hides_genes=True,
    )
    settings: MaskedSettings

    def __init__(
        self, encoder: Encoder, *, architecture: Architecture, n_sources: int, settings: MaskedSettings
    ) -> None:
        super().__init__(encoder, architecture=architecture, n_sources=n_sources, settings=settings)
        self.decoder = Decoder(encoder.n_genes, architecture, n_sources=n_sources)

    def start_from(self, *, gene_mean: Tensor, gene_variance: Tensor, gene_share: Tensor) -> None:
        """Let the decoder start at the gene means, which it would otherwise spend its first epochs on."""
        super().start_from(gene_mean=gene_mean, gene_variance=gene_variance, gene_share=gene_share)
        self.decoder.start_from(gene_mean)

    def hidden(self, batch: CellBatch, *, draw: Draw) -> Tensor:
        """Return which genes are hidden, (n_cells, n_genes) bool."""
        return random_mask(batch.cell, batch.n_genes, rate=self.settings.rate, draw=draw)

    def losses(self, batch: CellBatch, *, draw: Draw) -> dict[str, Tensor]:
        """Return the mean squared error over hidden, measured genes, and the share of genes that was hidden.

        Parameters
        ----------
        batch
            Cells.
        draw
            Seed and epoch of the masks.

        Returns
        -------
        dict
            ``loss`` (log1p units squared), ``hidden`` (share of the measured genes hidden).
        """
        x = self.encoder.normalise(batch)
        unmeasured = unmeasured_genes(batch)
        hidden = self.hidden(batch, draw=draw)
        code = self.encoder(x, hidden=hidden, unmeasured=unmeasured)
        predicted = self.decoder(code, batch.source)
        target = hidden if unmeasured is None else hidden & ~unmeasured
        n_measured = hidden.numel() if unmeasured is None else hidden.numel() - unmeasured.sum()
        return {"loss": hidden_mse(predicted, x, target), "hidden": target.sum() / n_measured}
