"""Fifty cells with every kind of layer and column that files of cells have."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp


@pytest.fixture
def adata():
    rng = np.random.default_rng(0)
    X = sp.csr_matrix(rng.poisson(0.5, (50, 30)).astype(np.uint16))
    obs = pd.DataFrame(
        {"cell_type": pd.Categorical(["a", "b"] * 25), "n": range(50), "note": ["x", None] * 25},
        index=[f"cell{i}" for i in range(50)],
    )
    var = pd.DataFrame({"gene_ids": [f"id{i}" for i in range(30)]}, index=[f"g{i}" for i in range(30)])
    made = ad.AnnData(X, obs=obs, var=var)
    made.layers["doubled"] = X * 2
    made.layers["by column"] = X.tocsc()
    made.layers["dense"] = X.toarray().astype(np.float32)
    made.raw = ad.AnnData(sp.hstack([X, X]).tocsr() * 3, var=pd.DataFrame(index=[f"r{i}" for i in range(60)]))
    made.uns = {"measured": {"table": np.arange(3)}, "title": "t"}
    return made
