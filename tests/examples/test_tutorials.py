"""The tutorials' examples run, and the pages show the code that runs."""

from __future__ import annotations

import importlib.util
import re
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).parents[2]
PAGES = {
    "tutorials/own_files.md": "own_files.py",
    "tutorials/annotate.md": "annotate.py",
    "tasks/own.md": "own_task.py",
    "tutorials/healthy_against_disease.md": "compare.py",
    "tutorials/virtual_cells.md": "simulate.py",
    "compare.md": "compare.py",
    "cluster.md": "several_processes.py",
}
FENCE = re.compile(r"^```python[^\n]*\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)


def load(name, monkeypatch):
    path = REPOSITORY / "examples" / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    # Where dataclasses look for the names in their annotations.
    monkeypatch.setitem(sys.modules, path.stem, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("page", "example"), PAGES.items())
def test_pages_show_the_code_that_runs(page, example):
    text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    assert f"examples/{example}" in text
    code = (REPOSITORY / "examples" / example).read_text(encoding="utf-8")
    # As in the file, and as it would stand there without its indentation; comments and blank lines aside.
    body = code[code.index("def main") : code.index('if __name__ == "__main__"')].split("\n", 1)[1]
    plain = [squeeze(code), squeeze(textwrap.dedent(body))]
    blocks = FENCE.findall(text)
    assert blocks
    for block in blocks:
        assert any(squeeze(block) in form for form in plain), f"{page} shows what {example} does not do:\n{block}"


def squeeze(code):
    lines = [re.sub(r"  # noqa.*", "", line).rstrip() for line in code.splitlines()]
    return "\n".join(line for line in lines if line and not line.lstrip().startswith("#"))


def test_own_files_runs(tmp_path, capsys, monkeypatch):
    scores = load("own_files.py", monkeypatch).main(tmp_path, n_cells=600, n_genes=200, epochs=1)
    assert 0 < scores["macro F1"] <= 1
    out = capsys.readouterr().out
    assert "test: " in out
    assert (tmp_path / "model" / "report.html").is_file()


def test_annotate_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("scssl.report.file_run.lay_out", lambda Z, X: Z[:, :2])
    scores = load("annotate.py", monkeypatch).main(tmp_path, n_cells=600, n_genes=200, epochs=1)
    assert 0 < scores["accuracy"] <= 1
    assert "type_8" in capsys.readouterr().out
    assert "Cells named: named.h5ad" in (tmp_path / "named.html").read_text()


def test_own_task_runs(monkeypatch):
    loss, spread = load("own_task.py", monkeypatch).main(n_cells=300, n_genes=100, epochs=1)
    assert np.isfinite(loss)
    assert spread > 0


def test_compare_runs(tmp_path, capsys, monkeypatch):
    pytest.importorskip("pydeseq2")
    shifts = load("compare.py", monkeypatch).main(tmp_path, n_cells=800, n_genes=120, epochs=1)
    assert shifts["types that change"] > shifts["types that do not"]
    assert "'disease' was compared with 'healthy': 6 donors against 6" in capsys.readouterr().out
    assert (tmp_path / "overview.png").is_file()


def test_simulate_runs(tmp_path, capsys, monkeypatch):
    found = load("simulate.py", monkeypatch).main(tmp_path, n_cells=600, n_genes=250, epochs=1)
    assert found["no change"] == 0 < found["model"] <= 1
    # What rises in women only is seen when sex is told.
    assert found["sex"] > 1.3 * found["none"]
    assert "of the change explained" in capsys.readouterr().out


@pytest.mark.slow
def test_several_processes_agree(tmp_path, monkeypatch):
    losses = load("several_processes.py", monkeypatch).main(tmp_path, n_cells=600, n_genes=100, epochs=1)
    assert losses[1] == pytest.approx(losses[2], rel=1e-5)
