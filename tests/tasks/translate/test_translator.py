"""Translator on simulated CITE-seq and multiome: all modes, all places of the other modality, saving, scores."""

from __future__ import annotations

import json

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

import scssl
from scssl.errors import DataError, FormatError, SettingsError
from scssl.metrics import agreement
from scssl.tasks import TranslationTraining, Translator
from scssl.tasks.translate.targets import read_target

MODES = ("zero_shot", "probe", "finetune", "in_data", "scratch")
QUICK = TranslationTraining(epochs=4, min_steps=60, pretrain_steps=60)


def together(modalities):
    with mudata.set_options(pull_on_update=False):
        return mudata.MuData(modalities)


@pytest.fixture(scope="module")
def fitted(model, cells):
    return {mode: Translator(model, mode=mode, training=QUICK).fit(cells[0]) for mode in MODES}


@pytest.fixture(scope="module")
def peaks(model, cells):
    return Translator(model, to="atac", training=QUICK).fit(cells[0])


@pytest.mark.parametrize("mode", MODES)
def test_proteins_are_predicted_better_than_by_their_mean(fitted, cells, mode):
    scores = fitted[mode].evaluate(cells[1], compare="mean")
    table = scores.overall.set_index("method")
    assert table.loc["translator", "pearson"] > 0.15
    assert table.loc["translator", "rmse"] < table.loc["mean", "rmse"]
    assert table.loc["mean", "pearson"] == 0
    assert fitted[mode].fitted.training["held_out_pearson"] > 0.1
    assert fitted[mode].fitted.training["held_out_by"] == "donors"


@pytest.mark.parametrize("mode", MODES)
def test_predict_writes_the_stated_fields(fitted, cells, mode):
    query = cells[1].copy()
    assert fitted[mode].predict(query) is query
    found = query.obsm["scssl_protein"]
    assert (found.dtype, found.shape) == (np.float32, (query.n_obs, 8))
    settings = query.uns["scssl"]["translate"]
    assert list(settings["names"]) == list(cells[0].uns["protein_names"])
    assert (settings["mode"], settings["to"], settings["target"]) == (mode, "protein", "obsm:protein")
    assert settings["scale"].startswith("log1p of counts per ")
    assert ("scssl_protein_probability" in query.obsm) == (mode != "zero_shot")
    expected = fitted[mode].translate(query).values["scaled"]
    np.testing.assert_array_equal(found, expected)
    fitted[mode].predict(query, written="expected", key_added="mine")
    assert (query.obsm["mine_protein"] >= 0).all()
    assert query.uns["scssl"]["translate_mine"]["written"] == "expected"


def test_what_is_written_can_be_read_again(fitted, peaks, cells, tmp_path):
    query = cells[1].copy()
    for translator in (fitted["finetune"], peaks):
        translator.predict(query, key_added=translator.settings.to)
    query.write_h5ad(tmp_path / "q.h5ad")
    again = anndata.read_h5ad(tmp_path / "q.h5ad")
    np.testing.assert_array_equal(again.obsm["protein_protein"], query.obsm["protein_protein"])
    assert set(again.uns["scssl"]) == {"translate_protein", "translate_atac"}


@pytest.mark.parametrize("mode", MODES)
def test_saved_translators_say_the_same(fitted, cells, tmp_path, mode):
    fitted[mode].save(tmp_path / "t")
    again = Translator.load(tmp_path / "t")
    assert again.settings == fitted[mode].settings
    expected, found = fitted[mode].translate(cells[1]), again.translate(cells[1])
    assert expected.values.keys() == found.values.keys()
    for name in expected.values:
        np.testing.assert_array_equal(expected.values[name], found.values[name])
    assert {file.suffix for file in (tmp_path / "t").rglob("*") if file.is_file()} <= {
        ".json", ".safetensors", ".tsv", ".md"
    }  # fmt: skip
    # Without the reference there is only the mean; with it the same baselines.
    assert list(again.evaluate(cells[1]).overall["method"]) == ["translator", "mean"]
    with pytest.raises(SettingsError, match="exists already"):
        again.save(tmp_path / "t")
    again.save(tmp_path / "t", overwrite=True)


def test_damaged_folders_are_refused(fitted, tmp_path):
    fitted["probe"].save(tmp_path / "t")
    weights = tmp_path / "t" / "translator.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(FormatError, match=r"translator.safetensors: altered.* Copy the translator again"):
        Translator.load(tmp_path / "t")
    settings = tmp_path / "t" / "translator.json"
    settings.write_text(settings.read_text().replace('"protein"', '"proteins"', 1))
    with pytest.raises(FormatError, match="checksum does not fit"):
        Translator.load(tmp_path / "t")
    settings.write_text(json.dumps({"format": "scssl-translator", "format_version": 99}))
    with pytest.raises(FormatError, match="pip install -U scssl"):
        Translator.load(tmp_path / "t")
    with pytest.raises(FormatError, match="is not a translator"):
        Translator.load(tmp_path)


@pytest.mark.parametrize("mode", ["finetune", "scratch"])
def test_training_changes_the_encoder_but_not_the_model_given(model, cells, fitted, mode):
    before = {name: value.clone() for name, value in model.task.state_dict().items()}
    again = Translator(model, mode=mode, training=QUICK).fit(cells[0])
    for name, value in model.task.state_dict().items():
        assert torch.equal(before[name], value), name
    first, second = (t.translate(cells[1]).values["scaled"] for t in (fitted[mode], again))
    np.testing.assert_array_equal(first, second)
    other = Translator(model, mode=mode, training=QUICK).fit(cells[0], seed=1).translate(cells[1]).values["scaled"]
    assert (first != other).any()


def test_scratch_and_in_data_know_nothing_of_the_pretraining(model, cells):
    spoilt = scssl.pretrain(cells[0], preset="small", genes="union", max_epochs=1, seed=5)
    with torch.no_grad():
        for value in spoilt.task.state_dict().values():
            value.copy_(torch.rand_like(value) + 1)
    found = [Translator(m, mode="scratch", training=QUICK).fit(cells[0]).translate(cells[1]) for m in (model, spoilt)]
    np.testing.assert_array_equal(found[0].values["scaled"], found[1].values["scaled"])


def test_truth_of_the_query_is_not_read(fitted, cells):
    blind = cells[1].copy()
    del blind.obsm["protein"]
    expected = fitted["probe"].translate(cells[1]).values["scaled"]
    np.testing.assert_array_equal(fitted["probe"].translate(blind).values["scaled"], expected)


def test_scores_are_those_of_plain_arrays(fitted, cells):
    scores = fitted["probe"].evaluate(cells[1])
    assert list(scores.overall["method"]) == ["translator", "mean", "ridge", "kNN", "PCA + ridge"]
    # The slow way: each cell to the reference's median total, then logs.
    counts = cells[1].obsm["protein"].astype(float)
    median = np.median(cells[0].obsm["protein"].sum(axis=1))
    truth = np.log1p(counts / counts.sum(axis=1, keepdims=True) * median)
    np.testing.assert_allclose(scores.truth, truth, rtol=1e-4)
    expected = agreement(truth, fitted["probe"].translate(cells[1]).values["scaled"])
    mine = scores.features[scores.features["method"] == "translator"]
    np.testing.assert_allclose(mine["pearson"], expected.pearson, atol=1e-6)
    assert scores.overall["pearson"][0] == pytest.approx(np.median(expected.pearson))
    assert set(scores.donors["donor"]) == set(cells[1].obs["donor"].astype(str))
    summary = json.loads(json.dumps(scores.summary()))
    assert summary["best_baseline"] in ("ridge", "kNN", "PCA + ridge")
    assert "of 8 features" in summary["verdict"]


def test_peaks(peaks, cells):
    scores = peaks.evaluate(cells[1])
    assert scores.scale == "whether a peak is open, 0 or 1"
    assert set(np.unique(scores.truth)) == {0, 1}
    assert 0 <= scores.predicted.min() <= scores.predicted.max() <= 1
    assert scores.overall.set_index("method").loc["mean", "auroc"] == pytest.approx(0.5)
    assert scores.overall.set_index("method").loc["translator", "rmse"] < 0.5
    assert list(peaks.names) == list(cells[0].uns["peak_names"])


@pytest.mark.parametrize("kind", ["array", "sparse", "frame", "mod", "layer", "h5ad", "zarr", "h5mu"])
def test_the_other_modality_is_found_wherever_it_is(fitted, model, cells, kind, tmp_path):
    given, names = cells[0].copy(), list(cells[0].uns["protein_names"])
    # Many small arrays, which zarr writes slowly.
    del given.uns["simulation"]
    values = given.obsm.pop("protein")
    target = None
    if kind in ("array", "h5ad", "zarr"):
        given.obsm["adt"] = values
    elif kind == "sparse":
        given.obsm["adt"], target = sparse.csc_matrix(values), "obsm:adt"
    elif kind == "frame":
        given.obsm["adt"] = pd.DataFrame(values, index=given.obs_names, columns=names)
        del given.uns["protein_names"]
    else:
        proteins = anndata.AnnData(values.astype("f4"), obs=given.obs[[]].copy(), var=pd.DataFrame(index=names))
        if kind == "layer":
            proteins.layers["counts"], proteins.X = proteins.X.copy(), np.sqrt(proteins.X)
            target = "mod:prot/counts"
        given = together({"rna": given, "prot": proteins})
    if kind in ("h5ad", "zarr", "h5mu"):
        path = tmp_path / f"r.{kind}"
        with mudata.set_options(pull_on_update=False):
            (given.write_h5ad if kind == "h5ad" else given.write_zarr if kind == "zarr" else given.write)(path)
        given = path
    found = Translator(model, mode="zero_shot").fit(given, target=target)
    assert found.names == names
    expected = fitted["zero_shot"].translate(cells[1]).values["scaled"]
    np.testing.assert_array_equal(found.translate(cells[1]).values["scaled"], expected)


def test_cells_of_a_mudata_are_matched_by_name(cells):
    rna = cells[0].copy()
    proteins = anndata.AnnData(rna.obsm["protein"].astype("f4"), obs=rna.obs[[]].copy())
    order = np.random.default_rng(0).permutation(rna.n_obs)[:50]
    found = read_target(together({"rna": rna, "prot": proteins[order].copy()}), None, to="protein")
    assert found.rows.tolist() == sorted(order)
    np.testing.assert_array_equal(found.values, rna.obsm["protein"][np.sort(order)])
    mixed = together({"rna": rna, "prot": proteins.copy()})
    np.testing.assert_array_equal(read_target(mixed, "mod:prot", to="protein").values, rna.obsm["protein"])


def test_predict_on_a_mudata_writes_to_its_rna(fitted, cells):
    other = cells[1][:, :3].copy()
    other.var_names = ["a", "b", "c"]
    whole = together({"rna": cells[1].copy(), "other": other})
    assert fitted["probe"].predict(whole) is whole
    assert whole.mod["rna"].obsm["scssl_protein"].shape == (cells[1].n_obs, 8)


def test_cells_without_counts(fitted, cells):
    query = cells[1].copy()
    counts = query.X.toarray()
    counts[3] = 0
    query.X = sparse.csr_matrix(counts)
    query.obsm["protein"] = query.obsm["protein"].copy()
    query.obsm["protein"][5] = 0
    found = fitted["probe"].translate(query)
    assert np.isnan(found.values["scaled"][3]).all()
    assert not np.isnan(np.delete(found.values["scaled"], 3, axis=0)).any()
    assert fitted["probe"].evaluate(query, compare="mean").n_cells == query.n_obs - 2


def test_truth_with_some_of_the_proteins_in_another_order(fitted, cells, caplog):
    query, names = cells[1].copy(), list(cells[1].uns["protein_names"])
    order = [5, 0, 3]
    query.obsm["protein"] = pd.DataFrame(
        query.obsm["protein"][:, order], index=query.obs_names, columns=[names[i] for i in order]
    )
    scores = fitted["probe"].evaluate(query, compare="mean")
    assert sorted(set(scores.features["feature"])) == sorted(names[i] for i in order)
    assert "has 3 of the 8 features" in caplog.text
    assert scores.overall["pearson"][0] > 0.15


def test_normalised_proteins_are_gaussian_on_their_scale(model, cells, caplog):
    given = cells[0].copy()
    given.obsm["protein"] = np.log1p(given.obsm["protein"]) - 2.0
    with caplog.at_level("INFO", logger="scssl"):
        translator = Translator(model, training=QUICK).fit(given)
    assert "taken for proteins that were normalised already" in caplog.text
    assert translator.fitted.scale.likelihood == "gaussian"
    query = cells[1].copy()
    query.obsm["protein"] = np.log1p(query.obsm["protein"]) - 2.0
    scores = translator.evaluate(query, compare="mean")
    np.testing.assert_allclose(scores.truth, query.obsm["protein"], rtol=1e-6)
    assert scores.scale == "as given"
    assert scores.overall["pearson"][0] > 0.15
    with pytest.raises(SettingsError, match="'expected' is not known"):
        translator.predict(query, written="expected")


MISTAKES = {
    "no target": (lambda a: a.obsm.pop("protein"), {}, "has none of the usual names of protein"),
    "wrong key": (lambda a: None, {"target": "obsm:nope"}, r"has no obsm\['nope'\]; name it with --target"),
    "wrong modality": (lambda a: None, {"target": "mod:nope"}, "has no modality 'nope'"),
    "missing values": (lambda a: a.obsm["protein"].__setitem__((2, 1), np.nan), {}, "1 values are missing"),
    "all zero": (lambda a: a.obsm["protein"].__imul__(0), {}, "all values are zero"),
    "donor": (lambda a: None, {"donor": "nope"}, "no column 'nope'"),
    "log RNA": (lambda a: setattr(a, "X", a.X.log1p()), {}, "log1p"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_of_the_reference(model, cells, name):
    change, options, message = MISTAKES[name]
    given = cells[0].copy()
    given.obsm["protein"] = given.obsm["protein"].astype(float)
    change(given)
    with pytest.raises(DataError, match=message):
        Translator(model, mode="zero_shot").fit(given, **options)


def test_mistakes_of_the_settings(model, cells, fitted):
    with pytest.raises(SettingsError, match="mode 'none' is not known"):
        Translator(model, mode="none")
    with pytest.raises(SettingsError, match="likelihood 'nb' is not one of atac"):
        Translator(model, to="atac", likelihood="nb")
    with pytest.raises(SettingsError, match="write obsm:KEY"):
        Translator(model).fit(cells[0], target="protein")
    with pytest.raises(SettingsError, match="call fit"):
        Translator(model).translate(cells[1])
    with pytest.raises(SettingsError, match=r"training.val is 1.5"):
        TranslationTraining(val=1.5)
    few = cells[0][:10].copy()
    with pytest.raises(DataError, match="10 cells have counts of RNA and of protein; at least 20"):
        Translator(model).fit(few)
    query = cells[1].copy()
    query.uns["protein_names"] = np.array([f"x{i}" for i in range(8)], dtype=object)
    with pytest.raises(DataError, match="none of its 8 features is one that was learned"):
        fitted["probe"].evaluate(query)
    fractions = cells[0].copy()
    fractions.obsm["protein"] = fractions.obsm["protein"] + 0.5
    with pytest.raises(DataError, match="likelihood 'nb' is for raw counts, and"):
        Translator(model, likelihood="nb").fit(fractions)
