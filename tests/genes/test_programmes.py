"""Programmes over a panel: coverage, limits, and files that give them back unchanged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scssl.errors import DataError, FormatError, SettingsError
from scssl.genes import GenePanel, Limits, Programmes, read_gmt

PANEL = GenePanel(ids=np.array([f"G{i}" for i in range(12)]), symbols=np.full(12, ""), name="twelve")


def make(members, *, listed=None, regulators=None, names=None, descriptions=None):
    members = np.array(members, dtype=bool)
    return Programmes(
        names=names or [f"p{i}" for i in range(len(members))],
        members=members,
        regulators=np.zeros_like(members) if regulators is None else np.array(regulators, dtype=bool),
        descriptions=descriptions or [""] * len(members),
        listed=None if listed is None else np.array(listed),
        panel=PANEL,
    )


def first(n):
    return np.arange(12) < n


def same(a, b):
    assert a.names == b.names
    assert a.descriptions == b.descriptions
    np.testing.assert_array_equal(a.members, b.members)
    np.testing.assert_array_equal(a.regulators, b.regulators)
    assert (a.listed is None) == (b.listed is None)
    if a.listed is not None:
        np.testing.assert_array_equal(a.listed, b.listed)
    assert a.members.dtype == b.members.dtype == bool
    assert a.panel == b.panel


def test_error_10_the_best_covered_programmes_are_kept_not_the_least():
    programmes = make([first(4)] * 4, listed=[4, 5, 8, 40])
    kept = programmes.filtered(Limits(min_coverage=0.6, min_genes=1))
    assert kept.names == ["p0", "p1"]
    assert kept.coverage.tolist() == [1.0, 0.8]


@given(
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=8),
    more=st.lists(st.integers(0, 20), min_size=8, max_size=8),
    least=st.floats(0, 1),
    smallest=st.integers(1, 6),
    largest=st.one_of(st.none(), st.integers(6, 12)),
)
def test_limits_against_their_words(sizes, more, least, smallest, largest):
    listed = [size + extra for size, extra in zip(sizes, more, strict=False)]
    programmes = make([first(size) for size in sizes], listed=listed)
    kept = programmes.filtered(Limits(min_coverage=least, min_genes=smallest, max_genes=largest))
    expected = []
    for number, (size, total) in enumerate(zip(sizes, listed, strict=True)):
        share = size / total if total else 0
        if share >= least and size >= smallest and (largest is None or size <= largest):
            expected.append(f"p{number}")
    assert kept.names == expected
    assert len(kept) == len(expected)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"min_coverage": 1.5}, "min_coverage is 1.5; it must be between 0 and 1"),
        ({"min_genes": 0}, "min_genes is 0"),
        ({"min_genes": 20, "max_genes": 10}, "max_genes is 10; it must be at least min_genes"),
    ],
)
def test_impossible_limits(settings, words):
    with pytest.raises(SettingsError, match=words):
        Limits(**settings)


def test_covered_counts_overlaps_once():
    assert make([first(3), first(6)]).covered == 0.5
    assert make([first(3)]).coverage.tolist() == [1.0]


CELL = st.text(st.characters(exclude_characters="\t\r\n", exclude_categories=["Cs"])).map(str.strip)
NAME = CELL.filter(lambda text: text and not text.startswith("#"))
ROWS = st.lists(st.booleans(), min_size=12, max_size=12)


@given(
    rows=st.lists(st.tuples(NAME, CELL, ROWS, ROWS, st.integers(0, 500)), min_size=1, unique_by=lambda row: row[0]),
    with_listed=st.booleans(),
)
def test_saved_and_read_programmes_are_the_same(rows, with_listed, tmp_path_factory):
    names, descriptions, members, regulators, listed = map(list, zip(*rows, strict=True))
    programmes = make(
        members,
        names=names,
        descriptions=descriptions,
        regulators=regulators,
        listed=listed if with_listed else None,
    )
    path = tmp_path_factory.mktemp("programmes") / "programmes.gmt"
    programmes.save(path)
    same(Programmes.read(path, PANEL), programmes)
    again = path.with_name("again.gmt")
    Programmes.read(path, PANEL).save(again)
    assert again.read_bytes() == path.read_bytes()


def test_the_file_is_a_gmt_file_of_ids(tmp_path):
    programmes = make([first(2)], regulators=[~first(11)], listed=[5], descriptions=["what it is"])
    programmes.save(tmp_path / "programmes.gmt")
    (found,) = read_gmt(tmp_path / "programmes.gmt")
    assert (found.name, found.description) == ("p0", "what it is")
    assert found.genes == ("G0", "G1", "tf=G11", "listed=5")


def test_altered_files_are_refused(tmp_path):
    path = tmp_path / "programmes.gmt"
    make([first(2), first(3)], listed=[2, 3]).save(path)
    text = path.read_text()
    other = GenePanel(ids=np.array(["G0"]), symbols=np.array([""]))
    with pytest.raises(FormatError, match="of other genes than the panel"):
        Programmes.read(path, other)
    for old, new, words in [
        ("G1\t", "G77\t", "'G77' is not on the panel"),
        ("listed=3", "", "not every programme says"),
        ("listed=3", "listed=x", "not every programme says"),
        (text.splitlines()[-1], "", "has 1 of 2 programmes"),
        ("# scssl gene", "# gene", "was not written by scssl"),
    ]:
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(FormatError, match=words) as caught:
            Programmes.read(path, PANEL)
        assert str(path) in str(caught.value)
    with pytest.raises(DataError, match="no such file"):
        Programmes.read(tmp_path / "nowhere.gmt", PANEL)


def test_programmes_that_do_not_know_their_genes(tmp_path):
    members = np.zeros((1, 12), dtype=bool)
    bare = Programmes(names=["p"], members=members, regulators=members, descriptions=[""])
    with pytest.raises(SettingsError, match="need the panel"):
        bare.save(tmp_path / "programmes.gmt")
    with pytest.raises(SettingsError, match="12 genes need the panel"):
        bare.save(tmp_path / "programmes.gmt", panel=GenePanel(ids=np.array(["G0"]), symbols=np.array([""])))
    assert list(tmp_path.iterdir()) == []
    bare.save(tmp_path / "programmes.gmt", panel=PANEL)
    assert Programmes.read(tmp_path / "programmes.gmt", PANEL).names == ["p"]
