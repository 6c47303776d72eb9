"""Labels to terms: what is taken, what is only proposed, and what is neither."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scssl.errors import DataError, SettingsError
from scssl.ontology import CellOntology, Term, match_labels, terms_of
from scssl.ontology.matching import CERTAIN
from scssl.ontology.spelling import form, words


@pytest.mark.parametrize(
    ("label", "term", "how"),
    [
        ("CL:0000236", "CL:0000236", "id"),
        ("cl_0000999", "CL:0000236", "id"),
        ("CL:0000003", "CL:0000542", "id"),
        ("B cell", "CL:0000236", "exact"),
        ("b  CELL", "CL:0000236", "exact"),
        ("B lymphocyte", "CL:0000236", "synonym"),
        ("B cells", "CL:0000236", "normalised"),
        ("B_cells", "CL:0000236", "normalised"),
        ("Lymphocytes, B", "CL:0000236", "normalised"),
        ("NK", "CL:0000623", "normalised"),
        ("C cells", "CL:0000567", "normalised"),
        ("Classical Monos", "CL:0000860", "normalised"),
        ("B", "CL:0000236", "convention"),
        ("CD4 T", "CL:0000624", "convention"),
        ("T_CD8", "CL:0000625", "convention"),
        ("CD8+ T-cells", "CL:0000625", "convention"),
        ("CD4T", "CL:0000624", "convention"),
        ("NKT cells", "CL:0000814", "convention"),
        # The ontology has a CD14-positive monocyte, which is not what people mean who write this.
        ("CD14+ Monocytes", "CL:0000860", "convention"),
        ("CD14-positive monocyte", "CL:0001054", "exact"),
        ("FCGR3A+Mono", "CL:0000875", "convention"),
        ("CD4-positive, αβ T cell", "CL:0000624", "normalised"),
    ],
)
def test_what_is_taken(ontology, label, term, how):
    (row,) = match_labels([label], ontology=ontology).to_dict("records")
    assert (row["term"], row["how"]) == (term, how)
    assert row["name"] == ontology.name(term)
    assert row["score"] == 1
    assert row["candidates"] == []


@pytest.mark.parametrize(
    ("label", "first"),
    [
        ("T cells & NK cells", "lymphocyte"),
        ("B / T", "lymphocyte"),
        ("Monocytes A", "monocyte"),
        ("T other", "T cell"),
        ("classical monocytic", "classical monocyte"),
        # Only broader than the term.
        ("null cell", "natural killer cell"),
        # An acronym of the ontology may be short for something else here.
        ("PFC", "parafollicular cell"),
    ],
)
def test_what_is_only_proposed(ontology, label, first):
    (row,) = match_labels([label], ontology=ontology).to_dict("records")
    assert row["term"] is None
    assert row["name"] is None
    assert row["how"] == "fuzzy"
    assert row["candidates"][0].name == first
    assert len(row["candidates"]) <= 3
    assert 0 < row["score"] == row["candidates"][0].score <= 1


@pytest.mark.parametrize("label", ["A549", "cluster 7", "EC", "xyzzy"])
def test_what_is_neither(ontology, label):
    (row,) = match_labels([label], ontology=ontology).to_dict("records")
    assert (row["term"], row["how"], row["score"], row["candidates"]) == (None, "none", 0, [])


def test_short_names_of_two_types_are_never_taken_for_a_third(ontology):
    table = match_labels(["T_NK", "NK T cells", "C", "CD14-negative monocyte"], ontology=ontology)
    assert table["term"].isna().all()


def test_two_terms_of_one_name_are_not_decided_between():
    terms = [Term(id="CL:0000001", name="pale cell"), Term(id="CL:0000002", name="Pale  cells")]
    table = match_labels(["pale cells"], ontology=CellOntology(terms, source="drawn"))
    assert table["how"].tolist() == ["fuzzy"]
    assert {each.term for each in table["candidates"][0]} == {"CL:0000001", "CL:0000002"}


def test_table(ontology):
    table = match_labels(["B", None, "B", " ", "weird", "mine"], ontology=ontology, known={"mine": "t cell", "B": None})
    assert list(table.columns) == ["label", "term", "name", "how", "score", "candidates"]
    assert table["label"].tolist() == ["B", "weird", "mine"]
    assert table["how"].tolist() == ["given", "none", "given"]
    assert terms_of(table) == {"B": None, "weird": None, "mine": "CL:0000084"}
    with pytest.raises(SettingsError, match="'cell of T' is neither"):
        match_labels(["B"], ontology=ontology, known={"B": "cell of T"})
    with pytest.raises(DataError, match="has the columns 'label' and 'term'"):
        terms_of(table[["label"]])
    assert match_labels([], ontology=ontology).empty
    assert match_labels(["Monocytes A"], ontology=ontology, n_candidates=0)["how"].tolist() == ["none"]


@given(st.lists(st.text(max_size=30), max_size=5))
def test_any_text_is_matched_or_not_and_the_same_each_time(texts):
    terms = [Term(id="CL:0000236", name="B cell"), Term(id="CL:0000084", name="T cell")]
    ontology = CellOntology(terms, source="two")
    table = match_labels(texts, ontology=ontology)
    assert table["label"].tolist() == list(dict.fromkeys(text for text in texts if text.strip()))
    for row in table.itertuples():
        assert (row.how in CERTAIN) == (row.term is not None)
    assert table.equals(match_labels(texts, ontology=ontology))


@given(st.text(max_size=40))
def test_spelling_knows_no_order_case_or_hyphens(text):
    assert form(text) == form(text.upper().lower())
    assert form(" ".join(words(text)[::-1])) is not None


def test_words():
    assert words("CD4+CD8- T-cells") == ["cd4+", "cd8-", "t", "cell"]
    assert words("CD4-CD8- T") == ["cd4-", "cd8-", "t"]
    assert words("CD56bright NK") == ["cd56bright+", "natural", "killer"]
    assert words("CD14-low, CD16-positive Mφ") == ["cd14~", "cd16+", "macrophage"]
    assert words("Haematopoietic stem cells") == ["hematopoietic", "stem", "cell"]
    assert words("Naïve γδ T") == ["naive", "gamma", "delta", "t"]


def test_every_name_of_the_real_ontology_is_found(real_ontology):
    table = match_labels([term.name for term in real_ontology.terms.values()], ontology=real_ontology)
    assert set(table["how"]) == {"exact"}
    assert table["term"].tolist() == list(real_ontology.terms)
