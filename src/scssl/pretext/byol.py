"""BYOL: predict, from one view, what a slowly following copy of the network makes of the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from scssl.errors import require
from scssl.pretext.base import PretextRecord, register
from scssl.pretext.gather import gather
from scssl.pretext.projector import Averaged, cosine_momentum, perceptron
from scssl.pretext.two_view import Pair, TwoViewSettings, TwoViewTask, Views, centred

if TYPE_CHECKING:
    from torch import Tensor

    from scssl.genes.programmes import Programmes
    from scssl.nn import Architecture, Encoder


@dataclass(frozen=True, kw_only=True)
class ByolSettings(TwoViewSettings):
    """Settings of BYOL."""

    momentum: float = 0.99
    """Share of its weights that the target keeps in a step, at the start; it rises to 1 along a cosine."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require("task.momentum", self.momentum, holds=0 <= self.momentum <= 1, must="between 0 and 1")


def byol_loss(prediction: Tensor, target: Tensor) -> Tensor:
    r"""Squared distance of unit vectors (Grill et al. 2020, doi 10.48550/arXiv.2006.07733, equation 2).

    .. math:: L = \frac{1}{N} \sum_c \lVert \bar q_c - \bar z'_c \rVert^2
        = 2 - \frac{2}{N} \sum_c \frac{q_c \cdot z'_c}{\lVert q_c \rVert \lVert z'_c \rVert}

    Parameters
    ----------
    prediction
        (n_cells, n) predictions :math:`q` from one view.
    target
        (n_cells, n) targets :math:`z'` of the other.

    Returns
    -------
    Tensor
        Scalar from 0 (same direction) to 4; 2 if they have nothing to do with each other.
    """
    return 2.0 - 2.0 * nn.functional.cosine_similarity(prediction, target, dim=1).mean()


@register
class Byol(TwoViewTask):
    r"""Predict the target's embedding of one view from the online network's embedding of the other, both ways.

    .. math:: L = \frac{1}{2} \left( \ell(q(z_1), z'_2) + \ell(q(z_2), z'_1) \right)

    with :math:`\ell` of `byol_loss`, the predictor :math:`q`, and targets :math:`z'` from an exponential moving average
    of encoder and projector that gets no gradient and moves after every step,

    .. math:: \xi \leftarrow \tau \xi + (1 - \tau) \theta, \qquad \tau = 1 - (1 - \tau_0) (\cos \pi p + 1) / 2

    at progress :math:`p` of the run. Targets are taken as distances from the mean of their source (unless
    ``within_source`` is off, as in the paper): what all cells of a source share need not be predicted, and a code that
    is the same for all of them predicts nothing. The batch norm in the authors' projector has such an effect too.
    """

    record = PretextRecord(
        name="byol",
        summary="Predict what an averaged copy of the network makes of another view of the cell.",
        doi="10.48550/arXiv.2006.07733",
        needs="two views",
        settings=ByolSettings,
        hides_genes=False,
    )
    settings: ByolSettings

    def __init__(
        self,
        encoder: Encoder,
        *,
        architecture: Architecture,
        n_sources: int,
        settings: ByolSettings,
        programmes: Programmes | None = None,
    ) -> None:
        super().__init__(
            encoder, architecture=architecture, n_sources=n_sources, settings=settings, programmes=programmes
        )
        width = settings.projector[-1]
        self.predictor = perceptron((width, width, width))
        self.target_encoder, self.target_projector = Averaged(self.encoder), Averaged(self.projector)

    def start_from(self, **genes: Any) -> None:
        """Take up what the corpus says of the genes, in both networks."""
        super().start_from(**genes)
        self._follow(momentum=0.0)

    def after_step(self, *, progress: float) -> None:
        """Let the target follow.

        Parameters
        ----------
        progress
            Share of all steps of the run that are done.
        """
        self._follow(momentum=cosine_momentum(self.settings.momentum, progress=progress))

    def _follow(self, *, momentum: float) -> None:
        self.target_encoder.follow(self.encoder, momentum=momentum)
        self.target_projector.follow(self.projector, momentum=momentum)

    def view_losses(self, views: Views, codes: Pair) -> dict[str, Tensor]:
        """Return ``loss``, and ``target_distance``: how far the target's codes are from the encoder's.

        Parameters
        ----------
        views
            The views, which the target encodes.
        codes
            Their codes, with gradient.
        """
        follower = cast("Encoder", self.target_encoder.module)
        with torch.no_grad():
            targets = [follower.encode(view.batch, masks=view.hidden, x=view.x) for view in views]
        aims = [self.target_projector(code) for code in targets]
        predictions = [self.predictor(self.projector(code)) for code in codes]
        source = self.sources(views)
        with torch.autocast(codes[0].device.type, enabled=False):
            first, second = (gather(rows.float()) for rows in predictions)
            aim_1, aim_2 = (gather(rows.float()) for rows in aims)
            if source is not None:
                aim_1, aim_2 = centred(aim_1, source=source)[0], centred(aim_2, source=source)[0]
            loss = (byol_loss(first, aim_2) + byol_loss(second, aim_1)) / 2
        code, target = codes[0].detach().float(), targets[0].float()
        distance = torch.linalg.vector_norm(code - target) / torch.linalg.vector_norm(code)
        return {"loss": loss, "target_distance": distance}
