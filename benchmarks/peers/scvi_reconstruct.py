"""Train scVI on one file and write what it expects of the cells of another. Run by a Python that has scvi-tools.

    python scvi_reconstruct.py REFERENCE.h5ad SEEN.h5ad --latent 10 --epochs 100 --seed 0

The files share their genes. Beside the second, as SEEN.npz: the expected shares of each cell's counts, and the inverse
dispersion of each gene.
"""

import argparse

import anndata as ad
import numpy as np
import scvi

parser = argparse.ArgumentParser()
parser.add_argument("reference")
parser.add_argument("seen")
parser.add_argument("--latent", type=int, default=10)
parser.add_argument("--epochs", type=int, default=100)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

scvi.settings.seed = args.seed
scvi.settings.num_threads = 1
reference = ad.read_h5ad(args.reference)
scvi.model.SCVI.setup_anndata(reference)
model = scvi.model.SCVI(reference, n_latent=args.latent, gene_likelihood="nb")
model.train(max_epochs=args.epochs, accelerator="cpu", enable_progress_bar=False, logger=False)
seen = ad.read_h5ad(args.seen)
share = model.get_normalized_expression(seen, library_size=1, n_samples=10, return_numpy=True)
theta = np.exp(model.module.px_r.detach().cpu().numpy())
np.savez(f"{args.seen}.npz", share=share.astype(np.float32), theta=theta.astype(np.float32))
