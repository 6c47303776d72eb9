import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scssl.pretext import Draw
from scssl.pretext.masking import cell_keys, random_mask

_M = 2**64 - 1


def _splitmix(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _M
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _M
    return z ^ (z >> 31)


def _slow_mask(cells, n_genes, rate, seed, epoch):
    """One gene at a time, in Python's own integers."""
    golden = 0x9E3779B97F4A7C15
    out = np.zeros((len(cells), n_genes), dtype=bool)
    base = _splitmix((seed * golden + epoch) & _M)
    for i, cell in enumerate(cells):
        key = _splitmix((cell * golden + base) & _M)
        for gene in range(n_genes):
            word = _splitmix((key + (gene // 4 + 1) * golden) & _M)
            sixteen = (word >> (16 * (gene % 4))) & 0xFFFF
            signed = sixteen - 0x10000 if sixteen >= 0x8000 else sixteen
            out[i, gene] = signed < round(rate * 65_536) - 32_768
    return out


@given(
    cells=st.lists(st.integers(0, 2**40), min_size=1, max_size=5, unique=True),
    n_genes=st.integers(1, 23),
    rate=st.floats(0.0, 0.999),
    seed=st.integers(0, 2**31),
    epoch=st.integers(0, 1000),
)
def test_random_mask_equals_the_slow_reference(cells, n_genes, rate, seed, epoch):
    mask = random_mask(torch.tensor(cells), n_genes, rate=rate, draw=Draw(seed, epoch))
    np.testing.assert_array_equal(mask.numpy(), _slow_mask(cells, n_genes, rate, seed, epoch))


@given(order=st.permutations(range(10)), seed=st.integers(0, 1000), epoch=st.integers(0, 50))
def test_masks_do_not_depend_on_batch_order_or_size(order, seed, epoch):
    draw = Draw(seed, epoch)
    together = random_mask(torch.arange(10), 17, rate=0.4, draw=draw)
    shuffled = random_mask(torch.tensor(order), 17, rate=0.4, draw=draw)
    torch.testing.assert_close(shuffled, together[torch.tensor(order)])
    alone = random_mask(torch.tensor([order[0]]), 17, rate=0.4, draw=draw)
    torch.testing.assert_close(alone[0], together[order[0]])


@pytest.mark.parametrize("rate", [0.05, 0.25, 0.5, 0.9])
def test_the_real_rate_is_the_asked_rate(rate):
    mask = random_mask(torch.arange(1000), 2000, rate=rate, draw=Draw(0, 0)).float()
    assert mask.mean().item() == pytest.approx(rate, abs=0.002)
    # Independent over cells and genes: the spread of the means is binomial.
    assert mask.mean(0).std().item() == pytest.approx((rate * (1 - rate) / 1000) ** 0.5, rel=0.1)
    assert mask.mean(1).std().item() == pytest.approx((rate * (1 - rate) / 2000) ** 0.5, rel=0.1)


def test_genes_that_share_a_draw_are_independent():
    mask = random_mask(torch.arange(20_000), 8, rate=0.5, draw=Draw(3, 1)).double()
    correlation = torch.corrcoef(mask.T) - torch.eye(8)
    assert correlation.abs().max() < 0.03


def test_rates_zero_and_one_hide_nothing_and_everything():
    assert not random_mask(torch.arange(50), 99, rate=0.0, draw=Draw(0, 0)).any()
    assert random_mask(torch.arange(50), 99, rate=1.0, draw=Draw(0, 0)).all()


def test_epochs_seeds_and_cells_give_different_masks():
    cells = torch.arange(100)
    keys = [cell_keys(cells, draw=Draw(seed, epoch)) for seed in range(5) for epoch in range(5)]
    assert len(torch.unique(torch.cat(keys))) == 2500


def test_the_callers_generator_is_not_touched():
    before = torch.get_rng_state()
    random_mask(torch.arange(5), 5, rate=0.5, draw=Draw(0, 0))
    assert torch.equal(before, torch.get_rng_state())
