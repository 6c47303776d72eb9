"""The combined task is the sum of its parts, encodes each view once, and is saved once."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from scssl.corpus.batch import CellBatch
from scssl.errors import SettingsError
from scssl.nn import Architecture
from scssl.pretext import Draw
from scssl.training import Config, build_task

ARCHITECTURE = Architecture(hidden=(32,), n_latent=8, dropout=0.0, source_dropout=0.0)


def task_of(**settings):
    config = Config(pretext="combined", architecture=ARCHITECTURE, task=settings)
    return build_task(config, n_genes=40, n_sources=2)


def cells(n=24):
    counts = np.random.default_rng(0).negative_binomial(2, 0.2, (n, 40))
    measured = np.arange(40) > 4
    return CellBatch.from_csr(sp.csr_matrix(counts * measured), measured=measured)


@pytest.mark.parametrize("two_view", ["byol", "barlow_twins", "vicreg", "simclr"])
def test_the_loss_is_the_weighted_sum_of_its_parts(two_view):
    task, batch = task_of(two_view=two_view, weight=0.3), cells()
    found = task.losses(batch, draw=Draw(0, 0))
    torch.testing.assert_close(found["loss"], found["masked"] + 0.3 * found["views"])
    x = task.encoder.normalise(batch)
    views = task.views_task.views(batch, draw=Draw(0, 0))
    errors = []
    for view in views:
        predicted = task.decoder(task.views_task.encode(view), batch.source)
        target = (view.hidden & batch.measured[batch.measured_row]).numpy()
        errors.append(((predicted - x).square().detach().numpy())[target].mean())
    assert found["masked"].item() == pytest.approx(np.mean(errors), rel=1e-5)
    alone = task.views_task.losses(batch, draw=Draw(0, 0))["loss"]
    torch.testing.assert_close(found["views"], alone.detach())


def test_each_view_is_encoded_once():
    task = task_of(two_view="vicreg")
    times = []
    task.encoder.code.register_forward_hook(lambda *_: times.append(1))
    task.losses(cells(), draw=Draw(0, 0))
    assert len(times) == 2


def test_the_encoder_is_saved_once_and_trained():
    task = task_of(two_view="byol")
    names = list(task.state_dict())
    assert not [name for name in names if name.startswith("views_task.encoder.")]
    assert any(name.startswith("views_task.target_encoder.") for name in names)
    before = task.views_task.target_encoder.module.code.weight.clone()
    torch.nn.init.normal_(task.encoder.code.weight)
    task.after_step(progress=0.1)
    assert not torch.equal(before, task.views_task.target_encoder.module.code.weight)
    assert task.views_task.encoder is task.encoder


def test_rates_reach_the_views():
    shares = [task_of(mask=rate).losses(cells(200), draw=Draw(0, 0))["hidden"].item() for rate in (0.1, 0.6)]
    # Of the measured genes, which 5 of 40 are not.
    assert shares == pytest.approx([0.1, 0.6], abs=0.02)
    with pytest.raises(SettingsError, match=r"task\.mask"):
        task_of(mask=0.0)
    with pytest.raises(SettingsError, match=r"task\.weight"):
        task_of(weight=-1.0)
