"""Covariates: read and checked, how alike groups are in them, and what that does to predictions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.errors import DataError, SettingsError
from scssl.tasks import Simulator
from scssl.tasks.simulate.baselines import New, Seen, additive, matched_mean_shift
from scssl.tasks.simulate.calibrate import DONOR, MEASURED, TYPE, Calibration, calibrate
from scssl.tasks.simulate.cells import Columns, read, settle
from scssl.tasks.simulate.covariates import (
    depending,
    design,
    likenesses,
    numbers_among,
    read_covariates,
    strata,
    unseen,
    warn_of_unknown,
)
from scssl.tasks.simulate.learn import learn, pairs_donors
from scssl.tasks.simulate.pseudobulks import bulk
from scssl.tasks.simulate.response import kernels, predict
from tests.tasks.simulate.conftest import simulated_cells

GIVEN = {"condition": "condition", "control": "ctrl", "case": "stim", "device": "cpu"}
OWN = np.arange(60, 80)
"""Genes that rise in women only."""
values = st.lists(
    st.tuples(st.sampled_from(["F", "M", "x"]), st.floats(-1e3, 1e3).map(lambda x: round(x, 2))), min_size=2, max_size=9
)


def table(rows):
    return pd.DataFrame({"sex": [row[0] for row in rows], "age": [float(row[1]) for row in rows]})


@settings(deadline=None)
@given(values, values)
def test_likeness_against_loops(seen, new):
    a, b = table(seen), table(new)
    everyone = seen + new
    expected = []
    if len({row[0] for row in seen}) > 1:
        expected.append([[float(x[0] == y[0]) for y in everyone] for x in everyone])
    if len({row[1] for row in seen}) > 1:
        width = np.std([row[1] for row in seen])
        expected.append([[np.exp(-((x[1] - y[1]) ** 2) / (2 * width**2)) for y in everyone] for x in everyone])
    found = likenesses(a, b)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
        for K in depending([np.ones_like(one)], [one]):
            assert np.linalg.eigvalsh(K).min() > -1e-7
            np.testing.assert_allclose(np.diag(K), 1.0)
    strange = sorted({row[0] for row in new} - {row[0] for row in seen})
    outside = [row[1] for row in new if not min(r[1] for r in seen) <= row[1] <= max(r[1] for r in seen)]
    said = unseen(b, a)
    assert len(said) == bool(strange) + bool(outside)
    assert not strange or said[0].startswith(f"sex {', '.join(strange)} (measured: ")
    assert not outside or f"age {min(f'{value:g}' for value in outside)}" in said[-1]


def test_covariances_are_as_before_and_as_they_are_by_each_covariate():
    K, like = np.array([[1.0, 0.4], [0.4, 1.0]]), np.eye(2)
    found = depending([K], [like, np.ones((2, 2))])
    np.testing.assert_array_equal(found[0], K)
    np.testing.assert_array_equal(found[1], [[1.0, 0.2], [0.2, 1.0]])
    np.testing.assert_array_equal(found[2], K)
    types = ["a", "b", "a", "b"]
    same = kernels(types, None, [])
    assert len(kernels(types, None, [], likeness=[np.eye(4)])) == 2 * len(same)
    for one, other in zip(kernels(types, None, [], likeness=[]), same, strict=True):
        np.testing.assert_array_equal(one, other)


def test_names_and_columns_of_a_linear_model():
    seen = table([("F", 60), ("M", 30.5), ("F", 30.5)])
    assert strata(seen).tolist() == ["sex=F, age=60", "sex=M, age=30.5", "sex=F, age=30.5"]
    days = pd.DataFrame({"day": [20200101.0, 20200102.0]})
    assert strata(days).tolist() == ["day=20200101", "day=20200102"]
    ages = np.array([60, 30.5, 30.5])
    expected = np.column_stack([[1, 0, 1], [0, 1, 0], (ages - ages.mean()) / ages.std()])
    np.testing.assert_allclose(design(seen, seen), expected)
    # A level that was not seen is none of them.
    np.testing.assert_allclose(design(seen, table([("x", ages.mean())])), [[0.0, 0.0, 0.0]], atol=1e-12)


def test_values_are_read_as_numbers_or_levels():
    obs = pd.DataFrame(
        {"sex": pd.Categorical(["F", None, "M"]), "age": [60, 30, np.nan], "smoker": [True, False, True]},
        index=["a", "b", "c"],
    )
    assert numbers_among(obs, ["sex", "age", "smoker"]) == ("age",)
    found = read_covariates(obs, ["sex", "age", "smoker"], numbers=["age"], file="f.h5ad")
    assert found["sex"].tolist() == ["F", None, "M"]
    assert found["age"].tolist()[:2] == [60.0, 30.0]
    assert found.notna().all(axis=1).tolist() == [True, False, False]
    assert found["smoker"].tolist() == ["True", "False", "True"]
    with pytest.raises(DataError, match=r"f.h5ad: obs has no column 'bmi', a covariate; there are: sex, age"):
        read_covariates(obs, ["bmi"], numbers=[], file="f.h5ad")
    with pytest.raises(DataError, match="'age' is infinite"):
        read_covariates(obs.assign(age=np.inf), ["age"], numbers=["age"], file="f.h5ad")


@pytest.mark.parametrize("values", [[60, 30], ["60.0", "30"], pd.Categorical([60, 30]), np.array([60.0, 30.0])])
def test_what_was_a_number_is_one_whatever_it_comes_as(values):
    obs = pd.DataFrame({"age": values})
    assert read_covariates(obs, ["age"], numbers=["age"], file="f")["age"].tolist() == [60.0, 30.0]


@pytest.mark.parametrize("values", [[1, 2], ["1", "2"], pd.Categorical([1, 2]), np.array([1.0, 2.0])])
def test_what_was_a_level_is_one_whatever_it_comes_as(values):
    obs = pd.DataFrame({"site": values})
    assert read_covariates(obs, ["site"], numbers=[], file="f")["site"].tolist() == ["1", "2"]


def test_what_cannot_be_a_number_is_named():
    with pytest.raises(DataError, match="f: covariate 'age' is a number, and 'old' is none"):
        read_covariates(pd.DataFrame({"age": ["60", "old"]}), ["age"], numbers=["age"], file="f")


def test_levels_in_other_words_are_warned_of(caplog):
    seen = pd.DataFrame({"smoker": ["False", "True"], "age": [1.0, 2.0]})
    warn_of_unknown(pd.DataFrame({"smoker": ["True"], "age": [9.0]}), seen, file="f")
    assert not caplog.text
    warn_of_unknown(pd.DataFrame({"smoker": ["0", "1"], "age": [9.0, 9.0]}), seen, file="f")
    assert "none of the values of covariate 'smoker' (0, 1) was learned from (False, True)" in caplog.text


def test_a_new_group_responds_as_those_of_its_value():
    """Half of the genes respond in women only: known of seven groups, asked of an eighth."""
    rng = np.random.default_rng(0)
    sex = np.array(["F", "M", "F", "M", "F", "M", "F", "F"])
    active = np.arange(600) < 200
    response = rng.normal(size=600) * active
    change = response * (sex == "F")[:, None]
    variance = np.full(change.shape, 0.01)
    seen = change + 0.1 * rng.normal(size=change.shape)
    like = likenesses(pd.DataFrame({"sex": sex[:7]}), pd.DataFrame({"sex": sex[7:]}))
    level, types = np.zeros_like(change), ["t"] * 8
    donors = [str(i) for i in range(8)]
    found = [
        predict(seen[:7], variance[:7], kernels(types, donors, [], likeness=likeness), level=level).mean[7]
        for likeness in (like, [])
    ]
    errors = [((one - change[7]) ** 2).sum() for one in found]
    assert errors[0] < 0.1 * errors[1]


def test_simple_shifts_by_covariate():
    rng = np.random.default_rng(1)
    known = table([("F", 1), ("F", 2), ("M", 1), ("M", 2), ("F", 1)])
    types = np.array(["a", "a", "a", "a", "b"], dtype=object)
    before = rng.normal(size=(5, 3))
    change = 1.0 + (known["sex"] == "F").to_numpy()[:, None] + 0.5 * known["age"].to_numpy()[:, None] * np.ones(3)
    columns = design(known, known)
    seen = Seen(types, np.full(5, "", dtype=object), before, before + change, np.zeros((2, 3)), columns)
    asked = table([("M", 2), ("M", 1)])
    new = New(["a", "b"], ["", ""], before[:2], design(known, asked))
    # Effects of type, sex and age add up, also for a type of which no man was seen.
    np.testing.assert_allclose(additive(seen, new), [[2.0] * 3, [1.5] * 3], atol=1e-4)
    found = matched_mean_shift(
        seen, New(["a", "b", "z"], [""] * 3, before[:3], design(known, table([("M", 2), ("M", 1), ("F", 1)])))
    )
    np.testing.assert_allclose(found[0], change[3])
    # Of the type, where it has no such group; of such groups, where nothing is known of the type.
    np.testing.assert_allclose(found[1], change[4])
    np.testing.assert_allclose(found[2], (change[0] + change[4]) / 2)


def test_what_goes_with_a_covariate_is_not_taken_for_the_donors():
    known = table([("F", 0), ("M", 1), ("F", 2), ("M", 3), ("F", 4), ("M", 5), ("F", 6)])
    donors = np.array([f"d{i}" for i in range(7)], dtype=object)
    change = (known["sex"] == "F").to_numpy()[:, None] + known["age"].to_numpy()[:, None] * np.ones(3)
    zeros = np.zeros((7, 3))
    seen = Seen(np.full(7, "t", dtype=object), donors, zeros, change, np.zeros((2, 3)), design(known, known))
    new = New(["t", "t"], ["x", "y"], zeros[:2], design(known, table([("F", 3), ("M", 6)])))
    np.testing.assert_allclose(additive(seen, new), [[4.0] * 3, [6.0] * 3], atol=0.02)


@pytest.fixture(scope="module")
def by_sex(treated):
    """Two donors are women, in which further genes rise."""
    adata = treated.copy()
    women = adata.obs["donor"].astype(str).str[-1].isin(["1", "2"]).to_numpy()
    case = (adata.obs["condition"] == "stim").to_numpy()
    counts = adata.X.toarray().astype(np.int64)
    rng = np.random.default_rng(3)
    counts[np.ix_(women & case, OWN)] += rng.poisson(6, ((women & case).sum(), len(OWN)))
    adata.X = sp.csr_matrix(counts)
    adata.obs["sex"] = np.where(women, "F", "M")
    adata.obs["age"] = adata.obs["donor"].astype(str).str[-1].astype(float) * 10
    return adata


@pytest.fixture
def uncalibrated(monkeypatch):
    monkeypatch.setattr("scssl.tasks.simulate.fit.calibrate", lambda *_, **__: Calibration())


@pytest.mark.usefixtures("uncalibrated")
def test_a_donor_left_out_responds_as_its_sex_also_when_loaded(by_sex, model, tmp_path):
    who = "donor=study_1_donor_2"
    rises = {}
    for covariates in ((), "sex", ["sex", "age"]):
        simulator = Simulator(model, method="model").fit(by_sex, hold_out=who, covariates=covariates, **GIVEN)
        simulation = simulator.simulate(by_sex, where=who, device="cpu")
        rises[str(covariates)] = float(simulation.change.to_numpy()[OWN].mean())
    assert rises["sex"] > 1.3 * rises["()"]
    assert rises["['sex', 'age']"] > 1.15 * rises["()"]
    assert simulation.settings["columns"]["covariates"] == "sex, age"
    table = simulator.evaluate(by_sex, where=who, device="cpu").methods
    assert "matched mean shift" in table.index
    simulator.save(tmp_path / "s")
    again = Simulator.load(tmp_path / "s").simulate(by_sex, where=who, device="cpu")
    assert (again.counts != simulation.counts).nnz == 0
    unknown = by_sex.copy()
    del unknown.obs["sex"]
    with pytest.raises(DataError, match="no column 'sex', a covariate"):
        simulator.predict(unknown, device="cpu")


def test_without_donors_cells_are_grouped_by_covariates(by_sex, model):
    columns = Columns(condition="condition", cell_type="cell_type", donor=None, covariates=("sex",))
    cells = read(by_sex, model, columns=columns, layer=None, device="cpu")
    learned = learn(cells, control="ctrl", case="stim", brief=True)
    assert learned.donors is None
    assert learned.keys == [(f"type_{i}", f"sex={s}") for i in range(1, 5) for s in "FM"]
    for number, (kind, name) in enumerate(learned.keys):
        rows = [
            np.flatnonzero((cells.types == kind) & (by_sex.obs["sex"] == name[-1]) & (cells.condition == side))
            for side in ("ctrl", "stim")
        ]
        values = [bulk(cells.counts[part]).value for part in rows]
        np.testing.assert_allclose(learned.change[number], values[1] - values[0])
    found = calibrate(cells, control="ctrl", case="stim", methods=["model"], axes=[TYPE, DONOR], seed=0)
    assert found.folds == {TYPE: 4, DONOR: 2}
    assert found.unit == "values of 'sex'"
    assert found.axis(("type_1", "sex=x"), learned) == DONOR
    said = found.describe("model", [DONOR], new_values=["sex x (measured: F, M)"])
    assert "for new values of 'sex' not calibrated, likely too small: 2 could be left out" in said
    assert "for sex x (measured: F, M) not calibrated" in said
    assert found.axis(("type_1", "sex=F"), learned) == MEASURED
    assert found.axis(("type_9", "sex=F"), learned) == TYPE
    assert Calibration.from_dict(found.to_dict()) == found


def test_donors_of_one_condition_each_are_averaged_within_covariates(by_sex):
    """As with a disease: whoever has it was not measured without it."""
    cells = simulated_cells(by_sex)
    sick = np.isin(cells.donors, ["study_1_donor_1", "study_1_donor_3"])
    cells = replace(cells, covariates=by_sex.obs[["sex"]]).at(sick == (cells.condition == "stim"))
    assert not pairs_donors(cells, control="ctrl", case="stim")
    learned = learn(cells, control="ctrl", case="stim", brief=True)
    assert learned.donors is None
    counts = pd.crosstab([cells.types, cells.covariates["sex"].to_numpy()], cells.condition)
    enough = counts[(counts >= 5).all(axis=1)].index
    assert learned.keys == [(kind, f"sex={sex}") for kind, sex in enough]
    assert len({kind for kind, _ in learned.keys}) < len(learned.keys)
    for number, (kind, unit) in enumerate(learned.keys):
        well, ill = (2, 1) if unit == "sex=F" else (4, 3)
        sides = [bulk(cells.counts[(cells.types == kind) & (cells.donors == f"study_1_donor_{who}")]).value
                 for who in (well, ill)]  # fmt: skip
        np.testing.assert_allclose(learned.change[number], sides[1] - sides[0])
    # Ages go with donors, so nobody was measured at the same age under both.
    with pytest.raises(DataError, match=r"of the same age under both .* give numbers such as age in classes"):
        learn(replace(cells, covariates=cells.obs[["age"]]), control="ctrl", case="stim")


def test_too_many_groups_are_refused(by_sex, monkeypatch):
    cells = replace(simulated_cells(by_sex), covariates=by_sex.obs[["sex"]], donors=None)
    monkeypatch.setattr("scssl.tasks.simulate.learn.MOST_GROUPS", 7)
    with pytest.raises(DataError, match="8 groups of a cell type of the same sex are more than 7"):
        learn(cells, control="ctrl", case="stim", brief=True)


@pytest.mark.parametrize(
    ("covariates", "error", "words"),
    [
        (["bmi"], DataError, "no column 'bmi'"),
        (["donor"], SettingsError, "'donor' is given twice"),
        (["sex", "sex"], SettingsError, "'sex' is given twice"),
        (["same"], DataError, "covariate 'same' is 'x' for all cells"),
        (["condition"], SettingsError, "'condition' is given twice"),
        (["empty"], DataError, "no cell with obs\\['condition'\\] = 'ctrl' has a value of covariate 'empty'"),
    ],
)
def test_what_cannot_be_a_covariate(by_sex, model, covariates, error, words):
    adata = by_sex.copy()
    adata.obs["same"] = "x"
    adata.obs["empty"] = [None if name == "ctrl" else "x" for name in adata.obs["condition"]]
    with pytest.raises(error, match=words):
        Simulator(model).fit(adata, covariates=covariates, **GIVEN)


def test_a_method_of_covariates_needs_some(by_sex, model):
    with pytest.raises(SettingsError, match="with the same covariates, and none are given"):
        Simulator(model, method="matched mean shift").fit(by_sex, **GIVEN)
    columns = settle(by_sex, condition="condition", cell_type=None, donor=None, layer=None, covariates=["sex", "age"])
    assert columns == Columns(
        condition="condition", cell_type="cell_type", donor="donor", covariates=("sex", "age"), numbers=("age",)
    )  # fmt: skip
    # A number by any of its names.
    cells = read(by_sex, model, columns=columns, layer=None, device="cpu")
    assert cells.where("age", "10").sum() == cells.where("age", "10.0").sum() > 0
    named = replace(cells, obs=cells.obs.assign(run=["1" if late else "01" for late in np.arange(len(cells)) % 2]))
    assert named.where("run", "1").sum() == len(cells) // 2


def test_samples_of_a_donor_are_groups_of_their_own(by_sex):
    """Where a covariate differs within donors, as a time does."""
    cells = simulated_cells(by_sex)
    late = np.arange(len(cells)) % 2 == 0
    cells = replace(cells, covariates=pd.DataFrame({"time": np.where(late, "24h", "6h")}))
    learned = learn(cells, control="ctrl", case="stim", brief=True)
    assert {unit.split(", ")[1] for _, unit in learned.keys} == {"time=24h", "time=6h"}
    assert {unit.split(", ")[0] for _, unit in learned.keys} <= set(cells.donors)
    for number, (kind, unit) in enumerate(learned.keys):
        donor, time = unit.split(", time=")
        here = (cells.types == kind) & (cells.donors == donor) & (late == (time == "24h"))
        sides = [bulk(cells.counts[here & (cells.condition == name)]).value for name in ("ctrl", "stim")]
        np.testing.assert_allclose(learned.change[number], sides[1] - sides[0])
    # A donor is left out with all of its samples.
    found = calibrate(cells, control="ctrl", case="stim", methods=["model"], axes=[DONOR], seed=0)
    assert found.folds == {DONOR: 4}


def test_numbers_as_text_are_levels_which_is_said(by_sex, caplog):
    adata = by_sex.copy()
    adata.obs["age"] = adata.obs["age"].map(str)
    columns = settle(adata, condition="condition", cell_type=None, donor=None, layer=None, covariates=["age", "sex"])
    assert columns.numbers == ()
    assert "obs['age'] is taken for 4 levels; if these are numbers" in caplog.text
    assert "'sex'] is taken" not in caplog.text
