"""annbatch on its own collection; delivers scipy CSR in the stored type and a table with the two labels."""

from __future__ import annotations

import harness

args = harness.arguments(chunk_size=512, preload_nchunks=32, seed=0)

import anndata as ad  # noqa: E402
import numpy as np  # noqa: E402
import zarr  # noqa: E402
import zarrs  # noqa: E402, F401
from annbatch import DatasetCollection, Loader  # noqa: E402

zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})


def _only_labels(group):
    return ad.AnnData(X=ad.io.sparse_dataset(group["X"]), obs=ad.io.read_elem(group["obs"])[["donor", "cell_type"]])


def open_data():
    """Open the collection."""
    with ad.settings.override(remove_unused_categories=False):
        loader = Loader(
            batch_size=args.batch_size,
            chunk_size=args.chunk_size,
            preload_nchunks=args.preload_nchunks,
            shuffle=True,
            rng=np.random.default_rng(args.seed),
        ).use_collection(DatasetCollection(args.data, mode="r"), load_adata=_only_labels)

    def epochs(_epoch: int):
        for batch in loader:
            X, obs = batch["X"], batch["obs"]
            yield X.data, X.indices, X.indptr, harness.codes(obs["donor"]), harness.codes(obs["cell_type"])

    return epochs


harness.measure(open_data, args, n_genes=19_331)
