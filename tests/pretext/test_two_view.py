"""What all two-view tasks share: views are encoded once, unmeasured and hidden genes stay out, collapse is seen."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import scssl
from scssl.corpus.batch import CellBatch
from scssl.errors import SettingsError
from scssl.nn import Architecture, unmeasured_genes
from scssl.pretext import Draw, get_task
from scssl.pretext.projector import Averaged, cosine_momentum, perceptron
from scssl.pretext.two_view import TwoViewTask, covariance, off_diagonal_square, participation, spread
from scssl.training import Config, build_task, fit, get_preset
from scssl.training.module import PretrainModule

TASKS = ["barlow_twins", "byol", "simclr", "vicreg"]
N_GENES = 50
ARCHITECTURE = Architecture(hidden=(32,), n_latent=8, dropout=0.0)


def _batch(seed=0, n_cells=32, unmeasured=(), cells=None):
    rng = np.random.default_rng(seed)
    counts = rng.negative_binomial(1, 0.2, (n_cells, N_GENES))
    measured = np.ones(N_GENES, dtype=bool)
    measured[list(unmeasured)] = False
    counts[:, ~measured] = 0
    return CellBatch.from_csr(sp.csr_matrix(counts), measured=measured, cell=cells)


def _task(name, **settings):
    config = Config(pretext=name, architecture=ARCHITECTURE, task={"projector": [16, 16], **settings})
    return build_task(config, n_genes=N_GENES, n_sources=1)


@pytest.mark.parametrize("name", TASKS)
def test_the_task_is_a_two_view_task(name):
    assert issubclass(get_task(name), TwoViewTask)
    assert get_task(name).record.doi.startswith("10.48550/arXiv.")


@pytest.mark.parametrize("name", TASKS)
def test_each_view_is_encoded_once(name):
    task, calls = _task(name), []
    task.encoder.code.register_forward_hook(lambda *_: calls.append(1))
    task.losses(_batch(), draw=Draw(0, 0))
    assert len(calls) == 2


@pytest.mark.parametrize("name", TASKS)
def test_values_of_hidden_genes_do_not_reach_the_codes(name):
    task = _task(name, mask=0.5).eval()
    views = task.views(_batch(), draw=Draw(0, 0))
    for view in views:
        x = task.encoder.normalise(view.batch)
        view = view._replace(x=x)
        changed = view._replace(x=torch.where(view.hidden, torch.rand_like(x) * 9, x))
        assert torch.equal(task.encode(view), task.encode(changed))
        visible = view._replace(x=torch.where(view.hidden, x, x + 1))
        assert not torch.allclose(task.encode(view), task.encode(visible))


@pytest.mark.parametrize("name", TASKS)
def test_unmeasured_genes_enter_no_code_and_no_loss(name):
    task, batch = _task(name).eval(), _batch(unmeasured=range(10))
    for view in task.views(batch, draw=Draw(0, 0)):
        unmeasured = unmeasured_genes(view.batch)
        assert unmeasured[:, :10].all()
        view = view._replace(x=task.encoder.normalise(view.batch))
        changed = view._replace(x=torch.where(unmeasured, 5.0, view.x))
        assert torch.equal(task.encode(view), task.encode(changed))


@pytest.mark.parametrize("name", TASKS)
def test_the_code_layer_and_the_projector_get_gradient(name):
    task = _task(name)
    task.losses(_batch(), draw=Draw(0, 0))["loss"].backward()
    parts = [task.encoder.code, task.projector, *([task.predictor] if name == "byol" else [])]
    for part in parts:
        for parameter in part.parameters():
            if name == "barlow_twins" and parameter is task.projector[-1].bias:
                # Correlations do not see a shift.
                continue
            if name == "vicreg" and parameter is task.projector[-1].bias:
                continue
            assert parameter.grad.abs().sum() > 1e-9


@pytest.mark.parametrize("name", TASKS)
def test_the_loss_does_not_depend_on_the_order_of_cells(name):
    task, order = _task(name).eval(), torch.randperm(32, generator=torch.Generator().manual_seed(0))
    batch = _batch()
    counts = sp.csr_matrix((batch.values, batch.indices, batch.indptr), shape=(32, N_GENES))
    shuffled = CellBatch.from_csr(counts[order.numpy()], cell=order.numpy())
    for mix in (0.0, 0.3):
        task.settings = replace(task.settings, mix=mix)
        one, other = (task.losses(each, draw=Draw(0, 0))["loss"] for each in (batch, shuffled))
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("n_cells", [1, 2])
def test_tiny_batches_give_finite_losses_and_gradients(name, n_cells):
    task = _task(name)
    losses = task.losses(_batch(n_cells=n_cells), draw=Draw(0, 0))
    losses["loss"].backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert all(torch.isfinite(p.grad).all() for p in task.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", TASKS)
def test_identical_cells_give_finite_gradients(name):
    task = _task(name, mask=0.0, thin=0.0)
    batch = CellBatch.from_csr(sp.csr_matrix(np.tile(np.arange(N_GENES), (6, 1))))
    losses = task.losses(batch, draw=Draw(0, 0))
    losses["loss"].backward()
    assert losses["code_std"] < 1e-4
    assert all(torch.isfinite(p.grad).all() for p in task.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", TASKS)
def test_losses_are_computed_in_full_precision(name):
    task, batch = _task(name).eval(), _batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = task.losses(batch, draw=Draw(0, 0))
    exact = task.losses(batch, draw=Draw(0, 0))
    assert rounded["loss"].dtype == torch.float32
    torch.testing.assert_close(rounded["loss"], exact["loss"], rtol=0.1, atol=0.02)


def test_the_alarm_for_collapse():
    generator = torch.Generator().manual_seed(0)
    healthy = spread(torch.randn(5000, 16, generator=generator))
    assert healthy["code_std"] == pytest.approx(1.0, abs=0.03)
    assert healthy["code_dimensions"] == pytest.approx(16, rel=0.03)
    line = spread(torch.randn(5000, 1, generator=generator) * torch.arange(1.0, 17.0))
    assert line["code_dimensions"] == pytest.approx(1.0, rel=1e-3)
    point = spread(torch.ones(50, 16))
    assert point["code_std"] == point["code_dimensions"] == 0


def test_covariance_and_participation_equal_numpy():
    rows = np.random.default_rng(0).normal(size=(30, 5)) * [1, 2, 3, 4, 5]
    expected = np.cov(rows.T)
    matrix = covariance(torch.from_numpy(rows))
    np.testing.assert_allclose(matrix, expected)
    values = np.linalg.eigvalsh(expected)
    assert float(participation(matrix)) == pytest.approx(values.sum() ** 2 / (values**2).sum())
    off = sum(expected[i, j] ** 2 for i in range(5) for j in range(5) if i != j)
    assert float(off_diagonal_square(matrix)) == pytest.approx(off)


@pytest.mark.parametrize("name", ["barlow_twins", "simclr", "vicreg"])
def test_comparing_within_sources_pays_nothing_for_telling_them_apart(name):
    task = _task(name).eval()
    source = torch.arange(32) % 2
    views = [view._replace(batch=replace(view.batch, source=source)) for view in task.views(_batch(), draw=Draw(0, 0))]
    rows = torch.randn(2, 32, 16, generator=torch.Generator().manual_seed(0))
    # What a code that knows the source adds to the embedding of both views.
    told = rows + 5 * source.float().unsqueeze(1) * torch.linspace(-1, 1, 16)

    def loss(embeddings, **settings):
        task.settings = replace(task.settings, **settings)
        task.projector = torch.nn.Identity()
        return task.view_losses(views, tuple(embeddings))["loss"]

    if name != "simclr":
        torch.testing.assert_close(loss(told), loss(rows), rtol=1e-4, atol=1e-4)
    # Where all cells are compared, it does change the loss; in SimCLR it finds half of the answer.
    assert not torch.isclose(loss(told, within_source=False), loss(rows, within_source=False), rtol=1e-2)
    if name == "simclr":
        gain = {within: loss(rows, within_source=within) - loss(told, within_source=within) for within in (True, False)}
        assert gain[False] > gain[True] + 0.2


def test_the_projector_treats_each_cell_alone():
    projector = perceptron((8, 16, 16))
    rows = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(projector(rows)[2:3], projector(rows[2:3]))
    assert [layer.out_features for layer in projector if isinstance(layer, torch.nn.Linear)] == [16, 16]
    assert perceptron((8, 4))(rows).shape == (6, 4)


def test_the_average_is_a_loop_over_weights():
    module = torch.nn.BatchNorm1d(3)
    average = Averaged(module)
    before = [p.clone() for p in average.parameters()]
    with torch.no_grad():
        module.weight.add_(1.0)
        module.running_mean.add_(2.0)
    average.follow(module, momentum=0.9)
    for old, mine, theirs in zip(before, average.parameters(), module.parameters(), strict=True):
        torch.testing.assert_close(mine, 0.9 * old + 0.1 * theirs)
    assert torch.equal(average.module.running_mean, module.running_mean)


def test_the_average_drops_nothing():
    average = Averaged(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.5))).train()
    rows = torch.ones(3, 4)
    assert torch.equal(average(rows), average(rows))
    assert (average(rows) != 0).all()


def test_the_momentum_rises_along_a_cosine():
    momenta = [cosine_momentum(0.99, progress=p) for p in np.linspace(0, 1, 11)]
    assert momenta[0] == pytest.approx(0.99)
    assert momenta[5] == pytest.approx(0.995)
    assert momenta[-1] == 1.0
    assert momenta == sorted(momenta)


def test_a_projector_without_layers_is_refused():
    with pytest.raises(SettingsError, match=r"task\.projector is \[\]"):
        _task("simclr", projector=[])


CONFIG = get_preset("small")


@pytest.fixture(scope="module")
def corpus():
    adata = scssl.datasets.simulate_atlas(300, 200, seed=1)
    return scssl.Corpus.from_anndata(adata, genes="union", source="study")


@pytest.mark.parametrize("name", TASKS)
def test_training_uses_one_optimiser_whose_state_moves(name, corpus, tmp_path, monkeypatch):
    """A step that makes itself a new optimiser forgets its moments: Adam without memory."""
    made, modules = [], []
    original, begin = torch.optim.AdamW.__init__, PretrainModule.on_train_epoch_start

    def counted(self, *args, **kwargs):
        made.append(self)
        original(self, *args, **kwargs)

    def noted(self):
        modules.append(self)
        begin(self)

    monkeypatch.setattr(torch.optim.AdamW, "__init__", counted)
    monkeypatch.setattr(PretrainModule, "on_train_epoch_start", noted)
    config = replace(CONFIG, pretext=name, task={}, training=replace(CONFIG.training, epochs=2, precision="fp32"))
    task = build_task(config, n_genes=len(corpus.panel), n_sources=len(corpus.sources))
    result = fit(task, corpus, config, directory=tmp_path, device="cpu")
    # One times a few steps beforehand, to say what the run will take.
    _, optimiser = made
    n_steps = result.history[-1]["step"]
    assert n_steps > 4
    states = optimiser.state_dict()["state"]
    assert {int(state["step"]) for state in states.values()} == {n_steps}
    # Nothing but the moments of the trained weights.
    trained = [name for name, p in task.named_parameters() if p.requires_grad]
    assert len(states) == len(trained)
    assert all(set(state) == {"step", "exp_avg", "exp_avg_sq"} for state in states.values())


@pytest.mark.parametrize("name", TASKS)
def test_a_model_is_the_same_after_saving(name, tmp_path, atlas):
    model = scssl.pretrain(atlas, preset="small", pretext=name, genes="union", max_epochs=1, device="cpu")
    model.save(tmp_path / "model")
    again = scssl.load(tmp_path / "model")
    assert np.array_equal(model.embed(atlas), again.embed(atlas))
    assert all(torch.equal(value, again.task.state_dict()[key]) for key, value in model.task.state_dict().items())
    # What is used downstream is the encoder, of which target and projector are no part.
    assert not [key for key in model.encoder.state_dict() if "target" in key or "projector" in key]
