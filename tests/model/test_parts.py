"""Embedding in several processes gives what one gives."""

import numpy as np
import pytest
import scipy.sparse as sp

import scssl
from scssl.corpus.query import query_batches, share_of_part
from scssl.errors import SettingsError


@pytest.fixture(scope="module")
def model(corpus_dir):
    return scssl.pretrain(corpus_dir, preset="small", max_epochs=1, device="cpu")


@pytest.mark.parametrize("n_cells", [0, 1, 99, 100, 101, 1000])
@pytest.mark.parametrize("n_parts", [1, 2, 3, 7])
def test_parts_are_whole_batches_and_every_cell_is_in_one(n_cells, n_parts):
    parts = [share_of_part(n_cells, 10, part=(part, n_parts)) for part in range(n_parts)]
    assert [cell for part in parts for cell in part] == list(range(n_cells))
    assert all(part.start % 10 == 0 for part in parts if len(part))
    assert max(map(len, parts)) - min(map(len, parts)) <= 20


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csc_matrix])
def test_the_batches_of_the_parts_are_those_of_the_whole(atlas, corpus_dir, tmp_path, kind):
    adata = atlas.copy()
    adata.X = kind(adata.X)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    corpus = scssl.Corpus.open(corpus_dir)
    options = {"gene_share": corpus.gene_share(), "batch_size": 70}
    whole = list(query_batches(tmp_path / "cells.h5ad", corpus.panel, **options))
    parts = [
        batch
        for part in range(3)
        for batch in query_batches(tmp_path / "cells.h5ad", corpus.panel, part=(part, 3), **options)
    ]
    assert len(parts) == len(whole) == 9
    for found, expected in zip(parts, whole, strict=True):
        assert found.cell.tolist() == expected.cell.tolist()
        assert found.values.tolist() == expected.values.tolist()
        assert found.indices.tolist() == expected.indices.tolist()


@pytest.mark.slow
def test_two_processes_give_what_one_gives(model, atlas_file, corpus_dir):
    options = {"batch_size": 70, "device": "cpu"}
    assert np.array_equal(model.embed(atlas_file, devices=2, **options), model.embed(atlas_file, **options))
    corpus = scssl.Corpus.open(corpus_dir)
    for split in ("train", "val"):
        found = model.embed_corpus(corpus, split=split, devices=3, **options)
        assert np.array_equal(found, model.embed_corpus(corpus, split=split, **options))


@pytest.mark.slow
def test_the_command_takes_devices(model, atlas_file, tmp_path):
    import anndata

    from scssl.cli.app import main

    model.save(tmp_path / "model")
    for devices in ("1", "2"):
        words = [
            "embed",
            str(atlas_file),
            "--model",
            str(tmp_path / "model"),
            "--out",
            str(tmp_path / f"{devices}.h5ad"),
        ]
        assert main([*words, "--device", "cpu", "--devices", devices, "--batch-size", "100", "--quiet"]) == 0
    first, second = (anndata.read_h5ad(tmp_path / f"{n}.h5ad").obsm["X_scssl"] for n in "12")
    assert np.array_equal(first, second)


def test_what_processes_cannot_read_is_refused(model, atlas, atlas_file):
    with pytest.raises(SettingsError, match="devices=2 is for files"):
        model.embed(atlas, devices=2)
    with pytest.raises(SettingsError, match="devices=0 is not possible"):
        model.embed(atlas_file, devices=0)
    held = scssl.Corpus.from_anndata(atlas, genes=model.panel, source="study")
    with pytest.raises(SettingsError, match="corpora on disk"):
        model.embed_corpus(held, split="train", devices=2)
