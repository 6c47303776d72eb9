"""Simulator from cells to cells: held-out types and donors, several cases, doses, saving, and every mistake."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

import scssl
from scssl.errors import DataError, FormatError, SettingsError
from scssl.tasks import Simulator
from tests.tasks.simulate.conftest import RAISED

pytestmark = pytest.mark.usefixtures("uncalibrated")
GIVEN = {"condition": "condition", "control": "ctrl", "case": "stim", "device": "cpu"}
TYPE = "cell_type=type_2"


def brief(model, cells, **more):
    """Fit without the folds of the verdict, which take the most time."""
    return Simulator(model, method="model").fit(cells, **(GIVEN | more))


def test_simulated_cells_are_counts_and_say_where_they_come_from(held_out, treated):
    before = treated.copy()
    cells = held_out.predict(treated, where=TYPE, device="cpu")
    control = treated[(treated.obs["condition"] == "ctrl") & (treated.obs["cell_type"] == "type_2")]
    assert cells.obs["scssl_control_cell"].tolist() == control.obs_names.tolist()
    assert cells.obs_names.tolist() == [f"{name}-stim" for name in control.obs_names]
    assert cells.var_names.tolist() == treated.var_names.tolist()
    values = cells.X.toarray()
    assert values.dtype == np.float32
    assert (values == np.round(values)).all()
    assert (values >= 0).all()
    assert set(cells.obs["condition"]) == {"stim"}
    assert set(cells.obs["scssl_type"]) == {"type_2"}
    assert not cells.obs["scssl_case_measured"].any()
    assert set(cells.obs["scssl_donor"]) == set(control.obs["donor"])
    settings = cells.uns["scssl"]["simulate"]
    assert settings["hold_out"] == TYPE
    assert settings["cases"]["stim"]["verdict"] == held_out.verdicts["stim"].text
    assert "not to be" in settings["warning"] or "not measurements" in settings["warning"]
    # The input stays as it is.
    assert (treated.X != before.X).nnz == 0
    assert treated.obs.equals(before.obs)
    rise, sd = (cells.varm[key].to_numpy() for key in ("scssl_change", "scssl_change_sd"))
    assert rise.shape == sd.shape == (treated.n_vars, len(set(control.obs["donor"])))
    others = np.setdiff1d(np.arange(treated.n_vars), RAISED)
    assert (rise[RAISED].mean(axis=1) > 0.3).mean() > 0.9
    assert np.abs(rise[others]).mean() < 0.3 * rise[RAISED].mean()
    assert (sd > 0).all()


def test_the_same_seed_gives_the_same_cells(held_out, treated):
    one, two, other = (held_out.predict(treated, where=TYPE, seed=s, device="cpu").X for s in (3, 3, 4))
    assert (one != two).nnz == 0
    assert (one != other).nnz > 0


def test_scores_of_a_held_out_type(held_out, treated):
    scores = held_out.evaluate(treated, where=TYPE, device="cpu")
    table = scores.methods
    assert {"model", "no change", "control mean", "mean shift", "cell-type mean shift", "case mean", "additive",
            "ridge on pseudobulks", "latent shift (scGen-like)"} <= set(table.index)  # fmt: skip
    assert table.loc["no change", "explained"] == 0
    assert table.loc["model", "explained"] > 0.7
    assert table.loc["model", "mae"] < 0.5 * table.loc["no change", "mae"]
    assert table.loc["model", "pearson_delta"] > 0.8
    assert scores.groups["cell_type"].unique().tolist() == ["type_2"]


def test_the_verdict_leaves_types_out_and_names_the_method(held_out):
    verdict = held_out.verdicts["stim"]
    assert verdict.by == "cell types"
    assert verdict.folds == ["type_1", "type_3", "type_4"]
    assert verdict.explained["model"] > 0.5
    assert verdict.method == ("model" if verdict.beats else verdict.best)
    assert f"{verdict.explained['model']:.2f} of the change explained" in verdict.text


def test_a_donor_left_out_and_method_given(model, treated):
    simulator = brief(model, treated, hold_out="donor=study_1_donor_2")
    scores = simulator.evaluate(treated, where="donor=study_1_donor_2", device="cpu").methods
    assert scores.loc["model", "explained"] > 0.7
    assert "not judged" in simulator.verdicts["stim"].text
    simulator = Simulator(model, method="no change").fit(treated, **GIVEN)
    cells = simulator.predict(treated, device="cpu")
    control = treated[treated.obs["condition"] == "ctrl"]
    np.testing.assert_array_equal(cells.X.toarray(), control.X.toarray())
    groups = treated.obs.groupby(["cell_type", "donor", "condition"], observed=False).size().unstack().min(axis=1)
    enough = [groups[key] >= 5 for key in zip(control.obs["cell_type"], control.obs["donor"], strict=True)]
    assert cells.obs["scssl_case_measured"].tolist() == enough


def test_saved_and_loaded(held_out, treated, tmp_path):
    held_out.save(tmp_path / "s")
    loaded = Simulator.load(tmp_path / "s")
    assert loaded.verdicts == held_out.verdicts
    if held_out.verdicts["stim"].method != "latent shift (scGen-like)":
        one, two = (s.predict(treated, where=TYPE, device="cpu") for s in (held_out, loaded))
        assert (one.X != two.X).nnz == 0
    assert "latent shift (scGen-like)" not in loaded.evaluate(treated, where=TYPE, device="cpu").methods.index
    with pytest.raises(SettingsError, match="exists already"):
        held_out.save(tmp_path / "s")
    held_out.save(tmp_path / "s", overwrite=True)
    file = tmp_path / "s" / "simulator.json"
    text = file.read_text()
    file.write_text(text.replace('"control": "ctrl"', '"control": "none"'))
    with pytest.raises(FormatError, match="checksum"):
        Simulator.load(tmp_path / "s")
    file.write_text("{")
    with pytest.raises(FormatError, match="not JSON"):
        Simulator.load(tmp_path / "s")
    with pytest.raises(FormatError, match="is not a simulator"):
        Simulator.load(tmp_path)


def test_new_control_cells_in_another_order_of_genes_and_without_conditions(held_out, treated):
    new = treated[(treated.obs["condition"] == "ctrl") & (treated.obs["cell_type"] == "type_1")].copy()
    expected = held_out.predict(new, device="cpu")
    del new.obs["condition"]
    shuffled = new[:, ::-1].copy()
    found = held_out.predict(shuffled, device="cpu")
    assert found.var_names.tolist() == expected.var_names.tolist()
    assert (found.X != expected.X).nnz == 0
    new.obs.insert(0, "note", [None, *["seen"] * (new.n_obs - 1)])
    assert held_out.predict(new, device="cpu").n_obs == expected.n_obs
    with pytest.raises(DataError, match=r"100 of the 150 genes .* are missing"):
        held_out.predict(new[:, :50].copy(), device="cpu")


@pytest.fixture(scope="module")
def doses(treated):
    """Condition as doses 0, 1 and 10, and a second drug on another set of genes."""
    cells = treated.copy()
    names = np.where(cells.obs["condition"] == "ctrl", "0", "10").astype(object)
    rng = np.random.default_rng(1)
    halved = (names == "10") & (rng.random(cells.n_obs) < 0.5)
    counts = cells.X.toarray()
    counts[np.ix_(halved, RAISED)] = rng.binomial(counts[np.ix_(halved, RAISED)], 0.5)
    names[halved] = "1"
    cells.X = counts
    cells.obs["dose"] = names
    return cells


def test_several_cases_sums_and_doses(model, doses):
    given = {"condition": "dose", "control": "0", "case": ["1", "10"]}
    simulator = brief(model, doses, **given)
    both = simulator.simulate(doses, device="cpu")
    n = int((doses.obs["dose"] == "0").sum())
    assert both.counts.shape[0] == 2 * n
    assert both.cases.tolist() == ["1"] * n + ["10"] * n
    rise = {case: simulator.simulate(doses, case=case, device="cpu").change.iloc[RAISED].to_numpy().mean()
            for case in ("1", "3.3", "10", "1+10")}  # fmt: skip
    assert rise["1"] < rise["3.3"] < rise["10"] < rise["1+10"]
    summed = simulator.simulate(doses, case="1+10", device="cpu")
    assert "do not interact is assumed" in summed.settings["cases"]["1+10"]["verdict"]
    with pytest.raises(SettingsError, match=r"'1\+1' has a condition twice"):
        simulator.simulate(doses, case="1+1", device="cpu")
    for verb in (simulator.simulate, simulator.evaluate):
        with pytest.raises(SettingsError, match="seed is -1"):
            verb(doses, case="1", seed=-1, device="cpu")
    with pytest.raises(SettingsError, match="a dose between 0 and 10"):
        simulator.simulate(doses, case="20", device="cpu")
    with pytest.raises(SettingsError, match="cannot be scored"):
        simulator.evaluate(doses, case="3.3", device="cpu")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"condition": "nowhere"}, "no column 'nowhere'; there are: cell_type"),
        ({"cell_type": "nowhere"}, "no column 'nowhere'"),
        ({"donor": "nowhere"}, "no column 'nowhere'"),
        ({"case": "other"}, r"no cell has obs\['condition'\] = 'other'; there are: ctrl, stim"),
        ({"control": "other"}, "= 'other'; there are: ctrl, stim"),
        ({"case": "ctrl"}, "must be different conditions"),
        ({"hold_out": "cell_type"}, "give COL=VALUE"),
        ({"hold_out": "cell_type=B"}, r"no cell has obs\['cell_type'\] = 'B'; there are: type_1"),
        ({"hold_out": "nowhere=B"}, "no column 'nowhere'"),
        ({"hold_out": "condition=stim"}, "'condition=stim' cannot be held out: 'condition' is what is simulated"),
        ({"hold_out": "condition=ctrl"}, "'condition=ctrl' cannot be held out"),
        ({"seed": -1}, "seed is -1; it must be 0 or more"),
    ],
)
def test_mistakes_in_what_is_asked(model, treated, given, words):
    with pytest.raises((DataError, SettingsError), match=words):
        brief(model, treated, **given)


def test_conditions_that_are_numbers_are_named_as_numbers(model, treated):
    cells = treated.copy()
    cells.obs["condition"] = (cells.obs["condition"] != "ctrl").astype(int)
    fitted = Simulator(model, method="mean shift").fit(cells, condition="condition", control=0, case=1, device="cpu")
    assert list(fitted.verdicts) == ["1"]
    found = fitted.predict(cells, case=[1], device="cpu")
    assert found.n_obs == (cells.obs["condition"] == 0).sum()


def test_cells_that_cannot_be_used(model, treated):
    logs = treated.copy()
    logs.X = logs.X.astype(np.float32)
    logs.X.data = np.log1p(logs.X.data)
    with pytest.raises(DataError, match="counts"):
        brief(model, logs)
    apart = treated[(treated.obs["condition"] == "ctrl") == (treated.obs["cell_type"] == "type_1")].copy()
    with pytest.raises(DataError, match="no cell type has 5 cells or more under both"):
        brief(model, apart)
    with pytest.raises(DataError, match="without them nothing says what the condition does"):
        brief(model, treated[(treated.obs["condition"] == "ctrl") | (treated.obs["cell_type"] == "type_2")].copy(),
              hold_out=TYPE)  # fmt: skip


def test_without_types_and_with_one_donor_nothing_can_be_judged_and_that_is_said(model, treated):
    one = treated[treated.obs["donor"] == "study_1_donor_1"].copy()
    simulator = Simulator(model).fit(one, **GIVEN, cell_type="none")
    verdict = simulator.verdicts["stim"]
    assert verdict.text.startswith("cannot be judged")
    assert verdict.method == "cell-type mean shift"
    assert simulator.predict(one, device="cpu").obs["scssl_method"].unique().tolist() == ["cell-type mean shift"]


def test_settings_and_order_of_verbs(model, treated):
    with pytest.raises(SettingsError, match="'best' is not known; choose one of: auto, model, no change"):
        Simulator(model, method="best")
    with pytest.raises(SettingsError, match="confidence is 2"):
        Simulator(model, confidence=2)
    with pytest.raises(SettingsError, match=r"needs a scssl\.CellModel, not int"):
        Simulator(3)
    with pytest.raises(SettingsError, match="call fit"):
        Simulator(model).predict(treated)


def test_files_are_read_and_left_as_they_are(model, treated, tmp_path):
    path = tmp_path / "cells.h5ad"
    treated.write_h5ad(path)
    content = path.read_bytes()
    simulator = brief(model, path, hold_out=TYPE)
    simulation = simulator.simulate(path, where=TYPE, device="cpu")
    simulation.write(tmp_path / "out.h5ad")
    assert path.read_bytes() == content
    out = ad.read_h5ad(tmp_path / "out.h5ad")
    assert (simulation.counts != out.X).nnz == 0
    assert list(out.varm["scssl_change"].columns) == list(simulation.change.columns)
    assert scssl.tasks.Simulator.__doc__
