"""Train scVI on one file and embed others that it has not seen. Run by a Python that has scvi-tools.

    python scvi_codes.py TRAIN.h5ad QUERY.h5ad ... --latent 30 --epochs 100 --seed 0

The files share their genes. Codes go beside each query as QUERY.npy.
"""

import argparse

import anndata as ad
import numpy as np
import scvi

parser = argparse.ArgumentParser()
parser.add_argument("train")
parser.add_argument("queries", nargs="+")
parser.add_argument("--latent", type=int, default=30)
parser.add_argument("--epochs", type=int, default=100)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

scvi.settings.seed = args.seed
scvi.settings.num_threads = 1
train = ad.read_h5ad(args.train)
scvi.model.SCVI.setup_anndata(train, batch_key="source")
model = scvi.model.SCVI(train, n_latent=args.latent, gene_likelihood="nb")
model.train(max_epochs=args.epochs, accelerator="cpu", enable_progress_bar=False, logger=False)
for path in args.queries:
    query = ad.read_h5ad(path)
    # The encoder is not told the source, so which one a new cell is said to be of does not matter.
    query.obs["source"] = str(train.obs["source"].iloc[0])
    np.save(f"{path}.npy", model.get_latent_representation(query))
