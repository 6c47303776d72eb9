"""Maps between naming schemes, and tables of terms on disk."""

from __future__ import annotations

import pytest

from scssl.errors import DataError, FormatError
from scssl.ontology import match_labels, propose_map, read_terms, write_terms


def test_propose_map(ontology):
    query = {
        "b": "CL:0000236",
        "CD4 helper": "CL:0000624",
        "CD8": "CL:0000625",
        "T": "CL:0000084",
        "Mono": "CL:0000576",
        "Leuko": "CL:0000738",
        "Fib": "CL:0000057",
        "odd": None,
    }
    reference = {
        "B": None,
        "CD4 T": "CL:0000624",
        "T cells": "CL:0000084",
        "any lymphocyte": "CL:0000542",
        "cMono": "CL:0000860",
    }
    rows = propose_map(query, reference=reference, ontology=ontology).to_numpy().tolist()
    assert rows == [
        ["b", "B", "name", []],
        ["CD4 helper", "CD4 T", "same", []],
        ["CD8", "T cells", "coarser", []],
        ["T", "T cells", "same", []],
        ["Mono", "cMono", "finer", []],
        ["Leuko", None, "several", ["CD4 T", "T cells", "any lymphocyte", "cMono"]],
        ["Fib", None, "none", []],
        ["odd", None, "none", []],
    ]


def test_two_names_of_one_term_are_not_decided_between(ontology):
    table = propose_map({"CD4": "CL:0000624"}, reference={"T1": "CL:0000084", "T2": "CL:0000084"}, ontology=ontology)
    assert table.to_numpy().tolist() == [["CD4", None, "several", ["T1", "T2"]]]


def test_terms_are_written_and_read_back(ontology, tmp_path):
    path = tmp_path / "terms.csv"
    table = match_labels(["B", "CD4, T", "mystery"], ontology=ontology)
    write_terms(path, table=table)
    assert read_terms(path) == {"B": "CL:0000236", "CD4, T": "CL:0000624", "mystery": None}
    assert path.read_text().splitlines()[:2] == ["label,term,name,how", "B,CL:0000236,B cell,convention"]
    again = match_labels(table["label"], ontology=ontology, known=read_terms(path))
    assert again["term"].tolist() == table["term"].tolist()
    assert set(again["how"]) == {"given"}


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"label,name\nB,x\n", DataError, "has no column 'term'; it needs label and term"),
        (b"", DataError, "has no column 'label' and no column 'term'"),
        (b"label,term\nB,CL:1\nB,CL:2\n", FormatError, "line 3: 'B' has two terms, 'CL:1' and 'CL:2'"),
        (b"label,term\n\xff,x\n", FormatError, "cannot be read as a table"),
    ],
)
def test_bad_tables(tmp_path, content, error, message):
    path = tmp_path / "terms.csv"
    path.write_bytes(content)
    with pytest.raises(error, match=message):
        read_terms(path)
    with pytest.raises(DataError, match="no such file"):
        read_terms(tmp_path / "none.csv")


def test_terms_that_the_ontology_does_not_have_are_named_with_their_line(tmp_path, ontology):
    path = tmp_path / "terms.csv"
    path.write_text('label,term\nB,B cell\n\n"two\nlines",CL:0000236\nT,T sell\n')
    assert read_terms(path)["T"] == "T sell"
    with pytest.raises(FormatError, match=r"terms.csv, line 6: 'T sell' is neither .* did you mean 'T cell'"):
        read_terms(path, ontology=ontology)
