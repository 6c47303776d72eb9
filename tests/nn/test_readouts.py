"""Likelihoods of other modalities against scipy and torch.distributions, and the heads that predict them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import distributions

from scssl.nn.heads import HEADS
from scssl.nn.readouts import expected_log1p, gaussian_loss, protein_mixture_loss

COUNTS = np.array([[0, 1, 2, 7], [300, 0, 6_500, 4]])
LOW = np.array([[0.5, 1e-2, 2.0, 8.0], [5.0, 3.0, 60.0, 0.1]])
HIGH = LOW * np.array([1.5, 20, 3, 100])
LOG_THETA = np.array([-2.0, 0.0, 1.5, 4.0])


def tensors(*arrays):
    return [torch.tensor(a, dtype=torch.float64) for a in arrays]


@given(logit=st.floats(-12, 12))
def test_protein_mixture_is_the_sum_of_two_negative_binomials(logit):
    counts, low, high, log_theta = tensors(COUNTS, LOW, HIGH, LOG_THETA)
    theta, share = np.exp(LOG_THETA), 1 / (1 + np.exp(-logit))
    pmf = [stats.nbinom.logpmf(COUNTS, theta, theta / (theta + mean)) for mean in (LOW, HIGH)]
    expected = -np.logaddexp(np.log(share) + pmf[0], np.log1p(-share) + pmf[1])
    found = protein_mixture_loss(
        counts, background=low, foreground=high, log_theta=log_theta, background_logit=torch.full_like(low, logit)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_protein_mixture_as_torch_has_it():
    counts, low, high, log_theta = tensors(COUNTS, LOW, HIGH, LOG_THETA)
    logit = torch.linspace(-3, 3, 8, dtype=torch.float64).reshape(2, 4)
    parts = distributions.NegativeBinomial(
        total_count=log_theta.exp().unsqueeze(-1),
        logits=torch.stack([low.log() - log_theta, high.log() - log_theta], dim=-1),
    )
    which = distributions.Categorical(logits=torch.stack([logit, torch.zeros_like(logit)], dim=-1))
    expected = -distributions.MixtureSameFamily(which, parts).log_prob(counts)
    found = protein_mixture_loss(counts, background=low, foreground=high, log_theta=log_theta, background_logit=logit)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_gaussian():
    values, mean, log_sigma = tensors(LOW, HIGH, LOG_THETA)
    expected = -stats.norm.logpdf(LOW, HIGH, np.exp(LOG_THETA))
    np.testing.assert_allclose(gaussian_loss(values, mean, log_sigma), expected, rtol=1e-9)


@pytest.mark.parametrize("mean", [1e-3, 0.7, 40.0, 3000.0])
@pytest.mark.parametrize("theta", [0.05, 1.0, 30.0])
def test_expected_log1p_is_the_sum_over_all_counts(mean, theta):
    given = stats.nbinom(theta, theta / (theta + mean))
    counts = np.arange(int(given.ppf(1 - 1e-12)) + 10)
    expected = (given.pmf(counts) * np.log1p(counts)).sum()
    found = expected_log1p(*tensors([[mean]], [np.log(theta)])).item()
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-9)


def measured(name, n_cells=600, seed=0):
    """Codes, values that follow the first of their numbers, and sizes."""
    rng = np.random.default_rng(seed)
    codes, size = rng.normal(size=(n_cells, 4)), rng.lognormal(0, 0.3, n_cells)
    level = codes[:, :1] @ np.array([[1.5, -1.5, 0.0]])
    high = rng.random(level.shape) < 1 / (1 + np.exp(-3 * level))
    draw = {
        "nb_mixture": lambda: rng.poisson(size[:, None] * np.where(high, 60, 4)),
        "nb": lambda: rng.poisson(size[:, None] * np.exp(2 + 0.6 * level)),
        "poisson": lambda: rng.poisson(size[:, None] * np.exp(0.6 * level - 1)),
        "bernoulli": lambda: rng.random(level.shape) < 1 / (1 + np.exp(-level)),
        "gaussian": lambda: level + rng.normal(size=level.shape),
    }  # fmt: skip
    return [torch.tensor(a, dtype=torch.float32) for a in (codes, draw[name](), size)]


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("hidden", [0, 8])
def test_heads_learn_what_the_code_says(name, hidden):
    codes, values, size = measured(name)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = HEADS[name](4, 3, hidden=hidden)
    head.start_from(codes, values, size)
    before = head.loss(codes, values, size).mean().item()
    optimiser = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(150):
        optimiser.zero_grad()
        loss = head.loss(codes, values, size).mean()
        loss.backward()
        optimiser.step()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in head.parameters())
    assert loss.item() < before - 0.05
    with torch.no_grad():
        predicted = head.eval().predict(codes)
    assert {values.shape} == {array.shape for array in predicted.values()}
    found = np.corrcoef(predicted["scaled"][:, 0], codes[:, 0])[0, 1]
    assert found > 0.85
    assert np.corrcoef(predicted["scaled"][:, 1], codes[:, 0])[0, 1] < -0.85
    if name == "nb_mixture":
        assert predicted["probability"].min() >= 0
        assert predicted["probability"].max() <= 1
        assert (predicted["foreground"] < predicted["expected"]).all()


@pytest.mark.parametrize("name", HEADS)
def test_untrained_heads_know_the_mean_level(name):
    codes, values, size = measured(name)
    head = HEADS[name](4, 3)
    head.start_from(codes, values, size)
    with torch.no_grad():
        predicted = head.predict(codes)
    level = predicted.get("expected", predicted["scaled"])
    assert torch.equal(level[0], level[-1])
    typical = (values / size.unsqueeze(1)).mean(0) if "expected" in predicted else values.mean(0)
    torch.testing.assert_close(level[0], typical, rtol=0.25, atol=0.05)


def test_scaled_is_the_mean_of_what_is_scored():
    """What is drawn from the model has the mean that it states, on the scale of the scores."""
    codes, values, size = measured("nb_mixture")
    head = HEADS["nb_mixture"](4, 3)
    head.start_from(codes, values, size)
    with torch.no_grad():
        background, foreground, logit = (part[:1] for part in head._parts(codes))
        rng, theta = np.random.default_rng(0), head.log_theta.exp().numpy()
        is_low = rng.random((200_000, 3)) < torch.sigmoid(logit).numpy()
        mean = np.where(is_low, background, foreground)
        drawn = rng.poisson(rng.gamma(np.broadcast_to(theta, mean.shape), mean / theta))
        np.testing.assert_allclose(np.log1p(drawn).mean(0), head.predict(codes)["scaled"][0], atol=0.02)
        np.testing.assert_allclose(drawn.mean(0), head.predict(codes)["expected"][0], rtol=0.03)
