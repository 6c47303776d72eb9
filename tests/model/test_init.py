import numpy as np
import pytest
import torch

import scssl
from scssl.errors import SettingsError
from scssl.model.init import long_enough
from scssl.training import Config

NOTHING = ["optimiser.learning_rate=1e-12", "optimiser.weight_decay=0"]


@pytest.fixture(scope="module")
def atlas():
    return scssl.datasets.simulate_atlas(400, 200, n_studies=3, seed=5)


@pytest.fixture(scope="module")
def model(atlas):
    return scssl.pretrain(
        atlas, preset="small", genes="union", max_epochs=2, source="study", split_by="cell", device="cpu"
    )


@pytest.fixture(scope="module")
def new_cells():
    return scssl.datasets.simulate_atlas(300, 200, n_studies=1, seed=6)


def go_on(model, cells, **options):
    return scssl.pretrain(cells, init=model, split_by="cell", device="cpu", max_epochs=1, **options)


def test_without_steps_that_move_it_the_model_is_the_same(model, new_cells):
    again = go_on(model, new_cells, overrides=NOTHING)
    np.testing.assert_allclose(again.embed(new_cells), model.embed(new_cells), atol=1e-4)
    assert again.panel == model.panel
    assert again.config.architecture == model.config.architecture


def test_what_the_encoder_knows_of_the_genes_stays(model, new_cells):
    again = go_on(model, new_cells)
    for name in ("mean", "variance_share"):
        torch.testing.assert_close(getattr(again.encoder.states, name), getattr(model.encoder.states, name))
    torch.testing.assert_close(again.encoder.gene_share, model.encoder.gene_share)


def test_it_goes_on_where_a_new_one_starts(model, atlas):
    again, new = go_on(model, atlas), go_on(None, atlas, preset="small", genes=model.panel)
    assert again.card["metrics"]["val_loss"] < new.card["metrics"]["val_loss"]
    assert again.card["init"]["data"] == model.card["data"]
    assert "init" not in new.card


def test_sources_keep_their_place_by_name(model, atlas):
    with torch.no_grad():
        model.task.decoder.source.weight.copy_(torch.arange(3.0).unsqueeze(1).expand(3, 32) + 1)
    two = atlas[atlas.obs["study"].isin(["study_1", "study_3"])].copy()
    two.obs["study"] = two.obs["study"].astype(str).replace({"study_1": "another"})
    again = go_on(model, two, source="study", overrides=NOTHING)
    rows = dict(zip(again.sources, again.task.decoder.source.weight[:, 0].tolist(), strict=True))
    assert rows["another"] == pytest.approx(0, abs=1e-3)
    assert rows["study_3"] == pytest.approx(model.sources.index("study_3") + 1, abs=1e-3)


def test_another_pretext_starts_from_the_encoder(model, new_cells):
    again = go_on(model, new_cells, pretext="simclr", overrides=NOTHING)
    np.testing.assert_allclose(again.embed(new_cells), model.embed(new_cells), atol=1e-4)


def test_the_last_layer_starts_anew_where_it_means_something_else(model, new_cells):
    counts = go_on(model, new_cells, overrides=[*NOTHING, "task.loss=nb"])
    torch.testing.assert_close(counts.encoder.code.weight, model.encoder.code.weight)
    poisson = go_on(counts, new_cells, overrides=[*NOTHING, "task.loss=poisson"])
    torch.testing.assert_close(poisson.task.decoder.output.weight, counts.task.decoder.output.weight)
    # A share of the counts on a typical gene, rather than the half that a log value of 0 would mean.
    assert float(torch.sigmoid(counts.task.decoder.output.bias).sum().detach()) == pytest.approx(1, abs=0.05)


def test_a_folder_will_do(model, new_cells, tmp_path):
    model.save(tmp_path / "model")
    again = go_on(tmp_path / "model", new_cells, out=tmp_path / "again", overrides=NOTHING)
    np.testing.assert_allclose(scssl.load(tmp_path / "again").embed(new_cells), again.embed(new_cells))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "default"}, "leave out preset"),
        ({"genes": "union"}, "the cells are on"),
        ({"overrides": ["architecture.hidden=[16]"]}, "architecture is .* its weights fit no other"),
        ({"overrides": ["target_sum=1000"]}, "target_sum is 1000"),
    ],
)
def test_what_does_not_fit_is_refused(model, new_cells, options, message):
    with pytest.raises(SettingsError, match=message):
        go_on(model, new_cells, **options)


def test_resume_and_init_exclude_each_other(model, new_cells, tmp_path):
    scssl.pretrain(new_cells, preset="small", max_epochs=1, out=tmp_path / "run", device="cpu")
    (tmp_path / "run" / "config.json").unlink()
    (tmp_path / "run" / "checkpoints").mkdir()
    (tmp_path / "run" / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(SettingsError, match=r"leave out .*init"):
        scssl.pretrain(new_cells, init=model, out=tmp_path / "run", resume=True)


def test_a_run_that_goes_on_is_gentle_and_long_enough(model, new_cells, monkeypatch):
    monkeypatch.setattr("scssl.model.init.STEPS", 12)
    again = scssl.pretrain(new_cells, init=model, split_by="cell", device="cpu", overrides=["task.rate=0.3"])
    n_cells = again.card["data"]["cells"]["train"]
    steps = again.config.training.epochs * (n_cells // again.card["training"]["batch_size"])
    assert 12 <= steps < 12 + n_cells // 64 + 1
    assert again.config.optimiser.learning_rate == pytest.approx(model.config.optimiser.learning_rate / 3)
    assert again.config.task["rate"] == 0.3


def test_large_data_are_seen_once():
    config = long_enough(Config(), n_cells=10_000_000)
    assert config.training.epochs == 1
    assert long_enough(Config(), n_cells=512).training.epochs == 125
