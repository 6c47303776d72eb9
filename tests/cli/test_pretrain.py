import json
import sys

import anndata as ad
import numpy as np
import pytest

import scssl
from scssl.cli.app import main
from scssl.tasks.embed import embed


@pytest.fixture(scope="module")
def model(corpus_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "model"
    assert main(["pretrain", str(corpus_dir), "--out", str(out), "--preset", "small", "--epochs", "1", "--quiet"]) == 0
    return out


def test_pretrain_writes_a_model_and_says_what_is_next(corpus_dir, tmp_path, capsys):
    out = tmp_path / "model"
    options = ["--preset", "small", "--epochs", "2", "--set", "task.rate=0.25", "--masking", "random", "--seed", "3"]
    assert main(["pretrain", str(corpus_dir), "--out", str(out), *options]) == 0
    said = capsys.readouterr()
    assert "Next: scssl embed" in said.out
    assert "per epoch" in said.err
    assert "GB of memory" in said.err
    model = scssl.load(out)
    assert model.config.task == {"rate": 0.25, "masking": "random"}
    assert model.config.training.seed == 3
    assert len((out / "history.csv").read_text().splitlines()) == 3


def test_help_names_defaults_and_choices(capsys):
    from scssl.training import get_preset, list_presets

    assert main(["pretrain", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "empty-set" not in text
    training = get_preset("default").training
    for words in (f"(default: {training.epochs})", f"(default: {training.batch_size})", "union, intersection, hvg:N"):
        assert words in text
    for preset in list_presets():
        assert preset.name in text


def test_one_epoch_is_one_epoch(corpus_dir, tmp_path, capsys):
    options = ["--out", str(tmp_path / "model"), "--preset", "small", "--epochs", "1", "--quiet"]
    assert main(["pretrain", str(corpus_dir), *options]) == 0
    said = capsys.readouterr().out
    assert "1 epoch," in said
    assert "hidden" not in said


def test_json_is_one_object(corpus_dir, tmp_path, capsys):
    out = tmp_path / "model"
    assert main(["pretrain", str(corpus_dir), "--out", str(out), "--preset", "small", "--epochs", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["model"] == str(out)
    assert result["metrics"]["train_loss"] > 0


def test_a_file_can_be_pretrained_on(atlas_file, tmp_path):
    out = tmp_path / "model"
    options = ["--genes", "union", "--source", "study", "--split-by", "donor", "--preset", "small", "--epochs", "1"]
    assert main(["pretrain", str(atlas_file), "--out", str(out), *options, "--quiet"]) == 0
    assert len(scssl.load(out).sources) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset", "huge"], "choose one of: default"),
        (["--pretext", "byolo"], "choose one of: "),
        (["--masking", "holes"], 'Choose from: "random"'),
        (["--set", "training.epoch=2"], "did you mean 'epochs'"),
        (["--config", "nowhere.yaml"], "no such settings file"),
        (["--resume"], "no interrupted run"),
        (["--epochs", "many"], "epochs"),
        (["--epochs", "1.5"], "'1.5' is not a whole number"),
        (["--seed", "0.5"], "'0.5' is not a whole number"),
        (["--device", "tpu"], "device"),
    ],
)
def test_mistakes_are_one_line(corpus_dir, tmp_path, capsys, options, message):
    out = tmp_path / "model"
    assert main(["pretrain", str(corpus_dir), "--out", str(out), *options]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not out.exists()


def test_embed_writes_the_input_and_the_embedding(model, atlas, atlas_file, tmp_path, capsys):
    out = tmp_path / "embedded.h5ad"
    before = atlas_file.read_bytes()
    assert main(["embed", str(atlas_file), "--model", str(model), "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "GB of memory" in said.err
    assert "sc.pp.neighbors" in said.out
    found = ad.read_h5ad(out)
    np.testing.assert_array_equal(found.obsm["X_scssl"], scssl.load(model).embed(atlas))
    assert found.uns["scssl"]["embed"]["model"] == str(model)
    assert list(found.obs.columns) == list(atlas.obs.columns)
    assert atlas_file.read_bytes() == before


def test_embed_puts_the_adapted_code_and_own_components_beside(model, atlas, atlas_file, tmp_path, monkeypatch):
    monkeypatch.setattr("scssl.model.init.STEPS", 5)
    out = tmp_path / "embedded.h5ad"
    before = (model / "model.safetensors").read_bytes()
    options = ["--model", str(model), "--out", str(out), "--adapt", "--pca", "7", "--seed", "4"]
    assert main(["embed", str(atlas_file), *options]) == 0
    found = ad.read_h5ad(out)
    expected = embed(scssl.load(model), atlas_file, adapt=True, pca=7, seed=4)
    np.testing.assert_allclose(found.obsm["X_scssl"], expected, atol=1e-5)
    assert found.obsm["X_scssl"].shape == (atlas.n_obs, 2 * scssl.load(model).n_latent + 7)
    assert found.uns["scssl"]["embed"]["adapted"]
    assert found.uns["scssl"]["embed"]["pca"] == 7
    assert (model / "model.safetensors").read_bytes() == before


def test_pretrain_goes_on_from_a_model(model, atlas_file, tmp_path, capsys):
    out = tmp_path / "adapted"
    arguments = ["pretrain", str(atlas_file), "--init", str(model), "--out", str(out)]
    assert main([*arguments, "--epochs", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_genes"] == len(scssl.load(model).panel)
    assert main([*arguments[:-1], str(tmp_path / "other"), "--preset", "small"]) == 2
    assert "leave out preset" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_the_model_within_what_a_task_saved_is_named(model, atlas_file, tmp_path, capsys):
    import shutil

    shutil.copytree(model, tmp_path / "saved" / "model")
    words = ["embed", str(atlas_file), "--model", str(tmp_path / "saved"), "--out", str(tmp_path / "o.h5ad")]
    assert main(words) == 2
    assert f"but holds one: give {tmp_path / 'saved' / 'model'}" in capsys.readouterr().err


def test_a_corpus_in_place_of_a_model_and_a_folder_with_one_are_told(corpus_dir, atlas_file, tmp_path, capsys):
    assert main(["embed", str(atlas_file), "--model", str(corpus_dir), "--out", str(tmp_path / "o.h5ad")]) == 2
    assert f"it is a corpus, of which one is made with: scssl pretrain {corpus_dir}" in capsys.readouterr().err
    assert main(["corpus", "info", str(corpus_dir.parent)]) == 2
    assert f"it has no corpus.json. It holds one: give {corpus_dir}" in capsys.readouterr().err


def test_embed_renames_and_refuses(model, atlas_file, tmp_path, capsys):
    out = tmp_path / "embedded.h5ad"
    base = ["embed", str(atlas_file), "--model", str(model), "--out", str(out)]
    assert main([*base, "--key-added", "X_mine", "--seed", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["key"] == "X_mine"
    assert "X_mine" in ad.read_h5ad(out).obsm
    for arguments, message in [
        (base, "--overwrite"),
        (
            ["embed", str(atlas_file), "--model", str(atlas_file.parent), "--out", str(tmp_path / "o.h5ad")],
            "not a model",
        ),
        (
            ["embed", str(tmp_path / "no.h5ad"), "--model", str(model), "--out", str(tmp_path / "o.h5ad")],
            "no such file",
        ),
        ([*base[:-1], str(tmp_path / "o.h5ad"), "--layer", "counts"], "counts"),
    ]:
        assert main(arguments) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "o.h5ad").exists()


def test_presets_and_pretexts_are_listed(capsys):
    for command, name in (("presets", "richter2024"), ("pretexts", "masked")):
        assert main([command]) == 0
        assert name in capsys.readouterr().out
        assert main([command, "--json"]) == 0
        assert name in {row["name"] for row in json.loads(capsys.readouterr().out)[command]}


@pytest.mark.parametrize("option", [("--device", "mps"), ("--logger", "wandb"), ("--device", "mps", "--devices", "2")])
def test_a_model_outlives_an_overwrite_that_cannot_begin(corpus_dir, model, capsys, monkeypatch, option):
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    monkeypatch.setitem(sys.modules, "wandb", None)
    before = {file: file.read_bytes() for file in model.rglob("*") if file.is_file()}
    assert before
    assert main(["pretrain", str(corpus_dir), "--out", str(model), "--overwrite", "--preset", "small", *option]) == 2
    assert "available" in (said := capsys.readouterr().err) or "not installed" in said
    assert {file: file.read_bytes() for file in model.rglob("*") if file.is_file()} == before
