import json
import shutil

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

import scssl
from scssl.errors import DataError, ScsslError, SettingsError
from scssl.training import Config, Training


@pytest.fixture(scope="module")
def adata():
    return scssl.datasets.simulate_atlas(500, 300, seed=2)


@pytest.fixture(scope="module")
def folder(adata, tmp_path_factory):
    out = tmp_path_factory.mktemp("models") / "model"
    scssl.pretrain(adata, preset="small", max_epochs=2, out=out, device="cpu")
    return out


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.fixture
def interrupted(copy):
    """A run folder as an interrupted run leaves it."""
    (copy / "config.json").unlink()
    (copy / "checkpoints").mkdir()
    (copy / "checkpoints" / "last.ckpt").touch()
    return copy


def test_a_saved_model_embeds_the_same(adata, folder, tmp_path):
    model = scssl.load(folder)
    embedding = model.embed(adata)
    assert embedding.dtype == np.float32
    assert embedding.shape == (500, 32)
    model.save(tmp_path / "again")
    np.testing.assert_array_equal(scssl.load(tmp_path / "again").embed(adata), embedding)


def test_the_folder_holds_what_it_should(folder):
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "config.json", "genes.tsv", "README.md", "history.csv"} <= names
    card = (folder / "README.md").read_text()
    n = scssl.load(folder).card["data"]["cells"]
    assert f"{n['train']} cells to learn from and {n['val']} to validate" in card
    config = json.loads((folder / "config.json").read_text())
    assert config["format_version"] == 1
    said = {"input": "raw counts", "transform": "log1p", "target_sum": 10000.0, "centred": True}
    assert config["preprocessing"] == said


def test_a_model_says_what_it_is_in_a_few_lines(folder):
    text = repr(scssl.load(folder))
    assert len(text.splitlines()) == 3
    assert "genes (human) in, 32 numbers out" in text
    assert "preset 'small', 2 epochs" in text
    assert "cells of 1 source" in text


def test_only_losses_count_as_metrics(folder):
    assert set(scssl.load(folder).card["metrics"]) == {"train_loss", "val_loss"}
    assert "hidden" not in (folder / "README.md").read_text()


def test_embedding_does_not_depend_on_batches_or_input_form(adata, folder, tmp_path):
    model = scssl.load(folder)
    expected = model.embed(adata)
    np.testing.assert_allclose(model.embed(adata, batch_size=7), expected, atol=1e-5)
    dense = adata.copy()
    dense.X = adata.X.toarray().astype(np.float32)
    np.testing.assert_allclose(model.embed(dense), expected, atol=1e-5)
    shuffled = adata[:, np.random.default_rng(0).permutation(adata.n_vars)]
    np.testing.assert_allclose(model.embed(shuffled.copy()), expected, atol=1e-5)
    adata.write_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_allclose(model.embed(tmp_path / "a.h5ad", batch_size=100), expected, atol=1e-5)


def test_embedding_equals_a_pass_written_out(adata, folder):
    model = scssl.load(folder)
    encoder, panel = model.encoder, list(model.panel.ids)
    share = encoder.gene_share.numpy()
    measured = np.isin(panel, adata.var_names)
    mean = encoder.states.mean.numpy()
    x = np.tile(encoder.states.unmeasured.detach().numpy(), (3, 1))
    for c in range(3):
        counts = dict(zip(adata.var_names, adata.X[c].toarray().ravel(), strict=True))
        total = sum(float(v) for v in counts.values())
        for g, gene in enumerate(panel):
            if measured[g]:
                x[c, g] = np.log1p(1e4 * share[measured].sum() * float(counts[gene]) / total) - mean[g]
        x[c] /= max(encoder.states.variance_share.numpy()[measured].sum(), 0.05)
    with torch.no_grad():
        hidden = torch.nn.functional.selu(
            torch.tensor(x, dtype=torch.float32) @ encoder.layers[0].weight.T + encoder.layers[0].bias
        )
        code = hidden @ encoder.code.weight.T + encoder.code.bias
    np.testing.assert_allclose(model.embed(adata[:3].copy()), code.numpy(), atol=1e-4)


def test_embedding_leaves_the_input_alone(adata, folder):
    before = adata.copy()
    scssl.load(folder).embed(adata)
    assert (before.X != adata.X).nnz == 0
    assert list(adata.obsm) == list(before.obsm)


def test_embed_corpus_follows_the_corpus_order(adata, folder):
    model = scssl.load(folder)
    corpus = scssl.Corpus.from_anndata(adata, genes="human", split_by="donor")
    embedding = model.embed_corpus(corpus, split="train")
    names = corpus.obs("train").index
    positions = [list(adata.obs_names).index(str(name).split("/")[-1]) for name in names[:5]]
    np.testing.assert_allclose(embedding[:5], model.embed(adata[positions].copy()), atol=1e-4)
    other = scssl.Corpus.from_anndata(adata, genes="union", split_by="donor")
    with pytest.raises(SettingsError, match="--genes MODEL_DIR"):
        model.embed_corpus(other, split="train")


def test_log_values_are_refused(adata, folder):
    logged = adata.copy()
    logged.X = logged.X.astype(np.float32)
    logged.X.data = np.log1p(logged.X.data)
    with pytest.raises(DataError, match=r"log.* name it with layer=") as caught:
        scssl.load(folder).embed(logged)
    assert "scssl check" not in str(caught.value)


def test_a_layer_can_be_chosen(adata, folder):
    model = scssl.load(folder)
    moved = adata.copy()
    moved.layers["counts"] = adata.X.copy()
    moved.X = sp.csr_matrix(np.log1p(adata.X.toarray().astype(np.float32)))
    np.testing.assert_array_equal(model.embed(moved, layer="counts"), model.embed(adata))


def test_unknown_genes_are_refused(folder):
    strange = ad.AnnData(
        sp.csr_matrix(np.ones((5, 200), dtype=np.float32)),
        var=pd.DataFrame(index=[f"thing{i}" for i in range(200)]),
        obs=pd.DataFrame(index=[f"c{i}" for i in range(5)]),
    )
    with pytest.raises(DataError):
        scssl.load(folder).embed(strange)


def test_cells_of_another_species_need_another_model(folder):
    """Not another panel: a model keeps its own."""
    from scssl.genes import load_panel

    symbols = [name for name in load_panel("mouse").symbols if name][:300]
    mouse = ad.AnnData(sp.csr_matrix(np.ones((5, 300), dtype=np.float32)), var=pd.DataFrame(index=symbols))
    with pytest.raises(DataError, match="to embed or annotate: a model of mouse cells"):
        scssl.load(folder).embed(mouse)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors"),
        (lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-99]), "truncated"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 4096), "cannot be read"),
        (lambda f: (f / "config.json").unlink(), "not a model|go on with --resume"),
        (lambda f: (f / "config.json").write_text("{"), "is not JSON"),
        (lambda f: (f / "config.json").write_text("[" * 100_000), "is not JSON"),
        (lambda f: (f / "config.json").write_text("{}"), "does not describe a scssl model"),
        (lambda f: _edit(f, format_version=99), "pip install -U scssl"),
        (lambda f: _edit(f, format_version=0), "format version 0"),
        (lambda f: _edit(f, sources=None), "sources"),
        (lambda f: _edit(f, sources=[1]), "sources"),
        (lambda f: _edit(f, sources=["a", "b", "c"]), "differ"),
        (lambda f: _edit(f, config={"architecture": {"hidden": [7]}}), "does not fit"),
        (lambda f: _edit(f, config={"pretext": "os.system"}), "choose one of"),
        (lambda f: (f / "genes.tsv").unlink(), "genes.tsv"),
        (lambda f: (f / "genes.tsv").write_text("id\nENSG00000000003\n"), "genes.tsv"),
        (shutil.rmtree, "no such model"),
    ],
)
def test_a_damaged_model_is_refused_in_one_line(copy, damage, message):
    damage(copy)
    with pytest.raises(ScsslError, match=message) as caught:
        scssl.load(copy)
    assert str(copy) in str(caught.value) or "choose one of" in str(caught.value)


def _edit(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_somebodys_readme_is_not_replaced(folder, tmp_path):
    (tmp_path / "README.md").write_text("my project")
    model = scssl.load(folder)
    for overwrite in (False, True):
        with pytest.raises(SettingsError, match=r"holds a README\.md that is no model's"):
            model.save(tmp_path, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    assert (tmp_path / "README.md").read_text() == "my project"


def test_a_run_folder_is_not_overwritten_by_accident(adata, copy, tmp_path):
    with pytest.raises(SettingsError, match="--overwrite"):
        scssl.pretrain(adata, preset="small", out=copy)
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter1.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(SettingsError):
            scssl.pretrain(adata, preset="small", out=other, overwrite=overwrite)
    # Another project's config.json, or a model with something of the user's beside it.
    (other / "config.json").write_text("{}")
    (copy / "notes.txt").write_text("mine")
    for folder, name in ((other, "chapter1.txt"), (copy, "notes.txt")):
        with pytest.raises(SettingsError, match=f"holds other things than a model .{name}"):
            scssl.pretrain(adata, preset="small", out=folder, overwrite=True)
    assert (other / "chapter1.txt").read_text() == "years of work"
    assert (copy / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "tiny"}, "choose one of"),
        ({"pretext": "byolo"}, "choose one of"),
        ({"overrides": ["task.rat=0.5"]}, "did you mean 'rate'"),
        ({"overrides": ["task.rate=1.5"]}, "between 0 and 1"),
        ({"overrides": ["task.masking=holes"]}, "one of: random"),
        ({"resume": True}, "give the folder"),
        ({"max_epochs": 0}, "training.epochs is 0"),
        ({"seed": -1}, "training.seed is -1"),
        ({"device": "cuda:9"}, "not available"),
        ({"preset": "small", "config": Config()}, "not both"),
    ],
)
def test_wrong_arguments_are_explained(adata, arguments, message):
    with pytest.raises(ScsslError, match=message):
        scssl.pretrain(adata, **{"max_epochs": 1, **arguments})


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"epochs": 1}, "has no option 'epochs'; give max_epochs="),
        ({"learning_rate": 0.1}, r"give overrides=\['optimiser.learning_rate=...'\]"),
        ({"hidden": [8]}, r"give overrides=\['architecture.hidden=...'\]"),
        ({"pretxt": "byol"}, "did you mean pretext="),
        ({"wings": 2}, "there are: data, preset, pretext"),
    ],
)
def test_an_option_of_another_name_is_answered_with_the_right_one(adata, option, words):
    with pytest.raises(TypeError, match=words):
        scssl.pretrain(adata, **option)


def test_resume_keeps_its_settings(adata, interrupted):
    with pytest.raises(SettingsError, match="leave out preset, max_epochs"):
        scssl.pretrain(adata, preset="small", max_epochs=3, out=interrupted, resume=True)


def test_resume_needs_the_same_cells(adata, interrupted):
    with pytest.raises(SettingsError, match="another corpus"):
        scssl.pretrain(adata[:400].copy(), out=interrupted, resume=True)


def test_a_finished_run_keeps_no_checkpoints_and_says_so_when_resumed(adata, copy):
    assert not (copy / "checkpoints").exists()
    with pytest.raises(SettingsError, match=r"finished model, so there is nothing to resume; .* more epochs"):
        scssl.pretrain(adata, out=copy, resume=True)
    scssl.load(copy)


def test_colleagues_can_read_the_files_of_a_model(folder):
    (folder.parent / "plain").touch()
    usual = (folder.parent / "plain").stat().st_mode
    assert {file.name: file.stat().st_mode for file in folder.rglob("*") if file.is_file()} == {
        file.name: usual for file in folder.rglob("*") if file.is_file()
    }


def test_a_run_that_fails_before_its_first_epoch_leaves_nothing(adata, tmp_path):
    out = tmp_path / "model"
    overrides = ["optimiser.learning_rate=1e30", "optimiser.gradient_clip=0"]
    with pytest.raises(ScsslError, match="lower optimiser"):
        scssl.pretrain(adata, preset="small", genes="union", max_epochs=1, overrides=overrides, out=out)
    assert not (out / "config.json").exists()


def test_what_a_corpus_has_settled_cannot_be_chosen_again(corpus_dir, tmp_path):
    with pytest.raises(SettingsError, match="genes, split_by cannot be chosen for a corpus"):
        scssl.pretrain(corpus_dir, genes="human", split_by="cell")
    with pytest.raises(SettingsError, match="inside the corpus"):
        scssl.pretrain(corpus_dir, out=corpus_dir / "model")
    assert not (corpus_dir / "model").exists()


def test_complete_settings_can_be_given(adata):
    config = Config(training=Training(epochs=1, batch_size=128))
    model = scssl.pretrain(adata, config=config, genes="union", overrides=["architecture.n_latent=5"])
    assert model.embed(adata).shape == (500, 5)
    assert model.card["data"]["cells"]["train"] > 300


def test_pretraining_separates_cell_types(adata):
    # Not a benchmark: only that a trained embedding holds the types at all.
    from sklearn.neighbors import KNeighborsClassifier

    model = scssl.pretrain(adata, preset="small", genes="union", max_epochs=15, seed=0)
    codes, labels = model.embed(adata), adata.obs["cell_type"].to_numpy()
    half = len(codes) // 2
    accuracy = KNeighborsClassifier(5).fit(codes[:half], labels[:half]).score(codes[half:], labels[half:])
    chance = pd.Series(labels).value_counts(normalize=True).iloc[0]
    assert accuracy > chance + 0.2


@pytest.mark.parametrize("masking", ["programme", "programme_to_programme", "programme_to_tf"])
def test_a_model_keeps_its_gene_programmes(adata, tmp_path, masking):
    """They are part of the folder: loading needs neither the file they came from nor the corpus."""
    symbols = [f"{gene}" for gene in adata.var_names]
    lines = [f"TF{i}\tone of a kind\t" + "\t".join(symbols[i * 15 : i * 15 + 20]) for i in range(8)]
    (tmp_path / "sets.gmt").write_text("\n".join(lines))
    table = "\n".join(f"{symbols[i]}\t{target}" for i in range(4) for target in symbols[20 * i + 30 : 20 * i + 50])
    (tmp_path / "factors.tsv").write_text("TF\ttarget\n" + table)
    spec = tmp_path / ("factors.tsv" if masking == "programme_to_tf" else "sets.gmt")
    model = scssl.pretrain(
        adata,
        preset="small",
        max_epochs=1,
        genes="union",
        out=tmp_path / "m",
        overrides=[f"task.masking={masking}", f"task.programmes={spec}", "task.rate=0.2"],
    )
    spec.unlink()
    again = scssl.load(tmp_path / "m")
    np.testing.assert_array_equal(again.embed(adata), model.embed(adata))
    assert again.task.programmes.names == model.task.programmes.names
    np.testing.assert_array_equal(again.task.programmes.members, model.task.programmes.members)
    np.testing.assert_array_equal(again.task.programmes.regulators, model.task.programmes.regulators)
    scssl.pretrain(adata, preset="small", max_epochs=1, genes="union", out=tmp_path / "m", overwrite=True)
    assert not (tmp_path / "m" / "programmes.gmt").exists()


def test_programmes_without_a_use_are_refused(adata):
    with pytest.raises(SettingsError, match="masking is random"):
        scssl.pretrain(adata, genes="union", overrides=["task.programmes=modules:5"])


def test_a_model_outlives_the_run_that_was_to_replace_it(adata, tmp_path):
    out = tmp_path / "model"
    first = scssl.pretrain(adata, preset="small", genes="union", max_epochs=1, out=out)
    overrides = ["optimiser.learning_rate=1e30", "optimiser.gradient_clip=0"]
    with pytest.raises(ScsslError, match="lower optimiser"):
        scssl.pretrain(adata, preset="small", genes="union", max_epochs=1, overrides=overrides, out=out, overwrite=True)
    if (out / "checkpoints" / "last.ckpt").is_file():  # it can be gone on with; the model waits beside it
        assert scssl.load(tmp_path / ".model.before").config == first.config
    else:
        assert scssl.load(out).config == first.config
    again = scssl.pretrain(adata, preset="small", genes="union", max_epochs=2, out=out, overwrite=True)
    assert scssl.load(out).config == again.config != first.config
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_files_with_few_of_the_models_genes_are_warned_about(adata, caplog):
    model = scssl.pretrain(adata, preset="small", genes="union", max_epochs=1)
    few = adata[:, :55].copy()
    model.embed(few)
    assert "measured 55 of the model's" in caplog.text
    caplog.clear()
    model.embed(adata)
    assert "measured" not in caplog.text
