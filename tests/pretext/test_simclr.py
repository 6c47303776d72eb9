import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scssl.errors import SettingsError
from scssl.pretext.simclr import SimclrSettings, simclr_loss


def _slow(first, second, temperature):
    views = [row / np.linalg.norm(row) for row in (*first, *second)]
    n_cells, total = len(first), 0.0
    for i, view in enumerate(views):
        other = views[(i + n_cells) % (2 * n_cells)]
        rest = sum(math.exp(view @ each / temperature) for k, each in enumerate(views) if k != i)
        total -= math.log(math.exp(view @ other / temperature) / rest)
    return total / len(views)


def _views(seed=0, n_cells=7, width=4):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(2, n_cells, width)))


@given(seed=st.integers(0, 10**6), n_cells=st.integers(1, 8), width=st.integers(1, 5), temperature=st.floats(0.05, 5.0))
def test_the_loss_equals_a_loop_over_views(seed, n_cells, width, temperature):
    first, second = _views(seed, n_cells, width)
    loss = simclr_loss(first, second, temperature=temperature)["loss"]
    assert float(loss) == pytest.approx(_slow(first.numpy(), second.numpy(), temperature), rel=1e-6, abs=1e-9)


@given(seed=st.integers(0, 10**6), source=st.lists(st.integers(-1, 2), min_size=7, max_size=7))
def test_within_sources_it_is_the_mean_over_sources_of_views(seed, source):
    first, second = _views(seed)
    codes = np.array(source)
    loss = simclr_loss(first, second, temperature=0.3, source=torch.tensor(source))["loss"]
    losses = [_slow(first[codes == code].numpy(), second[codes == code].numpy(), 0.3) for code in source]
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-6, abs=1e-9)


def test_the_positive_is_the_other_view_of_the_same_cell():
    # Three cells on three axes, each seen twice at the same place: 1 to the positive, 0 to the four others.
    view = torch.eye(3)
    losses = simclr_loss(view, view, temperature=1.0)
    assert losses["loss"].item() == pytest.approx(-math.log(math.e / (math.e + 4)))
    assert losses["found"] == 1
    # The second views given to the wrong cells: 0 to the positive, 1 to one other.
    wrong = simclr_loss(view, view.roll(1, 0), temperature=1.0)
    assert wrong["loss"].item() == pytest.approx(-math.log(1 / (math.e + 4)))
    assert wrong["found"] == 0


def test_views_that_say_nothing_cost_the_logarithm_of_their_number():
    view = torch.ones(8, 3)
    assert simclr_loss(view, view, temperature=0.1)["loss"].item() == pytest.approx(math.log(15), rel=1e-6)


@given(seed=st.integers(0, 10**6), order=st.permutations(range(7)))
def test_order_of_cells_and_of_views_does_not_matter(seed, order):
    first, second = _views(seed)
    one = simclr_loss(first, second, temperature=0.3)["loss"]
    torch.testing.assert_close(one, simclr_loss(first[order], second[order], temperature=0.3)["loss"])
    torch.testing.assert_close(one, simclr_loss(second, first, temperature=0.3)["loss"])
    torch.testing.assert_close(one, simclr_loss(5 * first, second / 3, temperature=0.3)["loss"])
    assert not torch.isclose(one, simclr_loss(first.roll(1, 0), second, temperature=0.3)["loss"])


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(SettingsError, match=r"task\.temperature is 0"):
        SimclrSettings(temperature=0.0)
