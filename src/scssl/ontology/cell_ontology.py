"""CellOntology: terms of the Cell Ontology and what is a kind of what."""

from __future__ import annotations

import difflib
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from scssl.errors import DataError, FormatError, SettingsError
from scssl.ontology.terms import Term

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import Self

COMMON_TO_MOST = 0.5
"""A term above more than this share of all terms ("cell", "eukaryotic cell") says nothing about a cell."""


class CellOntology:
    """Terms of the Cell Ontology with their names and ancestors. Made by `open`.

    A term counts as its own ancestor and descendant, as in "T cell or any kind of it".

    Parameters
    ----------
    terms
        All entries; parents that are not among them (of other ontologies) are left out.
    source
        File or package that they come from, for messages and settings.
    version
        Version of the ontology.
    sizes
        Number of descendants of each term, where `terms` is only a part of an ontology.
    n_terms
        Number of terms of the whole ontology, likewise.

    Attributes
    ----------
    source, version
        As given.
    terms
        ID to entry, without obsolete terms.

    Raises
    ------
    FormatError
        If a term is its own ancestor, or there are no terms.
    """

    def __init__(
        self,
        terms: Iterable[Term],
        *,
        source: str,
        version: str = "",
        sizes: Mapping[str, int] | None = None,
        n_terms: int | None = None,
    ) -> None:
        self.source, self.version = source, version
        every = {term.id: term for term in terms}
        live = {key: term for key, term in every.items() if not term.obsolete}
        if not live:
            message = f"{source}: holds no terms of the Cell Ontology (IDs such as CL:0000236)"
            raise FormatError(message)
        self.terms: dict[str, Term] = {
            key: replace(term, parents=tuple(dict.fromkeys(p for p in term.parents if p in live)))
            for key, term in live.items()
        }
        self._moved = {other: term.id for term in self.terms.values() for other in term.other_ids}
        self._moved |= {key: term.replaced_by[0] for key, term in every.items() if len(term.replaced_by) == 1}
        self._ancestors: dict[str, frozenset[str]] = {}
        for key in self.terms:
            self._climb(key)
        self.n_terms = len(self.terms) if n_terms is None else n_terms
        self._sizes = dict(sizes) if sizes is not None else self._count()
        self._by_name = {term.name.casefold(): key for key, term in self.terms.items()}

    @classmethod
    def open(cls, path: Path | str | None = None) -> Self:
        """Open the ontology from a file, or from the package cellxgene-ontology-guide.

        Parameters
        ----------
        path
            An .obo file (``cl-basic.obo`` or ``cl.obo`` of the Cell Ontology's releases); by default the version that
            CELLxGENE uses, from the extra ``ontology``.

        Returns
        -------
        CellOntology
            Terms and what is a kind of what.

        Raises
        ------
        DataError
            If there is no such file, or it is no .obo file.
        FormatError
            If it is not a readable ontology; the message has the line.
        MissingExtraError
            Without a path, if the package is not installed.
        """
        if path is None:
            from scssl.ontology.guide import SOURCE, read_guide

            terms, version = read_guide()
            return cls(terms, source=SOURCE, version=version)
        from scssl.ontology.obo import read_obo

        terms, version = read_obo(Path(path))
        return cls(terms, source=str(path), version=version)

    def __len__(self) -> int:
        return len(self.terms)

    def __contains__(self, term: object) -> bool:
        return term in self.terms

    def __repr__(self) -> str:
        version = f", version {self.version}" if self.version else ""
        return f"CellOntology({len(self):,} terms from {self.source}{version})"

    def name(self, term: str) -> str:
        """Return the name of a term.

        Parameters
        ----------
        term
            ID.
        """
        return self._get(term).name

    def parents(self, term: str) -> tuple[str, ...]:
        """Return what a term is directly a kind of.

        Parameters
        ----------
        term
            ID.
        """
        return self._get(term).parents

    def ancestors(self, term: str) -> frozenset[str]:
        """Return everything that a term is a kind of, itself included.

        Parameters
        ----------
        term
            ID.
        """
        return self._ancestors[self._get(term).id]

    def descendants(self, term: str) -> frozenset[str]:
        """Return all kinds of a term, itself included.

        Parameters
        ----------
        term
            ID.
        """
        wanted = self._get(term).id
        return frozenset(key for key, above in self._ancestors.items() if wanted in above)

    def size(self, term: str) -> int:
        """Return the number of descendants of a term, itself included: the fewer, the more the term says.

        Parameters
        ----------
        term
            ID.
        """
        return self._sizes[self._get(term).id]

    def says_something(self, term: str) -> bool:
        """Say whether a term is more than a root or what nearly every cell is.

        Parameters
        ----------
        term
            ID.
        """
        return bool(self.parents(term)) and self.size(term) <= COMMON_TO_MOST * self.n_terms

    def resolve(self, term: str) -> str | None:
        """Return the ID in use for an ID that may be spelled otherwise, merged or replaced; None if there is none.

        Parameters
        ----------
        term
            ID.
        """
        spelled = re.fullmatch(r"\s*cl[:_](\d{7})\s*", term, flags=re.IGNORECASE)
        key: str | None = f"CL:{spelled[1]}" if spelled else term
        seen: set[str] = set()
        while key is not None and key not in self.terms and key not in seen:
            seen.add(key)
            key = self._moved.get(key)
        return key if key in self.terms else None

    def find(self, name: str) -> str:
        """Return the ID for an ID or the exact name of a term, in any case.

        Parameters
        ----------
        name
            ``CL:0000084`` or ``T cell``.

        Raises
        ------
        SettingsError
            If there is no such term.
        """
        found = self.resolve(name) or self._by_name.get(name.strip().casefold())
        if found is None:
            near = difflib.get_close_matches(name.casefold(), list(self._by_name), n=3)
            hint = f"; did you mean {', '.join(repr(self.name(self._by_name[each])) for each in near)}?" if near else ""
            message = f"{name!r} is neither an ID nor a name in the Cell Ontology of {self.source}{hint}"
            raise SettingsError(message)
        return found

    def common_ancestor(self, terms: Iterable[str], *, among: Collection[str] | None = None) -> str | None:
        """Return the term that says most of those that hold for all the given ones.

        Two terms may have several lowest common ancestors. The one with the fewest descendants is taken, which is the
        one of the highest information content, and among equals the one with the lowest ID. As a term always has more
        descendants than any kind of it, this one is a lowest common ancestor.

        Parameters
        ----------
        terms
            IDs.
        among
            IDs to choose from; all by default.

        Returns
        -------
        str or None
            ID; None where nothing holds for all of them but what holds for most cells, or if there are no terms.
        """
        above = [self.ancestors(term) for term in terms]
        shared = frozenset.intersection(*above) if above else frozenset[str]()
        telling = [term for term in shared if self.says_something(term) and (among is None or term in among)]
        return min(telling, key=lambda term: (self._sizes[term], term), default=None)

    def main_line(self, term: str) -> list[str]:
        """Return the path from the root to a term that always goes through the parent with the fewest descendants.

        Parameters
        ----------
        term
            ID.
        """
        path = [self._get(term).id]
        while above := self.terms[path[-1]].parents:
            path.append(min(above, key=lambda parent: (self._sizes[parent], parent)))
        return path[::-1]

    def restricted(self, terms: Iterable[str]) -> CellOntology:
        """Return the part of the ontology that lies above some terms, with its sizes as in the whole.

        Parameters
        ----------
        terms
            IDs.
        """
        kept = sorted(frozenset[str]().union(*(self.ancestors(term) for term in terms)))
        return CellOntology(
            [self.terms[key] for key in kept] or [Term(id="CL:0000000", name="cell")],
            source=self.source,
            version=self.version,
            sizes={key: self._sizes[key] for key in kept} or {"CL:0000000": self.n_terms},
            n_terms=self.n_terms,
        )

    def _get(self, term: str) -> Term:
        try:
            return self.terms[term]
        except KeyError:
            message = f"{term!r} is no term of the Cell Ontology of {self.source}"
            raise DataError(message) from None

    def _climb(self, start: str) -> None:
        """Find the ancestors of a term, and on the way those of what is above it."""
        stack, open_terms = [start], set[str]()
        while stack:
            key = stack[-1]
            if key in self._ancestors:
                stack.pop()
                continue
            waiting = [parent for parent in self.terms[key].parents if parent not in self._ancestors]
            if not waiting:
                above = (self._ancestors[parent] for parent in self.terms[key].parents)
                self._ancestors[key] = frozenset([key]).union(*above)
                open_terms.discard(key)
                stack.pop()
                continue
            open_terms.add(key)
            if open_terms & set(waiting):
                message = f"{self.source}: {key} ({self.terms[key].name}) is a kind of itself by its is_a lines"
                raise FormatError(message)
            stack.extend(waiting)

    def _count(self) -> dict[str, int]:
        sizes = dict.fromkeys(self.terms, 0)
        for above in self._ancestors.values():
            for key in above:
                sizes[key] += 1
        return sizes
