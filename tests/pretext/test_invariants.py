"""What must hold for every registered pretext task (DESIGN, section 4)."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from scssl.corpus.batch import CellBatch
from scssl.genes.programmes import Programmes
from scssl.nn import Architecture
from scssl.pretext import Draw, get_task
from scssl.training import Config, build_task
from tests.shipped import shipped_tasks

N_GENES = 60
RECORDS = {record.name: record for record in shipped_tasks()}
# Further settings of a task that must hold the same.
VARIANTS = {
    "masked programme": {"masking": "programme", "rate": 0.4},
    "masked programme_to_programme": {"masking": "programme_to_programme"},
    "masked programme_to_tf": {"masking": "programme_to_tf"},
    "masked groups": {"group_size": 8},
    "masked nb": {"loss": "nb"},
    "masked zinb": {"loss": "zinb", "balance_zeros": True},
    "masked poisson": {"loss": "poisson"},
    "masked bce": {"loss": "bce"},
    "combined byol": {"two_view": "byol", "weight": 1.0},
    "combined simclr": {"two_view": "simclr", "loss": "nb"},
}
TASKS = [*RECORDS, *VARIANTS]
HIDING = [name for name in TASKS if RECORDS[name.split()[0]].hides_genes]
ARCHITECTURE = Architecture(hidden=(32, 16), n_latent=8, dropout=0.0, source_dropout=0.0)


def _batch(seed=0, n_cells=24, unmeasured=()):
    rng = np.random.default_rng(seed)
    counts = rng.negative_binomial(1, 0.2, (n_cells, N_GENES))
    measured = np.ones(N_GENES, dtype=bool)
    measured[list(unmeasured)] = False
    counts[:, ~measured] = 0
    batch = CellBatch.from_csr(sp.csr_matrix(counts), measured=measured)
    return replace(batch, source=torch.arange(n_cells) % 3)


def _programmes():
    rng = np.random.default_rng(5)
    members, regulators = rng.random((9, N_GENES)) < 0.15, rng.random((9, N_GENES)) < 0.06
    members[:, 50:] = members[:, :10] = False
    return Programmes(names=[f"p{i}" for i in range(9)], members=members, regulators=regulators, descriptions=[""] * 9)


def _task(name, **settings):
    pretext, task = name.split()[0], {**VARIANTS.get(name, {}), **settings}
    config = Config(pretext=pretext, architecture=ARCHITECTURE, task=task)
    return build_task(config, n_genes=N_GENES, n_sources=3, programmes=_programmes())


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
    hidden, _ = task.hide(batch, draw=Draw(0, 0)).cells(batch)
    x = task.encoder.normalise(batch)
    changed = torch.where(hidden, torch.rand_like(x) * 9, x)
    assert not torch.equal(x, changed)
    torch.testing.assert_close(task.encoder(x, hidden=hidden), task.encoder(changed, hidden=hidden), rtol=0, atol=0)
    # The test can fail: visible genes do reach it.
    visible = torch.where(hidden, x, x + 1)
    assert not torch.allclose(task.encoder(x, hidden=hidden), task.encoder(visible, hidden=hidden))


@pytest.mark.parametrize("name", HIDING)
def test_only_hidden_measured_genes_enter_the_loss(name, monkeypatch):
    task, batch = _task(name).eval(), _batch(unmeasured=range(10))
    if task.settings.group_size > 1:
        pytest.skip("the decoder computes some genes only; see the test of grouped masks")
    fast, seen = task.losses(batch, draw=Draw(0, 0))["loss"], {}
    # By the plain modules, whose outputs can be looked at.
    monkeypatch.setattr("scssl.nn.fused.usable", lambda _: False)
    task.decoder.output.register_forward_hook(lambda _module, _args, out: (out.retain_grad(), seen.update(out=out))[0])
    losses = task.losses(batch, draw=Draw(0, 0))
    torch.testing.assert_close(losses["loss"], fast)
    losses["loss"].backward()
    counted = seen["out"].grad != 0
    hidden, target = task.hide(batch, draw=Draw(0, 0)).cells(batch)
    assert not counted[:, :10].any()
    assert not (target & ~hidden).any()
    assert not target[:, :10].any()
    assert target.any()
    assert not counted[~target].any()
    assert counted[target].float().mean() > 0.99
    assert float(losses["hidden"]) == pytest.approx(float(hidden[:, 10:].float().mean()))
    assert float(losses["asked"]) == pytest.approx(float(target[:, 10:].float().mean()))


@pytest.mark.parametrize("name", TASKS)
def test_the_same_seed_gives_the_same_loss(name):
    batch = _batch()
    first, again = (_task(name).losses(batch, draw=Draw(1, 2))["loss"] for _ in range(2))
    assert torch.equal(first, again)
    other = _task(name).losses(batch, draw=Draw(1, 3))["loss"]
    assert torch.equal(first, other) == (not RECORDS[name.split()[0]].draws)


def test_masked_loss_equals_a_loop_over_hidden_genes():
    task, batch = _task("masked").eval(), _batch(unmeasured=range(7))
    hidden, _ = task.hide(batch, draw=Draw(0, 0)).cells(batch)
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


def test_grouped_masks_give_the_loss_of_the_full_decoder():
    """Computing hidden genes only changes nothing but the work."""
    for loss in ("mse", "nb", "zinb", "bce"):
        task, batch = _task("masked groups", loss=loss, balance_zeros=loss == "mse").eval(), _batch(unmeasured=range(7))
        hiding = task.hide(batch, draw=Draw(0, 0))
        hidden, target = hiding.cells(batch)
        assert torch.equal(hidden[0], hidden[7])
        assert not torch.equal(hidden[7], hidden[8])
        x = task.encoder.normalise(batch)
        unmeasured = torch.zeros_like(hidden)
        unmeasured[:, :7] = True
        code = task.encoder(x, hidden=hidden, unmeasured=unmeasured)
        whole = task.reconstruction(task.decoder, code, batch=batch, masks=target)
        torch.testing.assert_close(task.losses(batch, draw=Draw(0, 0))["loss"], whole)


def test_zeros_and_other_values_may_weigh_the_same():
    task, batch = _task("masked", balance_zeros=True).eval(), _batch()
    _, target = task.hide(batch, draw=Draw(0, 0)).cells(batch)
    x = task.encoder.normalise(batch)
    code = torch.zeros(batch.n_cells, 8)
    loss = task.reconstruction(task.decoder, code, batch=batch, masks=target)
    squared = (task.decoder(code, batch.source) - x).square()
    zero, seen = squared[target & (x == 0)].mean(), squared[target & (x > 0)].mean()
    torch.testing.assert_close(loss, (zero + seen) / 2)
