"""Integrated gradients: against the definition in many steps, the exact answer of linear models, and their axioms."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.errors import SettingsError
from scssl.nn import Architecture, Encoder
from scssl.tasks.annotate.attribution import integrated_gradients

N_GENES, N_LATENT = 23, 5


def encoder_of(seed=0, **settings):
    torch.manual_seed(seed)
    encoder = Encoder(N_GENES, Architecture(**{"hidden": (16, 8), "n_latent": N_LATENT, "dropout": 0.3} | settings))
    torch.nn.init.normal_(encoder.states.unmeasured)
    encoder.states.mean.copy_(torch.rand(N_GENES))
    encoder.states.variance_share.copy_(torch.softmax(torch.randn(N_GENES), 0))
    return encoder.double().eval()


def cells(n=6, seed=1):
    rng = torch.Generator().manual_seed(seed)
    return 4 * torch.rand(n, N_GENES, dtype=torch.float64, generator=rng)


def score(codes):
    return codes[:, 0] - codes[:, 1:].logsumexp(1)


def by_definition(encoder, x, unmeasured, *, n_steps):
    """The integral as it is written: gradients with regard to the genes themselves, point by point."""
    baseline = encoder.states.mean.expand_as(x)
    total = torch.zeros_like(x)
    for step in range(n_steps):
        point = (baseline + (step + 0.5) / n_steps * (x - baseline)).requires_grad_()
        total += torch.autograd.grad(score(encoder(point, unmeasured=unmeasured)).sum(), point)[0]
    return (x - baseline) * total / n_steps


@pytest.mark.parametrize("activation", ["selu", "gelu", "relu"])
@pytest.mark.parametrize("norm", ["none", "layer", "batch"])
@pytest.mark.parametrize("hidden", [(), (16,), (16, 8)])
def test_same_as_the_definition(activation, norm, hidden):
    encoder, x = encoder_of(activation=activation, norm=norm, hidden=hidden), cells()
    unmeasured = (torch.arange(N_GENES) % 4 == 0).expand_as(x)
    for mask in (None, unmeasured):
        found = integrated_gradients(encoder, score, x, unmeasured=mask, n_steps=7)
        torch.testing.assert_close(found.values, by_definition(encoder, x, mask, n_steps=7))


@pytest.mark.parametrize("activation", ["selu", "gelu", "relu"])
def test_complete_and_near_the_limit(activation):
    encoder, x = encoder_of(activation=activation), cells()
    found = integrated_gradients(encoder, score, x)
    change = found.score - found.baseline
    torch.testing.assert_close(found.values.sum(1), change, atol=0.02 * float(change.abs().mean()), rtol=0)
    torch.testing.assert_close(found.score, score(encoder(x)).detach())
    torch.testing.assert_close(found.baseline, score(encoder(encoder.states.mean.expand_as(x))).detach())
    limit = by_definition(encoder, x, None, n_steps=4000)
    torch.testing.assert_close(limit.sum(1), change, atol=1e-3 * float(change.abs().mean()), rtol=0)
    torch.testing.assert_close(found.values, limit, atol=0.02 * float(limit.abs().max()), rtol=0)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), n_steps=st.integers(1, 5))
def test_exact_for_a_linear_model(seed, n_steps):
    encoder, x = encoder_of(seed, hidden=()), cells(seed=seed)
    weight = torch.randn(N_LATENT, dtype=torch.float64)
    found = integrated_gradients(encoder, lambda codes: codes @ weight + 3.0, x, n_steps=n_steps)
    expected = (weight @ encoder.code.weight) * (x - encoder.states.mean)
    torch.testing.assert_close(found.values, expected.detach())


def test_unmeasured_genes_and_genes_at_their_mean_get_none():
    encoder, x = encoder_of(), cells()
    x[:, 2] = encoder.states.mean[2]
    unmeasured = torch.zeros_like(x, dtype=torch.bool)
    unmeasured[:, 5:9] = True
    values = integrated_gradients(encoder, score, x, unmeasured=unmeasured).values
    assert (values[:, 5:9] == 0).all()
    assert (values[:, 2].abs() < 1e-12).all()
    assert (values[:, 9:] != 0).any(0).all()
    other = x.clone()
    other[:, 5:9] += 3.0
    torch.testing.assert_close(integrated_gradients(encoder, score, other, unmeasured=unmeasured).values, values)


def test_the_encoder_stays_as_it_was():
    encoder = encoder_of().train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    first, second = (integrated_gradients(encoder, score, cells()).values for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)  # dropout is off
    assert encoder.training
    assert all(parameter.grad is None for parameter in encoder.parameters())
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_no_steps_is_an_error():
    with pytest.raises(SettingsError, match="at least one step"):
        integrated_gradients(encoder_of(), score, cells(), n_steps=0)
