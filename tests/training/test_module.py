import pytest

from scssl.nn import Architecture
from scssl.training import Config, Optimiser, Training, build_task
from scssl.training.module import PretrainModule


@pytest.mark.parametrize("n_steps", [1, 2, 3, 5, 9, 10, 11, 20, 200])
def test_the_learning_rate_rises_and_falls_in_any_number_of_steps(n_steps):
    """Ten steps were divided by zero: the rise ended with the first."""
    config = Config(architecture=Architecture(hidden=(4,), n_latent=2), optimiser=Optimiser(learning_rate=0.1),
                    training=Training(epochs=1))  # fmt: skip
    module = PretrainModule(build_task(config, n_genes=6, n_sources=1), config, steps_per_epoch=n_steps)
    parts = module.configure_optimizers()
    optimiser, schedule = parts["optimizer"], parts["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(n_steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert min(rates) > 0
    assert max(rates) <= 0.1
    if n_steps >= 10:
        assert max(rates) > 0.09
        assert rates.index(max(rates)) < 0.2 * n_steps
        assert rates[-1] < 0.01 * 0.1 + 0.05 * 0.1
