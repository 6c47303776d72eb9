"""Files of cells that cannot be read: missing, of another kind, truncated, altered."""

from __future__ import annotations

import gzip
import shutil

import anndata
import h5py
import pytest
import scipy.io

from tests.faults.commands import all_refused, that_read_cells


def text(path, base):
    path.write_text("not cells\n")


def nothing(path, base):
    path.touch()


def folder(path, base):
    path.mkdir()


def model(path, base):
    shutil.copytree(base.model, path)


def truncated(path, base):
    path.write_bytes(base.file.read_bytes()[:-5000])


def edited(change):
    def make(path, base):
        shutil.copy(base.file, path)
        with h5py.File(path, "r+") as file:
            change(file)

    return make


def shifted_index(file):
    file["X/indices"][3] = 10**6


def broken_chunk(file):
    """Bytes of indptr that cannot be unpacked: read while the file is opened, before any table."""
    values = file["X/indptr"][:]
    del file["X/indptr"]
    packed = file["X"].create_dataset("indptr", data=values, chunks=values.shape, compression="gzip")
    packed.id.write_direct_chunk((0,), b"not gzip at all")


def no_names(file):
    del file["obs"].attrs["_index"]


def mtx(change):
    def make(path, base):
        cells = anndata.read_h5ad(base.file)
        path.mkdir()
        scipy.io.mmwrite(path / "matrix.mtx", cells.X.T.tocoo().astype(int), field="integer")
        (path / "barcodes.tsv").write_text("".join(f"{name}\n" for name in cells.obs_names))
        (path / "features.tsv").write_text("".join(f"{gene}\t{gene}\n" for gene in cells.var_names))
        change(path)

    return make


def truncated_gzip(path):
    whole = gzip.compress((path / "matrix.mtx").read_bytes())
    (path / "matrix.mtx").unlink()
    (path / "matrix.mtx.gz").write_bytes(whole[: len(whole) // 2])


def damaged_gzip(path):
    truncated_gzip(path)
    start = (path / "matrix.mtx.gz").read_bytes()
    (path / "matrix.mtx.gz").write_bytes(start[: len(start) // 2] + bytes(2000))


def latin(path):
    (path / "barcodes.tsv").write_bytes(b"\xff\xe9\n" * 90)


def broken_zarr(path, base):
    cells = anndata.read_h5ad(base.file)
    with anndata.settings.override(zarr_write_format=3):
        cells.write_zarr(path)
    for chunk in (path / "X" / "data").rglob("0"):
        chunk.write_bytes(b"xx")


def incomplete_zarr(path, base):
    broken_zarr(path, base)
    for chunk in (path / "X" / "data").rglob("0"):
        chunk.unlink()


DAMAGED = {
    "missing": ("a.h5ad", lambda path, base: None, "no such"),
    "text": ("a.h5ad", text, "not an HDF5 file"),
    "empty": ("a.h5ad", nothing, "0 bytes"),
    "folder": ("a.h5ad", folder, "no cells that scssl can read"),
    "model": ("a", model, "no cells that scssl can read"),
    "truncated": ("a.h5ad", truncated, "truncated"),
    "indices": ("a.h5ad", edited(shifted_index), "beyond the 64 features"),
    "indptr": ("a.h5ad", edited(broken_chunk), "damaged"),
    "names": ("a.h5ad", edited(no_names), "obs cannot be read"),
    "gzip truncated": ("sample", mtx(truncated_gzip), "damaged"),
    "gzip damaged": ("sample", mtx(damaged_gzip), "damaged"),
    "not UTF-8": ("sample", mtx(latin), "damaged"),
    "zarr": ("a.zarr", broken_zarr, "damaged"),
    "zarr incomplete": ("a.zarr", incomplete_zarr, "parts of its data are missing"),
}
VARIANTS = set(DAMAGED) - {"missing", "truncated", "indices"}
"""What is found by the same lines as others: a few commands show that it is."""


@pytest.mark.parametrize("name", DAMAGED)
def test_files_that_cannot_be_read(base, tmp_path, out, capsys, name):
    stem, make, words = DAMAGED[name]
    make(tmp_path / stem, base)
    commands = that_read_cells(base, tmp_path / stem, out)
    if name in VARIANTS:
        commands = {command: commands[command] for command in ("check", "build", "embed")}
    all_refused(capsys, commands, out=out, words=words, names=[tmp_path / stem], untouched=[tmp_path, base.corpus])
