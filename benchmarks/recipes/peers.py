"""scVI on the same corpus, as a stranger's Python runs it (``PEERS_PYTHON`` names one with scvi-tools)."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp

from scssl.genes import harmonise

if TYPE_CHECKING:
    import anndata as ad
    from numpy.typing import NDArray

    import scssl

SCRIPT = Path(__file__).parents[1] / "peers" / "scvi_codes.py"


def scvi_codes(corpus: scssl.Corpus, targets: list[ad.AnnData], *, seed: int, latent: int) -> list[NDArray[np.float32]]:
    """Train scVI on a corpus with its sources as batches, and return the codes of the cells of each target."""
    python = os.environ.get("PEERS_PYTHON")
    if not python:
        message = "PEERS_PYTHON must name a Python that has scvi-tools"
        raise RuntimeError(message)
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch) / f"{number}.h5ad" for number in range(len(targets) + 1)]
        _cells_of(corpus).write_h5ad(paths[0])
        for path, target in zip(paths[1:], targets, strict=True):
            _on_panel(target, corpus).write_h5ad(path)
        options = ["--latent", str(latent), "--seed", str(seed)]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        subprocess.run([python, SCRIPT, *paths, *options], check=True, env=environment)
        return [np.load(f"{path}.npy") for path in paths[1:]]


def _cells_of(corpus: scssl.Corpus) -> ad.AnnData:
    import anndata as ad

    parts, sources = [], []
    for batch in corpus.loader(split="train", batch_size=4096, shuffle=False):
        arrays = (batch.values.numpy().astype(np.float32), batch.indices.numpy().astype(np.int32), batch.indptr.numpy())
        parts.append(sp.csr_matrix(arrays, shape=(batch.n_cells, batch.n_genes)))
        sources += [corpus.sources[code] for code in batch.source.tolist()]
    obs = pd.DataFrame({"source": sources}, index=[str(i) for i in range(len(sources))])
    return ad.AnnData(sp.vstack(parts, format="csr"), obs=obs, var=pd.DataFrame(index=list(corpus.panel.ids)))


def _on_panel(target: ad.AnnData, corpus: scssl.Corpus) -> ad.AnnData:
    import anndata as ad

    genes = harmonise(target.var, corpus.panel, file="target")
    counts = sp.csr_matrix(genes.apply(sp.csr_matrix(target.X)), dtype=np.float32)
    obs = pd.DataFrame(index=[str(i) for i in range(target.n_obs)])
    return ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=list(corpus.panel.ids)))
