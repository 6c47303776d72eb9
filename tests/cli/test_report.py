"""`scssl report` as a user meets it."""

from __future__ import annotations

import json

import anndata
import numpy as np
import pytest

from scssl.cli.app import main
from scssl.report import Run


def test_report_is_written_beside_the_run(tmp_path, capsys):
    folder = tmp_path / "my run [1]"
    Run(title="T", summary=["It worked."]).save(folder)
    assert main(["report", str(folder)]) == 0
    out = capsys.readouterr().out
    assert str(folder / "report.html") in out
    assert "It worked." in (folder / "report.html").read_text()


def test_report_elsewhere_and_as_json(tmp_path, capsys):
    Run(title="T").save(tmp_path)
    out = tmp_path / "new" / "page.html"
    assert main(["report", str(tmp_path), "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"report": str(out), "bytes": out.stat().st_size}


def test_a_folder_that_is_no_run(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "no run.json there" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "absent")]) == 2
    assert "no such file or folder" in capsys.readouterr().err


def test_other_peoples_files_stay(tmp_path, capsys):
    Run(title="T").save(tmp_path)
    out = tmp_path / "notes.html"
    out.write_text("mine")
    assert main(["report", str(tmp_path), "--out", str(out)]) == 2
    assert "not a report of scssl" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert main(["report", str(tmp_path), "--out", str(out), "--overwrite"]) == 0


@pytest.fixture
def file(tmp_path):
    """Cells with a result whose settings are not as scssl writes them."""
    cells = anndata.AnnData(np.ones((30, 5), dtype=np.float32))
    cells.uns["scssl"] = {"simulate": {"cases": 5}}
    cells.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


def test_what_a_report_is_of_is_never_replaced(file, tmp_path, capsys):
    before = file.read_bytes()
    Run(title="T").save(tmp_path / "run")
    for of, out in ((file, file), (tmp_path / "run", tmp_path / "run" / "run.json")):
        assert main(["report", str(of), "--out", str(out), "--overwrite"]) == 2
        assert "is what the report is of, which is never replaced" in capsys.readouterr().err
    assert file.read_bytes() == before
    assert Run.open(tmp_path / "run").title == "T"


def test_a_page_under_a_file_and_altered_settings_are_one_line(file, tmp_path, capsys):
    for of, out, words in (
        (file, file / "page.html", "is not a folder that you may write to"),
        (file, tmp_path / "page.html", "uns['scssl'] is not as scssl writes it (simulate; TypeError"),
    ):
        assert main(["report", str(of), "--out", str(out)]) == 2
        [line] = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("error: ")
        assert words in line
    assert {path.name for path in tmp_path.iterdir()} == {"cells.h5ad"}
