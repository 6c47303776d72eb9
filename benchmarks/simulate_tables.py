"""Tables of the benchmark of simulated cells, and the comparison of its scores with those of cell-eval."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy import stats

from scssl.metrics.perturbation import (
    differences,
    direction_match,
    discrimination_scores,
    overlap,
    pearson_delta,
    recall,
)
from scssl.tasks.simulate.baselines import BASELINES, NO_CHANGE
from scssl.tasks.simulate.predict import MODEL
from scssl.tasks.simulate.scoring import CEILING, DISTANCE, explained

SCRIPT = Path(__file__).parent / "peers" / "cell_eval_scores.py"
MEANS = (DISTANCE, "energy_distance", "mmd", "mae", "pearson_delta", "de_overlap", "de_recall", "de_direction")
KEYS = ["setting", "seed", "fold", "case", "cell_type", "donor"]


def summarise(tables: dict[str, pd.DataFrame], verdicts: pd.DataFrame) -> dict:
    """Return plain values: methods and hacks per setting."""
    found: dict = {"settings": {}, "hacks": []}
    for (role, name), part in tables["scores"].groupby(["role", "setting"], sort=False):
        found["settings"][name] = {"role": role, **one_setting(part, verdicts)}
    hacks = tables["hacks"]
    for name, part in hacks.groupby("setting", sort=False):
        nothing = tables["scores"].query("setting == @name and method == @NO_CHANGE").set_index(KEYS)[DISTANCE]
        found["hacks"] += gains(name, part, nothing)
    return found


def one_setting(part: pd.DataFrame, verdicts: pd.DataFrame) -> dict:
    """Return scores of all methods in one setting, with the model's gain over each."""
    distances = part.pivot_table(index=KEYS, columns="method", values=DISTANCE)
    whole = distances[NO_CHANGE]
    by_fold = distances.groupby(["case", "fold"]).mean()
    effects = discrimination(part)
    unit = by_fold[NO_CHANGE].mean()
    rows = []
    for method in dict.fromkeys(part["method"]):
        one = part[part["method"] == method]
        known = distances[method].notna()
        row = {"method": method, "explained": explained(distances[method][known].to_numpy(), whole[known].to_numpy())}
        seeds = []
        for _, rows_ in distances.groupby(level="seed"):
            there = rows_[method].notna()
            seeds.append(explained(rows_[method][there].to_numpy(), rows_[NO_CHANGE][there].to_numpy()))
        row |= {"explained_by_seed": [round(value, 4) for value in seeds]}
        row |= {name: one[name].mean() for name in MEANS} | {"discrimination": effects.get(method, np.nan)}
        if method != MODEL and method != CEILING:
            gain = ((by_fold[method] - by_fold[MODEL]) / unit).dropna().to_numpy()
            row |= {"model_gains": gain.mean(), "low": np.nan, "high": np.nan}
            if len(gain) > 1:
                half = stats.t.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / np.sqrt(len(gain))
                row |= {"low": gain.mean() - half, "high": gain.mean() + half}
            error = (by_mean(part, method) - by_mean(part, MODEL)).dropna().to_numpy()
            row["model_gains_mae"] = error.mean()
            if len(error) > 1:
                half = stats.t.ppf(0.975, len(error) - 1) * error.std(ddof=1) / np.sqrt(len(error))
                row |= {"mae_low": error.mean() - half, "mae_high": error.mean() + half}
        rows.append({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
    result = {"n_folds": len(by_fold), "n_groups": len(distances), "methods": clean(rows)}
    name = part["setting"].iloc[0]
    mine = verdicts[verdicts["setting"] == name] if len(verdicts) else verdicts
    if len(mine):
        first = distances.xs(0, level="seed").groupby("fold").mean()
        chosen = mine.set_index("fold")["method"]
        folds = [fold for fold in chosen.index if fold in first.index]
        taken = np.array([first.loc[fold, chosen[fold]] for fold in folds])
        simple = [method for method in BASELINES if method in first]
        best = first.loc[folds, simple].mean().idxmin()
        result["auto"] = {
            "explained": round(explained(taken, first.loc[folds, NO_CHANGE].to_numpy()), 4),
            "model": round(explained(first.loc[folds, MODEL].to_numpy(), first.loc[folds, NO_CHANGE].to_numpy()), 4),
            "best_baseline": str(best),
            "best_baseline_explained": round(
                explained(first.loc[folds, best].to_numpy(), first.loc[folds, NO_CHANGE].to_numpy()), 4
            ),
            "chosen": {str(fold): str(chosen[fold]) for fold in folds},
        }
    return result


def by_mean(part: pd.DataFrame, method: str) -> pd.Series:
    """Error of means per fold."""
    return part[part["method"] == method].groupby(["case", "fold"])["mae"].mean()


def discrimination(part: pd.DataFrame) -> dict[str, float]:
    """Which effect is it? Among the cases of a fold, or among the groups left out in turn."""
    found: dict[str, list[float]] = {}
    several = len(part["case"].unique()) > 1
    for method, one in part.groupby("method", sort=False):
        if method == CEILING:
            continue
        for _, rows in one.groupby(["seed", "fold"] if several else ["seed"]):
            if len(rows) > 1:
                scores = discrimination_scores(np.stack([*rows["_effect"]]), np.stack([*rows["_truth"]]))
                found.setdefault(str(method), []).append(float(scores.mean()))
    return {method: float(np.mean(values)) for method, values in found.items()}


def gains(name: str, part: pd.DataFrame, nothing: pd.Series) -> list[dict]:
    """Return what each hack adds to each score of the baseline."""
    rows = []
    unit = nothing.mean()
    table = part.set_index([*KEYS, "hack"])
    base = table.xs("none", level="hack")
    tell = {h: discrimination(one.assign(method=h)).get(h, np.nan) for h, one in part.groupby("hack", sort=False)}
    for hack in dict.fromkeys(part["hack"]):
        if hack == "none":
            continue
        one = table.xs(hack, level="hack")
        gain = ((base[DISTANCE] - one[DISTANCE]) / unit).groupby(["case", "fold"]).mean().to_numpy()
        row = {"setting": name, "hack": hack, "explained": gain.mean(), "better_in": float((gain > 0).mean())}
        row |= {score: (one[score] - base[score]).mean() for score in MEANS}
        row["discrimination"] = tell[hack] - tell["none"]
        rows.append({k: round(float(v), 4) if not isinstance(v, str) else v for k, v in row.items()})
    return clean(rows)


def clean(rows: list[dict]) -> list[dict]:
    """Replace what is not known by None, as JSON wants."""
    return [{k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()} for row in rows]


def against_cell_eval(python: str, control, measured, simulated) -> dict:
    """Score the same log values by cell-eval and by scssl; return the largest differences."""
    cases = sorted(measured)
    before = np.ravel(control.mean(axis=0))
    ours: dict[str, dict[str, float]] = {}
    means = [np.stack([np.ravel(part[case].mean(axis=0)) for case in cases]) for part in (simulated, measured)]
    told = discrimination_scores(means[0] - before, means[1] - before)
    for number, case in enumerate(cases):
        guess, true = differences(simulated[case], control), differences(measured[case], control)
        ours[case] = {
            "pearson_delta": pearson_delta(means[0][number], means[1][number], before),
            "mae": float(np.abs(means[0][number] - means[1][number]).mean()),
            "discrimination_score_l1": float(told[number]),
            "overlap_at_N": overlap(guess, true),
            "de_sig_genes_recall": recall(guess, true),
            "de_direction_match": direction_match(guess, true),
        }
    with tempfile.TemporaryDirectory() as folder:
        for name, part in (("real", measured), ("pred", simulated)):
            values = sp.vstack([control, *(part[case] for case in cases)], format="csr")
            target = ["control"] * control.shape[0] + [case for case in cases for _ in range(part[case].shape[0])]
            obs = pd.DataFrame({"target": target}, index=[f"c{i}" for i in range(len(target))])
            # Genes must not be called as the targets: cell-eval leaves those out of the discrimination score.
            var = pd.DataFrame(index=[f"gene{i}" for i in range(values.shape[1])])
            ad.AnnData(values.astype(np.float64), obs=obs, var=var).write_h5ad(Path(folder) / f"{name}.h5ad")
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        subprocess.run([python, str(SCRIPT), folder], check=True, env=environment, stdout=subprocess.DEVNULL)
        found = json.loads((Path(folder) / "scores.json").read_text())
    rows = []
    for score in next(iter(ours.values())):
        pairs = [(ours[case][score], found["scores"][case].get(score)) for case in cases]
        gaps = [abs(a - b) for a, b in pairs if b is not None and np.isfinite(a) and np.isfinite(b)]
        rows.append({"score": score, "n": len(gaps), "largest_difference": max(gaps, default=float("nan"))})
    return {"version": found["version"], "targets": len(cases), "scores": clean(rows)}
