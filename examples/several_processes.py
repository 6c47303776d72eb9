"""Train the same model by one process and by two, as on several GPUs or machines, and see that they agree.

    python examples/several_processes.py

Takes about a minute on two cores. docs/cluster.md says how the same is done with torchrun and SLURM.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import scssl


def main(folder: Path, n_cells: int = 3000, n_genes: int = 500, epochs: int = 3) -> dict[int, float]:
    scssl.datasets.simulate_atlas(n_cells, n_genes).write_h5ad(folder / "cells.h5ad")
    # Several processes need a corpus on a disk that all of them see.
    corpus = scssl.Corpus.build([folder / "cells.h5ad"], folder / "corpus", genes="union", obs=["cell_type", "donor"])

    # Dropout is drawn by each process for itself, and bfloat16 rounds: without both, their number is all the same.
    still = ["architecture.dropout=0", "architecture.source_dropout=0", "training.precision=fp32"]
    losses = {}
    for devices in (1, 2):
        model = scssl.pretrain(
            corpus,
            max_epochs=epochs,
            overrides=still,
            device="cpu",
            devices=devices,
            out=folder / f"model{devices}",
        )
        losses[devices] = model.card["metrics"]["val_loss"]
        print(f"{devices} processes: validation loss {losses[devices]:.6f}, {model.card['training']['seconds']:.0f} s")
    return losses


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(scratch))
