"""The packaged gene tables and the lookup by name."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scssl.errors import SettingsError
from scssl.genes.tables import (
    AMBIGUOUS,
    NameLookup,
    gene_table,
    is_clone_name,
    make_lookup,
    mouse_to_human,
    strip_version,
)


def test_tables_are_small_enough_to_ship():
    sizes = [path.stat().st_size for path in (files("scssl.genes") / "data").iterdir() if path.name.endswith(".xz")]
    assert len(sizes) == 2
    assert sum(sizes) < 1e6


@pytest.mark.parametrize(("species", "prefix", "n_coding"), [("human", "ENSG", 20_120), ("mouse", "ENSMUSG", 21_807)])
def test_table_is_consistent(species, prefix, n_coding):
    table = gene_table(species)
    assert np.all(table.ids[1:] > table.ids[:-1])
    assert all(gene.startswith(prefix) and "." not in gene for gene in table.ids)
    assert table.coding.sum() == n_coding
    assert len(table.symbols) == len(table.biotypes) == len(table.aliases) == len(table.ids) > 70_000
    # A current symbol always wins, so no alias may repeat one.
    symbols = set(table.symbols)
    assert not any(alias in symbols or not alias for names in table.aliases for alias in names)


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("ENSG00000111640", "GAPDH"),
        ("GAPDH", "GAPDH"),
        ("SEPT2", "SEPTIN2"),  # renamed because spreadsheets made dates of it
        ("MARCH1", "MARCHF1"),
        ("C1orf112", "FIRRM"),
        ("SELK", "SELENOK"),  # HGNC lists it as an alias only
        ("CAST", "CAST"),  # moved to a new ID in release 48
        ("ENSG00000153113", "CAST"),
        ("MATR3", "MATR3"),
    ],
)
def test_human_names(name, symbol):
    table = gene_table("human")
    row = table.lookup.exact[name]
    assert table.symbols[row] == symbol
    assert table.biotypes[row] == "protein_coding"


def test_mouse_follows_human_renaming_and_knows_its_orthologues():
    table = gene_table("mouse")
    assert table.symbols[table.lookup.exact["Kdelc1"]] == "Poglut2"
    pairs = mouse_to_human()
    human = gene_table("human")
    assert 15_000 < len(pairs) < 20_000
    assert len(set(pairs.values())) == len(pairs)
    assert set(pairs.values()) <= set(human.ids)
    mouse_cd3e = table.ids[table.lookup.exact["Cd3e"]]
    assert pairs[mouse_cd3e] == human.ids[human.lookup.exact["CD3E"]]


def test_previous_symbols_of_two_genes_are_ambiguous():
    assert gene_table("human").lookup.exact["QARS"] == AMBIGUOUS  # of EPRS1 and of QARS1


def test_no_protein_names_among_the_aliases():
    lookup = gene_table("human").lookup.exact
    assert not {"CD45RA", "CD270", "CD3", "PD-1", "HLA-DR"} & set(lookup)


def test_unknown_species():
    with pytest.raises(SettingsError, match=r"'rat'.*human, mouse"):
        gene_table("rat")


@pytest.mark.parametrize(
    ("name", "stripped"),
    [
        ("ENSG00000182162.11_PAR_Y", "ENSG00000182162"),
        ("ENSG00000182162_PAR_Y", "ENSG00000182162"),
        ("ensg00000182162.5", "ENSG00000182162"),
        ("ENSMUSG00000000001.4", "ENSMUSG00000000001"),
        ("RP11-34P13.7", "RP11-34P13.7"),
        ("HLA-A", "HLA-A"),
        ("ENSG0000018216", "ENSG0000018216"),
    ],
)
def test_strip_version(name, stripped):
    assert strip_version(name) == stripped


@pytest.mark.parametrize(
    "name", ["RP11-34P13.7", "AC000001.1", "CTD-2192J16.22", "AL627309.1", "XXbac-BPG299F13.17", "BX284668.5"]
)
def test_clone_names(name):
    assert is_clone_name(name, "human")


@pytest.mark.parametrize("name", ["hvg1", "gene-1", "Gm123", "CD3E", "chr1:100-200", "7"])
def test_other_names_are_no_clones(name):
    assert not is_clone_name(name, "human")


NAMES = st.text(alphabet="abAB", min_size=1, max_size=2)
LEVEL = st.lists(st.tuples(NAMES, st.integers(0, 5)), max_size=8)


def slow_lookup(name, levels):
    for level in levels:
        genes = {gene for text, gene in level if text == name}
        if genes:
            return genes.pop() if len(genes) == 1 else AMBIGUOUS
    return None


@given(st.lists(LEVEL, min_size=1, max_size=3), NAMES)
def test_lookup_against_a_slow_search(levels, name):
    assert NameLookup(*levels).exact.get(name) == slow_lookup(name, levels)


@given(LEVEL, NAMES)
def test_folded_lookup_keeps_collisions_apart(level, name):
    lookup = NameLookup(level)
    genes = {lookup.exact[text] for text in lookup.exact if text.upper() == name.upper()}
    expected = None if not genes else genes.pop() if len(genes) == 1 else AMBIGUOUS
    assert lookup.folded.get(name.upper()) == expected


def test_precedence_of_ids_symbols_aliases():
    lookup = make_lookup(["G1", "G2", "G3"], ["A", "G1", "C"], [["X"], ["A", "X"], ["Y", ""]])
    assert lookup.exact == {"G1": 0, "G2": 1, "G3": 2, "A": 0, "C": 2, "X": AMBIGUOUS, "Y": 2}
