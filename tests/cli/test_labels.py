"""`scssl labels` as a user types it."""

from __future__ import annotations

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scssl.cli.app import main
from scssl.tasks.annotate.labels import read_label_map

OBO = """format-version: 1.2
data-version: small/2026

[Term]
id: CL:0000000
name: cell

[Term]
id: CL:0000542
name: lymphocyte
is_a: CL:0000000

[Term]
id: CL:0000236
name: B cell
is_a: CL:0000542

[Term]
id: CL:0000084
name: T cell
is_a: CL:0000542

[Term]
id: CL:0000624
name: CD4-positive, alpha-beta T cell
is_a: CL:0000084
"""


def run(capsys, *arguments):
    code = main(["labels", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def cells(path, labels):
    obs = pd.DataFrame({"type": labels}, index=[f"cell {i}" for i in range(len(labels))])
    ad.AnnData(np.ones((len(labels), 2), dtype=np.float32), obs=obs).write_h5ad(path)
    return path


@pytest.fixture
def files(tmp_path):
    obo = tmp_path / "cl.obo"
    obo.write_text(OBO)
    query = cells(tmp_path / "q.h5ad", ["B"] * 3 + ["CD4 T"] * 2 + ["T cells [x]"] + ["unknown", "unassigned"])
    reference = cells(tmp_path / "r.h5ad", ["B cells", "T", "T", "Platelet"])
    return query, reference, obo


def test_table(files, capsys):
    query, _, obo = files
    code, out, _ = run(capsys, query, "--labels", "type", "--ontology", obo)
    assert code == 0
    text = " ".join(out.split())
    assert text.startswith("2 of 3 labels (5 of 6 labelled cells) have a term")
    assert "B 3 convention CL:0000236 B cell" in text
    assert "CD4 T 2 convention CL:0000624 CD4-positive, alpha-beta T cell" in text
    assert "T cells [x] 1 perhaps CL:0000084 T cell" in text
    assert "unknown" not in out


def test_json(files, capsys):
    query, reference, obo = files
    arguments = [query, "--labels", "type", "--ontology", obo, "--to", reference, "--to-labels", "type"]
    code, out, _ = run(capsys, *arguments, "--json", "--quiet")
    result = json.loads(out)
    assert code == 0
    assert (result["n_labels"], result["n_matched"], result["n_cells"], result["n_cells_matched"]) == (3, 2, 6, 5)
    assert result["ontology"]["version"] == "small/2026"
    assert result["labels"][2]["candidates"][0]["name"] == "T cell"
    assert [(row["from"], row["to"], row["relation"]) for row in result["map"]] == [
        ("B", "B cells", "same"),
        ("CD4 T", "T", "coarser"),
        ("T cells [x]", None, "none"),
    ]


def test_decide_by_hand_and_map(files, tmp_path, capsys):
    query, reference, obo = files
    table, out = tmp_path / "terms.csv", tmp_path / "map.csv"
    base = [query, "--labels", "type", "--ontology", obo]
    assert run(capsys, *base, "--terms-out", table)[0] == 0
    text = table.read_text()
    assert "T cells [x],,,fuzzy" in text
    table.write_text(text.replace("T cells [x],,,fuzzy", "T cells [x],T cell,,by hand"))
    more = [*base, "--terms", table, "--out", out]
    assert run(capsys, *more)[0] == 0
    assert read_label_map(out) == {
        "B": "B cell",
        "CD4 T": "CD4-positive, alpha-beta T cell",
        "T cells [x]": "T cell",
    }
    code, _, err = run(capsys, *more)
    assert code == 2
    assert "add --overwrite" in err
    code, text, _ = run(capsys, *more, "--overwrite", "--to", reference, "--to-labels", "type")
    assert code == 0
    assert "3 of 3 labels have a name in the reference" in text
    assert read_label_map(out) == {"B": "B cells", "CD4 T": "T", "T cells [x]": "T"}


def test_labels_without_a_counterpart_are_said_and_keep_their_names(files, tmp_path, capsys):
    query, reference, obo = files
    out = tmp_path / "map.csv"
    arguments = [reference, "--labels", "type", "--ontology", obo, "--to", query, "--to-labels", "type", "--out", out]
    code, text, _ = run(capsys, *arguments)
    assert code == 0
    assert "so count as wrong" in text
    assert " ".join(text.split()).count("Platelet none") == 1
    assert read_label_map(out) == {"B cells": "B", "T": "CD4 T", "Platelet": "Platelet"}
    assert "finer" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--labels", "nothing"], "obs has no column 'nothing'"),
        (["--labels", "type", "--to", "r.h5ad"], "--to-labels COLUMN go together"),
        (["--labels", "type", "--to-terms", "r.csv"], "--to-labels COLUMN go together"),
        (["--labels", "type", "--out", "map.tsv"], "choose a name that ends in .csv"),
        (["--labels", "type", "--out", "none/map.csv"], "there is no folder"),
        (["--labels", "type", "--out", "a.csv", "--terms-out", "a.csv"], "are the same file"),
        (["--labels", "type", "--terms", "none.csv"], "none.csv: no such file"),
        (["--labels", "type", "--terms", "terms.csv", "--terms-out", "terms.csv"], "is an input"),
        (["--labels", "type", "--terms", "bad.csv"], "bad.csv, line 4: 'T sell' is neither an ID nor a name"),
    ],
)
def test_mistakes(files, tmp_path, monkeypatch, capsys, arguments, message):
    query, _, obo = files
    monkeypatch.chdir(tmp_path)
    (tmp_path / "terms.csv").write_text("label,term\n")
    (tmp_path / "bad.csv").write_text("label,term\nB,CL:0000236\n\nT,T sell\n")
    before = sorted(tmp_path.iterdir())
    code, _, err = run(capsys, query, "--ontology", obo, *arguments)
    assert code == 2
    assert message in err
    assert sorted(tmp_path.iterdir()) == before


def test_an_ontology_that_is_none(files, capsys):
    query, _, _ = files
    code, _, err = run(capsys, query, "--labels", "type", "--ontology", query)
    assert code == 2
    assert "only .obo files of the Cell Ontology" in err


def test_an_input_is_kept_however_its_path_is_written(files, tmp_path, capsys):
    query, _, obo = files
    (tmp_path / "decided.csv").write_text("label,term\nB,CL:0000542\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.csv").symlink_to(tmp_path / "decided.csv")
    for path in (tmp_path / "folder" / ".." / "decided.csv", tmp_path / "link.csv"):
        options = ["--terms", tmp_path / "decided.csv", "--terms-out", path, "--overwrite"]
        code, _, err = run(capsys, query, "--labels", "type", "--ontology", obo, *options)
        assert code == 2
        assert "is an input" in err
    assert (tmp_path / "decided.csv").read_text() == "label,term\nB,CL:0000542\n"


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("T cell, B cell", {"B": "B cell", "CD4 T": "T cell", "T cells [x]": "T cells [x]"}),
        ("1", {"B": "lymphocyte", "CD4 T": "lymphocyte", "T cells [x]": "T cells [x]"}),
        ("broad", {"B": "B cell", "CD4 T": "T cell", "T cells [x]": "T cells [x]"}),
    ],
)
def test_labels_are_rolled_up_to_a_level(files, tmp_path, capsys, level, expected):
    query, _, obo = files
    out = tmp_path / "map.csv"
    code, said, _ = run(
        capsys, query, "--labels", "type", "--ontology", obo, "--level", level, "--out", out, "--json", "--overwrite"
    )
    assert code == 0
    assert json.loads(said)["rolled_up"] == expected
    assert read_label_map(out) == expected


def test_levels_that_are_none(files, tmp_path, capsys):
    query, reference, obo = files
    for words, told in (
        (["--level", "0"], "a depth is 1 or more"),
        (["--level", "neuron"], "neuron"),
        (["--level", "broad", "--to", reference, "--to-labels", "type"], "leave one of them out"),
    ):
        code, _, err = run(capsys, query, "--labels", "type", "--ontology", obo, *words)
        assert code == 2
        assert told in err
