"""The Cell Ontology: which cell type is a kind of which, and which term a label means."""

from __future__ import annotations

from scssl.ontology.cell_ontology import CellOntology
from scssl.ontology.levels import BROAD, EVERYDAY
from scssl.ontology.matching import Candidate, match_labels, terms_of
from scssl.ontology.schemes import propose_map, read_terms, write_terms
from scssl.ontology.terms import Synonym, Term
from scssl.ontology.tree import Ancestor, LabelTree

__all__ = [
    "BROAD",
    "EVERYDAY",
    "Ancestor",
    "Candidate",
    "CellOntology",
    "LabelTree",
    "Synonym",
    "Term",
    "match_labels",
    "propose_map",
    "read_terms",
    "terms_of",
    "write_terms",
]
