"""``scssl corpus`` as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from scssl.cli.app import main


def run(capsys, *argv):
    code = main([str(a) for a in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def build(capsys, atlas_file, out, *more):
    return run(capsys, "corpus", "build", atlas_file, "--out", out, "--genes", "union", "--source", "study", *more)


def test_build_info_verify(capsys, atlas_file, tmp_path):
    out = tmp_path / "c"
    code, text, err = build(
        capsys, atlas_file, out, "--obs", "cell_type,condition", "--where", "cell_type != 'x'", "--unlabelled", "y,z"
    )
    assert code == 0
    assert "600  (train" in text
    assert f"Next: scssl pretrain {out}" in text
    # What it will take comes before what was done.
    assert err.index("GB of memory") < err.index(f"built {out}")

    code, text, _ = run(capsys, "corpus", "info", out)
    assert code == 0
    assert "cell_type (8 values), condition (2 values), donor (12 values)" in text

    code, text, _ = run(capsys, "corpus", "info", out, "--json")
    info = json.loads(text)
    assert (code, info["cells"], sum(info["splits"].values())) == (0, 600, 600)
    assert info["settings"]["unlabelled"] == ["y", "z"]

    code, text, _ = run(capsys, "corpus", "verify", out)
    assert (code, "whole" in text) == (0, True)


def test_json_of_a_build_is_one_object(capsys, atlas_file, tmp_path):
    code, text, _ = build(capsys, atlas_file, tmp_path / "c", "--json", "--quiet")
    assert code == 0
    assert json.loads(text)["panel"]["genes"] == 300


def test_verify_names_the_altered_file(capsys, atlas_file, tmp_path):
    out = tmp_path / "c"
    build(capsys, atlas_file, out)
    path = out / "train/shard-00000.zarr/X/data/c/0"
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(content)
    code, text, _ = run(capsys, "corpus", "verify", out)
    assert code == 2
    assert "train/shard-00000.zarr/X/data/c/0: altered" in text
    code, text, _ = run(capsys, "corpus", "verify", out, "--json")
    assert (code, json.loads(text)["whole"]) == (2, False)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["corpus", "build", "--out", "c"], "no files were given"),
        (["corpus", "build", "none.h5ad", "--out", "c"], "none.h5ad"),
        (["corpus", "info", "none"], "no such folder"),
        (["corpus", "verify", "none"], "no such folder"),
    ],
)
def test_mistakes(capsys, tmp_path, monkeypatch, argv, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_existing_corpus(capsys, atlas_file, tmp_path):
    build(capsys, atlas_file, tmp_path / "c")
    code, _, err = build(capsys, atlas_file, tmp_path / "c")
    assert code == 2
    assert "--overwrite" in err
    assert build(capsys, atlas_file, tmp_path / "c", "--overwrite")[0] == 0


def test_unwritable_output(capsys, atlas_file, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = build(capsys, atlas_file, tmp_path / "file" / "c")
    assert code == 2
    assert "file" in err


def test_importing_the_command_is_light():
    script = "import sys, scssl.cli.corpus; assert not {'torch', 'anndata', 'scanpy', 'zarr'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
