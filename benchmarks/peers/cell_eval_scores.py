"""Scores of cell-eval for log values in real.h5ad and pred.h5ad of a folder; writes scores.json there."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

from cell_eval import MetricsEvaluator


def main() -> None:
    folder = Path(sys.argv[1])
    evaluator = MetricsEvaluator(
        adata_pred=str(folder / "pred.h5ad"),
        adata_real=str(folder / "real.h5ad"),
        control_pert="control",
        pert_col="target",
        num_threads=1,
        outdir=str(folder / "out"),
    )
    table, _ = evaluator.compute(profile="full", skip_metrics=["clustering_agreement", "pearson_edistance"])
    rows = table.to_dicts()
    scores = {row.pop("perturbation"): row for row in rows}
    (folder / "scores.json").write_text(json.dumps({"version": version("cell-eval"), "scores": scores}))


if __name__ == "__main__":
    main()
