"""LabelTree: labels among each other, what they share, coarser levels, and storing all of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scssl.errors import DataError, SettingsError
from scssl.ontology import Ancestor, CellOntology, LabelTree, Term

TERMS = {
    "B": "CL:0000236",
    "CD4": "CL:0000624",
    "CD8": "CL:0000625",
    "T": "CL:0000084",
    "T again": "CL:0000084",
    "Mono": "CL:0000576",
    "Fib": "CL:0000057",
    "mystery": None,
}


@pytest.fixture
def tree(ontology):
    return LabelTree(list(TERMS), terms=TERMS, ontology=ontology)


def code(*labels):
    return [list(TERMS).index(label) for label in labels]


def test_descends(tree, ontology):
    for i, a in enumerate(tree.labels):
        for j, b in enumerate(tree.labels):
            related = a == b or (None not in (TERMS[a], TERMS[b]) and TERMS[b] in ontology.ancestors(TERMS[a]))
            assert tree.descends[i, j] == related, (a, b)
    assert tree.alone == ["mystery"]
    assert len(tree) == 8
    assert "7 with a term" in repr(tree)


@given(st.lists(st.sampled_from([None, *range(8)]), max_size=7), st.data())
def test_descends_is_reflexive_transitive_and_antisymmetric_between_terms(chosen, data):
    parents = [data.draw(st.sets(st.integers(0, i - 1), max_size=2)) if i else set() for i in range(8)]
    terms = [
        Term(id=f"CL:{i:07d}", name=f"type {i}", parents=tuple(f"CL:{p:07d}" for p in above))
        for i, above in enumerate(parents)
    ]
    labels = {f"label {k}": None if i is None else f"CL:{i:07d}" for k, i in enumerate(chosen)}
    tree = LabelTree(list(labels), terms=labels, ontology=CellOntology(terms, source="drawn"))
    d = tree.descends
    assert d.diagonal().all()
    np.testing.assert_array_equal((d.astype(int) @ d.astype(int)) > 0, d)
    for i, j in np.argwhere(d & d.T):
        assert i == j or tree.terms[i] == tree.terms[j] is not None
    for i, term in enumerate(tree.terms):
        if term is None:
            assert d[i].sum() == d[:, i].sum() == 1
    again = LabelTree.from_dict(json.loads(json.dumps(tree.to_dict())))
    np.testing.assert_array_equal(again.descends, d)


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        # The reference's own name for it, rather than the ontology's "mature alpha-beta T cell" or "T cell".
        (["CD4", "CD8"], Ancestor("T", "CL:0000084")),
        (["CD4", "T"], Ancestor("T", "CL:0000084")),
        (["CD4", "B"], Ancestor("lymphocyte", "CL:0000542")),
        (["CD4", "B", "Mono"], Ancestor("leukocyte", "CL:0000738")),
        (["CD4"], Ancestor("CD4", "CL:0000624")),
        (["mystery"], Ancestor("mystery", None)),
        (["CD4", "mystery"], None),
        (["CD4", "Fib"], None),
        ([], None),
    ],
)
def test_common_ancestor(tree, labels, found):
    assert tree.common_ancestor(code(*labels)) == found


def test_everyday_names_come_first(ontology):
    tree = LabelTree(["CD4", "CD8"], terms=TERMS, ontology=ontology)
    assert tree.common_ancestor([0, 1]) == Ancestor("T cell", "CL:0000084")
    terms = {"a": "CL:0000002", "b": "CL:0000003"}
    rare = [Term(id="CL:0000000", name="cell")] + [
        Term(id=f"CL:000000{i}", name=f"type {i}", parents=("CL:0000001" if i < 4 else "CL:0000000",))
        for i in range(2, 9)
    ]
    rare.append(Term(id="CL:0000001", name="rarely said", parents=("CL:0000000",)))
    tree = LabelTree(["a", "b"], terms=terms, ontology=CellOntology(rare, source="rare"))
    assert tree.common_ancestor([0, 1]) == Ancestor("rarely said", "CL:0000001")


def test_roll_up(tree):
    same = {"mystery": "mystery"}
    assert tree.roll_up("broad") == same | {
        **dict.fromkeys(("CD4", "CD8", "T", "T again"), "T cell"),
        "B": "B cell",
        "Mono": "monocyte",
        "Fib": "fibroblast",
    }
    assert tree.roll_up(["lymphocyte", "CL:0000084"]) == same | {
        **dict.fromkeys(("CD4", "CD8", "T", "T again"), "T cell"),
        "B": "lymphocyte",
        "Mono": "Mono",
        "Fib": "Fib",
    }
    # cell, eukaryotic cell, hematopoietic cell, leukocyte
    assert tree.roll_up(3) == same | dict.fromkeys(("CD4", "CD8", "T", "T again", "B", "Mono"), "leukocyte") | {
        "Fib": "Fib"
    }


def test_mistakes(tree, ontology):
    with pytest.raises(SettingsError, match="level is 0; a depth is 1 or more"):
        tree.roll_up(0)
    with pytest.raises(SettingsError, match="level is 'fine'; it must be"):
        tree.roll_up("fine")
    with pytest.raises(SettingsError, match=r"none of the terms 'neuron' is above any"):
        tree.roll_up(["neuron"])
    with pytest.raises(DataError, match=r"twice: 'B'"):
        LabelTree(["B", "B"], terms={}, ontology=ontology)
    with pytest.raises(DataError, match=r"the term 'CL:1234567' of the label 'B' is not in"):
        LabelTree(["B"], terms={"B": "CL:1234567"}, ontology=ontology)


def test_stored(tree):
    again = LabelTree.from_dict(json.loads(json.dumps(tree.to_dict())))
    assert again.to_dict() == tree.to_dict()
    assert again.common_ancestor(code("CD4", "B")) == tree.common_ancestor(code("CD4", "B"))
    assert again.roll_up() == tree.roll_up()
    # Only what is above the labels is kept.
    assert "CL:0000623" not in again.ontology


def test_no_label_has_a_term(ontology):
    tree = LabelTree(["a", "b"], terms={}, ontology=ontology)
    assert tree.alone == ["a", "b"]
    np.testing.assert_array_equal(tree.descends, np.eye(2, dtype=bool))
    assert tree.common_ancestor([0, 1]) is None
    assert tree.roll_up() == {"a": "a", "b": "b"}
    assert LabelTree.from_dict(tree.to_dict()).alone == ["a", "b"]
