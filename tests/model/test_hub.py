"""Models on the hub, against a stand-in in this process."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

import scssl
from scssl.cli.app import main
from scssl.errors import DataError, FormatError, MissingExtraError, ScsslError, SettingsError
from scssl.model.hub import list_cached, list_online, pull, push
from scssl.model.hub_client import HubId


@pytest.fixture(scope="module")
def adata():
    return scssl.datasets.simulate_atlas(300, 100, seed=2)


@pytest.fixture(scope="module")
def folder(adata, tmp_path_factory):
    out = tmp_path_factory.mktemp("hub") / "model"
    scssl.pretrain(adata, preset="small", genes="union", max_epochs=1, out=out, device="cpu")
    return out


def test_a_published_model_comes_back_the_same(hub, folder, adata, tmp_path, capsys):
    name = push(folder, to="lab/blood", licence="CC-BY-4.0")
    assert name.startswith("lab/blood@")
    assert set(hub.repos["lab/blood"][-1]) == {"config.json", "genes.tsv", "model.safetensors", "README.md"}
    said = capsys.readouterr().err
    assert "uploading 4 files" in said
    assert "cc-by-4.0, public -> lab/blood" in said
    model = scssl.load("lab/blood")
    np.testing.assert_array_equal(model.embed(adata), scssl.load(folder).embed(adata))
    said = capsys.readouterr().err
    assert "downloading lab/blood" in said
    assert "4 files, " in said
    assert "MB, cc-by-4.0" in said
    # Fetched once.
    n = len([line for line in hub.requests if line.startswith("GET /lab")])
    scssl.load("lab/blood")
    assert len([line for line in hub.requests if line.startswith("GET /lab")]) == n
    assert "downloading" not in capsys.readouterr().err


def test_the_card_has_what_the_hub_reads(hub, folder):
    push(folder, to="lab/blood", licence="mit", private=True)
    card = hub.repos["lab/blood"][-1]["README.md"].decode()
    head = hub.info("lab/blood", -1)["cardData"]
    assert head["library_name"] == "scssl"
    assert head["license"] == "mit"
    assert {"scssl", "single-cell", "masked"} <= set(head["tags"])
    for words in ("# lab/blood", 'scssl.load("lab/blood")', "## Data", "val_loss", "## Licence", "## Limits"):
        assert words in card
    assert hub.private == {"lab/blood"}


def test_a_revision_stays_what_it_was(hub, folder, adata, tmp_path):
    first = push(folder, to="lab/blood", licence="mit")
    other = scssl.pretrain(adata, preset="small", genes="union", max_epochs=1, seed=7)
    second = push(other, to="lab/blood", licence="mit")
    hub.tags["lab/blood", "v1"] = len(hub.repos["lab/blood"]) - 2
    expected = scssl.load(folder).embed(adata)
    for name in (first, "lab/blood@v1"):
        np.testing.assert_array_equal(scssl.load(name).embed(adata), expected)
    for name in (second, "lab/blood"):
        assert not np.array_equal(scssl.load(name).embed(adata), expected)
    # A commit that is there needs no question.
    n = len(hub.requests)
    scssl.load(first)
    assert len(hub.requests) == n


def test_it_works_without_a_network(hub, folder, adata, monkeypatch, caplog):
    pinned = push(folder, to="lab/blood", licence="mit")
    hub.tags["lab/blood", "v1"] = len(hub.repos["lab/blood"]) - 1
    expected = scssl.load("lab/blood@v1").embed(adata)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    n = len(hub.requests)
    for name in ("lab/blood@v1", pinned):
        np.testing.assert_array_equal(scssl.load(name).embed(adata), expected)
    for name in ("lab/other", "lab/blood@v2", "lab/blood"):
        with pytest.raises(DataError, match="not in the cache, and HF_HUB_OFFLINE is set"):
            scssl.load(name)
    assert len(hub.requests) == n
    # A network that is down, rather than not to be used: the cache is used as well, and that is said.
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    np.testing.assert_array_equal(scssl.load("lab/blood@v1").embed(adata), expected)
    assert "model in the cache is used" in caplog.text
    with pytest.raises(DataError, match="is there a network"):
        scssl.load("lab/blood@v2")


def test_an_interrupted_transfer_goes_on(hub, folder, monkeypatch):
    hub.add("lab/blood", folder)
    hub.cut["model.safetensors"] = 50_000
    monkeypatch.setattr("time.sleep", lambda _: None)
    scssl.load("lab/blood")
    asked = [line for line in hub.requests if line.startswith("GET") and "safetensors" in line]
    assert len(asked) == 2


def test_a_transfer_that_was_stopped_goes_on_in_the_next_call(hub, folder, monkeypatch):
    def stop(_):
        raise KeyboardInterrupt

    hub.add("lab/blood", folder)
    hub.cut["model.safetensors"] = 50_000
    with monkeypatch.context() as patch:
        patch.setattr("time.sleep", stop)
        patch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000)
        with pytest.raises(KeyboardInterrupt):
            scssl.load("lab/blood")
    scssl.load("lab/blood")
    last = [line for line in hub.requests if line.startswith("GET") and "safetensors" in line][-1]
    assert last.endswith("bytes=50000-")


def test_what_was_not_fetched_whole_is_not_used(hub, folder, tmp_path, monkeypatch):
    """The config comes last: without it nothing in the cache is taken for a model."""
    sha = hub.add("lab/blood", folder)
    hub.lies["genes.tsv"] = b"x"
    with pytest.raises(ScsslError):
        scssl.load("lab/blood")
    hub.lies.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match="not in the cache"):
        scssl.load(f"lab/blood@{sha}")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    scssl.load("lab/blood")


@pytest.mark.parametrize("name", ["model.safetensors", "genes.tsv", "config.json"])
def test_files_that_were_changed_are_refused(hub, folder, name, monkeypatch):
    """On the way, and in the cache."""
    pinned = f"lab/blood@{hub.add('lab/blood', folder)}"
    right = (folder / name).read_bytes()
    hub.lies[name] = bytes([right[0] ^ 1]) + right[1:]
    with pytest.raises(FormatError, match=f"{name} is not the file that was published"):
        scssl.load(pinned)
    hub.lies.clear()
    kept = pull(pinned) / name
    kept.resolve().write_bytes(right[:-1] + b"?")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FormatError, match=f"{name} is not the file that was published"):
        scssl.load(pinned)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    scssl.load(pinned)


def test_only_a_models_files_are_taken(hub, folder, tmp_path):
    more = {"run_me.py": b"1", "model.pkl": b"2", "../../escape": b"3", "sub/config.json": b"4", ".netrc": b"5"}
    hub.add("lab/blood", folder, more=more)
    out = pull("lab/blood", out=tmp_path / "copy")
    assert {path.name for path in out.iterdir()} == {"config.json", "genes.tsv", "model.safetensors", "README.md"}
    assert not any(path.is_symlink() for path in out.iterdir())
    assert not any(word in line for line in hub.requests for word in ("run_me", "pkl", "escape", "sub", "netrc"))
    scssl.load(out)
    with pytest.raises(SettingsError, match="exists already"):
        pull("lab/blood", out=out)
    pull("lab/blood", out=out, overwrite=True)


def test_nothing_of_the_publishers_disk_is_published(hub, adata, tmp_path, monkeypatch):
    """Of a run with a capsule, which says where everything lies, and of a model that learned from labels since."""
    genes = list(adata.var_names)
    sets, run, panel = tmp_path / "sets.gmt", tmp_path / "run", tmp_path / "panel.txt"
    sets.write_text("\n".join("\t".join([f"S{i}", "x", *genes[20 * i : 20 * i + 30]]) for i in range(4)))
    panel.write_text("\n".join(genes))
    adata.write_h5ad(tmp_path / "cells.h5ad")
    (tmp_path / "telling-folder").mkdir()
    monkeypatch.chdir(tmp_path / "telling-folder")
    monkeypatch.setattr("sys.argv", ["/opt/telling-bin/scssl", "pretrain", "--telling-option", str(sets)])
    shape = ["architecture.hidden=[8]", "task.masking=programme", f"task.programmes={sets}", "task.rate=0.2"]
    model = scssl.pretrain(
        tmp_path / "cells.h5ad", preset="small", genes=panel, max_epochs=1, overrides=shape, loggers=["csv"], out=run
    )
    assert b"telling-option" in (run / "capsule.json").read_bytes()
    model.card["supervised"] = {"reference": str(tmp_path / "labelled.h5ad")}
    for what in (model, run):
        push(what, to="lab/blood", licence="mit")
        files = hub.repos["lab/blood"][-1]
        assert set(files) == {"config.json", "genes.tsv", "model.safetensors", "README.md", "programmes.gmt"}
        secrets = [str(tmp_path).encode(), tmp_path.name.encode(), b"telling-", b"machine", b"/opt"]
        assert [name for name, content in files.items() if any(secret in content for secret in secrets)] == []
    push(model, to="lab/blood", licence="mit")
    again = scssl.load("lab/blood")
    assert again.config.task["programmes"] == "sets.gmt"
    assert again.card["supervised"] == {"reference": "labelled.h5ad"}
    np.testing.assert_array_equal(again.embed(adata), model.embed(adata))
    # The model itself stays as it was.
    assert model.config.task["programmes"] == str(sets)
    assert model.card["licence"] != "mit"


def test_only_a_models_files_are_published(hub, folder, tmp_path):
    """And of those what they hold, not what a link beside them points to."""
    import shutil

    copy = shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "secret").write_text("password")
    (copy / "README.md").unlink()
    (copy / "README.md").symlink_to(tmp_path / "secret")
    (copy / "notes.txt").write_text("password")
    push(copy, to="lab/blood", licence="mit")
    files = hub.repos["lab/blood"][-1]
    assert "notes.txt" not in files
    assert not any(b"password" in content for content in files.values())


@pytest.mark.parametrize(
    "text",
    [
        "blood",
        "a/b/c",
        "../m",
        "/a/b",
        "a/..",
        "a/b@",
        "a/b@../../x",
        "a b/c",
        "a/b@-x",
        "a--b/c",
        "a/b.git",
        "~/m",
        "",
    ],
)
def test_what_is_no_id(text):
    assert not HubId.like(text)
    with pytest.raises(SettingsError, match="owner/name"):
        pull(text)


def test_what_the_hub_does_not_have(hub, folder):
    with pytest.raises(DataError, match=r"lab/none is no folder here; .*there is no such model, or it is private"):
        scssl.load("lab/none")
    hub.add("lab/blood", folder)
    with pytest.raises(DataError, match="no revision 'v9'"):
        scssl.load("lab/blood@v9")
    hub.repos["lab/text"] = [{"README.md": b"text", "pytorch_model.bin": b"x"}]
    with pytest.raises(FormatError, match=r"not a model of scssl: it has no config\.json"):
        scssl.load("lab/text")


def test_publishing_needs_a_licence_and_a_login(hub, folder, monkeypatch):
    with pytest.raises(SettingsError, match="needs one: --licence"):
        push(folder, to="lab/blood")
    with pytest.raises(SettingsError, match="choose one of: apache"):
        push(folder, to="lab/blood", licence="mine")
    with pytest.raises(SettingsError, match="leave out the revision"):
        push(folder, to="lab/blood@v1", licence="mit")
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    with pytest.raises(DataError, match="hf auth login"):
        push(folder, to="lab/blood", licence="mit")
    assert hub.repos == {}


def test_models_are_listed(hub, folder, monkeypatch):
    assert list_cached() == []
    pinned = push(folder, to="lab/blood", licence="mit")
    hub.repos["lab/text"] = [{"README.md": b"---\ntags: [bert]\n---\n"}]
    assert [entry["model"] for entry in list_online()] == ["lab/blood"]
    assert list_online(owner="nobody") == []
    scssl.load("lab/blood")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    [entry] = list_cached()
    assert entry["model"] == pinned
    assert entry["revisions"] == ["main"]
    assert (entry["n_genes"], entry["n_latent"]) == (100, 32)


def test_without_a_network_no_list_is_asked_for_again_and_again(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.HfApi.list_models", lambda *_, **__: pytest.fail("asked for a list"))
    with pytest.raises(DataError, match=r"models cannot be listed from http://127\.0\.0\.1:9 .*is there a network"):
        list_online()
    with pytest.raises(SettingsError, match="limit is 0; it must be 1 or more"):
        list_online(limit=0)


def test_the_commands(hub, folder, atlas_file, tmp_path, capsys):
    assert main(["models", "list"]) == 0
    assert "no models" in capsys.readouterr().out
    assert main(["models", "push", str(folder), "lab/blood", "--licence", "mit", "--json"]) == 0
    name = json.loads(capsys.readouterr().out)["model"]
    assert main(["models", "pull", "lab/blood", "--out", str(tmp_path / "m")]) == 0
    assert str(tmp_path / "m") in capsys.readouterr().out
    assert main(["models", "pull", name]) == 0
    assert main(["models", "list"]) == 0
    assert name[:20] in capsys.readouterr().out
    assert main(["models", "list", "--online", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["online"][0]["model"] == "lab/blood"
    assert main(["embed", str(atlas_file), "--model", name, "--out", str(tmp_path / "e.h5ad"), "--quiet"]) == 0
    capsys.readouterr()
    for words in (["pull", "nonsense"], ["pull", "lab/none"], ["push", str(tmp_path), "lab/x"]):
        assert main(["models", *words]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_missing_extra_is_named(monkeypatch, folder):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    scssl.load(folder)
    with pytest.raises(MissingExtraError, match=r"pip install 'scssl\[hub\]'"):
        scssl.load("lab/blood")
    with pytest.raises(MissingExtraError, match=r"pip install 'scssl\[hub\]'"):
        push(folder, to="lab/blood", licence="mit")
