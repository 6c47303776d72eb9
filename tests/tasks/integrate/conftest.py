"""A small study of three batches and a model of other studies, made once."""

from __future__ import annotations

import pytest

import scssl


@pytest.fixture(scope="session")
def atlas_of_batches():
    """420 cells of three types in four studies that differ in every gene."""
    return scssl.datasets.simulate_atlas(
        420, 120, n_types=3, n_studies=4, n_donors=8, type_effect=3.0, batch_effect=0.6, seed=5
    )


@pytest.fixture(scope="session")
def study(atlas_of_batches):
    """Three of the studies: what is integrated."""
    return atlas_of_batches[atlas_of_batches.obs["study"] != "study_4"].copy()


@pytest.fixture(scope="session")
def newcomer(atlas_of_batches):
    """The fourth, with one type missing."""
    obs = atlas_of_batches.obs
    return atlas_of_batches[((obs["study"] == "study_4") & (obs["cell_type"] != "type_3")).to_numpy()].copy()


@pytest.fixture(scope="session")
def model(atlas_of_batches):
    return scssl.pretrain(
        atlas_of_batches, preset="small", genes="union", source="study", max_epochs=3,
        overrides=["architecture.hidden=[32]", "architecture.n_latent=16"], loggers=["csv"], device="cpu",
    )  # fmt: skip
