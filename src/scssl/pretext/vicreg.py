"""VICReg: two views have the same embedding, every dimension varies, and no two dimensions vary together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import nn

from scssl.errors import require
from scssl.pretext.base import PretextRecord, register
from scssl.pretext.two_view import EmbeddingTask, TwoViewSettings, covariance, off_diagonal_square

if TYPE_CHECKING:
    from torch import Tensor

EPSILON: Final = 1e-4
"""Added to variances before the root, as in the paper."""


@dataclass(frozen=True, kw_only=True)
class VicregSettings(TwoViewSettings):
    """Settings of VICReg."""

    invariance: float = 25.0
    """Weight of the distance between views."""
    variance: float = 25.0
    """Weight of the shortfall of standard deviations from 1."""
    covariance: float = 1.0
    """Weight of the covariances."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("invariance", "variance", "covariance"):
            value = getattr(self, name)
            require(f"task.{name}", value, holds=value >= 0, must="a weight, 0 or more")


def vicreg_loss(
    first: Tensor, second: Tensor, *, weights: tuple[float, float, float], source: Tensor | None = None
) -> dict[str, Tensor]:
    r"""Variance, invariance, covariance (Bardes et al. 2022, doi 10.48550/arXiv.2105.04906, equations 1 to 6).

    .. math:: L = \lambda s(Z, Z') + \frac{\mu}{2} (v(Z) + v(Z')) + \nu (c(Z) + c(Z'))

    with the mean squared distance :math:`s = \frac{1}{ND} \sum_{c} \lVert z_c - z'_c \rVert^2`, the hinge on standard
    deviations :math:`v = \frac{1}{D} \sum_j \max(0, 1 - \sqrt{\mathrm{Var}(z_j) + \epsilon})`, and the covariances
    :math:`c = \frac{1}{D} \sum_{i \ne j} \mathrm{Cov}(z_i, z_j)^2`. The means over :math:`D` in :math:`s` and over the
    views in :math:`v` are those of the authors' code.

    Parameters
    ----------
    first, second
        (n_cells, D) embeddings.
    weights
        :math:`\lambda, \mu, \nu`.
    source
        (n_cells,) codes: variances and covariances are those within sources; None for those of all cells.

    Returns
    -------
    dict
        ``loss``, and ``invariance``, ``variance``, ``covariance`` before weighting.
    """
    invariance = nn.functional.mse_loss(first, second)
    variance, covariances = first.new_zeros(()), first.new_zeros(())
    for view in (first, second):
        matrix = covariance(view, source=source)
        variance = variance + nn.functional.relu(1.0 - torch.sqrt(matrix.diagonal() + EPSILON)).mean() / 2
        covariances = covariances + off_diagonal_square(matrix) / view.shape[1]
    return {
        "loss": weights[0] * invariance + weights[1] * variance + weights[2] * covariances,
        "invariance": invariance.detach(),
        "variance": variance.detach(),
        "covariance": covariances.detach(),
    }


@register
class Vicreg(EmbeddingTask):
    """Let views have the same embedding, while every dimension varies over cells and none repeats another."""

    record = PretextRecord(
        name="vicreg",
        summary="Bring two views of a cell together, while every dimension varies and none repeats another.",
        doi="10.48550/arXiv.2105.04906",
        needs="two views",
        settings=VicregSettings,
        hides_genes=False,
    )
    settings: VicregSettings

    def compare(self, first: Tensor, second: Tensor, *, source: Tensor | None) -> dict[str, Tensor]:
        """Return what `vicreg_loss` does."""
        weights = self.settings.invariance, self.settings.variance, self.settings.covariance
        return vicreg_loss(first, second, weights=weights, source=source)
