"""Building: no cell lost or altered, whatever the files; complete or not there; the same for the same seed."""

from __future__ import annotations

import logging
import os
import shutil
import socket

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scssl.corpus import Corpus
from scssl.corpus.build import create as build
from scssl.corpus.build import passes, plan, spill
from scssl.corpus.format.manifest import SPLITS
from scssl.errors import DataError, SettingsError

OPTIONS = {"genes": "union", "obs": ["cell_type"], "source": "study"}


def table_of(corpus):
    """Cell name -> (counts, annotation), read back from the corpus."""
    rows, names = [], []
    for shard in corpus.shards:
        values = shard.rows(0, shard.n_cells)
        X = sp.csr_matrix((values.values, values.indices, values.indptr), shape=(shard.n_cells, len(corpus.panel)))
        rows.append(pd.DataFrame(X.toarray().astype(np.int64), columns=corpus.panel.ids))
        names.append(shard.cell_names())
    return pd.concat(rows).set_axis(np.concatenate(names)), corpus.obs()


def assert_same_cells(corpus, adata):
    counts, obs = table_of(corpus)
    assert sorted(counts.index) == sorted(adata.obs_names)
    adata = adata[counts.index]
    np.testing.assert_array_equal(counts[list(adata.var_names)].to_numpy(), adata.X.toarray())
    assert counts.to_numpy().sum() == adata.X.sum()
    for column, kept in (("study", "source"), ("donor", "donor"), ("cell_type", "cell_type")):
        assert obs[kept].astype(str).tolist() == adata.obs[column].astype(str).tolist()
    np.testing.assert_array_equal(obs["n_counts"], adata.X.sum(axis=1).A1)


def assert_same_files(one, other):
    files = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(other) for p in other.rglob("*") if p.is_file())
    assert [f for f in files if (one / f).read_bytes() != (other / f).read_bytes()] == []


@pytest.fixture
def small_buckets(monkeypatch):
    """Many shards, parts and flushes even for a small corpus."""
    monkeypatch.setattr(build, "SHARD_BYTES", 40_000)
    monkeypatch.setattr(spill, "FLUSH_NONZEROS", 1_000)
    monkeypatch.setattr(plan, "CHUNK", 64)
    monkeypatch.setattr(plan, "PART_NONZEROS", 10_000)


def test_every_cell_is_there_once_with_its_counts(atlas, atlas_file, tmp_path, small_buckets):
    corpus = Corpus.build(atlas_file, tmp_path / "c", **OPTIONS)
    assert len(corpus.shards_of("train")) > 3
    assert_same_cells(corpus, atlas)
    assert corpus.verify() == []


def test_in_memory_is_the_same(atlas):
    before = atlas.X.copy()
    corpus = Corpus.from_anndata(atlas, **OPTIONS)
    assert_same_cells(corpus, atlas)
    assert (before != atlas.X).nnz == 0
    assert (corpus.path, corpus.verify()) == (None, [])
    assert corpus.info()["cells"] == atlas.n_obs


def test_in_memory_has_the_splits_of_disk(atlas, corpus_dir):
    disk, memory = Corpus.open(corpus_dir), Corpus.from_anndata(atlas, **OPTIONS)
    for split in SPLITS:
        assert sorted(disk.obs(split).index) == sorted(memory.obs(split).index)
    np.testing.assert_array_equal(disk.gene_counts, memory.gene_counts)
    np.testing.assert_array_equal(disk.measured, memory.measured)
    assert (disk.sources, disk.categories) == (memory.sources, memory.categories)


def test_donors_stay_together_and_gene_counts_are_of_train(atlas, corpus_dir):
    corpus = Corpus.open(corpus_dir)
    obs = corpus.obs()
    assert obs.groupby("donor", observed=True)["split"].nunique().max() == 1
    assert set(obs["split"]) == set(SPLITS)
    train = atlas[corpus.obs("train").index]
    for code, study in enumerate(corpus.sources):
        expected = np.asarray(train[train.obs["study"] == study].X.sum(axis=0)).ravel()
        position = corpus.panel.index_of(atlas.var_names)
        np.testing.assert_array_equal(corpus.gene_counts[code, position], expected)


def test_each_shard_opens_in_anndata(corpus_dir):
    corpus = Corpus.open(corpus_dir)
    for split in SPLITS:
        adata = ad.read_zarr(corpus_dir / split / "shard-00000.zarr")
        pd.testing.assert_frame_equal(adata.obs, corpus.obs(split), check_categorical=False)
        assert adata.var_names.tolist() == corpus.panel.ids.tolist()


def test_same_seed_same_bytes(atlas_file, corpus_dir, tmp_path):
    Corpus.build(atlas_file, tmp_path / "again", **OPTIONS)
    assert_same_files(corpus_dir, tmp_path / "again")
    other = Corpus.build(atlas_file, tmp_path / "other", **OPTIONS, seed=1)
    assert other.obs("train").index.tolist() != Corpus.open(corpus_dir).obs("train").index.tolist()


def test_cells_are_shuffled(atlas, corpus_dir):
    position = pd.Series(np.arange(atlas.n_obs), index=atlas.obs_names)
    order = position[Corpus.open(corpus_dir).obs("train").index].to_numpy()
    assert abs(np.corrcoef(order, np.arange(order.size))[0, 1]) < 0.15


def test_several_files_with_different_genes_and_columns(atlas, tmp_path):
    a, b = atlas[:300, :250].copy(), atlas[300:, 50:].copy()
    a.obs_names = b.obs_names = [f"cell{i}" for i in range(300)]
    del b.obs["cell_type"]
    a.write_h5ad(tmp_path / "a.h5ad")
    b.write_h5ad(tmp_path / "b.h5ad")
    files = [tmp_path / "a.h5ad", tmp_path / "b.h5ad"]
    corpus = Corpus.build(files, tmp_path / "c", genes="union", obs=["cell_type"])
    counts, obs = table_of(corpus)
    assert corpus.sources == ["a", "b"]
    assert obs.index.is_unique
    assert obs.loc[obs["source"] == "b", "cell_type"].isna().all()
    assert not obs.loc[obs["source"] == "a", "cell_type"].isna().any()
    for code, (name, adata) in enumerate((("a", a), ("b", b))):
        assert corpus.panel.ids[corpus.measured[code]].tolist() == sorted(adata.var_names)
        mine = counts.loc[[f"{name}:{cell}" for cell in adata.obs_names], list(adata.var_names)]
        np.testing.assert_array_equal(mine.to_numpy(), adata.X.toarray())
    narrow = Corpus.build(files, tmp_path / "i", genes="intersection")
    assert (len(narrow.panel), narrow.measured.all()) == (200, True)
    assert len(Corpus.build(files, tmp_path / "h", genes="hvg:100").panel) == 100


def test_files_of_the_same_name_get_names_of_their_own(atlas, tmp_path):
    for folder, rows in (("x", slice(0, 300)), ("y", slice(300, 600))):
        (tmp_path / folder).mkdir()
        atlas[rows].copy().write_h5ad(tmp_path / folder / "m.h5ad")
    files = [tmp_path / "x/m.h5ad", tmp_path / "y/m.h5ad"]
    assert Corpus.build(files, tmp_path / "c", genes="union").sources == ["x/m", "y/m"]
    with pytest.raises(SettingsError, match="given 2 times"):
        Corpus.build([*files, tmp_path / "x/../x/m.h5ad"], tmp_path / "d")


def test_one_study_in_two_files(atlas, tmp_path):
    """One source when both files measured the same genes, else two."""
    alike, other = atlas[300:].copy(), atlas[300:, 20:].copy()
    atlas[:300].copy().write_h5ad(tmp_path / "a.h5ad")
    alike.write_h5ad(tmp_path / "b.h5ad")
    other.write_h5ad(tmp_path / "c.h5ad")
    studies = sorted(atlas.obs["study"].unique())
    same = Corpus.build([tmp_path / "a.h5ad", tmp_path / "b.h5ad"], tmp_path / "1", **OPTIONS)
    assert sorted(same.sources) == studies
    apart = Corpus.build([tmp_path / "a.h5ad", tmp_path / "c.h5ad"], tmp_path / "2", **OPTIONS)
    shared = set(atlas[:300].obs["study"]) & set(other.obs["study"])
    assert shared
    assert {f"{s} ({f})" for s in shared for f in "ac"} <= set(apart.sources)


def test_measured_table(atlas, tmp_path, caplog):
    studies = sorted(atlas.obs["study"].unique())
    table = pd.DataFrame(True, index=atlas.var_names, columns=studies)
    table.iloc[:30, 0] = False
    adata = atlas.copy()
    adata.uns["measured"] = table
    with caplog.at_level(logging.WARNING, logger="scssl"):
        corpus = Corpus.from_anndata(adata, **OPTIONS, measured="uns:measured")
    position = corpus.panel.index_of(atlas.var_names)
    np.testing.assert_array_equal(corpus.measured[:, position], table[corpus.sources].to_numpy().T)
    counts, obs = table_of(corpus)
    hidden = counts.loc[(obs["source"] == studies[0]).to_numpy(), list(atlas.var_names[:30])]
    assert not hidden.to_numpy().any()
    np.testing.assert_array_equal(counts.sum(axis=1), obs["n_counts"])
    assert "of the counts dropped" in caplog.text
    tally = next(s for s in corpus.report["sources"] if s["name"] == studies[0])
    mine = atlas[atlas.obs["study"] == studies[0]]
    assert tally["counts_not_measured"] == mine.X[:, :30].sum()
    assert tally["n_counts"] == mine.X[:, 30:].sum()


def test_where_unlabelled_and_empty_cells(atlas):
    adata = atlas.copy()
    adata.obs["cell_type"] = adata.obs["cell_type"].astype(str)
    adata.obs.iloc[:50, adata.obs.columns.get_loc("cell_type")] = "unknown"
    X = adata.X.tolil()
    X[100:105] = 0
    adata.X = X.tocsr()
    study = str(adata.obs["study"].iloc[0])
    corpus = Corpus.from_anndata(adata, **OPTIONS, where=f"study != {study!r}", unlabelled=["unknown"])
    kept = adata.obs["study"] != study
    empty = kept & (adata.X.sum(axis=1).A1 == 0)
    obs = corpus.obs()
    assert sorted(obs.index) == sorted(adata.obs_names[kept & ~empty])
    assert study not in corpus.sources
    assert "unknown" not in corpus.categories["cell_type"]
    assert obs["cell_type"].isna().sum() == (kept & ~empty & (adata.obs["cell_type"] == "unknown")).sum()
    assert sum(s["n_empty"] for s in corpus.report["sources"]) == empty.sum()


def test_split_by_cell_and_missing_donors(atlas):
    corpus = Corpus.from_anndata(atlas, **OPTIONS, split_by="cell", val=0.2, test=0.3)
    shares = corpus.obs()["split"].value_counts(normalize=True)
    assert shares["val"] == pytest.approx(0.2, abs=0.06)
    assert shares["test"] == pytest.approx(0.3, abs=0.06)
    assert list(corpus.categories) == ["cell_type"]

    adata = atlas.copy()
    adata.obs["donor"] = adata.obs["donor"].astype(object)
    adata.obs.loc[adata.obs["donor"].isin(adata.obs["donor"].unique()[:2]), "donor"] = None
    corpus = Corpus.from_anndata(adata, **OPTIONS)
    obs = corpus.obs()
    missing = obs[obs["donor"].isna()]
    assert len(missing) > 0
    assert missing.groupby("source", observed=True)["split"].nunique().max() == 1


def test_repeated_cell_names_are_numbered(atlas):
    adata = atlas[:200].copy()
    adata.obs_names = ["x"] * 100 + [f"y{i}" for i in range(99)] + ["x-1"]
    obs = Corpus.from_anndata(adata, **OPTIONS).obs()
    assert obs.index.is_unique
    assert {"x", "x-1", "x-99", "y98"} <= set(obs.index)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"obs": ["tissue"]}, DataError, r"no column 'tissue'.*batch, cell_type, condition"),
        ({"source": "lab"}, DataError, "no column 'lab' for --source"),
        ({"split_by": "patient"}, SettingsError, "'patient' to split by.*--split-by cell"),
        ({"where": "study == 'none'"}, DataError, "no cell meets"),
        ({"where": "tissue == 'x'"}, DataError, "no column 'tissue' for --where"),
        ({"measured": "measured"}, SettingsError, "did you mean 'uns:measured'"),
        ({"measured": "uns:nothing"}, DataError, "nothing"),
        ({"val": 1.5}, SettingsError, "val=1.5"),
        ({"seed": -1}, SettingsError, "seed is -1"),
        ({"val": 0.6, "test": 0.5}, SettingsError, "leave no cells"),
        ({"obs": ["n_counts"]}, SettingsError, "'n_counts' cannot be kept"),
        ({"genes": "hvg:many"}, SettingsError, "hvg:2000"),
        ({"genes": "martian"}, SettingsError, "martian"),
        ({"layer": "raw"}, DataError, "raw"),
    ],
)
def test_mistakes_leave_nothing(atlas_file, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        Corpus.build(atlas_file, tmp_path / "c", **{**OPTIONS, **options})
    assert list(tmp_path.iterdir()) == []


def test_log_values_are_refused_at_once(atlas, tmp_path):
    adata = atlas.copy()
    adata.X = np.log1p(adata.X.astype(np.float32) * 1.7)
    adata.write_h5ad(tmp_path / "log.h5ad")
    with pytest.raises(DataError, match=r"log\.h5ad"):
        Corpus.build(tmp_path / "log.h5ad", tmp_path / "c", **OPTIONS)
    assert not (tmp_path / "c").exists()


def test_existing_output(atlas_file, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("mine")
    for name, message in (("file", "a file of this name"), ("folder", "not a corpus")):
        with pytest.raises(SettingsError, match=message):
            Corpus.build(atlas_file, tmp_path / name, **OPTIONS, overwrite=True)
    assert (tmp_path / "folder" / "thesis.txt").read_text() == "mine"
    first = Corpus.build(atlas_file, tmp_path / "c", **OPTIONS)
    with pytest.raises(SettingsError, match="--overwrite"):
        Corpus.build(atlas_file, tmp_path / "c", **OPTIONS)
    second = Corpus.build(atlas_file, tmp_path / "c", **OPTIONS, seed=5, overwrite=True)
    assert second.settings["seed"] == 5 != first.settings["seed"]
    with pytest.raises(DataError, match="no cell"):
        Corpus.build(atlas_file, tmp_path / "c", **OPTIONS, where="study == 'x'", overwrite=True)
    assert Corpus.open(tmp_path / "c").settings["seed"] == 5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c", "file", "folder"]


def test_output_by_another_way(atlas_file, tmp_path):
    """Links and ".." are followed first, so that what is replaced is replaced there, in one step."""
    Corpus.build(atlas_file, tmp_path / "c", **OPTIONS)
    Corpus.build(atlas_file, tmp_path / "c" / ".." / "c", **OPTIONS, seed=5, overwrite=True)
    (tmp_path / "link").symlink_to(tmp_path / "c")
    assert Corpus.open(tmp_path / "link").settings["seed"] == 5
    Corpus.build(atlas_file, tmp_path / "link", **OPTIONS, seed=6, overwrite=True)
    assert Corpus.open(tmp_path / "c").settings["seed"] == 6
    assert (tmp_path / "link").is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c", "link"]


def test_disk_too_small(atlas_file, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(build.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(DataError, match="are free, up to"):
        Corpus.build(atlas_file, tmp_path / "c", **OPTIONS)
    assert list(tmp_path.iterdir()) == []


def test_disk_full_in_the_middle(atlas_file, corpus_dir, tmp_path, monkeypatch, caplog):
    """Nothing is at OUT, and what was read is kept for the same command given again."""

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device", str(tmp_path / "c"))

    with monkeypatch.context() as patch:
        patch.setattr(passes, "write_shard", full)
        with pytest.raises(OSError, match="No space left"):
            Corpus.build(atlas_file, tmp_path / "c", **OPTIONS)
    assert "run the same command again to go on" in caplog.text
    assert [p.name for p in tmp_path.iterdir()] == [".c.building"]
    monkeypatch.setattr(passes, "read_piece", None)
    Corpus.build(atlas_file, tmp_path / "c", **OPTIONS)
    assert_same_files(corpus_dir, tmp_path / "c")
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_what_a_killed_build_left_is_removed(atlas_file, tmp_path, caplog):
    stale = tmp_path / ".c.building"
    (stale / "corpus" / "train").mkdir(parents=True)
    (stale / "owner").write_text(f"{socket.gethostname()} 999999999")
    with caplog.at_level(logging.INFO, logger="scssl"):
        Corpus.build(atlas_file, tmp_path / "c", **OPTIONS)
    assert "removing what another build that was interrupted left behind" in caplog.text
    assert not stale.exists()


def test_two_builds_of_one_corpus_at_a_time(atlas_file, tmp_path):
    (tmp_path / ".c.building").mkdir()
    (tmp_path / ".c.building" / "owner").write_text(f"{socket.gethostname()} {os.getppid()}")
    with pytest.raises(SettingsError, match=f"process {os.getppid()} is building"):
        Corpus.build(atlas_file, tmp_path / "c", **OPTIONS)


def test_real_immune_cells(real_data, tmp_path):
    path = real_data / "cells" / "human_immune_corpus.h5ad"
    corpus = Corpus.build(
        path,
        tmp_path / "c",
        obs=["cell_type", "donor", "file"],
        source="file",
        measured="uns:measured",
        where='file not in ["pbmc3k_10xv1"]',
        unlabelled=["unknown", "unassigned"],
    )
    obs = corpus.obs()
    assert corpus.n_cells() == 18_005
    assert len(corpus.sources) == 15
    assert "pbmc3k_10xv1" not in set(obs["source"])
    assert obs["cell_type"].isna().sum() > 10_000
    known = obs[obs["donor"] != "unknown"]
    assert known.groupby("donor", observed=True)["split"].nunique().max() == 1
    # Nobody of the harmony file is told apart from its donors, so all of these are trained on.
    nobody = obs[(obs["donor"] == "unknown") & (obs["source"] == "kang_ifnb_harmony")]
    assert set(nobody["split"]) == {"train"}
    share = dict(zip(corpus.sources, corpus.measured_share(), strict=True))
    assert share["kang_ifnb_scgen"] < 0.5 < 0.8 < share["pbmc_8libraries_tidy"]


@pytest.mark.parametrize("kind", ["csc", "dense", "zarr", "raw", "gzip"])
def test_other_ways_to_store_the_same_cells(atlas, tmp_path, kind):
    adata, options = atlas.copy(), dict(OPTIONS)
    path = tmp_path / f"a.{'zarr' if kind == 'zarr' else 'h5ad'}"
    if kind == "csc":
        adata.X = adata.X.tocsc()
    elif kind == "dense":
        adata.X = adata.X.toarray()
    elif kind == "raw":
        adata.raw = adata.copy()
        adata.X = np.log1p(adata.X.astype(np.float32))
        options["layer"] = "raw"
    if kind == "zarr":
        adata.write_zarr(path)
    else:
        adata.write_h5ad(path, compression="gzip" if kind == "gzip" else None)
    assert_same_cells(Corpus.build(path, tmp_path / "c", **options), atlas)


@pytest.mark.parametrize("nobody", [None, "unknown", "Unassigned", "NA"])
def test_cells_without_a_donor_may_be_of_any(atlas, nobody, caplog):
    """They are not held out where the source's other cells have donors, and the build says so."""
    adata = atlas.copy()
    adata.obs["donor"] = adata.obs["donor"].astype(object)
    adata.obs.iloc[::7, adata.obs.columns.get_loc("donor")] = nobody
    for seed in range(3):
        obs = Corpus.from_anndata(adata, **OPTIONS, seed=seed).obs()
        assert set(obs.loc[adata.obs_names[::7], "split"]) == {"train"}
        assert set(obs["split"]) == {"train", "val", "test"}
    assert "they may be of any of its others" in caplog.text
