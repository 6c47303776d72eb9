"""Training speed of SCVI with its own defaults, in cells per second: ``scvi_step.py THREADS GENES``."""

from __future__ import annotations

import json
import sys
import time
import warnings

import anndata as ad
import numpy as np
import scipy.sparse as sp
import torch

warnings.filterwarnings("ignore")


def main() -> None:
    import scvi

    threads, n_genes = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    counts = sp.random_array((8192, n_genes), density=0.104, format="csr", rng=rng, dtype=np.float32)
    counts.data = rng.geometric(0.5, counts.nnz).astype(np.float32)
    adata = ad.AnnData(sp.csr_matrix(counts))
    scvi.model.SCVI.setup_anndata(adata)
    rates = {}
    for batch_size in (128, 1024):
        model = scvi.model.SCVI(adata)
        model.train(max_epochs=1, batch_size=batch_size, accelerator="cpu", enable_progress_bar=False, logger=False)
        started = time.perf_counter()
        model.train(max_epochs=2, batch_size=batch_size, accelerator="cpu", enable_progress_bar=False, logger=False)
        rates[batch_size] = round(2 * 0.9 * adata.n_obs / (time.perf_counter() - started))
    row = {"n_genes": n_genes, "arm": f"scvi-tools {scvi.__version__} SCVI (128, 10), fp32"}
    print(json.dumps(row | {"cells_per_second": rates[128], "cells_per_second_batch_1024": rates[1024]}))


if __name__ == "__main__":
    main()
