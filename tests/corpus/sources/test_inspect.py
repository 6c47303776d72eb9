"""inspect_file: what is said about good and bad files, and that the fix is named."""

from __future__ import annotations

import json
import re

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scssl.corpus.sources.inspect import inspect_file, percent
from scssl.errors import ScsslError
from scssl.genes import GenePanel

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def cells(atlas):
    """A copy that a test may change: 600 cells, counts in X, Ensembl IDs in var_names only."""
    changed = atlas.copy()
    changed.var = changed.var[[]]
    return changed


def logs(cells):
    X = cells.X.astype(np.float32)
    scale = sp.diags(1e4 / np.maximum(np.asarray(X.sum(axis=1)).ravel(), 1))
    return sp.csr_matrix(scale @ X).log1p()


def said(report):
    return " | ".join(report.problems)


def test_good_file(atlas_file):
    before = atlas_file.stat()
    report = inspect_file(atlas_file)
    assert report.usable
    assert report.values.kind == "counts"
    assert report.genes.measured == report.n_features == 300
    assert {column.role: column.name for column in report.columns}["cell type"] == "cell_type"
    assert report.next[0].startswith(
        f"scssl corpus build {atlas_file} --out corpus --genes human --obs cell_type,donor"
    )
    assert report.next[0].endswith("--split-by donor")
    assert json.loads(json.dumps(report.to_dict()))["usable"] is True
    after = atlas_file.stat()
    assert (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)


def test_the_command_named_is_one_that_works(atlas_file, tmp_path, monkeypatch):
    import shlex

    from scssl.cli.app import main

    monkeypatch.chdir(tmp_path)
    command = shlex.split(inspect_file(atlas_file).next[0])
    assert main([*command[1:], "--quiet"]) == 0
    assert (tmp_path / "corpus" / "corpus.json").is_file()


@pytest.mark.parametrize(("place", "option"), [("counts", "--layer counts"), ("raw", "--layer raw")])
def test_counts_found_elsewhere(cells, tmp_path, place, option):
    counts = cells.copy()
    cells.X = logs(cells)
    if place == "raw":
        cells.raw = counts
    else:
        cells.layers["counts"] = counts.X
        cells.layers["other"] = cells.X
    path = tmp_path / "cells.h5ad"
    cells.write_h5ad(path)
    report = inspect_file(path)
    assert not report.usable
    assert "X holds no raw counts but log1p values of counts normalised to 10,000 per cell" in said(report)
    assert f"Raw counts are in {'raw' if place == 'raw' else 'layer ' + repr(place)}: add {option}" in said(report)
    assert report.next == [f"scssl check {path} {option}"]
    assert ("try --layer raw" in " ".join(report.warnings)) == (place == "raw")
    again = inspect_file(path, layer=place)
    assert again.usable
    assert option in again.next[0]


def restorable_logs(cells):
    cells.X = logs(cells)


def scaled(cells):
    X = logs(cells).toarray()
    cells.X = (X - X.mean(0)) / (X.std(0) + 1e-6)


def estimated(cells):
    X = cells.X.astype(np.float32)
    X.data *= np.random.default_rng(0).lognormal(0, 0.2, X.nnz).astype(np.float32)
    X.data[0] = 300.3
    cells.X = X


def all_zero(cells):
    cells.X = sp.csr_matrix(cells.shape)


def one_nan(cells):
    X = cells.X.astype(np.float32)
    X.data[5] = np.nan
    cells.X = X


def one_negative(cells):
    X = cells.X.astype(np.float32)
    X.data[5] = -1
    cells.X = X


def joined(cells):
    X = cells.X.astype(np.float32).toarray()
    second = (cells.obs["study"] == cells.obs["study"].unique()[0]).to_numpy()
    X[second] *= 1.234
    cells.X = X


def mouse(cells):
    cells.var_names = GenePanel.builtin("mouse").ids[: cells.n_vars]


def nameless(cells):
    cells.var_names = [f"hvg{i}" for i in range(cells.n_vars)]


def few_genes(cells):
    cells._inplace_subset_var(np.arange(30))


def off_panel(cells):
    from scssl.genes import gene_table

    table = gene_table("human")
    cells.var_names = [*cells.var_names[:60], *table.ids[~table.coding][: cells.n_vars - 60]]
    X = cells.X.toarray()
    X[:, 60:] *= 20
    cells.X = sp.csr_matrix(X)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (restorable_logs, "get them from whoever made it; or work them out"),
        (scaled, "holds no raw counts but scaled values"),
        (estimated, "can be rounded to whole numbers"),
        (all_zero, "nothing but zeros"),
        (one_nan, "1 missing (NaN)"),
        (one_negative, "1 negative"),
        (joined, "Data of two kinds were joined"),
        (mouse, "these look like mouse genes"),
        (nameless, "gene names were lost on the way"),
        (few_genes, "only 30 of the 20,120 genes"),
        (off_panel, "of the counts fall on genes of the panel"),
    ],
)
def test_bad_files(cells, tmp_path, spoil, words):
    path = tmp_path / "cells.h5ad"
    spoil(cells)
    cells.write_h5ad(path)
    report = inspect_file(path)
    assert not report.usable
    assert words in said(report)
    assert len(report.problems) == 1
    assert "\n" not in said(report)


def test_joined_data_name_the_column(cells, tmp_path):
    joined(cells)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    text = said(inspect_file(tmp_path / "cells.h5ad"))
    assert re.search(r"(study|batch|donor) tells them apart. Keep those with counts, in Python: adata\[", text)


def test_mouse_file_leads_to_the_mouse_panel(cells, tmp_path):
    path = tmp_path / "cells.h5ad"
    mouse(cells)
    cells.write_h5ad(path)
    assert inspect_file(path).next == [f"scssl check {path} --panel mouse"]
    assert inspect_file(path, panel="mouse").usable


def test_things_worth_noting(cells, tmp_path):
    path = tmp_path / "cells.h5ad"
    X = cells.X.tolil()
    X[7] = 0
    cells.X = X.tocsr()
    cells.obs_names = ["twin", "twin", *cells.obs_names[2:]]
    cells.var_names = [cells.var_names[1], *cells.var_names[1:]]
    cells.obs["cell_type"] = cells.obs["cell_type"].astype(object)
    cells.obs.iloc[:9, cells.obs.columns.get_loc("cell_type")] = "unknown"
    cells.write_h5ad(path)
    report = inspect_file(path)
    assert report.usable
    assert (report.n_empty, report.n_repeated_cells, report.n_repeated_features) == (1, 1, 1)
    text = " ".join(report.warnings)
    for words in (
        "no counts at all in 1 cell",
        "1 cell names are repeated",
        "1 feature names are repeated",
        "only 299 of",
    ):
        assert words in text
    assert "--unlabelled unknown" in report.next[0]


def test_one_or_two_donors_are_split_by_cell(cells, tmp_path):
    path = tmp_path / "cells.h5ad"
    cells.obs["donor"] = "d1"
    cells.write_h5ad(path)
    assert inspect_file(path).next[0].endswith("--split-by cell")
    # Two cannot be shared out to train, validate and test.
    cells.obs["donor"] = ["d1", "d2"] * (cells.n_obs // 2) + ["d1"] * (cells.n_obs % 2)
    cells.write_h5ad(path)
    assert inspect_file(path).next[0].endswith("--split-by cell")
    cells.obs = pd.DataFrame(index=cells.obs_names)
    cells.write_h5ad(path)
    report = inspect_file(path)
    assert report.columns == []
    assert report.next[0].endswith("--genes human --split-by cell")


def test_panel_of_a_model_or_a_file(atlas, atlas_file, tmp_path):
    model = tmp_path / "my model"
    model.mkdir()
    GenePanel.from_names(atlas.var_names).save(model / "genes.tsv")
    (model / "config.json").write_text("{}")
    report = inspect_file(atlas_file, panel=model)
    assert report.genes.missing == 0
    assert report.next == [f"scssl embed {atlas_file} --model '{model}' --out embedded.h5ad"]
    (tmp_path / "genes.txt").write_text("\n".join(atlas.var_names[:100]))
    report = inspect_file(atlas_file, panel=str(tmp_path / "genes.txt"))
    assert report.genes.n_panel == report.genes.measured == 100
    with pytest.raises(ScsslError, match="no gene panel 'humna'"):
        inspect_file(atlas_file, panel="humna")


def test_only_a_sample_is_read(tmp_path):
    """A file of many cells is judged by 2,000 of them."""
    panel = GenePanel.builtin("human")
    X = sp.random(9000, 100, density=0.1, format="csr", random_state=0)
    X.data = np.ceil(X.data * 5)
    made = ad.AnnData(X.astype(np.float32))
    made.var_names = panel.ids[:100]
    made.write_h5ad(tmp_path / "cells.h5ad")
    report = inspect_file(tmp_path / "cells.h5ad")
    assert report.n_looked_at == report.values.n_cells == 2000
    assert report.n_cells == 9000


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0%"), (1, "100%"), (0.0002, "less than 0.1%"), (0.005, "0.5%"), (0.34, "34%"), (0.999, "99.9%")],
)
def test_percent(share, text):
    assert percent(share) == text


def test_proteins_beside_the_genes_are_named_and_no_repeats(cells, tmp_path):
    cells.var["feature_types"] = "Gene Expression"
    cells.var.iloc[:3, -1] = "Antibody Capture"
    # Of the name of a gene.
    cells.var_names = [*cells.var_names[3:6], *cells.var_names[3:]]
    cells.write_h5ad(tmp_path / "c.h5ad")
    report = inspect_file(tmp_path / "c.h5ad")
    assert report.usable
    assert report.genes.measured == 297
    assert report.n_repeated_features == 0
    assert sum(note.startswith("3 features are no genes but Antibody Capture") for note in report.warnings) == 1
    cells.var["feature_types"] = "Antibody Capture"
    cells.write_h5ad(tmp_path / "d.h5ad")
    report = inspect_file(tmp_path / "d.h5ad")
    assert "only features of type Antibody Capture" in said(report)
    assert not any("no genes but" in note for note in report.warnings)
