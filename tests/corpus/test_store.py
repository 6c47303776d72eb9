"""Opening a corpus: what is whole opens, what is not says so."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from scssl.corpus import Corpus
from scssl.corpus.format import manifest as manifests
from scssl.corpus.format.verify import verify_folder
from scssl.errors import FormatError, SettingsError


@pytest.fixture
def copy(corpus_dir, tmp_path):
    return shutil.copytree(corpus_dir, tmp_path / "copy")


def test_contents(corpus_dir, atlas):
    corpus = Corpus.open(corpus_dir)
    assert corpus.n_cells() == atlas.n_obs == sum(corpus.n_cells(s) for s in ("train", "val", "test"))
    assert corpus.sources == sorted(atlas.obs["study"].unique())
    assert corpus.categories == {
        "cell_type": sorted(atlas.obs["cell_type"].unique()),
        "donor": sorted(atlas.obs["donor"].unique()),
    }
    assert corpus.measured.shape == corpus.gene_counts.shape == (3, atlas.n_vars)
    assert corpus.source_cells.sum() == corpus.n_cells("train")
    assert corpus.gene_share().sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(corpus.measured_share(), 1, atol=1e-5)
    numbers = [shard.first_cell for shard in corpus.shards]
    assert numbers == np.cumsum([0, *(shard.n_cells for shard in corpus.shards[:-1])]).tolist()
    with pytest.raises(SettingsError, match="train, val, test"):
        corpus.n_cells("holdout")


def test_info_is_plain_and_true(corpus_dir):
    corpus = Corpus.open(corpus_dir)
    info = json.loads(json.dumps(corpus.info(), allow_nan=False))
    assert info["cells"] == 600
    assert info["bytes"] <= sum(p.stat().st_size for p in corpus_dir.rglob("*") if p.is_file())
    assert info["nonzeros"] == sum(s["n_nonzeros"] for s in info["sources"])
    assert [s["name"] for s in info["sources"]] == corpus.sources
    for split, n in info["splits"].items():
        assert sum(s["n_cells"][split] for s in info["sources"]) == n


def test_reading_needs_no_anndata(corpus_dir):
    import subprocess
    import sys

    script = (
        "import sys; from scssl.corpus import Corpus; c = Corpus.open(sys.argv[1]); c.obs(); c.info(); c.verify();"
        "assert not {'anndata', 'scanpy', 'torch'} & set(sys.modules), set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, str(corpus_dir)], check=True)


def test_any_flipped_byte_is_found(copy):
    """Every file, one byte: `verify` names exactly this file."""
    files = [p for p in sorted(copy.rglob("*")) if p.is_file() and p.name != manifests.FILE and p.stat().st_size]
    assert len(files) > 50
    rng = np.random.default_rng(0)
    for path in files:
        whole = path.read_bytes()
        position = int(rng.integers(len(whole)))
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        _, problems = verify_folder(copy)
        assert problems == [f"{path.relative_to(copy).as_posix()}: altered, its checksum differs"]
        path.write_bytes(whole)
    assert Corpus.open(copy).verify() == []


def test_every_truncated_or_missing_file_is_found_on_opening(copy):
    for path in [p for p in sorted(copy.rglob("*")) if p.is_file() and p.name != manifests.FILE and p.stat().st_size]:
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        with pytest.raises(FormatError, match=f"{path.name}: has .* bytes"):
            Corpus.open(copy)
        path.unlink()
        with pytest.raises(FormatError, match="missing"):
            Corpus.open(copy)
        assert verify_folder(copy)[1] == [f"{path.relative_to(copy).as_posix()}: missing"]
        path.write_bytes(whole)


def test_altered_manifest(copy):
    path = copy / manifests.FILE
    whole = path.read_text()
    rng = np.random.default_rng(0)
    for position in rng.integers(len(whole), size=50).tolist():
        flipped = "#" if whole[position] != "#" else "!"
        path.write_text(whole[:position] + flipped + whole[position + 1 :])
        with pytest.raises(FormatError, match=r"corpus\.json"):
            Corpus.open(copy)
    for text in ("", "[]", "{", whole[: len(whole) // 2]):
        path.write_text(text)
        with pytest.raises(FormatError, match=r"corpus\.json"):
            Corpus.open(copy)


def put(*keys, value):
    """Change one entry of a manifest."""

    def change(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("version", value=0), "format version 0"),
        (put("panel", value={}), "'panel'"),
        (put("sources", 0, value="a"), "'sources'"),
        (put("columns", "cell_type", value=[1, 2]), "'columns'"),
        (put("columns", "other", value=["a"]), "other/codes.*is not listed"),
        (put("files", "genes.tsv", value={}), "'files'"),
        (put("files", "/etc/passwd", value={"bytes": 1, "sha256": ""}), "'files'"),
        (put("files", "../c/x", value={"bytes": 1, "sha256": ""}), "'files'"),
        (put("files", "a\0", value={"bytes": 1, "sha256": ""}), "'files'"),
        (put("report", value={}), "'report'"),
        (put("report", "sources", value=[]), "'report'"),
        (put("shards", 0, "n_cells", value=-1), "'shards'"),
        (put("shards", 0, "n_cells", value="many"), "'shards'"),
        (put("shards", 0, "n_cells", value=10**18), "'shards'"),
        (put("shards", 0, "n_nonzeros", value=5), "is not listed with the size"),
        (put("shards", 0, "data", value="uint32"), "is not listed with the size"),
        (put("shards", 0, "data", value="float64"), "'shards'"),
        (put("shards", 0, "split", value="other"), "'shards'"),
        (put("shards", 0, "path", value="../../etc"), "is not listed"),
        (put("shards", 0, "path", value="/etc"), "is not listed"),
    ],
)
def test_manifest_written_by_hand(copy, change, words):
    """Even with a checksum that fits, what it says has to be possible and to lie inside the corpus."""
    content = json.loads((copy / manifests.FILE).read_text())
    change(content)
    version = content["version"]
    manifests.write_manifest(copy, {k: v for k, v in content.items() if k not in ("format", "version", "sha256")})
    if version != manifests.VERSION:
        path = copy / manifests.FILE
        path.write_text(path.read_text().replace(f'"version": {manifests.VERSION}', f'"version": {version}'))
    with pytest.raises(FormatError, match=rf"corpus\.json.*{words}"):
        Corpus.open(copy)


def test_deep_manifest(copy):
    (copy / manifests.FILE).write_text("[" * 100_000)
    with pytest.raises(FormatError, match=r"not JSON: .*build the corpus again"):
        Corpus.open(copy)


@pytest.mark.parametrize(
    ("name", "element", "dtype", "value"),
    [
        ("X/indptr", 5, "<i8", 10**9),
        ("X/indptr", 5, "<i8", -1),
        ("X/indices", 5, "<u2", 65_535),
        ("obs/source/codes", 5, "<i4", 10**6),
        ("obs/cell_type/codes", 5, "<i4", -7),
    ],
)
def test_values_that_cannot_be_are_not_trained_on(copy, name, element, dtype, value):
    """Files of the right size are only read when their cells are; checksums are left to `verify`."""
    path = copy / "train/shard-00000.zarr" / name / "c/0"
    values = np.fromfile(path, dtype)
    values[element] = value
    values.tofile(path)
    corpus = Corpus.open(copy)
    with pytest.raises(FormatError, match=f"{name}: holds values that cannot be"):
        list(corpus.loader(labels=["cell_type"]))
    if "codes" in name:
        with pytest.raises(FormatError, match=f"{name}: holds values that cannot be"):
            corpus.obs()


def test_damaged_cell_names(copy):
    path = copy / "train/shard-00000.zarr/obs/_index/c/0"
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(FormatError, match="_index"):
        Corpus.open(copy).obs()


def test_newer_version(copy):
    content = json.loads((copy / manifests.FILE).read_text())
    path = copy / manifests.FILE
    path.write_text(json.dumps({**content, "version": manifests.VERSION + 1}))
    with pytest.raises(FormatError, match=r"format version 2.*pip install -U scssl"):
        Corpus.open(copy)


def test_not_a_corpus(tmp_path):
    with pytest.raises(FormatError, match="no such folder"):
        Corpus.open(tmp_path / "none")
    with pytest.raises(FormatError, match="not a corpus"):
        Corpus.open(tmp_path)


def test_an_unknown_file_is_told(copy):
    (copy / "train" / "notes.txt").write_text("mine")
    assert verify_folder(copy)[1] == ["train/notes.txt: not part of the corpus"]


def test_manifest_is_complete_or_absent(tmp_path, monkeypatch):
    monkeypatch.setattr(manifests.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        manifests.write_manifest(tmp_path, {})
    assert not (tmp_path / manifests.FILE).exists()


@pytest.fixture(scope="module")
def zstd_dir(atlas_file, tmp_path_factory):
    """The corpus of `corpus_dir`, compressed."""
    out = tmp_path_factory.mktemp("zstd") / "corpus"
    Corpus.build(atlas_file, out, genes="union", obs=["cell_type"], source="study", compress="zstd")
    return out


def test_a_compressed_corpus_holds_the_same_cells_in_less_space(zstd_dir, corpus_dir):
    packed, plain = Corpus.open(zstd_dir), Corpus.open(corpus_dir)
    assert packed.verify() == []
    assert packed.fingerprint == plain.fingerprint
    assert packed.obs().equals(plain.obs())
    for one, other in zip(packed.shards, plain.shards, strict=True):
        for field in ("values", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(one, field)[:], getattr(other, field)[:])
        files = [shard.values.path for shard in (one, other)]
        assert files[0].stat().st_size < 0.5 * files[1].stat().st_size
        assert {p.name for p in files[0].parent.parent.rglob("*") if p.is_file()} == {"0", "zarr.json"}
    batches = [[batch.values for batch in corpus.loader(seed=3, batch_size=50)] for corpus in (packed, plain)]
    assert all((a == b).all() for a, b in zip(*batches, strict=True))


def test_any_flipped_byte_of_a_compressed_corpus_is_found(zstd_dir, tmp_path):
    """By `verify`, and also when the cells are read, which a plain corpus cannot do."""
    copy = shutil.copytree(zstd_dir, tmp_path / "copy")
    rng = np.random.default_rng(0)
    for path in [p for name in ("data", "indices") for p in sorted(copy.rglob(f"X/{name}/c/0"))]:
        whole = path.read_bytes()
        for position in rng.integers(len(whole), size=20).tolist():
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
            assert verify_folder(copy)[1] == [f"{path.relative_to(copy).as_posix()}: altered, its checksum differs"]
            with pytest.raises(FormatError, match=f"{path}.*damaged or truncated"):
                [shard.rows(0, shard.n_cells) for shard in Corpus.open(copy).shards]
        path.write_bytes(whole[:-1])
        with pytest.raises(FormatError, match=f"{path.name}: has .* bytes"):
            Corpus.open(copy)
        path.write_bytes(whole)
    assert Corpus.open(copy).verify() == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("shards", 0, "compress", value="lz4"), r"corpus\.json.*'shards'"),
        (put("shards", 0, "compress", value=None), r"corpus\.json.*is not listed with the size"),
        (put("shards", 0, "path", value="../../etc"), r"corpus\.json.*is not listed"),
        (put("shards", 0, "n_nonzeros", value=5), r"X/data.*zarr\.json: does not describe 5 uint16"),
        (put("shards", 0, "data", value="uint32"), r"X/data.*zarr\.json: does not describe [\d,]+ uint32"),
    ],
)
def test_manifest_of_a_compressed_corpus_written_by_hand(zstd_dir, tmp_path, change, words):
    copy = shutil.copytree(zstd_dir, tmp_path / "copy")
    content = json.loads((copy / manifests.FILE).read_text())
    change(content)
    manifests.write_manifest(copy, {k: v for k, v in content.items() if k not in ("format", "version", "sha256")})
    with pytest.raises(FormatError, match=words):
        Corpus.open(copy).shards[0].values[:]


@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3 specification")
@pytest.mark.parametrize("compress", [None, "zstd"])
def test_anndata_reads_what_was_built(atlas, tmp_path, compress):
    """X, obs and var; with counts that need 32 bits in some shards, and with a split that got no cells."""
    import anndata as ad
    import scipy.sparse as sp

    adata = atlas.copy()
    adata.X = adata.X.astype(np.int64)
    adata.X.data[0] = 70_000
    adata.write_h5ad(tmp_path / "a.h5ad")
    options = {"genes": "union", "obs": ["cell_type"], "source": "study", "test": 0, "compress": compress}
    corpus = Corpus.build(tmp_path / "a.h5ad", tmp_path / "c", **options)
    assert corpus.n_cells("test") == 0
    assert len(corpus.obs("test")) == 0
    read = [ad.read_zarr(shard.values.path.parents[3]) for shard in corpus.shards]
    assert {part.X.data.dtype.name for part in read} == {"uint16", "uint32"}
    obs = corpus.obs()
    for shard, part in zip(corpus.shards, read, strict=True):
        expected = adata[part.obs_names, corpus.panel.ids].X.toarray()
        np.testing.assert_array_equal(part.X.toarray(), expected)
        rows = shard.rows(0, shard.n_cells)
        X = sp.csr_matrix((rows.values, rows.indices.astype(np.int32), rows.indptr), shape=part.shape)
        np.testing.assert_array_equal(X.toarray(), expected)
        mine = obs.loc[part.obs_names]
        assert part.obs.columns.tolist() == mine.columns.tolist()
        for column in mine.columns:
            assert part.obs[column].tolist() == mine[column].tolist()
        assert part.var_names.tolist() == corpus.panel.ids.tolist()
        assert part.var["symbol"].tolist() == corpus.panel.symbols.tolist()


def test_real_cells_are_the_same_however_their_file_is_stored(real_data, tmp_path, monkeypatch):
    """By row, by column or dense, plain or packed by gzip; large enough for matrices by column to go through files."""
    import anndata as ad

    from scssl.corpus.sources import matrices

    monkeypatch.setattr(matrices, "BLOCK_VALUES", 50_000)
    adata = ad.read_h5ad(real_data / "cells" / "pbmc10k_protein_scvi200.h5ad")
    assert adata.X.nnz > 5 * matrices.BLOCK_VALUES
    layouts = {"csr": adata.X.tocsr(), "csc": adata.X.tocsc(), "dense": adata.X.toarray()}
    prints = set()
    for layout, X in layouts.items():
        for packing in (None, "gzip"):
            path = tmp_path / f"{layout}-{packing}" / "cells.h5ad"
            path.parent.mkdir()
            ad.AnnData(X, obs=adata.obs, var=adata.var).write_h5ad(path, compression=packing)
            corpus = Corpus.build(path, path.parent / "c", split_by="cell", compress="zstd" if packing else None)
            assert corpus.n_cells() == adata.n_obs
            rows = [shard.rows(0, shard.n_cells) for shard in corpus.shards]
            arrays = [array.tobytes() for row in rows for array in (row.values, row.indices, row.indptr)]
            prints.add((corpus.fingerprint, *arrays))
    assert len(prints) == 1


def test_verify_finds_what_does_not_fit_together(corpus_dir, tmp_path):
    """Every file as it was written, and still not one corpus: codes beyond the sources, or cells nobody reported."""
    from scssl.corpus.format import manifest

    for change in ("sources", "report"):
        folder = tmp_path / change
        shutil.copytree(corpus_dir, folder)
        content = manifest.read_manifest(folder)
        if change == "report":
            content["report"]["sources"][0]["n_cells"]["train"] += 1
        else:
            content["columns"]["cell_type"] = content["columns"]["cell_type"][:2]
        manifest.write_manifest(folder, {k: v for k, v in content.items() if k not in ("format", "version", "sha256")})
        assert len(Corpus.open(folder).verify()) == 1
