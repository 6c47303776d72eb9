"""What the Cell Ontology says of one cell type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Scope = Literal["EXACT", "BROAD", "NARROW", "RELATED"]


class Synonym(NamedTuple):
    """Another name of a term, and whether it means the same (EXACT) or only something near."""

    text: str
    scope: Scope = "EXACT"


@dataclass(frozen=True, kw_only=True)
class Term:
    """One entry of the ontology."""

    id: str
    """``CL:0000236``."""
    name: str
    parents: tuple[str, ...] = ()
    """IDs of what it is directly a kind of (is_a only: what it is part of or develops from is no kind of it)."""
    synonyms: tuple[Synonym, ...] = ()
    obsolete: bool = False
    replaced_by: tuple[str, ...] = ()
    """For an obsolete term, the ones to use in its place."""
    other_ids: tuple[str, ...] = ()
    """IDs of terms that were merged into this one."""
