"""Let totalVI predict the proteins of cells of which it sees the RNA only. Run by a Python that has scvi-tools.

    python totalvi_proteins.py TRAIN.h5ad TEST.h5ad --epochs 200 --seed 0

The test cells are a batch without any protein, as scvi-tools has it for such cells. Expected counts, background
included, go beside the test file as TEST.npy.
"""

import argparse

import anndata as ad
import numpy as np
import scvi

parser = argparse.ArgumentParser()
parser.add_argument("train")
parser.add_argument("test")
parser.add_argument("--epochs", type=int, default=200)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

scvi.settings.seed = args.seed
scvi.settings.num_threads = 1
train, test = ad.read_h5ad(args.train), ad.read_h5ad(args.test)
test.obsm["protein"] = np.zeros_like(test.obsm["protein"])
both = ad.concat({"train": train, "test": test}, label="part", index_unique="-")
scvi.model.TOTALVI.setup_anndata(both, batch_key="part", protein_expression_obsm_key="protein")
model = scvi.model.TOTALVI(both, latent_distribution="normal", n_layers_decoder=2)
model.train(max_epochs=args.epochs, accelerator="cpu", enable_progress_bar=False)
_, proteins = model.get_normalized_expression(
    indices=np.flatnonzero(both.obs["part"] == "test"),
    n_samples=10,
    return_mean=True,
    transform_batch="train",
    include_protein_background=True,
    sample_protein_mixing=False,
)
np.save(f"{args.test}.npy", np.asarray(proteins, dtype=np.float64))
