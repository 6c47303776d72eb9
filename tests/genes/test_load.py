"""What users give as programmes, over the genes of a panel."""

from __future__ import annotations

import numpy as np
import pytest

from scssl.corpus import Corpus
from scssl.errors import DataError, SettingsError
from scssl.genes import GenePanel, GeneSet, Limits, Programmes, gene_table, load_programmes, mouse_to_human, write_gmt
from scssl.genes.load import load_reported
from scssl.genes.mapping import match_names


@pytest.fixture(scope="module")
def human():
    return GenePanel.builtin("human")


@pytest.fixture(scope="module")
def mouse():
    return GenePanel.builtin("mouse")


def symbols(panel, positions):
    return tuple(str(panel.symbols[i]) for i in positions)


def with_symbols(panel, n, *, seed=0):
    """Positions of genes whose symbol means them alone."""
    rng = np.random.default_rng(seed)
    usable = [i for i in range(len(panel)) if panel.symbols[i] and panel.lookup.exact.get(panel.symbols[i]) == i]
    return rng.permutation(usable)[:n].tolist()


def test_symbols_previous_symbols_and_ids_mean_the_same(tmp_path, human):
    positions = with_symbols(human, 30)
    taken = set(human.symbols)
    alias = {gene: name for name, gene in human.aliases.items() if name not in taken and "|" not in name}
    renamed = [i for i in range(len(human)) if human.ids[i] in alias][:15]
    ways = {
        "symbols": symbols(human, positions + renamed),
        "ids": tuple(human.ids[positions + renamed]),
        "versioned": tuple(f"{gene}.7" for gene in human.ids[positions + renamed]),
        "previous": symbols(human, positions) + tuple(alias[human.ids[i]] for i in renamed),
        "lower": tuple(name.lower() for name in symbols(human, positions)) + symbols(human, renamed),
        "weighted": tuple(f"{name},0.5" for name in symbols(human, positions + renamed)),
    }
    write_gmt(tmp_path / "sets.gmt", sets=[GeneSet(name, "", genes) for name, genes in ways.items()])
    programmes = load_programmes(tmp_path / "sets.gmt", human)
    assert programmes.names == list(ways)
    for members in programmes.members:
        assert set(np.flatnonzero(members)) == set(positions + renamed)
    assert programmes.listed.tolist() == [45] * 6


def test_coverage_against_sets(tmp_path, human):
    rng = np.random.default_rng(1)
    panel = human.subset(np.sort(rng.permutation(len(human))[:6000]), name="some")
    on_panel = set(panel.ids)
    sets, expected = [], {}
    for number in range(40):
        genes = human.ids[rng.permutation(len(human))[: rng.integers(5, 80)]].tolist()
        if number % 3 == 0:
            genes += rng.permutation(panel.ids)[:60].tolist()
        genes += [f"nonsense{i}" for i in range(number % 4)]
        sets.append(GeneSet(f"set {number}", "", tuple(genes)))
        found = set(genes) & on_panel
        if len(found) / len(set(genes)) >= 0.4 and 10 <= len(found) <= 70:
            expected[f"set {number}"] = (found, len(found) / len(set(genes)))
    write_gmt(tmp_path / "sets.gmt", sets=sets)
    limits = Limits(min_coverage=0.4, min_genes=10, max_genes=70)
    programmes, report = load_reported(tmp_path / "sets.gmt", panel=panel, limits=limits)
    assert 3 < len(expected) < 40
    assert programmes.names == list(expected)
    for row, (found, share) in enumerate(expected.values()):
        assert set(panel.ids[programmes.members[row]]) == found
        assert programmes.coverage[row] == pytest.approx(share)
    assert report.n_programmes + report.n_small + report.n_badly_covered + report.n_large == report.n_sets == 40
    listed = {gene for each in sets for gene in each.genes}
    assert report.n_names == len(listed)
    assert report.found == len(listed & on_panel)
    assert report.unknown == 3
    assert report.found + report.off_panel + report.unknown + report.ambiguous == report.n_names
    assert "of 40 programmes" not in str(report)
    assert f"{report.found:,} of {len(listed):,} genes found (human Ensembl IDs)" in str(report)


def test_human_sets_on_a_mouse_panel_go_by_orthologues(tmp_path, human, mouse):
    to_mouse = {other: own for own, other in mouse_to_human().items()}
    genes = with_symbols(human, 200)
    write_gmt(tmp_path / "sets.gmt", sets=[GeneSet("set", "", symbols(human, genes))])
    programmes, report = load_reported(tmp_path / "sets.gmt", panel=mouse, limits=Limits())
    expected = {to_mouse[gene] for gene in human.ids[genes] if gene in to_mouse} & set(mouse.ids)
    assert set(mouse.ids[programmes.members[0]]) == expected
    assert programmes.listed.tolist() == [200]
    assert report.by_orthologues
    assert report.species == "human"
    assert report.found == len(expected) == 200 - report.without_orthologue - report.off_panel
    assert "by one-to-one orthologues" in str(report)


def test_mouse_sets_on_a_human_panel_go_by_orthologues(tmp_path, human, mouse):
    genes = with_symbols(mouse, 100)
    write_gmt(tmp_path / "sets.gmt", sets=[GeneSet("Stat1_01", "", symbols(mouse, genes))])
    programmes, report = load_reported(tmp_path / "sets.gmt", panel=human, limits=Limits())
    to_human = mouse_to_human()
    expected = {to_human[gene] for gene in mouse.ids[genes] if gene in to_human} & set(human.ids)
    assert set(human.ids[programmes.members[0]]) == expected
    assert report.by_orthologues
    assert human.symbols[programmes.regulators[0]].tolist() == ["STAT1"]


def test_own_species_by_the_panels_names(tmp_path):
    names = [f"AT1G{i:05d}" for i in range(60)]
    panel = GenePanel.from_names(names, name="plant")
    assert panel.species is None
    write_gmt(tmp_path / "sets.gmt", sets=[GeneSet("set", "", (*(n.lower() for n in names[:20]), "other"))])
    programmes, report = load_reported(tmp_path / "sets.gmt", panel=panel, limits=Limits())
    assert set(np.flatnonzero(programmes.members[0])) == set(range(20))
    assert programmes.listed.tolist() == [21]
    assert report.species is None
    assert not report.by_orthologues


def test_names_that_stand_for_several_genes_are_left_out(human):
    table = gene_table("human")
    name = next(n for n, row in table.lookup.exact.items() if row == -2)
    match = match_names([name, *human.symbols[:20]], human, file="sets")
    assert match.state[name] == "ambiguous"
    assert match.position[name] == -1


@pytest.mark.parametrize(
    ("genes", "words"),
    [
        ([str(i) for i in range(1000, 1030)], "numbers, so the gene names were lost"),
        ([f"word{i}x" for i in range(30)], "only 0 of 30 genes are known human genes"),
    ],
)
def test_names_that_are_no_genes(tmp_path, human, genes, words):
    path = tmp_path / "sets.gmt"
    write_gmt(path, sets=[GeneSet("set", "", tuple(genes))])
    with pytest.raises(DataError, match=words) as caught:
        load_programmes(path, human)
    assert str(path) in str(caught.value)


def test_nothing_left_says_why(tmp_path, human):
    genes = symbols(human, with_symbols(human, 30))
    sets = [GeneSet("small", "", genes[:5]), GeneSet("large", "", genes), GeneSet("empty", "", ())]
    write_gmt(tmp_path / "sets.gmt", sets=sets)
    words = "none of 3 gene sets .*: 2 have fewer than 10 genes on it, 0 less than 50% of their genes, 1 more than 20"
    with pytest.raises(DataError, match=words):
        load_programmes(tmp_path / "sets.gmt", human, max_genes=20)


def test_genes_that_no_source_measured_do_not_count(tmp_path, human, atlas):
    corpus = Corpus.from_anndata(atlas, genes="human", split_by="donor")
    measured = np.flatnonzero(corpus.measured.any(axis=0))
    others = np.flatnonzero(~corpus.measured.any(axis=0))
    well, badly = human.ids[[*measured[:20], *others[:10]]], human.ids[[*measured[20:40], *others[:30]]]
    write_gmt(tmp_path / "sets.gmt", sets=[GeneSet("well", "", tuple(well)), GeneSet("badly", "", tuple(badly))])
    assert load_programmes(tmp_path / "sets.gmt", human).names == ["well", "badly"]
    programmes = load_programmes(tmp_path / "sets.gmt", corpus.panel, corpus=corpus)
    assert programmes.names == ["well"]
    assert np.flatnonzero(programmes.members[0]).tolist() == measured[:20].tolist()
    assert programmes.coverage[0] == pytest.approx(20 / 30)


def test_saved_programmes_load_for_their_panel_and_for_others(tmp_path, human, mouse):
    positions = with_symbols(human, 60)
    factor = human.index_of(["ENSG00000115415"])[0]
    members = np.zeros((2, len(human)), dtype=bool)
    members[0, positions[:30]] = True
    members[1, positions[30:]] = True
    members[:, factor] = False
    regulators = np.zeros_like(members)
    regulators[0, factor] = True
    saved = Programmes(
        names=["a", "b"],
        members=members,
        regulators=regulators,
        descriptions=["", "text"],
        listed=np.array([50, 30]),
        panel=human,
    )
    saved.save(tmp_path / "programmes.gmt")
    found = load_programmes(tmp_path / "programmes.gmt", human)
    np.testing.assert_array_equal(found.members, members)
    np.testing.assert_array_equal(found.regulators, regulators)
    assert found.listed.tolist() == [50, 30]
    assert load_programmes(tmp_path / "programmes.gmt", human, min_coverage=0.8).names == ["b"]
    other = load_programmes(tmp_path / "programmes.gmt", mouse, min_coverage=0, min_genes=1)
    assert other.names == ["a", "b"]
    assert mouse.symbols[other.regulators[0]].tolist() == ["Stat1"]


def test_programmes_are_taken_as_they_are_within_the_limits(human):
    members = np.zeros((2, len(human)), dtype=bool)
    members[0, :20] = True
    members[1, :5] = True
    given = Programmes(names=["a", "b"], members=members, regulators=members & False, descriptions=["", ""])
    assert load_programmes(given, human).names == ["a"]
    assert load_programmes(given, human).panel == human
    with pytest.raises(SettingsError, match="no programme is within the limits"):
        load_programmes(given, human, min_genes=30)
    with pytest.raises(SettingsError, match="over other genes"):
        load_programmes(given, GenePanel.builtin("mouse"))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("nowhere.gmt", "no gene programmes 'nowhere.gmt'"),
        ("msigdb:C99", "no collection of gene sets is called 'msigdb:C99'; there are: msigdb:H"),
        ("modules:0", "modules:0 is not possible"),
        ("modules:ten", "modules:ten is not possible"),
        ("modules:5", "learned from cells: give the corpus"),
        ("regulons:factors.txt", "learned from cells: give the corpus"),
    ],
)
def test_mistakes(human, spec, words):
    with pytest.raises(SettingsError, match=words):
        load_programmes(spec, human)


def test_mistakes_in_other_settings(human, mouse, corpus_dir, tmp_path):
    with pytest.raises(SettingsError, match="regulators is 'all'; it must be one of auto, names, none"):
        load_programmes("modules:5", human, regulators="all")
    with pytest.raises(SettingsError, match="they must be the same genes"):
        load_programmes("modules:5", mouse, corpus=Corpus.open(corpus_dir))


@pytest.mark.parametrize(
    ("file", "n_sets", "covered"), [("human_hallmark_v2025", 50, 0.22), ("human_reactome_v2025", 1413, 0.56)]
)
def test_real_collections(real_data, human, file, n_sets, covered):
    programmes = load_programmes(real_data / "genesets" / f"{file}.gmt", human)
    assert len(programmes) == n_sets
    assert round(programmes.covered, 2) == covered
    assert not programmes.regulators.any()
