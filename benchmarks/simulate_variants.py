"""Variants of a simulation for its benchmark: the model without parts, and a baseline with known hacks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from scssl.tasks.simulate.judge import paired
from scssl.tasks.simulate.learn import learn
from scssl.tasks.simulate.predict import MODEL, Targets, by_baselines, by_model, populate
from scssl.tasks.simulate.scoring import FEWEST, Judged, log_values, score_groups

HACKED = "cell-type mean shift"


def groups_of(learned, *, start, truth):
    """Return control groups that were measured under the case too, and what to judge them by."""
    matched, there = paired(start, truth)
    targets = Targets.of(matched)
    judged = []
    for key, rows in targets.groups:
        known = there.get(key)
        enough = known is not None and min(len(rows), len(known)) >= FEWEST
        judged.append(
            Judged(key=key, truth=truth.counts[known], control=matched.counts[rows], space=learned.space)
            if enough
            else None
        )
    return targets, judged


def ablations(learned, *, start, truth, seed: int):
    """Score the model with types alike in codes only, in expression only, in neither."""
    targets, judged = groups_of(learned, start=start, truth=truth)
    blind = replace(targets, cells=replace(targets.cells, codes=np.zeros_like(targets.cells.codes)))
    no_codes = replace(learned, codes=np.zeros_like(learned.codes))
    space = replace(learned.space, components=np.zeros_like(learned.space.components))
    moved = {
        "model, codes only": by_model([(1.0, replace(learned, space=space))], targets, seed=seed),
        "model, expression only": by_model([(1.0, no_codes)], blind, seed=seed),
        "model, neither": by_model([(1.0, replace(no_codes, space=space))], blind, seed=seed),
    }
    populations = {name: populate(name, moved, targets, learned=learned, seed=seed) for name in moved}
    return [row for row in score_groups(judged, populations, seed=seed) if row["method"] in moved]


def hacked(learned, *, start, truth, seed: int):
    """Score a baseline with tricks that raise some scores without predicting anything better."""
    targets, judged = groups_of(learned, start=start, truth=truth)
    model = by_model([(1.0, learned)], targets, seed=seed)
    moved = by_baselines(learned, targets, train=None, control="", model=model)
    populations = populate(HACKED, moved, targets, learned=learned, seed=seed)
    rows = []
    for one, counts in zip(judged, populations, strict=True):
        if one is None:
            continue
        control = log_values(one.control, target_sum=learned.space.target_sum)
        values = log_values(counts[np.ravel(counts.sum(axis=1)) > 0], target_sum=learned.space.target_sum)
        for name, changed in tricks(values.toarray(), np.ravel(control.mean(axis=0))).items():
            row = one.score_values(sp.csr_matrix(changed), seed=seed)
            rows.append({"hack": name, "cell_type": one.key[0], "donor": one.key[1], **row})
    return rows


def tricks(values: np.ndarray, control: np.ndarray) -> dict[str, np.ndarray]:
    """Return log values, and what the hacks make of them. No value falls below 0, as none can in a submission."""
    mean = values.mean(axis=0)
    rng = np.random.default_rng(0)
    return {
        "none": values,
        "variance inflated twofold": np.maximum(mean + np.sqrt(2) * (values - mean), 0),
        "noise added": np.maximum(values + rng.normal(0, 0.5, values.shape), 0),
        "values times 1.5": 1.5 * values,
        "change times 1.5": np.maximum(values + 0.5 * (mean - control), 0),
        "change times 3": np.maximum(values + 2.0 * (mean - control), 0),
        "log1p twice": np.log1p(values),
        "mean for every cell": np.repeat(mean[None], len(values), axis=0),
    }


def simulated_once(screen, seed: int):
    """Return control, measured and simulated log values of every target of the screen, last replicate left out."""
    control_values, measured, simulated = None, {}, {}
    for control, case, cells, folds in screen:
        fold = sorted(set(folds))[-1]
        is_case, held = cells.condition == case, folds == fold
        learned = learn(cells.at(~(held & is_case)), control=control, case=case)
        start, truth = cells.at(held & ~is_case), cells.at(held & is_case)
        targets = Targets.of(start)
        moved = {MODEL: by_model([(1.0, learned)], targets, seed=seed)}
        total = 200.0
        made = sp.vstack(populate(MODEL, moved, targets, learned=learned, seed=seed))
        control_values = log_values(start.counts, target_sum=total)
        measured[case] = log_values(truth.counts, target_sum=total)
        simulated[case] = log_values(made[np.ravel(made.sum(axis=1)) > 0], target_sum=total)
    return control_values, measured, simulated
