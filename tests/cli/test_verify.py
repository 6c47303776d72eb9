"""`scssl verify`: what is the same is said to be, and whatever was changed is found."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import scssl
from scssl.cli._verify import verify_run
from scssl.cli.app import main
from scssl.model.capsule import PARTS, read_capsule
from scssl.model.verify import verify_model


@pytest.fixture(scope="module")
def model(corpus_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("verify") / "model"
    words = ["pretrain", str(corpus_dir), "--out", str(out), "--preset", "small", "--epochs", "2", "--quiet"]
    assert main([*words, "--set", "training.precision=fp32", "--seed", "3"]) == 0
    return out


@pytest.fixture
def copy(model, tmp_path):
    return shutil.copytree(model, tmp_path / "copy")


def verify(capsys, folder, *more):
    capsys.readouterr()
    code = main(["verify", str(folder), *map(str, more), "--json"])
    result = json.loads(capsys.readouterr().out)
    assert result.get("same", False) == (code == 0)
    return code, {f"{c['place']} {c['what']}".strip(): c for c in result.get("checks", [])}


def test_a_run_is_what_it_was(model, capsys, corpus_dir):
    code, found = verify(capsys, model)
    assert code == 0
    assert {name: check["state"] for name, check in found.items()} == dict.fromkeys(
        ["capsule", "files", "environment", "codes", "data", "metrics"], "same"
    )
    assert str(corpus_dir) in found["data"]["text"]
    assert main(["verify", str(model)]) == 0
    assert "Nothing differs." in capsys.readouterr().out


def test_a_capsule_has_all_that_a_run_depended_on(model, corpus_dir):
    capsule = read_capsule(model)
    assert set(PARTS) <= set(capsule)
    assert capsule["seeds"] == {"training": 3}
    assert capsule["data"]["corpus"] == scssl.Corpus.open(corpus_dir).fingerprint
    assert capsule["genes"]["sha256"] == scssl.load(model).panel.fingerprint
    assert {"config.json", "genes.tsv", "model.safetensors", "history.csv", "settings.json"} == set(capsule["files"])
    assert capsule["environment"]["versions"]["scssl"] == scssl.__version__
    assert capsule["metrics"]["val_loss"] > 0


def edit(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def flip(file):
    content = bytearray(file.read_bytes())
    content[-7] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "what", "words"),
    [
        (lambda f: flip(f / "history.csv"), "files", "history.csv was altered"),
        (lambda f: (f / "history.csv").unlink(), "files", "history.csv is missing"),
        (lambda f: (f / "settings.json").write_text("{}"), "files", "settings.json has 2 bytes"),
        (lambda f: flip(f / "model.safetensors"), "files", "model.safetensors"),
        (lambda f: edit(f / "config.json", lambda c: c["example"]["codes"][0].reverse()), "codes", "that it carries"),
        (lambda f: edit(f / "config.json", lambda c: c["example"].clear()), "codes", "that it carries"),
        (lambda f: edit(f / "config.json", lambda c: c["card"]["metrics"].update(val_loss=0.5)), "metrics", "as 0.5"),
        (lambda f: edit(f / "capsule.json", lambda c: c.pop("seeds")), "capsule", "lacks seeds"),
        (lambda f: edit(f / "capsule.json", lambda c: c.update(version=9)), "files", "reads up to 1"),
        (lambda f: edit(f / "capsule.json", lambda c: c["files"].update({"../x": {}})), "files", "no file of a run"),
        (lambda f: edit(f / "capsule.json", lambda c: c["files"].update({"a\0b": {}})), "files", "no file of a run"),
        (lambda f: edit(f / "capsule.json", lambda c: c.update(data="corpus")), "files", "not the capsule"),
        (lambda f: edit(f / "capsule.json", lambda c: c.update(environment=3)), "files", "not the capsule"),
        (lambda f: (f / "capsule.json").write_text("[" * 50_000), "files", "is not JSON"),
    ],
)
def test_what_was_changed_is_found(copy, capsys, damage, what, words):
    damage(copy)
    code, found = verify(capsys, copy)
    assert code == 2
    assert found[what]["state"] == "differs"
    assert words in found[what]["text"]


def test_homes_of_users_that_are_not_here(copy, capsys):
    """Paths of a run that somebody else made."""
    inputs = [{"path": "~nobody-of-that-name/a.h5ad", "sha256": "0"}]
    edit(copy / "capsule.json", lambda c: c["data"].update(path="~nobody-of-that-name/corpus", inputs=inputs))
    code, found = verify(capsys, copy)
    assert (code, found["data"]["state"]) == (0, "unknown")


def test_weights_that_were_altered_are_not_loaded(copy):
    flip(copy / "model.safetensors")
    with pytest.raises(scssl.errors.FormatError, match="altered"):
        scssl.load(copy)


def test_people_may_write_in_the_card(copy, capsys):
    (copy / "README.md").write_text("Our best model so far.")
    assert verify(capsys, copy)[0] == 0


def test_another_corpus_is_not_taken_for_it(copy, capsys, tmp_path, atlas_file, corpus_dir):
    other = scssl.Corpus.build(atlas_file, tmp_path / "other", genes="union", source="study", seed=5).path
    code, found = verify(capsys, copy, "--corpus", other)
    assert code == 2
    assert "not the corpus that it was trained on" in found["data"]["text"]
    assert found["metrics"]["state"] == "unknown"
    moved = shutil.copytree(corpus_dir, tmp_path / "moved")
    assert verify(capsys, copy, "--corpus", moved)[1]["metrics"]["state"] == "same"


def test_networks_of_a_study_are_of_no_corpus_that_could_be_given(copy, tmp_path, corpus_dir):
    """They are trained on what an arm leaves of it: given the corpus that was studied, they differed."""
    study = tmp_path / "study"
    shutil.copytree(copy, study / "models" / "masked")
    edit(study / "models" / "masked" / "config.json", lambda c: c["card"]["data"].update(corpus="of an arm"))
    (study / "verdict.json").write_text("{}")
    found = [f for _, f in verify_run(study, corpus=corpus_dir) if f.what in ("data", "metrics")]
    assert [(f.what, f.state) for f in found] == [("metrics", "unknown")]
    assert "--corpus" not in found[0].text


def test_what_cannot_be_recomputed_is_said(copy, capsys):
    edit(copy / "capsule.json", lambda c: c["data"].update(path="/no/such/corpus"))
    code, found = verify(capsys, copy)
    assert code == 0
    assert "--corpus DIR" in found["metrics"]["text"]
    # A model from elsewhere is verified by what it carries.
    (copy / "capsule.json").unlink()
    code, found = verify(capsys, copy)
    assert (code, found["codes"]["state"], found["capsule"]["state"]) == (0, "same", "unknown")


def test_other_packages_are_no_failure(copy, capsys):
    edit(copy / "capsule.json", lambda c: c["environment"]["versions"].update(torch="1.0"))
    code, found = verify(capsys, copy)
    assert (code, found["environment"]["state"]) == (0, "other")
    assert "torch 1.0 then" in found["environment"]["text"]


def test_saved_tasks_and_what_is_in_them(model, atlas, tmp_path, capsys):
    annotator = scssl.tasks.Annotator(model, mode="zero_shot").fit(atlas, labels="cell_type", donor="donor")
    annotator.save(tmp_path / "annotator")
    code, found = verify(capsys, tmp_path / "annotator")
    assert code == 0
    assert found["files"]["state"] == found["environment"]["state"] == found["model codes"]["state"] == "same"
    flip(tmp_path / "annotator" / "reference.safetensors")
    code, found = verify(capsys, tmp_path / "annotator")
    assert (code, found["files"]["state"]) == (2, "differs")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "scssl-simulator"}', None])
@pytest.mark.parametrize(
    ("settings", "arrays"), [("simulator.json", "simulator.safetensors"), ("annotator.json", "reference.safetensors")]
)
def test_broken_settings_of_a_saved_task_are_not_passed_over(copy, tmp_path, capsys, settings, arrays, text):
    saved = tmp_path / "saved"
    saved.mkdir()
    copy.rename(saved / "model")
    (saved / arrays).write_bytes(b"arrays")
    if text is not None:
        (saved / settings).write_text(text)
    code, found = verify(capsys, saved)
    assert code == 2
    assert found["files"]["state"] == "differs"
    assert settings in found["files"]["text"]


def test_a_folder_of_runs(model, corpus_dir, tmp_path, capsys):
    shutil.copytree(model, tmp_path / "all" / "model")
    shutil.copytree(corpus_dir, tmp_path / "all" / "corpus")
    code, found = verify(capsys, tmp_path / "all")
    assert (code, found["corpus files"]["state"], found["model files"]["state"]) == (0, "same", "same")


def test_mistakes_are_one_line(tmp_path, capsys, copy):
    for folder, words in ((tmp_path / "none", "no such folder"), (tmp_path / "empty", "no run of scssl")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        assert main(["verify", str(folder)]) == 2
        said = capsys.readouterr().err
        assert words in said
        assert len(said.splitlines()) == 1
    (copy / "config.json").unlink()
    (copy / "capsule.json").unlink()
    code, found = verify(capsys, copy)
    assert (code, found["run"]["state"]) == (2, "differs")


def test_codes_of_the_example_equal_those_of_the_same_cells(model):
    """The cells that a model carries are embedded as any others."""
    import anndata as ad
    import pandas as pd

    loaded = scssl.load(model)
    example = json.loads((model / "config.json").read_text())["example"]
    counts = np.zeros((4, len(loaded.panel)), dtype=np.float32)
    for row, (where, values) in enumerate(zip(example["genes"], example["counts"], strict=True)):
        counts[row, where] = values
    cells = ad.AnnData(counts, var=pd.DataFrame(index=loaded.panel.ids))
    np.testing.assert_allclose(loaded.embed(cells, device="cpu"), example["codes"], atol=1e-5)


@pytest.mark.parametrize("pretext", ["vicreg", "byol", "masked"])
def test_other_tasks_come_out_again_as_well(corpus_dir, tmp_path, pretext):
    """Losses of counts take gradients within the forward pass; two-view losses compare the cells of a batch."""
    loss = ["task.loss=zinb"] if pretext == "masked" else []
    common = {"preset": "small", "max_epochs": 1, "loggers": ["csv"], "device": "cpu"}
    scssl.pretrain(corpus_dir, pretext=pretext, overrides=loss, out=tmp_path / "m", **common)
    states = {finding.what: finding.state for finding in verify_model(tmp_path / "m")}
    assert (states["codes"], states["metrics"]) == ("same", "same")
