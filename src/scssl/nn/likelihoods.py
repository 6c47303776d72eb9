"""How well predicted expression fits the counts: negative log-likelihoods per cell and gene, without constants."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SMALLEST = 1e-8
"""Added inside logarithms of means."""


def poisson_loss(counts: Tensor | None, mean: Tensor) -> Tensor:
    r"""Return the negative log-likelihood of a Poisson distribution.

    .. math:: -\log p(k) = \mu - k \log \mu + \log k!

    Parameters
    ----------
    counts
        (n_cells, n_genes) raw counts, float; None where all are zero, which takes less work.
    mean
        (n_cells, n_genes) expected counts, above 0.

    Returns
    -------
    Tensor
        (n_cells, n_genes), nats.
    """
    if counts is None:
        return mean
    return mean - counts * torch.log(mean + SMALLEST) + torch.lgamma(counts + 1)


def negative_binomial_loss(counts: Tensor | None, mean: Tensor, log_theta: Tensor) -> Tensor:
    r"""Return the negative log-likelihood of a negative binomial distribution.

    With mean :math:`\mu` and inverse dispersion :math:`\theta`, so that the variance is :math:`\mu + \mu^2 / \theta`:

    .. math:: -\log p(k) = -\log \frac{\Gamma(k + \theta)}{\Gamma(\theta) k!}
              - \theta \log \frac{\theta}{\theta + \mu} - k \log \frac{\mu}{\theta + \mu}

    Parameters
    ----------
    counts
        (n_cells, n_genes) raw counts, float; None where all are zero, which takes less work.
    mean
        (n_cells, n_genes) expected counts, above 0.
    log_theta
        (n_genes,) logarithm of the inverse dispersion.

    Returns
    -------
    Tensor
        (n_cells, n_genes), nats.
    """
    theta = torch.exp(log_theta)
    log_sum = torch.log(theta + mean)
    if counts is None:
        return theta * (log_sum - log_theta)
    return (
        torch.lgamma(theta)
        + torch.lgamma(counts + 1)
        - torch.lgamma(counts + theta)
        - theta * (log_theta - log_sum)
        - counts * (torch.log(mean + SMALLEST) - log_sum)
    )


def zero_inflated_loss(counts: Tensor | None, mean: Tensor, log_theta: Tensor, zero_logit: Tensor) -> Tensor:
    r"""Return the negative log-likelihood of a zero-inflated negative binomial distribution.

    A count is zero with probability :math:`\pi`, whose logit is given, and else negative binomial:
    :math:`p(0) = \pi + (1 - \pi) p_{NB}(0)`, and :math:`p(k) = (1 - \pi) p_{NB}(k)` above.

    Parameters
    ----------
    counts, mean, log_theta
        As for `negative_binomial_loss`.
    zero_logit
        (n_cells, n_genes) logit of the probability of an extra zero.

    Returns
    -------
    Tensor
        (n_cells, n_genes), nats.
    """
    plain = negative_binomial_loss(counts, mean, log_theta)
    kept, extra = functional.logsigmoid(-zero_logit), functional.logsigmoid(zero_logit)
    at_zero = -torch.logaddexp(extra, kept - plain)
    if counts is None:
        return at_zero
    return torch.where(counts > 0, plain - kept, at_zero)


def expressed_loss(counts: Tensor | None, logit: Tensor) -> Tensor:
    """Return the binary cross-entropy of whether a gene was seen at all.

    Parameters
    ----------
    counts
        (n_cells, n_genes) raw counts; None where all are zero.
    logit
        (n_cells, n_genes) logit of the probability that the count is above 0.

    Returns
    -------
    Tensor
        (n_cells, n_genes), nats.
    """
    if counts is None:
        return functional.softplus(logit)
    return functional.binary_cross_entropy_with_logits(logit, (counts > 0).to(logit.dtype), reduction="none")
