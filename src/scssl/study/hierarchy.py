"""The target's labels in the Cell Ontology: what scores need to count a kind of the true type as right."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.errors import MissingExtraError, SettingsError
from scssl.ontology import CellOntology, LabelTree, match_labels, read_terms, terms_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scssl.study.splits import Split

BUNDLED: Final = "bundled"
NONE: Final = "none"
SHOWN: Final = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Hierarchy:
    """Which label is a kind of which, and what is said of it."""

    descends: NDArray[np.bool_] | None
    """(n_classes, n_classes), see `LabelTree`; None where hierarchical scores would be the raw ones."""
    notes: list[str]
    """Why there are no hierarchical scores, or which labels have no part in them."""
    settings: dict[str, Any]
    """Ontology, version, term of each label, and pairs of labels of which one is a kind of the other."""

    def reached(self, codes: NDArray[np.integer], splits: Sequence[Split]) -> list[str]:
        """Say how many cells are scored by kind alone.

        Parameters
        ----------
        codes
            (n_cells,) labels.
        splits
            All splits.
        """
        if self.descends is None:
            return []
        n: Counter[str] = Counter()
        for split in splits:
            n[split.scheme] += len(split.reached(codes, descends=self.descends))
        return [
            f"{many:,} test cells, by {scheme} left out, are scored only where a kind of their type counts as right: "
            "kinds of it are among the cells to learn from, and itself is not."
            for scheme, many in n.items()
            if many
        ]


def place(classes: Sequence[str], *, ontology: Path | str | None, terms: Path | str | None) -> Hierarchy:
    """Look the labels of a study up in the Cell Ontology.

    Parameters
    ----------
    classes
        The labels.
    ontology
        .obo file; ``"bundled"`` for that of the extra `ontology`; ``"none"`` for no hierarchical scores; None for the
        bundled one if it is installed.
    terms
        Table of labels and their terms, see `scssl.ontology.read_terms`, for labels that are decided.

    Raises
    ------
    SettingsError
        If terms are given and the ontology is ``"none"``, or a term is not in the ontology.
    MissingExtraError
        If an ontology is asked for that is not installed.
    """
    if ontology == NONE:
        if terms is not None:
            message = f"--terms {terms} has no effect with --ontology none: leave one of them out"
            raise SettingsError(message)
        return Hierarchy(descends=None, notes=[], settings={"scored": False})
    try:
        opened = CellOntology.open(None if ontology in (None, BUNDLED) else Path(str(ontology)))
    except MissingExtraError as error:
        if ontology is not None or terms is not None:
            raise
        return _left_out(f"the Cell Ontology is not at hand ({error})", settings={})
    known = None if terms is None else read_terms(terms, ontology=opened)
    tree = LabelTree(classes, terms=terms_of(match_labels(classes, ontology=opened, known=known)), ontology=opened)
    settings: dict[str, Any] = {
        "ontology": opened.source,
        "version": opened.version,
        "terms": dict(zip(tree.labels, tree.terms, strict=True)),
        "kinds": [
            [tree.labels[i], tree.labels[j]] for i, j in np.argwhere(tree.descends).tolist() if i != j
        ],
    }  # fmt: skip
    fix = "see scssl labels, and give --terms"
    if len(tree.alone) == len(tree.labels):
        return _left_out(f"no label has a certain term in the Cell Ontology ({fix})", settings=settings)
    notes = []
    if tree.alone:
        listed = ", ".join(tree.alone[:SHOWN]) + (", ..." if len(tree.alone) > SHOWN else "")
        n = f"{len(tree.alone)} of {len(tree.labels)} labels"
        notes.append(f"{n} have no certain term in the Cell Ontology and are no kind of any other: {listed} ({fix}).")
    if not settings["kinds"]:
        found = _left_out("no label is a kind of another, so that they would be the raw ones", settings=settings)
        return Hierarchy(descends=None, notes=[*notes, *found.notes], settings=found.settings)
    return Hierarchy(descends=tree.descends, notes=notes, settings={"scored": True, **settings})


def _left_out(why: str, *, settings: dict[str, Any]) -> Hierarchy:
    note = f"Scores that count a kind of the true type as right are left out: {why}."
    return Hierarchy(descends=None, notes=[note], settings={"scored": False, **settings})
