"""The Cell Ontology as CELLxGENE uses it, from the package cellxgene-ontology-guide."""

from __future__ import annotations

from typing import Any

from scssl.errors import import_extra
from scssl.ontology.terms import Synonym, Term

SOURCE = "cellxgene-ontology-guide"
EXTRA = "ontology"


def read_guide() -> tuple[list[Term], str]:
    """Read all cell types that the installed package knows.

    Returns
    -------
    terms : list of Term
        Obsolete ones included. The package lists exact synonyms only.
    version : str
        Version of the ontology.

    Raises
    ------
    MissingExtraError
        If the package is not installed.
    """
    module = import_extra("cellxgene_ontology_guide.ontology_parser", extra=EXTRA)
    parser: Any = module.OntologyParser()
    schema = parser.cxg_schema
    terms = []
    for key in schema.ontology("CL"):
        if not key.startswith("CL:"):
            continue
        replacement = parser.get_term_replacement(key)
        obsolete = bool(parser.is_term_deprecated(key))
        terms.append(
            Term(
                id=key,
                name=parser.get_term_label(key),
                parents=() if obsolete else tuple(parser.get_term_parents(key)),
                synonyms=tuple(Synonym(text) for text in parser.get_term_synonyms(key)),
                obsolete=obsolete,
                replaced_by=(replacement,) if replacement else (),
            )
        )
    return terms, str(schema.supported_ontologies["CL"]["version"])
