"""Unknown cells: what is rejected, at what cost, for which reason, and what is written and read."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from scssl.errors import DataError, FormatError, SettingsError
from scssl.tasks.annotate import unknown
from scssl.tasks.annotate.novelty import SCORES
from scssl.tasks.annotate.unknown import FAR, FEW, LOW, REASONS, Novelty

CLASSES = ["B", "T", "NK", "DC"]
WIDTH = 6


def cells(seed, *, n=1200, n_donors=6, apart=5.0, effect=0.3, types=4):
    """Types around corners of a simplex; donors shift all of their cells."""
    rng = np.random.default_rng(seed)
    codes = rng.choice(types, n, p=np.array([8, 6, 4, 1][:types]) / sum([8, 6, 4, 1][:types]))
    donors = rng.integers(0, n_donors, n)
    centres = apart * np.eye(5, WIDTH)
    shift = np.random.default_rng(7).normal(0, effect, (n_donors, WIDTH))
    return (centres[codes] + rng.normal(size=(n, WIDTH)) + shift[donors]).astype(np.float32), codes, donors


def fit(x, codes, donors, **settings):
    return Novelty.fit(x, codes=codes, classes=CLASSES, donors=donors, **settings)


def stranger(n=200, seed=9):
    rng = np.random.default_rng(seed)
    return (5 * np.eye(5, WIDTH)[4] + rng.normal(size=(n, WIDTH))).astype(np.float32)


def test_a_new_type_is_rejected_and_known_types_cost_no_more_than_the_budget():
    x, codes, donors = cells(0)
    novelty = fit(x, codes, donors, error_budget=0.05)
    reasons = novelty.judge(stranger())
    assert (reasons == FAR).mean() > 0.7
    new, _, _ = cells(1)
    assert (novelty.judge(new) == FAR).mean() <= 0.06
    assert novelty.unit == "few donors"
    table = novelty.table()
    assert table["found_when_unknown"].min() > 0.5
    assert table["rejected_wrongly"].between(0, 0.3).all()


@pytest.mark.parametrize("budget", [0.02, 0.1, 0.3])
def test_held_out_donors_lose_no_more_than_the_budget_on_average(budget):
    x, codes, donors = cells(2, effect=0.8)
    shares = []
    for donor in range(6):
        novelty = fit(x[donors != donor], codes[donors != donor], donors[donors != donor], error_budget=budget)
        shares.append((novelty.judge(x[donors == donor]) == FAR).mean())
    # Four standard errors over six donors, of which five set the limit.
    assert np.mean(shares) <= budget + 4 * np.std(shares) / np.sqrt(6) + 0.01


def test_a_budget_of_zero_rejects_nothing():
    x, codes, donors = cells(0)
    novelty = fit(x, codes, donors, error_budget=0, n_counts=np.full(len(x), 1000.0))
    assert (novelty.judge(stranger() * 100, n_counts=np.zeros(200), measured=0.0) == "").all()


def test_reasons():
    x, codes, donors = cells(0)
    counts = np.exp(np.random.default_rng(0).normal(8, 0.4, len(x)))
    novelty = fit(x, codes, donors, n_counts=counts, n_genes=counts / 3)
    query = np.concatenate([x[:3], stranger(3) + 10])
    plenty = np.full(6, 3000.0)
    assert novelty.judge(query, n_counts=plenty).tolist() == ["", "", "", FAR, FAR, FAR]
    poor = np.array([3000, 50, 3000, 3000, 50, 3000.0])
    assert novelty.judge(query, n_counts=poor).tolist() == ["", LOW, "", FAR, LOW, FAR]
    assert novelty.judge(query, n_counts=plenty, n_genes=poor / 3).tolist() == ["", LOW, "", FAR, LOW, FAR]
    assert novelty.judge(query, measured=np.array([1, 1, 0.05, 1, 1, 0.05])).tolist() == ["", "", FEW, FAR, FAR, FEW]
    assert (novelty.judge(query, measured=0.05) == FEW).all()
    assert novelty.judge(query).categories.tolist() == list(REASONS)
    # Half the reference's usual depth is no low quality.
    assert (novelty.judge(x, n_counts=counts / 2) == LOW).mean() < 0.02


def test_what_is_of_low_quality_counts_towards_the_budget(monkeypatch):
    monkeypatch.setattr(unknown, "LOW_SHARE", 0.03)
    x, codes, donors = cells(3)
    counts = 1000 * np.exp(np.random.default_rng(1).normal(0, 0.1, len(x)))
    counts[:30] = 5
    novelty = fit(x, codes, donors, error_budget=0.03, n_counts=counts)
    assert (novelty.judge(x, n_counts=counts) == LOW).sum() == 30
    assert (novelty.judge(x, n_counts=counts) != "").mean() <= 0.035
    plain = fit(x, codes, donors, error_budget=0.03)
    assert (plain.judge(x) == FAR).sum() > 2 * (novelty.judge(x) == FAR).sum()


def test_dispersed_types_are_measured_by_their_own_scale():
    rng = np.random.default_rng(5)
    x, codes, donors = cells(4, n=3000)
    wide = codes == 3
    x[wide] += rng.normal(0, 2.5, (wide.sum(), WIDTH)).astype(np.float32)
    novelty = fit(x, codes, donors)
    lost = {}
    for name in SCORES:
        far = novelty.space.score(x, kind=name)
        lost[name] = (far > np.quantile(far, 0.95))[wide].mean()
    assert lost["scaled type"] < lost["type"] / 2
    assert novelty.score in SCORES


def test_the_score_is_chosen_by_the_types_taken_out():
    x, codes, donors = cells(6)
    novelty = fit(x, codes, donors)
    assert set(novelty.power) == set(CLASSES)
    # Ten types at most: fewer can be asked for.
    assert len(fit(x, codes, donors, max_types=2).power) == 2


def test_useless_rejection_is_said(caplog):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, WIDTH)).astype(np.float32)
    codes, donors = rng.integers(0, 4, 600), rng.integers(0, 5, 600)
    with caplog.at_level(logging.WARNING, logger="scssl"):
        novelty = fit(x, codes, donors)
    assert "hardly more than of known types" in caplog.text
    assert np.mean(list(novelty.power.values())) < 0.1


def test_power_that_cannot_be_measured_is_said(caplog):
    x, _, donors = cells(0, n=100)
    with caplog.at_level(logging.WARNING, logger="scssl"):
        novelty = fit(x, np.zeros(100, dtype=int), donors)
    assert "no type has" in caplog.text
    assert novelty.power == {}
    assert np.isfinite(novelty.limit)


def test_cells_stand_in_for_donors():
    x, codes, _ = cells(0)
    expected = fit(x, codes, None)
    assert expected.unit == "cells"
    assert fit(x, codes, np.zeros(len(x), dtype=int)).limit == expected.limit
    assert fit(x, codes, np.full(len(x), -1)).limit == expected.limit
    new, _, _ = cells(1)
    assert (expected.judge(new) == FAR).mean() <= 0.08


def test_types_of_one_donor_are_no_known_cells_elsewhere():
    x, codes, donors = cells(0)
    # Everything of type DC is in donor 0: left out, it would be an unknown type.
    donors = np.where(codes == 3, 0, donors)
    novelty = fit(x, codes, donors)
    assert "DC" not in novelty.wrongly
    assert (novelty.judge(x[codes == 3]) == FAR).mean() < 0.3
    with pytest.raises(DataError, match="one donor only"):
        fit(x, codes, codes)


def test_only_rows_allowed_set_the_limit():
    x, codes, donors = cells(0)
    rows = np.flatnonzero(donors < 2)
    # Cells that the encoder has learned from may look better than they are.
    centres = 5 * np.eye(5, WIDTH)[codes]
    flattered = np.where((donors < 2)[:, None], x, centres + 0.4 * (x - centres)).astype(np.float32)
    new, _, _ = cells(1)
    lost = [(fit(flattered, codes, donors, rows=r).judge(new) == FAR).mean() for r in (rows, None)]
    assert lost[0] < 0.07
    # Types that the encoder has learned are not new to it: what it would find of others is not known.
    assert fit(flattered, codes, donors, rows=rows).power == {}
    assert lost[1] > 1.5 * lost[0]


def test_large_references_are_sampled_reproducibly():
    x, codes, donors = cells(0, n=4000)
    first, again = (fit(x, codes, donors, max_cells=500, seed=3) for _ in range(2))
    assert len(first.space.cells) == 500
    assert first.to_dict() == again.to_dict()
    np.testing.assert_array_equal(first.space.cells, again.space.cells)
    assert (first.judge(stranger()) == FAR).mean() > 0.7


def test_written_and_read():
    x, codes, donors = cells(0)
    novelty = fit(x, codes, donors, n_counts=np.arange(1200.0) + 500)
    values, arrays = json.loads(json.dumps(novelty.to_dict())), novelty.arrays()
    read = Novelty.from_dict(values, arrays=arrays, n_latent=WIDTH)
    query = stranger()
    np.testing.assert_array_equal(read.distance(query), novelty.distance(query))
    assert read.to_dict() == novelty.to_dict()
    never = fit(x, codes, donors, error_budget=0)
    assert Novelty.from_dict(never.to_dict(), arrays=never.arrays(), n_latent=WIDTH).limit == np.inf

    for key, wrong in (
        ("error_budget", 1), ("score", "guess"), ("limit", "far"), ("limit", float("nan")), ("unit", "x"), ("k", 0),
        ("power", {"B": 2}), ("wrongly", []), ("least_counts", -1), ("least_genes", None), ("k", 2.5),
    ):  # fmt: skip
        with pytest.raises(FormatError, match="malformed"):
            Novelty.from_dict({**values, key: wrong}, arrays=arrays, n_latent=WIDTH)
    for wrong in (None, {}, {**values, "k": None}):
        with pytest.raises(FormatError, match="malformed"):
            Novelty.from_dict(wrong, arrays=arrays, n_latent=WIDTH)
    for changed in (
        {**arrays, "white": arrays["white"][:3]},
        {**arrays, "cells": arrays["cells"].astype(np.float64)},
        {**arrays, "scale": arrays["scale"][:-1]},
        {**arrays, "spread": arrays["spread"] * np.nan},
        {name: value for name, value in arrays.items() if name != "centres"},
        {},
    ):
        with pytest.raises(FormatError, match="do not fit"):
            Novelty.from_dict(values, arrays=changed, n_latent=WIDTH)
    with pytest.raises(FormatError, match="width 7"):
        Novelty.from_dict(values, arrays=arrays, n_latent=7)


def test_bad_input_is_named():
    x, codes, donors = cells(0, n=200)
    with pytest.raises(SettingsError, match="error_budget"):
        fit(x, codes, donors, error_budget=1)
    with pytest.raises(DataError, match="one type out of 4"):
        fit(x, codes + 3, donors)
    with pytest.raises(DataError, match="not finite"):
        fit(x * np.nan, codes, donors)
    novelty = fit(x, codes, donors)
    with pytest.raises(DataError, match=r"\(n_cells, 6\)"):
        novelty.judge(x[:, :3])
    with pytest.raises(DataError, match="finite"):
        novelty.judge(x * np.nan)


def test_the_limit_is_set_where_an_encoder_that_did_not_learn_from_the_cells_puts_them():
    x, codes, donors = cells(0)
    rows = np.flatnonzero(donors < 3)
    same, plain = (fit(x, codes, donors, rows=rows, judged=judged) for judged in (x[rows], None))
    assert same.limit == plain.limit
    away = fit(x, codes, donors, rows=rows, judged=x[rows] + 2)
    assert away.limit > plain.limit
    np.testing.assert_array_equal(away.space.cells, plain.space.cells)
