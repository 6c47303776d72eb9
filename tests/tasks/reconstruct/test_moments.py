import numpy as np
import pytest
import torch
from scipy import stats

from scssl.tasks.reconstruct.moments import count_moments, log_moments


def by_sum(mean, theta, zero, scale):
    """Mean and variance of counts and of log1p(scale * count), by summing over all counts that matter."""
    k = np.arange(60_000)
    p = stats.poisson.pmf(k, mean) if theta is None else stats.nbinom.pmf(k, theta, theta / (theta + mean))
    p = p * (1 - zero)
    p[0] += zero
    out = []
    for values in (k, np.log1p(scale * k)):
        centre = (p * values).sum()
        out += [centre, (p * values**2).sum() - centre**2]
    return out


@pytest.mark.parametrize("theta", [None, 0.1, 1.0, 20.0])
@pytest.mark.parametrize("zero", [0.0, 0.3])
@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_moments_against_the_sum_over_all_counts(theta, zero, scale):
    means = [1e-4, 0.5, 12.0, 300.0]
    mean = torch.tensor([means], dtype=torch.float32)
    given = {
        "theta": None if theta is None else torch.full((len(means),), theta),
        "zero": torch.full_like(mean, zero) if zero else None,
    }
    expected, variance = count_moments(mean, **given)
    log, log_variance = log_moments(mean, **given, scale=torch.tensor([[scale]]))
    for j, value in enumerate(means):
        truth = by_sum(value, theta, zero, scale)
        assert float(expected[0, j]) == pytest.approx(truth[0], rel=1e-3)
        assert float(variance[0, j]) == pytest.approx(truth[1], rel=2e-3)
        # Where most of a distribution lies beyond what is summed, its tail is no log-normal.
        close = value <= 12
        assert float(log[0, j]) == pytest.approx(truth[2], rel=0.015 if close else 0.12, abs=2e-4)
        assert float(log_variance[0, j]) ** 0.5 == pytest.approx(truth[3] ** 0.5, rel=0.015 if close else 0.25)


def test_nothing_expected_is_nothing_measured():
    mean = torch.zeros(1, 2)
    for found in (*count_moments(mean, theta=None, zero=None), *log_moments(mean, theta=None, zero=None, scale=mean)):
        assert torch.equal(found, torch.zeros(1, 2))
