"""Cells of known and of new donors, and small models of each kind of decoder."""

from __future__ import annotations

import pytest

import scssl


@pytest.fixture(scope="session")
def cells():
    adata = scssl.datasets.simulate_atlas(700, 150, n_types=4, n_studies=2, type_effect=3.0, seed=7)
    new = adata.obs["donor"].isin(adata.obs["donor"].cat.categories[::4]).to_numpy()
    return adata[~new].copy(), adata[new].copy()


@pytest.fixture(scope="session")
def models(cells):
    """By loss; the decoders are told the source."""

    def model(loss):
        return scssl.pretrain(
            cells[0], preset="small", genes="union", source="study", split_by="cell", max_epochs=4, device="cpu",
            overrides=[f"task.loss={loss}"], loggers=["csv"],
        )  # fmt: skip

    return {loss: model(loss) for loss in ("mse", "nb")}
