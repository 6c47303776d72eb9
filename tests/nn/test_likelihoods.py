"""Likelihoods against scipy, and their gradients where formulas are delicate."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from scssl.nn.likelihoods import expressed_loss, negative_binomial_loss, poisson_loss, zero_inflated_loss

COUNTS = np.array([[0, 1, 2, 7], [300, 0, 65_000, 4]])
MEAN = np.array([[0.5, 1e-3, 2.0, 80.0], [250.0, 3.0, 60_000.0, 0.01]])
LOG_THETA = np.array([-2.0, 0.0, 1.5, 4.0])


def tensors(*arrays):
    return [torch.tensor(a, dtype=torch.float64) for a in arrays]


def test_poisson():
    counts, mean = tensors(COUNTS, MEAN)
    np.testing.assert_allclose(poisson_loss(counts, mean), -stats.poisson.logpmf(COUNTS, MEAN), rtol=1e-4)


def test_negative_binomial():
    counts, mean, log_theta = tensors(COUNTS, MEAN, LOG_THETA)
    theta = np.exp(LOG_THETA)
    expected = -stats.nbinom.logpmf(COUNTS, theta, theta / (theta + MEAN))
    np.testing.assert_allclose(negative_binomial_loss(counts, mean, log_theta), expected, rtol=1e-4)
    # With little dispersion it is Poisson.
    large = torch.full((4,), 18.0, dtype=torch.float64)
    small = counts.clamp(max=10), mean.clamp(max=10)
    torch.testing.assert_close(negative_binomial_loss(*small, large), poisson_loss(*small), rtol=1e-4, atol=1e-5)


@given(logit=st.floats(-8, 8))
def test_zero_inflated(logit):
    counts, mean, log_theta = tensors(COUNTS, MEAN, LOG_THETA)
    theta, pi = np.exp(LOG_THETA), 1 / (1 + np.exp(-logit))
    pmf = stats.nbinom.logpmf(COUNTS, theta, theta / (theta + MEAN))
    expected = -np.where(COUNTS == 0, np.log(pi + (1 - pi) * np.exp(pmf)), np.log1p(-pi) + pmf)
    found = zero_inflated_loss(counts, mean, log_theta, torch.full_like(counts, logit))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_expressed():
    counts, logit = tensors(COUNTS, LOG_THETA[None].repeat(2, 0))
    p = 1 / (1 + np.exp(-LOG_THETA))
    np.testing.assert_allclose(expressed_loss(counts, logit), -np.log(np.where(COUNTS > 0, p, 1 - p)), rtol=1e-6)


@pytest.mark.parametrize("kind", ["poisson", "nb", "zinb"])
def test_gradients_are_finite_at_the_edges(kind):
    counts = torch.tensor([[0.0, 0.0, 50_000.0, 1.0]])
    mean = torch.tensor([[1e-10, 1e5, 1e-10, 1.0]], requires_grad=True)
    log_theta = torch.tensor([-8.0, 8.0, -8.0, 0.0], requires_grad=True)
    logit = torch.tensor([[-30.0, 30.0, 30.0, 0.0]], requires_grad=True)
    loss = {
        "poisson": lambda: poisson_loss(counts, mean),
        "nb": lambda: negative_binomial_loss(counts, mean, log_theta),
        "zinb": lambda: zero_inflated_loss(counts, mean, log_theta, logit),
    }[kind]()
    loss.sum().backward()
    for tensor in (loss, *(t.grad for t in (mean, log_theta, logit) if t.grad is not None)):
        assert torch.isfinite(tensor).all()
