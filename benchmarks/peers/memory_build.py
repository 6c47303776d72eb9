"""The naive way: read all files, concatenate, shuffle, write one h5ad."""

from __future__ import annotations

import sys
import time

import anndata as ad
import harness
import numpy as np

out, *files = sys.argv[1:]
harness.say(event="ready", **harness.memory())
begin, cpu = time.perf_counter(), harness.cpu_seconds()
cells = ad.concat([ad.read_h5ad(path) for path in files])
cells = cells[np.random.default_rng(0).permutation(cells.n_obs)]
cells.write_h5ad(out)
harness.say(
    event="built",
    wall_s=round(time.perf_counter() - begin, 3),
    cpu_s=round(harness.cpu_seconds() - cpu, 3),
    cells=cells.n_obs,
)
