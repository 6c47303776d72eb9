"""`scssl report` as a user meets it."""

from __future__ import annotations

import json

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
    assert main(["report", str(tmp_path / "absent")]) == 2
    assert "no run.json there" in capsys.readouterr().err


def test_other_peoples_files_stay(tmp_path, capsys):
    Run(title="T").save(tmp_path)
    out = tmp_path / "notes.html"
    out.write_text("mine")
    assert main(["report", str(tmp_path), "--out", str(out)]) == 2
    assert "not a report of scssl" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert main(["report", str(tmp_path), "--out", str(out), "--overwrite"]) == 0
