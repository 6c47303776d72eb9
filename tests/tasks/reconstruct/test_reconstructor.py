"""Reconstructor: fields written, modes, evaluation, saved folders, bad input."""

from __future__ import annotations

import json

import numpy as np
import pytest

import scssl
from scssl.errors import DataError, FormatError, SettingsError
from scssl.tasks import Reconstructor


@pytest.fixture(scope="module")
def tuned(models, cells):
    return Reconstructor(models["mse"], mode="finetune", loss="nb", epochs=2).fit(cells[0], device="cpu")


def test_predict_writes_the_stated_fields(models, cells, tmp_path):
    query = cells[1][:, 30:].copy()
    query.var_names = [*query.var_names[:-1], "not a gene"]
    found = Reconstructor(models["nb"]).predict(query, wanted=["expression", "sd", "counts"])
    assert found is query
    for name in ("scssl_expression", "scssl_expression_sd", "scssl_counts"):
        layer = query.layers[name]
        assert layer.shape == query.shape
        assert layer.dtype == np.float32
        assert np.isnan(layer[:, -1]).all()
    assert query.var["scssl_reconstructed"].tolist() == [True] * (query.n_vars - 1) + [False]
    settings = query.uns["scssl"]["reconstruct"]
    panel = query.obsm["X_scssl_expression"]
    assert panel.shape == (query.n_obs, 150)
    at = list(settings["genes"]).index(query.var_names[4])
    np.testing.assert_array_equal(panel[:, at], query.layers["scssl_expression"][:, 4])
    assert settings["measured"].sum() == query.n_vars - 1
    assert settings["scale"] == "log1p of counts per 10,000"
    assert "Test on the counts" in settings["warning"]
    Reconstructor(models["nb"]).predict(query, key_added="mine", wanted=["expression"])
    assert {"mine_expression"} <= set(query.layers)
    assert {"reconstruct", "reconstruct_mine"} <= set(query.uns["scssl"])
    query.write_h5ad(tmp_path / "q.h5ad")


def test_counts_in_raw_go_to_the_features_of_x(models, cells):
    query = cells[1].copy()
    query.raw = query.copy()
    query = query[:, 100:].copy()
    query.X = query.X.astype(np.float64).log1p()
    Reconstructor(models["nb"]).predict(query, layer="raw")
    whole = Reconstructor(models["nb"]).reconstruct(cells[1])
    assert query.layers["scssl_expression"].shape == (query.n_obs, 50)
    order = [whole.genes.index.get_loc(name) for name in query.var_names]
    np.testing.assert_allclose(query.layers["scssl_expression"], whole.expression[:, order], equal_nan=True)


def test_finetuning_learns_counts_where_log_values_were_predicted(tuned, models, cells):
    assert tuned.fitted.training["loss"] == "nb"
    found = tuned.reconstruct(cells[1], wanted=["counts"])
    learned = found.genes["learned"].to_numpy()
    truth = np.log1p(cells[1].X.toarray()[:, learned])
    assert np.corrcoef(np.log1p(found.counts[:, learned]).ravel(), truth.ravel())[0, 1] > 0.4
    # The model itself is left as it was.
    assert models["mse"].task.reconstruction.loss == "mse"


def test_finetuning_on_cells_that_lack_genes_is_said(models, cells, caplog):
    some = cells[0][:, 40:].copy()
    Reconstructor(models["nb"], mode="finetune", epochs=1).fit(some, device="cpu")
    assert "has not measured 40 of the 150 genes that the model knows" in caplog.text
    caplog.clear()
    Reconstructor(models["nb"], mode="finetune", epochs=1).fit(cells[0], device="cpu")
    assert "has not measured" not in caplog.text


def test_scratch_knows_nothing_of_genes_that_the_reference_has_not(models, cells, caplog):
    some = cells[0][:, 40:].copy()
    scratch = Reconstructor(models["mse"], mode="scratch", epochs=1).fit(some, device="cpu")
    found = scratch.reconstruct(cells[1], genes=list(models["mse"].panel.ids))
    missing = ~np.isin(found.genes.index, some.var_names)
    assert not found.genes["learned"][missing].any()
    assert np.isnan(found.expression[:, missing]).all()
    assert "nothing is said of them" in caplog.text
    assert scratch.fitted.spread is not None
    assert np.isnan(scratch.fitted.spread[missing]).all()


def test_evaluate_scores_the_model_beside_the_baselines(models, cells):
    found = Reconstructor(models["nb"]).evaluate(cells[1], labels="cell_type")
    table = found.table
    assert list(table.index) == ["zero_shot", "gene mean", "cell-type mean", "kNN smoothing", "PCA"]
    assert table.loc["gene mean", "weighted_explained_variance"] == pytest.approx(0, abs=1e-6)
    assert table.loc["cell-type mean", "weighted_explained_variance"] > 0.02
    assert table.loc["kNN smoothing", "poisson_deviance"] < table.loc["gene mean", "poisson_deviance"]
    assert "held-out 50% of each cell's counts" in found.settings["scale"]
    assert 0.5 < found.settings["errors_over_sd"] < 2
    assert found.examples["gene"].nunique() == 6
    json.dumps(found.summary(), allow_nan=False)
    again = Reconstructor(models["nb"]).evaluate(cells[1], labels="cell_type")
    assert found.summary() == again.summary()


def test_what_is_held_out_cannot_be_seen(models, cells):
    """The scores of a method that is given the truth are perfect; the model's cannot depend on it."""
    from scssl.tasks.reconstruct.baselines import Predicted
    from scssl.tasks.reconstruct.scoring import CHUNK

    seen = []

    def oracle(held):
        def method(at):
            log, counts, _ = held.truth(at)
            assert len(log) <= CHUNK
            seen.append(held)
            return Predicted(log, counts / held.split.expected_total[at][:, None])

        return method

    for how in ("thinned", "hidden"):
        found = Reconstructor(models["nb"]).evaluate(cells[1], hold_out=how, others={"oracle": oracle})
        best = found.scores["oracle"]
        assert best.weighted_explained_variance == pytest.approx(1)
        assert best.poisson_deviance == pytest.approx(0, abs=1e-6)
        assert found.scores["zero_shot"].weighted_explained_variance < 0.9
    split = seen[-1].split
    assert split.hidden is not None
    assert split.seen.toarray()[split.hidden].sum() == 0


def test_few_and_shallow_cells(models, cells):
    reconstructor = Reconstructor(models["nb"])
    with pytest.raises(DataError, match="adata: 9 cells with counts are too few to score; give 10 or more"):
        reconstructor.evaluate(cells[1][:9].copy())
    found = reconstructor.evaluate(cells[1][:12].copy())
    assert found.settings["n_cells"] == 12
    single = cells[1][:12].copy()
    single.X = type(single.X)(np.eye(12, single.n_vars, dtype=np.float32))
    with pytest.raises(DataError, match="0 of 12 cells have counts both to see and to score"):
        reconstructor.evaluate(single)


def test_scores_on_the_cells_it_was_trained_on_are_refused(tuned, cells):
    with pytest.raises(DataError, match="trained on these very cells"):
        tuned.evaluate(cells[0])
    assert "finetune" in tuned.evaluate(cells[1], max_cells=60).table.index
    with pytest.raises(DataError, match=r"obs has no column 'kind'; there are: cell_type"):
        tuned.evaluate(cells[1], labels="kind")
    with pytest.raises(SettingsError, match="hold_out 'half' is not known; choose one of: thinned, hidden"):
        tuned.evaluate(cells[1], hold_out="half")
    with pytest.raises(SettingsError, match=r"share is 1\.5; it must be a share between 0 and 1"):
        tuned.evaluate(cells[1], share=1.5)


@pytest.mark.parametrize("loss", ["mse", "nb"])
def test_save_and_load_give_the_same(models, cells, tmp_path, loss):
    before = Reconstructor(models[loss]).fit(cells[0])
    before.save(tmp_path / "r")
    after = Reconstructor.load(tmp_path / "r")
    first, second = before.reconstruct(cells[1]), after.reconstruct(cells[1])
    np.testing.assert_array_equal(first.expression, second.expression)
    np.testing.assert_array_equal(first.sd, second.sd)
    assert after.settings == before.settings
    with pytest.raises(SettingsError, match="exists already; choose another folder, or overwrite it"):
        before.save(tmp_path / "r")
    before.save(tmp_path / "r", overwrite=True)
    (tmp_path / "mine").mkdir()
    with pytest.raises(SettingsError, match="it is not a reconstructor"):
        before.save(tmp_path / "mine", overwrite=True)


def test_a_folder_that_was_altered_is_refused(models, cells, tmp_path):
    Reconstructor(models["mse"]).fit(cells[0]).save(tmp_path / "r")
    settings = tmp_path / "r" / "reconstructor.json"
    text = settings.read_text()
    for bad, words in (
        (text.replace("zero_shot", "finetune"), "the file was altered"),
        ("[]", "does not describe a reconstructor"),
        ("{", "is not JSON"),
        (text.replace('"format_version": 1', '"format_version": 99'), "pip install -U scssl"),
    ):
        settings.write_text(bad)
        with pytest.raises(FormatError, match=words):
            Reconstructor.load(tmp_path / "r")
    settings.write_text(text)
    spread = tmp_path / "r" / "spread.safetensors"
    spread.write_bytes(spread.read_bytes()[:-4])
    with pytest.raises(FormatError, match=r"spread.safetensors: has .* truncated or altered"):
        Reconstructor.load(tmp_path / "r")
    with pytest.raises(FormatError, match="is not a reconstructor"):
        Reconstructor.load(tmp_path)


def test_settings_that_are_not_possible(models, cells):
    with pytest.raises(SettingsError, match="mode 'magic' is not known; choose one of: zero_shot, finetune, scratch"):
        Reconstructor(models["nb"], mode="magic")
    with pytest.raises(SettingsError, match="loss has no effect in mode 'zero_shot'"):
        Reconstructor(models["nb"], loss="nb")
    with pytest.raises(SettingsError, match="epochs is -1"):
        Reconstructor(models["nb"], mode="finetune", epochs=-1)
    with pytest.raises(SettingsError, match=r"call fit\(reference\) first"):
        Reconstructor(models["nb"], mode="finetune").predict(cells[1])
    with pytest.raises(SettingsError, match="'variance' cannot be reconstructed; choose from: expression, sd"):
        Reconstructor(models["nb"]).reconstruct(cells[1], wanted=["variance"])
    bad = cells[1].copy()
    bad.X = bad.X.astype(np.float32) * 0.3
    with pytest.raises(DataError, match="layer"):
        Reconstructor(models["nb"]).reconstruct(bad)


def test_public_names():
    assert scssl.tasks.Reconstructor is Reconstructor
