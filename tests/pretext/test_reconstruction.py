"""Losses on a processor are those of torch's own modules, whatever is asked for."""

from unittest import mock

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.corpus.batch import CellBatch
from scssl.nn import Architecture, Decoder, log_normalise
from scssl.pretext.reconstruction import Reconstruction

N_GENES = 23


def _batch(seed, n_cells):
    rng = np.random.default_rng(seed)
    dense = rng.negative_binomial(1, 0.05, (n_cells, N_GENES)) * (rng.random((n_cells, N_GENES)) < 0.4)
    measured = np.ones((2, N_GENES), dtype=bool)
    measured[1, :5] = False
    row = rng.integers(0, 2, n_cells)
    dense[row == 1, :5] = 0
    dense[0, 7] = 700
    batch = CellBatch.from_csr(sp.csr_matrix(dense))
    kept = ("values", "indices", "indptr", "n_genes", "size_factor", "cell")
    return CellBatch(
        **{name: getattr(batch, name) for name in kept},
        source=torch.from_numpy(rng.integers(-1, 2, n_cells)),
        measured=torch.from_numpy(measured),
        measured_row=torch.from_numpy(row),
        measured_share=torch.tensor([1.0, 0.7]),
    )


@pytest.mark.parametrize("loss", ["mse", "nb", "zinb", "poisson", "bce"])
@given(
    seed=st.integers(0, 10**6),
    n_cells=st.sampled_from([1, 9, 150]),
    rate=st.sampled_from([None, 0.0, 0.4, 1.0]),
    group_size=st.sampled_from([1, 4, 64]),
    balance=st.booleans(),
)
@settings(deadline=None, max_examples=25)
def test_fast_and_plain_agree_with_their_gradients(loss, seed, n_cells, rate, group_size, balance):
    torch.manual_seed(seed)
    batch = _batch(seed, n_cells)
    decoder = Decoder(N_GENES, Architecture(hidden=(6,), n_latent=4), n_sources=2).eval()
    torch.nn.init.normal_(decoder.source.weight)
    score = Reconstruction(loss, decoder, balance_zeros=balance)
    for parameter in score.parameters():
        torch.nn.init.normal_(parameter)
    masks = None if rate is None else torch.rand(-(-n_cells // group_size), N_GENES) < rate
    code = torch.randn(n_cells, 4, requires_grad=True)
    inputs = [code, *decoder.parameters(), *score.parameters()]

    def found():
        value = score(decoder, code, batch=batch, masks=masks, group_size=group_size)
        return value, torch.autograd.grad(2 * value, inputs, materialize_grads=True)

    fast, fast_gradients = found()
    with mock.patch("scssl.nn.fused.usable", return_value=False):
        plain, plain_gradients = found()
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(fast_gradients, plain_gradients, strict=True):
        largest = float(theirs.abs().max())
        torch.testing.assert_close(mine, theirs, rtol=5e-3, atol=1e-3 * largest + 1e-6)


def test_softplus_predicts_by_the_plain_modules():
    batch = _batch(0, 20)
    decoder = Decoder(N_GENES, Architecture(hidden=(6,), n_latent=4, output="softplus"), n_sources=2).eval()
    code = torch.randn(20, 4)
    value = Reconstruction("mse", decoder)(decoder, code, batch=batch)
    predicted = decoder(code, batch.source)
    asked = batch.measured[batch.measured_row]
    torch.testing.assert_close(value, (predicted - log_normalise(batch)).square()[asked].mean())
