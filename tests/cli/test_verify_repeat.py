"""`scssl verify --repeat`: what a foreign run makes it do, and how what comes out is compared."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import sparse

from scssl.cli import _repeat, _repeat_command
from scssl.cli._repeat import repeat
from scssl.cli._repeat_command import UnrepeatableError, command_again
from scssl.cli._repeat_compare import _far, _of_scores, _of_tables, differences
from scssl.cli._repeat_outcome import ASK, settled
from scssl.cli._verify import verify_run
from scssl.cli.app import main
from scssl.model.capsule import Finding, check_inputs, describe_input, write_capsule


@pytest.fixture
def given(monkeypatch):
    """Give commands, and what they were run with; none is."""
    found = []

    def run(command, **options):
        found.append((command, options))
        return subprocess.CompletedProcess(command, 1, stdout="", stderr="not run")

    monkeypatch.setattr(_repeat.subprocess, "run", run)
    return found


@pytest.mark.parametrize(
    "command",
    ["", "rm -rf .", "scssl", "scssl report x", "scssl models push model you/name", "python run.py", "'",
     "scssl embed a --model b --out c --help", "scssl embed a\0 --model b --out c", "scssl embed \ud800 --model b",
     "scssl embed a --model b --out /", "scssl embed a --model b --out ..", "scssl embed a --model b --out=",
     "scssl embed a --model b --out c --out d", "scssl embed a --model b --out c --unknown"],
)  # fmt: skip
def test_nothing_but_runs_is_given_again(tmp_path, given, command):
    assert repeat(tmp_path, {"command": command, "folder": str(tmp_path)}).state == "unknown"
    assert given == []


@pytest.mark.parametrize("folder", [None, "", "run", "./run", "../run", "/no/such/folder"])
def test_the_folder_of_a_command_is_absolute(tmp_path, given, monkeypatch, folder):
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path)
    ran = {"command": "scssl embed a --model m --out b.h5ad"} | ({} if folder is None else {"folder": folder})
    assert "folder" in repeat(tmp_path, ran).text
    assert given == []


def test_python_and_libraries_load_nothing_from_the_folder_of_a_run(tmp_path, monkeypatch):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("cyclopts", "numpy", "anndata", "torch", "numba"):
        (run / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    (run / ".numba_config.yaml").write_text(f"cache_dir: {tmp_path / 'unpickled'}\n")
    ran = {"command": "scssl embed cells.h5ad --model model --out out.h5ad", "folder": str(run)}
    monkeypatch.setenv("PYTHONPATH", f"{os.pathsep}src{os.pathsep}")
    monkeypatch.chdir(run)
    finding = repeat(run, ran)
    # It got as far as to look for the cells, where they were.
    assert finding.state == "differs"
    assert str(run / "model") in finding.text or str(run / "cells.h5ad") in finding.text
    assert not (tmp_path / "ran").exists()
    seen = []
    run_it = subprocess.run
    look = "import json, os, sys, numba.core.config as c; print(json.dumps([c.CACHE_DIR, os.getcwd(), sys.path]))"
    look = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {look!r}], check=True)"
    monkeypatch.setattr(
        _repeat.subprocess, "run", lambda _, **o: seen.append(run_it([sys.executable, "-c", look], **o)) or seen[0]
    )
    repeat(run, ran)
    cache, folder, paths = json.loads(seen[0].stdout)
    assert "unpickled" not in cache
    assert folder != str(run)
    assert "" not in paths
    assert str(run) not in paths


def test_nothing_is_written_to_accounts_or_fetched(tmp_path, given):
    command = "scssl pretrain c --out m --logger wandb --logger=mlflow --seed 3 --set a=-1 --set=b=[2] --overwrite"
    repeat(tmp_path, {"command": command, "folder": str(tmp_path)})
    ((words, options),) = given
    assert [word for word in words[4:] if not word.startswith("--out=")] == [
        str(tmp_path / "c"), "--seed=3", "--set=a=-1", "--set=b=[2]", "--quiet"
    ]  # fmt: skip
    assert options["env"]["HF_HUB_OFFLINE"] == "1"
    assert options["env"]["PYTHONSAFEPATH"] == "1"


def test_a_model_on_the_hub_is_taken_from_the_cache_or_not_at_all(tmp_path, given, monkeypatch):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    ran = {"command": "scssl embed a --model owner/name --out b.h5ad", "folder": str(tmp_path)}
    finding = repeat(tmp_path, ran)
    assert finding.state == "unknown"
    assert "scssl models pull owner/name" in finding.text
    assert given == []
    monkeypatch.setattr("scssl.model.hub_cache.cached", lambda *_: tmp_path)
    repeat(tmp_path, ran)
    assert "--model=owner/name" in given[0][0]
    (tmp_path / "owner" / "name").mkdir(parents=True)
    repeat(tmp_path, ran)
    assert f"--model={tmp_path}/owner/name" in given[1][0]


def test_inputs_are_read_where_they_were_and_outputs_written_elsewhere(tmp_path):
    start, scratch = tmp_path / "start", tmp_path / "scratch"
    start.mkdir()
    scratch.mkdir()
    for name in ("sets.gmt", "human", "condition", "factors.txt"):
        (start / name).touch()
    ran = {"command": "scssl simulate a.h5ad --model ../m --out=b.h5ad --save s --figures t/s --condition condition "
           "--overwrite --case x --case=-y --quiet", "folder": str(start)}  # fmt: skip
    again = command_again(ran, scratch=scratch)
    places = {start / "b.h5ad": "b.h5ad", start / "s": "s", start / "t" / "s": "s"}
    assert {old: new.name for old, new in again.places.items()} == places
    assert len({new.parent for new in again.places.values()}) == 3
    assert all(new.is_relative_to(scratch) for new in again.places.values())
    words = [word for word in again.words if str(scratch) not in word]
    assert words == ["simulate", str(start / "a.h5ad"), f"--model={start}/../m", "--condition=condition", "--case=x",
                     "--case=-y"]  # fmt: skip
    assert _repeat._place_of(start / "t" / "s", again.places) == again.places[start / "t" / "s"]
    (tmp_path / "renamed.h5ad").touch()
    assert _repeat._place_of(tmp_path / "renamed.h5ad", again.places) == again.places[start / "b.h5ad"]
    texts = {"sets.gmt": f"{start}/sets.gmt", "regulons:factors.txt": f"regulons:{start}/factors.txt",
             "modules:3": "modules:3", "human": "human", "none.gmt": "none.gmt", "g" * 5000: "g" * 5000}  # fmt: skip
    for text, word in texts.items():
        assert _repeat_command._text("genes", text, start) == word
        assert _repeat_command._text("set_", f"task.programmes={text}", start) == f"task.programmes={word}"
    assert _repeat_command._text("layer", "sets.gmt", start) == "sets.gmt"
    (tmp_path / "demo").mkdir()
    demo = command_again({"command": "scssl demo", "folder": str(start)}, scratch=tmp_path / "demo")
    assert list(demo.places) == [start / "scssl-demo"]
    with pytest.raises(UnrepeatableError, match="corpora are not built a second time"):
        command_again({"command": "scssl corpus build a.h5ad --out c", "folder": str(start)}, scratch=scratch)
    with pytest.raises(UnrepeatableError):
        command_again({"command": 3, "folder": 4}, scratch=scratch)


def test_files_in_a_file_of_settings_are_where_they_were(tmp_path):
    start = tmp_path / "start"
    start.mkdir()
    settings = {"task": {"masking": "programme", "programmes": "sets.gmt", "masked": {"programmes": "regulons:f.txt"}},
                "training": {"epochs": 1}}  # fmt: skip

    def given(name):
        (tmp_path / name).mkdir()
        ran = {"command": "scssl pretrain cells --out model --config own.yaml", "folder": str(start)}
        words = command_again(ran, scratch=tmp_path / name).words
        return Path(next(word for word in words if word.startswith("--config=")).removeprefix("--config="))

    (start / "own.yaml").write_text(yaml.safe_dump(settings))
    # A name that is no file, but a collection or a word, stays as it is, and the settings with it.
    assert given("a") == start / "own.yaml"
    for name in ("sets.gmt", "f.txt"):
        (start / name).touch()
    settings["task"] |= {"programmes": f"{start}/sets.gmt", "masked": {"programmes": f"regulons:{start}/f.txt"}}
    assert yaml.safe_load(given("b").read_text()) == settings
    for name, text in {"c": "3", "d": "[", "e": "task: 3"}.items():
        (start / "own.yaml").write_text(text)
        assert given(name) == start / "own.yaml"
    (start / "own.yaml").unlink()
    assert given("f") == start / "own.yaml"


def test_settings_that_are_no_file_are_not_read(tmp_path, given):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "large.yaml").write_text("#" * (_repeat_command.MAX_BYTES + 1))
    (tmp_path / "own.yaml").write_text("#" * _repeat_command.MAX_BYTES)
    (tmp_path / "link.yaml").symlink_to("pipe.yaml")
    for name, text in {"pipe": "a pipe", "folder": "a pipe", "link": "a pipe", "large": "larger than"}.items():
        command = f"scssl pretrain cells --out model --config {name}.yaml"
        finding = repeat(tmp_path, {"command": command, "folder": str(tmp_path)})
        assert (finding.state, text in finding.text) == ("unknown", True)
        assert f"{name}.yaml" in finding.text
    assert given == []
    repeat(tmp_path, {"command": "scssl pretrain cells --out model --config own.yaml", "folder": str(tmp_path)})
    assert len(given) == 1


@pytest.mark.parametrize(
    ("then", "now", "far"),
    [
        ([1.0, np.inf, 2.0], [1.0, np.inf, 3.0], True),
        ([1.0, np.inf, 2.0], [1.0, np.inf, 2.0001], False),
        ([1.0, np.inf], [1.0, -np.inf], True),
        ([1.0, np.inf], [1.0, np.nan], True),
        ([1.0, 2.0], [1.0, np.inf], True),
        ([np.nan, 1.0], [np.nan, 1.0], False),
        ([1, 2], [1, 3], True),
        ([True, False], [True, True], True),
        ([], [], False),
        ([1.0], [1.0, 1.0], True),
    ],
)
def test_numbers_are_the_same_up_to_rounding(then, now, far):
    assert _far(np.array(then), np.array(now)) == far
    if len(then) == len(now):
        text = _of_tables(pd.DataFrame({"x": then}), pd.DataFrame({"x": now}), name="t")
        assert text == ("t: x differs" if far else "")


@pytest.mark.parametrize(
    ("state", "scored", "after", "text"),
    [("same", True, "same", "came out as before"), ("same", False, "unknown", "not recomputed: the run recorded no"),
     ("differs", True, "unknown", "under repeated"), ("unknown", False, "unknown", "could not be given again")],
)  # fmt: skip
def test_no_check_asks_for_what_was_just_done(state, scored, after, text):
    asking = Finding(what="metrics", state="unknown", text=f"not recomputed: {ASK}")
    partly = Finding(what="metrics", state="same", text=f"5 answers; the tests: {ASK}")
    other = Finding(what="data", state="unknown", text="is no longer there")
    repeated = Finding(what="repeated", state=state, text="x")
    found = settled([("a", asking), ("b", asking), ("b", partly), ("b", other)], repeated, place="b", scored=scored)
    assert [finding.state for _, finding in found] == ["unknown", after, "same", "unknown", state]
    assert not any("--repeat" in finding.text for _, finding in found)
    assert "(b)" in found[0][1].text
    assert text in found[1][1].text
    assert found[2][1].text.startswith("5 answers; the tests: ")
    assert found[3][1] == other


@pytest.mark.parametrize(
    ("metrics", "state"), [({"none": "nothing was scored"}, "unknown"), ({}, "unknown"), ({"f1": 0.5}, "same")]
)
def test_what_was_not_scored_is_not_the_same(tmp_path, monkeypatch, metrics, state):
    (tmp_path / "t.csv").write_text("a\n1\n")
    write_capsule(tmp_path, what="labels", settings={}, seeds={}, data={}, genes={}, metrics=metrics)
    monkeypatch.setattr(_repeat, "repeat", lambda *_: Finding(what="repeated", state="same", text="1 table"))
    found = {finding.what: finding for _, finding in verify_run(tmp_path, corpus=None, again=True)}
    assert found["metrics"].state == state
    assert ("came out as before" in found["metrics"].text) == (state == "same")


@pytest.mark.parametrize(
    ("now", "text"),
    [({"f1": 0.5, "of": [1, None]}, ""), ({"f1": 0.50001, "of": [1, None], "seconds": 9}, ""),
     ({"f1": 0.6, "of": [1, None]}, "of the recorded scores, f1 differs"),
     ({"f1": 0.6, "of": [2, None]}, "of the recorded scores, f1, of.0 differ"),
     (None, "of the recorded scores, f1, of.0 differ")],
)  # fmt: skip
def test_recorded_scores_are_compared(now, text):
    assert _of_scores({"f1": 0.5, "of": [1, None], "seconds": 3}, now) == text


def cells(path, *, change=None, x=True):
    obs, var = pd.DataFrame(index=["a", "b", "c"]), pd.DataFrame(index=["u", "v"])
    made = anndata.AnnData(np.ones((3, 2)) if x else None, obs=obs, var=var)
    made.obsm["dense"] = np.arange(6.0).reshape(3, 2)
    made.obsm["sparse"] = sparse.csr_matrix(np.eye(3))
    made.obsm["table"] = pd.DataFrame({"u": [1.0, 2.0, 3.0], "w": list("xyz")}, index=made.obs_names)
    made.varm["change"] = pd.DataFrame({"u": [1.0, 2.0]}, index=made.var_names)
    made.layers["more"] = sparse.csr_matrix(np.ones((3, 2)))
    if change is not None:
        change(made)
    made.write_h5ad(path)
    return path


def _names(made):
    made.obs_names = ["a", "c", "b"]


def _sparse(made):
    made.obsm["sparse"] = sparse.csr_matrix(np.eye(3) * 2)


def _table(made):
    made.obsm["table"]["u"] += 1.0


def _change(made):
    made.varm["change"] *= 2


def _layer(made):
    made.layers["more"] = made.layers["more"] * 2


def _lacks(made):
    del made.obsm["dense"]


@pytest.mark.parametrize("x", [True, False])
@pytest.mark.parametrize(
    ("change", "text"),
    [(None, None), (_names, "obs has other rows or columns"), (_sparse, "obsm['sparse'] differs"),
     (_table, "obsm['table']: u differs"), (_layer, "layers['more'] differs"),
     (_change, "varm['change']: u differs"), (_lacks, "obsm['dense'] was not written again")],
)  # fmt: skip
def test_files_of_any_kind_of_arrays_are_compared(tmp_path, x, change, text):
    then, now = cells(tmp_path / "then.h5ad", x=x), cells(tmp_path / "now.h5ad", change=change, x=x)
    found = list(differences(then, now))
    assert len(found) == 7 + x
    assert set(filter(None, found)) == ({text, "obsm['table'] has other rows or columns"} if change is _names
                                        else {text} - {None})  # fmt: skip


def test_a_pipe_in_place_of_a_table_is_not_waited_for(tmp_path):
    for name in ("run", "again"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "run" / "t.csv")
    (tmp_path / "again" / "t.csv").write_text("a\n1\n")
    assert list(differences(tmp_path / "run", tmp_path / "again")) == ["t.csv was not written again"]


def test_a_malformed_capsule_is_a_finding_also_with_repeat(tmp_path, capsys):
    (tmp_path / "capsule.json").write_text("{}")
    assert main(["verify", str(tmp_path), "--repeat", "--json"]) == 2
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert [(check["what"], check["state"]) for check in checks] == [("files", "differs"), ("repeated", "unknown")]


def test_no_more_of_an_input_is_read_than_a_capsule_says_there_is(tmp_path, monkeypatch):
    folder = tmp_path / "in"
    (folder / "below").mkdir(parents=True)
    (folder / "a").write_text("aa")
    (folder / "below" / "b").write_text("b")
    one = {"name": "in", **describe_input(folder)}
    assert one["bytes"] == 3
    assert one["files"] == 2
    before = {name: value for name, value in one.items() if name != "files"}
    assert [finding.state for finding in check_inputs([one, before])] == ["same", "same"]
    monkeypatch.setattr("scssl.model.capsule.checksum", lambda file: pytest.fail(f"{file} was read"))
    monkeypatch.setattr("scssl.model.capsule.file_entries", lambda *_: pytest.fail("files were read"))
    huge = {"bytes": 10**30, "files": 10**12, "sha256": "0"}
    wrong = [
        *({**one, "bytes": size} for size in (2, 4, None, "3")),
        *({**one, "files": size} for size in (1, 3, None, "2")),
        {"name": "a", **one, "path": str(folder / "a"), "bytes": 1},
    ]
    assert {finding.state for finding in check_inputs(wrong)} == {"differs"}
    places = ["/", "/proc", "/proc/self", "/sys", ".", "", "~nobody-of-this-name", "\0", "\ud800", "x" * 5000]
    (tmp_path / "loop").symlink_to("loop")
    states = [finding.state for finding in check_inputs({**huge, "path": place} for place in [*places, *map(str, [
        tmp_path / "loop", tmp_path / "gone"])])]  # fmt: skip
    assert set(states) == {"unknown"}
    (folder / "out").symlink_to(shutil.copy(__file__, tmp_path / "elsewhere"))
    (finding,) = check_inputs([{**one, **huge}])
    assert (finding.state, "links" in finding.text) == ("unknown", True)


def test_links_within_an_input_are_followed_and_links_to_folders_are_not(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a").write_text("aa")
    (folder / "b").symlink_to("a")
    (folder / "up").symlink_to(tmp_path)
    one = describe_input(folder)
    assert (one["bytes"], one["files"]) == (4, 2)
    assert check_inputs([one])[0].state == "same"
    (folder / "a").write_text("bb")
    assert check_inputs([one])[0].state == "differs"
    assert Path(one["path"]).name == "in"
