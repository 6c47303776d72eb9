"""Adding cells: the old ones stay as they are, the new ones are all there, and a mistake changes nothing."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scssl.corpus import Corpus
from scssl.corpus.build import append as module
from scssl.corpus.build import duplicates
from scssl.errors import DataError, FormatError, SettingsError

OPTIONS = {"genes": "union", "obs": ["cell_type"], "source": "study"}


@pytest.fixture
def halves(atlas, tmp_path):
    """Two files; the second has a cell type and a study of its own, and donors that the first has too."""
    first, second = atlas[:350].copy(), atlas[350:].copy()
    second.obs["cell_type"] = second.obs["cell_type"].astype(str).replace({"T cell": "A new type"})
    second.obs.iloc[:60, second.obs.columns.get_loc("cell_type")] = "another new type"
    second.obs["study"] = second.obs["study"].astype(str)
    second.obs.iloc[:100, second.obs.columns.get_loc("study")] = "a new study"
    second.obs_names = [f"second{i}" for i in range(second.n_obs)]
    for name, adata in (("first", first), ("second", second)):
        adata.write_h5ad(tmp_path / f"{name}.h5ad")
    return first, second


def dense(corpus):
    parts = []
    for shard in corpus.shards:
        adata = ad.read_zarr(corpus.path / shard.names.relative_to(corpus.path))
        parts.append(pd.DataFrame(adata.X.toarray(), index=adata.obs_names, columns=adata.var_names))
    return pd.concat(parts)


def test_cells_are_added(halves, tmp_path):
    second = halves[1]
    old = Corpus.build(tmp_path / "first.h5ad", tmp_path / "c", **OPTIONS)
    before, counts_before = old.obs(), dense(old)
    new = old.append(tmp_path / "second.h5ad")
    after, counts = new.obs(), dense(new)

    assert new.verify() == []
    assert new.n_cells() == 600
    assert new.panel.ids.tolist() == old.panel.ids.tolist()
    pd.testing.assert_frame_equal(after.loc[before.index], before, check_categorical=False)
    pd.testing.assert_frame_equal(counts.loc[before.index], counts_before)
    names = [f"second:{name}" for name in second.obs_names]
    np.testing.assert_array_equal(counts.loc[names, list(second.var_names)], second.X.toarray())
    assert after.loc[names, "cell_type"].astype(str).tolist() == second.obs["cell_type"].tolist()
    assert after.loc[names, "source"].astype(str).tolist() == second.obs["study"].tolist()

    # Codes keep their meaning, donors their split, and numbers of cells are never used twice.
    assert new.sources[: len(old.sources)] == old.sources
    assert new.categories["cell_type"][: len(old.categories["cell_type"])] == old.categories["cell_type"]
    assert "a new study" in new.sources
    assert after.groupby("donor", observed=True)["split"].nunique().max() == 1
    numbers = np.concatenate([np.arange(s.first_cell, s.first_cell + s.n_cells) for s in new.shards])
    assert sorted(numbers) == list(range(600))

    # Totals are as if all had been built at once from these cells.
    train = after["split"] == "train"
    for code, source in enumerate(new.sources):
        mine = counts[(train & (after["source"] == source)).to_numpy()]
        np.testing.assert_array_equal(new.gene_counts[code], mine.sum().to_numpy())
        entry = new.report["sources"][code]
        assert (entry["name"], sum(entry["n_cells"].values())) == (source, (after["source"] == source).sum())
    assert sorted(batch.n_cells for batch in new.loader(batch_size=10_000)) == [train.sum()]


def test_new_donors_are_shared_out(atlas, tmp_path):
    adata = atlas.copy()
    adata.obs["donor"] = [f"d{i % 40}" for i in range(adata.n_obs)]
    old_donors = [f"d{i}" for i in range(10)]
    inside = adata.obs["donor"].isin(old_donors)
    adata[inside].copy().write_h5ad(tmp_path / "a.h5ad")
    adata[~inside].copy().write_h5ad(tmp_path / "b.h5ad")
    corpus = Corpus.build(tmp_path / "a.h5ad", tmp_path / "c", genes="union", val=0.1, test=0.2)
    share = corpus.append(tmp_path / "b.h5ad").obs()["split"].value_counts(normalize=True)
    assert share["val"] == pytest.approx(0.1, abs=0.03)
    assert share["test"] == pytest.approx(0.2, abs=0.03)


def test_one_new_donor_is_trained_on(atlas, tmp_path):
    adata = atlas[:50].copy()
    adata.obs["donor"] = "someone new"
    adata.write_h5ad(tmp_path / "b.h5ad")
    atlas.copy().write_h5ad(tmp_path / "a.h5ad")
    corpus = Corpus.build(tmp_path / "a.h5ad", tmp_path / "c", genes="union").append(
        tmp_path / "b.h5ad", duplicates="keep"
    )
    obs = corpus.obs()
    assert obs.loc[obs["donor"] == "someone new", "split"].unique().tolist() == ["train"]


@pytest.mark.parametrize("at_once", [250_000, 30])
def test_cells_that_are_there_are_not_added(atlas, tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(duplicates, "CELLS_AT_ONCE", at_once)
    atlas[:400].copy().write_h5ad(tmp_path / "a.h5ad")
    atlas[300:].copy().write_h5ad(tmp_path / "b.h5ad")
    corpus = Corpus.build(tmp_path / "a.h5ad", tmp_path / "c", **OPTIONS).append(tmp_path / "b.h5ad")
    assert corpus.n_cells() == 600
    assert sum(source["n_copies"] for source in corpus.report["sources"]) == 100
    assert sum(name.startswith("b:") for name in corpus.obs().index) == 200


def test_added_twice(halves, tmp_path):
    corpus = Corpus.build(tmp_path / "first.h5ad", tmp_path / "c", **OPTIONS)
    for name in ("x", "y"):
        halves[1][:, :250].copy().write_h5ad(tmp_path / f"{name}.h5ad")
        corpus = corpus.append(tmp_path / f"{name}.h5ad", duplicates="keep")
    assert (corpus.generation, corpus.n_cells(), corpus.verify()) == (2, 850, [])
    assert Corpus.open(tmp_path / "c").obs().index.is_unique
    # The second file's studies have fewer genes: they are sources of their own.
    assert len(corpus.sources) == len(corpus.measured) > len(halves[0].obs["study"].unique())
    assert not corpus.measured.all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"genes": "mouse"}, SettingsError, "genes cannot be changed"),
        ({"split_by": "cell", "seed": 3}, SettingsError, "split_by, seed cannot be changed"),
        ({"obs": ["batch"]}, SettingsError, "does not fit this corpus, which keeps cell_type, donor"),
        ({"where": "study == 'x'"}, DataError, "no cell meets"),
        ({"source": "lab"}, DataError, "no column 'lab'"),
    ],
)
def test_mistakes_change_nothing(halves, tmp_path, options, error, message):
    corpus = Corpus.build(tmp_path / "first.h5ad", tmp_path / "c", **OPTIONS)
    with pytest.raises(error, match=message):
        corpus.append(tmp_path / "second.h5ad", **options)
    again = Corpus.open(tmp_path / "c")
    assert (again.generation, again.n_cells(), again.verify()) == (0, 350, [])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c", "first.h5ad", "second.h5ad"]


def test_what_cannot_be_added(halves, tmp_path):
    corpus = Corpus.build(tmp_path / "first.h5ad", tmp_path / "c", **OPTIONS)
    with pytest.raises(SettingsError, match="in the corpus already"):
        corpus.append(tmp_path / "first.h5ad")
    with pytest.raises(SettingsError, match="in memory"):
        Corpus.from_anndata(halves[0], **OPTIONS).append(tmp_path / "second.h5ad")
    with pytest.raises(SettingsError, match="lies there"):
        corpus.append(tmp_path / "c" / "train" / "shard-00000.zarr")


def test_columns_under_other_names(halves, tmp_path):
    corpus = Corpus.build(tmp_path / "first.h5ad", tmp_path / "c", **OPTIONS)
    second = halves[1].copy()
    second.obs = second.obs.rename(columns={"cell_type": "annotation", "donor": "patient"})
    second.write_h5ad(tmp_path / "other.h5ad")
    obs = corpus.append(tmp_path / "other.h5ad", obs="cell_type=annotation,donor=patient").obs()
    names = [f"other:{name}" for name in second.obs_names]
    assert obs.loc[names, "cell_type"].astype(str).tolist() == second.obs["annotation"].astype(str).tolist()
    assert obs.loc[names, "donor"].astype(str).tolist() == second.obs["patient"].astype(str).tolist()


def test_an_object_from_before_another_addition(halves, tmp_path):
    """The corpus as it is now counts, not as it was when it was opened: else sources would be mixed up."""
    for name, rows in (("x", slice(0, 120)), ("y", slice(120, 250))):
        halves[1][rows].copy().write_h5ad(tmp_path / f"{name}.h5ad")
    stale = Corpus.build(tmp_path / "first.h5ad", tmp_path / "c", genes="union", obs=["cell_type"])
    stale.append(tmp_path / "x.h5ad")
    new = stale.append(tmp_path / "y.h5ad")
    assert (new.sources, new.generation, new.verify()) == (["first", "x", "y"], 2, [])
    assert new.obs()["source"].value_counts().to_dict() == {"first": 350, "x": 120, "y": 130}
    with pytest.raises(FormatError, match="open it again"):
        stale.groups()


def test_another_process_is_faster(halves, tmp_path, monkeypatch):
    """An addition that was planned before another one was finished is refused, and changes nothing."""
    for name, rows in (("x", slice(0, 120)), ("y", slice(120, 250))):
        halves[1][rows].copy().write_h5ad(tmp_path / f"{name}.h5ad")
    corpus = Corpus.build(tmp_path / "first.h5ad", tmp_path / "c", **OPTIONS)
    original = module.make_plan

    def slow(*args, **kwargs):
        plan = original(*args, **kwargs)
        monkeypatch.setattr(module, "make_plan", original)
        Corpus.open(tmp_path / "c").append(tmp_path / "x.h5ad")
        return plan

    monkeypatch.setattr(module, "make_plan", slow)
    with pytest.raises(SettingsError, match="another process added cells"):
        corpus.append(tmp_path / "y.h5ad")
    again = Corpus.open(tmp_path / "c")
    assert (again.n_cells(), again.generation, again.verify()) == (470, 1, [])


def test_nothing_new(atlas, tmp_path):
    for name in ("a", "b"):
        atlas[:100].copy().write_h5ad(tmp_path / f"{name}.h5ad")
    corpus = Corpus.build(tmp_path / "a.h5ad", tmp_path / "c", **OPTIONS)
    with pytest.raises(DataError, match="all 100 cells are copies"):
        corpus.append(tmp_path / "b.h5ad")
    assert Corpus.open(tmp_path / "c").generation == 0


def test_unlabelled_cells_may_be_added(halves, tmp_path):
    corpus = Corpus.build(tmp_path / "first.h5ad", tmp_path / "c", genes="union", obs=["cell_type"])
    second = halves[1].copy()
    del second.obs["cell_type"]
    second.write_h5ad(tmp_path / "plain.h5ad")
    obs = corpus.append(tmp_path / "plain.h5ad").obs()
    assert obs.loc[obs["source"] == "plain", "cell_type"].isna().all()
    assert not obs.loc[obs["source"] == "first", "cell_type"].isna().any()
