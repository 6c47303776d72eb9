"""Untidy cells that every command can use: the result is that of tidy ones, and what was done about it is said."""

from __future__ import annotations

import json

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scssl.cli.app import main
from tests.faults.commands import refused, that_read_cells


def ran(capsys, argv):
    """Run a command that has to succeed: its result, and what it said."""
    code = main([*map(str, argv), "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out), err


def shuffled(X, rng):
    """Return the same matrix with the entries of each row in another order, and some in two parts."""
    coo = X.tocoo()
    row, col, value = coo.row, coo.col, coo.data.astype(np.int64)
    split = (value > 1) & (rng.random(len(value)) < 0.3)
    row, col = np.r_[row, row[split]], np.r_[col, col[split]]
    value = np.r_[np.where(split, value - 1, value), np.ones(split.sum(), dtype=np.int64)]
    order = np.lexsort((rng.random(len(row)), row))
    indptr = np.r_[0, np.cumsum(np.bincount(row, minlength=X.shape[0]))]
    made = sp.csr_matrix((value[order], col[order].astype(np.int32), indptr), shape=X.shape)
    made.has_sorted_indices = made.has_canonical_format = True  # or writing would tidy up
    return made


def unsorted(cells, rng):
    cells.X = shuffled(cells.X, rng)
    return cells


def repeated_genes(cells, rng):
    part = rng.binomial(cells.X.toarray().astype(int), 0.5)
    counts = np.hstack([part, cells.X.toarray().astype(int) - part])
    var = pd.DataFrame(index=[*cells.var_names, *cells.var_names])
    return anndata.AnnData(sp.csr_matrix(counts), obs=cells.obs, var=var)


UNTIDY = {"unsorted": unsorted, "repeated genes": repeated_genes}


def results(capsys, base, cells, folder):
    """What a corpus, labels and similar cells of some cells are; the cells' file must stay as it was."""
    (folder / "out").mkdir(parents=True)
    cells.write_h5ad(folder / "a.h5ad")
    before = (folder / "a.h5ad").read_bytes()
    commands = that_read_cells(base, folder / "a.h5ad", folder / "out")
    shown = {name: ran(capsys, commands[name])[0] for name in ("build", "audit", "annotate saved", "similar")}
    obs = anndata.read_h5ad(folder / "out" / "o.h5ad").obs
    assert (folder / "a.h5ad").read_bytes() == before
    return {
        "corpus": [shard.read_bytes() for shard in sorted((folder / "out" / "c").rglob("X/*/c/0"))],
        "audit": (shown["audit"]["n_shared"], shown["audit"]["splits"]),
        "labels": [str(obs[column].tolist()) for column in obs if column.startswith("scssl_")],
        "similar": (folder / "out" / "o.csv").read_text(),
    }


@pytest.mark.filterwarnings("ignore:Variable names are not unique:UserWarning")
def test_untidy_cells_count_as_tidy_ones(base, cells, tmp_path, capsys):
    expected = results(capsys, base, cells, tmp_path / "tidy")
    assert expected["audit"][0] > 0
    for name, make_untidy in UNTIDY.items():
        untidy = make_untidy(cells.copy(), np.random.default_rng(0))
        assert results(capsys, base, untidy, tmp_path / name) == expected, name


@pytest.mark.filterwarnings("ignore:Observation names are not unique:UserWarning")
def test_repeated_cell_names(base, cells, tmp_path, capsys):
    cells = cells.copy()
    cells.obs_names = ["cell"] * cells.n_obs
    cells.write_h5ad(tmp_path / "a.h5ad")
    commands = that_read_cells(base, tmp_path / "a.h5ad", tmp_path)
    report, _ = ran(capsys, commands["check"])
    assert "89 cell names are repeated; they get numbered" in report["warnings"]
    assert ran(capsys, commands["build"])[0]["cells"] == 90
    for command in ("embed", "annotate"):
        ran(capsys, [*commands[command], "--overwrite"])
        written = anndata.read_h5ad(tmp_path / "o.h5ad")
        assert written.obs_names.tolist() == ["cell"] * 90
    ran(capsys, commands["similar"])
    assert len(pd.read_csv(tmp_path / "o.csv")) == 900


def test_cells_without_counts(base, cells, tmp_path, capsys):
    cells = cells.copy()
    X = cells.X.tolil()
    X[:3] = 0
    cells.X = X.tocsr()
    cells.write_h5ad(tmp_path / "a.h5ad")
    commands = that_read_cells(base, tmp_path / "a.h5ad", tmp_path)
    report, _ = ran(capsys, commands["check"])
    assert "no counts at all in 3 cells; a corpus leaves such cells out" in report["warnings"]
    built, err = ran(capsys, commands["build"])
    assert built["cells"] == 87
    assert "left out 3 cells without counts" in err
    _, err = ran(capsys, commands["embed"])
    assert "3 cells without counts on the model's genes" in err
    ran(capsys, [*commands["annotate"], "--overwrite"])
    obs = anndata.read_h5ad(tmp_path / "o.h5ad").obs
    assert obs["scssl_unknown"].tolist()[:3] == ["low quality"] * 3
    ran(capsys, commands["similar"])
    assert len(pd.read_csv(tmp_path / "o.csv")) == 870
    ran(capsys, [*commands["similar reference"], "--overwrite"])
    assert not set(pd.read_csv(tmp_path / "o.csv")["cell"]) & set(cells.obs_names[:3])


def test_one_donor(base, cells, tmp_path, capsys):
    cells = cells.copy()
    cells.obs["donor"] = "anna"
    cells.write_h5ad(tmp_path / "a.h5ad")
    commands = that_read_cells(base, tmp_path / "a.h5ad", tmp_path)
    report, _ = ran(capsys, commands["check"])
    assert "--split-by cell" in report["next"][0]
    by_donor = [*commands["build"][:-1], "donor"]
    message = refused(capsys, by_donor, words="--split-by cell", names=["donor"])
    assert "anna" in message or "one" in message
    _, err = ran(capsys, commands["pretrain"])
    assert "set apart by cell (there is no column 'donor' with two of them" in err
    _, err = ran(capsys, commands["annotate reference"])
    assert "donor" in err
    refused(capsys, [*commands["integrate"], "--overwrite"], words="donor", names=[tmp_path / "a.h5ad"])


@pytest.mark.parametrize("mode", ["zero_shot", "probe"])
def test_a_label_seen_once(base, cells, tmp_path, capsys, mode):
    cells = cells.copy()
    cells.obs["cell_type"] = cells.obs["cell_type"].astype(str)
    cells.obs.iloc[0, cells.obs.columns.get_loc("cell_type")] = "unicorn"
    cells.write_h5ad(tmp_path / "a.h5ad")
    commands = that_read_cells(base, tmp_path / "a.h5ad", tmp_path)
    _, err = ran(capsys, [*commands["annotate reference"], "--mode", mode])
    assert "unicorn" in err


MISSING = {
    "obs": ("build", ["--obs", "tissue"]),
    "source": ("build", ["--source", "tissue"]),
    "split": ("build", ["--split-by", "tissue"]),
    "where": ("build", ["--where", "tissue == 'a'"]),
    "audited donor": ("audit", ["--donor", "tissue"]),
    "pretrain source": ("pretrain", ["--source", "tissue"]),
    "pretrain split": ("pretrain", ["--split-by", "tissue"]),
    "labels": ("annotate", ["--labels", "tissue"]),
    "donor": ("annotate", ["--donor", "tissue"]),
    "truth": ("annotate", ["--truth", "tissue"]),
    "columns": ("similar reference", ["--columns", "tissue"]),
    "similar truth": ("similar", ["--truth", "tissue"]),
    "batch": ("integrate", ["--batch", "tissue"]),
    "study labels": ("study target", ["--labels", "tissue"]),
    "study donor": ("study target", ["--donor", "tissue"]),
    "study source": ("study target", ["--source", "tissue"]),
}


@pytest.mark.parametrize("name", MISSING)
def test_columns_that_are_not_there(base, out, capsys, name):
    command, options = MISSING[name]
    argv = that_read_cells(base, base.file, out)[command]
    if options[0] in argv:
        at = argv.index(options[0])
        argv = [*argv[:at], *argv[at + 2 :]]
    message = refused(capsys, [*argv, *options], words="tissue", names=[base.file.name], untouched=[base.file])
    assert "cell_type" in message, "what there is instead"
    assert list(out.iterdir()) == []


def test_layers_that_are_not_there(base, out, capsys):
    for command, argv in that_read_cells(base, base.file, out).items():
        if command not in ("annotate reference", "similar reference", "study corpus"):
            message = refused(capsys, [*argv, "--layer", "spliced"], words="'spliced'", names=[base.file.name])
            assert "X" in message


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int64", "uint64", "float64"])
def test_counts_of_any_type_are_read(base, cells, tmp_path, capsys, dtype):
    cells = cells.copy()
    cells.X = sp.csr_matrix(np.minimum(cells.X.toarray(), 100).astype(dtype))
    cells.write_h5ad(tmp_path / "a.h5ad")
    ran(capsys, that_read_cells(base, tmp_path / "a.h5ad", tmp_path)["embed"])
    assert np.isfinite(anndata.read_h5ad(tmp_path / "o.h5ad").obsm["X_scssl"]).all()
