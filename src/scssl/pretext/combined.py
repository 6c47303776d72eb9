"""Two tasks at once: predict the hidden genes of two views, and compare the views."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from scssl.errors import require
from scssl.nn import Decoder
from scssl.pretext.augment import Augmentation
from scssl.pretext.barlow_twins import BarlowTwins
from scssl.pretext.base import Draw, PretextRecord, PretextTask, register
from scssl.pretext.byol import Byol
from scssl.pretext.masking import measured_share
from scssl.pretext.reconstruction import Loss, Reconstruction
from scssl.pretext.simclr import Simclr
from scssl.pretext.two_view import TwoViewTask, spread
from scssl.pretext.vicreg import Vicreg

if TYPE_CHECKING:
    from torch import Tensor

    from scssl.corpus.batch import CellBatch
    from scssl.genes.programmes import Programmes
    from scssl.nn import Architecture, Encoder

_TASKS: dict[str, type[TwoViewTask]] = {
    "byol": Byol,
    "barlow_twins": BarlowTwins,
    "vicreg": Vicreg,
    "simclr": Simclr,
}


@dataclass(frozen=True, kw_only=True)
class CombinedSettings(Augmentation):
    """Settings of the combined task."""

    two_view: Literal["byol", "barlow_twins", "vicreg", "simclr"] = "vicreg"
    """How the views are compared, with that task's own defaults."""
    weight: float = 0.01
    """Weight of comparing the views; predicting hidden genes has weight 1."""
    loss: Loss = "mse"
    """What is predicted of hidden genes; see the masked task."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require("task.weight", self.weight, holds=self.weight >= 0, must="a weight, 0 or more")
        require("task.mask", self.mask, holds=self.mask > 0, must="above 0: hidden genes are what is predicted")


@register
class Combined(PretextTask):
    r"""Predict the hidden genes of two views from their codes, and compare the views by their codes.

    .. math:: L = \frac{1}{2} \left( L_{masked}(v_1) + L_{masked}(v_2) \right) + w \, L_{views}(v_1, v_2)

    Each view is encoded once, for both. What is predicted is the expression of the cell itself, not of the thinned or
    noisy view.
    """

    record = PretextRecord(
        name="combined",
        summary="Predict the hidden genes of two views of a cell, and bring the views together.",
        doi="10.1038/s42256-024-00934-3",
        needs="two views",
        settings=CombinedSettings,
        hides_genes=False,
    )
    settings: CombinedSettings

    def __init__(
        self,
        encoder: Encoder,
        *,
        architecture: Architecture,
        n_sources: int,
        settings: CombinedSettings,
        programmes: Programmes | None = None,
    ) -> None:
        super().__init__(
            encoder, architecture=architecture, n_sources=n_sources, settings=settings, programmes=programmes
        )
        self.decoder = Decoder(encoder.n_genes, architecture, n_sources=n_sources)
        self.reconstruction = Reconstruction(settings.loss, self.decoder, target_sum=encoder.target_sum)
        task = _TASKS[settings.two_view]
        rates = {f.name: getattr(settings, f.name) for f in fields(Augmentation)}
        self.views_task = task(
            encoder, architecture=architecture, n_sources=n_sources, settings=task.record.settings(**rates)
        )
        # The encoder is this task's own: registered twice it would be saved twice.
        del self.views_task._modules["encoder"]
        self.views_task.__dict__["encoder"] = encoder

    def start_from(self, **genes: Any) -> None:
        """Take up what the corpus says of the genes, in all parts."""
        super().start_from(**genes)
        self.reconstruction.start_from(self.decoder, gene_mean=genes["gene_mean"], gene_share=genes["gene_share"])
        self.views_task.start_from(**genes)

    def after_step(self, *, progress: float) -> None:
        """Let an averaged copy follow, where there is one.

        Parameters
        ----------
        progress
            Share of all steps of the run that are done.
        """
        self.views_task.after_step(progress=progress)

    def losses(self, batch: CellBatch, *, draw: Draw) -> dict[str, Tensor]:
        """Return the weighted sum, its two parts, and how far the code is from collapse.

        Parameters
        ----------
        batch
            Cells.
        draw
            Seed and epoch of the views.

        Returns
        -------
        dict
            ``loss``; ``masked`` and ``views``, its parts before weighting; ``hidden`` (share of the genes);
            ``code_std`` and ``code_dimensions`` as for two-view tasks.
        """
        views = self.views_task.views(batch, draw=draw)
        codes = self.views_task.encode(views[0]), self.views_task.encode(views[1])
        first, second = (
            self.reconstruction(self.decoder, code, batch=batch, masks=view.hidden)
            for view, code in zip(views, codes, strict=True)
        )
        masked = (first + second) / 2
        hidden = views[0].hidden
        assert hidden is not None, "the settings see to it"
        compared = self.views_task.view_losses(views, codes)
        return {
            "loss": masked + self.settings.weight * compared["loss"],
            "masked": masked.detach(),
            "views": compared["loss"].detach(),
            "hidden": measured_share(batch, hidden, group_size=1),
        } | spread(codes[0].detach())
