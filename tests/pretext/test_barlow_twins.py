import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scssl.pretext.barlow_twins import barlow_twins_loss


def _slow(first, second, redundancy):
    width = first.shape[1]
    loss = 0.0
    for i in range(width):
        for j in range(width):
            a, b = first[:, i] - first[:, i].mean(), second[:, j] - second[:, j].mean()
            c = (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())
            loss += (1 - c) ** 2 if i == j else redundancy * c**2
    return loss / width


def _views(seed=0, n_cells=12, width=4):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(2, n_cells, width)))


@given(seed=st.integers(0, 10**6), n_cells=st.integers(3, 12), width=st.integers(1, 5), redundancy=st.floats(0.0, 2.0))
def test_the_loss_equals_a_loop_over_dimensions(seed, n_cells, width, redundancy):
    first, second = _views(seed, n_cells, width)
    losses = barlow_twins_loss(first, second, redundancy=redundancy)
    assert float(losses["loss"]) == pytest.approx(_slow(first.numpy(), second.numpy(), redundancy))


def test_the_parts_are_means_of_the_correlations():
    first, second = _views()
    losses = barlow_twins_loss(first, second, redundancy=0.1)
    matrix = np.corrcoef(first.T, second.T)[:4, 4:]
    assert float(losses["agreement"]) == pytest.approx(np.diag(matrix).mean())
    assert float(losses["redundancy"]) == pytest.approx((matrix**2)[~np.eye(4, dtype=bool)].mean())


@given(seed=st.integers(0, 10**6), source=st.lists(st.integers(-1, 2), min_size=12, max_size=12))
def test_within_sources_it_is_the_loss_of_the_distances_from_their_means(seed, source):
    views = _views(seed).numpy()
    apart = views.copy()
    for code in set(source):
        rows = np.array(source) == code
        for view in apart:
            view[rows] -= view[rows].mean(axis=0)
    first, second = torch.from_numpy(views)
    loss = barlow_twins_loss(first, second, redundancy=0.5, source=torch.tensor(source))["loss"]
    expected = barlow_twins_loss(*torch.from_numpy(apart), redundancy=0.5)["loss"]
    torch.testing.assert_close(loss, expected)


@given(seed=st.integers(0, 10**6))
def test_scale_and_shift_of_each_dimension_do_not_matter(seed):
    first, second = _views(seed)
    rng = np.random.default_rng(seed)
    scale, shift = torch.from_numpy(rng.uniform(0.01, 100, 4)), torch.from_numpy(rng.normal(0, 10, 4))
    one = barlow_twins_loss(first, second, redundancy=0.5)["loss"]
    other = barlow_twins_loss(first * scale + shift, second / scale - shift, redundancy=0.5)["loss"]
    torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


def test_a_change_of_sign_matters_as_dimensions_are_to_agree():
    first, second = _views(0)
    one, other = (barlow_twins_loss(view, second, redundancy=0.5)["loss"] for view in (first, -first))
    assert not torch.isclose(one, other)


@given(seed=st.integers(0, 10**6), order=st.permutations(range(12)))
def test_order_of_cells_and_of_views_does_not_matter(seed, order):
    first, second = _views(seed)
    one = barlow_twins_loss(first, second, redundancy=0.5)["loss"]
    torch.testing.assert_close(one, barlow_twins_loss(first[order], second[order], redundancy=0.5)["loss"])
    torch.testing.assert_close(one, barlow_twins_loss(second, first, redundancy=0.5)["loss"])
    # Which cell belongs to which does matter.
    assert not torch.isclose(one, barlow_twins_loss(first.roll(1, 0), second, redundancy=0.5)["loss"])


def test_the_loss_is_zero_for_equal_views_with_uncorrelated_dimensions():
    view = torch.linalg.qr(_views(n_cells=20)[0] - _views(n_cells=20)[0].mean(0))[0]
    losses = barlow_twins_loss(view, 3 * view + 1, redundancy=1.0)
    assert float(losses["loss"]) == pytest.approx(0, abs=1e-12)
    assert float(losses["agreement"]) == pytest.approx(1)


def test_a_dimension_that_does_not_vary_counts_as_uncorrelated():
    view = _views()[0].clone()
    view[:, 0] = 3.0
    view.requires_grad_()
    losses = barlow_twins_loss(view, view, redundancy=0.0)
    losses["loss"].backward()
    assert losses["loss"].item() == pytest.approx(1 / 4)
    assert torch.isfinite(view.grad).all()
