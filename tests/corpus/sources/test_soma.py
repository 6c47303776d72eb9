"""SOMA experiments as origins: the cells and counts of the AnnData, each once, in ranges; mistakes say what to do."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scssl.corpus import Corpus
from scssl.corpus.sources import soma, soma_experiment
from scssl.corpus.sources.soma import SomaCells, expand, is_soma
from scssl.corpus.sources.soma_experiment import OpenExperiment, forget
from scssl.corpus.sources.source import open_source
from scssl.errors import DataError, FormatError, MissingExtraError, SettingsError

tiledbsoma = pytest.importorskip("tiledbsoma", reason="tiledbsoma is not installed: pip install 'scssl[census]'")

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
N = 200


@pytest.fixture(scope="module")
def adata():
    rng = np.random.default_rng(0)
    X = sp.csr_matrix(rng.poisson(0.4, (N, 40)).astype(np.float32))
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(rng.choice(["a", "b", "c"], N)),
            "donor": rng.choice(["d1", "d2", None], N),
            "n": np.arange(N, dtype=np.int32),
        },
        index=[f"cell{i}" for i in range(N)],
    )
    obs.loc[obs.index[::7], "cell_type"] = np.nan
    var = pd.DataFrame({"feature_name": [f"G{i}" for i in range(40)]}, index=[f"ENSG{i:011}" for i in range(40)])
    made = ad.AnnData(X, obs=obs, var=var, layers={"doubled": X * 2})
    made.raw = ad.AnnData(X * 3, obs=obs, var=var)
    return made


def write(folder, adata, **options):
    import tiledbsoma.io

    tiledbsoma.io.from_anndata(str(folder), adata, measurement_name="RNA", **options)
    return folder


@pytest.fixture(scope="module")
def experiment(adata, tmp_path_factory):
    return write(tmp_path_factory.mktemp("soma") / "cells", adata, X_layer_name="raw")


@pytest.fixture
def short_ranges(monkeypatch):
    monkeypatch.setattr(soma, "BLOCK", 16)
    monkeypatch.setattr(soma, "CELLS", 48)


def ranges(*origins, columns=("cell_type", "donor"), where=None):
    return expand(origins, columns=columns, where=where, genes="human")


def read(source, size=7):
    parts = []
    for rows, X in source.chunks(size):
        assert X.has_sorted_indices
        assert rows == slice(sum(part.shape[0] for part in parts), sum(part.shape[0] for part in parts) + X.shape[0])
        parts.append(X.toarray())
    return np.concatenate(parts)


def test_the_cells_and_counts_of_the_anndata(experiment, adata):
    (cells,) = ranges(experiment)
    with open_source(cells) as source:
        assert (source.n_cells, source.n_features, source.name, source.layer) == (N, 40, "cells", "RNA/raw")
        assert source.nnz == pytest.approx(adata.X.nnz, rel=0.1)
        assert np.array_equal(read(source), adata.X.toarray())
        assert np.array_equal(source.rows(190, 999).toarray(), adata.X[190:].toarray())
        assert source.rows(5, 5).shape == (0, 40)
        assert source.obs.index.tolist() == adata.obs_names.tolist()
        assert source.obs.columns.tolist() == ["cell_type", "donor"]
        assert source.columns == ["obs_id", "cell_type", "donor", "n"]
        for column in source.obs:
            expected = adata.obs[column].astype(object)
            assert source.obs[column].astype(object).where(expected.notna(), None).tolist() == [
                None if pd.isna(value) else value for value in expected
            ]
        assert source.var.index.tolist() == adata.var_names.tolist()
        assert source.var["feature_name"].tolist() == adata.var["feature_name"].tolist()
    with open_source(cells, obs_columns=["donor", "nothing"]) as source:
        assert source.obs.columns.tolist() == ["donor"]


def test_ranges_hold_each_cell_once_and_travel(experiment, adata, short_ranges):
    found = ranges(experiment)
    assert len(found) == 5
    assert all(cells.n_cells <= 48 for cells in found)
    names, counts = [], []
    for cells in pickle.loads(pickle.dumps(found)):
        assert isinstance(cells, SomaCells)
        with open_source(cells) as source:
            assert source.n_cells == cells.n_cells
            names += source.obs.index.tolist()
            counts.append(read(source))
    assert names == adata.obs_names.tolist()
    assert np.array_equal(np.concatenate(counts), adata.X.toarray())


@pytest.mark.parametrize(
    "where", ["n >= 60 and n < 75", "cell_type == 'a'", "n in [3, 150, 199]", "not (donor > 'd1')"]
)
def test_a_condition_leaves_out_ranges_and_cells(experiment, adata, short_ranges, where):
    from scssl.corpus.where import Condition

    expected = np.flatnonzero(Condition(where).holds(adata.obs))
    found, counts = [], []
    for cells in ranges(experiment, where=where):
        with open_source(cells) as source:
            keep = Condition(where).holds(source.obs)
            found += source.obs.index[keep].tolist()
            counts.append(read(source)[keep])
            assert keep.all() or where.startswith("not")
    assert found == adata.obs_names[expected].tolist()
    assert np.array_equal(np.concatenate(counts), adata.X[expected].toarray())


def test_cells_far_apart_are_read_one_by_one(experiment, adata):
    opened = OpenExperiment(str(experiment), name="cells", region=None)
    ids = np.array([0, 150, 199])
    matrix = soma_experiment.SomaMatrix(opened, layer="RNA/raw", joinids=ids, nnz=None)
    assert np.array_equal(matrix.rows(0, 3).toarray(), adata.X[ids].toarray())


@pytest.mark.parametrize(
    ("layer", "factor"), [(None, 1), ("raw", 1), ("doubled", 2), ("RNA/doubled", 2), ("raw/data", 3)]
)
def test_layers(experiment, adata, layer, factor):
    (cells,) = ranges(experiment)
    with open_source(cells, layer=layer) as source:
        assert np.array_equal(read(source), adata.X.toarray() * factor)


def test_a_layer_that_is_not_there_and_several_to_choose_from(experiment, adata, tmp_path):
    (cells,) = ranges(experiment)
    with pytest.raises(
        DataError, match=r"cells: has no layer 'counts'; there is: --layer RNA/doubled, --layer RNA/raw"
    ):
        open_source(cells, layer="counts")
    (cells,) = ranges(write(tmp_path / "two", adata, X_layer_name="data"))
    with pytest.raises(
        DataError, match=r"two: has no layer raw in RNA, and several others; there is: --layer RNA/data"
    ):
        open_source(cells)


def test_a_dense_matrix(adata, tmp_path, monkeypatch, short_ranges):
    dense = ad.AnnData(adata.X.toarray(), obs=adata.obs, var=adata.var)
    folder = write(tmp_path / "dense", dense, X_kind=tiledbsoma.DenseNDArray)
    monkeypatch.setattr(soma_experiment, "BLOCK_VALUES", 400)
    parts = []
    for cells in ranges(folder, where="n != 100"):
        with open_source(cells) as source:
            assert source.nnz is None
            parts.append(read(source, size=30))
    assert np.array_equal(np.concatenate(parts), np.delete(adata.X.toarray(), 100, axis=0))


def test_features_whose_joinids_have_gaps(adata, tmp_path):
    folder = write(tmp_path / "gaps", adata, X_layer_name="raw")
    with tiledbsoma.open(str(folder / "ms" / "RNA" / "var"), mode="d") as var:
        var.delete_cells((slice(5, 5),))
    (cells,) = ranges(folder)
    with open_source(cells) as source, pytest.raises(FormatError, match="features that are not in var"):
        read(source)


def test_files_are_left_alone_and_addresses_keep_their_slashes(experiment, adata, tmp_path):
    file = tmp_path / "cells.h5ad"
    given = [file, adata, str(file), tmp_path]
    assert all(a is b for a, b in zip(ranges(*given), given, strict=True))
    for address in (f"file://{experiment}", Path(f"file://{experiment}"), str(experiment), experiment):
        (cells,) = ranges(address)
        assert (cells.experiment, cells.n_cells) == ("cells", N)
    assert soma._address(str(Path("s3://bucket/a/b"))) == "s3://bucket/a/b"
    assert not is_soma("")
    with pytest.raises(SettingsError, match="cells/: given twice"):
        ranges(experiment, f"file://{experiment}/")


def test_an_experiment_that_is_none(experiment, tmp_path):
    with pytest.raises(DataError, match=r"ms is a Collection, no SOMA experiment \(in it: RNA, raw\)"):
        ranges(experiment / "ms")
    with pytest.raises(DataError, match="nothing: there is no SOMA experiment at file://"):
        ranges(f"file://{tmp_path}/nothing")


def test_an_experiment_without_obs_or_features(experiment, tmp_path):
    with tiledbsoma.Experiment.create(str(tmp_path / "empty")):
        pass
    with pytest.raises(FormatError, match=r"empty: .*empty has no obs, no ms: an experiment that was never finished"):
        ranges(tmp_path / "empty")
    shutil.copytree(experiment, tmp_path / "cells")
    with tiledbsoma.open(str(tmp_path / "cells" / "ms" / "RNA"), mode="w") as measurement:
        del measurement["var"]
    (cells,) = ranges(tmp_path / "cells")
    with pytest.raises(FormatError, match="cells: measurement RNA has no var"):
        cells.open()
    with tiledbsoma.open(str(tmp_path / "cells" / "ms"), mode="w") as measurements:
        del measurements["RNA"]
    (cells,) = ranges(tmp_path / "cells")
    with pytest.raises(DataError, match="cells: has no measurement RNA; there is: --layer raw/data"):
        cells.open()


def test_no_cell_meets_the_condition(experiment):
    with pytest.raises(DataError, match=r"no cell of .*cells meets --where 'n < 0'"):
        ranges(experiment, where="n < 0")
    assert len(ranges(experiment, "other.h5ad", where="n < 0")) == 1


def test_a_column_that_is_missing_is_left_out_of_obs(experiment):
    (cells,) = ranges(experiment, columns=["typo", "donor"], where="other == 1")
    with open_source(cells) as source:
        assert source.obs.columns.tolist() == ["donor"]


def test_an_experiment_that_is_damaged_or_changes(adata, tmp_path):
    folder = write(tmp_path / "damaged", adata, X_layer_name="raw")
    (cells,) = ranges(folder)
    for file in (folder / "ms" / "RNA" / "X" / "raw" / "__fragments").rglob("a0.tdb"):
        file.write_bytes(b"")
    with pytest.raises(FormatError, match="damaged; write, copy or download it again"), open_source(cells) as source:
        read(source)
    with tiledbsoma.open(str(folder / "obs"), mode="d") as obs:
        obs.delete_cells((slice(0, 9),))
    forget()
    with pytest.raises(DataError, match="190 cells where there were 200; start again"):
        cells.open()
    shutil.rmtree(folder)
    forget()
    with pytest.raises(DataError, match="there is no SOMA experiment"):
        cells.open()


def test_a_remote_read_is_tried_again(experiment, adata, monkeypatch, caplog):
    monkeypatch.setattr(soma_experiment, "PAUSES", (0.0, 0.0))
    opened = OpenExperiment(str(experiment), name="cells", region=None)
    opened.uri = "s3://bucket/cells"
    matrix = soma_experiment.SomaMatrix(opened, layer="RNA/raw", joinids=np.arange(N), nnz=1)
    failures = []

    def fail(ids):
        failures.append(len(ids))
        if len(failures) <= allowed:
            message = "cells: connection lost"
            raise FormatError(message)
        return type(matrix)._read_sparse(matrix, ids)

    matrix._read_sparse = fail
    allowed = 2
    with caplog.at_level("WARNING", logger="scssl"):
        assert np.array_equal(matrix.rows(0, 9).toarray(), adata.X[:9].toarray())
    assert caplog.text.count("connection lost; trying again") == 2
    allowed = 99
    with pytest.raises(FormatError, match="connection lost"):
        matrix.rows(0, 9)


def test_without_the_package(experiment, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tiledbsoma", None)
    for origin in (experiment, "s3://bucket/a", "census:stable"):
        with pytest.raises(MissingExtraError, match=r"pip install 'scssl\[census\]'"):
            ranges(origin)
    assert ranges("cells.h5ad") == ["cells.h5ad"]


@pytest.mark.parametrize("where", [None, "n_genes > 20 and cell_type != 'B cell'"])
def test_a_corpus_is_that_of_the_same_h5ad(atlas, tmp_path, where):
    """The shards differ in nothing: same genes, cells, order, splits and labels."""
    atlas = ad.AnnData(atlas.X, obs=atlas.obs, var=atlas.var)
    atlas.obs["n_genes"] = np.asarray((atlas.X > 0).sum(axis=1)).ravel().astype(np.int64)
    atlas.write_h5ad(tmp_path / "cells.h5ad")
    folder = write(tmp_path / "cells", atlas, X_layer_name="raw")
    options = {"genes": "union", "obs": ["cell_type"], "source": "study", "where": where}
    expected = Corpus.build(tmp_path / "cells.h5ad", tmp_path / "from_h5ad", **options)
    found = Corpus.build(folder, tmp_path / "from_soma", **options)
    for split in ("train", "val", "test"):
        assert found.info()["splits"][split] == expected.info()["splits"][split]
    files = sorted(p.relative_to(expected.path) for p in expected.path.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(found.path) for p in found.path.rglob("*") if p.is_file())
    if where is None:
        different = [f for f in files if (expected.path / f).read_bytes() != (found.path / f).read_bytes()]
        assert [f.name for f in different] == ["corpus.json"]


def test_a_corpus_of_many_ranges_is_one_of_one_experiment(atlas, tmp_path, short_ranges, caplog):
    """Ranges are not sources, and leave no trace in the names of cells but the experiment's name."""
    atlas = ad.AnnData(atlas.X, obs=atlas.obs, var=atlas.var)
    folder = write(tmp_path / "cells", atlas, X_layer_name="raw")
    corpus = Corpus.build(folder, tmp_path / "corpus", genes="union", obs=["cell_type"])
    info = corpus.info()
    assert [source["name"] for source in info["sources"]] == ["cells"]
    assert info["cells"] == atlas.n_obs
    named = pd.concat([corpus.obs(split) for split in ("train", "val", "test")])
    assert sorted(named.index) == sorted(f"cells:{name}" for name in atlas.obs_names)
    labels = named["cell_type"].astype(str).rename(lambda name: name.removeprefix("cells:"))
    assert labels.loc[atlas.obs_names].tolist() == atlas.obs["cell_type"].astype(str).tolist()
    totals = named["n_counts"].rename(lambda name: name.removeprefix("cells:")).loc[atlas.obs_names]
    assert totals.tolist() == np.asarray(atlas.X.sum(axis=1)).ravel().astype(int).tolist()
