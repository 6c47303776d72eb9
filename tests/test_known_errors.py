"""One test for each error of the paper's public code that concerns pretext tasks or their evaluation.

Numbered as in the project's list of them. What needs more than a few lines is tested where the code is; here is the
shortest test that would have caught it. 10 and 11 (filters of gene sets, sets of one factor) are in tests/genes, 13
(the target's donors in the corpus) in tests/corpus/test_audit.py; 14 (intervals over donors) belongs to the study.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from scssl.corpus.batch import CellBatch
from scssl.genes.programmes import Programmes
from scssl.nn import Architecture
from scssl.pretext import Draw
from scssl.tasks.annotate.knn import vote
from scssl.training import Config, build_task

N_GENES = 30
ARCHITECTURE = Architecture(hidden=(16,), n_latent=8, dropout=0.0, source_dropout=0.0)


def cells(n=16, measured=None):
    counts = np.random.default_rng(0).negative_binomial(1, 0.05, (n, N_GENES))
    measured = np.ones(N_GENES, dtype=bool) if measured is None else measured
    return CellBatch.from_csr(sp.csr_matrix(counts * measured), measured=measured)


def task_of(pretext="masked", architecture=ARCHITECTURE, **settings):
    rng = np.random.default_rng(1)
    programmes = Programmes(
        names=["a", "b", "c"],
        members=rng.random((3, N_GENES)) < 0.3,
        regulators=rng.random((3, N_GENES)) < 0.2,
        descriptions=[""] * 3,
    )
    config = Config(pretext=pretext, architecture=architecture, task=settings)
    return build_task(config, n_genes=N_GENES, n_sources=1, programmes=programmes)


@pytest.mark.parametrize("masking", ["programme_to_programme", "programme_to_tf"])
def test_1_isolated_masks_mask(masking):
    losses = task_of(masking=masking).losses(cells(), draw=Draw(0, 0))
    assert losses["hidden"] > 0.5
    assert 0 < losses["asked"] < losses["hidden"]


@pytest.mark.parametrize("activation", ["selu", "gelu", "relu"])
def test_2_the_encoder_that_is_used_is_the_one_that_was_trained(activation):
    from scssl.model.cell_model import CellModel

    task = task_of(architecture=replace(ARCHITECTURE, activation=activation)).eval()
    assert any(activation in type(module).__name__.lower() for module in task.encoder.modules())
    assert CellModel.encoder.fget(type("M", (), {"task": task})()) is task.encoder


def test_3_byols_target_moves_and_its_encoder_learns():
    task = task_of("byol")
    before = [p.clone() for p in task.target_encoder.parameters()]
    task.losses(cells(), draw=Draw(0, 0))["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in task.encoder.code.parameters())
    with torch.no_grad():
        for p in task.encoder.parameters():
            p.add_(1.0)
    task.after_step(progress=0.1)
    assert all(not torch.equal(a, b) for a, b in zip(before, task.target_encoder.parameters(), strict=True))


def test_4_one_optimiser_lives_through_training():
    from scssl.training.module import PretrainModule

    module = PretrainModule(task_of("barlow_twins"), Config(), steps_per_epoch=5)
    optimiser = module.configure_optimizers()["optimizer"]
    for _ in range(3):
        module.task.losses(cells(), draw=Draw(0, 0))["loss"].backward()
        optimiser.step()
    assert {int(state["step"]) for state in optimiser.state.values()} == {3}


def test_5_the_nearest_neighbour_counts():
    reference, labels = np.array([[0.0], [5.0], [6.0]]), np.array([0, 1, 1])
    assert vote(reference, labels, np.array([[0.1]]), k=1).label.tolist() == [0]
    assert vote(reference, labels, np.array([[0.0]]), k=1).neighbours.tolist() == [[0]]


def test_6_the_decoder_reaches_log_values_above_1():
    for output in ("linear", "softplus"):
        task = task_of(architecture=replace(ARCHITECTURE, output=output))
        torch.nn.init.constant_(task.decoder.output.bias, 7.0)
        assert task.decoder(torch.zeros(1, 8), torch.zeros(1, dtype=torch.int64)).max() > 5


@pytest.mark.parametrize("loss", ["nb", "zinb", "poisson"])
def test_7_count_likelihoods_see_counts(loss, monkeypatch):
    import scssl.pretext.reconstruction as module

    seen = []
    for name in ("negative_binomial_loss", "zero_inflated_loss", "poisson_loss"):
        original = getattr(module, name)
        monkeypatch.setattr(module, name, lambda counts, *a, f=original: (seen.append(counts), f(counts, *a))[1])
    batch = cells()
    task = task_of(loss=loss)
    task.losses(batch, draw=Draw(0, 0))
    _, asked = task.hide(batch, draw=Draw(0, 0)).cells(batch)
    # Zeros are scored apart, as such.
    values = torch.cat([counts.flatten() for counts in seen if counts is not None])
    expected = batch.values[asked[batch.rows(), batch.indices.long()]]
    np.testing.assert_array_equal(values, expected)
    assert values.max() > 20


def test_8_hidden_unmeasured_and_zero_are_three_inputs():
    encoder = task_of().encoder
    encoder.states.mean.uniform_()
    torch.nn.init.normal_(encoder.states.unmeasured)
    x, this = torch.zeros(1, N_GENES), torch.zeros(1, N_GENES, dtype=torch.bool)
    this[0, 3] = True
    codes = [encoder(x), encoder(x, hidden=this), encoder(x, unmeasured=this)]
    assert all(not torch.allclose(codes[i], codes[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_9_every_cell_has_its_own_programmes_and_the_rate_is_real():
    task = task_of(masking="programme", rate=0.3)
    hidden = task.hide(cells(500), draw=Draw(0, 0)).masks
    assert len(torch.unique(hidden, dim=0)) > 3
    assert hidden.float().mean().item() == pytest.approx(0.3, abs=0.02)


def test_12_neighbours_are_sought_among_the_reference_given():
    """Not among validation cells: whoever scores decides, and the query is never among them."""
    reference, labels = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 4
    votes = vote(reference, labels, reference[:5] + 100.0, k=3)
    assert votes.neighbours.max() < 20
    assert votes.distance.min() > 50


def test_15_rates_are_what_is_changed():
    shares = [float(task_of(rate=rate).losses(cells(400), draw=Draw(0, 0))["hidden"]) for rate in (0.1, 0.8)]
    assert shares == pytest.approx([0.1, 0.8], abs=0.03)
