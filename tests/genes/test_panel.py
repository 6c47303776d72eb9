"""GenePanel: built in, from files, saved and loaded."""

from __future__ import annotations

import numpy as np
import pytest

from scssl.errors import DataError, FormatError, SettingsError
from scssl.genes import GenePanel, load_panel


def custom(ids, **more):
    return GenePanel(ids=np.array(ids, dtype=object), symbols=np.array([""] * len(ids), dtype=object), **more)


def test_builtin():
    human = GenePanel.builtin("human")
    assert len(human) == 20_120
    assert human.species == human.name == "human"
    assert "ENSG00000111640" in human.ids  # GAPDH
    assert "ENSG00000251562" not in human.ids  # MALAT1 codes for nothing
    assert human.aliases["SEPT2"] == "ENSG00000168385"
    assert "QARS" in human.ambiguous
    assert "QARS" not in human.aliases
    with pytest.raises(SettingsError, match="human, mouse"):
        GenePanel.builtin("yeast")


def test_fingerprint_depends_on_genes_and_order_only():
    one, other = custom(["A", "B"]), custom(["A", "B"], name="other", species="human")
    assert one == other
    assert hash(one) == hash(other)
    assert one.fingerprint != custom(["B", "A"]).fingerprint
    assert one != custom(["B", "A"])


def test_index_of():
    assert custom(["A", "B"]).index_of(["B", "x", "A"]).tolist() == [1, -1, 0]


@pytest.mark.parametrize("name", ["human", "mouse"])
def test_save_and_load(name, tmp_path):
    panel = GenePanel.builtin(name)
    panel.save(tmp_path / "genes.tsv")
    for spec in (tmp_path, tmp_path / "genes.tsv", str(tmp_path)):
        again = load_panel(spec)
        assert again == panel
        assert (again.name, again.species) == (panel.name, panel.species)
        assert again.symbols.tolist() == panel.symbols.tolist()
        assert again.aliases == panel.aliases
        assert again.ambiguous == panel.ambiguous
    assert [path.name for path in tmp_path.iterdir()] == ["genes.tsv"]


def test_custom_panel_survives_saving(tmp_path):
    panel = custom(["si:ch1", "actb2"], name="fish", aliases={"old": "actb2"})
    panel.save(tmp_path / "genes.tsv")
    again = load_panel(tmp_path / "genes.tsv")
    assert again == panel
    assert again.species is None
    assert again.aliases == {"old": "actb2"}


def test_list_of_symbols_becomes_ids(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("GAPDH\nSEPT2\nMALAT1\n\nGAPDH\nno such gene\n")
    panel = load_panel(path)
    assert panel.ids.tolist() == ["ENSG00000111640", "ENSG00000168385", "ENSG00000251562", "no such gene"]
    assert panel.symbols.tolist() == ["GAPDH", "SEPTIN2", "MALAT1", ""]
    assert panel.species == "human"
    assert panel.name == "mine"


@pytest.mark.parametrize("separator", ["\t", ","])
def test_table(tmp_path, separator):
    path = tmp_path / "mine.csv"
    path.write_text(f"Symbol{separator}ID\nGapdh{separator}ENSMUSG00000057666.17\n")
    panel = load_panel(path)
    assert panel.ids.tolist() == ["ENSMUSG00000057666"]
    assert panel.species == "mouse"


def test_names_of_another_species_are_kept(tmp_path):
    path = tmp_path / "fish.txt"
    path.write_text("\n".join(f"si:ch{i}" for i in range(60)))
    panel = load_panel(path)
    assert panel.species is None
    assert panel.ids[3] == "si:ch3"


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ("", DataError, "no genes"),
        ("# nothing\n", DataError, "no genes"),
        ("gene,name\nA,B\n", DataError, "no column `id`"),
        ("id,symbol\nA,B\nC\n", FormatError, "fewer columns"),
        ("# scssl gene panel\tname=x\tspecies=\nid\tsymbol\taliases\nA\t\t\nA\t\t\n", DataError, "more than once"),
    ],
)
def test_bad_files(tmp_path, content, error, words):
    path = tmp_path / "genes.csv"
    path.write_text(content)
    with pytest.raises(error, match=words) as caught:
        load_panel(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_no_text_file(tmp_path):
    path = tmp_path / "genes.h5ad"
    path.write_bytes(b"\x89HDF\r\n\x1a\n\xff\xfe")
    with pytest.raises(DataError, match="not a text file"):
        load_panel(path)


def test_unknown_spec(tmp_path):
    with pytest.raises(SettingsError, match="human or mouse, a file of genes"):
        load_panel("humna")
    with pytest.raises(SettingsError, match="neither a model nor a corpus"):
        load_panel(tmp_path)


def test_panel_passes_through():
    panel = custom(["A"])
    assert load_panel(panel) is panel


def test_ids_must_be_unique_and_some():
    with pytest.raises(DataError, match=r"more than once, e.g. 'A'"):
        custom(["A", "A"])
    with pytest.raises(DataError, match="is empty"):
        custom([])
    with pytest.raises(DataError, match="1 IDs but 0 symbols"):
        GenePanel(ids=np.array(["A"]), symbols=np.array([]))


def test_subset_keeps_what_belongs_to_its_genes():
    human = GenePanel.builtin("human")
    at = human.index_of(["ENSG00000168385", "ENSG00000111640"])
    part = human.subset(at, name="two")
    assert part.symbols.tolist() == ["SEPTIN2", "GAPDH"]
    assert part.aliases["SEPT2"] == "ENSG00000168385"
    assert set(part.aliases.values()) <= set(part.ids)
