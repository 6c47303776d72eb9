"""Stated uncertainties: against slow references, and held by groups that nothing was found on."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.tasks.simulate import Simulator
from scssl.tasks.simulate.calibrate import (
    EDGES,
    Z90,
    Calibration,
    Left,
    Widening,
    _factors,
    calibrate,
    find_widening,
    weighted_quantile,
)
from scssl.tasks.simulate.judge import judge
from scssl.tasks.simulate.learn import learn, pairs_donors
from tests.tasks.simulate.conftest import simulated_cells

TYPE = "cell_type=type_2"


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5)), min_size=1, max_size=12), st.sampled_from([0.1, 0.5, 0.9])
)
def test_weighted_quantile_against_repeating_each_value(pairs, level):
    values, weights = (np.array(part, dtype=float) for part in zip(*pairs, strict=True))
    repeated = sorted(np.repeat(values, weights.astype(int)))
    expected = next(v for v in repeated if sum(r <= v for r in repeated) >= level * len(repeated) - 1e-9)
    assert weighted_quantile(values, weights, level) == expected


def fold(rng, n=300, *, too_small=2.0, spread=0.2):
    """Genes of a group whose stated sd is too small, more in some groups than in others; small ones are worst."""
    sd, error = rng.lognormal(-2, 1, n), rng.uniform(0.02, 0.2, n)
    true = np.hypot(sd * too_small * rng.lognormal(0, spread), 0.05 * (too_small > 1))
    off = np.abs(true * rng.normal(size=n) + error * rng.normal(size=n))
    return Left(off, sd, error)


def test_factors_against_trying_every_one():
    rng = np.random.default_rng(0)
    folds = [fold(rng, n) for n in (40, 25, 60)]
    knots, factors = _factors(folds, 0.9)
    sd = np.concatenate([one.sd for one in folds])
    ends = [0, *np.quantile(sd, EDGES), np.inf]
    smallest = 0.0
    for part in range(4):
        held = []
        tried = [1.0]
        for one in folds:
            for gene in range(len(one.off)):
                if ends[part] < one.sd[gene] <= ends[part + 1]:
                    held.append((*(values[gene] for values in one), 1 / len(one.off)))
                    r, s, e, _ = held[-1]
                    tried.append(np.sqrt(max((r / Z90) ** 2 - e**2, 0)) / s)
        whole = sum(weight for *_, weight in held)
        for factor in sorted(f for f in tried if f >= 1):
            # A hair more, as the gene that decides lies on the end of its interval.
            inside = [w for r, s, e, w in held if r <= Z90 * np.sqrt((factor * s) ** 2 + e**2) * (1 + 1e-9)]
            if sum(inside) >= 0.9 * whole * (1 - 1e-9):
                break
        middle = np.median([s for _, s, _, _ in held])
        smallest = max(smallest, middle * factor)
        assert knots[part] == pytest.approx(middle)
        assert factors[part] == pytest.approx(smallest / middle)


@pytest.mark.parametrize("n_folds", [3, 7])
def test_intervals_hold_nine_of_ten_in_new_groups(n_folds):
    rng = np.random.default_rng(n_folds)
    before, after, stated = [], [], []
    for _ in range(12):
        widening = find_widening([fold(rng) for _ in range(n_folds)])
        for _ in range(10):
            new = fold(rng)
            before.append((new.off <= Z90 * np.hypot(new.sd, new.error)).mean())
            after.append((new.off <= Z90 * np.hypot(widening.widen(new.sd), new.error)).mean())
        stated.append((widening.before, widening.after))
    assert np.mean(before) < 0.8
    assert 0.88 < np.mean(after) < 0.93
    # What is told of the folds is what new groups find.
    np.testing.assert_allclose(np.mean(stated, axis=0), [np.mean(before), np.mean(after)], atol=0.03)


def test_uncertainties_that_are_right_stay_and_none_is_narrowed():
    rng = np.random.default_rng(3)
    right = find_widening([fold(rng, 2000, too_small=1.0, spread=0.0) for _ in range(5)])
    assert max(right.factors) < 1.15
    wide = find_widening([fold(rng, too_small=0.3, spread=0.0) for _ in range(5)])
    assert wide.factors == [1.0] * 4
    assert wide.before > 0.95


def test_a_wider_uncertainty_never_becomes_the_smaller_one():
    rng = np.random.default_rng(4)
    widening = find_widening([fold(rng) for _ in range(4)])
    sd = np.sort(rng.lognormal(-2, 2, 500))
    assert (np.diff(widening.widen(sd)) >= 0).all()
    np.testing.assert_allclose(widening.widen(np.array(widening.knots)),
                               np.array(widening.knots) * widening.factors)  # fmt: skip


@pytest.fixture(scope="module")
def by_pairs(treated):
    cells = simulated_cells(treated)
    return learn(cells, control="ctrl", case="stim", brief=True)


def test_what_is_new_about_a_group(by_pairs):
    known = Calibration(donors=["study_1_donor_1"])
    kind, donor = by_pairs.types[0], by_pairs.donors[0]
    assert known.axis((kind, donor), by_pairs) == "measured"
    assert known.axis((kind, "other"), by_pairs) == "donor"
    assert known.axis(("other", donor), by_pairs) == "type"
    assert known.axis(("other", "other"), by_pairs) == "type and donor"
    assert known.axis(("other", ""), by_pairs) == "type"


def test_what_is_said():
    widening = Widening(knots=[0.1], factors=[2.0], n_folds=5, before=0.7, after=0.91)
    known = Calibration(folds={"type": 5, "donor": 2}, widenings={"model": {"type": widening}})
    assert known.describe("model", ["type"]) == (
        "on 5 cell types left out, change +- 1.645 sd, once the error of measuring is added, held 91% of the measured "
        "changes (70% before it was widened)"
    )
    assert "new donors not calibrated, likely too small: 2 could be left out, 3 are needed" in known.describe(
        "model", ["donor"]
    )
    # Types enough could be left out; it is the method that was not asked for.
    assert known.describe("ridge on pseudobulks", ["type"]) == (
        "for new cell types not calibrated, likely too small: the simulator was fitted without method "
        "'ridge on pseudobulks'; with it, fit anew"
    )
    assert "2 could be left out, 3 are needed" in known.describe("ridge on pseudobulks", ["donor"])
    assert known.describe("ridge on pseudobulks", ["measured"]).startswith("for groups that were measured")
    assert Calibration().describe("model", ["type"]) == "for new cell types not calibrated, likely too small"
    assert Calibration.from_dict(known.to_dict()) == known
    assert Calibration.from_dict({}) == Calibration()
    for knots, factors in (([0.1], []), ([], []), ([0.1], [-1.0]), ([0.1], ["x"]), ([0.1], [float("nan")])):
        with pytest.raises(ValueError, match=r"knots and factors|could not convert|inhomogeneous"):
            Widening(knots=knots, factors=factors, n_folds=3, before=0.7, after=0.9)


def test_what_is_said_to_be_held_is_held_with_the_error_of_measuring_only():
    rng = np.random.default_rng(8)
    sd, error = np.full(4000, 0.1), np.full(4000, 0.3)
    folds = [Left(np.abs(rng.normal(0, np.hypot(sd, error))), sd, error) for _ in range(4)]
    widening = find_widening(folds)
    wide, off = widening.widen(sd), folds[0].off
    assert (off <= Z90 * np.hypot(wide, error)).mean() == pytest.approx(widening.after, abs=0.02)
    assert (off <= Z90 * wide).mean() < 0.6
    said = Calibration(folds={"type": 4}, widenings={"model": {"type": widening}}).describe("model", ["type"])
    assert "once the error of measuring is added" in said


@pytest.mark.parametrize(("axis", "n_folds", "by_donor"), [("type", 4, False), ("donor", 4, True)])
def test_folds_calibrate_the_estimator_that_predicts(treated, monkeypatch, axis, n_folds, by_donor):
    cells = simulated_cells(treated)
    if by_donor:
        # Only one donor has enough cells of a type: without that donor, the others' cells alone would go by type.
        kept = np.ones(len(cells), dtype=bool)
        for donor in ("study_1_donor_1", "study_1_donor_3", "study_1_donor_4"):
            for name in ("ctrl", "stim"):
                here = (cells.types == "type_2") & (cells.donors == donor) & (cells.condition == name)
                kept[np.flatnonzero(here)[3:]] = False
        cells = cells.at(kept)
    else:
        # One group too many to go by donor: with a type less they are few enough.
        n = len(learn(cells, control="ctrl", case="stim", brief=True).types)
        monkeypatch.setattr("scssl.tasks.simulate.learn.MOST_GROUPS", n - 1)
    alone, seen = [], []

    def recording(part, **settings):
        alone.append(pairs_donors(part, control="ctrl", case="stim"))
        seen.append(learn(part, **settings))
        return seen[-1]

    monkeypatch.setattr("scssl.tasks.simulate.calibrate.learn", recording)
    monkeypatch.setattr("scssl.tasks.simulate.judge.learn", recording)
    whole = learn(cells, control="ctrl", case="stim", brief=True)
    assert (whole.donors is not None) == by_donor
    assert pairs_donors(cells, control="ctrl", case="stim") == by_donor
    found = calibrate(cells, control="ctrl", case="stim", methods=["model"], axes=[axis], seed=0)
    assert found.folds == {axis: n_folds}
    assert len(seen) == n_folds
    assert (not by_donor) in alone
    folds = cells.types if axis == "type" else cells.donors
    verdict = judge(cells, control="ctrl", case="stim", folds=folds, by=axis, confidence=0.9, seed=0)
    assert len(verdict.folds) == n_folds
    assert len(seen) == 2 * n_folds
    assert all((one.donors is not None) == by_donor for one in seen)


def test_what_measured_cells_leave_of_a_prediction(treated):
    from scssl.tasks.simulate.calibrate import left_over
    from scssl.tasks.simulate.predict import Moved, Targets

    cells = simulated_cells(treated)
    cells = cells.at((cells.types == "type_1") & (cells.donors == "study_1_donor_1"))
    start, truth = (cells.at(cells.condition == name) for name in ("ctrl", "stim"))
    targets = Targets.of(start)
    n = start.counts.shape[1]
    guess, sd = np.linspace(-1, 1, n)[None], np.linspace(0.1, 0.2, n)[None]
    got = left_over(targets, 0, Moved(share=guess, log_depth=np.zeros(1), change=guess, sd=sd), truth)
    expected = []
    for gene in range(n):
        values, errors, seen = [], 0.0, 0
        for part in (start, truth):
            y, totals = part.counts[:, gene].toarray().ravel().astype(float), np.ravel(part.counts.sum(axis=1))
            share = y.sum() / totals.sum()
            noise = ((y - totals * share) ** 2).sum() * len(y) / (len(y) - 1)
            # d log1p(1e4 share) / d share
            errors += max(noise, 1.0) / totals.sum() ** 2 * (1e4 / (1 + 1e4 * share)) ** 2
            values.append(np.log1p(1e4 * share))
            seen += y.sum()
        if seen >= 20:
            expected.append((abs(values[1] - values[0] - guess[0, gene]), sd[0, gene], np.sqrt(errors)))
    np.testing.assert_allclose(np.array(got).T, expected, rtol=1e-9)
    assert 10 < len(expected) <= n


def test_a_fitted_simulator_widens_says_so_and_keeps_it(held_out, treated, tmp_path):
    known = held_out.fitted.calibrations["stim"]
    assert known.folds == {"type": 3, "donor": 4, "type and donor": 8}
    simulation = held_out.simulate(treated, where=TYPE, device="cpu")
    method = simulation.settings["cases"]["stim"]["method"]
    widening = known.widenings[method]["type"]
    said = simulation.settings["cases"]["stim"]["uncertainty"]
    assert said == known.describe(method, ["type"])
    assert f"held {widening.after:.0%} of the measured changes" in said
    calibrations = held_out.fitted.calibrations
    try:
        held_out.fitted.calibrations.update(stim=Calibration())
        before = held_out.simulate(treated, where=TYPE, device="cpu")
    finally:
        calibrations.update(stim=known)
    assert "not calibrated, likely too small" in before.settings["cases"]["stim"]["uncertainty"]
    np.testing.assert_allclose(simulation.sd.to_numpy(), widening.widen(before.sd.to_numpy()))
    assert (before.counts != simulation.counts).nnz == 0
    held_out.save(tmp_path / "s")
    loaded = Simulator.load(tmp_path / "s")
    assert loaded.fitted.calibrations == held_out.fitted.calibrations


def test_too_few_to_leave_out_is_said(model, treated):
    one = treated[treated.obs["cell_type"].isin(["type_1", "type_2", "type_3"])].copy()
    simulator = Simulator(model, method="model").fit(
        one, condition="condition", control="ctrl", case="stim", donor="none", hold_out=TYPE, device="cpu"
    )
    known = simulator.fitted.calibrations["stim"]
    assert known.widenings == {}
    said = simulator.simulate(one, where=TYPE, device="cpu").settings["cases"]["stim"]["uncertainty"]
    assert "for new cell types not calibrated, likely too small: 2 could be left out, 3 are needed" in said


def test_sums_are_said_to_be_uncalibrated(held_out, treated):
    fitted = held_out.fitted
    two = {**fitted.learned, "other": fitted.learned["stim"]}
    fitted.learned.update(two)
    try:
        found = held_out.simulate(treated, case="stim+other", where=TYPE, device="cpu")
    finally:
        del fitted.learned["other"]
    assert found.settings["cases"]["stim+other"]["uncertainty"].startswith("not calibrated")
    assert sp.issparse(found.counts)
