"""`scssl check` as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from scssl.cli.app import main


def run(capsys, *arguments):
    code = main(["check", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def test_usable_file(atlas_file, capsys):
    code, out, err = run(capsys, atlas_file)
    assert code == 0
    assert err == ""
    assert f"{atlas_file}: usable with the panel 'human'" in out
    for words in (
        "600 cells by 300 features",
        "raw counts",
        "300 of 20,120 panel genes",
        "cell type: cell_type",
        "scssl corpus build",
    ):
        assert words in out


def test_json(atlas_file, capsys):
    code, out, _ = run(capsys, atlas_file, "--json")
    result = json.loads(out)
    assert code == 0
    assert result["usable"] is True
    assert result["values"]["kind"] == "counts"
    assert result["genes"]["share_of_counts"] == 1.0
    assert result["next"][-1] == "scssl pretrain corpus --out model"


def test_not_usable(atlas, tmp_path, capsys):
    path = tmp_path / "logs [v2].h5ad"  # brackets are no markup
    changed = atlas.copy()
    changed.layers["my counts"] = changed.X.copy()
    changed.X = changed.X.astype("float32").log1p()
    changed.write_h5ad(path)
    code, out, _ = run(capsys, path)
    assert code == 2
    assert f"{path}: not usable as it is" in out
    assert "--layer 'my counts'" in out
    assert run(capsys, path, "--layer", "my counts")[0] == 0
    code, out, _ = run(capsys, path, "--json")
    assert code == 2
    assert json.loads(out)["usable"] is False


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.h5ad"], "nowhere.h5ad: no such file"),
        (["FILE", "--layer", "counts"], "has no layer 'counts'; there is: X"),
        (["FILE", "--panel", "humna"], "no gene panel 'humna'"),
    ],
)
def test_mistakes(atlas_file, capsys, arguments, words):
    code, out, err = run(capsys, *[str(atlas_file) if a == "FILE" else a for a in arguments])
    assert code == 2
    assert out == ""
    assert words in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("file", "code", "words"),
    [
        ("pbmc3k_10xv1", 0, "96.4% of the counts"),
        ("mouse_heart1k_10xv2", 2, "--panel mouse"),
        ("cbmc_cite_8617_anon2000", 2, "gene names were lost"),
        ("scicar_A549_dex_log", 2, "log1p values"),
        ("kang_distinct_100g", 0, "(0.5%)"),
        ("neurips21_bmmc_adt_union", 2, "known human genes"),
        ("mouse_interneurons_zeisel_tasic", 2, "two kinds"),
    ],
)
def test_real_files(real_data, capsys, file, code, words):
    found, out, _ = run(capsys, real_data / "cells" / f"{file}.h5ad")
    assert found == code
    assert words in out


def test_help_needs_no_heavy_package():
    code = (
        "import sys, scssl.cli.check; print({'torch', 'anndata', 'scanpy', 'lightning', 'pandas'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
