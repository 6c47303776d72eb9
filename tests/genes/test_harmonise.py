"""Harmonising: every spelling of gene names, the report's arithmetic, the refusals, and the mapping of counts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.errors import DataError, SettingsError
from scssl.genes import GenePanel, gene_table, harmonise
from scssl.genes.tables import is_ensembl

HUMAN, MOUSE = GenePanel.builtin("human"), GenePanel.builtin("mouse")
NAMED = np.flatnonzero(HUMAN.symbols != "")[:200]
IDS, SYMBOLS = HUMAN.ids[NAMED].tolist(), HUMAN.symbols[NAMED].tolist()


def var(names, **columns):
    return pd.DataFrame(columns, index=pd.Index(names, dtype=object))


def check_sums(report):
    parts = (report.found, report.dropped, report.ambiguous, report.unknown, report.not_genes)
    assert sum(parts) == report.n_features
    assert report.measured + report.missing == report.n_panel
    assert report.found - report.duplicated == report.measured


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (IDS, "Ensembl IDs"),
        ([f"{gene}.7" for gene in IDS], "versioned Ensembl IDs"),
        ([f"{gene}_PAR_Y" for gene in IDS], "Ensembl IDs"),
        (SYMBOLS, "symbols"),
        (IDS[:100] + SYMBOLS[100:], "Ensembl IDs and symbols, mixed"),
        ([f"GRCh38_{symbol}" for symbol in SYMBOLS], "symbols"),
        ([f"hg19_{gene}" for gene in IDS], "symbols"),
        ([f"{symbol}_{gene}" for symbol, gene in zip(SYMBOLS, IDS, strict=True)], "symbols"),
        (SYMBOLS[:150] + [symbol.capitalize() for symbol in SYMBOLS[150:]], "symbols"),
    ],
)
def test_spellings(names, kind):
    genes = harmonise(var(names), HUMAN)
    assert genes.index.tolist() == NAMED.tolist()
    assert genes.measured.sum() == 200
    assert genes.report.id_kind == kind
    check_sums(genes.report)


def test_previous_symbols_suffixes_and_r_spelling():
    extra = ["SEPT2", "C1orf112", f"{SYMBOLS[0]}-1", f"{SYMBOLS[1]}.1", "HLA.DRA", "HLA-DRA"]
    genes = harmonise(var(SYMBOLS + extra), HUMAN)
    found = HUMAN.symbols[genes.index[200:]].tolist()
    assert found == ["SEPTIN2", "FIRRM", SYMBOLS[0], SYMBOLS[1], "HLA-DRA", "HLA-DRA"]
    assert genes.report.duplicated == 4  # FIRRM is among the 200
    check_sums(genes.report)


def test_suffix_is_kept_where_the_name_is_a_gene_itself():
    table = gene_table("human")
    assert table.lookup.exact["NKX2-1"] >= 0
    assert table.symbols[table.lookup.exact["HLA-A"]] == "HLA-A"
    genes = harmonise(var([*SYMBOLS, "NKX2-1"]), HUMAN)
    assert HUMAN.symbols[genes.index[-1]] == "NKX2-1"


def test_what_is_left_out_is_counted_and_named():
    names = [*SYMBOLS, "MALAT1", "RP11-34P13.7", "QARS", "no such gene"]
    report = harmonise(var(names), HUMAN).report
    assert (report.found, report.dropped, report.ambiguous, report.unknown) == (200, 2, 1, 1)
    assert report.examples == {
        "dropped": ["MALAT1", "RP11-34P13.7"],
        "ambiguous": ["QARS"],
        "unknown": ["no such gene"],
    }
    check_sums(report)


def test_column_is_chosen_by_what_it_knows():
    numbers = [str(i) for i in range(200)]
    by_column = harmonise(var(numbers, gene_ids=IDS, other=numbers), HUMAN)
    assert by_column.report.column == "var['gene_ids']"
    categorical = var(numbers, feature_name=pd.Categorical(SYMBOLS))
    assert harmonise(categorical, HUMAN).report.column == "var['feature_name']"
    # Just as good is no reason to leave var_names.
    assert harmonise(var(SYMBOLS, gene_ids=IDS), HUMAN).report.column == "var_names"
    assert harmonise(var(SYMBOLS, gene_ids=IDS), HUMAN, column="gene_ids").report.column == "var['gene_ids']"
    with pytest.raises(SettingsError, match=r"f.h5ad: var has no text column 'ids'; there is: var_names, gene_ids"):
        harmonise(var(SYMBOLS, gene_ids=IDS), HUMAN, column="ids", file="f.h5ad")


def test_ids_of_another_column_settle_what_symbols_leave_open():
    symbols, ids = [*SYMBOLS, "QARS", "odd"], [*IDS, "ENSG00000172053", "ENSG00000111640"]
    genes = harmonise(var(symbols, ensembl=ids), HUMAN)
    assert genes.report.column == "var_names"
    assert HUMAN.symbols[genes.index[-2:]].tolist() == ["QARS1", "GAPDH"]
    assert genes.report.ambiguous == genes.report.unknown == 0


def test_proteins_and_read_statistics_are_no_genes():
    kinds = ["Gene Expression"] * 200 + ["Antibody Capture"] * 2
    genes = harmonise(var([*SYMBOLS, "CD4", "CD19"], feature_types=kinds), HUMAN)
    assert genes.index[-2:].tolist() == [-1, -1]
    assert genes.report.not_genes == 2
    htseq = harmonise(var([*SYMBOLS, "no_feature", "__alignment_not_unique"]), HUMAN)
    assert htseq.report.not_genes == 2
    share = htseq.check_counts_share(sp.csr_matrix(np.r_[np.ones(200), 1e6, 1e6][None]))
    assert share == 1.0


def test_long_non_coding_file_is_recognised_but_not_usable():
    table = gene_table("human")
    names = [s for s, b in zip(table.symbols, table.biotypes, strict=True) if b == "lncRNA" and s][:500]
    with pytest.raises(DataError, match=r"only 0 of the 20,120 genes"):
        harmonise(var(names), HUMAN)


def test_mouse_on_mouse_panel_and_case_within_it():
    symbols = [s for s in MOUSE.symbols if s][:200]
    genes = harmonise(var(symbols[:100] + [s.upper() for s in symbols[100:]]), MOUSE)
    assert genes.measured.sum() == 200


@pytest.mark.parametrize(
    ("names", "panel", "words"),
    [
        ([s for s in MOUSE.symbols if s][:300], HUMAN, r"look like mouse genes.*--genes mouse.*--panel mouse"),
        (MOUSE.ids[:300].tolist(), HUMAN, "look like mouse genes"),
        (IDS, MOUSE, r"look like human genes.*--genes human"),
        ([f"hvg{i}" for i in range(300)], HUMAN, "placeholders, so the gene names were lost"),
        ([str(i) for i in range(300)], HUMAN, "numbers, so the gene names were lost"),
        ([f"chr1:{i}00-{i}99" for i in range(300)], HUMAN, "ATAC peaks"),
        ([f"ENSRNOG{i:011d}" for i in range(300)], HUMAN, r"Ensembl IDs of another species \(ENSRNOG"),
        ([f"ENST{i:011d}.2" for i in range(300)], HUMAN, "transcript IDs"),
        ([s.lower() for s in SYMBOLS], HUMAN, "only 0 of 200"),  # fish names: case alone must not decide
        (SYMBOLS[:60] + [f"odd{i}" for i in range(70)], HUMAN, r"only 60 of 130 features are known human genes"),
        (SYMBOLS[:49], HUMAN, r"only 49 of the 20,120 genes.*at least 50"),
    ],
)
def test_refusals_name_file_and_fix(names, panel, words):
    with pytest.raises(DataError, match=words) as caught:
        harmonise(var(names), panel, file="cells.h5ad")
    assert str(caught.value).startswith("cells.h5ad: ")
    assert "\n" not in str(caught.value)


def test_proteins_alone_are_refused():
    with pytest.raises(DataError, match="holds no genes, only features of type Antibody Capture"):
        harmonise(var(["CD4", "CD19"], feature_types=["Antibody Capture"] * 2), HUMAN, file="f")


def test_share_of_counts_over_chunks():
    genes = harmonise(var([*SYMBOLS, "MALAT1"]), HUMAN, file="f.h5ad")
    rich = sp.csr_matrix(np.ones((3, 201)))
    assert genes.check_counts_share(rich) == pytest.approx(200 / 201)
    poor = rich.tolil()
    poor[:, 200] = 10_000
    with pytest.raises(DataError, match=r"f.h5ad: only 4% of the counts.*MALAT1"):
        genes.check_counts_share(poor.tocsr())
    assert genes.report.share_of_counts == pytest.approx(1200 / (603 + 30_600))
    assert harmonise(var(SYMBOLS), HUMAN).check_counts_share(sp.csr_matrix((2, 200))) == 1.0


def test_a_selection_of_genes_may_hold_few_of_the_counts():
    # Variable genes leave most counts outside by design; a model on them must still take new files.
    selection = GenePanel.from_names(SYMBOLS[:100])
    counts = sp.csr_matrix(np.r_[np.ones(100), np.full(100, 50)][None])
    assert harmonise(var(SYMBOLS), selection).check_counts_share(counts) == pytest.approx(100 / 5100)


def test_panel_of_another_species_matches_names_themselves():
    names = [f"fish{i}" for i in range(400)]
    panel = GenePanel.from_names(names)
    assert panel.species is None
    genes = harmonise(var([*names[100:], "FISH3", "new"]), panel)
    assert genes.report.species is None
    assert genes.index[0] == 100
    assert genes.index[-2:].tolist() == [3, -1]
    check_sums(genes.report)
    # A short panel is fine on a whole transcriptome.
    short = GenePanel.from_names(names[:60])
    assert harmonise(var(names + [f"more{i}" for i in range(1000)]), short).measured.all()
    with pytest.raises(DataError, match="genes of the panel"):
        harmonise(var(SYMBOLS), panel)


def test_custom_panel_of_human_genes_takes_symbols_and_own_names():
    panel = GenePanel.from_names(["my construct", *IDS])
    genes = harmonise(var(["my construct", *SYMBOLS, "MALAT1"]), panel)
    assert genes.index.tolist() == [*range(201), -1]


def test_small_panels_are_told():
    assert harmonise(var(SYMBOLS), HUMAN).report.small
    assert not harmonise(var(HUMAN.ids), HUMAN).report.small
    assert "200 of 20,120 panel genes (1%)" in str(harmonise(var(SYMBOLS), HUMAN).report)


def slow_apply(X, index, n_panel):
    out = np.zeros((X.shape[0], n_panel), dtype=np.int64)
    for feature, gene in enumerate(index):
        if gene >= 0:
            out[:, gene] += X[:, feature].astype(np.int64)
    return out


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_apply_against_a_slow_sum(data):
    panel = GenePanel.from_names([f"g{i}" for i in range(60)])
    base = [f"g{i}" for i in range(60)]
    more = data.draw(st.lists(st.sampled_from([*base, "G3", "x1", "x2"]), max_size=20))
    names = data.draw(st.permutations(base + more))
    kind = data.draw(st.sampled_from([np.uint8, np.uint16, np.int32, np.float32]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    dense = rng.poisson(0.4, (5, len(names))) * rng.choice([1, 200], (5, len(names)))
    dense = np.minimum(dense, 255).astype(kind)
    matrix = sp.csr_matrix(dense)
    genes = harmonise(var(names), panel)
    out = genes.apply(matrix)
    assert np.array_equal(out.toarray().astype(np.int64), slow_apply(dense, genes.index, 60))
    assert out.shape == (5, 60)
    assert out.nnz == np.count_nonzero(out.toarray())
    fresh = sp.csr_matrix((out.data, out.indices, out.indptr), shape=out.shape)
    assert fresh.has_canonical_format
    if out.toarray().max(initial=0) <= 255:
        assert out.dtype == kind


def test_apply_leaves_out_stored_zeros_and_widens_only_when_needed():
    panel = GenePanel.from_names([f"g{i}" for i in range(60)])
    genes = harmonise(var([f"g{i}" for i in range(60)] + ["G0"]), panel)
    data, indices = np.array([0, 200, 100], dtype=np.uint8), np.array([1, 0, 60])
    out = genes.apply(sp.csr_matrix((data, indices, [0, 3]), shape=(1, 61)))
    assert out[0, 0] == 300
    assert out.nnz == 1
    assert out.dtype == np.int64


@pytest.mark.parametrize(
    ("file", "panel", "genes", "counts"),
    [
        ("pbmc3k_10xv1", HUMAN, 13_000, 0.96),
        ("pdacA_indrop_moncada", HUMAN, 15_900, 0.97),
        ("darmanis_human_brain", HUMAN, 18_000, 0.95),
        ("kang_ifnb_harmony", HUMAN, 8_600, 0.93),
        ("mouse_heart1k_10xv2", MOUSE, 15_000, 0.96),
        ("paul15_mouse", MOUSE, 3_150, 0.93),
    ],
)
def test_coverage_of_real_files(real_data, file, panel, genes, counts):
    from scssl.corpus.sources.source import open_source

    with open_source(real_data / "cells" / f"{file}.h5ad") as source:
        mapped = harmonise(source.var, panel, file=file)
        mapped.check_counts_share(source.rows(0, source.n_cells))
    check_sums(mapped.report)
    assert mapped.report.measured > genes
    assert mapped.report.share_of_counts > counts


def test_ids_that_were_retired_since_a_panel_was_made():
    """As in the paper's gene list: each keeps its place, and what a new file calls the gene finds it."""
    table = gene_table("human")
    retired = [(old, table.ids[row]) for row, names in enumerate(table.aliases) for old in names if is_ensembl(old)]
    once = Counter(heir for _, heir in retired)
    old, heir = next((o, h) for o, h in retired if once[h] == 1 and table.lookup.exact[o] >= 0)
    others = [gene for gene in table.ids[table.coding] if gene != heir][:99]
    for names, both in (([*others[:50], old, *others[50:]], False), ([*others[:50], old, heir, *others[50:]], True)):
        panel = GenePanel.of_species(names, species="human", name="of its time")
        same = harmonise(pd.DataFrame(index=names), panel)
        np.testing.assert_array_equal(same.index, np.arange(len(names)))
        new = [heir if gene == old else gene for gene in names if not (both and gene == heir)]
        found = harmonise(pd.DataFrame(index=new), panel)
        assert found.index[50] == (51 if both else 50)
        assert found.measured.sum() == len(new)
