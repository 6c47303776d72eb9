"""Does the model beat the baselines here? Found out by leaving cell types or donors out of the training cells."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from scssl.errors import DataError
from scssl.log import logger, progress
from scssl.tasks.simulate.baselines import BASELINES, CONTROL_MEAN, NO_CHANGE
from scssl.tasks.simulate.learn import learn, pairs_donors
from scssl.tasks.simulate.predict import MODEL, Targets, by_baselines, by_model, populate
from scssl.tasks.simulate.scoring import DISTANCE, FEWEST, Judged, explained, score_groups

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scssl.tasks.simulate.cells import Cells
    from scssl.tasks.simulate.learn import Learned

LEAST_FOLDS: Final = 3
FALLBACK: Final = "cell-type mean shift"
"""What is predicted where nothing can be judged."""
CELLS: Final = 300
"""Of a group under a condition, that folds are judged on."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether the model is to be believed more than a baseline, as far as the training cells can tell."""

    beats: bool
    """The model is better than every baseline, beyond chance."""
    text: str
    best: str
    """The best baseline in the folds."""
    method: str
    """What ``auto`` takes."""
    by: str
    """What was left out, one after the other."""
    folds: list[str] = field(default_factory=list)
    gain: float = float("nan")
    """Mean over folds of the model's headline score less that of the best baseline, in parts of the mean change."""
    low: float = float("nan")
    high: float = float("nan")
    explained: dict[str, float] = field(default_factory=dict)
    """Headline score of each method over all folds."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; None for what is not known."""
        return {
            name: None if isinstance(value, float) and not np.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def compare(
    learned: Learned,
    *,
    train: Cells | None,
    control_cells: Cells,
    truth: Cells,
    control: str,
    seed: int,
    brief: bool = False,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Simulate control cells by every method and compare with measured case cells of the same type and donor.

    Parameters
    ----------
    learned
        What the condition does.
    train
        What that was learned from, for the shift in the model's space.
    control_cells, truth
        Cells to start from, and measured case cells.
    control
        Name of the control.
    seed
        Of the counts.
    brief
        Only the headline score.

    Returns
    -------
    rows : list of dict
        One per method and group, for `gather`.
    skipped : list of str
        Groups that had too few cells.

    Raises
    ------
    DataError
        If no group has enough cells of both.
    """
    matched, there = paired(control_cells, truth)
    targets = Targets.of(matched)
    moved = {MODEL: by_model([(1.0, learned)], targets, seed=seed)}
    moved |= by_baselines(learned, targets, train=train, control=control, model=moved[MODEL])
    judged: list[Judged | None] = []
    skipped = []
    for key, rows in targets.groups:
        measured = there.get(key)
        if measured is None or min(len(rows), len(measured)) < FEWEST:
            skipped.append(" of ".join(part for part in key if part))
            judged.append(None)
            continue
        judged.append(
            Judged(
                key=key, truth=truth.counts[measured], control=matched.counts[rows], space=learned.space, brief=brief
            )
        )
    if not any(one is not None for one in judged):
        message = (
            f"{truth.file}: no cell type has {FEWEST} cells or more under the control and under the case, so "
            "nothing can be scored"
        )
        raise DataError(message)
    methods = [MODEL, *(name for name in BASELINES if name in moved or name in (NO_CHANGE, CONTROL_MEAN))]
    populations = {name: populate(name, moved, targets, learned=learned, seed=seed) for name in methods}
    return score_groups(judged, populations, seed=seed), skipped


def paired(control: Cells, truth: Cells) -> tuple[Cells, dict[tuple[str, str], NDArray[np.int64]]]:
    """Match control with measured cells: by type and donor where most can be scored so, else by type (and covariates).

    Parameters
    ----------
    control, truth
        Cells to start from, and measured ones.
    """
    from dataclasses import replace

    if control.donors is not None and truth.donors is not None:
        here, there = dict(control.groups()), dict(truth.groups())
        scored = sum(len(rows) for key, rows in there.items() if min(len(rows), len(here.get(key, []))) >= FEWEST)
        if scored > len(truth) / 2:
            return control, there
        control, truth = replace(control, donors=None), replace(truth, donors=None)
    return control, dict(truth.groups())


def judge(
    cells: Cells, *, control: str, case: str, folds: NDArray[np.object_], by: str, confidence: float, seed: int
) -> Verdict:
    """Leave out the case cells of one fold after the other, simulate them, and compare the model with the baselines.

    Parameters
    ----------
    cells
        Training cells.
    control, case
        The conditions.
    folds
        (n_cells,) what is left out together.
    by
        What that is, in words.
    confidence
        Of the interval of the gain.
    seed
        Of everything random.
    """
    is_case = cells.condition == case
    both = cells.at(is_case | (cells.condition == control))
    names = sorted(set(folds[is_case]) & set(folds[cells.condition == control]))
    both_folds = folds[is_case | (cells.condition == control)]
    # With a fold less it could come out the other way, and what is judged would not be what predicts.
    by_donor = pairs_donors(both, control=control, case=case)
    tables = []
    if len(names) >= LEAST_FOLDS:
        with progress(f"judging by {by}", len(names)) as advance:
            for name in names:
                rows = _fold(both, both_folds == name, names=(control, case), by_donor=by_donor, seed=seed)
                if rows:
                    tables.append(pd.DataFrame(rows).assign(fold=name))
                advance(1)
    if len(tables) < LEAST_FOLDS:
        text = (
            f"cannot be judged: {len(tables) or len(names)} of the {by} have cells enough under {control!r} and "
            f"{case!r}, {LEAST_FOLDS} are needed to leave one out after the other; the {FALLBACK} is taken"
        )
        return Verdict(beats=False, text=text, best=FALLBACK, method=FALLBACK, by=by)
    return decide(pd.concat(tables), by=by, confidence=confidence)


def decide(table: pd.DataFrame, *, by: str, confidence: float) -> Verdict:
    """Compare the model with the best baseline over folds.

    Parameters
    ----------
    table
        Groups of all folds, by `compare`, with a column ``fold``.
    by
        What folds are.
    confidence
        Of the interval, Student's over folds.
    """
    from scipy.stats import t

    distances = table.pivot_table(index="fold", columns="method", values=DISTANCE, aggfunc="mean")
    methods = [name for name in (MODEL, *BASELINES) if name in distances]
    whole = distances[NO_CHANGE].to_numpy()
    share = {name: explained(distances[name].to_numpy(), whole) for name in methods}
    best = max((name for name in methods if name != MODEL), key=lambda name: share[name])
    gains = (distances[best] - distances[MODEL]).to_numpy() / max(float(whole.mean()), 1e-12)
    n = len(gains)
    half = float(t.ppf(0.5 + confidence / 2, n - 1) * gains.std(ddof=1) / np.sqrt(n))
    gain, low, high = float(gains.mean()), float(gains.mean()) - half, float(gains.mean()) + half
    beats = low > 0
    where = f"on {n} {by} left out one after the other"
    numbers = f"{share[MODEL]:.2f} of the change explained against {share[best]:.2f}"
    interval = _interval(gain, low, high, confidence=confidence)
    other = {NO_CHANGE: "no change at all", "additive": "additive effects"}.get(best, f"the {best}")
    if beats:
        text = f"the model is better than {other}, the best baseline, {where}: {numbers} ({interval})"
    else:
        word = "clearly better" if gain > 0 else "better"
        text = f"the model is not {word} than {other} here, {where}: {numbers} ({interval})"
    return Verdict(
        beats=beats, text=text, best=best, method=MODEL if beats else best, by=by,
        folds=[str(name) for name in distances.index], gain=gain, low=low, high=high, explained=share,
    )  # fmt: skip


def _interval(gain: float, low: float, high: float, *, confidence: float) -> str:
    """Say a gain with as many digits (2 to 4) as it takes that no end of its interval reads as zero."""
    digits = next((n for n in (2, 3) if round(low, n) and round(high, n)), 4)
    ends = f"{low:+z.{digits}f} to {high:+z.{digits}f}"
    return f"gain {gain:+z.{digits}f}, {100 * confidence:g} % interval {ends}"


def _fold(
    cells: Cells, held: NDArray[np.bool_], *, names: tuple[str, str], by_donor: bool, seed: int
) -> list[dict[str, Any]]:
    control, case = names
    is_case = cells.condition == case
    train = cells.at(~(held & is_case))
    try:
        learned = learn(train, control=control, case=case, by_donor=by_donor)
        start = _few(cells.at(held & ~is_case), seed=seed)
        truth = _few(cells.at(held & is_case), seed=seed)
        rows, _ = compare(
            learned, train=train, control_cells=start, truth=truth, control=control, seed=seed, brief=True,
        )  # fmt: skip
    except DataError as error:
        logger.info("left out of the judgement: %s", error)
        return []
    return rows


def _few(cells: Cells, *, seed: int) -> Cells:
    rng = np.random.default_rng(seed)
    return cells.at(np.sort(np.concatenate([rng.permutation(rows)[:CELLS] for _, rows in cells.groups()])))
