"""Reading .obo files, also those that are none or are damaged."""

from __future__ import annotations

import pytest

from scssl.errors import DataError, FormatError
from scssl.ontology import CellOntology, Synonym
from scssl.ontology.obo import read_obo


def test_terms(obo):
    terms, version = read_obo(obo)
    found = {term.id: term for term in terms}
    assert version == "small/2026"
    assert len(found) == 40
    b = found["CL:0000236"]
    assert b.parents == ("CL:0000542",)
    assert b.synonyms == (Synonym("B lymphocyte"), Synonym("B-cell"))
    assert b.other_ids == ("CL:0000999",)
    assert found["CL:0000623"].synonyms[1] == Synonym("null cell", "BROAD")
    assert found["CL:0000003"].obsolete
    assert found["CL:0000003"].replaced_by == ("CL:0000542",)


def test_what_the_format_allows(tmp_path):
    path = tmp_path / "odd.OBO"
    path.write_text(
        "\ufeffformat-version: 1.4\r\n\r\n[Term]\r\nid: CL:0000001 ! comment\r\n"
        'name: cell\\, of {a kind} {xref="PMID:1"}\r\nsynonym: "says \\"hi\\"" []\r\n'
        'is_a: CL:0000009 {a="b"} ! gone\r\n'
    )
    terms, version = read_obo(path)
    assert version == ""
    assert terms[0].id == "CL:0000001"
    assert terms[0].name == "cell, of {a kind}"
    assert terms[0].synonyms == (Synonym('says "hi"', "RELATED"),)
    assert CellOntology.open(path).parents("CL:0000001") == ()


@pytest.mark.parametrize(
    ("name", "text", "error", "message"),
    [
        ("cl.owl", "<rdf>", DataError, r"only \.obo files.*download cl-basic\.obo"),
        ("cl.obo", "<html>", FormatError, "not in the OBO format"),
        ("cl.obo", "", FormatError, "not in the OBO format"),
        ("cl.obo", "format-version: 1.2\n", FormatError, "no terms of the Cell Ontology"),
        ("cl.obo", "format-version: 1.2\n\n[Term]\nid: GO:1\nname: x\n", FormatError, "no terms of the Cell Ontology"),
        ("cl.obo", "format-version: 1.2\n\n[Term]\nname: x\n", FormatError, "line 3: a term without an ID"),
        ("cl.obo", "format-version: 1.2\n\n[Term]\nid: CL:0000001\n", FormatError, "CL:0000001 has no name"),
        (
            "cl.obo",
            "format-version: 1.2\n\n[Term]\nid: CL:0000001\nname: x\n\n[Term]\nid: CL:0000001\nname: y\n",
            FormatError,
            "line 7: CL:0000001 was there already, at line 3",
        ),
        (
            "cl.obo",
            "format-version: 1.2\n\n[Term]\nid: CL:0000001\nname: x\nsynonym: x\n",
            FormatError,
            "a synonym that cannot be read: x",
        ),
    ],
)
def test_bad_files(tmp_path, name, text, error, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(error, match=message):
        CellOntology.open(path)


def test_no_file_and_no_text(tmp_path):
    with pytest.raises(DataError, match="no such file; download"):
        CellOntology.open(tmp_path / "cl.obo")
    path = tmp_path / "cl.obo"
    path.write_bytes(b"format-version: \xff")
    with pytest.raises(FormatError, match="is not text in UTF-8"):
        CellOntology.open(path)
