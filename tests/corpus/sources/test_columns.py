"""Columns of obs: only those asked for are read, and they come as plain strings."""

from __future__ import annotations

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

from scssl.corpus.sources.source import open_source, plain_strings
from scssl.errors import FormatError

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::anndata.OldFormatWarning"),
]


def read(source):
    return np.concatenate([X.toarray() for _, X in source.chunks(7)])


def write_legacy(adata, path):
    """As anndata 0.6 wrote: tables as arrays of records."""
    with h5py.File(path, "w") as file:
        file["X"] = adata.X.toarray().astype(np.float32)
        for key, table in (("obs", adata.obs[["n"]]), ("var", adata.var[[]])):
            records = table.rename_axis("index").to_records(column_dtypes={"n": np.int64}, index_dtypes="S10")
            file[key] = records


def write_dataframe_0_1(adata, path):
    """As anndata 0.7 wrote: the categories of all columns in one place."""
    adata.write_h5ad(path)
    with h5py.File(path, "a") as file:
        obs = file["obs"]
        codes, categories = obs["cell_type/codes"][:], obs["cell_type/categories"][:]
        del obs["cell_type"]
        obs.attrs["encoding-version"] = "0.1.0"
        obs["__categories/cell_type"] = categories
        obs["cell_type"] = codes
        obs["cell_type"].attrs["categories"] = obs["__categories/cell_type"].ref
        del obs["note"]
        obs["note"] = ["x"] * 50


def write_h5mu(adata, path):
    mudata = pytest.importorskip("mudata")
    del adata.raw
    with mudata.set_options(pull_on_update=False):
        made = mudata.MuData({"rna": adata, "prot": ad.AnnData(np.ones((50, 3)), obs=adata.obs[[]])})
        made.obs["donor"] = pd.Categorical(["d1"] * 50)
        made.obs["batch"] = "b"
        made.write(path)


ALL = ["cell_type", "n", "note"]


@pytest.mark.parametrize(
    ("write", "columns"),
    [
        (lambda adata, path: adata.write_h5ad(path), ALL),
        (lambda adata, path: adata.write_zarr(path), ALL),
        (write_dataframe_0_1, ALL),
        (write_h5mu, [*ALL, "donor", "batch"]),
        (write_legacy, ["n"]),
        (None, ALL),
    ],
)
def test_obs_columns(adata, tmp_path, write, columns):
    """Whatever is asked for, the index and the list of columns are whole, and the columns are those of a full read."""
    opened = adata if write is None else tmp_path / "cells"
    if write:
        write(adata, opened)
    with open_source(opened) as source:
        whole = source.obs
        assert source.columns == columns == whole.columns.tolist()
    for wanted in ([], ["n"], ["donor", "n", "none"], ["batch", "cell_type"], columns):
        with open_source(opened, obs_columns=wanted) as source:
            pd.testing.assert_frame_equal(source.obs, whole[[c for c in columns if c in wanted]])
            assert source.columns == columns
            assert np.array_equal(read(source), adata.X.toarray())


def test_columns_that_are_not_asked_for_are_not_read(adata, tmp_path):
    path = tmp_path / "cells.h5ad"
    adata.write_h5ad(path)
    with h5py.File(path, "a") as file:
        del file["obs/note"]
    with pytest.raises(FormatError, match="obs cannot be read"):
        open_source(path)
    with open_source(path, obs_columns=["n"]) as source:
        assert (source.obs.columns.tolist(), source.columns) == (["n"], ALL)


def test_obs_of_a_source_is_not_the_callers(adata):
    with open_source(adata) as source:
        source.obs.loc["cell3", "n"] = -1
        source.var.loc["g3", "gene_ids"] = "other"
    assert adata.obs.loc["cell3", "n"] == 3
    assert adata.var.loc["g3", "gene_ids"] == "id3"


def test_plain_tables_are_shared_and_not_changed():
    text = pd.array(["x", None, "z"], dtype="string")
    table = pd.DataFrame({"text": text, "n": [1.5, 2.5, 3.5]}, index=pd.Index(["a", "b", "c"], dtype="string"))
    before = table.copy()
    out = plain_strings(table)
    assert np.shares_memory(out["n"].to_numpy(), table["n"].to_numpy())
    pd.testing.assert_frame_equal(table, before)
    assert out.index.tolist() == ["a", "b", "c"]


def test_nullable_strings_become_plain(tmp_path):
    index = pd.Index(["a", "b", "c"], dtype="string")
    table = pd.DataFrame(
        {
            "text": pd.array(["x", None, "z"], dtype="string"),
            "label": pd.Categorical.from_codes([0, 1, -1], pd.Index(["u", "v"], dtype="string")),
            "whole": pd.array([1, 2, 3], dtype="Int64"),
            "gaps": pd.array([1, None, 3], dtype="Int64"),
            "flag": pd.array([True, False, True], dtype="boolean"),
            "plain": [1.5, 2.5, 3.5],
        },
        index=index,
    )
    out = plain_strings(table)
    assert out.index.dtype == object
    assert out["text"].tolist() == ["x", None, "z"]
    assert out["text"].dtype == object
    assert out["label"].cat.categories.dtype == object
    assert out["label"].tolist()[:2] == ["u", "v"]
    assert out["whole"].dtype == np.int64
    assert out["flag"].dtype == bool
    assert np.isnan(out["gaps"].iloc[1])
    assert out["plain"].tolist() == [1.5, 2.5, 3.5]
    ad.AnnData(np.ones((3, 1)), obs=out).write_h5ad(tmp_path / "out.h5ad")


def test_file_with_nullable_string_arrays_is_read_and_can_be_written(adata, tmp_path):
    """As anndata >= 0.13 with pandas 3 writes them."""
    path = tmp_path / "new.h5ad"
    adata.write_h5ad(path)
    with ad.settings.override(allow_write_nullable_strings=True), h5py.File(path, "a") as file:
        for key in ("obs", "var"):
            old = ad.io.read_elem(file[key])
            del file[key]
            old.index = pd.Index(old.index, dtype="string")
            ad.io.write_elem(file, key, old)
        assert file["obs/_index"].attrs["encoding-type"] == "nullable-string-array"
    with open_source(path) as source:
        assert source.obs.index.dtype == object
        assert source.var.index.tolist() == adata.var_names.tolist()
        ad.AnnData(source.rows(0, 50), obs=source.obs, var=source.var).write_h5ad(tmp_path / "again.h5ad")
