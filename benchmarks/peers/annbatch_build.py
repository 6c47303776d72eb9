"""annbatch's own pre-shuffled collection of h5ad files, counts as uint16."""

from __future__ import annotations

import argparse
import time

import anndata as ad
import harness
import numpy as np
import zarr
import zarrs  # noqa: F401
from annbatch import DatasetCollection

zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})


def load(path):
    """Open a file lazily, X as uint16, labels in memory."""
    lazy = ad.experimental.read_lazy(path)
    obs = lazy.obs.to_memory() if hasattr(lazy.obs, "to_memory") else lazy.obs
    return ad.AnnData(X=lazy.X.astype(np.uint16), obs=obs[["donor", "cell_type"]], var=lazy.var.to_memory())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--dataset-size", default="20GB", help="how much is shuffled in memory at a time")
    parser.add_argument("--cells-per-chunk", type=int, default=64)
    parser.add_argument("--uncompressed", action="store_true")
    args = parser.parse_args()
    options = {"zarr_compressor": ()} if args.uncompressed else {}
    harness.say(event="ready", **harness.memory())
    begin, cpu = time.perf_counter(), harness.cpu_seconds()
    DatasetCollection(args.out, mode="a").add_adatas(
        args.files,
        load_adata=load,
        n_obs_per_chunk=args.cells_per_chunk,
        dataset_size=args.dataset_size,
        rng=np.random.default_rng(0),
        **options,
    )
    harness.say(
        event="built",
        wall_s=round(time.perf_counter() - begin, 3),
        cpu_s=round(harness.cpu_seconds() - cpu, 3),
    )


if __name__ == "__main__":
    main()
