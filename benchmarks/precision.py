"""What bf16 gains over fp32 in a training step on this processor, in steps per CPU second of one thread.

    OMP_NUM_THREADS=1 python -m benchmarks.precision

CPU seconds of one thread, since machines are shared; both are timed in turn; the ratio is of medians of seven steps.
"""

from __future__ import annotations

import time

import numpy as np
import scipy.sparse as sp
import torch

from benchmarks import protocol
from scssl.corpus.batch import CellBatch
from scssl.pretext import Draw
from scssl.training import Config, build_task

SHAPES = ((20_120, 128), (20_120, 512), (2_000, 64), (2_000, 512))
"""Genes, cells in a batch."""
DENSITY = 0.1
STEPS = 7


def main() -> None:
    torch.set_num_threads(1)
    rows = []
    for n_genes, n_cells in SHAPES:
        rng = np.random.default_rng(0)
        counts = sp.random_array((n_cells, n_genes), density=DENSITY, format="csr", rng=rng)
        counts.data = rng.integers(1, 20, counts.nnz).astype(np.float64)
        batch = CellBatch.from_csr(sp.csr_matrix(counts))
        task = build_task(Config(), n_genes=n_genes, n_sources=3)
        optimiser = torch.optim.AdamW(task.parameters(), fused=True)
        seconds: dict[str, list[float]] = {"fp32": [], "bf16": []}
        for step in range(STEPS + 1):
            for name, taken in seconds.items():
                started = time.process_time()
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=name == "bf16"):
                    loss = task.losses(batch, draw=Draw(0, step))["loss"]
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                # The first step of each pays for memory and kernels.
                if step:
                    taken.append(time.process_time() - started)
        rate = {name: n_cells / float(np.median(taken)) for name, taken in seconds.items()}
        rows.append(
            {
                "n_genes": n_genes,
                "batch_size": n_cells,
                "fp32_cells_per_cpu_second": round(rate["fp32"]),
                "bf16_cells_per_cpu_second": round(rate["bf16"]),
                "ratio": round(rate["bf16"] / rate["fp32"], 2),
            }
        )
        print(rows[-1], flush=True)
    protocol.write("precision", command="OMP_NUM_THREADS=1 python -m benchmarks.precision", result={"scores": rows})


if __name__ == "__main__":
    main()
