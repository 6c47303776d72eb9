"""Transcription factors from the names of gene sets, and from tables."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from scssl.errors import DataError, FormatError
from scssl.genes import GenePanel, GeneSet, gene_table, load_programmes
from scssl.genes.load import _gene_of
from scssl.genes.regulators import is_gmt, merge_by_regulator, read_factors, read_targets, regulator_in


@pytest.fixture(scope="module")
def gene_of():
    table = gene_table("human")
    return _gene_of(table.lookup.exact, table.symbols)


@pytest.fixture(scope="module")
def panel():
    return GenePanel.builtin("human")


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("STAT1", "STAT1"),
        ("Stat1", "STAT1"),
        ("STAT1_01", "STAT1"),
        ("STAT1_Q6", "STAT1"),
        ("STAT1_Q6_01", "STAT1"),
        ("STAT1_01 (2)", "STAT1"),
        ("V$STAT1_01", "STAT1"),
        ("CACGTG_MYC_Q2", "MYC"),
        ("RYTTCCTG_ETS2_B", "ETS2"),
        ("GATA1_UNKNOWN", "GATA1"),
        ("ATF4_TARGET_GENES", "ATF4"),
        ("TF_targets_of_GATA3", "GATA3"),
        ("targets of GATA3", "GATA3"),
        ("STAT1_A", "STAT1"),
        ("STAT1 20625510 ChIP-Seq HELA Human", "STAT1"),
        ("STAT1 CHEA", "STAT1"),
        ("STAT1 ENCODE", "STAT1"),
        ("STAT1 human", "STAT1"),
        ("STAT1 human tf ARCHS4 coexpression", "STAT1"),
        ("STAT1(+)", "STAT1"),
        ("STAT1_extended (123g)", "STAT1"),
        ("NKX2-1_01", "NKX2-1"),
        ("NKX25_02", "NKX2-5"),
        ("NKX2-5(+)", "NKX2-5"),
        ("ENSG00000115415", "STAT1"),
        ("AAAYRNCTG_UNKNOWN", None),
        ("E2F_Q4", None),
        ("HALLMARK_MYC_TARGETS_V1", None),
        ("REACTOME_STAT1_SIGNALING", None),
        ("CD4 T cells", None),
        ("set 1", None),
        ("T_01", None),
        ("module 1: CD3D, CD3E", None),
        ("", None),
        ("_", None),
    ],
)
def test_names_that_tell_a_factor(gene_of, name, factor):
    assert regulator_in(name, gene_of=gene_of) == factor


def test_error_11_several_sets_of_one_factor_are_joined_not_overwritten(gene_of):
    sets = [
        GeneSet("STAT1_01", "", ("IRF1", "TAP1")),
        GeneSet("MYC_Q2", "", ("NCL",)),
        GeneSet("STAT1_Q6", "", ("TAP1", "OAS1")),
        GeneSet("AAAYRNCTG_UNKNOWN", "d", ("CD3D",)),
        GeneSet("stat1(+)", "", ("MX1",)),
    ]
    merged, n_of_regulators, n_merged = merge_by_regulator(sets, gene_of=gene_of)
    assert merged == [
        GeneSet("STAT1", "STAT1_01, STAT1_Q6, stat1(+)", ("IRF1", "TAP1", "OAS1", "MX1"), ("STAT1",)),
        GeneSet("MYC", "MYC_Q2", ("NCL",), ("MYC",)),
        sets[3],
    ]
    assert (n_of_regulators, n_merged) == (4, 2)


def test_error_11_in_a_file(tmp_path, panel):
    symbols = [str(s) for s in panel.symbols[:60] if s]
    path = tmp_path / "tft.gmt"
    first, second = symbols[:12], symbols[10:30]
    path.write_text("\n".join(["\t".join(["GATA1_01", "", "GATA1", *first]), "\t".join(["GATA1_Q6", "", *second]), ""]))
    programmes = load_programmes(path, panel)
    assert programmes.names == ["GATA1"]
    gata1 = panel.index_of(["ENSG00000102145"])[0]
    assert np.flatnonzero(programmes.regulators[0]).tolist() == [gata1]
    # The union of both, without the factor, which is what is to be predicted.
    expected = {panel.lookup.exact[name] for name in first + second}
    assert set(np.flatnonzero(programmes.members[0])) == expected
    separate = load_programmes(path, panel, regulators="none")
    assert separate.names == ["GATA1_01", "GATA1_Q6"]
    assert not separate.regulators.any()
    assert separate.members[0, gata1]


def test_a_file_that_is_not_about_factors_has_none(tmp_path, panel):
    genes = [str(s) for s in panel.symbols[:40] if s]
    names = ["HALLMARK_HYPOXIA", "B cells", "STAT1_01", "NK cells"]
    path = tmp_path / "mixed.gmt"
    path.write_text("".join("\t".join([name, "", *genes]) + "\n" for name in names))
    assert not load_programmes(path, panel).regulators.any()
    asked = load_programmes(path, panel, regulators="names")
    assert asked.names == ["HALLMARK_HYPOXIA", "B cells", "STAT1", "NK cells"]
    assert asked.regulators.any(axis=1).tolist() == [False, False, True, False]


@pytest.mark.parametrize(
    "text",
    [
        "A\tX\nA\tY\nB\tX\n",
        "A,X\nA,Y\nB,X\n",
        "source,target\nA,X\nA,Y\nB,X\n",
        "# comment\nTF;Gene\nA;X\nA;Y\nA;X\nB;X\n",
        "A\tX\t1.0\nA\tY\t-0.5\nB\tX\t1\nB\tY\t0\n",
        "id\tsource\ttarget\tweight\r\n1\tA\tX\t1\r\n2\tA\tY\t-1\r\n3\tB\tY\t\r\n4\tB\tX\t2\r\n5\tB\tZ\tnan\r\n",
        "source\ttarget\tsource_genesymbol\ttarget_genesymbol\nP1\tQ1\tA\tX\nP1\tQ2\tA\tY\nP2\tQ1\tB\tX\n",
        'target,mor,tf\n"X",1,A\n"Y",1,A\nX,-1,B\n',
    ],
)
@pytest.mark.parametrize("pack", [False, True])
def test_tables(tmp_path, text, pack):
    path = tmp_path / ("table.tsv.gz" if pack else "table.tsv")
    path.write_bytes(gzip.compress(text.encode()) if pack else text.encode())
    assert read_targets(path) == [GeneSet("A", "", ("X", "Y"), ("A",)), GeneSet("B", "", ("X",), ("B",))]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A\tX\nB\n", "line 2 has no transcription factor and target"),
        ("A\tX\n\n\tX\n", "line 3 has no transcription factor"),
        ("tf,target,weight\nA,X,1\nA,Y,strong\n", "line 3: the weight 'strong' is no number"),
    ],
)
def test_tables_that_cannot_be_understood(tmp_path, text, words):
    path = tmp_path / "table.txt"
    path.write_text(text)
    with pytest.raises(FormatError, match=words) as caught:
        read_targets(path)
    assert str(path) in str(caught.value)


def test_tables_without_pairs(tmp_path):
    path = tmp_path / "table.txt"
    for text in ("", "source,target\n", "A,X,0\n"):
        path.write_text(text)
        with pytest.raises(DataError, match="holds no pairs"):
            read_targets(path)


def test_lists_of_factors(tmp_path):
    path = tmp_path / "factors.txt"
    path.write_text("STAT1\nMYC\n\nSTAT1\n")
    assert read_factors(path) == ["STAT1", "MYC"]
    path.write_text("# Lambert\nSymbol,Name\nSTAT1,signal\nMYC,proto-oncogene\n")
    assert read_factors(path) == ["STAT1", "MYC"]
    path.write_text("tf\n")
    with pytest.raises(DataError, match="holds no transcription factors"):
        read_factors(path)


def test_gene_sets_are_told_from_tables(tmp_path):
    def written(name, text):
        (tmp_path / name).write_text(text)
        return is_gmt(tmp_path / name)

    sets, table = "a\td\tA\tB\nb\td\tA\n", "A\tX\nA\tY\n"
    assert written("a.gmt", sets)
    assert written("a.txt", sets)
    assert written("b.gmt", "a\td\tA\n")
    assert not written("a.tsv", table)
    assert not written("b.txt", table)
    assert not written("c.csv", "A,X\n")


def test_a_table_becomes_programmes_with_their_factors(tmp_path, panel):
    symbols = [str(s) for s in panel.symbols[100:150] if s]
    rows = [("STAT1", gene) for gene in symbols[:20]] + [("Unheard", gene) for gene in symbols[20:35]]
    rows += [("STAT1", "STAT1"), ("MYC", symbols[0])]
    path = tmp_path / "targets.csv"
    path.write_text("source,target\n" + "".join(f"{a},{b}\n" for a, b in rows))
    programmes = load_programmes(path, panel)
    assert programmes.names == ["STAT1", "Unheard"]  # MYC has too few targets
    assert programmes.sizes.tolist() == [20, 15]
    assert programmes.regulators.sum(axis=1).tolist() == [1, 0]
    assert not (programmes.members & programmes.regulators).any()
