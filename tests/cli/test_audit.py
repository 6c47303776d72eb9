"""``scssl corpus audit`` and ``scssl corpus info`` as a user types them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from scssl.cli.app import main


def run(capsys, *argv):
    code = main([str(a) for a in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def corpus(atlas, tmp_path_factory):
    """The first 500 cells."""
    from scssl.corpus import Corpus

    folder = tmp_path_factory.mktemp("audit")
    atlas[:500].write_h5ad(folder / "first.h5ad")
    Corpus.build(folder / "first.h5ad", folder / "corpus", genes="union", obs=["cell_type"], source="study")
    return folder / "corpus"


@pytest.fixture
def target(atlas, tmp_path):
    """Cells 450 to 599, and donors in another column as well."""
    data = atlas[450:].copy()
    data.obs["who"] = data.obs["donor"].astype(str) + "[b]"
    data.write_h5ad(tmp_path / "[b]target.h5ad")
    return tmp_path / "[b]target.h5ad"


def test_report(capsys, corpus, target):
    before = target.read_bytes()
    code, out, _ = run(capsys, "corpus", "audit", corpus, "--against", target)
    assert code == 0
    first = out.splitlines()[0]
    # A name that looks like markup is shown as it is.
    assert first.startswith(f"50 of 150 cells of {target} (33%) are in the corpus")
    assert "--where 'study not in [" in out
    assert "donors    " in out
    assert target.read_bytes() == before

    code, out, _ = run(capsys, "corpus", "audit", corpus, "--against", target, "--json", "--quiet")
    report = json.loads(out)
    assert (code, report["n_shared"], report["n_cells"]) == (0, 50, 150)
    assert sum(report["splits"].values()) == 50
    assert report["verdict"] == first


def test_other_column_of_donors(capsys, corpus, target):
    code, out, _ = run(capsys, "corpus", "audit", corpus, "--against", target, "--donor", "who")
    assert code == 0
    assert "identical cells under another donor name" in out
    assert "[b] in the file" in out
    assert "0 of " in out


def test_nothing_shared(capsys, corpus, atlas, tmp_path):
    atlas[500:].write_h5ad(tmp_path / "rest.h5ad")
    code, out, _ = run(capsys, "corpus", "audit", corpus, "--against", tmp_path / "rest.h5ad")
    assert code == 0
    assert out.startswith(f"No cell of {tmp_path / 'rest.h5ad'} was found in the corpus (100 cells compared).")


def test_mistakes(capsys, corpus, atlas, target, tmp_path):
    logged = atlas[:50].copy()
    logged.X = logged.X.astype(np.float32)
    logged.X.data = np.log1p(logged.X.data)
    logged.write_h5ad(tmp_path / "log.h5ad")
    mistakes = [
        ((tmp_path, "--against", target), "corpus.json"),
        ((tmp_path / "none", "--against", target), "no such folder"),
        ((corpus, "--against", tmp_path / "none.h5ad"), "none.h5ad"),
        ((corpus, "--against", tmp_path / "log.h5ad"), "holds no raw counts"),
        ((corpus, "--against", target, "--donor", "nobody"), "no column 'nobody' for --donor"),
        ((corpus, "--against", target, "--layer", "nothing"), "has no layer 'nothing'"),
        ((corpus,), "--against"),
    ]
    for argv, words in mistakes:
        code, out, err = run(capsys, "corpus", "audit", *argv)
        assert (code, out) == (2, "")
        assert err.splitlines()[-1].startswith("error: ")
        assert words in err


def test_info(capsys, corpus):
    code, out, _ = run(capsys, "corpus", "info", corpus)
    info = json.loads(run(capsys, "corpus", "info", corpus, "--json")[1])
    assert code == 0
    donors = info["donors"]
    splits = ", ".join(f"{name} {n}" for name, n in donors["splits"].items())
    assert f"donors    {donors['n_values']} values of donor  ({splits})" in out
    assert "types     8 values of cell_type" in out
    assert "settings  source study, split_by donor, seed 0" in out
    assert "left out  no cells" in out
    assert f"{info['memory']['bytes'] / 1e6:,.0f} MB to load batches of 1,024" in out


def test_info_without_donors(capsys, corpus, tmp_path):
    build = ("corpus", "build", corpus.parent / "first.h5ad", "--genes", "union", "--split-by", "cell", "--seed", "3")
    code, out, _ = run(capsys, *build, "--where", "condition == 'healthy'", "--out", tmp_path / "c")
    assert code == 0
    assert "cells were split one by one" in out
    assert "no kept column looks like cell types" in out
    assert "where condition == 'healthy'" in out
    assert "split_by cell" in out
    assert "seed 3" in out
    assert " by the condition" in out
