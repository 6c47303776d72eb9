"""A small study: simulated donors of one study to pre-train on, those of another as the target."""

from __future__ import annotations

import pytest

import scssl
from scssl.study import Plan

TINY = {
    "preset": "small",
    "epochs": 1,
    "overrides": ("training.min_steps=4", "training.precision=fp32"),
    "n_resamples": 200,
}


@pytest.fixture(scope="session")
def two_studies():
    """AnnData of two simulated studies with six donors each: (corpus cells, target cells)."""
    atlas = scssl.datasets.simulate_atlas(700, 150, n_types=3, n_studies=2, n_donors=12, seed=1)
    first = (atlas.obs["study"] == atlas.obs["study"].cat.categories[0]).to_numpy()
    return atlas[first].copy(), atlas[~first].copy()


@pytest.fixture(scope="session")
def tiny_corpus(two_studies):
    return scssl.Corpus.from_anndata(
        two_studies[0], genes="union", obs=["cell_type"], source="study", split_by="donor", test=0.0
    )


@pytest.fixture(scope="session")
def tiny_plan():
    """One seed, two folds, one epoch, nothing tuned but fine-tuning and scratch."""
    return Plan(name="tiny", seeds=(0,), folds=2, **TINY)
