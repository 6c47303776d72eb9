"""Annotator, with a small stand-in for a model and with a real one."""

from __future__ import annotations

import json
import shutil

import anndata
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file
from scipy import sparse

import scssl
from scssl.corpus.sources.source import open_source
from scssl.errors import DataError, FormatError, SettingsError
from scssl.genes import GenePanel, harmonise
from scssl.tasks import Annotation, Annotator


class Projection:
    """An encoder of few lines: a fixed random projection of log1p CP10k."""

    def __init__(self, width=30):
        self.panel = GenePanel.builtin("human")
        self.weights = np.random.default_rng(0).normal(size=(len(self.panel), width)).astype(np.float32)

    def embed(self, data, *, layer=None, batch_size=4096, device="auto"):
        with open_source(data, layer=layer) as source:
            genes = harmonise(source.var, self.panel, file=source.name)
            parts = []
            for _, chunk in source.chunks(batch_size):
                counts = genes.apply(chunk).astype(np.float32)
                total = np.maximum(counts.sum(1).A1, 1)
                parts.append((sparse.diags_array(1e4 / total) @ counts).log1p() @ self.weights)
        return np.concatenate(parts)


@pytest.fixture(scope="module")
def cells():
    adata = scssl.datasets.simulate_atlas(900, 300, n_types=4, type_effect=3.0, seed=3)
    held_out = adata.obs["donor"].isin(adata.obs["donor"].cat.categories[::3]).to_numpy()
    return adata[~held_out].copy(), adata[held_out].copy()


@pytest.fixture(scope="module")
def annotator(cells):
    return Annotator(Projection()).fit(cells[0], labels="cell_type")


@pytest.fixture(scope="module")
def model(cells):
    return scssl.pretrain(cells[0], preset="small", max_epochs=1)


def test_predict_writes_the_stated_fields(annotator, cells):
    query = cells[1].copy()
    assert annotator.predict(query) is query
    label = query.obs["scssl_label"]
    assert isinstance(label.dtype, pd.CategoricalDtype)
    assert list(label.cat.categories) == ["type_1", "type_2", "type_3", "type_4", "unknown"]
    confidence = query.obs["scssl_confidence"]
    assert confidence.dtype == np.float32
    assert set(np.round(confidence * 5).astype(int)) <= {1, 2, 3, 4, 5}
    assert query.obsm["X_scssl"].shape == (query.n_obs, 30)
    settings = query.uns["scssl"]["annotate"]
    assert (settings["k"], settings["mode"], settings["labels"]) == (5, "zero_shot", "cell_type")
    assert settings["versions"]["scssl"] == scssl.__version__
    assert (label.astype(str) == query.obs["cell_type"].astype(str)).mean() > 0.6


def test_key_added_renames_and_keeps_earlier_results(annotator, cells, tmp_path):
    query = cells[1].copy()
    annotator.predict(query)
    annotator.predict(query, key_added="mine")
    assert {"scssl_label", "mine_label", "mine_confidence"} <= set(query.obs)
    assert {"X_scssl", "X_mine"} == set(query.obsm) - {"programme_activity"}
    assert {"annotate", "annotate_mine"} == set(query.uns["scssl"])
    query.write_h5ad(tmp_path / "q.h5ad")
    again = anndata.read_h5ad(tmp_path / "q.h5ad")
    assert again.obs["mine_label"].equals(query.obs["mine_label"])
    assert again.uns["scssl"]["annotate"]["k"] == 5


def test_files_give_the_same_labels_as_memory(annotator, cells, tmp_path):
    path = tmp_path / "query.h5ad"
    cells[1].write_h5ad(path)
    before = path.read_bytes()
    there = annotator.predict(path)
    here = annotator.predict(cells[1].copy())
    assert there.obs["scssl_label"].equals(here.obs["scssl_label"])
    np.testing.assert_array_equal(there.obsm["X_scssl"], here.obsm["X_scssl"])
    assert path.read_bytes() == before
    from_file = Annotator(Projection()).fit(_write(cells[0], tmp_path / "reference.h5ad"), labels="cell_type")
    assert from_file.predict(path).obs["scssl_label"].equals(here.obs["scssl_label"])


def _write(adata, path):
    adata.write_h5ad(path)
    return path


def test_a_cell_of_the_reference_is_its_own_nearest(cells):
    reference = cells[0]
    scores = Annotator(Projection(), k=1).fit(reference, labels="cell_type").evaluate(reference, truth="cell_type")
    assert scores.accuracy == 1


def test_unlabelled_cells_take_no_part(cells):
    reference = cells[0].copy()
    names = reference.obs["cell_type"].astype(str).to_numpy().astype(object)
    names[::2] = "unknown"
    names[1::10] = None
    reference.obs["cell_type"] = names
    fitted = Annotator(Projection()).fit(reference, labels="cell_type").reference
    assert fitted.classes == ["type_1", "type_2", "type_3", "type_4"]
    assert len(fitted.codes) == pd.Series(names).isin(fitted.classes).sum()


def test_layers(annotator, cells):
    query = cells[1].copy()
    query.layers["counts"] = query.X
    query.X = sparse.csr_matrix(query.shape, dtype=np.float32)
    expected = annotator.predict(cells[1].copy()).obs["scssl_label"]
    assert annotator.predict(query, layer="counts").obs["scssl_label"].equals(expected)


def test_cells_without_counts_get_no_label(annotator, cells):
    query = cells[1].copy()
    query.X = sparse.csr_matrix(query.X.multiply(np.arange(query.n_obs)[:, None] >= 3)).astype(np.uint16)
    annotator.predict(query)
    assert query.obs["scssl_label"].isna().tolist()[:4] == [True, True, True, False]
    assert query.obs["scssl_confidence"].tolist()[:3] == [0, 0, 0]
    scores = annotator.evaluate(query, truth="cell_type")
    assert scores.n_cells == query.n_obs
    assert scores.confusion["(no counts)"].sum() == 3
    reference = cells[0].copy()
    reference.X = sparse.csr_matrix(reference.X.multiply(np.arange(reference.n_obs)[:, None] >= 3)).astype(np.uint16)
    assert len(Annotator(Projection()).fit(reference, labels="cell_type").reference.codes) == reference.n_obs - 3


def test_evaluate_maps_names_and_names_missing_classes(annotator, cells, tmp_path):
    query = cells[1].copy()
    query.obs["truth"] = query.obs["cell_type"].astype(str).replace({"type_1": "one", "type_2": "two", "type_3": "?"})
    path = tmp_path / "map.csv"
    path.write_text("query,reference\none,type_1\n?,\n")
    scores = annotator.evaluate(query, truth="truth", label_map=path)
    assert scores.missing_classes == ("two",)
    assert scores.per_class.loc["two", "f1"] == 0
    assert scores.unused_cells == (query.obs["cell_type"] == "type_3").sum()
    whole = annotator.evaluate(query, truth="cell_type")
    assert scores.per_class.loc["type_1", "recall"] == whole.per_class.loc["type_1", "recall"]
    with pytest.raises(DataError, match="leaves no cell"):
        annotator.evaluate(query, truth="cell_type", label_map=dict.fromkeys(whole.per_class.index))


def test_labels_too_rare_to_win_are_named(cells, caplog):
    reference = cells[0].copy()
    names = reference.obs["cell_type"].astype(str).to_numpy().astype(object)
    names[0] = "once"
    reference.obs["cell_type"] = names
    Annotator(Projection()).fit(reference, labels="cell_type")
    assert "1 of 5 labels have too few cells" in caplog.text
    assert "once" in caplog.text


def test_mistakes(cells):
    with pytest.raises(SettingsError, match="choose one of: zero_shot"):
        Annotator(Projection(), mode="magic")
    with pytest.raises(SettingsError, match="k is 0"):
        Annotator(Projection(), k=0)
    with pytest.raises(SettingsError, match="call fit"):
        Annotator(Projection()).predict(cells[1])
    with pytest.raises(DataError, match="no column 'celltype'; there are: cell_type"):
        Annotator(Projection()).fit(cells[0], labels="celltype")
    with pytest.raises(DataError, match="fewer than k = 5"):
        Annotator(Projection()).fit(cells[0][:4], labels="cell_type")
    with pytest.raises(DataError, match="no such file"):
        Annotator(Projection()).fit("nowhere.h5ad")


def test_with_a_real_model(model, cells):
    annotation = Annotator(model).fit(cells[0], labels="cell_type").annotate(cells[1])
    assert isinstance(annotation, Annotation)
    np.testing.assert_allclose(annotation.embedding, model.embed(cells[1]), atol=1e-5)
    assert annotation.score("cell_type").accuracy > 0.3


@pytest.fixture
def saved(model, cells, tmp_path):
    annotator = Annotator(model, k=3).fit(cells[0], labels="cell_type")
    annotator.save(tmp_path / "annotator")
    return annotator, tmp_path / "annotator"


def test_saved_annotators_work_alone(saved, cells):
    annotator, path = saved
    again = Annotator.load(path)
    assert again.k == 3
    expected, found = annotator.annotate(cells[1]), again.annotate(cells[1])
    np.testing.assert_array_equal(expected.embedding, found.embedding)
    assert list(expected.labels) == list(found.labels)
    assert {file.suffix for file in path.rglob("*") if file.is_file()} <= {".json", ".safetensors", ".tsv", ".md"}


def test_colleagues_can_read_a_saved_annotator(saved, tmp_path):
    (tmp_path / "plain").touch()
    modes = {file.stat().st_mode for file in saved[1].rglob("*") if file.is_file()}
    assert modes == {(tmp_path / "plain").stat().st_mode}


def test_saving_over_something(saved, tmp_path):
    annotator, path = saved
    with pytest.raises(SettingsError, match="exists already"):
        annotator.save(path)
    annotator.save(path, overwrite=True)
    Annotator.load(path)
    other = tmp_path / "documents"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(SettingsError, match="not an annotator"):
        annotator.save(other, overwrite=True)
    assert (other / "thesis.txt").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["annotator", "documents"]


def without_checksums(path):
    """Make the folder one of format version 2, whose content alone tells that it was altered; return its settings."""
    settings = json.loads((path / "annotator.json").read_text())
    settings = {name: value for name, value in settings.items() if name not in ("sha256", "files")}
    settings["format_version"] = 2
    (path / "annotator.json").write_text(json.dumps(settings))
    return settings


def test_annotators_without_checksums_load(saved, cells):
    annotator, path = saved
    without_checksums(path)
    assert list(Annotator.load(path).annotate(cells[1]).labels) == list(annotator.annotate(cells[1]).labels)


def test_damaged_annotators_are_refused(saved):
    _, path = saved
    settings = without_checksums(path)

    def rejects(words, **changes):
        (path / "annotator.json").write_text(json.dumps({**settings, **changes}))
        with pytest.raises(FormatError, match=words):
            Annotator.load(path)

    rejects("format version 99", format_version=99)
    rejects("does not describe", format="other")
    rejects("malformed", classes=[1, 2])
    rejects("malformed", k=0)
    rejects("malformed", warnings=["few genes", 3])
    rejects("does not fit", k=10**6)
    rejects("malformed", classes=["type_1"] * len(settings["classes"]))
    rejects("malformed", trust={**settings["trust"], "held_out": {}})
    rejects("does not fit", classes=["type_1"])
    (path / "annotator.json").write_text("{")
    with pytest.raises(FormatError, match="not JSON"):
        Annotator.load(path)
    (path / "annotator.json").write_text(json.dumps(settings))
    weights = (path / "reference.safetensors").read_bytes()
    (path / "reference.safetensors").write_bytes(weights[:-10])
    with pytest.raises(FormatError, match="cannot be read"):
        Annotator.load(path)
    (path / "reference.safetensors").write_bytes(weights)
    arrays = load_file(path / "reference.safetensors")
    save_file({**arrays, "embedding": np.full_like(arrays["embedding"], np.nan)}, path / "reference.safetensors")
    with pytest.raises(FormatError, match="does not fit"):
        Annotator.load(path)
    (path / "reference.safetensors").write_bytes(weights)
    shutil.rmtree(path / "model")
    with pytest.raises(FormatError, match="no such model"):
        Annotator.load(path)
    with pytest.raises(FormatError, match="not an annotator"):
        Annotator.load(path / "nothing")
