"""The Cell Ontology: which cell type is a kind of which, and which term a label means."""

from __future__ import annotations

from scssl.ontology.cell_ontology import CellOntology
from scssl.ontology.levels import BROAD, EVERYDAY
from scssl.ontology.terms import Synonym, Term
from scssl.ontology.tree import Ancestor, LabelTree

__all__ = ["BROAD", "EVERYDAY", "Ancestor", "CellOntology", "LabelTree", "Synonym", "Term"]
