"""Between probe and fine-tuned network: who is held out, the loss that decides, and the average of weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scssl.tasks.annotate.blend import blended, choose, divide, held_out_losses
from scssl.training.finetuning import FineTuning


def test_weights_are_averaged_one_by_one():
    start = {"a": torch.tensor([1.0, -2.0]), "steps": torch.tensor(3)}
    end = {"a": torch.tensor([5.0, 2.0]), "steps": torch.tensor(7)}
    found = blended(start, end, share=0.25)
    assert found["a"].tolist() == [0.75 * 1 + 0.25 * 5, 0.75 * -2 + 0.25 * 2]
    assert found["steps"] == 7
    assert torch.equal(blended(start, end, share=0)["a"], start["a"])
    assert blended(start, end, share=0)["steps"] == 3
    assert torch.equal(blended(start, end, share=1)["a"], end["a"])


@pytest.mark.parametrize("by_donor", [False, True])
def test_the_loss_is_the_cross_entropy_at_the_best_temperature(by_donor):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 60)
    scores = (4 * (rng.normal(size=(60, 3)) + 1.2 * np.eye(3)[codes])).astype(np.float32)
    donors = np.repeat([0, 1], [50, 10]) if by_donor else None

    def loss(temperature):
        total = 0.0
        for i in range(60):
            p = np.exp(scores[i].astype(float) / temperature)
            weight = 1 / 60 if donors is None else 1 / (2 * [50, 10][donors[i]])
            total -= weight * np.log(p[codes[i]] / p.sum())
        return total

    weights = np.full(60, 1 / 60) if donors is None else np.array([1 / 100, 1 / 20])[donors]
    best = min(loss(t) for t in np.geomspace(0.2, 20, 400))
    assert weights @ held_out_losses(scores, codes=codes, donors=donors) == pytest.approx(best, rel=1e-3)
    # How sure a network is of itself in all decides nothing.
    assert weights @ held_out_losses(scores / 7, codes=codes, donors=donors) == pytest.approx(best, rel=1e-3)


def test_a_share_that_is_better_is_chosen_and_the_probe_where_they_are_level():
    codes = np.tile([0, 1], 30)
    noise = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    good = noise + 2 * np.eye(2, dtype=np.float32)[codes]
    found = choose((0.0, 0.5, 1.0), [noise, good, noise], codes=codes, donors=None)
    assert found.share == 0.5
    assert found.losses[0.5] < found.losses[0.0] == found.losses[1.0]
    assert choose((1.0, 0.0), [good, good], codes=codes, donors=None).share == 0.0


@given(st.integers(0, 10_000))
def test_the_smallest_share_within_one_standard_error_of_the_best_is_chosen(seed):
    rng = np.random.default_rng(seed)
    codes, donors = rng.integers(0, 3, 40), rng.integers(0, 3, 40) if seed % 2 else None
    gain, noise = 0.1 * rng.normal(), rng.normal(size=(2, 40, 3))
    first = (noise[0] + np.eye(3)[codes]).astype(np.float32)
    scores = [first, (first + 0.3 * noise[1] + gain * np.eye(3)[codes]).astype(np.float32)]
    losses = [held_out_losses(z, codes=codes, donors=donors) for z in scores]
    n_donors = 1 if donors is None else len(set(donors))
    weights = [1 / 40] * 40 if donors is None else [1 / (n_donors * sum(donors == d)) for d in donors]
    excess = losses[0] - losses[1]
    mean = sum(w * e for w, e in zip(weights, excess, strict=True))
    error = sum(w**2 * (e - mean) ** 2 for w, e in zip(weights, excess, strict=True)) ** 0.5
    found = choose((0.0, 1.0), scores, codes=codes, donors=donors)
    assert found.share == (0.0 if mean <= error else 1.0)
    assert found.losses[0.0] - found.losses[1.0] == pytest.approx(mean, abs=1e-9)


def test_where_nothing_was_held_out_the_middle_is_taken():
    nothing = [np.empty((0, 2), dtype=np.float32)] * 3
    codes = np.empty(0, dtype=np.int64)
    assert choose((0.0, 0.4, 1.0), nothing, codes=codes, donors=None) == (0.4, {})
    assert choose((0.0, 1.0), nothing[:2], codes=codes, donors=None).share == 0.0
    assert choose((1.0,), nothing[:1], codes=codes, donors=None).share == 1.0


@given(st.integers(0, 10_000))
def test_few_cells_are_held_out_in_turn(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(8, 120))
    codes = rng.integers(0, int(rng.integers(2, 6)), n)
    donors = rng.integers(-1, int(rng.integers(2, 8)), n)
    if len(np.unique(donors[donors >= 0])) < 2:
        donors = None
    divisions, by_donor = divide(codes, donors, settings=FineTuning(), seed=seed)
    times = np.zeros(n, dtype=int)
    for train, validation in divisions:
        assert train.any()
        assert not (train & validation).any()
        assert set(codes[validation]) <= set(codes[train])
        times += validation
        if by_donor:
            assert not set(donors[train]) & set(donors[validation])
            assert (donors[validation] >= 0).all()
    assert times.max() <= 1


def test_many_cells_are_held_out_once():
    codes, donors = np.tile([0, 1], 100), np.repeat(np.arange(10), 20)
    for settings in (FineTuning(cross_fitted=199), FineTuning(patience=3)):
        divisions, by_donor = divide(codes, donors, settings=settings, seed=0)
        assert by_donor
        assert [(d.train.sum(), d.validation.sum()) for d in divisions] == [(180, 20)]
    assert len(divide(codes, donors, settings=FineTuning(cross_fitted=200), seed=0)[0]) == 5
    (only,), _ = divide(codes, donors, settings=FineTuning(val=0.0), seed=0)
    assert only.train.all()
    assert not only.validation.any()


def test_where_every_donor_has_a_label_of_its_own_cells_are_held_out(caplog):
    donors = np.repeat(np.arange(3), 20)
    divisions, by_donor = divide(donors, donors, settings=FineTuning(), seed=0)
    assert not by_donor
    assert "cells, not donors, are held out" in caplog.text
    assert np.sum([d.validation for d in divisions], axis=0).tolist() == [1] * 60
    # One label that two donors have would tell nothing.
    codes = donors.copy()
    codes[25:] = 1
    assert not divide(codes, donors, settings=FineTuning(), seed=0)[1]


def test_where_every_cell_has_a_label_of_its_own_nothing_is_held_out():
    ((train, validation),), _ = divide(np.arange(12), None, settings=FineTuning(), seed=0)
    assert train.all()
    assert not validation.any()
