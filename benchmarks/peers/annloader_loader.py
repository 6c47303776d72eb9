"""AnnLoader on one backed h5ad file; delivers dense tensors, as it documents, and the two labels."""

from __future__ import annotations

import warnings

import harness

args = harness.arguments(seed=0)
warnings.simplefilter("ignore")

import anndata as ad  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from anndata.experimental import AnnLoader  # noqa: E402

torch.set_num_threads(1)


def open_data():
    """Open the file."""
    cells = ad.read_h5ad(args.data, backed="r")
    for column in ("donor", "cell_type"):
        cells.obs[column] = cells.obs[column].cat.codes.to_numpy()
    # Its order comes from the global state.
    np.random.seed(args.seed)  # noqa: NPY002
    loader = AnnLoader(cells, batch_size=args.batch_size, shuffle=True)

    def epochs(_epoch: int):
        for batch in loader:
            yield batch.X, None, None, batch.obs["donor"], batch.obs["cell_type"]

    return epochs


harness.measure(open_data, args)
