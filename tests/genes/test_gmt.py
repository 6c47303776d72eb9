"""Gene set files: every set, as it is spelled."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scssl.errors import DataError, FormatError
from scssl.genes import GeneSet, read_gmt, write_gmt
from scssl.genes.gmt import unique_names

# Any text but what separates cells; surrogates cannot be written in UTF-8.
CELL = st.text(st.characters(exclude_characters="\t\r\n", exclude_categories=["Cs"])).map(str.strip)
NAME = CELL.filter(lambda text: text and not text.startswith(("#", "\ufeff")))
GENES = st.lists(CELL.filter(bool), unique=True).map(tuple)
SETS = st.lists(st.builds(GeneSet, NAME, CELL, GENES), min_size=1, unique_by=lambda each: each.name)


@given(sets=SETS)
def test_round_trip(sets, tmp_path_factory):
    path = tmp_path_factory.mktemp("gmt") / "sets.gmt"
    write_gmt(path, sets=sets, comment="a comment")
    assert read_gmt(path) == sets


@given(names=st.lists(st.sampled_from(["A", "a", "A (2)", "A (3)", "B"])))
def test_names_become_unique_and_keep_their_order(names):
    unique = unique_names(names)
    assert len(set(unique)) == len(names)
    assert [name for name in unique if name in names and names.count(name) == 1] == [
        name for name in names if names.count(name) == 1
    ]
    assert all(new == old or new.startswith(f"{old} (") for new, old in zip(unique, names, strict=True))


def test_case_descriptions_and_sets_of_the_same_name_are_kept(tmp_path):
    path = tmp_path / "sets.gmt"
    path.write_text(
        "Mixed Case\thttp://somewhere\tCd3d\tCD3E\nMixed Case\t\tLck\nMIXED CASE\tx\tA\tA\t\tB\nnone\tempty\n"
    )
    assert read_gmt(path) == [
        GeneSet("Mixed Case", "http://somewhere", ("Cd3d", "CD3E")),
        GeneSet("Mixed Case (2)", "", ("Lck",)),
        GeneSet("MIXED CASE", "x", ("A", "B")),
        GeneSet("none", "empty", ()),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("pack", [False, True])
def test_line_ends_comments_byte_marks_and_gzip(tmp_path, end, mark, pack):
    text = mark + end.join(["# made by hand", "", "one\td\tA\tB", "   ", "two\td\tC"]) + end
    path = tmp_path / "sets.gmt.gz"
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if pack else text.encode())
    assert read_gmt(path) == [GeneSet("one", "d", ("A", "B")), GeneSet("two", "d", ("C",))]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"one\td\tA\nCD3D CD3E\n", "line 2 has no tabs"),
        (b"one\td\tA\n\n\tdescription\tA\n", "line 3 has no name"),
        (b"one\td\tA\nt\xff\td\tA\n", "line 2 is not text"),
        (gzip.compress(b"one\td\tA\n" * 1000, mtime=0)[:-20], "damaged or cut off"),
    ],
)
def test_errors_name_the_file_and_the_line(tmp_path, content, words):
    path = tmp_path / "sets.gmt"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=words) as caught:
        read_gmt(path)
    assert str(path) in str(caught.value)


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_gmt(tmp_path / "sets.gmt")
    with pytest.raises(DataError, match="no such file"):
        read_gmt(tmp_path)
    (tmp_path / "sets.gmt").write_text("# nothing but a comment\n")
    with pytest.raises(DataError, match="holds no gene sets"):
        read_gmt(tmp_path / "sets.gmt")


@pytest.mark.parametrize(
    "wrong",
    [
        GeneSet("", "", ()),
        GeneSet("#1", "", ()),
        GeneSet("a\tb", "", ()),
        GeneSet("a", "b\nc", ()),
        GeneSet("a", "", ("B ",)),
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path, wrong):
    with pytest.raises(DataError, match="cannot be written"):
        write_gmt(tmp_path / "sets.gmt", sets=[GeneSet("fine", "", ("A",)), wrong])
    assert list(tmp_path.iterdir()) == []
