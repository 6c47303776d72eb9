import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st

from scssl.corpus.batch import CellBatch
from scssl.nn import GeneStates, dense_counts, log_normalise, unmeasured_genes
from scssl.nn.inputs import LEAST_SEEN


def _counts(n_cells, n_genes, seed, density=0.3):
    rng = np.random.default_rng(seed)
    dense = rng.poisson(3, (n_cells, n_genes)) * (rng.random((n_cells, n_genes)) < density)
    return sp.csr_matrix(dense.astype(np.uint16))


def _slow_log_normalise(counts, share):
    out = np.zeros(counts.shape)
    for c in range(counts.shape[0]):
        row = counts[c].toarray().ravel().astype(float)
        for g in range(counts.shape[1]):
            if row.sum() > 0:
                out[c, g] = np.log(1 + 1e4 * share * row[g] / row.sum())
    return out


@given(
    n_cells=st.integers(1, 8),
    n_genes=st.integers(1, 30),
    seed=st.integers(0, 10**6),
    share=st.floats(0.01, 1.0),
    density=st.sampled_from([0.0, 0.05, 0.5]),
)
def test_log_normalise_equals_the_slow_reference(n_cells, n_genes, seed, share, density):
    counts = _counts(n_cells, n_genes, seed, density)
    batch = CellBatch.from_csr(counts, measured_share=share)
    np.testing.assert_allclose(log_normalise(batch).numpy(), _slow_log_normalise(counts, share), rtol=1e-5, atol=1e-6)


def test_dense_counts_equals_toarray():
    counts = _counts(7, 13, 0)
    np.testing.assert_array_equal(dense_counts(CellBatch.from_csr(counts)).numpy(), counts.toarray())


def test_size_factor_is_the_total_over_the_panel():
    counts = _counts(5, 11, 1)
    np.testing.assert_array_equal(
        CellBatch.from_csr(counts).size_factor.numpy(), counts.toarray().sum(axis=1).astype(np.float32)
    )


def test_a_small_panel_is_not_inflated_when_its_share_is_known():
    # The same cells, once with all genes and once with the half of them that carries exactly half of the counts.
    profile = np.tile([10, 30], 50)
    full = sp.csr_matrix(np.tile(profile, (4, 1)))
    measured = np.zeros(100, dtype=bool)
    measured[:50] = True
    half = sp.csr_matrix(np.where(measured, full.toarray(), 0))
    x_full = log_normalise(CellBatch.from_csr(full)).numpy()
    x_half = log_normalise(CellBatch.from_csr(half, measured=measured, measured_share=0.5)).numpy()
    np.testing.assert_allclose(x_half[:, measured], x_full[:, measured], rtol=1e-6)
    inflated = log_normalise(CellBatch.from_csr(half, measured=measured)).numpy()
    assert (inflated[:, measured] > x_full[:, measured] + 0.5).all()


def test_unmeasured_genes_are_looked_up_by_row():
    counts = _counts(3, 4, 0)
    batch = CellBatch.from_csr(counts, measured=np.array([True, False, True, True]))
    assert unmeasured_genes(batch).tolist() == [[False, True, False, False]] * 3
    assert unmeasured_genes(CellBatch.from_csr(counts)) is None


def test_hidden_unmeasured_and_zero_are_three_inputs():
    states = GeneStates(3)
    states.mean.fill_(0.7)
    torch.nn.init.constant_(states.unmeasured, 0.2)
    x = torch.zeros(1, 3)
    out = states(x, hidden=torch.tensor([[True, False, False]]), unmeasured=torch.tensor([[False, True, False]]))
    assert len(set(out[0].tolist())) == 3
    both = states(x, hidden=torch.ones(1, 3, dtype=torch.bool), unmeasured=torch.ones(1, 3, dtype=torch.bool))
    torch.testing.assert_close(both[0], states.unmeasured / LEAST_SEEN)


def test_batch_moves_to_a_device_whole():
    batch = CellBatch.from_csr(_counts(3, 4, 0)).to("meta")
    assert batch.values.device.type == batch.measured.device.type == "meta"
    assert batch.n_genes == 4


@pytest.mark.parametrize("empty_row", [0, 2])
def test_a_cell_without_counts_is_all_zeros(empty_row):
    dense = _counts(3, 5, 3, 0.9).toarray()
    dense[empty_row] = 0
    x = log_normalise(CellBatch.from_csr(sp.csr_matrix(dense)))
    assert torch.isfinite(x).all()
    assert (x[empty_row] == 0).all()


def test_what_is_not_known_reads_as_the_mean_at_first():
    states = GeneStates(4)
    states.mean.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    at_mean = states(states.mean.unsqueeze(0))
    every = torch.ones(1, 4, dtype=torch.bool)
    torch.testing.assert_close(states(torch.rand(1, 4), hidden=every), at_mean)
    torch.testing.assert_close(states(torch.rand(1, 4), unmeasured=every), at_mean)


def test_what_is_measured_stands_for_what_is_not():
    # Four genes that always agree, of which three carry most of the variance: seen through the first alone, or through
    # all four, a cell gives the same sum over genes.
    states = GeneStates(4)
    states.variance_share.copy_(torch.tensor([0.2, 0.3, 0.4, 0.1]))
    x = torch.tensor([[2.0, 3.0, 4.0, 1.0]])
    unmeasured = torch.tensor([[False, True, True, True]])
    torch.testing.assert_close(states(x, unmeasured=unmeasured).sum(), x.sum())
    tiny = GeneStates(100)
    few = torch.ones(1, 100, dtype=torch.bool)
    few[0, 0] = False
    assert tiny(torch.ones(1, 100), unmeasured=few).max().item() == pytest.approx(1 / LEAST_SEEN)
