"""How well predictions fit what was measured of another modality, proteins or peaks: nats per cell and feature."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from scssl.nn.likelihoods import negative_binomial_loss

LOWEST, HIGHEST, NODES = -24.0, 4.0, 57
"""Of the trapezoids of `expected_log1p`: steps of a half, exact to five digits for means up to a million."""


def protein_mixture_loss(
    counts: Tensor, *, background: Tensor, foreground: Tensor, log_theta: Tensor, background_logit: Tensor
) -> Tensor:
    r"""Return the negative log-likelihood of protein counts that are background or foreground.

    totalVI's likelihood (Gayoso et al. 2021, doi 10.1038/s41592-020-01050-x, Methods): a protein's count in a cell is
    negative binomial around the background :math:`\beta`, with probability :math:`\pi`, and else around the foreground
    :math:`\alpha \beta`, :math:`\alpha > 1`, with one inverse dispersion :math:`\phi`:

    .. math:: p(y) = \pi\, NB(y; \beta, \phi) + (1 - \pi)\, NB(y; \alpha \beta, \phi)

    Parameters
    ----------
    counts
        (n_cells, n_proteins) raw counts, float.
    background, foreground
        (n_cells, n_proteins) expected counts of either, above 0.
    log_theta
        (n_proteins,) logarithm of the inverse dispersion.
    background_logit
        (n_cells, n_proteins) logit of the probability of background.

    Returns
    -------
    Tensor
        (n_cells, n_proteins), nats.
    """
    low = functional.logsigmoid(background_logit) - negative_binomial_loss(counts, background, log_theta)
    high = functional.logsigmoid(-background_logit) - negative_binomial_loss(counts, foreground, log_theta)
    return -torch.logaddexp(low, high)


def gaussian_loss(values: Tensor, mean: Tensor, log_sigma: Tensor) -> Tensor:
    r"""Return the negative log-likelihood of a normal distribution.

    .. math:: -\log p(y) = \frac{(y - \mu)^2}{2 \sigma^2} + \log \sigma + \frac{1}{2} \log 2 \pi

    Parameters
    ----------
    values
        (n_cells, n_features).
    mean
        (n_cells, n_features).
    log_sigma
        (n_features,) logarithm of the standard deviation.

    Returns
    -------
    Tensor
        (n_cells, n_features), nats.
    """
    return 0.5 * ((values - mean) * torch.exp(-log_sigma)).square() + log_sigma + 0.5 * math.log(2 * math.pi)


def expected_log1p(mean: Tensor, log_theta: Tensor) -> Tensor:
    r"""Return the mean of ``log1p`` of a negative binomial count, which is not ``log1p`` of its mean.

    With the probability generating function :math:`G(t) = (1 + \mu (1 - t) / \theta)^{-\theta}`, and since
    :math:`\log(1 + y) = \int_0^\infty (1 - e^{-ys})\, e^{-s} / s\; ds`,

    .. math:: E \log(1 + y) = \int_{-\infty}^{\infty} \left(1 - G(e^{-s})\right) e^{-s}\, du, \quad s = e^u

    whose trapezoids converge fast, as the integrand falls off at both ends.

    Parameters
    ----------
    mean
        (n_cells, n_features) expected counts.
    log_theta
        (n_features,) logarithm of the inverse dispersion.

    Returns
    -------
    Tensor
        (n_cells, n_features).
    """
    theta = torch.exp(log_theta)
    ratio = mean / theta
    total = torch.zeros_like(mean)
    step = (HIGHEST - LOWEST) / (NODES - 1)
    for node in range(NODES):
        s = math.exp(LOWEST + node * step)
        total -= math.exp(-s) * torch.expm1(-theta * torch.log1p(ratio * -math.expm1(-s)))
    return total * step
