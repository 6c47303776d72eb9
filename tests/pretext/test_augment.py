"""Views against slow references, one cell and one gene at a time, and against what their rates promise."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scssl.corpus.batch import CellBatch
from scssl.errors import SettingsError
from scssl.nn import dense_counts, log_normalise, unmeasured_genes
from scssl.pretext import Draw
from scssl.pretext.augment import LARGEST, Augmentation, change_counts, make_view, partners, view_draw
from scssl.pretext.masking import cell_keys, random_mask

NOTHING = Augmentation(mask=0.0, thin=0.0)
ALL = Augmentation(mask=0.3, thin=0.4, noise=0.2, mix=0.3)


def _counts(n_cells=12, n_genes=40, seed=0, scale=3.0):
    rng = np.random.default_rng(seed)
    return rng.poisson(scale * rng.gamma(0.3, 1.0, (n_cells, n_genes)))


def _batch(counts, *, cell=None, measured=None):
    return CellBatch.from_csr(sp.csr_matrix(counts), cell=cell, measured=measured)


def _view(batch, rates, *, draw=None, view=0):
    """A view with its values, which otherwise are only taken where they are needed."""
    made = make_view(batch, rates, normalise=log_normalise, draw=draw or Draw(0, 0), view=view)
    return made if made.x is not None else made._replace(x=log_normalise(made.batch))


def _take(counts, rows):
    return _batch(counts[rows], cell=np.asarray(rows))


def _binomial_quantile(n, p, u):
    """Count up until the distribution function passes u."""
    below, k = 0.0, 0
    while k < n:
        below += math.comb(n, k) * p**k * (1 - p) ** (n - k)
        if u < below:
            break
        k += 1
    return k


def _negative_binomial_quantile(n, mean, u):
    if n == 0:
        return 0
    p = 1 / (1 + mean)
    below, k = 0.0, 0
    while True:
        below += math.comb(k + n - 1, k) * p**n * (1 - p) ** k
        if u < below:
            return k
        k += 1


def _word(cell, gene, *, draw, number=0):
    row = cell_keys(torch.tensor([cell]), draw=draw)
    return int(cell_keys(row + gene + (number << 24), draw=draw)[0]) & (2**64 - 1)


def _slow_change(counts, *, thin, noise, draw):
    """One cell and gene at a time, with the same random bits."""
    out = np.zeros_like(counts)
    for c, g in zip(*counts.nonzero(), strict=True):
        left, number, kept = int(counts[c, g]), 0, 0
        while left > 0:
            piece = min(left, LARGEST)
            u = (_word(c, g, draw=draw, number=number) >> 32) / 2**32
            kept += _binomial_quantile(piece, 1 - thin, u) if thin else piece
            left, number = left - piece, number + 1
        left, number, added = kept, 0, 0
        while left > 0 and noise:
            piece = min(left, LARGEST)
            u = (_word(c, g, draw=draw, number=number) & (2**32 - 1)) / 2**32
            added += _negative_binomial_quantile(piece, noise, u)
            left, number = left - piece, number + 1
        out[c, g] = kept + added
    return out


@given(
    seed=st.integers(0, 10**6),
    thin=st.sampled_from([0.0, 0.1, 0.5, 0.93]),
    noise=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    scale=st.sampled_from([1.0, 30.0]),
)
@settings(max_examples=25)
def test_counts_equal_the_slow_reference(seed, thin, noise, scale):
    counts = _counts(4, 20, seed=seed, scale=scale)
    changed = change_counts(_batch(counts), thin=thin, noise=noise, draw=Draw(seed, 1))
    expected = _slow_change(counts, thin=thin, noise=noise, draw=Draw(seed, 1))
    np.testing.assert_array_equal(dense_counts(changed).numpy(), expected)


def test_large_counts_equal_the_slow_reference():
    counts = np.array([[LARGEST, LARGEST + 1, 3 * LARGEST + 7], [1, 0, 2000]])
    for thin, noise in ((0.3, 0.0), (0.0, 0.2), (0.3, 0.2)):
        changed = change_counts(_batch(counts), thin=thin, noise=noise, draw=Draw(5, 5))
        expected = _slow_change(counts, thin=thin, noise=noise, draw=Draw(5, 5))
        np.testing.assert_array_equal(dense_counts(changed).numpy(), expected)


@pytest.mark.parametrize(("n", "thin"), [(1, 0.5), (5, 0.2), (400, 0.5)])
def test_thinned_counts_are_binomial(n, thin):
    drawn = _drawn(n, thin=thin, noise=0.0)
    _assert_fits(drawn, stats.binom(n, 1 - thin))


@pytest.mark.parametrize(("n", "noise"), [(1, 0.2), (5, 0.5), (400, 0.1)])
def test_noise_is_negative_binomial(n, noise):
    added = _drawn(n, thin=0.0, noise=noise) - n
    _assert_fits(added, stats.nbinom(n, 1 / (1 + noise)))
    assert added.mean() == pytest.approx(noise * n, rel=0.05)
    assert added.var() == pytest.approx(n * noise * (1 + noise), rel=0.05)


def _drawn(n, *, thin, noise):
    batch = _batch(np.full((200, 100), n))
    return dense_counts(change_counts(batch, thin=thin, noise=noise, draw=Draw(3, 7))).numpy().ravel().astype(int)


def _assert_fits(drawn, distribution):
    """Chi-squared over the values that are common enough."""
    values = np.arange(drawn.max() + 2)
    expected = distribution.pmf(values) * len(drawn)
    common = expected > 20
    observed = np.bincount(drawn, minlength=len(values))[: len(values)]
    difference = ((observed - expected)[common] ** 2 / expected[common]).sum()
    assert stats.chi2.sf(difference, common.sum() - 1) > 1e-3


@given(seed=st.integers(0, 10**6), mask=st.floats(0.05, 0.95), thin=st.floats(0.05, 0.95), noise=st.floats(0.05, 1.0))
@settings(max_examples=20)
def test_rates_are_the_share_changed(seed, mask, thin, noise):
    counts = _counts(50, 200, seed=seed)
    draw, total = Draw(seed, 0), counts.sum()

    def share(value, expected, variance):
        # Eight standard deviations: false alarms do not happen, another meaning of the rate does not pass.
        assert abs(value - expected) < 8 * variance**0.5

    hidden = _view(_batch(counts), Augmentation(mask=mask, thin=0.0), draw=draw).hidden
    share(hidden.float().mean(), mask, mask * (1 - mask) / counts.size + 1e-9)
    thinned = dense_counts(change_counts(_batch(counts), thin=thin, noise=0.0, draw=draw)).sum()
    share(1 - thinned / total, thin, thin * (1 - thin) / total)
    noisy = dense_counts(change_counts(_batch(counts), thin=0.0, noise=noise, draw=draw)).sum()
    share(noisy / total - 1, noise, noise * (1 + noise) / total)


def test_mixing_takes_the_share_asked_for_from_the_partner():
    counts = _counts(60, 500)
    batch, rates = _batch(counts), Augmentation(mask=0.0, thin=0.0, mix=0.3)
    x, mixed = log_normalise(batch), _view(batch, rates).x
    partner = partners(batch.cell, draw=view_draw(Draw(0, 0), 0, "partner"))
    assert (partner != torch.arange(60)).all()
    assert ((mixed == x) | (mixed == x[partner])).all()
    differ = x != x[partner]
    assert ((mixed != x) & differ).sum() / differ.sum() == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("view", [0, 1])
def test_rates_of_zero_change_nothing(view):
    batch = _batch(_counts())
    same = _view(batch, NOTHING, view=view)
    assert torch.equal(same.x, log_normalise(batch))
    assert same.hidden is None
    assert change_counts(batch, thin=0.0, noise=0.0, draw=Draw(0, 0)) is batch


@pytest.mark.parametrize("rate", ["mask", "thin", "noise", "mix"])
def test_each_rate_alone_makes_views_differ(rate):
    batch = _batch(_counts())
    rates = Augmentation(**{"mask": 0.0, "thin": 0.0, rate: 0.3})

    def flat(view, draw=None):
        made = _view(batch, rates, view=view, draw=draw)
        return made.x if made.hidden is None else torch.where(made.hidden, -1.0, made.x)

    views = [flat(0), flat(1), flat(0, Draw(0, 1)), flat(0, Draw(1, 0))]
    assert all(not torch.equal(a, b) for i, a in enumerate(views) for b in views[:i])
    assert torch.equal(flat(0), views[0])


@given(order=st.permutations(range(10)), split=st.integers(1, 9), epoch=st.integers(0, 9), view=st.integers(0, 1))
@settings(max_examples=20)
def test_views_do_not_depend_on_order_or_batch(order, split, epoch, view):
    counts, rates, draw = _counts(10), Augmentation(mask=0.3, thin=0.4, noise=0.2), Draw(4, epoch)
    together = _view(_batch(counts), rates, draw=draw, view=view)
    parts = [_view(_take(counts, rows), rates, draw=draw, view=view) for rows in (order[:split], order[split:])]
    assert torch.equal(torch.cat([part.x for part in parts]), together.x[order])
    assert torch.equal(torch.cat([part.hidden for part in parts]), together.hidden[order])


@given(order=st.permutations(range(10)))
@settings(max_examples=20)
def test_mixing_depends_on_the_cells_of_the_batch_but_not_on_their_order(order):
    counts = _counts(10)
    together = _view(_batch(counts), ALL)
    shuffled = _view(_take(counts, order), ALL)
    assert torch.equal(shuffled.x, together.x[order])
    # The documented exception: with other cells beside it, a cell has another partner.
    fewer = _view(_take(counts, list(range(5))), ALL)
    assert not torch.equal(fewer.x, together.x[:5])


@pytest.mark.parametrize("n_cells", [1, 2, 3, 50])
def test_partners_are_a_cycle_through_all_cells(n_cells):
    partner = partners(torch.arange(n_cells) * 7, draw=Draw(0, 0))
    row, seen = 0, []
    for _ in range(n_cells):
        row = int(partner[row])
        seen.append(row)
    assert sorted(seen) == list(range(n_cells))


def test_unmeasured_genes_stay_so_and_nothing_is_taken_from_them():
    counts = _counts(8, 30) + 1
    measured = np.ones((2, 30), dtype=bool)
    measured[0, :10] = measured[1, 20:] = False
    source = np.arange(8) % 2
    counts[~measured[source]] = 0
    batch = CellBatch(
        **{
            **{name: getattr(_batch(counts), name) for name in CellBatch.__slots__},
            "measured": torch.from_numpy(measured),
            "measured_row": torch.from_numpy(source),
            "measured_share": torch.ones(2),
        }
    )
    for view in (0, 1):
        made = _view(batch, ALL, view=view)
        np.testing.assert_array_equal(unmeasured_genes(made.batch).numpy(), ~measured[source])
        assert (made.x[unmeasured_genes(made.batch)] == 0).all()
    # Each gene has counts wherever it was measured, so an untaken zero would show.
    mixed = _view(batch, Augmentation(mask=0.0, thin=0.0, mix=0.9)).x
    assert (mixed[torch.from_numpy(measured[source])] > 0).all()


def test_the_size_factor_is_the_new_total():
    batch = _batch(_counts(scale=20.0))
    changed = change_counts(batch, thin=0.5, noise=0.1, draw=Draw(0, 0))
    np.testing.assert_array_equal(changed.size_factor, dense_counts(changed).sum(dim=1))
    # So values keep their level: the counts are halved, the normalised expression is not.
    view = _view(batch, Augmentation(mask=0.0, thin=0.5))
    assert torch.expm1(view.x).sum(dim=1).numpy() == pytest.approx(1e4, rel=1e-4)


def test_changed_batches_are_batches():
    batch = _batch(_counts(20, 50))
    changed = change_counts(batch, thin=0.7, noise=0.1, draw=Draw(0, 0))
    assert (changed.values > 0).all()
    assert changed.values.dtype == batch.values.dtype
    assert changed.indptr[0] == 0
    assert changed.indptr[-1] == len(changed.values) == len(changed.indices)
    assert changed.n_cells == batch.n_cells
    for c in range(changed.n_cells):
        assert (changed.indices[changed.indptr[c] : changed.indptr[c + 1]].diff() > 0).all()


def test_empty_cells_and_batches_pass():
    counts = _counts(3, 6)
    counts[1] = 0
    assert (_view(_batch(counts), Augmentation(noise=0.2), view=1).x[1] == 0).all()
    empty = _view(_batch(np.zeros((2, 6), dtype=int)), ALL)
    assert (empty.x == 0).all()


def test_views_hide_other_genes_than_the_masked_task():
    batch = _batch(_counts(10, 1000))
    rates = Augmentation(mask=0.5, thin=0.0)
    masks = [_view(batch, rates, view=view).hidden for view in (0, 1)]
    masks.append(random_mask(batch.cell, 1000, rate=0.5, draw=Draw(0, 0)))
    for i, one in enumerate(masks):
        for other in masks[:i]:
            assert (one == other).float().mean() == pytest.approx(0.5, abs=0.03)


def test_thinning_and_noise_of_one_count_are_independent():
    counts = np.full((100, 200), 20)
    thinned = _slow_free(counts, thin=0.5, noise=0.0)
    both = _slow_free(counts, thin=0.5, noise=1.0)
    added = both - thinned
    # Given the counts that are left, what is added has their mean, whatever the thinning drew.
    slope = np.polyfit(thinned.ravel(), added.ravel(), 1)[0]
    assert slope == pytest.approx(1.0, abs=0.06)


def _slow_free(counts, *, thin, noise):
    return dense_counts(change_counts(_batch(counts), thin=thin, noise=noise, draw=Draw(0, 0))).numpy()


@pytest.mark.parametrize(
    ("name", "value"), [("mask", 1.0), ("mask", -0.1), ("thin", 1.0), ("noise", 1.5), ("mix", 1.0)]
)
def test_impossible_rates_are_refused(name, value):
    with pytest.raises(SettingsError, match=rf"task\.{name} is {value}"):
        Augmentation(**{name: value})


def test_the_callers_generator_is_not_touched():
    before = torch.get_rng_state()
    _view(_batch(_counts()), ALL)
    assert torch.equal(before, torch.get_rng_state())
