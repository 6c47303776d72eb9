"""Barlow Twins: the same dimension of two views agrees, different dimensions have nothing in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from scssl.errors import require
from scssl.pretext.base import PretextRecord, register
from scssl.pretext.two_view import EmbeddingTask, TwoViewSettings, centred, off_diagonal_square

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class BarlowTwinsSettings(TwoViewSettings):
    """Settings of Barlow Twins."""

    redundancy: float = 0.0051
    """Weight of the entries off the diagonal."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require("task.redundancy", self.redundancy, holds=self.redundancy >= 0, must="a weight, 0 or more")


def barlow_twins_loss(
    first: Tensor, second: Tensor, *, redundancy: float, source: Tensor | None = None
) -> dict[str, Tensor]:
    r"""Distance of the views' cross-correlation from the identity (Zbontar et al. 2021, doi 10.48550/arXiv.2103.03230).

    .. math:: L = \frac{1}{D} \left( \sum_i (1 - C_{ii})^2 + \lambda \sum_{i \ne j} C_{ij}^2 \right)

    their equation 1 over the number of dimensions :math:`D`, with :math:`C_{ij}` the correlation over cells of
    dimension :math:`i` in one view with :math:`j` in the other (equation 2).

    Parameters
    ----------
    first, second
        (n_cells, D) embeddings.
    redundancy
        :math:`\lambda`.
    source
        (n_cells,) codes: correlations are of the distances from the mean of the cell's source; None for one mean.

    Returns
    -------
    dict
        ``loss``; ``agreement``, the mean of :math:`C_{ii}`; ``redundancy``, the mean of :math:`C_{ij}^2` off the
        diagonal.
    """
    width = first.shape[1]
    # Unit columns: their products are correlations. A dimension that does not vary has correlation 0.
    unit = [nn.functional.normalize(centred(view, source=source)[0], dim=0) for view in (first, second)]
    correlation = unit[0].T @ unit[1]
    same, other = correlation.diagonal(), off_diagonal_square(correlation)
    return {
        "loss": ((1.0 - same).square().sum() + redundancy * other) / width,
        "agreement": same.detach().mean(),
        "redundancy": other.detach() / max(width * (width - 1), 1),
    }


@register
class BarlowTwins(EmbeddingTask):
    """Let each dimension of the embedding agree between views and be uncorrelated with all others."""

    record = PretextRecord(
        name="barlow_twins",
        summary="Let each dimension agree between two views of a cell, and be uncorrelated with the others.",
        doi="10.48550/arXiv.2103.03230",
        needs="two views",
        settings=BarlowTwinsSettings,
        hides_genes=False,
    )
    settings: BarlowTwinsSettings

    def compare(self, first: Tensor, second: Tensor, *, source: Tensor | None) -> dict[str, Tensor]:
        """Return what `barlow_twins_loss` does."""
        return barlow_twins_loss(first, second, redundancy=self.settings.redundancy, source=source)
