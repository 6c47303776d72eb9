from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import scssl
from scssl.errors import ScsslError, SettingsError
from scssl.training import Config, Optimiser, Training, build_task, fit, get_preset, resolve_device
from scssl.training.trainer import resolve_precision, steps_batch_size


@pytest.fixture(scope="module")
def corpus():
    adata = scssl.datasets.simulate_atlas(600, 300, seed=1)
    return scssl.Corpus.from_anndata(adata, genes="union", source="study", obs=["cell_type"])


CONFIG = replace(get_preset("small"), training=Training(epochs=4, batch_size=64, precision="fp32"))


def _train(corpus, directory, *, config=CONFIG, resume=False):
    task = build_task(config, n_genes=len(corpus.panel), n_sources=len(corpus.sources))
    directory.mkdir(exist_ok=True)
    return task, fit(task, corpus, config, directory=directory, device="cpu", resume=resume)


def test_losses_fall_and_history_is_written(corpus, tmp_path):
    task, result = _train(corpus, tmp_path)
    table = pd.read_csv(tmp_path / "history.csv")
    assert list(table["epoch"]) == [1, 2, 3, 4]
    assert table["train_loss"].iloc[-1] < table["train_loss"].iloc[0]
    assert table["val_loss"].iloc[-1] < table["val_loss"].iloc[0]
    assert table["train_hidden"].between(0.48, 0.52).all()
    assert result.best_epoch == int(table["val_loss"].idxmin()) + 1
    assert not task.training


def test_the_same_seed_trains_the_same_model_and_leaves_the_callers_generators(corpus, tmp_path):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, _ = _train(corpus, tmp_path / "a")
    second, _ = _train(corpus, tmp_path / "b")
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    other, _ = _train(corpus, tmp_path / "c", config=replace(CONFIG, training=replace(CONFIG.training, seed=1)))
    pairs = zip(first.parameters(), other.parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)


def test_the_callers_threads_come_back_and_fewer_are_used_where_that_is_faster(corpus, tmp_path, monkeypatch, caplog):
    from scssl import cores

    before = torch.get_num_threads()
    for name in cores.CHOSEN_BY:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cores, "_affinity", lambda: 4)
    monkeypatch.setattr(cores, "QUOTA", tmp_path / "nowhere")
    used = []

    def busy(seconds):
        # As if other programs held all cores but one.
        took = seconds()
        torch.set_num_threads(1)
        return took

    monkeypatch.setattr("scssl.training.estimate.fastest_threads", busy)
    task = build_task(CONFIG, n_genes=len(corpus.panel), n_sources=len(corpus.sources))
    losses = task.losses
    task.losses = lambda batch, *, draw: (used.append(torch.get_num_threads()), losses(batch, draw=draw))[1]
    config = replace(CONFIG, training=replace(CONFIG.training, epochs=1))
    torch.set_num_threads(4)
    try:
        with caplog.at_level("INFO", logger="scssl"):
            fit(task, corpus, config, directory=tmp_path, device="cpu")
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
    assert (used[0], used[-1]) == (4, 1)
    assert "cpu with 1 thread (of 4: fewer are faster here" in caplog.text


def test_early_stopping_stops_and_the_best_weights_are_kept(corpus, tmp_path):
    settings = Training(epochs=30, batch_size=64, patience=1, precision="fp32")
    # A rate this high makes the validation loss rise again soon.
    optimiser = Optimiser(learning_rate=0.05, schedule="constant")
    config = replace(CONFIG, training=settings, optimiser=optimiser)
    _, result = _train(corpus, tmp_path, config=config)
    assert len(result.history) < 30
    losses = [row["val_loss"] for row in result.history]
    assert result.best_epoch == int(np.argmin(losses)) + 1


def test_without_validation_cells_the_last_epoch_is_used(tmp_path):
    adata = scssl.datasets.simulate_atlas(200, 200, seed=1)
    corpus = scssl.Corpus.from_anndata(adata, genes="union", split_by="cell", val=0.0, test=0.0)
    _, result = _train(corpus, tmp_path)
    assert result.best_epoch == 4
    assert "val_loss" not in result.history[0]


@pytest.mark.parametrize("val", [0.3, 0.0])
def test_without_a_folder_nothing_is_written_and_the_weights_are_the_same(tmp_path, monkeypatch, val):
    adata = scssl.datasets.simulate_atlas(300, 200, seed=1)
    corpus = scssl.Corpus.from_anndata(adata, genes="union", split_by="cell", val=val, test=0.0)
    # The best epoch is not the last one.
    settings = replace(CONFIG, optimiser=Optimiser(learning_rate=0.01, schedule="constant"))
    kept, with_folder = _train(corpus, tmp_path / "run", config=settings)
    assert (with_folder.best_epoch < 4) == (val > 0)

    def refuse(*_, **__):
        pytest.fail("a checkpoint is written")

    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setattr("scssl.training.checkpoints.Checkpoints.save_checkpoint", refuse)
    task = build_task(settings, n_genes=len(corpus.panel), n_sources=len(corpus.sources))
    result = fit(task, corpus, settings, device="cpu")
    assert result.best_epoch == with_folder.best_epoch
    assert [row["train_loss"] for row in result.history] == [row["train_loss"] for row in with_folder.history]
    for name, tensor in kept.state_dict().items():
        assert torch.equal(task.state_dict()[name], tensor), name
    assert not list((tmp_path / "empty").iterdir())
    scssl.pretrain(corpus, config=replace(settings, training=replace(settings.training, epochs=1)), device="cpu")
    with pytest.raises(SettingsError, match="no checkpoint to go on from"):
        fit(task, corpus, settings, device="cpu", resume=True)


def test_a_loss_that_is_no_number_is_an_error(corpus, tmp_path):
    optimiser = Optimiser(learning_rate=1e18, gradient_clip=0.0, schedule="constant")
    with pytest.raises(ScsslError, match=r"lower optimiser\.learning_rate"):
        _train(corpus, tmp_path, config=replace(CONFIG, optimiser=optimiser))


@pytest.mark.parametrize(
    ("n_cells", "asked", "expected"), [(200_000, 1024, 1024), (50_000, 1024, 500), (1000, 1024, 64), (10, 1024, 10)]
)
def test_small_corpora_get_smaller_batches(n_cells, asked, expected):
    assert steps_batch_size(n_cells, Config(training=Training(batch_size=asked))) == expected


def test_devices():
    assert resolve_device("cpu").type == "cpu"
    with pytest.raises(SettingsError, match=r"this machine has: .*cpu"):
        resolve_device("tpu")


def test_precision_can_be_forced():
    cpu = torch.device("cpu")
    assert resolve_precision("bf16", cpu) == "bf16"
    assert resolve_precision("fp32", cpu) == "fp32"
    assert resolve_precision("auto", cpu) in {"fp32", "bf16"}


def test_bf16_trains_too(corpus, tmp_path):
    config = replace(CONFIG, training=replace(CONFIG.training, precision="bf16"))
    _, result = _train(corpus, tmp_path, config=config)
    assert result.history[-1]["val_loss"] < result.history[0]["val_loss"]
