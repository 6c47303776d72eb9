import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scssl.errors import SettingsError
from scssl.pretext.vicreg import VicregSettings, vicreg_loss

WEIGHTS = (25.0, 25.0, 1.0)


def _slow(first, second):
    n_cells, width = first.shape
    invariance = sum((first[c, i] - second[c, i]) ** 2 for c in range(n_cells) for i in range(width)) / first.size
    variance = covariance = 0.0
    for view in (first, second):
        for i in range(width):
            mean = view[:, i].mean()
            std = np.sqrt(((view[:, i] - mean) ** 2).sum() / (n_cells - 1) + 1e-4)
            variance += max(0.0, 1 - std) / width / 2
            for j in range(width):
                if i != j:
                    entry = ((view[:, i] - mean) * (view[:, j] - view[:, j].mean())).sum() / (n_cells - 1)
                    covariance += entry**2 / width
    return invariance, variance, covariance


def _views(seed=0, n_cells=12, width=4, scale=0.8):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, scale, size=(2, n_cells, width)))


@given(seed=st.integers(0, 10**6), n_cells=st.integers(2, 10), width=st.integers(1, 5), scale=st.floats(0.1, 3.0))
def test_the_loss_equals_a_loop_over_cells_and_dimensions(seed, n_cells, width, scale):
    first, second = _views(seed, n_cells, width, scale)
    losses = vicreg_loss(first, second, weights=(3.0, 2.0, 0.5))
    parts = _slow(first.numpy(), second.numpy())
    found = [float(losses[name]) for name in ("invariance", "variance", "covariance")]
    assert found == pytest.approx(parts, abs=1e-9)
    assert float(losses["loss"]) == pytest.approx(np.dot((3.0, 2.0, 0.5), parts))


def test_within_sources_spread_is_pooled_over_them():
    first, second = _views(n_cells=9)
    source = torch.tensor([0, 0, 0, 0, 2, 2, 2, -1, -1])
    parts = vicreg_loss(first, second, weights=WEIGHTS, source=source)
    variance = covariance = 0.0
    for view in (first.numpy(), second.numpy()):
        scatter = np.zeros((4, 4))
        for code in (0, 2, -1):
            rows = view[source.numpy() == code]
            scatter += np.cov(rows.T, bias=True) * len(rows)
        # Nine cells less three means.
        pooled = scatter / 6
        variance += np.maximum(0, 1 - np.sqrt(np.diag(pooled) + 1e-4)).mean() / 2
        covariance += (pooled**2)[~np.eye(4, dtype=bool)].sum() / 4
    assert float(parts["variance"]) == pytest.approx(variance)
    assert float(parts["covariance"]) == pytest.approx(covariance)
    assert float(parts["invariance"]) == pytest.approx(_slow(first.numpy(), second.numpy())[0])


@given(seed=st.integers(0, 10**6), order=st.permutations(range(12)))
def test_order_of_cells_and_of_views_does_not_matter(seed, order):
    first, second = _views(seed)
    one = vicreg_loss(first, second, weights=WEIGHTS)["loss"]
    torch.testing.assert_close(one, vicreg_loss(first[order], second[order], weights=WEIGHTS)["loss"])
    torch.testing.assert_close(one, vicreg_loss(second, first, weights=WEIGHTS)["loss"])
    assert not torch.isclose(one, vicreg_loss(first.roll(1, 0), second, weights=WEIGHTS)["loss"])


def test_a_common_shift_does_not_matter_and_one_of_a_view_does():
    first, second = _views()
    one = vicreg_loss(first, second, weights=WEIGHTS)["loss"]
    torch.testing.assert_close(one, vicreg_loss(first + 5, second + 5, weights=WEIGHTS)["loss"])
    assert vicreg_loss(first + 5, second, weights=WEIGHTS)["loss"] > one + 25


def test_collapse_costs_the_variance_weight():
    view = torch.ones(8, 3)
    losses = vicreg_loss(view, view, weights=WEIGHTS)
    assert losses["loss"].item() == pytest.approx(25 * (1 - 1e-4**0.5), rel=1e-5)
    # Varied enough, equal in both views and uncorrelated: nothing is lost.
    view = 20 * torch.linalg.qr(_views(n_cells=20)[0] - _views(n_cells=20)[0].mean(0))[0]
    assert vicreg_loss(view, view, weights=WEIGHTS)["loss"].item() == pytest.approx(0, abs=1e-9)


def test_negative_weights_are_refused():
    with pytest.raises(SettingsError, match=r"task\.variance is -1"):
        VicregSettings(variance=-1.0)
