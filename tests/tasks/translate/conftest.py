"""Simulated CITE-seq and multiome of known and of new donors, and a small model."""

from __future__ import annotations

import pytest

import scssl


@pytest.fixture(scope="session")
def cells():
    adata = scssl.datasets.simulate_atlas(
        400, 120, n_types=3, n_proteins=8, n_peaks=30, type_effect=3.0, seed=3, unmeasured=0
    )
    held_out = adata.obs["donor"].isin(adata.obs["donor"].cat.categories[::3]).to_numpy()
    return adata[~held_out].copy(), adata[held_out].copy()


@pytest.fixture(scope="session")
def model(cells):
    return scssl.pretrain(cells[0], preset="small", genes="union", max_epochs=2)
