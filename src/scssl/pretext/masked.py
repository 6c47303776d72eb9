"""Masked autoencoding: hide some genes, predict them from the others; and its control that hides none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scssl.errors import require
from scssl.nn import Decoder
from scssl.pretext.base import Draw, PretextRecord, PretextTask, register
from scssl.pretext.masking import Hiding, Masker, Masking, measured_share
from scssl.pretext.reconstruction import Loss, Reconstruction

if TYPE_CHECKING:
    from torch import Tensor

    from scssl.corpus.batch import CellBatch
    from scssl.genes.programmes import Programmes
    from scssl.nn import Architecture, Encoder


@dataclass(frozen=True, kw_only=True)
class AutoencoderSettings:
    """Settings of the autoencoder."""

    loss: Loss = "mse"
    """What is predicted: log1p values (`mse`), counts (`nb`, `zinb`, `poisson`), or whether a gene is seen (`bce`)."""
    balance_zeros: bool = False
    """Let zeros and other values weigh the same in all; by default every entry weighs the same."""


@dataclass(frozen=True, kw_only=True)
class MaskedSettings(AutoencoderSettings):
    """Settings of the masked task."""

    masking: Masking = "random"
    """How hidden genes are chosen: each on its own, or by gene programmes; see `Masker`."""
    rate: float = 0.5
    """Share of the measured genes hidden in each cell, for `random` and `programme`."""
    programmes: str = ""
    """Gene programmes, for all but `random`: a .gmt file, modules:N, regulons:FILE, msigdb:H, collectri, ..."""
    min_coverage: float = 0.5
    """Programmes with a smaller share of their genes on the panel, and measured, are left out."""
    group_size: int = 1
    """Consecutive cells that share a mask: more is faster, and less varied."""

    def __post_init__(self) -> None:
        require("task.rate", self.rate, holds=0 < self.rate < 1, must="the share of genes hidden, between 0 and 1")
        holds = 0 <= self.min_coverage <= 1
        require("task.min_coverage", self.min_coverage, holds=holds, must="a share of the genes, from 0 to 1")
        require("task.group_size", self.group_size, holds=self.group_size >= 1, must="1 or more cells")


class _Autoencoding(PretextTask):
    """What all tasks that predict expression share: the decoder and its score."""

    settings: AutoencoderSettings

    def __init__(
        self,
        encoder: Encoder,
        *,
        architecture: Architecture,
        n_sources: int,
        settings: Any,
        programmes: Programmes | None = None,
    ) -> None:
        super().__init__(
            encoder, architecture=architecture, n_sources=n_sources, settings=settings, programmes=programmes
        )
        self.decoder = Decoder(encoder.n_genes, architecture, n_sources=n_sources)
        self.reconstruction = Reconstruction(
            settings.loss, self.decoder, balance_zeros=settings.balance_zeros, target_sum=encoder.target_sum
        )

    def start_from(self, *, gene_mean: Tensor, gene_variance: Tensor, gene_share: Tensor) -> None:
        """Let the decoder start at the gene means, which it would otherwise spend its first epochs on."""
        super().start_from(gene_mean=gene_mean, gene_variance=gene_variance, gene_share=gene_share)
        self.reconstruction.start_from(self.decoder, gene_mean=gene_mean, gene_share=gene_share)


@register
class MaskedAutoencoder(_Autoencoding):
    r"""Hide genes, let the encoder see the others, and predict the hidden ones.

    .. math:: L = \frac{1}{|H|} \sum_{(c, g) \in H} (\hat x_{cg} - x_{cg})^2

    over the set :math:`H` of hidden and measured entries, or another loss in place of the squared error (see
    `Reconstruction`). Hidden, unmeasured and zero are three different inputs (`scssl.nn.GeneStates`); the value of a
    hidden gene does not reach the encoder, beyond the cell's total.
    """

    record = PretextRecord(
        name="masked",
        summary="Hide genes, at random or by programmes, and predict them from the others (masked autoencoder).",
        doi="10.1038/s42256-024-00934-3",
        needs="gene programmes, unless genes are hidden at random",
        settings=MaskedSettings,
        hides_genes=True,
    )
    settings: MaskedSettings

    def __init__(
        self,
        encoder: Encoder,
        *,
        architecture: Architecture,
        n_sources: int,
        settings: MaskedSettings,
        programmes: Programmes | None = None,
    ) -> None:
        super().__init__(
            encoder, architecture=architecture, n_sources=n_sources, settings=settings, programmes=programmes
        )
        self.masker = Masker(
            settings.masking, rate=settings.rate, programmes=programmes, group_size=settings.group_size
        )

    def hide(self, batch: CellBatch, *, draw: Draw) -> Hiding:
        """Return which genes are hidden, and which of these are asked for."""
        hiding: Hiding = self.masker(batch, draw=draw)
        return hiding

    def losses(self, batch: CellBatch, *, draw: Draw) -> dict[str, Tensor]:
        """Return the mean loss over hidden, measured genes, and the share of the measured genes that was hidden.

        Parameters
        ----------
        batch
            Cells.
        draw
            Seed and epoch of the masks.

        Returns
        -------
        dict
            ``loss`` (log1p units squared, or nats), ``hidden`` (share of the measured genes hidden), ``asked`` (share
            of the measured genes that are to be predicted).
        """
        hiding = self.hide(batch, draw=draw)
        group_size = hiding.group_size
        code = self.encoder.encode(batch, masks=hiding.masks, group_size=group_size)
        loss = self.reconstruction(self.decoder, code, batch=batch, masks=hiding.targets, group_size=group_size)
        asked = measured_share(batch, hiding.targets, group_size=group_size)
        same = hiding.masks is hiding.targets
        hidden = asked if same else measured_share(batch, hiding.masks, group_size=group_size)
        return {"loss": loss, "hidden": hidden, "asked": asked}


@register
class Autoencoder(_Autoencoding):
    r"""Predict all measured genes of a cell from all of them: the control without a mask.

    .. math:: L = \frac{1}{|M|} \sum_{(c, g) \in M} (\hat x_{cg} - x_{cg})^2

    over the set :math:`M` of measured entries.
    """

    record = PretextRecord(
        name="autoencoder",
        summary="Predict every gene with none hidden: the control that tells what masking adds.",
        doi="10.1126/science.1127647",
        settings=AutoencoderSettings,
        hides_genes=False,
        draws=False,
    )

    def losses(self, batch: CellBatch, *, draw: Draw) -> dict[str, Tensor]:  # noqa: ARG002 (nothing is drawn)
        """Return the mean loss over measured genes.

        Parameters
        ----------
        batch
            Cells.
        draw
            Not used.

        Returns
        -------
        dict
            ``loss`` (log1p units squared, or nats).
        """
        return {"loss": self.reconstruction(self.decoder, self.encoder.encode(batch), batch=batch)}
