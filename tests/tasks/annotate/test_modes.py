"""All modes of the annotator: what they write, what they keep, and what they say to inputs that are hard."""

from __future__ import annotations

import json

import anndata
import numpy as np
import pandas as pd
import pytest
import torch

import scssl
from scssl.errors import DataError, FormatError, SettingsError
from scssl.tasks import Annotator
from scssl.tasks.annotate.probe import LinearHead
from scssl.training.finetuning import FineTuning

MODES = ("zero_shot", "probe", "finetune", "scratch")
LEARNED = FineTuning(epochs=3, min_steps=60, precision="fp32", cross_fitted=0)
BRIEF = FineTuning(epochs=1, min_steps=10, precision="fp32", cross_fitted=0)
"""Where it is not asked how well labels were learned."""


@pytest.fixture(scope="module")
def cells():
    adata = scssl.datasets.simulate_atlas(700, 200, n_types=4, n_studies=1, type_effect=3.0, seed=3)
    held_out = adata.obs["donor"].isin(adata.obs["donor"].cat.categories[::3]).to_numpy()
    return adata[~held_out].copy(), adata[held_out].copy()


@pytest.fixture(scope="module")
def model(cells):
    return scssl.pretrain(cells[0], preset="small", genes="union", max_epochs=2)


@pytest.fixture(scope="module")
def fitted(model, cells):
    return {mode: Annotator(model, mode=mode, finetuning=LEARNED).fit(cells[0]) for mode in MODES}


def few(cells, n):
    return cells[0][np.random.default_rng(0).permutation(cells[0].n_obs)[:n]].copy()


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_names_cells(fitted, cells, mode):
    annotator, query = fitted[mode], cells[1].copy()
    annotation = annotator.annotate(query)
    np.testing.assert_allclose(annotation.probabilities.sum(1), 1, rtol=1e-5)
    assert (annotation.probabilities.argmax(1) == annotation.labels.codes).all()
    np.testing.assert_array_equal(annotation.confidence, annotation.probabilities.max(1))
    assert annotation.sets[np.arange(query.n_obs), annotation.labels.codes].all()
    annotator.predict(query)
    for name in ("scssl_label", "scssl_label_set", "scssl_unknown"):
        assert isinstance(query.obs[name].dtype, pd.CategoricalDtype)
    assert query.obs["scssl_confidence"].dtype == np.float32
    rejected = query.obs["scssl_unknown"] != ""
    assert (query.obs["scssl_label"] == "unknown").tolist() == rejected.tolist()
    settings = query.uns["scssl"]["annotate"]
    assert settings["mode"] == mode
    assert settings["held_out"]["unit"] == "donors"
    assert ("training" in settings) == (mode in ("finetune", "scratch"))
    scores = annotator.evaluate(query)
    assert scores.accuracy > 0.6
    summary = json.loads(json.dumps(scores.summary()))
    assert 0 <= summary["calibration"]["ece"] <= 1
    assert {row["donor"] for row in summary["coverage"]} == set(query.obs["donor"].astype(str))
    assert summary["rejection"]["new"] is None
    assert summary["rejection"]["rejected"] == pytest.approx(rejected.mean(), abs=1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_saved_annotators_say_the_same(fitted, cells, tmp_path, mode):
    fitted[mode].save(tmp_path / "a")
    again = Annotator.load(tmp_path / "a")
    assert again.settings == fitted[mode].settings
    expected, found = fitted[mode].annotate(cells[1]), again.annotate(cells[1])
    np.testing.assert_array_equal(expected.probabilities, found.probabilities)
    np.testing.assert_array_equal(expected.sets, found.sets)
    assert expected.unknown.tolist() == found.unknown.tolist()
    assert {file.suffix for file in (tmp_path / "a").rglob("*") if file.is_file()} <= {
        ".json", ".safetensors", ".tsv", ".md"
    }  # fmt: skip
    # The model inside is one for every other use.
    inside = scssl.load(tmp_path / "a" / "model")
    np.testing.assert_array_equal(inside.embed(cells[1]), expected.embedding)
    again.save(tmp_path / "b")


@pytest.mark.parametrize("mode", ["finetune", "scratch"])
def test_training_changes_the_encoder_but_not_the_model_given(model, cells, mode):
    before = {name: value.clone() for name, value in model.task.state_dict().items()}
    first = Annotator(model, mode=mode, finetuning=BRIEF).fit(cells[0], seed=1)
    for name, value in model.task.state_dict().items():
        assert torch.equal(before[name], value), name
    assert not np.allclose(first.fitted.model.embed(cells[1]), model.embed(cells[1]), atol=1e-2)
    again = Annotator(model, mode=mode, finetuning=BRIEF).fit(cells[0], seed=1)
    np.testing.assert_array_equal(first.annotate(cells[1]).probabilities, again.annotate(cells[1]).probabilities)
    other = Annotator(model, mode=mode, finetuning=BRIEF).fit(cells[0], seed=2)
    assert (first.annotate(cells[1]).probabilities != other.annotate(cells[1]).probabilities).any()


def test_scratch_knows_nothing_of_pretraining(model, cells):
    """The same labels come out of a model whose weights and statistics are nonsense."""
    spoilt = scssl.pretrain(cells[0], preset="small", pretext="none", genes="union", max_epochs=1, seed=5)
    with torch.no_grad():
        for value in spoilt.task.state_dict().values():
            value.copy_(torch.rand_like(value) + 1)
    found = [Annotator(m, mode="scratch", finetuning=BRIEF).fit(cells[0]).annotate(cells[1]) for m in (model, spoilt)]
    np.testing.assert_array_equal(found[0].probabilities, found[1].probabilities)


def test_scratch_reads_only_genes_that_the_reference_measured(model, cells):
    narrow = cells[0][:, :150].copy()
    annotator = Annotator(model, mode="scratch", finetuning=BRIEF).fit(narrow)
    assert len(annotator.fitted.model.panel) == 150
    changed = cells[1].copy()
    dense = changed.X.toarray()
    dense[:, 150:] = dense[::-1, 150:]
    changed.X = type(changed.X)(dense)
    expected, found = annotator.annotate(cells[1]), annotator.annotate(changed)
    np.testing.assert_array_equal(expected.probabilities, found.probabilities)


@pytest.mark.parametrize("mode", MODES)
def test_queries_with_few_genes(fitted, cells, mode):
    scores = fitted[mode].evaluate(cells[1][:, ::3].copy())
    assert scores.accuracy > 0.4


@pytest.mark.parametrize("mode", MODES)
def test_files_give_the_same_as_memory(fitted, model, cells, tmp_path, mode):
    cells[0].write_h5ad(tmp_path / "reference.h5ad")
    cells[1].write_h5ad(tmp_path / "query.h5ad")
    annotator = Annotator(model, mode=mode, finetuning=LEARNED).fit(tmp_path / "reference.h5ad")
    found = annotator.annotate(tmp_path / "query.h5ad")
    np.testing.assert_array_equal(found.probabilities, fitted[mode].annotate(cells[1]).probabilities)


@pytest.mark.parametrize("mode", MODES)
def test_a_reference_of_one_donor_is_judged_by_cells(model, cells, caplog, mode):
    reference = cells[0].copy()
    reference.obs["donor"] = "one"
    annotator = Annotator(model, mode=mode, finetuning=BRIEF).fit(reference)
    assert "held-out cells instead of donors" in caplog.text
    assert annotator.fitted.trust.held_out["unit"] == "cells"
    assert "held-out cells" in annotator.predict(cells[1].copy()).uns["scssl"]["annotate"]["confidence"]


@pytest.mark.parametrize("mode", MODES)
def test_a_label_seen_once(model, cells, caplog, mode):
    reference = cells[0].copy()
    names = reference.obs["cell_type"].astype(str).to_numpy().astype(object)
    names[0] = "once"
    reference.obs["cell_type"] = names
    annotator = Annotator(model, mode=mode, finetuning=BRIEF).fit(reference)
    assert "1 of 5 labels have" in caplog.text
    assert "once" in annotator.fitted.reference.classes
    assert annotator.evaluate(cells[1]).accuracy > (0.5 if mode in ("zero_shot", "probe") else 0.25)


@pytest.mark.parametrize("mode", MODES)
def test_missing_donors_judge_nothing(model, cells, caplog, mode):
    reference = cells[0].copy()
    donors = reference.obs["donor"].astype(object)
    donors[::4] = None
    reference.obs["donor"] = donors
    annotator = Annotator(model, mode=mode, finetuning=BRIEF).fit(reference)
    assert "have no donor in obs['donor']" in caplog.text
    assert annotator.fitted.trust.held_out["unit"] == "donors"


def test_an_unknown_donor_is_no_donor_of_its_own(fitted, cells):
    query = cells[1].copy()
    donors = query.obs["donor"].astype(object)
    donors[::4], donors[1::4] = "Unknown", None
    query.obs["donor"] = donors
    coverage = fitted["zero_shot"].evaluate(query).coverage
    assert set(coverage.index) == set(donors[2::4]) | set(donors[3::4])
    assert coverage["n_cells"].sum() == donors[2::4].size + donors[3::4].size
    query.obs["donor"] = "unknown"
    assert fitted["zero_shot"].evaluate(query).coverage.index.tolist() == ["all"]


def test_labels_that_the_reference_lacks(fitted, cells):
    query = cells[1].copy()
    query.obs["cell_type"] = query.obs["cell_type"].astype(str).replace({"type_2": "new"})
    scores = fitted["probe"].evaluate(query)
    assert scores.missing_classes == ("new",)
    assert scores.rejection["new"] is not None
    # Sets cannot hold it, and its cells count as missed.
    assert scores.coverage["coverage"].max() < 1


@pytest.mark.parametrize("mode", MODES)
def test_bad_references(model, cells, mode):
    annotator = Annotator(model, mode=mode, finetuning=BRIEF)
    with pytest.raises(DataError, match="no column 'celltype'"):
        annotator.fit(cells[0], labels="celltype")
    with pytest.raises(DataError, match="no column 'person'"):
        annotator.fit(cells[0], donor="person")
    reference = cells[0].copy()
    reference.obs["cell_type"] = "unknown"
    with pytest.raises(DataError, match="has no labels"):
        annotator.fit(reference)
    reference.obs["cell_type"] = "B"
    if mode == "zero_shot":
        assert set(annotator.fit(reference).annotate(cells[1]).labels) == {"B"}
    else:
        with pytest.raises(DataError, match="one label only"):
            annotator.fit(reference)


@pytest.mark.parametrize("mode", MODES)
def test_every_cell_a_label_of_its_own(model, cells, mode, caplog):
    reference = few(cells, 60)
    reference.obs["cell_type"] = [f"label {i}" for i in range(60)]
    quick = FineTuning(epochs=1, min_steps=2, precision="fp32")
    annotator = Annotator(model, mode=mode, k=1, finetuning=quick).fit(reference)
    assert annotator.fitted.trust is None
    assert "are not calibrated" in caplog.text
    query = cells[1].copy()
    annotator.predict(query)
    assert "scssl_label_set" not in query.obs
    assert query.uns["scssl"]["annotate"]["confidence"] == "probability, not calibrated"


def test_where_the_donor_is_the_type_another_unit_is_asked_for(model, cells, caplog):
    # As in mixtures of cell lines.
    reference = cells[0].copy()
    reference.obs["donor"] = "donor of " + reference.obs["cell_type"].astype(str)
    assert Annotator(model, mode="probe").fit(reference).fitted.trust is None
    assert "without its donors no label has cells left to learn from, so probabilities are not" in caplog.text
    assert "name another unit with donor (--donor), such as the batch, or 'cell'" in caplog.text
    for unit, held in (("batch", "donors"), ("cell", "cells")):
        annotator = Annotator(model, mode="probe").fit(reference, donor=unit)
        assert annotator.fitted.trust.held_out["unit"] == held


def test_calibration_can_be_left_out(model, cells):
    annotator = Annotator(model, mode="probe", calibrate="never").fit(cells[0])
    scores = annotator.evaluate(cells[1])
    assert (scores.calibration, scores.coverage, scores.rejection) == (None, None, None)
    half = Annotator(model, error_rate=0, error_budget=0).fit(cells[0]).predict(cells[1].copy())
    assert not {"scssl_label_set", "scssl_unknown"} & set(half.obs)
    assert "unknown" not in half.obs["scssl_label"].cat.categories


def test_key_added_renames_all(fitted, cells):
    query = fitted["probe"].predict(cells[1].copy(), key_added="mine")
    assert {"mine_label", "mine_confidence", "mine_label_set", "mine_unknown"} <= set(query.obs)
    assert "X_mine" in query.obsm


def test_an_ontology_names_wide_sets_and_scores_by_kind(model, cells, tmp_path):
    text = "format-version: 1.2\n" + "".join(
        f"\n[Term]\nid: CL:{i:07d}\nname: {name}\n" + (f"is_a: CL:{parent:07d}\n" if parent is not None else "")
        for i, (name, parent) in enumerate(
            [("cell", None), ("T cell", 0), ("CD4 cell", 1), ("CD8 cell", 1), ("B cell", 0)]
        )
    )
    (tmp_path / "cl.obo").write_text(text)
    reference, query = cells[0].copy(), cells[1].copy()
    names = {"type_1": "CD4 cell", "type_2": "CD8 cell", "type_3": "B cell", "type_4": "odd one"}
    reference.obs["cell_type"] = reference.obs["cell_type"].astype(str).replace(names)
    coarse = {**names, "type_1": "T cell", "type_2": "T cell"}
    query.obs["cell_type"] = query.obs["cell_type"].astype(str).replace(coarse)
    annotator = Annotator(model, mode="probe", error_rate=0.01).fit(reference, ontology=tmp_path / "cl.obo")
    annotator.save(tmp_path / "a")
    for one in (annotator, Annotator.load(tmp_path / "a")):
        scores = one.evaluate(query)
        is_t = query.obs["cell_type"] == "T cell"
        assert scores.accuracy <= 1 - is_t.mean()
        assert scores.hierarchy.hierarchical.accuracy > scores.accuracy + 0.3
        assert "hierarchical" in scores.summary()


def test_settings_are_checked(model):
    for name in ("mode", "class_weight", "calibrate"):
        with pytest.raises(SettingsError, match="choose one of"):
            Annotator(model, **{name: "magic"})
    with pytest.raises(SettingsError, match="error_rate"):
        Annotator(model, error_rate=1.0)


def test_annotators_of_the_first_format_load(model, cells, tmp_path):
    annotator = Annotator(model, calibrate="never").fit(cells[0])
    annotator.save(tmp_path / "a")
    file = tmp_path / "a" / "annotator.json"
    now = json.loads(file.read_text())
    names = ("format", "scssl_version", "mode", "k", "classes", "reference", "labels")
    file.write_text(json.dumps({**{name: now[name] for name in names}, "format_version": 1}))
    again = Annotator.load(tmp_path / "a")
    assert list(again.annotate(cells[1]).labels) == list(annotator.annotate(cells[1]).labels)


def test_damaged_parts_are_refused(fitted, tmp_path):
    path = tmp_path / "a"
    fitted["probe"].save(path)
    settings = json.loads((path / "annotator.json").read_text())
    # As version 2 wrote it: without checksums, so that the content alone can tell.
    settings = {name: value for name, value in settings.items() if name not in ("sha256", "files")}
    settings["format_version"] = 2

    def rejects(words, **changes):
        (path / "annotator.json").write_text(json.dumps({**settings, **changes}))
        with pytest.raises(FormatError, match=words):
            Annotator.load(path)
        (path / "annotator.json").write_text(json.dumps(settings))

    rejects("calibrated is incomplete", trust={"temperature": -1})
    rejects("label sets", trust={**settings["trust"], "sets": {"error_rate": 0.1}})
    rejects("mode is 'magic'", mode="magic")
    rejects("ontology", tree={"labels": []})
    rejects("malformed", finetuning={"epochs": "many"})
    weights = (path / "classifier.safetensors").read_bytes()
    (path / "classifier.safetensors").write_bytes(weights[:-4])
    with pytest.raises(FormatError, match="cannot be read"):
        Annotator.load(path)
    (path / "classifier.safetensors").write_bytes(weights)
    (path / "trust.safetensors").unlink()
    with pytest.raises(FormatError, match=r"trust\.safetensors"):
        Annotator.load(path)


def test_baselines_cannot_be_trained_or_saved(cells, tmp_path):
    class Odd:
        panel = scssl.genes.GenePanel.builtin("human")

        def embed(self, data, *, layer=None, batch_size=0, device="auto"):
            return np.random.default_rng(0).normal(size=(data.n_obs, 3)).astype(np.float32)

    with pytest.raises(SettingsError, match="Odd has none"):
        Annotator(Odd(), mode="finetune").fit(cells[0])
    annotator = Annotator(Odd(), mode="probe").fit(cells[0])
    assert isinstance(annotator.fitted.classifier, LinearHead)
    with pytest.raises(SettingsError, match="cannot be saved"):
        annotator.save(tmp_path / "a")


def test_results_can_be_written(fitted, cells, tmp_path):
    for mode in MODES:
        query = cells[1].copy()
        fitted[mode].predict(query, key_added=mode)
        query.write_h5ad(tmp_path / f"{mode}.h5ad")
        again = anndata.read_h5ad(tmp_path / f"{mode}.h5ad")
        assert again.obs[f"{mode}_label_set"].tolist() == query.obs[f"{mode}_label_set"].tolist()
        assert again.uns["scssl"][f"annotate_{mode}"]["mode"] == mode
