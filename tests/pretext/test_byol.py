from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st

from scssl.corpus.batch import CellBatch
from scssl.nn import Architecture
from scssl.pretext import Draw
from scssl.pretext.augment import View
from scssl.pretext.byol import byol_loss
from scssl.pretext.projector import cosine_momentum
from scssl.training import Config, build_task

N_GENES = 40


def _slow(prediction, target):
    total = 0.0
    for q, z in zip(prediction, target, strict=True):
        total += ((q / np.linalg.norm(q) - z / np.linalg.norm(z)) ** 2).sum()
    return total / len(prediction)


def _batch(n_cells=32):
    counts = np.random.default_rng(0).negative_binomial(1, 0.2, (n_cells, N_GENES))
    return CellBatch.from_csr(sp.csr_matrix(counts))


def _task(**settings):
    architecture = Architecture(hidden=(32, 16), n_latent=8, dropout=0.1)
    config = Config(pretext="byol", architecture=architecture, task={"projector": [16, 16], **settings})
    return build_task(config, n_genes=N_GENES, n_sources=1)


def _target(task):
    return [*task.target_encoder.parameters(), *task.target_projector.parameters()]


def _online(task):
    return [*task.encoder.parameters(), *task.projector.parameters()]


def _step(task, batch, optimiser, *, progress=0.1):
    optimiser.zero_grad()
    task.losses(batch, draw=Draw(0, 0))["loss"].backward()
    optimiser.step()
    task.after_step(progress=progress)


@given(seed=st.integers(0, 10**6), n_cells=st.integers(1, 6), width=st.integers(1, 5))
def test_the_loss_equals_a_loop_over_cells(seed, n_cells, width):
    rows = np.random.default_rng(seed).normal(size=(2, n_cells, width))
    loss = byol_loss(*torch.from_numpy(rows))
    assert float(loss) == pytest.approx(_slow(*rows), abs=1e-9)
    assert -1e-9 <= float(loss) <= 4 + 1e-9


def test_the_loss_sees_directions_only():
    rows = torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(byol_loss(3 * rows[0], rows[1] / 7), byol_loss(*rows))
    assert byol_loss(rows[0], 2 * rows[0]).item() == pytest.approx(0, abs=1e-6)
    assert byol_loss(rows[0], -rows[0]).item() == pytest.approx(4)


def test_the_loss_is_symmetric_in_the_views():
    task, batch = _task().eval(), _batch()
    first, second = task.views(batch, draw=Draw(0, 0))
    codes = task.encode(first), task.encode(second)
    one = task.view_losses((first, second), codes)["loss"]
    other = task.view_losses((second, first), codes[::-1])["loss"]
    torch.testing.assert_close(one, other)
    # By hand: each prediction against the target of the other view.
    aims = [task.target_projector(task.target_encoder.module.encode(v.batch, masks=v.hidden)) for v in (first, second)]
    aims = [aim - aim.mean(dim=0) for aim in aims]
    predictions = [task.predictor(task.projector(code)) for code in codes]
    slow = [_slow(predictions[i].detach().numpy(), aims[1 - i].numpy()) for i in (0, 1)]
    assert one.item() == pytest.approx(np.mean(slow), rel=1e-4)


def test_targets_are_distances_from_the_mean_of_their_source():
    task = _task().eval()
    task.target_encoder.module.encode, task.target_projector = (lambda _, *, x, **__: x), torch.nn.Identity()
    task.predictor = task.projector = torch.nn.Identity()
    rows = torch.randn(4, 10, 5, generator=torch.Generator().manual_seed(0))
    source = torch.arange(10) % 3
    batch = replace(_batch(10), source=source)
    views = [View(batch, None, x) for x in rows[:2]]
    aims = rows[:2].clone()
    for code in range(3):
        for aim in aims:
            aim[source == code] -= aim[source == code].mean(dim=0)
    expected = (byol_loss(rows[2], aims[1]) + byol_loss(rows[3], aims[0])) / 2
    torch.testing.assert_close(task.view_losses(views, tuple(rows[2:]))["loss"], expected)
    task.settings = replace(task.settings, within_source=False)
    expected = (byol_loss(rows[2], rows[1]) + byol_loss(rows[3], rows[0])) / 2
    torch.testing.assert_close(task.view_losses(views, tuple(rows[2:]))["loss"], expected)


def test_the_target_moves_after_every_step_as_a_moving_average():
    """In the paper's public code its update is never called."""
    task, batch = _task(momentum=0.9), _batch()
    optimiser = torch.optim.Adam(_online(task), lr=1e-2)
    for n, progress in enumerate((0.25, 0.5)):
        before = [p.clone() for p in _target(task)]
        _step(task, batch, optimiser, progress=progress)
        momentum = cosine_momentum(0.9, progress=progress)
        for old, mine, theirs in zip(before, _target(task), _online(task), strict=True):
            torch.testing.assert_close(mine, momentum * old + (1 - momentum) * theirs)
        moved = [not torch.equal(old, mine) for old, mine in zip(before, _target(task), strict=True)]
        # A unit's state for unmeasured genes gets no gradient where all are measured.
        assert sum(moved) == len(moved) - 1, n


def test_the_target_stands_still_at_the_end_of_the_schedule():
    task = _task()
    optimiser = torch.optim.Adam(_online(task), lr=1e-2)
    before = [p.clone() for p in _target(task)]
    _step(task, _batch(), optimiser, progress=1.0)
    assert all(torch.equal(old, mine) for old, mine in zip(before, _target(task), strict=True))


def test_the_target_gets_no_gradient_and_the_online_network_does():
    """In the paper's public code the last layer of the encoder gets none."""
    task = _task()
    task.losses(_batch(), draw=Draw(0, 0))["loss"].backward()
    assert all(p.grad is None and not p.requires_grad for p in _target(task))
    for part in (task.encoder.layers[-3], task.encoder.code, task.projector[-1], task.predictor[-1]):
        assert part.weight.grad.abs().sum() > 0
    # The optimiser is given what requires a gradient: the target is not in it.
    trained = {id(p) for p in task.parameters() if p.requires_grad}
    assert not trained & {id(p) for p in _target(task)}


def test_the_target_starts_as_the_online_network():
    task = _task().eval()
    mean, variance = torch.rand(N_GENES), torch.rand(N_GENES)
    task.start_from(gene_mean=mean, gene_variance=variance, gene_share=torch.full((N_GENES,), 1 / N_GENES))
    assert torch.equal(task.target_encoder.module.states.mean, mean)
    assert torch.equal(task.target_encoder.module.states.variance_share, task.encoder.states.variance_share)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(_target(task), _online(task), strict=True))
    losses = task.losses(_batch(), draw=Draw(0, 0))
    assert losses["target_distance"] < 1e-6
    with torch.no_grad():
        task.encoder.code.bias.add_(1.0)
    assert task.losses(_batch(), draw=Draw(0, 0))["target_distance"] > 0.1


def test_the_target_is_saved_with_the_task_and_resumes():
    task, batch = _task(), _batch()
    optimiser = torch.optim.Adam(_online(task), lr=1e-2)
    for _ in range(3):
        _step(task, batch, optimiser)
    again = _task()
    again.load_state_dict(task.state_dict())
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(_target(again), _target(task), strict=True))
    draw = Draw(0, 1)
    assert torch.equal(again.eval().losses(batch, draw=draw)["loss"], task.eval().losses(batch, draw=draw)["loss"])
    assert not [name for name in task.encoder.state_dict() if "target" in name]


def test_the_code_does_not_collapse_while_the_loss_falls():
    task, batch = _task(mask=0.2, thin=0.2), _batch(64)
    optimiser = torch.optim.Adam([p for p in task.parameters() if p.requires_grad], lr=3e-3)
    first = task.losses(batch, draw=Draw(0, 0))
    for epoch in range(100):
        optimiser.zero_grad()
        losses = task.losses(batch, draw=Draw(0, epoch))
        losses["loss"].backward()
        optimiser.step()
        task.after_step(progress=(epoch + 1) / 100)
    assert losses["loss"] < 0.8 * first["loss"]
    assert losses["code_std"] > 0.3 * first["code_std"]
    assert losses["code_dimensions"] > 2
