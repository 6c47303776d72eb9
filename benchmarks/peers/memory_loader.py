"""The naive way: the whole file in memory, batches by random row numbers; delivers scipy CSR and the two labels."""

from __future__ import annotations

import harness

args = harness.arguments(seed=0)

import anndata as ad  # noqa: E402
import numpy as np  # noqa: E402


def open_data():
    """Read the file."""
    cells = ad.read_h5ad(args.data)
    donor, cell_type = (harness.codes(cells.obs[column]) for column in ("donor", "cell_type"))

    def epochs(epoch: int):
        order = np.random.default_rng([args.seed, epoch]).permutation(cells.n_obs)
        for start in range(0, cells.n_obs, args.batch_size):
            rows = order[start : start + args.batch_size]
            X = cells.X[rows]
            yield X.data, X.indices, X.indptr, donor[rows], cell_type[rows]

    return epochs


harness.measure(open_data, args, n_genes=19_331)
