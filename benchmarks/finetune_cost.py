"""What it costs to learn from a reference of 10,000 cells, in every mode: `Annotator.fit`, from the file.

    OMP_NUM_THREADS=1 python -m benchmarks.finetune_cost [--cells 10000] [--genes 19000]

Simulated cells of 12 types and 20 donors, and a model of all their genes with the default network, pre-trained for one
epoch: how long learning takes does not depend on how good the model is, but for the training that is done again where
fine-tuning does not keep the probe. Processor seconds are of one thread: two cores need between half of them and all.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import scssl
from benchmarks import protocol
from scssl.tasks import Annotator

MODES = ("zero_shot", "probe", "finetune", "scratch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--genes", type=int, default=19_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        reference = Path(scratch) / "reference.h5ad"
        atlas = scssl.datasets.simulate_atlas(
            given.cells, given.genes, n_types=12, n_studies=4, n_donors=20, library_size=5000.0
        )
        n_values = int(atlas.X.nnz)
        atlas.write_h5ad(reference)
        scssl.pretrain(atlas, genes="union", max_epochs=1).save(Path(scratch) / "model")
        del atlas
        rows = []
        for mode in MODES:
            began, used = time.time(), time.process_time()
            annotator = Annotator(Path(scratch) / "model", mode=mode)  # type: ignore[arg-type]
            annotator.fit(reference, labels="cell_type")
            took, spent = time.time() - began, time.process_time() - used
            assert annotator.fitted is not None
            kept = annotator.fitted.training.get("used", "")
            busy = round(os.getloadavg()[0], 1)
            rows.append(
                {"mode": mode, "seconds": round(took, 1), "cpu_seconds": round(spent, 1), "used": kept, "load": busy}
            )
            print(rows[-1], flush=True)
    protocol.write(
        "finetune_cost",
        command="OMP_NUM_THREADS=1 python -m benchmarks.finetune_cost",
        result={"cells": given.cells, "genes": given.genes, "values": n_values, "modes": rows},
    )


if __name__ == "__main__":
    main()
