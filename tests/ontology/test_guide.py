"""The package cellxgene-ontology-guide: read where it is installed, asked for where it is not."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from scssl.errors import MissingExtraError
from scssl.ontology import EVERYDAY, CellOntology
from scssl.ontology.spelling import UNSETTLED, conventions

MODULE = "cellxgene_ontology_guide.ontology_parser"


class Parser:
    """The part of the package's parser that is used, over three terms."""

    terms = {
        "CL:0000000": ("cell", [], [], False, None),
        "CL:0000542": ("lymphocyte", ["CL:0000000"], [], False, None),
        "CL:0000003": ("", [], [], True, "CL:0000542"),
        "GO:1": ("no cell", [], [], False, None),
    }
    cxg_schema = SimpleNamespace(ontology=lambda name: Parser.terms, supported_ontologies={"CL": {"version": "v1"}})

    def get_term_label(self, term):
        return self.terms[term][0]

    def get_term_parents(self, term):
        return self.terms[term][1]

    def get_term_synonyms(self, term):
        return ["lymphoid"] if term == "CL:0000542" else []

    def is_term_deprecated(self, term):
        return self.terms[term][3]

    def get_term_replacement(self, term):
        return self.terms[term][4]


def test_read(monkeypatch):
    monkeypatch.setitem(sys.modules, MODULE, SimpleNamespace(OntologyParser=Parser))
    ontology = CellOntology.open()
    assert (len(ontology), ontology.version, ontology.source) == (2, "v1", "cellxgene-ontology-guide")
    assert ontology.ancestors("CL:0000542") == {"CL:0000542", "CL:0000000"}
    assert ontology.terms["CL:0000542"].synonyms[0] == ("lymphoid", "EXACT")
    assert ontology.resolve("CL:0000003") == "CL:0000542"


def test_missing(monkeypatch):
    for name in list(sys.modules):
        if name.split(".")[0] == "cellxgene_ontology_guide":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Refusing(), *sys.meta_path])
    with pytest.raises(MissingExtraError, match=r"pip install 'scssl\[ontology\]'"):
        CellOntology.open()


class Refusing:
    """An import system in which the package is not installed."""

    def find_spec(self, name, path=None, target=None):
        if name == "cellxgene_ontology_guide":
            message = f"No module named {name!r}"
            raise ModuleNotFoundError(message, name=name)


def test_the_real_package_has_the_terms_that_are_named_here():
    pytest.importorskip("cellxgene_ontology_guide")
    ontology = CellOntology.open()
    assert len(ontology) > 3000
    assert "CL:0000542" in ontology.ancestors("CL:0000236")
    named = {*EVERYDAY, *conventions()[1].values()} - {UNSETTLED}
    assert not [term for term in named if term not in ontology]


def test_the_real_file_has_the_terms_that_are_named_here(real_ontology):
    named = {*EVERYDAY, *conventions()[1].values()} - {UNSETTLED}
    assert not [term for term in named if term not in real_ontology]
