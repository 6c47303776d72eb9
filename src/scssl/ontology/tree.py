"""LabelTree: which of the labels in use is a kind of which, and what several of them have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scssl.errors import DataError, SettingsError
from scssl.ontology.cell_ontology import CellOntology
from scssl.ontology.levels import BROAD, EVERYDAY
from scssl.ontology.terms import Term

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Literal, Self

    from numpy.typing import NDArray


class Ancestor(NamedTuple):
    """What several labels have in common."""

    name: str
    """The label that stands for the term, if one does, or else the term's name."""
    term: str | None
    """ID of the term; None for a single label without a term."""


class LabelTree:
    """The labels of a reference, placed in the Cell Ontology.

    It keeps the part of the ontology that it needs, so that it can be stored (`to_dict`) and used without the rest.

    Parameters
    ----------
    labels
        Names, each once; their order is that of all codes and matrices here.
    terms
        ID of the term of each label; a label that is missing here, or has None, stands alone.
    ontology
        Where the terms are from. IDs that were replaced are brought up to date.

    Attributes
    ----------
    labels : list of str
        As given.
    terms : list of str or None
        ID of each label's term.
    ontology : CellOntology
        The terms above those of the labels.
    descends : numpy.ndarray
        (n_labels, n_labels) bool; ``descends[i, j]`` says that label i is label j, has the same term, or is a kind of
        it. Reflexive and transitive.

    Raises
    ------
    DataError
        If a label is there twice, or a term is unknown to the ontology.
    """

    def __init__(self, labels: Sequence[str], *, terms: Mapping[str, str | None], ontology: CellOntology) -> None:
        self.labels = [str(label) for label in labels]
        if len(set(self.labels)) < len(self.labels):
            twice = sorted({label for label in self.labels if self.labels.count(label) > 1})
            message = f"labels must be there once each; twice: {', '.join(map(repr, twice))}"
            raise DataError(message)
        self.terms = [_current(terms.get(label), label=label, ontology=ontology) for label in self.labels]
        self.ontology = ontology.restricted(term for term in self.terms if term is not None)
        self.descends = self._descends()
        self._label_of = {term: label for label, term in zip(self.labels[::-1], self.terms[::-1], strict=True) if term}

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        placed = sum(term is not None for term in self.terms)
        return f"LabelTree({len(self)} labels, {placed} with a term of the Cell Ontology)"

    @property
    def alone(self) -> list[str]:
        """Labels without a term."""
        return [label for label, term in zip(self.labels, self.terms, strict=True) if term is None]

    def common_ancestor(self, codes: Iterable[int]) -> Ancestor | None:
        """Return what some labels have in common: the term that says most of those that hold for all of them.

        The ontology has many terms that nobody labels cells with ("mature alpha-beta T cell", "single nucleate cell").
        So the terms of the tree's own labels, and those of a list of everyday names (`EVERYDAY`), come before all
        others, which are taken only where none of these holds.

        Parameters
        ----------
        codes
            Numbers of labels.

        Returns
        -------
        Ancestor or None
            One label is its own ancestor. None where there are no labels, where one of several has no term, or where
            nothing holds for all of them but what holds for most cells; see `CellOntology.common_ancestor`.
        """
        chosen = sorted({int(code) for code in codes})
        if len(chosen) == 1:
            return Ancestor(self.labels[chosen[0]], self.terms[chosen[0]])
        terms = [self.terms[code] for code in chosen]
        known = [term for term in terms if term is not None]
        if len(known) < len(terms):
            return None
        shared = self.ontology.common_ancestor(known, among={*EVERYDAY, *self._label_of})
        shared = shared or self.ontology.common_ancestor(known)
        return None if shared is None else Ancestor(self._label_of.get(shared, self.ontology.name(shared)), shared)

    def roll_up(self, level: Literal["broad"] | int | Sequence[str] = "broad") -> dict[str, str]:
        """Rename labels to a coarser level, as a label map.

        Parameters
        ----------
        level
            Terms to roll up to, by ID or name: each label gets the one that says most of those above it. ``"broad"``
            is the list `scssl.ontology.BROAD`, of about what can be told apart in any tissue. A number is a depth
            below the root, counted along the line that always goes through the parent with the fewest descendants (so
            that it is a tree); how much a depth says differs from one branch of the ontology to another.

        Returns
        -------
        dict
            Label to name of the term. Labels without a term, those that no term of the level is above, and those that
            lie above the depth, keep their names.

        Raises
        ------
        SettingsError
            If the depth is below 1, or the level is an unknown word or names a term that lies above none of the labels
            because it is none.
        """
        if isinstance(level, int):
            if level < 1:
                message = f"level is {level}; a depth is 1 or more"
                raise SettingsError(message)
            lines = [self.ontology.main_line(term) if term else [] for term in self.terms]
            found = [line[level] if len(line) > level else None for line in lines]
        else:
            wanted = self._level(level)
            found = [self._most_telling(term, wanted) for term in self.terms]
        return {
            label: label if term is None else self.ontology.name(term)
            for label, term in zip(self.labels, found, strict=True)
        }

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        above = self.ontology
        return {
            "labels": self.labels,
            "terms": self.terms,
            "ontology": {
                "source": above.source,
                "version": above.version,
                "n_terms": above.n_terms,
                "terms": {
                    key: {"name": term.name, "parents": list(term.parents), "size": above.size(key)}
                    for key, term in above.terms.items()
                },
            },
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Rebuild a tree from what `to_dict` returned.

        Parameters
        ----------
        content
            Plain values.
        """
        stored = content["ontology"]
        entries = stored["terms"]
        ontology = CellOntology(
            [Term(id=key, name=each["name"], parents=tuple(each["parents"])) for key, each in entries.items()],
            source=stored["source"],
            version=stored["version"],
            sizes={key: each["size"] for key, each in entries.items()},
            n_terms=stored["n_terms"],
        )
        labels = content["labels"]
        return cls(labels, terms=dict(zip(labels, content["terms"], strict=True)), ontology=ontology)

    def _descends(self) -> NDArray[np.bool_]:
        n = len(self.labels)
        descends = np.eye(n, dtype=bool)
        placed = [i for i in range(n) if self.terms[i] is not None]
        used = {term: [i for i in placed if self.terms[i] == term] for term in set(self.terms) - {None}}
        for i in placed:
            for term in self.ontology.ancestors(str(self.terms[i])):
                descends[i, used.get(term, [])] = True
        return descends

    def _level(self, level: str | Sequence[str]) -> set[str]:
        if isinstance(level, str):
            if level != "broad":
                message = f"level is {level!r}; it must be 'broad', a depth, or a list of terms"
                raise SettingsError(message)
            return {term for term in BROAD if term in self.ontology}
        names = {term.name.casefold(): key for key, term in self.ontology.terms.items()}
        # A term that is above none of the labels is not in this part of the ontology, and has no part in the result.
        found = (self.ontology.resolve(each) or names.get(each.strip().casefold()) for each in level)
        wanted = {term for term in found if term is not None}
        if not wanted:
            message = f"none of the terms {', '.join(map(repr, level))} is above any of the labels"
            raise SettingsError(message)
        return wanted

    def _most_telling(self, term: str | None, wanted: set[str]) -> str | None:
        above = wanted & self.ontology.ancestors(term) if term else set()
        return min(above, key=lambda each: (self.ontology.size(each), each), default=None)


def _current(term: str | None, *, label: str, ontology: CellOntology) -> str | None:
    if not term:
        return None
    found = ontology.resolve(term)
    if found is None:
        message = f"the term {term!r} of the label {label!r} is not in the Cell Ontology of {ontology.source}"
        raise DataError(message)
    return found
