"""How many measured changes lie in the 90 % intervals of simulated cells, before and after these are calibrated.

    OMP_NUM_THREADS=1 python -m benchmarks.simulate_coverage

Cell types, donors, or both (the cells of one type of one donor) are left out in turn as in ``benchmarks.simulate``,
with its cells, models and seeds. The model is fitted and its intervals are calibrated without the case cells that are
left out, from folds within the training cells; then it is counted how many measured changes of those are inside. The
error of the measurement, of control and case cells, is part of the interval. Counted are genes with 20 counts or more
in the group, and among them, per group: the 50 of the largest predicted change, the 50 of the largest stated
uncertainty, and the 50 of the largest measured change. The last are chosen by the outcome: no interval that is right on
average over genes holds nine of ten of those.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd

import scssl
from benchmarks import protocol
from benchmarks.simulate import SEEDS, models, problems
from scssl.tasks.simulate.calibrate import BOTH, DONOR, LEAST_COUNTS, TYPE, Z90, calibrate, left_over
from scssl.tasks.simulate.judge import paired
from scssl.tasks.simulate.learn import learn
from scssl.tasks.simulate.predict import MODEL, Targets, by_model
from scssl.tasks.simulate.pseudobulks import SCALE, bulk
from scssl.tasks.simulate.scoring import FEWEST

SETTINGS = [
    ("muscat, type out", TYPE), ("scGen split, type out", TYPE), ("100 genes, donor out", TYPE),
    ("100 genes, donor out", DONOR), ("100 genes, donor out", BOTH), ("simulated, type out", TYPE),
    ("simulated, donor out", DONOR), ("simulated, donor out", BOTH),
]  # fmt: skip
COMMAND = "OMP_NUM_THREADS=1 python -m benchmarks.simulate_coverage"
MOST_BOTH = 8
"""Types of donors that are left out."""
CHOSEN = 50


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    args = parser.parse_args()
    begin, rows = time.perf_counter(), []
    for seed, model, _ in models(args.seeds):
        for name, axis in SETTINGS:
            for control, case, cells, _ in problems(name, model, seed=seed):
                known = {"setting": name.partition(",")[0], "left_out": axis, "seed": seed}
                found = held(cells, axis=axis, control=control, case=case, seed=seed)
                rows += [{**known, **row} for row in found]
            print(f"seed {seed}, {name}, {axis}: {time.perf_counter() - begin:.0f} s", flush=True)
        minutes = round((time.perf_counter() - begin) / 60, 1)
        result = {"minutes": minutes, "seeds": seed + 1, "coverage": summarise(pd.DataFrame(rows))}
        # Each seed takes its time: what there is so far is written, with what repeats it.
        short = f" --seeds {seed + 1}" if seed + 1 < len(SEEDS) else ""
        protocol.write("simulate_coverage", command=COMMAND + short, result=result)


def summarise(table: pd.DataFrame) -> list[dict]:
    """Return means over folds of each setting; one not calibrated has no value for that."""
    found = []
    for (setting, axis), part in table.groupby(["setting", "left_out"], sort=False):
        numbers = part.drop(columns=["setting", "left_out", "seed", "fold"])
        row = {"setting": str(setting), "left_out": str(axis), "n_folds": int(part["fold"].nunique())}
        row |= {name: None if np.isnan(value) else round(float(value), 3) for name, value in numbers.mean().items()}
        by_fold = part.groupby("fold")["calibrated"].mean()
        row["by_fold"] = {str(name): round(float(value), 3) for name, value in by_fold.dropna().items()}
        found.append(row)
    return found


def held(cells, *, axis: str, control: str, case: str, seed: int) -> list[dict]:
    """Leave out one after the other, and count."""
    is_case, rows = cells.condition == case, []
    for name, gone, target in left_out(cells, is_case, axis=axis, seed=seed):
        train = cells.at(~(gone & is_case))
        try:
            learned = learn(train, control=control, case=case, brief=True)
        except scssl.errors.DataError:
            continue
        found = calibrate(train, control=control, case=case, methods=[MODEL], axes=[axis], seed=seed)
        matched, there = paired(cells.at(target & ~is_case), truth := cells.at(target & is_case))
        targets = Targets.of(matched)
        moved = by_model([(1.0, learned)], targets, seed=seed)
        widening = found.widening(MODEL, axis)
        groups = []
        for number, (key, start) in enumerate(targets.groups):
            measured = there.get(key)
            if measured is not None and min(len(start), len(measured)) >= FEWEST:
                groups.append(count(targets, number, moved, truth.at(measured), widening=widening))
        if groups:
            rows.append({"fold": name, **pd.DataFrame(groups).mean().to_dict()})
    return rows


def left_out(cells, is_case: np.ndarray, *, axis: str, seed: int):
    """Yield a name, whose case cells are not looked at, and which of these are predicted."""
    if axis != BOTH:
        labels = cells.types if axis == TYPE else cells.donors
        for name in sorted(set(labels[is_case]) & set(labels[~is_case])):
            yield name, labels == name, labels == name
        return
    keys = [key for key, rows in cells.at(is_case).groups() if len(rows) >= FEWEST]
    for number in np.random.default_rng([17, seed]).permutation(len(keys))[:MOST_BOTH]:
        by_type, by_donor = cells.types == keys[number][0], cells.donors == keys[number][1]
        yield " of ".join(keys[number]), by_type | by_donor, by_type & by_donor


def count(targets, number: int, moved, truth, *, widening) -> dict:
    """Return shares of genes inside of their intervals."""
    left = left_over(targets, number, moved, truth)
    wide = np.full_like(left.sd, np.nan) if widening is None else widening.widen(left.sd)
    inside = [np.where(np.isnan(sd), np.nan, left.off <= Z90 * np.hypot(sd, left.error)) for sd in (left.sd, wide)]
    both = truth.counts.sum(axis=0) + targets.cells.counts[targets.groups[number][1]].sum(axis=0)
    seen = np.asarray(both).ravel() >= LEAST_COUNTS
    shares = (targets.bulks[number].share[seen], bulk(truth.counts).share[seen])
    measured = np.log1p(SCALE * shares[1]) - np.log1p(SCALE * shares[0])
    sizes = {"predicted": np.abs(moved.change[number][seen]), "sd": left.sd, "measured": np.abs(measured)}
    chosen = {f"largest_{name}": np.argsort(-size, kind="stable")[:CHOSEN] for name, size in sizes.items()}
    return {
        "before": inside[0].mean(), "calibrated": inside[1].mean(),
        **{name: inside[1][genes].mean() for name, genes in chosen.items()},
    }  # fmt: skip


if __name__ == "__main__":
    main()
