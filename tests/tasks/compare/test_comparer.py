"""A comparison from cells to words: what is found, what is refused, and what cannot be known."""

import json
import sys

import numpy as np
import pandas as pd
import pytest

from scssl.errors import DataError, FormatError, MissingExtraError, SettingsError
from scssl.tasks import Comparer
from scssl.tasks.compare.fdr import adjusted, simes
from scssl.tasks.compare.null import _possible
from scssl.tasks.compare.settings import ComparerSettings


def truth(study):
    return study.uns["simulation"]["conditions"]["disease"]


def test_what_was_put_in_is_found(fitted, study):
    found, known = fitted.comparison, truth(study)
    (shifted,) = known["types"]
    genes = found.genes[(found.genes["q_value"] <= 0.05)]
    assert set(genes["cell_type"]) == {shifted}
    right = genes["gene"].isin({*known["genes"], *known["tfs"]})
    assert len(genes) >= 8
    assert right.mean() > 0.8
    programmes = found.programmes[found.programmes["q_value"] <= 0.05]
    assert set(known["programmes"]) <= set(programmes["programme"])
    moved = found.state.set_index("cell_type")["relative_shift"]
    assert moved.idxmax() == shifted
    row = found.state.set_index("cell_type").loc[shifted]
    assert row["low"] < row["relative_shift"] < row["high"]
    assert row["auc"] > 0.9
    assert row["p_value"] == pytest.approx(row["smallest_p"]) == pytest.approx(2 / 70)
    shares = found.composition.set_index("cell_type")["log2_ratio"]
    assert shares.idxmax() == known["composition"]["log_factor"].idxmax()
    assert found.sentences[2].startswith("Cell types in which something is found")
    assert shifted in found.sentences[3]


def test_one_false_discovery_rate_across_everything(fitted):
    found = fitted.comparison
    p = {}
    for kind in ("composition", "state", "genes", "programmes"):
        for name, part in getattr(found, kind).groupby("cell_type"):
            p[name, kind] = simes(part["p_value"].to_numpy(dtype=float))
    q = dict(zip(p, adjusted(np.array(list(p.values()))), strict=True))
    assert len(found.answers) == len(q) == 12
    for row in found.answers.itertuples():
        assert row.q_value == pytest.approx(q[row.cell_type, row.kind])
        table = getattr(found, row.kind)
        # What is found in a table is found as an answer, and the other way round.
        assert row.found == bool((table.loc[table["cell_type"] == row.cell_type, "q_value"] <= 0.05).any())
    assert found.answers["rank"].tolist() == list(range(1, 13))
    assert found.answers["found"].is_monotonic_decreasing
    # What permuting could give at least is no bound of p-values that rest on a model.
    permuted = found.answers.loc[found.answers["smallest_p"].notna()]
    assert set(permuted["kind"]) == {"state"}
    assert (permuted["p_value"] >= permuted["smallest_p"] - 1e-12).all()


def test_ratios_of_genes_are_those_of_summed_counts(fitted, study):
    row = fitted.comparison.genes.iloc[0]
    cells = study[study.obs["cell_type"] == row["cell_type"]]
    total = cells.obs.assign(
        gene=cells[:, row["gene"]].X.toarray().ravel(),
        all=cells.X.sum(axis=1).A1 if hasattr(cells.X.sum(axis=1), "A1") else np.asarray(cells.X.sum(axis=1)).ravel(),
    )
    rates = total.groupby("donor", observed=True).agg({"gene": "sum", "all": "sum", "condition": "first"})
    rate = (rates["gene"] + 0.5) / rates["all"]
    by = np.log2(rate).groupby(rates["condition"], observed=True).mean()
    assert row["log2_ratio"] == pytest.approx(by["disease"] - by["healthy"], abs=0.6)
    assert row["low"] < row["log2_ratio"] < row["high"]


def test_pairs_are_compared_with_themselves(pairs, asked):
    found = Comparer(use_rep="X_rep", kinds=["composition", "state"]).fit(pairs, **asked).comparison
    assert found.settings["compared_as_pairs"]
    assert found.state["smallest_p"].min() == 2 / 16
    assert "each under both conditions" in found.sentences[0]
    assert "cannot be shown with 4 pairs" in " ".join(found.answers["sure"])
    kind = pairs.obs["cell_type"].iloc[0]
    mine = np.flatnonzero((pairs.obs["cell_type"] == kind) & (pairs.obs["donor"] == pairs.obs["donor"].iloc[0]))
    few = pairs[np.setdiff1d(np.arange(pairs.n_obs), mine[4:])].copy()
    reasons = Comparer(use_rep="X_rep", kinds=["composition", "state"]).fit(few, **asked).comparison.left_out
    (reason,) = reasons.loc[reasons["cell_type"] == kind, "reason"]
    words = "samples left out because they, or the same donor's other sample, have fewer than 10 of these cells: "
    assert reason.startswith(words)
    # A donor with one condition only takes no part, which is said.
    donor, where = pairs.obs["donor"].iloc[0], pairs.obs["condition"] == "disease"
    part = pairs[~((pairs.obs["donor"] == donor) & where)].copy()
    left = Comparer(kinds=["composition"]).fit(part, **asked).comparison
    assert left.settings["n_donors_case"] == 3
    assert "3 donors are compared with themselves; 1 with one condition only" in left.notes[0]


def test_fewer_than_two_donors_are_not_tested(study, asked, gmt):
    donors = study.obs.groupby("condition", observed=True)["donor"].first().tolist()
    two = study[study.obs["donor"].isin(donors)].copy()
    found = Comparer(use_rep="X_rep", programmes=gmt).fit(two, **asked).comparison
    for kind in ("composition", "state", "genes", "programmes"):
        table = getattr(found, kind)
        assert len(table)
        assert table["p_value"].isna().all()
        assert set(table["unit"]) == {"cell"}
    assert not found.answers["found"].any()
    assert found.answers["sure"].str.startswith("not known").all()
    assert "cannot be known, however many cells there are" in found.sentences[1]
    assert len(found.left_out) == 1
    assert json.loads(json.dumps(found.summary(), allow_nan=False))["n_found"] == 0


def test_types_that_a_donor_has_too_few_of_are_left_out_and_named(study, asked):
    kind, donor = study.obs["cell_type"].iloc[0], study.obs["donor"].iloc[0]
    mine = np.flatnonzero((study.obs["cell_type"] == kind) & (study.obs["donor"] == donor))
    part = study[np.setdiff1d(np.arange(study.n_obs), mine[4:])].copy()
    found = Comparer(use_rep="X_rep", kinds=["composition", "state"]).fit(part, **asked).comparison
    row = found.state.set_index("cell_type").loc[kind]
    assert row["n_control"] + row["n_case"] == 7
    (reason,) = found.left_out.loc[found.left_out["cell_type"] == kind, "reason"]
    assert f"{donor}|" in reason
    assert "(4)" in reason
    assert reason.startswith("samples left out because they have fewer than 10 of these cells: ")


def test_what_goes_with_the_condition_is_flagged(study, asked):
    cells = study.copy()
    cells.obs["run"] = np.where(cells.obs["condition"] == "disease", "monday", "friday")
    cells.obs["sample_id"] = cells.obs["donor"].astype(str) + "_x"
    found = Comparer(kinds=["composition"]).fit(cells, **asked).comparison
    assert len(found.warnings) == 1
    assert "both values of obs['run'] were seen under one condition only" in found.warnings[0]
    assert found.sentences[0].startswith("WARNING: both values")
    with pytest.raises(
        DataError, match=r"covariate 'run' cannot be adjusted for: .*No analysis can tell the two apart"
    ):
        Comparer(kinds=["composition"]).fit(cells, **asked, covariates=["run"])
    assert not Comparer(kinds=["composition"]).fit(study, **asked).comparison.warnings


def test_a_balanced_covariate_is_adjusted_for(study, asked):
    cells = study.copy()
    donors = cells.obs.groupby("donor", observed=True)["condition"].first()
    sex = {
        donor: "mf"[i % 2] for _, part in donors.groupby(donors, observed=True) for i, donor in enumerate(part.index)
    }
    cells.obs["sex"] = cells.obs["donor"].map(sex)
    cells.obs["age"] = cells.obs["donor"].map({donor: 20.0 + 7 * i for i, donor in enumerate(donors.index)})
    comparer = Comparer(use_rep="X_rep", kinds=["composition", "state"])
    found = comparer.fit(cells, **asked, covariates="sex").comparison
    assert set(found.composition["smallest_p"]) == {2 / 36}
    assert list(found.samples["sex"]) == [sex[donor] for donor in found.samples["donor"]]
    aged = comparer.fit(cells, **asked, covariates=["age", "sex"]).comparison
    assert aged.samples["age"].dtype == float
    assert aged.state["p_value"].min() >= 2 / 36
    cells.obs["age"] = cells.obs["age"].astype(str)
    with pytest.raises(DataError, match="if these are numbers, make it a column of numbers"):
        comparer.fit(cells, **asked, covariates=["age"])


def test_shifts_are_written_beside_the_cells(fitted, study):
    cells = study.copy()
    assert fitted.predict(cells) is cells
    by_type = cells.obs.groupby("cell_type", observed=True)["scssl_shift"].first()
    truth = fitted.comparison.state.set_index("cell_type")["relative_shift"]
    np.testing.assert_allclose(by_type, truth.reindex(by_type.index), rtol=1e-6)
    assert cells.obs["scssl_shift"].dtype == np.float32
    assert cells.uns["scssl"]["compare"]["case"] == "disease"
    with pytest.raises(DataError, match="no column 'kind'"):
        fitted.predict(cells, cell_type="kind")
    with pytest.raises(DataError, match="an AnnData in memory, not str: read the file first"):
        fitted.predict("cells.h5ad")


def test_controls_against_controls(fitted, pairs, asked):
    report = fitted.evaluate(kinds=["composition", "state"])
    assert report.n_splits == 3
    assert report.table.loc["composition", "tests"] == 9
    # Two against two cannot give a small p-value by permutation, so that none below 0.05 says nothing.
    assert report.table["possible_p"].to_dict() == pytest.approx({"composition": 0, "state": 1 / 3})
    assert "state: not checked, as halves of so few donors can give no p-value below 0.33" in report.verdict
    assert "composition: 0.0% of 9 tests" in report.verdict
    # Splits in which nothing could be tested, as they go with a covariate, allow nothing either.
    untested = pd.DataFrame({"p_value": [np.nan], "smallest_p": [np.nan]})
    assert np.isnan(_possible(untested, "state", ComparerSettings()))
    assert "nothing is there" in report.verdict
    assert json.loads(json.dumps(report.summary(), allow_nan=False))["n_donors"] == 4
    assert fitted.comparison.settings["n_donors_case"] == 4
    few = Comparer(kinds=["composition"]).fit(pairs[pairs.obs["donor"].isin(pairs.obs["donor"].unique()[:3])], **asked)
    with pytest.raises(DataError, match="3 donors under 'healthy' cannot be split"):
        few.evaluate()
    with pytest.raises(SettingsError, match="were not all compared"):
        few.evaluate(kinds=["state"])


def test_saved_and_loaded(fitted, tmp_path):
    fitted.save(tmp_path / "c")
    again = Comparer.load(tmp_path / "c").comparison
    assert again.sentences == fitted.comparison.sentences
    assert again.settings == fitted.comparison.settings
    for name in ("answers", "composition", "state", "genes", "programmes", "shares", "samples", "members", "left_out"):
        pd.testing.assert_frame_equal(
            getattr(again, name), getattr(fitted.comparison, name), check_dtype=False, check_names=False
        )
    with pytest.raises(SettingsError, match="exists already"):
        fitted.save(tmp_path / "c")
    fitted.save(tmp_path / "c", overwrite=True)
    with pytest.raises(SettingsError, match="call fit"):
        Comparer.load(tmp_path / "c").evaluate()
    file = tmp_path / "c" / "genes.csv"
    file.write_text(file.read_text().replace("donor", "doner", 1))
    with pytest.raises(FormatError, match=r"genes\.csv: altered"):
        Comparer.load(tmp_path / "c")
    with pytest.raises(FormatError, match="is not a comparison"):
        Comparer.load(tmp_path)


def test_the_same_seed_gives_the_same(study, asked):
    one, other = (Comparer(use_rep="X_rep", kinds=["composition", "state"]).fit(study, **asked) for _ in range(2))
    pd.testing.assert_frame_equal(one.comparison.state, other.comparison.state)


def test_modules_are_learned_without_conditions(study, asked):
    found = Comparer(kinds=["programmes"], programmes="modules:3").fit(study, **asked).comparison
    assert found.members["programme"].str.startswith("module ").all()
    shuffled = study.copy()
    shuffled.obs["condition"] = np.where(shuffled.obs["condition"] == "disease", "healthy", "disease")
    other = Comparer(kinds=["programmes"], programmes="modules:3").fit(shuffled, **asked).comparison
    pd.testing.assert_frame_equal(found.members, other.members)


BAD = {
    "no column": ({"condition": "state"}, "no column 'state' with the condition; there are: .*cell_type"),
    "no donor": ({"donor": "patient"}, "no column 'patient' with the donor"),
    "no type": ({"cell_type": "kind"}, "no column 'kind' with the cell"),
    "no covariate": ({"covariates": ["age"]}, "no column 'age' with the covariate"),
    "absent condition": ({"case": "cancer"}, "no cell has 'cancer' in obs\\['condition'\\]; there are: 'disease'"),
    "same": ({"case": "healthy"}, "control and case are both 'healthy'"),
    "twice": ({"donor": "condition"}, "'condition' is given twice"),
    "donors for conditions": ({"condition": "donor"}, "'donor' is given twice"),
    "missing for a name": ({"case": np.nan}, "no cell has 'nan' in obs\\['condition'\\]; there are: 'disease'"),
    "of cells": ({"covariates": ["depth"]}, "covariate 'depth' differs between the cells of"),
    "not annotated": ({"cell_type": None}, "give the column of obs with the cell types.*scssl annotate"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_questions(study, asked, name):
    changes, words = BAD[name]
    with pytest.raises(DataError, match=words):
        Comparer(kinds=["composition"]).fit(study, **{**asked, **changes})


@pytest.mark.parametrize("seed", [-1, "a", 1.5, None, True, 2**32])
def test_a_seed_is_a_whole_number_from_0_on(study, asked, fitted, seed):
    with pytest.raises(SettingsError, match=r"^seed is .*; it must be a whole number from 0 to"):
        Comparer(kinds=["composition"]).fit(study, **asked, seed=seed)
    if seed is not None:
        with pytest.raises(SettingsError, match=r"^seed is"):
            fitted.evaluate(kinds=["composition"], seed=seed)


def test_numbers_that_are_none_and_names_that_are_none(study, asked, fitted):
    for fdr in ("a", None, float("nan"), 0, 1, True):
        with pytest.raises(SettingsError, match=r"^fdr is .*; it must be a number between 0 and 1"):
            Comparer(fdr=fdr)
    for splits in (0, "a", 2.5):
        with pytest.raises(SettingsError, match=r"^max_splits is .*whole number from 1"):
            fitted.evaluate(kinds=["composition"], max_splits=splits)
    for names in (5, [3], [["genes"]]):
        with pytest.raises(SettingsError, match=r"^kinds is .*a name, or a list of names"):
            Comparer(kinds=names)
        with pytest.raises(SettingsError, match=r"^covariates is .*a name, or a list of names"):
            Comparer(kinds="composition").fit(study, **asked, covariates=names)
    assert Comparer(kinds="composition", fdr=np.float32(0.1)).settings.kinds == ("composition",)


def test_nothing_but_zeros_is_no_data_even_for_shares(study, asked):
    zeros = study.copy()
    zeros.X = zeros.X * 0
    for kind in ("composition", "programmes"):
        with pytest.raises(DataError, match="X holds nothing but zeros"):
            Comparer(kinds=[kind]).fit(zeros, **asked)
    zeros.X, zeros.obsm["none"] = study.X, np.full((study.n_obs, 2), np.nan)
    with pytest.raises(DataError, match=r"obsm\['none'\] has no column, or no cell with finite values"):
        Comparer(use_rep="none", kinds=["state"]).fit(zeros, **asked)


def test_conditions_of_one_cell_or_of_none(study, asked):
    cells = study.copy()
    cells.obs["one"] = np.where(np.arange(cells.n_obs) == 5, "disease", "healthy")
    with pytest.raises(DataError, match=r"1 cell of 'disease' with a donor and a type is too few .* 10 are needed"):
        Comparer(kinds=["composition"]).fit(cells, **{**asked, "condition": "one"})
    cells.obs["none"] = np.nan
    with pytest.raises(DataError, match=r"no cell has 'healthy' in obs\['none'\]; there are: no value"):
        Comparer(kinds=["composition"]).fit(cells, **{**asked, "condition": "none"})
    side = cells.obs["condition"].astype(object).to_numpy()
    side[:100] = np.nan
    cells.obs["some"] = side
    found = Comparer(kinds=["composition"]).fit(cells, **{**asked, "condition": "some"}).comparison
    assert "100 cells of other conditions (no condition) take no part" in found.notes


@pytest.mark.parametrize("name", ["case", "n_cells", "intercept", "condition", "donor"])
def test_covariates_with_names_of_the_comparison_are_refused(study, asked, name):
    cells = study.copy()
    cells.obs = cells.obs.rename(columns={"condition": "state", "donor": "patient"})
    cells.obs[name] = cells.obs["patient"].astype("category").cat.codes.astype(float)
    question = {**asked, "condition": "state", "donor": "patient", "covariates": [name]}
    with pytest.raises(DataError, match=f"covariate '{name}' has a name that the comparison uses itself"):
        Comparer(kinds=["composition"]).fit(cells, **question)


def test_what_is_no_cells_is_said(asked):
    for cells in ([1], None):
        with pytest.raises(DataError, match=f"an AnnData or the path of a file, not {type(cells).__name__}"):
            Comparer(kinds=["composition"]).fit(cells, **asked)


def test_an_infinite_covariate_and_donors_that_are_missing_or_numbers(study, asked):
    cells = study.copy()
    cells.obs["age"] = cells.obs["donor"].astype("category").cat.codes.astype(float).replace(0.0, np.inf)
    with pytest.raises(DataError, match="covariate 'age' is infinite for some cells of"):
        Comparer(kinds=["composition"]).fit(cells, **asked, covariates=["age"])
    for values, words in ((np.nan, "has no labels"), (1.0, "not labels; make it text or categories first")):
        cells.obs["patient"] = values
        with pytest.raises(DataError, match=words):
            Comparer(kinds=["composition"]).fit(cells, **{**asked, "donor": "patient"})


def test_donors_under_both_conditions_are_not_independent(pairs, study, asked):
    with pytest.raises(DataError, match="4 donors have cells under both conditions"):
        Comparer(kinds=["composition"], paired="no").fit(pairs, **asked)
    with pytest.raises(DataError, match="no donor in obs\\['donor'\\] has cells under both conditions"):
        Comparer(kinds=["composition"], paired="yes").fit(study, **asked)
    mixed = study.copy()
    donor = str(mixed.obs["donor"].iloc[0])
    side = mixed.obs["condition"].astype(str).to_numpy()
    rows = np.flatnonzero(mixed.obs["donor"] == donor)
    side[rows[::2]] = "disease" if side[rows[0]] == "healthy" else "healthy"
    mixed.obs["condition"] = side
    with pytest.raises(DataError, match="neither pairs nor independent donors"):
        Comparer(kinds=["composition"]).fit(mixed, **asked)


def test_values_that_are_no_counts(study, asked, gmt):
    logs = study.copy()
    logs.X = np.log1p(logs.X.astype(np.float32))
    with pytest.raises(DataError, match="holds no raw counts"):
        Comparer(kinds=["programmes"], programmes=gmt).fit(logs, **asked)


def test_settings_that_are_not_possible(study, asked):
    for settings, words in (
        ({"kinds": ["shape"]}, "choose some of: composition"),
        ({"test": "z"}, "choose one of: moderated"),
        ({"fdr": 1.5}, "between 0 and 1"),
        ({"min_cells": 1}, "a whole number from 2"),
        ({"kinds": ["state"]}, "give a model"),
    ):
        with pytest.raises(SettingsError, match=words):
            Comparer(**settings)
    with pytest.raises(SettingsError, match="nothing was compared yet"):
        _ = Comparer().comparison
    with pytest.raises(DataError, match=r"obsm has no 'X_umap'; there are: .*X_rep"):
        Comparer(use_rep="X_umap", kinds=["state"]).fit(study, **asked)
    with pytest.raises(SettingsError, match=r"no gene programmes 'sets\.gmt'"):
        Comparer(kinds=["programmes"], programmes="sets.gmt").fit(study, **asked)


def test_the_missing_package_is_named_before_any_work(study, asked, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydeseq2", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'scssl\[compare\]'"):
        Comparer(kinds=["genes"]).fit(study, **asked)
