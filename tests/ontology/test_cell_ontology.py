"""CellOntology: what is a kind of what, on random graphs against a slow search, and on the small and the real one."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scssl.errors import DataError, FormatError, SettingsError
from scssl.ontology import CellOntology, Term


def key(i):
    return f"CL:{i:07d}"


@st.composite
def ontologies(draw):
    """Draw a graph without cycles: the parents of a term come before it."""
    n = draw(st.integers(1, 12))
    terms = []
    for i in range(n):
        parents = draw(st.sets(st.integers(0, i - 1), max_size=3)) if i else set()
        terms.append(Term(id=key(i), name=f"type {i}", parents=tuple(key(p) for p in sorted(parents))))
    return CellOntology(draw(st.permutations(terms)), source="drawn")


def reaches(ontology, start, goal):
    """Search upwards, one parent at a time."""
    return start == goal or any(reaches(ontology, parent, goal) for parent in ontology.parents(start))


@given(ontologies())
def test_ancestors_are_a_partial_order(ontology):
    for a in ontology.terms:
        assert ontology.ancestors(a) == {b for b in ontology.terms if reaches(ontology, a, b)}
        assert ontology.descendants(a) == {b for b in ontology.terms if reaches(ontology, b, a)}
        assert ontology.size(a) == len(ontology.descendants(a))
        assert a in ontology.ancestors(a)
    for a, b in itertools.permutations(ontology.terms, 2):
        assert not (a in ontology.ancestors(b) and b in ontology.ancestors(a))
        if b in ontology.ancestors(a):
            assert ontology.ancestors(b) < ontology.ancestors(a)


@given(ontologies(), st.data())
def test_common_ancestor_is_a_lowest_one_that_says_something(ontology, data):
    chosen = data.draw(st.lists(st.sampled_from(sorted(ontology.terms)), min_size=1, max_size=4))
    found = ontology.common_ancestor(chosen)
    shared = [a for a in ontology.terms if all(reaches(ontology, each, a) for each in chosen)]
    telling = [a for a in shared if ontology.parents(a) and ontology.size(a) <= len(ontology) / 2]
    if not telling:
        assert found is None
        return
    assert found in telling
    assert not [a for a in shared if a != found and reaches(ontology, a, found)]
    assert ontology.size(found) == min(ontology.size(a) for a in telling)


@given(ontologies(), st.data())
def test_the_restricted_part_says_the_same(ontology, data):
    chosen = data.draw(st.lists(st.sampled_from(sorted(ontology.terms)), min_size=1, max_size=4))
    part = ontology.restricted(chosen)
    for a in chosen:
        assert part.ancestors(a) == ontology.ancestors(a)
        assert part.main_line(a) == ontology.main_line(a)
    assert all(part.size(a) == ontology.size(a) for a in part.terms)
    assert part.common_ancestor(chosen) == ontology.common_ancestor(chosen)


@given(ontologies())
def test_main_lines_form_a_tree(ontology):
    for a in ontology.terms:
        line = ontology.main_line(a)
        assert line[-1] == a
        assert not ontology.parents(line[0])
        assert all(ontology.main_line(b) == line[: i + 1] for i, b in enumerate(line))


def test_small_ontology(ontology):
    assert len(ontology) == 38
    assert ontology.version == "small/2026"
    assert "38 terms" in repr(ontology)
    assert ontology.name("CL:0000236") == "B cell"
    # develops_from is no kind of being
    assert ontology.parents("CL:0000084") == ("CL:0000542",)
    assert "CL:0000236" not in ontology.ancestors("CL:0000084")
    assert "GO:0000001" not in ontology
    assert not ontology.says_something("CL:0000255")
    assert ontology.says_something("CL:0000542")


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("CL:0000236", "CL:0000236"),
        (" cl_0000236 ", "CL:0000236"),
        ("CL:0000999", "CL:0000236"),
        ("CL:0000003", "CL:0000542"),
        ("CL:0000004", None),
        ("CL:1234567", None),
        ("B cell", None),
    ],
)
def test_ids_are_brought_up_to_date(ontology, written, found):
    assert ontology.resolve(written) == found


def test_find(ontology):
    assert ontology.find("b CELL") == ontology.find("CL:0000236") == "CL:0000236"
    with pytest.raises(SettingsError, match=r"'B cel' is neither an ID nor a name .*did you mean 'b cell'|'B cell'"):
        ontology.find("B cel")
    with pytest.raises(DataError, match="'CL:7' is no term"):
        ontology.name("CL:7")


def test_a_circle_is_refused():
    terms = [Term(id=key(i), name=str(i), parents=(key((i + 1) % 3),)) for i in range(3)]
    with pytest.raises(FormatError, match="is a kind of itself"):
        CellOntology(terms, source="circle.obo")
    with pytest.raises(FormatError, match="is a kind of itself"):
        CellOntology([Term(id=key(1), name="1", parents=(key(1),))], source="circle.obo")


def test_nothing_but_obsolete_terms_is_refused():
    with pytest.raises(FormatError, match="holds no terms"):
        CellOntology([Term(id=key(1), name="1", obsolete=True)], source="empty.obo")


def test_real_ontology(real_ontology):
    assert len(real_ontology) == 2644
    assert {"CL:0000542", "CL:0000738", "CL:0000988"} < real_ontology.ancestors("CL:0000236")
    assert real_ontology.common_ancestor(["CL:0000236", "CL:0000084"]) == "CL:0000542"
    assert real_ontology.common_ancestor(["CL:0000236", "CL:0000540"]) is None
