import shutil

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scssl.errors import DataError, SettingsError
from scssl.tasks.output import Results, prepare_output, write_results


@pytest.fixture
def adata():
    rng = np.random.default_rng(0)
    X = sp.csr_matrix(rng.poisson(1, (6, 4)).astype(np.float32))
    obs = pd.DataFrame({"old": pd.Categorical(list("abcabc"))}, index=[f"c{i}" for i in range(6)])
    adata = ad.AnnData(X, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(4)]))
    adata.raw = adata.copy()
    adata.uns["kept"] = {"a": 1}
    adata.obsm["X_pca"] = rng.random((6, 2))
    return adata


RESULTS = Results(
    task="embed",
    settings={"model": "m", "k": 5},
    obs={"scssl_label": pd.Categorical(list("xyxyxy")), "scssl_confidence": np.arange(6, dtype=np.float32)},
    obsm={"X_scssl": np.ones((6, 3), dtype=np.float32)},
)


def _check(out, adata):
    assert list(out.obs_names) == list(adata.obs_names)
    assert (out.X != adata.X).nnz == 0
    assert list(out.obs["scssl_label"]) == list("xyxyxy")
    assert out.obs["scssl_label"].dtype == "category"
    np.testing.assert_array_equal(out.obs["scssl_confidence"], np.arange(6, dtype=np.float32))
    assert out.obsm["X_scssl"].shape == (6, 3)
    assert out.uns["scssl"]["embed"]["k"] == 5


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_the_output_is_the_input_plus_the_results(adata, tmp_path, suffix):
    file, out = tmp_path / f"in{suffix}", tmp_path / "new folder" / "out.h5ad"
    (adata.write_h5ad if suffix == ".h5ad" else adata.write_zarr)(file)
    before = file.read_bytes() if file.is_file() else None
    write_results(file, out, RESULTS)
    found = ad.read_h5ad(out)
    _check(found, adata)
    assert list(found.obs["old"]) == list("abcabc")
    assert found.uns["kept"]["a"] == 1
    assert "X_pca" in found.obsm
    assert found.raw is not None
    assert before is None or file.read_bytes() == before
    assert [p.name for p in out.parent.iterdir()] == ["out.h5ad"]
    (tmp_path / "plain").touch()
    assert out.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_results_of_two_tasks_live_side_by_side_and_again_replaces(adata, tmp_path):
    adata.write_h5ad(tmp_path / "a.h5ad")
    write_results(tmp_path / "a.h5ad", tmp_path / "b.h5ad", RESULTS)
    other = Results(task="annotate", settings={"k": 7}, obs={"scssl_confidence": np.zeros(6, dtype=np.float32)})
    write_results(tmp_path / "b.h5ad", tmp_path / "c.h5ad", other)
    found = ad.read_h5ad(tmp_path / "c.h5ad")
    assert set(found.uns["scssl"]) == {"embed", "annotate"}
    assert (found.obs["scssl_confidence"] == 0).all()
    assert list(found.obs.columns).count("scssl_confidence") == 1


def test_an_output_in_memory_has_the_same_names(adata):
    RESULTS.into(adata)
    _check(adata, adata)


def test_a_file_without_obsm_and_uns_gets_them(adata, tmp_path):
    adata.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "r+") as store:
        del store["obsm"], store["uns"]
    write_results(tmp_path / "a.h5ad", tmp_path / "b.h5ad", RESULTS)
    _check(ad.read_h5ad(tmp_path / "b.h5ad"), adata)


def test_nullable_strings_of_newer_anndata_are_kept(adata, tmp_path):
    # anndata 0.13 with pandas 3 writes string indices so; 0.12 reads them but cannot write them.
    adata.write_h5ad(tmp_path / "a.h5ad")
    names = pd.array(list(adata.obs_names), dtype="string")
    with h5py.File(tmp_path / "a.h5ad", "r+") as store, ad.settings.override(allow_write_nullable_strings=True):
        del store["obs/_index"]
        ad.io.write_elem(store, "obs/_index", names)
        assert store["obs/_index"].attrs["encoding-type"] == "nullable-string-array"
    write_results(tmp_path / "a.h5ad", tmp_path / "b.h5ad", RESULTS)
    found = ad.read_h5ad(tmp_path / "b.h5ad")
    assert list(found.obs_names) == list(adata.obs_names)
    assert list(found.obs["scssl_label"]) == list("xyxyxy")


def test_failing_leaves_nothing_behind(adata, tmp_path):
    adata.write_h5ad(tmp_path / "a.h5ad")
    bad = Results(task="embed", settings={"x": object()})
    with pytest.raises(Exception, match="object"):
        write_results(tmp_path / "a.h5ad", tmp_path / "b.h5ad", bad)
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5ad"]


def test_formats_are_told_by_their_content(adata, tmp_path):
    """A name says nothing: the AnnData comes out whole, and a 10x folder called .h5ad is read as what it is."""
    adata.uns["mine"] = 1
    adata.write_h5ad(tmp_path / "UPPER.H5AD")
    adata.write_h5ad(tmp_path / "no_ending")
    with ad.settings.override(zarr_write_format=3):
        adata.write_zarr(tmp_path / "zarr.h5ad")
    results = Results(task="embed", settings={}, obsm={"X_scssl": np.zeros((adata.n_obs, 2), dtype=np.float32)})
    for name in ("UPPER.H5AD", "no_ending", "zarr.h5ad"):
        write_results(tmp_path / name, tmp_path / "out.h5ad", results)
        out = ad.read_h5ad(tmp_path / "out.h5ad")
        assert out.uns["mine"] == 1
        assert out.obsm["X_scssl"].shape == (adata.n_obs, 2)


def test_mudata_becomes_the_anndata_of_its_rna(adata, tmp_path):
    mudata = pytest.importorskip("mudata")
    protein = ad.AnnData(np.ones((adata.n_obs, 2)), obs=adata.obs[[]], var=pd.DataFrame(index=["p1", "p2"]))
    with mudata.set_options(pull_on_update=False):
        mudata.MuData({"rna": adata, "protein": protein}).write(tmp_path / "a.h5ad")
    results = Results(task="embed", settings={}, obsm={"X_scssl": np.zeros((adata.n_obs, 2), dtype=np.float32)})
    write_results(tmp_path / "a.h5ad", tmp_path / "out.h5ad", results)
    assert ad.read_h5ad(tmp_path / "out.h5ad").shape == adata.shape


def test_settings_replace_something_else_of_their_name(adata, tmp_path):
    adata.uns["scssl"] = "mine"
    adata.write_h5ad(tmp_path / "a.h5ad")
    results = Results(task="embed", settings={"k": 1})
    write_results(tmp_path / "a.h5ad", tmp_path / "out.h5ad", results)
    assert ad.read_h5ad(tmp_path / "out.h5ad").uns["scssl"]["embed"]["k"] == 1
    results.into(adata)
    assert adata.uns["scssl"] == {"embed": {"k": 1}}


@pytest.mark.parametrize("direct", [True, False])
def test_a_slash_in_a_name_divides_nothing(adata, tmp_path, direct):
    """Types are called "T/NK" beside "T": in HDF5 the one would lie within the other."""
    results = Results(task="embed", settings={"by_type": {"T": 0.1, "T/NK": 0.2, "T|NK": 0.3, "a": {"b/c": [4]}}})
    adata.write_h5ad(tmp_path / "a.h5ad")
    if direct:
        write_results(tmp_path / "a.h5ad", tmp_path / "b.h5ad", results)
    else:
        results.into(adata)
        adata.write_h5ad(tmp_path / "b.h5ad")
    found = ad.read_h5ad(tmp_path / "b.h5ad").uns["scssl"]["embed"]["by_type"]
    assert found.pop("a")["b|c"].tolist() == [4]
    assert found == {"T": 0.1, "T|NK": 0.2, "T|NK|": 0.3}


def test_a_disk_that_is_too_full_is_found_before_writing(adata, tmp_path, monkeypatch):
    """HDF5 would bring the process down."""
    adata.write_h5ad(tmp_path / "a.h5ad")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100_000))
    with pytest.raises(DataError, match=r"b\.h5ad: .* MB are needed, 0\.1 MB are free"):
        write_results(tmp_path / "a.h5ad", tmp_path / "b.h5ad", Results(task="embed", settings={}))
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5ad"]


def test_unusable_outputs_are_refused_before_work(adata, tmp_path):
    file = tmp_path / "a.h5ad"
    adata.write_h5ad(file)
    existing = tmp_path / "there.h5ad"
    existing.touch()
    (tmp_path / "folder.h5ad").mkdir()
    for out, message in [
        (tmp_path / "out.csv", r"\.h5ad"),
        (file, "this is the input"),
        (existing, "--overwrite"),
        (tmp_path / "folder.h5ad", "this is a folder"),
        (file / "x.h5ad", "not a folder"),
    ]:
        with pytest.raises(SettingsError, match=message):
            prepare_output(out, file=file, overwrite=False)
    assert prepare_output(existing, file=file, overwrite=True) == existing
    with pytest.raises(SettingsError, match="this is the input"):
        prepare_output(file, file=file, overwrite=True)


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_layers_and_columns_of_genes_are_added_also_from_memory_maps(adata, tmp_path, suffix):
    file, out = tmp_path / f"in{suffix}", tmp_path / "out.h5ad"
    (adata.write_h5ad if suffix == ".h5ad" else adata.write_zarr)(file)
    mapped = np.memmap(tmp_path / "layer", dtype=np.float32, mode="w+", shape=adata.shape)
    mapped[:] = np.arange(24).reshape(6, 4)
    results = Results(task="r", settings={}, layers={"mine": mapped}, var={"known": np.array([True, False] * 2)})
    assert results.n_bytes >= 24 * 4
    write_results(file, out, results)
    found = ad.read_h5ad(out)
    np.testing.assert_array_equal(found.layers["mine"], np.arange(24).reshape(6, 4))
    assert found.var["known"].tolist() == [True, False, True, False]
    assert list(found.obs["old"]) == list("abcabc")
