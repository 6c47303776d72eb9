"""What must hold for every registered pretext task (DESIGN, section 4)."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from scssl.corpus.batch import CellBatch
from scssl.nn import Architecture
from scssl.pretext import Draw, get_task, list_tasks
from scssl.training import Config, build_task

N_GENES = 60
TASKS = [record.name for record in list_tasks()]
HIDING = [record.name for record in list_tasks() if record.hides_genes]
ARCHITECTURE = Architecture(hidden=(32, 16), n_latent=8, dropout=0.0, source_dropout=0.0)


def _batch(seed=0, n_cells=24, unmeasured=()):
    rng = np.random.default_rng(seed)
    counts = rng.negative_binomial(1, 0.2, (n_cells, N_GENES))
    measured = np.ones(N_GENES, dtype=bool)
    measured[list(unmeasured)] = False
    counts[:, ~measured] = 0
    batch = CellBatch.from_csr(sp.csr_matrix(counts), measured=measured)
    return replace(batch, source=torch.arange(n_cells) % 3)


def _task(name):
    return build_task(Config(pretext=name, architecture=ARCHITECTURE), n_genes=N_GENES, n_sources=3)


@pytest.mark.parametrize("name", TASKS)
def test_loss_falls_on_a_tiny_batch(name):
    task, batch = _task(name), _batch()
    optimiser = torch.optim.Adam(task.parameters(), lr=3e-3)
    first = float(task.losses(batch, draw=Draw(0, 0))["loss"].detach())
    for _ in range(150):
        loss = task.losses(batch, draw=Draw(0, 0))["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.6 * first


@pytest.mark.parametrize("name", TASKS)
def test_every_encoder_layer_gets_gradient(name):
    task = _task(name)
    task.losses(_batch(unmeasured=range(5)), draw=Draw(0, 0))["loss"].backward()
    for parameter_name, parameter in task.encoder.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", HIDING)
def test_a_hidden_genes_value_cannot_reach_the_code(name):
    task, batch = _task(name).eval(), _batch()
    hidden = task.hidden(batch, draw=Draw(0, 0))
    x = task.encoder.normalise(batch)
    changed = torch.where(hidden, torch.rand_like(x) * 9, x)
    assert not torch.equal(x, changed)
    torch.testing.assert_close(task.encoder(x, hidden=hidden), task.encoder(changed, hidden=hidden), rtol=0, atol=0)
    # The test can fail: visible genes do reach it.
    visible = torch.where(hidden, x, x + 1)
    assert not torch.allclose(task.encoder(x, hidden=hidden), task.encoder(visible, hidden=hidden))


@pytest.mark.parametrize("name", HIDING)
def test_only_hidden_measured_genes_enter_the_loss(name):
    task, batch = _task(name).eval(), _batch(unmeasured=range(10))
    seen = {}
    task.decoder.register_forward_hook(lambda _module, _args, out: (out.retain_grad(), seen.update(out=out))[0])
    losses = task.losses(batch, draw=Draw(0, 0))
    losses["loss"].backward()
    counted = seen["out"].grad != 0
    hidden = task.hidden(batch, draw=Draw(0, 0))
    assert not counted[:, :10].any()
    assert not counted[~hidden].any()
    assert counted[:, 10:][hidden[:, 10:]].float().mean() > 0.99
    assert float(losses["hidden"]) == pytest.approx(float(hidden[:, 10:].float().mean()))


@pytest.mark.parametrize("name", TASKS)
def test_the_same_seed_gives_the_same_loss(name):
    batch = _batch()
    first, again = (_task(name).losses(batch, draw=Draw(1, 2))["loss"] for _ in range(2))
    assert torch.equal(first, again)
    other = _task(name).losses(batch, draw=Draw(1, 3))["loss"]
    assert not torch.equal(first, other)


def test_masked_loss_equals_a_loop_over_hidden_genes():
    task, batch = _task("masked").eval(), _batch(unmeasured=range(7))
    hidden = task.hidden(batch, draw=Draw(0, 0))
    x = task.encoder.normalise(batch)
    unmeasured = torch.zeros_like(hidden)
    unmeasured[:, :7] = True
    predicted = task.decoder(task.encoder(x, hidden=hidden, unmeasured=unmeasured), batch.source)
    errors = [
        float((predicted[c, g] - x[c, g]).detach() ** 2)
        for c in range(batch.n_cells)
        for g in range(N_GENES)
        if hidden[c, g] and g >= 7
    ]
    assert task.losses(batch, draw=Draw(0, 0))["loss"].item() == pytest.approx(np.mean(errors), rel=1e-5)


def test_the_scale_of_the_loss_does_not_depend_on_the_rate():
    # With a decoder that always says 0, the loss is the mean square of the targets, whatever share is hidden.
    losses = []
    for rate in (0.1, 0.9):
        config = Config(architecture=ARCHITECTURE, task={"rate": rate})
        task = build_task(config, n_genes=N_GENES, n_sources=3)
        torch.nn.init.zeros_(task.decoder.output.weight)
        torch.nn.init.zeros_(task.decoder.output.bias)
        losses.append(task.losses(_batch(n_cells=500), draw=Draw(0, 0))["loss"].item())
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_an_unknown_task_lists_those_that_exist():
    with pytest.raises(Exception, match=r"choose one of: .*masked"):
        get_task("maskd")
