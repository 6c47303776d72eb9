"""Bad input to every command: one line that names the file, code 2, nothing half-written, the input as it was."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp

import scssl
from scssl.cli.app import main

N_CELLS, N_GENES = 120, 80


@pytest.fixture(scope="module")
def cells():
    return scssl.datasets.simulate_atlas(N_CELLS, N_GENES, n_types=3, n_donors=6, seed=3)


@pytest.fixture(scope="module")
def base(cells, tmp_path_factory):
    """A good file, a corpus of it and a model of that."""
    folder = tmp_path_factory.mktemp("base")
    cells.write_h5ad(folder / "good.h5ad")
    corpus = scssl.Corpus.build(folder / "good.h5ad", folder / "corpus", genes="union", obs=["cell_type"])
    scssl.pretrain(corpus, preset="small", max_epochs=1, overrides=["architecture.hidden=[8]"], out=folder / "model")
    return folder


def content(path: Path):
    """Every byte at a path."""
    if path.is_dir():
        return {p.relative_to(path): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}
    return path.read_bytes() if path.exists() else None


def commands(base, file, out):
    """Every command that reads cells, `file` in each of its places; with the folder for what it writes."""
    good, model = base / "good.h5ad", ("--model", base / "model")
    labels = ("--labels", "cell_type", "--out", out / "o.h5ad")
    return {
        "check": ["check", file],
        "build": ["corpus", "build", file, "--out", out / "c", "--split-by", "cell"],
        "pretrain": ["pretrain", file, "--out", out / "m", "--epochs", "1"],
        "embed": ["embed", file, *model, "--out", out / "o.h5ad"],
        "annotate": ["annotate", file, *model, "--reference", good, *labels],
        "reference": ["annotate", good, *model, "--reference", file, *labels],
    }


def refused(capsys, argv, *, file, words):
    """Run a command that has to fail, and return its message."""
    before = content(file)
    assert main([*map(str, argv), "--json"]) == 2
    out, err = capsys.readouterr()
    answer = json.loads(out)
    message = answer["error"] if "error" in answer else " ".join(answer["problems"])
    assert words in message
    assert "\n" not in message
    assert "Traceback" not in err
    if "error" in answer:
        assert err.splitlines()[-1] == f"error: {message}"
        assert file.name in message
    assert content(file) == before
    return message


def one_value(value, dtype="float32"):
    def change(cells):
        cells.X = cells.X.astype(dtype)
        cells.X.data[-1] = value

    return change


def logs(cells):
    cells.X = cells.X.astype("float32").log1p()


def zeros(cells):
    cells.X = sp.csr_matrix(cells.shape, dtype="float32")


def names(prefix):
    def change(cells):
        cells.var_names = [f"{prefix}{i}" for i in range(cells.n_vars)]
        cells.var = cells.var[[]]

    return change


def mouse(cells):
    from scssl.genes.tables import gene_table

    table = gene_table("mouse")
    cells.var = cells.var[[]]
    cells.var_names = table.ids[table.coding][: cells.n_vars]


CHANGED = {
    "negative": (one_value(-3), "negative"),
    "nan": (one_value(np.nan), "missing (NaN)"),
    "infinite": (one_value(np.inf), "infinite"),
    "fraction": (one_value(1.5), "no raw counts"),
    "too large": (one_value(2.0**32), "no count of molecules reaches"),
    "too large whole": (one_value(2**40, "int64"), "no count of molecules reaches"),
    "logs": (logs, "log"),
    "only zeros": (zeros, ""),
    "no cells": (lambda cells: cells[:0].copy(), "holds no cells"),
    "no genes": (lambda cells: cells[:, :0].copy(), "no columns"),
    "few genes": (lambda cells: cells[:, :20].copy(), "at least 50"),
    "no matrix": (lambda cells: anndata.AnnData(obs=cells.obs, var=cells.var), "no matrix"),
    "unknown genes": (names("thing"), "known"),
    "numbered genes": (names(""), "known"),
    "mouse genes": (mouse, ""),
}


@pytest.mark.parametrize("name", CHANGED)
def test_cells_that_cannot_be_used(base, cells, tmp_path, capsys, name):
    change, words = CHANGED[name]
    changed = cells.copy()
    made = change(changed)
    changed = changed if made is None else made
    file, out = tmp_path / "bad file é.h5ad", tmp_path / "out"
    changed.write_h5ad(file)
    out.mkdir()
    for command, argv in commands(base, file, out).items():
        if name == "only zeros" and command in ("build", "pretrain"):
            assert main([*map(str, argv)]) == 2
            assert "no cell has counts" in capsys.readouterr().err
        else:
            refused(capsys, argv, file=file, words=words)
        assert list(out.iterdir()) == []


def text(path, base):
    path.write_text("not cells\n")


def nothing(path, base):
    path.touch()


def folder(path, base):
    path.mkdir()


def corpus(path, base):
    shutil.copytree(base / "corpus", path)


def truncated(path, base):
    path.write_bytes((base / "good.h5ad").read_bytes()[:-5000])


def edited(change):
    def make(path, base):
        shutil.copy(base / "good.h5ad", path)
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
        cells = anndata.read_h5ad(base / "good.h5ad")
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
    (path / "matrix.mtx.gz").write_bytes(start[:3000] + bytes(2000))


def latin(path):
    (path / "barcodes.tsv").write_bytes(b"\xff\xe9\n" * N_CELLS)


def broken_zarr(path, base):
    cells = anndata.read_h5ad(base / "good.h5ad")
    with anndata.settings.override(zarr_write_format=3):
        cells.write_zarr(path)
    for chunk in (path / "X" / "data").rglob("0"):
        chunk.write_bytes(b"xx")


def incomplete_zarr(path, base):
    broken_zarr(path, base)
    for chunk in (path / "X" / "data").rglob("0"):
        chunk.unlink()


DAMAGED = {
    "missing": ("a.h5ad", lambda path, base: None, "no such file"),
    "text": ("a.h5ad", text, "not an HDF5 file"),
    "empty": ("a.h5ad", nothing, "0 bytes"),
    "folder": ("a.h5ad", folder, "no cells that scssl can read"),
    "corpus": ("a", corpus, "no cells that scssl can read"),
    "truncated": ("a.h5ad", truncated, "truncated"),
    "indices": ("a.h5ad", edited(shifted_index), "beyond the 80 features"),
    "indptr": ("a.h5ad", edited(broken_chunk), "damaged"),
    "names": ("a.h5ad", edited(no_names), "obs cannot be read"),
    "gzip truncated": ("sample", mtx(truncated_gzip), "damaged"),
    "gzip damaged": ("sample", mtx(damaged_gzip), "damaged"),
    "not UTF-8": ("sample", mtx(latin), "damaged"),
    "zarr": ("a.zarr", broken_zarr, "damaged"),
    "zarr incomplete": ("a.zarr", incomplete_zarr, "parts of its data are missing"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_files_that_cannot_be_read(base, tmp_path, capsys, name):
    stem, make, words = DAMAGED[name]
    make(tmp_path / stem, base)
    out = tmp_path / "out"
    out.mkdir()
    # A corpus is what `pretrain` is for; a 10x folder has no labels, which a reference is first of all asked for.
    fitting = {"pretrain": stem == "a", "reference": stem == "sample"}
    for command, argv in commands(base, tmp_path / stem, out).items():
        if not fitting.get(command):
            refused(capsys, argv, file=tmp_path / stem, words=words)
        assert list(out.iterdir()) == []


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int64", "uint64", "float64"])
def test_counts_of_any_type_are_read(base, cells, tmp_path, dtype):
    changed = cells.copy()
    changed.X = sp.csr_matrix(np.minimum(cells.X.toarray(), 100).astype(dtype))
    changed.write_h5ad(tmp_path / "a.h5ad")
    argv = ["embed", tmp_path / "a.h5ad", "--model", base / "model", "--out", tmp_path / "o.h5ad", "--quiet"]
    assert main([*map(str, argv)]) == 0
    assert np.isfinite(anndata.read_h5ad(tmp_path / "o.h5ad").obsm["X_scssl"]).all()


OPTIONS = {
    "batch size 0": ("embed", ["--batch-size", "0"], "batch_size=0"),
    "batch size -1": ("embed", ["--batch-size", "-1"], "batch_size=-1"),
    "key with a slash": ("embed", ["--key-added", "a/b"], "without '/'"),
    "key of dots": ("annotate", ["--key-added", ".."], "without '/'"),
    "k 0": ("annotate", ["--k", "0"], "k is 0"),
    "k too large": ("annotate", ["--k", "121"], "lower k"),
    "label map": ("annotate", ["--truth", "cell_type", "--label-map", "MAP"], "cannot be read"),
    "seed": ("build", ["--seed", "-1"], "seed is -1"),
    "val": ("build", ["--val", "nan"], "val=nan"),
    "where": ("build", ["--where", "not " * 3000 + "batch"], "is not a condition"),
    "hvg": ("build", ["--genes", "hvg:²"], "write hvg:N"),
    "hvg huge": ("build", ["--genes", f"hvg:{'9' * 5000}"], "write hvg:N"),
    "device": ("embed", ["--device", "abacus"], "cpu"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_that_are_not_possible(base, tmp_path, capsys, name):
    command, options, words = OPTIONS[name]
    (tmp_path / "map.yaml").write_text("a: [")  # YAML says in several lines what is wrong with it
    out = tmp_path / "out"
    out.mkdir()
    argv = [*commands(base, base / "good.h5ad", out)[command], *options]
    assert main([str(tmp_path / "map.yaml") if word == "MAP" else str(word) for word in argv]) == 2
    shown = capsys.readouterr().err
    assert words in shown
    assert shown[shown.index("error: ") :].count("\n") == 1
    assert list(out.iterdir()) == []


def test_what_is_read_is_never_written_over(base, cells, tmp_path, capsys):
    with anndata.settings.override(zarr_write_format=3):
        cells.write_zarr(tmp_path / "a.zarr")
    reference = shutil.copy(base / "good.h5ad", tmp_path / "r.h5ad")
    shutil.copytree(base / "corpus", tmp_path / "c")
    before = content(tmp_path)
    model, labels = ("--model", base / "model"), ("--labels", "cell_type")
    shard = next((tmp_path / "c" / "train").iterdir())
    for argv in (
        ["embed", tmp_path / "a.zarr", *model, "--out", tmp_path / "a.zarr" / "o.h5ad"],
        ["annotate", tmp_path / "a.zarr", *model, "--reference", reference, *labels, "--out", reference, "--overwrite"],
        ["corpus", "build", tmp_path / "a.zarr", "--out", tmp_path / "a.zarr" / "c"],
        ["corpus", "build", shard, "--out", tmp_path / "c", "--overwrite", "--split-by", "cell"],
        ["pretrain", base / "corpus", "--out", tmp_path / "c", "--overwrite"],
    ):
        assert main([*map(str, argv)]) == 2
        assert "choose another" in capsys.readouterr().err.replace("give another name", "choose another")
        assert content(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("config.json", b"[" * 100_000),
        ("config.json", b"\xff\xfe"),
        ("model.safetensors", b""),
        ("model.safetensors", (2**60).to_bytes(8, "little") + b"{}"),
        ("genes.tsv", b"\xff\xfe"),
        ("genes.tsv", b"id\tsymbol\n"),
    ],
)
def test_models_that_were_altered(base, tmp_path, capsys, name, broken):
    shutil.copytree(base / "model", tmp_path / "model")
    (tmp_path / "model" / name).write_bytes(broken)
    argv = ["embed", base / "good.h5ad", "--model", tmp_path / "model", "--out", tmp_path / "o.h5ad"]
    refused(capsys, argv, file=tmp_path / "model", words=name)
    assert not (tmp_path / "o.h5ad").exists()


@pytest.mark.parametrize(("model", "words"), [("corpus", "is not a model"), ("good.h5ad", "no such model folder")])
def test_something_else_as_the_model(base, tmp_path, capsys, model, words):
    argv = ["embed", base / "good.h5ad", "--model", base / model, "--out", tmp_path / "o.h5ad"]
    refused(capsys, argv, file=base / model, words=words)


@pytest.mark.parametrize("command", ["info", "verify"])
@pytest.mark.parametrize("other", ["model", "good.h5ad"])
def test_something_else_as_the_corpus(base, capsys, command, other):
    refused(capsys, ["corpus", command, base / other], file=base / other, words="not a corpus")


def test_report_of_a_damaged_run(base, tmp_path, capsys):
    shutil.copytree(base / "model", tmp_path / "model")
    for broken in (b"", b"\xff\xfe"):
        (tmp_path / "model" / "history.csv").write_bytes(broken)
        refused(capsys, ["report", tmp_path / "model"], file=tmp_path / "model", words="history.csv")
    assert not (tmp_path / "model" / "report.html").exists()


def test_demo_with_a_seed_below_zero(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path / "d"), "--seed", "-1"]) == 2
    assert "seed=-1" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
