"""The fused layers give what the plain modules give, with the same gradients."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.corpus.batch import CellBatch
from scssl.nn import Architecture, Encoder, dense_counts, fused, kernels, log_normalise, unmeasured_genes
from scssl.nn.inputs import GeneStates


def _batch(seed, *, n_cells=9, n_genes=23, small_panel=True, dtype=np.uint16):
    """Cells of two sources, one of which did not measure the first five genes."""
    rng = np.random.default_rng(seed)
    dense = rng.poisson(40, (n_cells, n_genes)) * (rng.random((n_cells, n_genes)) < 0.4)
    measured = np.ones((2, n_genes), dtype=bool)
    row = rng.integers(0, 2, n_cells)
    if small_panel:
        measured[1, :5] = False
        dense[row == 1, :5] = 0
    batch = CellBatch.from_csr(sp.csr_matrix(dense.astype(dtype)))
    return CellBatch(
        **{f: getattr(batch, f) for f in ("values", "indices", "indptr", "n_genes", "size_factor", "source", "cell")},
        measured=torch.from_numpy(measured),
        measured_row=torch.from_numpy(row),
        measured_share=torch.tensor([1.0, 0.7]),
    )


def _states(n_genes, seed):
    torch.manual_seed(seed)
    states = GeneStates(n_genes)
    states.mean.copy_(torch.rand(n_genes) * 3)
    states.variance_share.copy_(torch.rand(n_genes).softmax(0))
    torch.nn.init.normal_(states.unmeasured)
    return states


def _masks(batch, rate, group_size, seed):
    if rate is None:
        return None
    torch.manual_seed(seed + 1)
    return torch.rand(-(-batch.n_cells // group_size), batch.n_genes) < rate


def _each(masks, group_size, n_cells):
    return None if masks is None else masks.repeat_interleave(group_size, dim=0)[:n_cells]


CASES = {
    "seed": st.integers(0, 10**6),
    "n_cells": st.sampled_from([1, 9, 40]),
    "rate": st.sampled_from([None, 0.0, 0.3, 1.0]),
    "group_size": st.sampled_from([1, 4, 64]),
    "small_panel": st.booleans(),
}


@given(**CASES)
@settings(deadline=None, max_examples=60)
def test_the_first_layer_is_that_of_the_plain_modules(seed, n_cells, rate, group_size, small_panel):
    batch = _batch(seed, n_cells=n_cells, small_panel=small_panel)
    states, masks = _states(batch.n_genes, seed), _masks(batch, rate, group_size, seed)
    layer = torch.nn.Linear(batch.n_genes, 6)
    x = states(log_normalise(batch), hidden=_each(masks, group_size, batch.n_cells), unmeasured=unmeasured_genes(batch))
    expected = layer(x)
    weight = torch.randn_like(expected)
    parameters = [*layer.parameters(), states.unmeasured]
    wanted = torch.autograd.grad((expected * weight).sum(), parameters, materialize_grads=True)
    found = fused.first_layer(layer, states, batch, target_sum=1e4, masks=masks, group_size=group_size)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    given_back = torch.autograd.grad((found * weight).sum(), parameters, materialize_grads=True)
    for mine, theirs in zip(given_back, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


@given(**CASES, zero_weight=st.sampled_from([1.0, 0.25]))
@settings(deadline=None, max_examples=60)
def test_the_squared_error_is_that_of_the_plain_modules(seed, n_cells, rate, group_size, small_panel, zero_weight):
    batch = _batch(seed, n_cells=n_cells, small_panel=small_panel)
    masks = _masks(batch, rate, group_size, seed)
    layer = torch.nn.Linear(6, batch.n_genes)
    units = torch.randn(batch.n_cells, 6, requires_grad=True)
    truth = log_normalise(batch)
    asked = batch.measured[batch.measured_row]
    if masks is not None:
        asked = asked & _each(masks, group_size, batch.n_cells)
    weights = asked * torch.where(truth > 0, 1.0, zero_weight)
    expected = (weights * (layer(units) - truth).square()).sum()
    inputs = [units, *layer.parameters()]
    wanted = torch.autograd.grad(3 * expected, inputs)
    found = fused.squared_error(
        layer, units, batch, target_sum=1e4, masks=masks, group_size=group_size, zero_weight=zero_weight
    )
    assert found.n_seen == int((asked & (truth > 0)).sum())
    assert found.n_zero == int((asked & (truth == 0)).sum())
    torch.testing.assert_close(found.total, expected, rtol=1e-4, atol=1e-4)
    for mine, theirs in zip(torch.autograd.grad(3 * found.total, inputs), wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("group_size", [1, 8])
def test_bf16_is_as_near_as_bf16_can_be(group_size):
    batch = _batch(3, n_cells=64, n_genes=300)
    states, masks = _states(300, 3), _masks(batch, 0.5, group_size, 3)
    layer, output = torch.nn.Linear(300, 32), torch.nn.Linear(32, 300)
    exact = fused.first_layer(layer, states, batch, target_sum=1e4, masks=masks, group_size=group_size)
    error = fused.squared_error(output, exact, batch, target_sum=1e4, masks=masks, group_size=group_size).total
    error.backward()
    exact_gradients = [p.grad.clone() for p in (*layer.parameters(), *output.parameters())]
    layer.zero_grad(), output.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = fused.first_layer(layer, states, batch, target_sum=1e4, masks=masks, group_size=group_size)
        assert rounded.dtype == torch.bfloat16
        total = fused.squared_error(output, rounded, batch, target_sum=1e4, masks=masks, group_size=group_size).total
    torch.testing.assert_close(total, error, rtol=0.01, atol=0)
    total.backward()
    for found, wanted in zip((*layer.parameters(), *output.parameters()), exact_gradients, strict=True):
        assert found.grad.dtype == torch.float32
        assert (found.grad - wanted).norm() < 0.02 * wanted.norm()


def test_bf16_is_rounded_to_the_nearest():
    rows = torch.randn(3, 1000) * torch.logspace(-8, 8, 1000)
    out = np.empty(1000, dtype=np.uint16)
    for row in rows:
        kernels.write_row(row.numpy(), out, True)
        torch.testing.assert_close(torch.from_numpy(out).view(torch.bfloat16), row.bfloat16(), rtol=0, atol=0)


@pytest.mark.parametrize("hidden", [(), (12,), (12, 7)])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_encoding_counts_is_encoding_their_values(hidden, norm):
    batch = _batch(5)
    encoder = Encoder(batch.n_genes, Architecture(hidden=hidden, norm=norm, n_latent=4)).eval()
    masks = _masks(batch, 0.4, 3, 5)
    plain = encoder(encoder.normalise(batch), hidden=_each(masks, 3, batch.n_cells), unmeasured=unmeasured_genes(batch))
    torch.testing.assert_close(encoder.encode(batch, masks=masks, group_size=3), plain, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoder.double().encode(batch, masks=masks, group_size=3).float(), plain, rtol=1e-4,
                               atol=1e-5)  # fmt: skip


def test_large_counts_and_wide_types_are_read():
    batch = _batch(7, dtype=np.int64)
    batch.values[0] = 2_000_000
    counts = fused.Counts.of(batch, target_sum=1e4)
    rows = batch.rows()
    np.testing.assert_allclose(counts.logs, log_normalise(batch)[rows, batch.indices.long()], rtol=1e-6)
    assert dense_counts(batch).max() == 2_000_000
