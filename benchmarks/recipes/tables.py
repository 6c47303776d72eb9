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
from benchmarks.recipes.roles import REAL
from benchmarks.recipes.scoring import LABELS
from benchmarks.recipes.variants import SIMPLE

DOCS = Path(__file__).parents[2] / "docs"
PROBE = "probe:0.1"
"""The readout that models are compared by: better than neighbours on development data, for codes and for PCA."""
SETTINGS = {
    "PCA of the target": ("PCA of the target (20)", PROBE),
    "PCA of the corpus": ("PCA of the corpus (20)", PROBE),
    "logistic regression": ("logistic regression on log values (C=0.1)", "itself"),
}
"""The simple baselines at the settings that are best on development data, with ten labels per type."""
WAYS = {
    "code": ("code of 128", "code"),
    "code and own PCA": ("code of 128", "with pca"),
    "adapted code": ("code of 128, adapted", "code"),
    "adapted code and own PCA": ("code of 128, adapted", "with pca"),
    "all three": ("code of 128, both", "with pca"),
}
"""Ways of using the default model without its labels."""
OTHERS = {
    "all genes: code": ("all genes, code of 128", "code"),
    "all genes: adapted code and own PCA": ("all genes, code of 128, adapted", "with pca"),
    "all genes: all three": ("all genes, code of 128, both", "with pca"),
    "own genes: code": ("own genes, code of 128", "code"),
    "own genes: adapted code and own PCA": ("own genes, code of 128, adapted", "with pca"),
    "own genes: all three": ("own genes, code of 128, both", "with pca"),
    "code of 64": ("start", "code"),
    "code of 128, negative binomial": ("code of 128, negative binomial", "code"),
    "code of 128, masked + SimCLR": ("code of 128, masked + SimCLR", "code"),
    "target alone": ("target alone", "code"),
    "target alone, and own PCA": ("target alone", "with pca"),
    "autoencoder (no mask)": ("no mask", "code"),
    "untrained": ("untrained", "code"),
    "scVI": ("scVI", "code"),
}
PRESETS = {"default": "code of 128", "small": "preset small", "large": "preset large"}
PRESETS |= {"richter2024": "preset richter2024"}
CELLS = {"real": 16_800, "strong": 10_000, "weak": 10_000}
"""Cells of a whole corpus."""
GROWN = {"real": "real (mean of four data sets)", "weak": "simulated, weak batch effects"}
GROWN |= {"strong": "simulated, strong batch effects"}
ORDER = ("kang", "bone marrow", "sc_mixology", "brain", "simulated, weak", "simulated, strong")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    scores = read(args.work)
    for role in ("development", "confirmation"):
        mine = scores[(scores["role"] == role) & (scores["cells"] == 0)]
        if len(mine):
            write(f"recipes_{role}", mine, command=f"python -m benchmarks.recipes {role} --work FOLDER")
            print(f"\n{role}\n{by_target(mine).round(3).to_string()}")
    sizes = scores[(scores["role"] == "confirmation") & scores["sized"]]
    if len(sizes):
        write("recipes_sizes", sizes, command="python -m benchmarks.recipes confirmation --work FOLDER --cells ...")
        figures.sizes(growth(sizes), DOCS / "recipes_sizes.png")
    confirmed = scores[(scores["role"] == "confirmation") & (scores["cells"] == 0)]
    if len(confirmed):
        for n_labels in LABELS:
            table = compare(confirmed, n_labels=n_labels)
            print(f"\n{n_labels} labels per type\n\n" + markdown(table))
        print("\npresets\n\n" + presets(scores))
        few = compare(confirmed, n_labels="10")
        figures.confirmation(
            few[few["name"].isin(WAYS)], few[few["kind"] == "simple"], DOCS / "recipes_confirmation.png"
        )
    developed = by_target(scores[(scores["role"] == "development") & (scores["corpus"].str.endswith("real"))])
    rows = [row for row in developed.index if row.startswith(("PCA", "logistic"))]
    figures.levers(scores, DOCS / "recipes_levers.png", best_simple=float(developed.loc[rows, "mean"].max()))


def read(work: Path) -> pd.DataFrame:
    """Return one row per run, target, use, readout and number of labels; ``f1`` is the mean over draws."""
    rows: list[dict[str, Any]] = []
    for path in sorted(work.glob("rows/*/*.json")):
        rows += json.loads(path.read_text())
    table = pd.DataFrame(rows)
    table["f1"] = table["draws"].map(np.mean).round(4)
    table["role"] = table["corpus"].str.partition("-")[0]
    # A run on a whole corpus may say nothing of its size.
    table["cells"] = (table["cells"] if "cells" in table else pd.Series(0.0, table.index)).fillna(0).astype(int)
    simple = table["variant"] == SIMPLE
    table["method"] = table["variant"].where(~simple, table.get("arm"))
    table["use"] = table["use"].where(~simple, "code")
    ladder = table[table["cells"] > 0]["corpus"].unique()
    table["sized"] = (table["cells"] > 0) | table["corpus"].isin(ladder)
    return table


def write(name: str, table: pd.DataFrame, *, command: str) -> None:
    """Write the scores, a line of text per row, which is a tenth of the size of a mapping."""
    columns = ["corpus", "target", "method", "use", "readout", "n_labels", "seed", "cells", "f1", "cpu_seconds"]
    kept = table[columns].sort_values(columns[:8])
    lines = ["\t".join(map(str, row)) for row in kept.itertuples(index=False)]
    scores = {"columns": "\t".join(columns), "rows": lines}
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


def units(table: pd.DataFrame, method: str, use: str, readout: str, target: str) -> pd.Series:
    """Return the scores that vary independently: of each draw of labels on real data, of each atlas if simulated."""
    mine = table[(table["method"] == method) & (table["use"] == use) & (table["target"] == target)]
    mine = mine[mine["readout"] == readout].sort_values("seed")
    draws = np.array(mine["draws"].tolist(), dtype=float)
    if not len(draws):
        return pd.Series(dtype=float)
    if target.startswith("simulated"):
        return pd.Series(draws.mean(axis=1), index=mine["seed"].to_numpy())
    return pd.Series(draws.mean(axis=0))


def half_width(values: pd.Series) -> float:
    """Return half of the 95 % interval of a mean (Student's t)."""
    from scipy.stats import t

    n = len(values)
    return float(t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")


def compare(table: pd.DataFrame, *, n_labels: str) -> pd.DataFrame:
    """Return a row per target and method: macro F1, its interval, and the paired difference from two baselines.

    ``best``: the simple baseline, of all kinds and settings, that is best on this very target. ``chosen``: the one that
    is best on development data, PCA of the target.
    """
    table = table[table["n_labels"] == n_labels]
    rows: list[dict[str, Any]] = []
    for target in ORDER:
        arms = table[(table["target"] == target) & (table["variant"] == SIMPLE)][
            ["method", "readout"]
        ].drop_duplicates()
        theirs = {(m, r): units(table, m, "code", r, target) for m, r in arms.itertuples(index=False)}
        if not theirs:
            continue
        best, chosen = max(theirs.values(), key=pd.Series.mean), theirs[SETTINGS["PCA of the target"]]
        cases = {"best simple baseline here": ("simple", best)}
        cases |= {name: ("simple", theirs[key]) for name, key in SETTINGS.items()}
        for kind, group in (("default", WAYS), ("other", OTHERS)):
            cases |= {name: (kind, units(table, *key, PROBE, target)) for name, key in group.items()}
        for name, (kind, values) in cases.items():
            if not len(values):
                continue
            row = {"target": target, "name": name, "kind": kind, "f1": values.mean()}
            row |= {"low": values.mean() - half_width(values), "high": values.mean() + half_width(values)}
            for label, other in (("best", best), ("chosen", chosen)):
                gain = (values - other).dropna()  # paired by draw or by atlas
                row |= {f"{label}_gain": gain.mean(), f"{label}_half": half_width(gain)}
            rows.append(row)
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame) -> str:
    """Return a table of macro F1, with the gain over the best simple baseline of each target behind it."""
    targets = [t for t in ORDER if t in set(table["target"])]
    lines = ["| method | " + " | ".join(targets) + " | mean |", "|---" * (len(targets) + 2) + "|"]
    for name in dict.fromkeys(table["name"]):
        mine = table[table["name"] == name].set_index("target")
        cells = []
        for target in targets:
            if target not in mine.index:
                cells.append("")
                continue
            row = mine.loc[target]
            half = "" if np.isnan(row["best_half"]) else f" ± {row['best_half']:.3f}"
            gain = "" if row["kind"] == "simple" else f" ({row['best_gain']:+.3f}{half})"
            cells.append(f"{row['f1']:.3f}{gain}")
        mean = f"{mine['f1'].mean():.3f}" if len(mine) == len(targets) else ""
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {mean} |")
    return "\n".join(lines)


def presets(table: pd.DataFrame) -> str:
    """Return a table of the presets' frozen codes, read by the probe: one seed, by number of labels and data set."""
    table = table[(table["readout"] == PROBE) & (table["use"] == "code") & (table["seed"] == 0) & (table["cells"] == 0)]
    targets = [target.name for target in REAL["development"]] + list(ORDER)
    lines = ["| preset | labels | " + " | ".join(targets) + " | CPU s |", "|---" * (len(targets) + 3) + "|"]
    for name, method in PRESETS.items():
        mine = table[table["method"] == method]
        mine = mine[(mine["role"] == "confirmation") | mine["corpus"].str.endswith("real")]
        seconds = mine[mine["corpus"] == "confirmation-real"]["cpu_seconds"].mean()
        for n_labels in LABELS:
            f1 = mine[mine["n_labels"] == n_labels].groupby("target")["f1"].mean()
            cells = [f"{f1[target]:.3f}" if target in f1 else "" for target in targets]
            lines.append(f"| {name} | {n_labels} | " + " | ".join(cells) + f" | {seconds:.0f} |")
    return "\n".join(lines)


def growth(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return, per kind of corpus, how scores depend on the cells that were pre-trained on."""
    table = table[table["n_labels"] == "10"]
    cases = {name: (*key, PROBE) for name, key in WAYS.items()}
    cases["PCA of the corpus"] = (SETTINGS["PCA of the corpus"][0], "code", PROBE)
    flat = {"PCA of the target": (SETTINGS["PCA of the target"][0], "code", PROBE)}
    found: dict[str, pd.DataFrame] = {}
    for kind, title in GROWN.items():
        here = table[table["corpus"].str.contains(f"-{kind}")]
        if kind != "real" and len(here):
            # A seed is an atlas there, and atlases differ more than sizes do: those that every size was drawn of.
            code = here[here["method"] == WAYS["code"][0]]
            here = here[here["seed"].isin(set.intersection(*(set(part) for _, part in code.groupby("cells")["seed"])))]
        rows = []
        for name, (method, use, readout) in {**cases, **flat}.items():
            mine = here[(here["method"] == method) & (here["use"] == use) & (here["readout"] == readout)]
            for cells, part in mine.groupby("cells"):
                # One number per seed: the mean over targets.
                values = part.groupby("seed")["f1"].mean().to_numpy()
                row = {"name": name, "cells": CELLS[kind] if cells == 0 else cells, "f1": values.mean()}
                rows.append(row | {"low": values.min(), "high": values.max()})
        frame = pd.DataFrame(rows)
        if len(frame):
            frame.loc[frame["name"].isin(flat), "cells"] = np.nan
            found[title] = frame
    return found


if __name__ == "__main__":
    main()
