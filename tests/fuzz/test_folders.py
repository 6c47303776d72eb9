"""Damaged corpora and models: what opens is what was written, what does not is refused in scssl's own words."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import scssl
from scssl.corpus import Corpus
from scssl.corpus.format.manifest import _BLANK, FILE
from scssl.corpus.format.verify import verify_folder
from tests.fuzz.damage import damaged_bytes, damaged_json, read_or_refused

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cells():
    return scssl.datasets.simulate_atlas(60, 60, n_types=2, n_donors=4, seed=3)


@pytest.fixture(scope="module", params=[None, "zstd"])
def corpus(request, cells, tmp_path_factory):
    """A corpus, and a copy of it to damage."""
    folder = tmp_path_factory.mktemp("corpus")
    cells.write_h5ad(folder / "a.h5ad")
    Corpus.build(folder / "a.h5ad", folder / "c", genes="union", obs=["cell_type"], compress=request.param)
    shutil.copytree(folder / "c", folder / "d")
    return folder


def everything(path):
    """All that a corpus says of its cells."""
    opened = Corpus.open(path)
    obs = opened.obs()
    counts = []
    for shard in opened.shards:
        rows = shard.check_genes(shard.rows(0, shard.n_cells), n_genes=len(opened.panel))
        counts += [rows.values.tolist(), rows.indices.tolist(), rows.indptr.tolist()]
    return obs.to_csv(), counts, opened.groups(), opened.info()


def sealed(content):
    """Return the manifest with a checksum that fits: as somebody who means harm would write it."""
    text = json.dumps({**content, "sha256": _BLANK}, indent=1, ensure_ascii=True)
    return text.replace(_BLANK, hashlib.sha256(text.encode()).hexdigest(), 1)


@given(data=st.data())
@settings(max_examples=40)
def test_manifests(corpus, data):
    content = json.loads((corpus / "c" / FILE).read_text())
    changed = data.draw(damaged_json(content) if isinstance(content, dict) else st.nothing())
    text = sealed(changed) if isinstance(changed, dict) else json.dumps(changed)
    (corpus / "d" / FILE).write_text(text)
    read_or_refused(everything, corpus / "d")
    read_or_refused(verify_folder, corpus / "d")
    shutil.copy(corpus / "c" / FILE, corpus / "d" / FILE)


@given(data=st.data())
@settings(max_examples=60)
def test_files_of_a_corpus(corpus, data):
    """One altered byte in any file: read or refused, and always found by `corpus verify`."""
    files = sorted(path.relative_to(corpus / "c") for path in (corpus / "c").rglob("*") if path.is_file())
    name = data.draw(st.sampled_from(files))
    whole = (corpus / "c" / name).read_bytes()
    changed = data.draw(damaged_bytes(whole))
    (corpus / "d" / name).write_bytes(changed)
    read_or_refused(everything, corpus / "d")
    found = read_or_refused(verify_folder, corpus / "d")
    assert changed == whole or found is None or found[1]
    (corpus / "d" / name).write_bytes(whole)


@pytest.fixture(scope="module")
def model(cells, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    overrides = ["architecture.hidden=[4]", "architecture.n_latent=2"]
    made = scssl.pretrain(cells, preset="small", max_epochs=1, overrides=overrides, genes="union", device="cpu")
    made.save(folder / "m")
    shutil.copytree(folder / "m", folder / "d")
    return folder


def weights(path):
    return {name: tensor.clone() for name, tensor in scssl.load(path).task.state_dict().items()}


@given(data=st.data())
@settings(max_examples=60)
def test_files_of_a_model(model, data):
    """What loads has the weights that were saved."""
    expected = weights(model / "m")
    name = data.draw(st.sampled_from(["config.json", "genes.tsv", "model.safetensors"]))
    whole = (model / "m" / name).read_bytes()
    (model / "d" / name).write_bytes(data.draw(damaged_bytes(whole)))
    found = read_or_refused(weights, model / "d")
    (model / "d" / name).write_bytes(whole)
    if found is not None:
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)


@given(data=st.data())
@settings(max_examples=60)
def test_settings_of_a_model(model, data):
    """Other settings than those of the weights: no network of another size is made, be it of terabytes."""
    content = json.loads((model / "m" / "config.json").read_text())
    content.pop("files", None)  # as in models of the first days, so that nothing else stops it
    (model / "d" / "config.json").write_text(json.dumps(data.draw(damaged_json(content))))
    read_or_refused(weights, model / "d")
    shutil.copy(model / "m" / "config.json", model / "d" / "config.json")


@pytest.mark.parametrize("change", [{"hidden": [2**40]}, {"hidden": [2**17] * 2}, {"n_latent": 2**62}])
def test_a_network_that_no_machine_holds(model, change):
    content = json.loads((model / "m" / "config.json").read_text())
    content.pop("files", None)
    content["config"]["architecture"] |= change
    (model / "d" / "config.json").write_text(json.dumps(content))
    assert read_or_refused(weights, model / "d") is None
    shutil.copy(model / "m" / "config.json", model / "d" / "config.json")


@given(data=st.data())
@settings(max_examples=40)
def test_tables_of_numbers(tmp_path_factory, data):
    from scssl.corpus.format.tables import read_table

    path = tmp_path_factory.getbasetemp() / "table.npy"
    expected = np.arange(12, dtype=np.int64).reshape(3, 4)
    np.save(path, expected)
    path.write_bytes(data.draw(damaged_bytes(path.read_bytes(), alphabet=b"()'{}:,<>=OV")))
    found = read_or_refused(read_table, path, (3, 4), np.dtype(np.int64))
    assert found is None or found.shape == (3, 4)
