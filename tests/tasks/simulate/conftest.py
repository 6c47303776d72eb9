"""Cells of four types and four donors, half of each treated with something that raises the same genes in all."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

import scssl

RAISED = np.arange(20, 40)


def simulated_cells(adata):
    """Return cells as tasks read them, without codes that say anything."""
    from scssl.tasks.simulate.cells import Cells

    names = (adata.obs[name].astype(str).to_numpy(dtype=object) for name in ("condition", "cell_type", "donor"))
    condition, types, donors = names
    return Cells(
        counts=sp.csr_matrix(adata.X, dtype=np.int64), codes=np.zeros((adata.n_obs, 2), np.float32),
        condition=condition, types=types, donors=donors, obs=adata.obs, var=adata.var, file="cells",
    )  # fmt: skip


@pytest.fixture
def uncalibrated(monkeypatch):
    """Leave out what takes most of the time of a fit, where a test is of something else."""
    from scssl.tasks.simulate.calibrate import Calibration

    monkeypatch.setattr("scssl.tasks.simulate.fit.calibrate", lambda *_, **__: Calibration())


@pytest.fixture(scope="session")
def treated():
    adata = scssl.datasets.simulate_atlas(
        640, 150, n_types=4, n_studies=1, n_donors=4, batches_per_study=1, conditions=["ctrl"], library_size=800,
        composition_spread=0.1, seed=4,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    counts = adata.X.toarray().astype(np.int64)
    case = rng.random(adata.n_obs) < 0.5
    # Some cells respond more than others.
    strength = rng.gamma(10, 0.1, adata.n_obs)[:, None]
    counts[np.ix_(case, RAISED)] += rng.poisson(6 * strength[case], (case.sum(), len(RAISED)))
    adata.X = sp.csr_matrix(counts)
    adata.obs["condition"] = np.where(case, "stim", "ctrl")
    del adata.uns["simulation"]
    return adata


@pytest.fixture(scope="session")
def model(treated):
    return scssl.pretrain(treated[treated.obs["condition"] == "ctrl"].copy(), preset="small", genes="union",
                          max_epochs=2, device="cpu")  # fmt: skip


@pytest.fixture(scope="session")
def held_out(treated, model):
    """A simulator that has not seen treated cells of one type."""
    return scssl.tasks.Simulator(model).fit(
        treated, condition="condition", control="ctrl", case="stim", hold_out="cell_type=type_2", device="cpu"
    )
