"""`scssl programmes` as a user types it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from scssl.cli.app import main
from scssl.corpus import Corpus
from scssl.genes import GenePanel, Programmes


def run(capsys, *arguments):
    code = main(["programmes", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def human():
    return GenePanel.builtin("human")


@pytest.fixture
def sets(human, tmp_path):
    """25 sets of genes, of which 24 are large enough; the first is of a transcription factor by its name."""
    names = [str(name) for name in human.symbols if name]
    lines = [["GATA1_[01]", "", *names[:20]]]
    lines += [[f"pathway {i}", "about it", *names[i : i + 15], "nonsense"] for i in range(23)]
    lines += [["tiny", "", *names[:3]]]
    path = tmp_path / "sets.gmt"
    path.write_text("".join("\t".join(line) + "\n" for line in lines))
    return path


def test_table(sets, capsys):
    code, out, err = run(capsys, sets)
    assert code == 0
    assert out.startswith("24 programmes of 15 to 20 genes (median 15); together they cover 0.2% of the 20,120 genes")
    assert "GATA1_[01] 20 100%" in " ".join(out.split())  # brackets are no markup
    assert "pathway 0 15 94%" in " ".join(out.split())
    assert "and 4 more (--show N" in out
    assert "25 gene sets" in err
    assert "1 unknown" in err
    assert "1 too small" in err


def test_json(sets, capsys):
    code, out, _ = run(capsys, sets, "--json", "--quiet", "--regulators", "names", "--min-coverage", "0.95")
    result = json.loads(out)
    assert code == 0
    assert result["n_programmes"] == result["n_regulated"] == 1
    assert result["report"]["n_badly_covered"] == 23
    (row,) = result["programmes"]
    assert row["name"] == "GATA1"
    assert row["regulators"] == ["GATA1"]
    assert row["coverage"] == 1.0
    assert row["n_genes"] == 20
    assert len(row["examples"]) == 5


def test_modules_of_a_corpus_are_written_and_read_back(corpus_dir, tmp_path, capsys):
    out = tmp_path / "modules.gmt"
    arguments = ["modules:3", "--corpus", corpus_dir, "--min-genes", "5", "--out", out]
    code, text, _ = run(capsys, *arguments)
    assert code == 0
    assert f"written to {out}" in text
    assert "module 1: " in text
    panel = Corpus.open(corpus_dir).panel
    programmes = Programmes.read(out, panel)
    assert programmes.names[0].startswith("module 1: ")
    code, text, err = run(capsys, *arguments)
    assert code == 2
    assert "add --overwrite" in err
    assert run(capsys, *arguments, "--overwrite")[0] == 0
    again = Programmes.read(out, panel)
    np.testing.assert_array_equal(again.members, programmes.members)
    code, text, _ = run(capsys, out, "--panel", corpus_dir, "--min-genes", "5")
    assert code == 0
    assert text.splitlines()[0].startswith(f"{len(programmes)} programme")


def test_factors_learned_from_a_file_of_cells(atlas, atlas_file, tmp_path, capsys):
    (tmp_path / "factors.txt").write_text("\n".join(atlas.var_names[:100]))
    code, out, _ = run(
        capsys, f"regulons:{tmp_path / 'factors.txt'}", "--corpus", atlas_file, "--min-genes", "3", "--json", "--quiet"
    )
    result = json.loads(out)
    assert code == 0
    assert result["n_panel"] == 20_120
    assert result["n_regulated"] == result["n_programmes"] > 0
    for row in result["programmes"]:
        assert row["regulators"] == [row["name"]]
        assert row["name"] not in row["examples"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.gmt"], "no gene programmes 'nowhere.gmt'"),
        (["modules:3"], "--corpus"),
        (["SETS", "--panel", "humna"], "no gene panel 'humna'"),
        (["SETS", "--min-coverage", "2"], "min_coverage is 2.0; it must be between 0 and 1"),
        (["SETS", "--min-genes", "50"], "none of 25 gene sets can be used"),
        (["SETS", "--corpus", "nowhere"], "nowhere: no such file"),
        (["SETS", "--corpus", "CORPUS", "--panel", "mouse"], "they must be the same genes"),
        (["SETS", "--out", "nowhere/p.gmt"], "there is no folder"),
    ],
)
def test_mistakes(sets, corpus_dir, capsys, arguments, words):
    stand_in = {"SETS": sets, "CORPUS": corpus_dir}
    code, out, err = run(capsys, *[stand_in.get(a, a) for a in arguments])
    assert code == 2
    assert out == ""
    assert words in err
    assert err.splitlines()[-1].startswith("error: ")


def test_hallmark_covers_a_fifth_of_the_coding_genes(real_data, capsys):
    code, out, _ = run(capsys, real_data / "genesets" / "human_hallmark_v2025.gmt")
    assert code == 0
    assert "50 programmes of 32 to 200 genes" in out
    assert "cover 21.8% of the 20,120 genes" in out
