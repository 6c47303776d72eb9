"""What earlier versions wrote is read for ever, and means what it meant.

The archives are made by scripts/make_archive.py, one per release, and never changed.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scssl
from scssl.cli.app import main
from scssl.corpus.format.verify import verify_folder

HERE = Path(__file__).parent
ARCHIVES = sorted(path.parent for path in HERE.glob("*/known.json"))


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name)
def archive(request):
    return request.param


@pytest.fixture
def known(archive):
    return json.loads((archive / "known.json").read_text())


def test_there_are_archives():
    assert [path.name for path in ARCHIVES][:1] == ["0.1"]
    assert sum(file.stat().st_size for file in HERE.rglob("*") if file.is_file()) < 600_000 * len(ARCHIVES)


def test_the_corpus_is_whole_and_holds_the_same_cells(archive, known):
    assert verify_folder(archive / "corpus")[1] == []
    corpus = scssl.Corpus.open(archive / "corpus")
    assert corpus.fingerprint == known["fingerprint"]
    assert {split: corpus.n_cells(split) for split in known["cells"]} == known["cells"]
    assert sorted(corpus.panel.ids) == sorted(known["genes"])
    assert list(corpus.sources) == known["sources"]
    np.testing.assert_array_equal(corpus.measured, np.array(known["measured"], dtype=bool))
    assert corpus.obs("val")["cell_type"].astype(str).tolist() == known["cell_type"]
    batches = list(corpus.loader(split="val", batch_size=10, shuffle=False))
    np.testing.assert_array_equal(np.concatenate([b.size_factor.numpy() for b in batches]), known["counts"])


@pytest.mark.parametrize("name", ["model", "programmes"])
def test_models_give_the_same_codes(archive, name):
    model = scssl.load(archive / name)
    codes = model.embed_corpus(scssl.Corpus.open(archive / "corpus"), split="val", device="cpu")
    np.testing.assert_allclose(codes, np.load(archive / f"{name}.npy"), atol=1e-5)
    assert (model.task.programmes is not None) == (name == "programmes")


def test_models_can_be_gone_on_from_and_saved_again(archive, tmp_path):
    model, corpus = scssl.load(archive / "model"), scssl.Corpus.open(archive / "corpus")
    adapted = scssl.pretrain(corpus, init=model, max_epochs=1, out=tmp_path / "m", loggers=["csv"])
    again = scssl.load(tmp_path / "m")
    np.testing.assert_array_equal(
        again.embed_corpus(corpus, split="val", device="cpu"), adapted.embed_corpus(corpus, split="val", device="cpu")
    )


def test_the_annotator_gives_the_same_labels(archive, known):
    corpus = scssl.Corpus.open(archive / "corpus")
    [b] = corpus.loader(split="val", batch_size=64, shuffle=False)
    counts = sp.csr_matrix((b.values.numpy(), b.indices.numpy(), b.indptr.numpy()), shape=(b.n_cells, b.n_genes))
    cells = ad.AnnData(counts.astype(np.float32), var=pd.DataFrame(index=corpus.panel.ids))
    labels = scssl.tasks.Annotator.load(archive / "annotator").annotate(cells).labels
    assert [str(label) for label in labels] == known["labels"]


def test_the_command_verifies_them(archive, tmp_path, capsys):
    """From a place that cannot be written to as from any other: nothing is left beside them."""
    before = {path: path.stat().st_mtime_ns for path in archive.rglob("*")}
    assert main(["verify", str(archive), "--corpus", str(archive / "corpus"), "--json"]) == 0
    checks = json.loads(capsys.readouterr().out)["checks"]
    states = {f"{check['place']} {check['what']}": check["state"] for check in checks}
    for name in ("model codes", "model data", "model metrics", "programmes metrics", "corpus files", "annotator files"):
        assert states[name] == "same"
    assert {path: path.stat().st_mtime_ns for path in archive.rglob("*")} == before
    shutil.copytree(archive, tmp_path / "copy with spaces, ü")
    assert main(["verify", str(tmp_path / "copy with spaces, ü"), "--quiet"]) == 0
