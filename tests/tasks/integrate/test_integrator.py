"""Integrator: what it writes, what it refuses, that the study stays where it is, and that a saved one does the same."""

from __future__ import annotations

import json
import re
import shutil

import anndata
import numpy as np
import pytest
from scipy import sparse

import scssl
from scssl.errors import DataError, FormatError, SettingsError
from scssl.tasks import Integrator
from scssl.tasks.integrate.settings import IntegratorSettings


@pytest.fixture(scope="module")
def fitted(model, study):
    return Integrator(model, batch="study").fit(study)


def spread_of_batches(embedding, study):
    """Variance of the batches' means within types, over that of cells within types and batches."""
    frame = [(t, b) for t, b in zip(study.obs["cell_type"], study.obs["study"], strict=True)]
    groups = {key: embedding[[pair == key for pair in frame]] for key in set(frame)}
    within = np.mean([g.var(axis=0).sum() for g in groups.values()])
    types = {t for t, _ in groups}
    means = {t: np.array([g.mean(axis=0) for (kind, _), g in groups.items() if kind == t]) for t in types}
    return np.mean([m.var(axis=0).sum() for m in means.values()]) / within


@pytest.mark.parametrize("correct", ["centre", "clusters"])
def test_batches_come_together(model, study, correct):
    integrator = Integrator(model, batch="study", correct=correct).fit(study)
    found = integrator.integrate(study)
    np.testing.assert_array_equal(found.codes, model.embed(study))
    assert spread_of_batches(found.embedding, study) < 0.5 * spread_of_batches(found.codes, study)


def test_nothing_is_done_where_nothing_is_asked(model, study):
    found = Integrator(model, batch="study", correct="none").fit(study).integrate(study)
    np.testing.assert_array_equal(found.embedding, model.embed(study))


def test_predict_writes_beside_the_cells(fitted, study):
    adata = study.copy()
    assert fitted.predict(adata) is adata
    array = adata.obsm["X_scssl_integrated"]
    assert (array.dtype, array.shape) == (np.float32, (study.n_obs, 16))
    settings = adata.uns["scssl"]["integrate"]
    assert (settings["correct"], settings["batch"], settings["n_batches"]) == (fitted.settings.correct, "study", 3)
    assert settings["n_new_cells"] == 0
    fitted.predict(adata, key_added="mine")
    np.testing.assert_array_equal(adata.obsm["mine"], array)
    assert "integrate_mine" in adata.uns["scssl"]
    assert (study.X != adata.X).nnz == 0


@pytest.mark.parametrize("correct", ["none", "centre", "clusters"])
def test_mapping_new_cells_moves_no_cell_of_the_study(model, study, newcomer, correct):
    integrator = Integrator(model, batch="study", correct=correct).fit(study)
    before = integrator.fitted.embedding.copy()
    alone = integrator.integrate(newcomer)
    assert not alone.known.any()
    both = integrator.integrate(anndata.concat([study, newcomer]))
    assert both.known.tolist() == [True] * study.n_obs + [False] * newcomer.n_obs
    np.testing.assert_array_equal(both.embedding[: study.n_obs], before)
    np.testing.assert_array_equal(integrator.fitted.embedding, before)
    np.testing.assert_allclose(both.embedding[study.n_obs :], alone.embedding, atol=1e-4)


def test_a_new_batch_that_lacks_a_type_is_mapped_to_its_types_by_clusters(model, study, newcomer):
    fitted = Integrator(model, batch="study", correct="clusters").fit(study)
    mapped, there = fitted.integrate(newcomer), fitted.fitted.embedding
    kinds = study.obs["cell_type"].to_numpy()

    def right(codes):
        near = ((codes[:, None] - there[None]) ** 2).sum(axis=2).argmin(axis=1)
        return (kinds[near] == newcomer.obs["cell_type"].to_numpy()).mean()

    assert right(mapped.embedding) >= right(mapped.codes)
    assert right(mapped.embedding) > 0.8


def test_cells_are_known_by_batch_name_and_code(fitted, study):
    other = study[::-1].copy()
    np.testing.assert_array_equal(fitted.integrate(other).embedding, fitted.fitted.embedding[::-1])
    renamed = study.copy()
    renamed.obs_names = [f"x{name}" for name in study.obs_names]
    assert not fitted.integrate(renamed).known.any()
    # The names of two runs of a machine can be the same: other counts are other cells.
    swapped = study.copy()
    swapped.X = study.X[::-1].copy()
    assert fitted.integrate(swapped).known.mean() < 0.05


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_names_that_occur_twice_are_known_in_the_same_order(model, study):
    twice = study.copy()
    twice.obs_names = [name[:1] for name in study.obs_names]
    integrator = Integrator(model, batch="study").fit(twice)
    assert integrator.integrate(twice).known.all()
    assert not integrator.integrate(twice[::-1].copy()).known.any()


def test_cells_without_counts_move_nobody(model, study):
    keep = np.arange(study.n_obs) % 5 != 0
    some = study.copy()
    some.X = (sparse.diags(keep.astype(float)) @ study.X).tocsr()
    found = Integrator(model, batch="study").fit(some)
    alone = Integrator(model, batch="study").fit(study[keep].copy())
    np.testing.assert_allclose(found.fitted.embedding[keep], alone.fitted.embedding, atol=1e-4)
    integrated = found.integrate(some)
    assert integrated.empty.tolist() == (~keep).tolist()
    np.testing.assert_array_equal(integrated.embedding[~keep], integrated.codes[~keep])


def test_same_seed_same_place(model, study):
    first, second = (Integrator(model, batch="study").fit(study, seed=3).fitted.embedding for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_finetune_tells_the_decoder_the_batch_and_leaves_the_model_alone(model, study):
    before = {name: value.clone() for name, value in model.task.state_dict().items()}
    integrator = Integrator(model, mode="finetune", batch="study", steps=5).fit(study, device="cpu")
    assert all((value == before[name]).all() for name, value in model.task.state_dict().items())
    adapted = integrator.fitted.model
    assert sorted(name.rpartition("/")[2] for name in adapted.sources) == ["study_1", "study_2", "study_3"]
    assert np.abs(adapted.embed(study) - model.embed(study)).max() > 1e-4
    assert integrator.integrate(study).settings["training"]["epochs"] >= 1


def test_a_decoder_that_is_not_told_is_said(study, caplog):
    plain = scssl.pretrain(
        study, preset="small", genes="union", max_epochs=1, loggers=["csv"],
        overrides=["architecture.hidden=[8]", "architecture.source_decoder=false"],
    )  # fmt: skip
    Integrator(plain, mode="finetune", batch="study", steps=1).fit(study)
    assert "cannot be told their batch" in caplog.text


def test_save_and_load(fitted, study, newcomer, tmp_path):
    fitted.save(tmp_path / "i")
    again = Integrator.load(tmp_path / "i")
    assert (again.settings, again.batch) == (fitted.settings, "study")
    for cells in (study, newcomer):
        np.testing.assert_array_equal(again.integrate(cells).embedding, fitted.integrate(cells).embedding)
    with pytest.raises(SettingsError, match="exists already"):
        fitted.save(tmp_path / "i")
    fitted.save(tmp_path / "i", overwrite=True)
    (tmp_path / "other").mkdir()
    with pytest.raises(SettingsError, match="is not an integrator, choose another folder"):
        fitted.save(tmp_path / "other", overwrite=True)
    with pytest.raises(FormatError, match="is not an integrator"):
        Integrator.load(tmp_path / "other")


@pytest.mark.parametrize("name", ["integrator.json", "study.safetensors", "model/model.safetensors", "model/genes.tsv"])
def test_altered_files_are_named(fitted, tmp_path, name):
    fitted.save(tmp_path / "i")
    file = tmp_path / "i" / name
    whole = file.read_bytes()
    place = len(whole) // 2
    file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(FormatError, match=re.escape(name)):
        Integrator.load(tmp_path / "i")
    file.write_bytes(whole[:place])
    with pytest.raises(FormatError, match=re.escape(name)):
        Integrator.load(tmp_path / "i")
    file.unlink()
    with pytest.raises(FormatError, match=re.escape(name)):
        Integrator.load(tmp_path / "i")


def test_a_later_version_is_refused(fitted, tmp_path):
    fitted.save(tmp_path / "i")
    file = tmp_path / "i" / "integrator.json"
    content = json.loads(file.read_text()) | {"format_version": 99}
    file.write_text(json.dumps(content))
    with pytest.raises(FormatError, match=r"format version 99.*pip install -U scssl"):
        Integrator.load(tmp_path / "i")
    shutil.rmtree(tmp_path / "i")


def test_refusals(model, study):
    def spoilt(change):
        adata = study.copy()
        change(adata.obs)
        return adata

    def missing(obs):
        obs["study"] = obs["study"].astype(object)
        obs.iloc[:7, obs.columns.get_loc("study")] = None

    with pytest.raises(DataError, match=r"obs has no column 'plate' with the batches; there are: cell_type"):
        Integrator(model, batch="plate").fit(study)
    with pytest.raises(DataError, match=r"7 of \d+ cells have no batch in obs\['study'\]"):
        Integrator(model, batch="study").fit(spoilt(missing))
    with pytest.raises(DataError, match=r"all cells are of one batch \('a'\) in obs\['study'\].*scssl embed"):
        Integrator(model, batch="study").fit(spoilt(lambda obs: obs.__setitem__("study", "a")))
    with pytest.raises(DataError, match=r"obs\['depth'\] holds numbers with decimals, not batches"):
        Integrator(model, batch="depth").fit(study)
    with pytest.raises(SettingsError, match="call fit"):
        Integrator(model, batch="study").predict(study)
    for name, value, message in [
        ("mode", "probe", "mode 'probe' is not known; choose one of: zero_shot, finetune"),
        ("correct", "mean", "correct 'mean' is not known; choose one of: clusters, centre, none"),
        ("steps", 0, "steps is 0; it must be a whole number from 1"),
    ]:
        with pytest.raises(SettingsError, match=re.escape(message)):
            IntegratorSettings(**{name: value})


def test_small_batches_are_named(model, study, caplog):
    few = study[np.r_[0:5, np.flatnonzero(study.obs["study"] != study.obs["study"].iloc[0])]].copy()
    Integrator(model, batch="study").fit(few)
    assert "1 of 3 batches in obs['study'] have fewer than 20 cells" in caplog.text
