"""What building, loading and embedding take in memory does not grow with the number of cells."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

from scssl.genes import load_panel

NONZEROS = 400
"""Per cell."""

# Constants are made small, so that all that is bounded is at its bound for few cells already.
SCRIPT = """
import json, sys
from pathlib import Path
from scssl.corpus import Corpus
from scssl.corpus.build import create as build, spill
from scssl.corpus import pool_size
build.SHARD_BYTES, spill.FLUSH_NONZEROS = 4 << 20, 1_000_000
pool_size.POOL_BYTES = 8 << 20
def peak():
    # Not ru_maxrss, which starts at what the parent process had.
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024
corpus = Corpus.build(sys.argv[1], sys.argv[2])
built = peak()
n = sum(batch.n_cells for batch in corpus.loader(batch_size=256))
loaded = peak()
from scssl.model.cell_model import CellModel
from scssl.training import Config, build_task, override
config = override(Config(), ["architecture.hidden=[16]", "architecture.n_latent=4"])
task = build_task(config, n_genes=len(corpus.panel), n_sources=1)
model = CellModel(task=task, panel=corpus.panel, config=config, sources=corpus.sources)
shape = model.embed(sys.argv[1], batch_size=256).shape
print(json.dumps([built, loaded, n, peak(), shape[0]]))
"""


def peaks(n_cells, folder):
    panel = load_panel("human")
    rng = np.random.default_rng(0)
    indices = np.sort(rng.integers(0, len(panel) // NONZEROS, (n_cells, NONZEROS)) + np.arange(NONZEROS) * 50)
    counts = rng.integers(1, 20, n_cells * NONZEROS).astype(np.float32)
    indptr = np.arange(n_cells + 1) * NONZEROS
    X = sp.csr_matrix((counts, indices.ravel().astype(np.int32), indptr), shape=(n_cells, len(panel)))
    obs = pd.DataFrame({"donor": [f"d{i % 20}" for i in range(n_cells)]}, index=[f"c{i}" for i in range(n_cells)])
    AnnData(X, obs=obs, var=pd.DataFrame(index=panel.ids)).write_h5ad(folder / f"{n_cells}.h5ad")
    arguments = [str(folder / f"{n_cells}.h5ad"), str(folder / f"c{n_cells}")]
    done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_flat(tmp_path):
    small, large = peaks(15_000, tmp_path), peaks(75_000, tmp_path)
    assert large[2] > 50_000
    # Five times the cells, 200 MB more counts; names and codes of one open file are all that may grow.
    assert large[0] - small[0] < 60
    assert large[1] - small[1] < 60
    assert large[0] < 2048
    assert large[4] == 75_000
    assert large[3] - small[3] < 60
