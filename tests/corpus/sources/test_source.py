"""open_source: every kind of file and every layer gives the same cells; mistakes get one clear message."""

from __future__ import annotations

import gzip
import shutil

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse as sp

from scssl.corpus.sources.source import open_source
from scssl.errors import DataError, FormatError, ScsslError

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::anndata.OldFormatWarning"),
]


def read(source, size=7):
    return np.concatenate([X.toarray() for _, X in source.chunks(size)])


def check(source, adata):
    """The same cells, layers and annotation as the AnnData."""
    X = adata.X.toarray()
    assert (source.n_cells, source.n_features) == (50, 30)
    assert np.array_equal(read(source), X)
    assert np.array_equal(source.rows(45, 99).toarray(), X[45:])
    assert source.obs.index.tolist() == adata.obs_names.tolist()
    assert source.var["gene_ids"].tolist() == adata.var["gene_ids"].tolist()
    assert source.obs["cell_type"].tolist() == adata.obs["cell_type"].tolist()
    assert source.layers == ["X", "raw", "layers/by column", "layers/dense", "layers/doubled"]
    assert np.array_equal(source.uns("measured/table"), [0, 1, 2])
    with pytest.raises(DataError, match=r"no uns\['nothing'\]; uns holds: measured, title"):
        source.uns("nothing")


def check_layers(opened, adata):
    X = adata.X.toarray()
    for layer, expected in (("doubled", 2 * X), ("layers/doubled", 2 * X), ("by column", X), ("dense", X), ("X", X)):
        with open_source(opened, layer=layer) as source:
            assert np.array_equal(read(source), expected)
            assert source.layer == ("X" if layer == "X" else f"layers/{layer.removeprefix('layers/')}")
    with open_source(opened, layer="raw") as raw:
        assert raw.n_features == 60
        assert raw.var.index[59] == "r59"
        assert np.array_equal(read(raw), np.hstack([X, X]) * 3)
    with pytest.raises(DataError, match=r"no layer 'counts'; there is: X, raw \(--layer raw\), --layer by column"):
        open_source(opened, layer="counts")


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_h5ad(adata, tmp_path, compression):
    path = tmp_path / "cells.h5ad"
    adata.write_h5ad(path, compression=compression)
    before = path.read_bytes()
    with open_source(path) as source:
        check(source, adata)
        assert (source.name, source.path, source.nnz) == ("cells", path, adata.X.nnz)
        assert not source.by_column
    with open_source(str(path), layer="by column") as source:
        assert source.by_column
    check_layers(path, adata)
    assert path.read_bytes() == before


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr(adata, tmp_path, zarr_format):
    path = tmp_path / "cells.zarr"
    with ad.settings.override(zarr_write_format=zarr_format):
        adata.write_zarr(path)
    with open_source(path) as source:
        check(source, adata)
    check_layers(path, adata)


def test_anndata_in_memory(adata):
    with open_source(adata) as source:
        check(source, adata)
        assert (source.name, source.path, source.file) == ("adata", None, "adata")
    check_layers(adata, adata)
    view = adata[10:20, ::2]
    assert np.array_equal(read(open_source(view)), adata.X.toarray()[10:20, ::2])


def test_anndata_backed(adata, tmp_path):
    adata.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    source = open_source(backed)
    assert np.array_equal(read(source), adata.X.toarray())
    assert source.name == "cells"
    backed.file.close()


@pytest.mark.parametrize(
    "convert", [sp.csr_matrix, sp.csc_matrix, sp.coo_matrix, sp.csr_array, np.asarray, np.asfortranarray]
)
def test_matrices_of_any_sort_in_memory(adata, convert):
    dense = adata.X.toarray()
    values = convert(dense)
    made = ad.AnnData(sp.csr_matrix(values) if sp.issparse(values) and values.format == "coo" else values)
    assert np.array_equal(read(open_source(made)), dense)


def test_h5mu(adata, tmp_path):
    mudata = pytest.importorskip("mudata")
    path = tmp_path / "cells.h5mu"
    del adata.raw
    protein = ad.AnnData(np.ones((50, 3)), obs=adata.obs[[]])
    with mudata.set_options(pull_on_update=False):
        made = mudata.MuData({"rna": adata, "prot": protein})
        made.obs["donor"] = pd.Categorical(["d1"] * 50)
        made.write(path)
    with open_source(path) as source:
        assert np.array_equal(read(source), adata.X.toarray())
        assert source.obs["donor"].tolist() == ["d1"] * 50
        assert "cell_type" in source.obs
    with mudata.set_options(pull_on_update=False):
        mudata.MuData({"prot": protein, "atac": protein.copy()}).write(path)
    with pytest.raises(DataError, match=r"no modality `rna`; its modalities are"):
        open_source(path)


def write_tenx(path, X, *, version, genomes=("GRCh38",)):
    with h5py.File(path, "w") as file:
        for genome in ["matrix"] if version == 3 else genomes:
            group = file.create_group(genome)
            group["data"], group["indices"], group["indptr"] = X.data.astype(np.int32), X.indices, X.indptr
            group["shape"], group["barcodes"] = X.shape[::-1], [f"AAAC-{i}".encode() for i in range(X.shape[0])]
            names, ids = [f"g{i}".encode() for i in range(X.shape[1])], [f"id{i}".encode() for i in range(X.shape[1])]
            if version == 2:
                group["genes"], group["gene_names"] = ids, names
            else:
                features = group.create_group("features")
                features["id"], features["name"] = ids, names
                features["feature_type"] = [b"Gene Expression"] * X.shape[1]


@pytest.mark.parametrize("version", [2, 3])
def test_tenx_h5(adata, tmp_path, version):
    path = tmp_path / "filtered_feature_bc_matrix.h5"
    write_tenx(path, adata.X, version=version)
    with open_source(path) as source:
        assert np.array_equal(read(source), adata.X.toarray())
        assert source.obs.index[1] == "AAAC-1"
        assert source.var.index[2] == "g2"
        assert source.var["gene_ids"].iloc[2] == "id2"
        assert ("feature_types" in source.var) == (version == 3)
    with pytest.raises(DataError, match="has no layer 'counts'; there is: X"):
        open_source(path, layer="counts")


def test_tenx_of_two_genomes(adata, tmp_path):
    write_tenx(tmp_path / "mixed.h5", adata.X, version=2, genomes=("GRCh38", "mm10"))
    with pytest.raises(DataError, match=r"2 genomes \(GRCh38, mm10\)"):
        open_source(tmp_path / "mixed.h5")


def write_mtx(folder, X, *, zipped, old=False, prefix=""):
    folder.mkdir()
    scipy.io.mmwrite(folder / f"{prefix}matrix.mtx", X.T.tocoo(), field="integer")
    features = "genes.tsv" if old else "features.tsv"
    kind = "" if old else "\tGene Expression"
    (folder / f"{prefix}{features}").write_text("".join(f"id{i}\tg{i}{kind}\n" for i in range(X.shape[1])))
    (folder / f"{prefix}barcodes.tsv").write_text("".join(f"AAAC-{i}\n" for i in range(X.shape[0])))
    for path in list(folder.iterdir()) if zipped else []:
        with path.open("rb") as plain, gzip.open(f"{path}.gz", "wb") as packed:
            shutil.copyfileobj(plain, packed)
        path.unlink()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("prefix", ["", "GSM1_"])
def test_mtx_folder(adata, tmp_path, zipped, old, prefix):
    folder = tmp_path / "sample7" / "filtered_feature_bc_matrix"
    folder.parent.mkdir()
    write_mtx(folder, adata.X, zipped=zipped, old=old, prefix=prefix)
    with open_source(folder) as source:
        assert np.array_equal(read(source), adata.X.toarray())
        assert source.name == "sample7"
        assert source.var["gene_ids"].tolist()[:2] == ["id0", "id1"]
        assert source.var.index[0] == "g0"
        assert source.nnz == adata.X.nnz


def test_mtx_folder_mistakes(adata, tmp_path):
    folder = tmp_path / "sample"
    write_mtx(folder, adata.X, zipped=False)
    with pytest.raises(DataError, match=r"one file of a 10x folder: give the folder"):
        open_source(folder / "matrix.mtx")
    lines = (folder / "matrix.mtx").read_text().splitlines()
    (folder / "matrix.mtx").write_text("\n".join(lines[:-5]) + "\n")
    with pytest.raises(FormatError, match=r"announces \d+ values but holds \d+"):
        read(open_source(folder))
    (folder / "b_matrix.mtx").write_text("")
    with pytest.raises(DataError, match=r"several matrix.mtx files"):
        open_source(folder)
    (folder / "b_matrix.mtx").unlink()
    (folder / "barcodes.tsv").unlink()
    with pytest.raises(DataError, match=r"lacks barcodes.tsv \(or barcodes.tsv.gz\)"):
        open_source(folder)


def truncated(adata, path):
    adata.write_h5ad(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def without_counts(adata, path):
    ad.AnnData(obs=adata.obs, var=adata.var).write_h5ad(path)


def no_cells(adata, path):
    adata[:0].copy().write_h5ad(path)


def molecules(adata, path):
    with h5py.File(path, "w") as file:
        file["barcode_idx"], file["umi"] = [1], [2]


def other_hdf5(adata, path):
    with h5py.File(path, "w") as file:
        file["weights"] = [1.0]


def cut_values(adata, path):
    adata.write_h5ad(path)
    with h5py.File(path, "a") as file:
        values = file["X/data"][:-3]
        del file["X/data"]
        file["X/data"] = values


def lost_array(adata, path):
    adata.write_h5ad(path)
    with h5py.File(path, "a") as file:
        del file["X/indices"]


def lost_cells(adata, path):
    adata.write_h5ad(path)
    with h5py.File(path, "a") as file:
        del file["obs"]
        ad.io.write_elem(file, "obs", adata.obs[:-1])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda adata, path: None, "no such file"),
        (lambda adata, path: path.touch(), r"empty \(0 bytes\)"),
        (lambda adata, path: path.write_text("cell,gene\n"), "not an HDF5 file"),
        (lambda adata, path: path.write_bytes(gzip.compress(b"x")), "decompress it first"),
        (lambda adata, path: path.mkdir(), "this folder holds no cells"),
        (truncated, "truncated or damaged HDF5 file"),
        (without_counts, "has no X; there is: no matrix at all"),
        (no_cells, "holds no cells"),
        (molecules, "a 10x molecule_info file: give filtered_feature_bc_matrix.h5"),
        (other_hdf5, r"neither an AnnData nor a 10x matrix \(it holds: weights\)"),
        (cut_values, "values are stored where"),
        (lost_array, "lacks its indices"),
        (lost_cells, "50 cells but their table has 49 rows"),
    ],
)
def test_mistakes_get_one_line_that_names_the_file(adata, tmp_path, make, words):
    path = tmp_path / "bad.h5ad"
    make(adata, path)
    with pytest.raises(ScsslError, match=words) as caught:
        open_source(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damage_found_while_reading(adata, tmp_path):
    path = tmp_path / "bad.h5ad"
    rng = np.random.default_rng(0)
    big = sp.csr_matrix(rng.integers(1, 2**16, (200, 300)).astype(np.uint16))
    ad.AnnData(big).write_h5ad(path, compression="gzip")
    with h5py.File(path) as file:
        at = file["X/data"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[at.byte_offset + 50 : at.byte_offset + 500] = b"\x00" * 450
    path.write_bytes(content)
    with open_source(path) as source, pytest.raises(FormatError, match=r"X cannot be read.*damaged or truncated"):
        read(source)


def test_zarr_that_is_no_anndata(tmp_path):
    import zarr

    zarr.open_group(tmp_path / "x.zarr", mode="w").create_array("weights", data=np.ones(3))
    with pytest.raises(DataError, match=r"not an AnnData \(it holds: weights\)"):
        open_source(tmp_path / "x.zarr")


def test_errors_of_the_caller_pass_through(adata):
    """A mistake in the loop over chunks is not the file's."""

    def loop():
        for _ in open_source(adata).chunks():
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        loop()


def test_real_files_read_as_anndata_reads_them(real_data):
    for name in ("pbmc10k_protein_scvi200", "mouse_interneurons_zeisel_tasic", "paul15_mouse"):
        path = real_data / "cells" / f"{name}.h5ad"
        expected = sp.csr_matrix(ad.read_h5ad(path).X)
        with open_source(path) as source:
            assert (sp.vstack([X for _, X in source.chunks(1000)]) != expected).nnz == 0
