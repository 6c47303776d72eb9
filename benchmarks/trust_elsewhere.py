"""Confidence, label sets and rejection in every mode of the annotator, on new donors and on data sets from elsewhere.

    OMP_NUM_THREADS=1 python -m benchmarks.trust_elsewhere [--folder DIR] [--seeds 1]

The tasks of `benchmarks.annotate` but the one of 76 cells, with the annotator as it comes: error rate 0.1, budget of
rejection 0.05, everything learned from held-out donors of the reference, or from its cells where it has one donor.
Coverage is the mean over donors of the query. `benchmarks.trust` looks at two modes more closely.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import protocol
from benchmarks.annotate import MODES, pretrained
from benchmarks.annotation_tasks import Task, build_corpora, list_tasks
from scssl.tasks import Annotator

LEFT_OUT = "corpus_to_pdacA"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="keeps corpora and models")
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        corpora = build_corpora(folder)
        for seed in range(given.seeds):
            for task in list_tasks(folder, seed=seed):
                if task.name == LEFT_OUT:
                    continue
                for mode in MODES:
                    began = time.process_time()
                    model = pretrained(corpora[task.corpus], seed=seed, folder=folder)
                    rows.append({"task": task.name, "part": task.part, "mode": mode, "seed": seed})
                    rows[-1] |= judge(task, Annotator(model, mode=mode), seed=seed)  # type: ignore[arg-type]
                    rows[-1]["cpu_seconds"] = round(time.process_time() - began, 1)
                    print(rows[-1], flush=True)
    protocol.write(
        "trust_elsewhere",
        command="OMP_NUM_THREADS=1 python -m benchmarks.trust_elsewhere",
        result={"seeds": given.seeds, "summary": summarise(rows), "scores": rows},
    )


def judge(task: Task, annotator: Annotator, *, seed: int) -> dict[str, Any]:
    """Learn from the reference of a task; score what is said of its query."""
    annotator.fit(task.reference, labels="label", seed=seed)
    scores = annotator.evaluate(task.query, truth="label")
    assert annotator.fitted is not None
    assert annotator.fitted.trust is not None
    assert scores.calibration is not None
    assert scores.coverage is not None
    assert scores.rejection is not None
    held_out = annotator.fitted.trust.held_out
    return {
        "held_out": held_out["unit"],
        "ece_held_out": held_out["ece"],
        "n_cells": scores.n_cells,
        "accuracy": round(scores.accuracy, 4),
        "confidence": round(scores.calibration.confidence, 4),
        "ece": round(scores.calibration.ece, 4),
        "coverage": {str(donor): round(float(held), 4) for donor, held in scores.coverage["coverage"].items()},
        "labels_per_set": round(float(np.average(scores.coverage["size"], weights=scores.coverage["n_cells"])), 3),
        "rejected": scores.rejection["rejected"],
    }


def summarise(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over folds and seeds, and over donors where there are some."""
    out = []
    for (task, mode), part in pd.DataFrame(rows).groupby(["task", "mode"], sort=False):
        # Each donor once per seed, whichever fold it was in.
        covered = [value for donors in part["coverage"] for value in donors.values()]
        means = {
            name: round(float(np.average(part[name], weights=part["n_cells"])), 4)
            for name in ("accuracy", "confidence", "ece", "labels_per_set", "rejected")
        }
        row = {"task": task, "mode": mode, "held_out": part["held_out"].iloc[0], **means}
        row |= {"coverage": round(float(np.mean(covered)), 4), "coverage_lowest": min(covered)}
        out.append({**row, "donors": len(covered) // part["seed"].nunique()})
    return out


if __name__ == "__main__":
    main()
