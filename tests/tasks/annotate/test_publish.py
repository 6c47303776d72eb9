"""Annotators on the hub, against a stand-in in this process."""

from __future__ import annotations

import json
import shutil
import sys
from importlib import import_module

import numpy as np
import pytest

import scssl
from scssl.cli.app import main
from scssl.errors import DataError, FormatError, MissingExtraError, SettingsError
from scssl.model.hub import list_cached, pull, push
from scssl.model.hub_earlier import PUSHED
from scssl.model.hub_kinds import MODEL, TASKS, files_of, kind_of, taken
from scssl.tasks import Annotator

OBO = """format-version: 1.2
data-version: test

[Term]
id: CL:0000001
name: cell

[Term]
id: CL:0000002
name: type_1
is_a: CL:0000001
"""
FILES = {
    "annotator.json", "reference.safetensors", "classifier.safetensors", "trust.safetensors", "README.md",
    "model/config.json", "model/genes.tsv", "model/model.safetensors", "model/README.md",
}  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folder of an annotator, and the file that it learned from."""
    folder = tmp_path_factory.mktemp("secret-place")
    cells = scssl.datasets.simulate_atlas(300, 100, n_types=3, type_effect=3.0, seed=3)
    cells.write_h5ad(folder / "cells.h5ad")
    (folder / "cl.obo").write_text(OBO)
    model = scssl.pretrain(cells, preset="small", pretext="none", genes="union", max_epochs=1)
    annotator = Annotator(model, mode="probe")
    annotator.fit(folder / "cells.h5ad", labels="cell_type", ontology=folder / "cl.obo").save(folder / "annotator")
    (folder / "annotator" / "notes.json").write_text("{}")
    return folder / "annotator", folder / "cells.h5ad"


@pytest.fixture
def published(hub, saved, capsys):
    """The hub after `scssl models push`, and the name of what was pushed."""
    assert main(["models", "push", str(saved[0]), "lab/blood", "--licence", "cc-by-4.0", "--json", "--quiet"]) == 0
    return hub, json.loads(capsys.readouterr().out)["model"]


def test_a_published_annotator_is_used_like_a_model(published, saved, tmp_path, capsys, monkeypatch):
    hub, name = published
    path, cells = saved
    assert name.startswith("lab/blood@")
    assert set(hub.repos["lab/blood"][-1]) == FILES
    out = tmp_path / "named.h5ad"
    assert main(["annotate", str(cells), "--model", "lab/blood", "--out", str(out), "--quiet", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert main(["annotate", str(cells), "--model", str(path), "--out", str(tmp_path / "o.h5ad"), "--json"]) == 0
    expected = json.loads(capsys.readouterr().out)
    assert found["labels"] == expected["labels"]
    assert found["label_sets"] == expected["label_sets"]
    # Its model alone, and all of it again, without a network.
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    n = len(hub.requests)
    local = Annotator.load(path)
    np.testing.assert_array_equal(scssl.load(name).embed(cells), local.model.embed(cells))
    assert list(Annotator.load(name).annotate(cells).labels) == list(local.annotate(cells).labels)
    assert len(hub.requests) == n
    assert [entry["model"] for entry in list_cached()] == [name]


def test_nothing_of_the_publishers_disk_is_published(hub, saved, tmp_path, monkeypatch):
    """Neither where things lie, nor the command, the folder it is given in and the machine it runs on."""
    (tmp_path / "telling-folder").mkdir()
    monkeypatch.chdir(tmp_path / "telling-folder")
    words = ["models", "push", str(saved[0]), "lab/blood", "--licence", "cc-by-4.0", "--message", "telling-words"]
    monkeypatch.setattr("sys.argv", ["/opt/telling-bin/scssl", *words])
    assert main([*words, "--quiet"]) == 0
    files = hub.repos["lab/blood"][-1]
    secrets = [
        b"secret-place",
        b"telling-",
        str(tmp_path).encode(),
        b"models push",
        b'"command"',
        b'"machine"',
        b"/opt",
    ]
    assert [name for name, content in files.items() if any(secret in content for secret in secrets)] == []
    assert set(json.loads(files["annotator.json"])["environment"]) == {"versions"}
    card = files["README.md"].decode()
    assert hub.info("lab/blood", -1)["cardData"]["license"] == "cc-by-4.0"
    for words in ("cells.h5ad", "- type_1", "--model lab/blood", "accuracy: ", "## Limits"):
        assert words in card


def test_what_is_fetched_is_checked(published, saved, tmp_path, capsys):
    hub, _ = published
    assert main(["models", "pull", "lab/blood", "--out", str(tmp_path / "mine"), "--quiet"]) == 0
    assert "scssl annotate" in capsys.readouterr().out
    assert {file.relative_to(tmp_path / "mine").as_posix() for file in (tmp_path / "mine").rglob("*.*")} == FILES
    Annotator.load(tmp_path / "mine")
    shutil.copytree(saved[0], tmp_path / "another", ignore=shutil.ignore_patterns("notes.json"))
    before = (tmp_path / "another" / "annotator.json").read_bytes()
    assert main(["models", "pull", "lab/blood", "--out", str(tmp_path / "another"), "--quiet"]) == 2
    assert "another exists already" in capsys.readouterr().err
    assert (tmp_path / "another" / "annotator.json").read_bytes() == before
    assert main(["models", "pull", "lab/blood", "--out", str(tmp_path / "another"), "--overwrite", "--quiet"]) == 0
    Annotator.load(tmp_path / "another")
    hub.repos["lab/other"] = [dict(hub.repos["lab/blood"][-1])]
    # What is in the cache already is not asked for again: another file, then.
    whole = hub.repos["lab/other"][0]["trust.safetensors"]
    hub.repos["lab/other"][0]["trust.safetensors"] = whole + b" "
    hub.lies["trust.safetensors"] = whole + b"!"
    with pytest.raises(FormatError, match=r"trust\.safetensors is not the file that was published"):
        Annotator.load("lab/other")
    # Altered before it was published: the annotator's own checksums tell.
    hub.lies.clear()
    with pytest.raises(FormatError, match=r"trust\.safetensors: has .* bytes"):
        Annotator.load("lab/other")


def test_mistakes(hub, saved, capsys, monkeypatch):
    with pytest.raises(SettingsError, match="no licence"):
        Annotator.load(saved[0]).push("lab/blood")
    with pytest.raises(SettingsError, match="leave out the revision"):
        Annotator.load(saved[0]).push("lab/blood@v1", licence="mit")
    # Asked for before anything is written.
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "huggingface_hub", None)
        patch.setattr("scssl.tasks.annotate.files.write", lambda *_, **__: pytest.fail("written"))
        with pytest.raises(MissingExtraError, match=r"pip install 'scssl\[hub\]'"):
            Annotator.load(saved[0]).push("lab/blood", licence="mit")
    assert main(["annotate", str(saved[1]), "--model", "lab/nothing", "--out", "o.h5ad", "--quiet"]) == 2
    assert "there is no such model" in capsys.readouterr().err
    assert not hub.repos


def test_files_that_are_taken():
    model = ["config.json", "genes.tsv", "model.safetensors"]
    inside = [f"model/{name}" for name in model]
    assert taken([*model, "run.py", "README.md"]) == (*model, "README.md")
    junk = ["a.safetensors", "junk.json", "capsule.json", "study.safetensors", "notes.md", "run.py", "b/c.json",
            "model/run.json"]  # fmt: skip
    own = ("annotator.json", "reference.safetensors", "trust.safetensors", "README.md")
    assert taken([*junk, *reversed(own), *inside]) == (*inside, *own)
    assert taken(["annotator.json", *inside[1:]]) == ()
    assert taken([*inside, *junk]) == ()


@pytest.mark.parametrize("task", ["annotate", "integrate", "reconstruct", "simulate", "translate"])
def test_the_files_of_a_task_are_those_that_it_writes(task):
    """The hub's room may not ask the tasks', which come later."""
    module = import_module(f"scssl.tasks.{task}.files")
    arrays = [value for value in vars(module).values() if isinstance(value, str) and value.endswith(".safetensors")]
    assert TASKS[module.KIND.named] == (module.KIND.settings, *arrays)
    assert PUSHED.get(module.KIND.named, {}).get(module.KIND.settings) in (None, module.KIND.format)


def test_a_kind_replaces_none_but_its_own(published, saved, tmp_path):
    hub, _ = published
    push(saved[0] / "model", to="lab/model", licence="mit")
    place = tmp_path / "o"
    annotator, model = pull("lab/blood", out=place / "a"), pull("lab/model", out=place / "m")
    before = contents(place)
    for name, out, there, found in (("model", annotator, "an annotator", MODEL), ("blood", model, MODEL, "an ann")):
        with pytest.raises(SettingsError, match="exists already; choose another folder, or overwrite it"):
            pull(f"lab/{name}", out=out)
        with pytest.raises(SettingsError, match=f"holds {there}, and what was fetched is {found}") as caught:
            pull(f"lab/{name}", out=out, overwrite=True)
        assert "\n" not in str(caught.value)
    assert contents(place) == before
    # Another of its kind, with files less: none of the old are left.
    zero = Annotator.load(saved[0])
    Annotator(zero.model, mode="zero_shot").fit(saved[1], labels="cell_type").push("lab/zero", licence="mit")
    assert "classifier.safetensors" not in hub.repos["lab/zero"][-1]
    pull("lab/zero", out=annotator, overwrite=True)
    assert set(contents(annotator)) == set(hub.repos["lab/zero"][-1])
    assert Annotator.load(annotator).settings.mode == "zero_shot"
    pull("lab/blood", out=annotator, overwrite=True)
    pull("lab/blood", out=annotator, overwrite=True)
    assert Annotator.load(annotator).settings.mode == "probe"
    assert {folder.name for folder in place.iterdir()} == {"a", "m"}


def test_a_push_replaces_what_scssl_published_there_and_nothing_else(hub, saved, capsys):
    others = {"LICENSE": b"x", "figures/umap.png": b"y", "model/notes.md": b"z", ".gitattributes": b"*"}
    hub.repos["lab/blood"] = [dict(others)]
    annotator, model = Annotator.load(saved[0]), saved[0] / "model"
    push(model, to="lab/blood", licence="mit")
    assert "removing" not in capsys.readouterr().err
    # With the files of the model left beside its own, it was a model to whoever fetched it.
    annotator.push("lab/blood", licence="mit")
    said = capsys.readouterr().err
    assert "removing what was published there before: config.json, genes.tsv, model.safetensors" in said
    assert set(hub.repos["lab/blood"][-1]) == FILES | set(others)
    Annotator.load("lab/blood")
    zero = Annotator(annotator.model, mode="zero_shot").fit(saved[1], labels="cell_type")
    zero.push("lab/blood", licence="mit")
    assert FILES.difference(hub.repos["lab/blood"][-1]) == {"classifier.safetensors"}
    push(model, to="lab/blood", licence="mit")
    assert set(hub.repos["lab/blood"][-1]) == {"config.json", "genes.tsv", "model.safetensors", "README.md", *others}
    assert all(hub.repos["lab/blood"][-1][name] == content for name, content in others.items())


@pytest.mark.parametrize("config", [b'{"model_type": "bert"}', b"[]", b"\xff", b" " * 300_000])
def test_files_of_another_library_stay(hub, saved, config, monkeypatch):
    monkeypatch.setattr("scssl.model.hub_kinds.MAX_TEXT_BYTES", 200_000)
    theirs = {"config.json": config, "genes.tsv": b"x", "model.safetensors": b"y"}
    hub.repos["lab/blood"] = [dict(theirs)]
    Annotator.load(saved[0]).push("lab/blood", licence="mit")
    assert {name: hub.repos["lab/blood"][-1][name] for name in theirs} == theirs


@pytest.mark.parametrize("kind", [*TASKS, "an annotator of another library"])
def test_saved_tasks_that_somebody_uploaded_stay(hub, saved, kind):
    """A push publishes models and annotators only, so no other task there can be of one."""
    model = {f"model/{file.name}": file.read_bytes() for file in (saved[0] / "model").iterdir()}
    own = dict.fromkeys(TASKS.get(kind, TASKS["an annotator"]), b'{"format": "scssl-integrator"}')
    if kind == "an annotator":
        own = {name: (saved[0] / name).read_bytes() for name in own}
    hub.repos["lab/blood"] = [{**model, **own}]
    push(saved[0] / "model", to="lab/blood", licence="mit")
    stays = kind != "an annotator"
    assert {name in hub.repos["lab/blood"][-1] for name in (*own, *model)} == {stays}


def test_a_model_that_two_tasks_have_in_common_stays(hub, saved):
    annotator = Annotator.load(saved[0])
    annotator.push("lab/blood", licence="mit")
    other = {"integrator.json": b"{}", "study.safetensors": b"x"}
    hub.repos["lab/blood"][-1].update(other)
    push(saved[0] / "model", to="lab/blood", licence="mit")
    gone = set(TASKS["an annotator"])
    model = {"config.json", "genes.tsv", "model.safetensors"}
    assert set(hub.repos["lab/blood"][-1]) == (FILES - gone) | set(other) | model
    # The annotator's own model is in place of theirs.
    annotator.push("lab/blood", licence="mit")
    assert set(hub.repos["lab/blood"][-1]) == FILES | set(other)


def test_what_changes_while_it_is_looked_at_is_not_overwritten(hub, saved):
    model = saved[0] / "model"
    push(model, to="lab/blood", licence="mit")
    hub.meanwhile["lab/blood"] = {"config.json": b"theirs"}
    with pytest.raises(DataError, match="somebody changed it meanwhile"):
        Annotator.load(saved[0]).push("lab/blood", licence="mit")
    assert hub.repos["lab/blood"][-1]["config.json"] == b"theirs"
    assert "annotator.json" not in hub.repos["lab/blood"][-1]


def test_an_interrupted_copy_leaves_what_was_there(published, tmp_path, monkeypatch):
    copy = shutil.copyfile

    def stop(source, target):
        if "trust" in source.name:
            raise KeyboardInterrupt
        copy(source, target)

    for overwrite in (False, True):
        before = contents(tmp_path / "a")
        assert bool(before) == overwrite
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "copyfile", stop)
            with pytest.raises(KeyboardInterrupt):
                pull("lab/blood", out=tmp_path / "a", overwrite=overwrite)
        assert contents(tmp_path / "a") == before
        assert {folder.name for folder in tmp_path.iterdir()} == ({"a", "cache"} if overwrite else {"cache"})
        Annotator.load(pull("lab/blood", out=tmp_path / "a", overwrite=overwrite))


def test_nothing_of_the_users_is_lost(published, tmp_path, monkeypatch):
    out = tmp_path / "a"
    out.mkdir()
    with monkeypatch.context() as patch:
        patch.chdir(out)
        with pytest.raises(SettingsError, match="is the folder that this runs in"):
            pull("lab/blood", out=".")
    pull("lab/blood", out=out)
    (out / "model" / "notes.txt").write_text("mine")
    with pytest.raises(SettingsError, match=r"holds model/notes\.txt, which is no file of an annotator and would be"):
        pull("lab/blood", out=out, overwrite=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("mine")
    with pytest.raises(SettingsError, match="it is no model or task of scssl, choose another folder"):
        pull("lab/blood", out=tmp_path / "b", overwrite=True)
    assert (out / "model" / "notes.txt").read_text() == (tmp_path / "b" / "notes.txt").read_text() == "mine"
    # A link to a folder stays one.
    (tmp_path / "c").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "c")
    pull("lab/blood", out=tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    Annotator.load(tmp_path / "c")


def test_junk_is_not_asked_for_and_what_is_too_large_is_refused(published, tmp_path, monkeypatch):
    hub, _ = published
    junk = dict.fromkeys(("junk.json", "capsule.json", "secrets.safetensors", "notes.md", "a/config.json"), b"{}")
    hub.repos["lab/junk"] = [{**hub.repos["lab/blood"][-1], **junk, "reference.safetensors": b"x" * 300_000}]
    n = len(hub.requests)
    for limit, most, name in (
        ("MAX_ARRAYS_BYTES", 299_999, r"reference\.safetensors"),
        ("MAX_TEXT_BYTES", 50, r"model/config\.json"),
        ("MAX_BYTES", 50, r"annotator\.json"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(f"scssl.model.hub_kinds.{limit}", most)
            with pytest.raises(FormatError, match=f"lab/junk: its {name} is larger than that of any model") as caught:
                pull("lab/junk")
            assert "\n" not in str(caught.value)
    assert not [line for line in hub.requests[n:] if "/resolve/" in line]
    assert set(contents(pull("lab/junk", out=tmp_path / "a"))) == FILES
    assert not [line for line in hub.requests[n:] if any(name in line for name in junk)]
    assert kind_of(FILES) == "an annotator"
    assert set(files_of("an annotator")) == FILES | {"model/programmes.gmt"}


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*.*")) if p.is_file()}
