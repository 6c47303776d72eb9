"""Tables and figures of what `python -m benchmarks.recipes` has computed.

    python -m benchmarks.recipes.tables --work FOLDER

Writes `results/recipes_development.json`, `recipes_confirmation.json` and `recipes_sizes.json`, the figures of
`docs/recipes.md`, and prints its tables.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import protocol
from benchmarks.recipes import figures
from benchmarks.recipes.variants import SIMPLE

DOCS = Path(__file__).parents[2] / "docs"
SETTINGS = {
    "PCA of the target": ("PCA of the target (20)", "probe:0.1"),
    "PCA of the target, kNN": ("PCA of the target (20)", "knn"),
    "PCA of the corpus": ("PCA of the corpus (20)", "probe:0.1"),
    "logistic regression": ("logistic regression on log values (C=0.1)", "itself"),
}
"""The simple baselines at the settings that are best on development data, with ten labels per type."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    scores = read(args.work)
    for role in ("development", "confirmation"):
        mine = scores[(scores["role"] == role) & (scores["cells"] == 0)]
        if len(mine):
            write(f"recipes_{role}", mine, command=f"python -m benchmarks.recipes {role} --work FOLDER")
            print(f"\n{role}\n" + by_target(mine).to_markdown(floatfmt=".3f"))
    sizes = scores[(scores["role"] == "confirmation") & scores["sized"]]
    if len(sizes):
        write("recipes_sizes", sizes, command="python -m benchmarks.recipes confirmation --work FOLDER --cells ...")
    figures.draw(scores, DOCS)


def read(work: Path) -> pd.DataFrame:
    """Return one row per run, target, use, readout and number of labels; ``f1`` is the mean over draws."""
    rows: list[dict[str, Any]] = []
    for path in sorted(work.glob("rows/*/*.json")):
        rows += json.loads(path.read_text())
    table = pd.DataFrame(rows)
    table["f1"] = table["draws"].map(np.mean).round(4)
    table["role"] = table["corpus"].str.partition("-")[0]
    simple = table["variant"] == SIMPLE
    table["method"] = table["variant"].where(~simple, table.get("arm"))
    table["use"] = table["use"].where(~simple, "code")
    ladder = table[table["cells"] > 0]["corpus"].unique()
    table["sized"] = (table["cells"] > 0) | table["corpus"].isin(ladder)
    return table


def write(name: str, table: pd.DataFrame, *, command: str) -> None:
    """Write the scores, a list per column, which is a tenth of the size of a mapping per row."""
    columns = ["corpus", "target", "method", "use", "readout", "n_labels", "seed", "cells", "f1", "cpu_seconds"]
    kept = table[columns].sort_values(columns[:8])
    scores = {"columns": columns, "rows": kept.to_numpy().tolist()}
    protocol.write(
        name, command=command, result={"scores": scores, "summary": by_target(table).round(3).to_dict("index")}
    )


def by_target(table: pd.DataFrame, *, n_labels: str = "10") -> pd.DataFrame:
    """Return the mean macro F1 over seeds: a row per method, use and readout, a column per target."""
    few = table[table["n_labels"] == n_labels].copy()
    few["row"] = few["method"] + " · " + few["use"] + " · " + few["readout"]
    wide = few.pivot_table(index="row", columns="target", values="f1")
    wide["mean"] = wide.mean(axis=1, skipna=False)
    return wide.sort_values("mean", ascending=False)


if __name__ == "__main__":
    main()
