"""True names beside the labels of a reference, in the Cell Ontology: which of them a label is a kind of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scssl.errors import ScsslError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from scssl.ontology import CellOntology, LabelTree


def with_truth(tree: LabelTree, true: Iterable[str]) -> LabelTree:
    """Place true names that the reference lacks behind its labels.

    Parameters
    ----------
    tree
        The labels of the reference.
    true
        Names; those without a certain term stand alone.

    Returns
    -------
    LabelTree
        The labels of the reference come first, in their order.
    """
    from scssl.ontology import LabelTree, match_labels, terms_of

    others = sorted(set(true) - set(tree.labels))
    if not others:
        return tree
    ontology = _whole(tree.ontology)
    terms = dict(zip(tree.labels, tree.terms, strict=True))
    terms |= terms_of(match_labels(others, ontology=ontology))
    return LabelTree([*tree.labels, *others], terms=terms, ontology=ontology)


def related(tree: LabelTree, *, n_classes: int) -> NDArray[np.bool_]:
    """Say which names the reference knows: it has them, a kind of them, or something that they are a kind of.

    Parameters
    ----------
    tree
        From `with_truth`.
    n_classes
        Labels of the reference.

    Returns
    -------
    numpy.ndarray
        (n_names,) bool.
    """
    kinds_above, kinds_below = tree.descends[:n_classes].any(axis=0), tree.descends[:, :n_classes].any(axis=1)
    return np.asarray(kinds_above | kinds_below, dtype=bool)


def _whole(ontology: CellOntology) -> CellOntology:
    """Return the ontology that the labels were placed in, or the part of it that was kept where it is not at hand.

    That part holds all that a label of the reference is a kind of, but not what is a kind of a label.
    """
    from scssl.ontology import CellOntology
    from scssl.ontology.guide import SOURCE

    try:
        opened = CellOntology.open(None if ontology.source == SOURCE else Path(ontology.source))
    except ScsslError:
        return ontology
    return opened if opened.version == ontology.version else ontology
