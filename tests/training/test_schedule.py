import pytest
import torch

from scssl.training.schedule import one_cycle


@pytest.mark.parametrize("n_steps", [*range(1, 32), 100])
def test_every_length_rises_to_each_groups_rate_and_falls(n_steps):
    """Also where a tenth of the steps is a single one, which torch divides by zero."""
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (1e-2, 1e-3)]
    optimiser = torch.optim.SGD(groups)
    schedule = one_cycle(optimiser, n_steps=n_steps)
    seen = []
    for _ in range(max(2, n_steps)):
        seen.append([group["lr"] for group in optimiser.param_groups])
        optimiser.step()
        if len(seen) < max(2, n_steps):
            schedule.step()
    rates = torch.tensor(seen)
    torch.testing.assert_close(rates[:, 0], 10 * rates[:, 1])
    assert rates[-1, 0] < 1e-4
    if n_steps >= 10:
        assert rates[:, 0].max() > 0.9e-2
        assert rates[:, 0].argmax() <= max(1, n_steps // 5)
