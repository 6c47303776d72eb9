"""SimCLR: find the other view of a cell among the views of all cells of the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from scssl.errors import require
from scssl.pretext.base import PretextRecord, register
from scssl.pretext.two_view import EmbeddingTask, TwoViewSettings

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class SimclrSettings(TwoViewSettings):
    """Settings of SimCLR."""

    projector: tuple[int, ...] = (64,)
    """Units of the projector's layers after the code. One linear layer: then near in the code is near in the loss."""
    temperature: float = 0.2
    """Divides the cosine similarities: lower sets the nearest other cells further apart."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require("task.temperature", self.temperature, holds=self.temperature > 0, must="a number above 0")


def simclr_loss(
    first: Tensor, second: Tensor, *, temperature: float, source: Tensor | None = None
) -> dict[str, Tensor]:
    r"""Normalised temperature-scaled cross entropy (Chen et al. 2020, doi 10.48550/arXiv.2002.05709, equation 1).

    .. math:: L = -\frac{1}{2N} \sum_{i=1}^{2N}
        \log \frac{\exp(s_{i p(i)} / \tau)}{\sum_{k \ne i} \exp(s_{ik} / \tau)}

    over all :math:`2N` views, with cosine similarities :math:`s` and :math:`p(i)` the other view of the same cell.

    Parameters
    ----------
    first, second
        (n_cells, D) embeddings.
    temperature
        :math:`\tau`.
    source
        (n_cells,) codes: :math:`k` runs over views of cells of the same source only; None for all.

    Returns
    -------
    dict
        ``loss`` (nats; log(2N - 1) if nothing is known), ``found``: share of the views whose nearest view is that of
        the same cell.
    """
    n_cells = first.shape[0]
    unit = nn.functional.normalize(torch.cat([first, second]), dim=1)
    similarity = unit @ unit.T / temperature
    # A view is not compared with itself.
    left_out = torch.eye(2 * n_cells, dtype=torch.bool, device=unit.device)
    if source is not None:
        twice = source.repeat(2)
        left_out |= twice.unsqueeze(1) != twice
    similarity = similarity.masked_fill(left_out, -torch.inf)
    positive = torch.arange(2 * n_cells, device=unit.device).roll(n_cells)
    return {
        "loss": nn.functional.cross_entropy(similarity, positive),
        "found": (similarity.detach().argmax(dim=1) == positive).float().mean(),
    }


@register
class Simclr(EmbeddingTask):
    """Recognise the other view of a cell among those of all cells of the batch."""

    record = PretextRecord(
        name="simclr",
        summary="Recognise the other view of a cell among the views of all cells of the batch.",
        doi="10.48550/arXiv.2002.05709",
        needs="two views",
        settings=SimclrSettings,
        hides_genes=False,
    )
    settings: SimclrSettings

    def compare(self, first: Tensor, second: Tensor, *, source: Tensor | None) -> dict[str, Tensor]:
        """Return what `simclr_loss` does."""
        return simclr_loss(first, second, temperature=self.settings.temperature, source=source)
