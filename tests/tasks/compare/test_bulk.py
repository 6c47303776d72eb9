"""Summed counts and the names of their genes."""

from __future__ import annotations

from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from scssl.tasks.compare.bulk import read_bulk


def test_symbols_of_names_that_hold_ids():
    others = [f"RPL{i}" for i in range(3, 40)] + [f"RPS{i}" for i in range(2, 30)] + [f"CCL{i}" for i in range(2, 28)]
    names = ["CXCL10", "APOBEC3A_ENSG00000128383", "XYZ_ENSG99999999999", "CD3D", *others]
    X = np.random.default_rng(0).poisson(1.0, (3, len(names)))
    cells = ad.AnnData(sp.csr_matrix(X), var=pd.DataFrame(index=names))
    design = SimpleNamespace(samples=["d1", "d2"], types=["T"], sample=np.array([0, 1, 1]), type=np.array([0, 0, 0]))
    found = read_bulk(cells, design, layer=None)
    assert found.genes.tolist() == names
    assert found.symbols.tolist() == ["CXCL10", "APOBEC3A", *names[2:]]
    np.testing.assert_array_equal(found.counts.toarray(), [X[0], X[1] + X[2]])
