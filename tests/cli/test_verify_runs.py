"""`scssl verify` of what is no model: files with results, comparisons, tables and figures, studies, demonstrations."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import anndata
import pytest

import scssl
from scssl.cli._repeat_compare import differences
from scssl.cli._verify import _answers, _named
from scssl.cli.app import main
from scssl.environment import shortened
from scssl.model.capsule import PARTS, check_inputs, describe_input, read_capsule
from scssl.tasks import Comparer
from scssl.tasks.compare import files


@pytest.fixture(scope="module")
def here(atlas, tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify runs")
    atlas[:200].write_h5ad(folder / "cells.h5ad")
    small = {"preset": "small", "max_epochs": 1, "loggers": ["csv"], "device": "cpu"}
    model = scssl.pretrain(atlas, genes="union", overrides=["architecture.hidden=[16]"], **small)
    model.save(folder / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = ["embed", "cells.h5ad", "--model", "model", "--out", "out.h5ad", "--quiet"]
        patch.setattr("sys.argv", ["scssl", *words])
        assert main(words) == 0
        words = ["annotate", "out.h5ad", "--model", "model", "--reference", "cells.h5ad", "--labels", "cell_type"]
        words += ["--mode", "zero_shot", "--truth", "cell_type", "--out", "named.h5ad", "--quiet"]
        patch.setattr("sys.argv", ["scssl", *words])
        assert main(words) == 0
        words = ["compare", "cells.h5ad", "--condition", "condition", "--control", "healthy", "--case", "disease"]
        words += ["--donor", "donor", "--cell-type", "cell_type", "--out", "compared", "--skip", "genes,programmes"]
        patch.setattr("sys.argv", ["scssl", *words])
        assert main([*words, "--min-cells", "2", "--quiet"]) == 0
    return folder


@pytest.fixture
def copy(here, tmp_path):
    return shutil.copytree(here, tmp_path / "copy")


def verify(capsys, run, *more):
    capsys.readouterr()
    code = main(["verify", str(run), *more, "--json"])
    result = json.loads(capsys.readouterr().out)
    assert result["same"] == (code == 0)
    return {check["what"]: check for check in result["checks"]}


def states(found):
    return {what: check["state"] for what, check in found.items()}


def test_a_file_with_results_is_what_its_model_makes_of_its_inputs(here, copy, capsys):
    out = here / "out.h5ad"
    assert states(verify(capsys, out)) == dict.fromkeys(["record", "data", "codes", "environment"], "same")
    assert "of 200 cells" in verify(capsys, out)["codes"]["text"]
    cells = anndata.read_h5ad(copy / "out.h5ad")
    cells.obsm["X_scssl"][3, 0] += 1
    cells.write_h5ad(copy / "out.h5ad")
    assert verify(capsys, copy / "out.h5ad")["codes"]["state"] == "differs"
    del cells.uns["scssl"]["embed"]["record"]
    cells.write_h5ad(copy / "out.h5ad")
    assert verify(capsys, copy / "out.h5ad")["record"]["state"] == "unknown"


def test_inputs_that_were_replaced_or_moved_are_noticed(tmp_path):
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_text("c")
    inputs = [{"name": name, **describe_input(tmp_path / name)} for name in "ab"]
    assert [finding.state for finding in check_inputs(inputs)] == ["same", "same"]
    (tmp_path / "b" / "report.html").write_text("made anew at any time")
    assert [finding.state for finding in check_inputs(inputs)] == ["same", "same"]
    (tmp_path / "b" / "c").write_text("d")
    (tmp_path / "a").unlink()
    assert [finding.state for finding in check_inputs(inputs)] == ["unknown", "differs"]
    assert check_inputs([None, {"path": 3}, {"path": "/etc/passwd"}]) == []


def test_a_comparison_has_a_capsule_and_follows_from_its_tables(here, tmp_path, capsys, monkeypatch):
    capsule = read_capsule(here / "compared")
    assert all(capsule[part] for part in PARTS)
    found = verify(capsys, here / "compared")
    assert set(states(found)) == {"capsule", "files", "environment", "data", "metrics"}
    assert set(states(found).values()) == {"same"}
    comparison = Comparer.load(here / "compared").comparison
    wrong = comparison.answers.assign(q_value=comparison.answers["q_value"] / 2)
    files.write(tmp_path / "again", replace(comparison, answers=wrong), overwrite=False)
    assert _answers(tmp_path / "again").state == "differs"
    for settings in ({}, {"kinds": None, "fdr": 0.1}, {"kinds": ["state"], "fdr": "x"}):
        monkeypatch.setattr(files, "read", lambda _, settings=settings: replace(comparison, settings=settings))
        assert "cannot be asked again" in _answers(tmp_path / "again").text
    monkeypatch.undo()
    shutil.copytree(here / "compared", tmp_path / "altered")
    (tmp_path / "altered" / "summary.txt").write_text("Everything was found.")
    assert verify(capsys, tmp_path / "altered")["files"]["state"] == "differs"


def test_a_command_given_again_writes_the_same(here, copy, capsys):
    before = {path: path.stat().st_mtime_ns for path in here.rglob("*")}
    assert verify(capsys, here / "named.h5ad")["metrics"]["state"] == "unknown"
    again = verify(capsys, here / "named.h5ad", "--repeat")
    assert set(states(again).values()) == {"same"}
    assert "came out as before" in again["metrics"]["text"]
    assert {path: path.stat().st_mtime_ns for path in here.rglob("*")} == before
    cells = anndata.read_h5ad(copy / "out.h5ad")
    cells.obsm["X_scssl"][3, 0] += 1
    cells.write_h5ad(copy / "out.h5ad")
    assert list(filter(None, differences(copy / "out.h5ad", here / "out.h5ad"))) == ["obsm['X_scssl'] differs"]
    table = copy / "compared" / "answers.csv"
    assert not any(differences(copy / "compared", here / "compared"))
    table.write_text(table.read_text().replace("type_1", "type_9"))
    assert "answers.csv: cell_type differs" in list(differences(copy / "compared", here / "compared"))


def test_named_cells_of_a_demonstration_are_counted_again(tmp_path):
    for stem, named in (("atlas", "a,a\na,b\n"), ("pbmc", "a,a\nb,b\n")):
        (tmp_path / f"cells_{stem}.csv").write_text("cell_type,predicted\n" + named)
    (tmp_path / "scores.csv").write_text("data,accuracy\nx,0.5\ny,1.0\n")
    assert _named(tmp_path).state == "same"
    (tmp_path / "scores.csv").write_text("data,accuracy\nx,0.6\ny,1.0\n")
    assert _named(tmp_path).state == "differs"
    (tmp_path / "scores.csv").unlink()
    assert _named(tmp_path).state == "differs"


def test_the_home_folder_is_nobody_elses_business(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/ada")
    assert shortened("/home/ada/x.h5ad") == "~/x.h5ad"
    assert shortened("/home/ada2/x.h5ad") == "/home/ada2/x.h5ad"
    assert shortened("/home/ada") == "~"
