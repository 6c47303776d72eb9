"""How wide an interval must be to hold what is measured: found out on groups of cells that are left out in turn."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from scssl.errors import DataError
from scssl.log import progress
from scssl.tasks.simulate.baselines import LATENT
from scssl.tasks.simulate.judge import LEAST_FOLDS, paired
from scssl.tasks.simulate.learn import learn, pairs_donors
from scssl.tasks.simulate.predict import MODEL, Targets, by_baselines, by_model
from scssl.tasks.simulate.pseudobulks import OFFSET, PLAIN, SCALE, bulk
from scssl.tasks.simulate.scoring import FEWEST

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Self

    from numpy.typing import NDArray

    from scssl.tasks.simulate.cells import Cells
    from scssl.tasks.simulate.learn import Learned
    from scssl.tasks.simulate.predict import Moved

LEVEL, Z90 = 0.9, 1.6448536
TYPE, DONOR, BOTH, MEASURED = "type", "donor", "type and donor", "measured"
AXES: Final = (TYPE, DONOR, BOTH)
"""What can be left out: types, units (donors, or else combinations of covariates), and types of units."""
DONORS: Final = "donors"
EDGES: Final = (0.5, 0.8, 0.95)
"""Shares of the genes, by their stated uncertainty, between which factors are found apart."""
LEVELS: Final = np.arange(LEVEL, 0.985, 0.01)
MOST_FOLDS: Final = 8
"""Of an axis; of more, some are drawn."""
LEAST_COUNTS: Final = 20
"""Of a gene in a group, control and case: what is hardly ever seen tells nothing."""


class Left(NamedTuple):
    """Genes of one fold: what was measured against what was predicted."""

    off: NDArray[np.float64]
    """(n,) distance of the predicted from the measured change."""
    sd: NDArray[np.float64]
    """(n,) as predicted."""
    error: NDArray[np.float64]
    """(n,) standard error of the measured change, that of control and case cells."""


@dataclass(frozen=True, kw_only=True)
class Widening:
    """Factors on standard deviations, by how large these are."""

    knots: list[float]
    """Standard deviations."""
    factors: list[float]
    """At each knot; in between evenly in the logarithm."""
    n_folds: int
    before: float
    """Share of measured changes within 1.645 sd and the error of measuring, over folds, as the model had them."""
    after: float
    """The same with factors found on the other folds; as the quantile of these is chosen by it, a little too good."""

    def __post_init__(self) -> None:
        values = np.array([self.knots, self.factors], dtype=np.float64)
        if values.ndim != 2 or values.size == 0 or not (values > 0).all() or not np.isfinite(values).all():
            message = "knots and factors of uncertainties must be as many, and above 0"
            raise ValueError(message)

    def widen(self, sd: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return wider standard deviations."""
        return _widened(sd, np.array(self.knots), np.array(self.factors))


def _widened(sd: NDArray[np.float64], knots: NDArray[np.float64], factors: NDArray[np.float64]) -> NDArray[np.float64]:
    at = np.log(np.maximum(sd, 1e-12))
    return np.asarray(sd * np.exp(np.interp(at, np.log(knots), np.log(factors))))


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Widenings by what is new about a group: its type, its donor, or both."""

    donors: list[str] = field(default_factory=list)
    """Units measured under the case: donors, or else combinations of covariates."""
    unit: str = DONORS
    """What units are, in words."""
    folds: dict[str, int] = field(default_factory=dict)
    """How many there were, by axis."""
    widenings: dict[str, dict[str, Widening]] = field(default_factory=dict)
    """By method and axis; an axis that cannot be calibrated is missing."""

    def axis(self, key: tuple[str, str], learned: Learned) -> str:
        """Return what is new about a group of a type and a unit."""
        kind, unit = key
        units = self.donors if learned.donors is None else learned.donors
        if kind not in learned.types:
            return BOTH if unit and unit not in units else TYPE
        # Where types were learned of over donors, every donor is off their mean.
        return MEASURED if not unit or key in learned.keys else DONOR

    def widening(self, method: str, axis: str) -> Widening | None:
        """Return the widening; None where nothing could be calibrated."""
        return self.widenings.get(method, {}).get(axis)

    def describe(self, method: str, axes: Sequence[str], *, new_values: Sequence[str] = ()) -> str:
        """Say how far stated uncertainties are to be believed, for groups of some axes, or of new covariates."""
        said = []
        for axis in (axis for axis in AXES if axis in axes):
            found, n, new = self.widening(method, axis), self.folds.get(axis, 0), axis_words(axis, unit=self.unit)
            if found is not None:
                said.append(
                    f"on {found.n_folds} {new} left out, change +- 1.645 sd, once the error of measuring is "
                    f"added, held {found.after:.0%} of the measured changes ({found.before:.0%} before it was widened)"
                )
            elif n >= LEAST_FOLDS:
                said.append(
                    f"for new {new} not calibrated, likely too small: the simulator was fitted without method "
                    f"{method!r}; with it, fit anew"
                )
            elif self.widenings or self.folds:
                said.append(
                    f"for new {new} not calibrated, likely too small: {n or 'none'} could be left out, "
                    f"{LEAST_FOLDS} are needed"
                )
            else:
                said.append(f"for new {new} not calibrated, likely too small")
        if new_values:
            said.append(f"for {' and '.join(new_values)} not calibrated, likely too small")
        if MEASURED in axes:
            said.append("for groups that were measured under the case as the model states it, not calibrated")
        return "; ".join(said)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Read what `to_dict` made; nothing, for a simulator that was saved before there were calibrations."""
        widenings = {
            method: {axis: Widening(**one) for axis, one in axes.items()}
            for method, axes in content.get("widenings", {}).items()
        }
        folds = {str(axis): int(n) for axis, n in content.get("folds", {}).items()}
        donors, unit = [str(name) for name in content.get("donors", [])], str(content.get("unit", DONORS))
        return cls(donors=donors, unit=unit, folds=folds, widenings=widenings)


def axis_words(axis: str, *, unit: str) -> str:
    """Say what is left out along an axis.

    Parameters
    ----------
    axis
        One of `AXES`.
    unit
        What units are.
    """
    return {TYPE: "cell types", DONOR: unit, BOTH: f"cell types of {unit}"}[axis]


def calibrate(
    cells: Cells, *, control: str, case: str, methods: Sequence[str], axes: Sequence[str] = AXES, seed: int
) -> Calibration:
    """Leave out case cells of types, donors and both in turn, and find how wide intervals must be to hold them.

    Parameters
    ----------
    cells
        Control and case cells that are learned from.
    control, case
        The conditions.
    methods
        The model or baselines, whose uncertainty is wanted.
    axes
        What to leave out.
    seed
        Of everything random.
    """
    both = cells.at(np.isin(cells.condition, [control, case]))
    is_case = both.condition == case
    units = [] if both.units is None else sorted(set(both.units[is_case]))
    unit = DONORS if both.donors is not None or both.covariates is None else both.strata_words
    # With a donor less it could come out the other way, and what is calibrated would not be what predicts.
    by_donor = pairs_donors(both, control=control, case=case)
    folds: dict[str, int] = {}
    widenings: dict[str, dict[str, Widening]] = {method: {} for method in methods}
    for axis in axes:
        masks = list(_folds(both, is_case, axis=axis, seed=seed))
        left: dict[str, list[Left]] = {method: [] for method in methods}
        if len(masks) >= LEAST_FOLDS:
            with progress(f"calibrating by {axis_words(axis, unit=unit)}", len(masks)) as advance:
                for gone, held in masks:
                    for method, one in _fold(both, is_case, gone, held, names=(control, case), methods=methods,
                                             by_donor=by_donor, seed=seed).items():  # fmt: skip
                        left[method].append(one)
                    advance(1)
            folds[axis] = len(left[methods[0]])
        else:
            folds[axis] = len(masks)
        for method, parts in left.items():
            if len(parts) >= LEAST_FOLDS:
                widenings[method][axis] = find_widening(parts)
    found = {name: one for name, one in widenings.items() if one}
    return Calibration(donors=units, unit=unit, folds=folds, widenings=found)


def find_widening(folds: Sequence[Left], *, level: float = LEVEL) -> Widening:
    r"""Find factors with which 90 % of the measured changes lie in their intervals, in a fold that is like these.

    A measured change is off by what the prediction is off and by its own error e. It is within the interval with
    factor c, :math:`1.645 \sqrt{c^2 s^2 + e^2}`, from :math:`c = \sqrt{\max((r / 1.645)^2 - e^2, 0)} / s` on: the
    conformal score. Factors are its quantiles among genes of like s, folds of the same weight, and never below 1. As a
    new group is not among the folds, the level of the quantile is raised until intervals hold enough on folds that the
    factors were not found on. That share is told as `Widening.after`; the level was chosen by it, so that it is a
    little too good.

    Parameters
    ----------
    folds
        Genes of each fold; two folds or more.
    level
        Share to hold.
    """

    def held(parts: Sequence[Left], widenings: Sequence[_Factors]) -> float:
        return float(np.mean([_inside(one, factors) for one, factors in zip(parts, widenings, strict=True)]))

    for quantile in LEVELS:
        after = held(folds, [_factors([*folds[:i], *folds[i + 1 :]], quantile) for i in range(len(folds))])
        if after >= level:
            break
    knots, factors = _factors(folds, quantile)
    ones = (knots, np.ones_like(factors))
    return Widening(
        knots=[float(value) for value in knots], factors=[float(value) for value in factors], n_folds=len(folds),
        before=held(folds, [ones] * len(folds)), after=after,
    )  # fmt: skip


_Factors = tuple["NDArray[np.float64]", "NDArray[np.float64]"]


def _factors(folds: Sequence[Left], quantile: float) -> _Factors:
    """Return knots and factors; a larger sd never becomes smaller than a smaller one."""
    off, sd, error = (np.concatenate([one[i] for one in folds]) for i in range(3))
    sd = np.maximum(sd, 1e-12)
    weight = np.concatenate([np.full(len(one.off), 1.0 / len(one.off)) for one in folds])
    score = np.sqrt(np.maximum((off / Z90) ** 2 - error**2, 0.0)) / sd
    part = np.searchsorted(np.quantile(sd, EDGES), sd)
    knots, factors = [], []
    for number in np.unique(part):
        here = part == number
        knots.append(float(np.median(sd[here])))
        factors.append(max(1.0, weighted_quantile(score[here], weight[here], quantile)))
    centre = np.array(knots)
    return centre, np.maximum.accumulate(centre * factors) / centre


def weighted_quantile(values: NDArray[np.float64], weights: NDArray[np.float64], level: float) -> float:
    """Return the smallest value that has at least `level` of the weight at or below it.

    Parameters
    ----------
    values, weights
        (n,).
    level
        Between 0 and 1.
    """
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order])
    place = int(np.searchsorted(below, level * below[-1] * (1 - 1e-12)))
    return float(values[order][min(place, len(order) - 1)])


def _inside(one: Left, found: _Factors) -> float:
    return float((one.off <= Z90 * np.hypot(_widened(one.sd, *found), one.error)).mean())


def _folds(
    cells: Cells, is_case: NDArray[np.bool_], *, axis: str, seed: int
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Yield which cells are not looked at if they are case cells, and which of them are predicted."""
    rng = np.random.default_rng([13, seed])
    # A donor is left out with all of its values.
    cells = cells if cells.donors is None else replace(cells, covariates=None)
    units = cells.units
    if axis != TYPE and units is None:
        return
    labels = {TYPE: cells.types, DONOR: units}
    if axis != BOTH:
        names = labels[axis]
        if names is None:
            return
        there = sorted(set(names[is_case]) & set(names[~is_case]))
        for name in sorted(rng.permutation(np.array(there, dtype=object))[:MOST_FOLDS]):
            yield names == name, names == name
        return
    first, second = dict(cells.at(is_case).groups()), dict(cells.at(~is_case).groups())
    keys = [key for key in first if min(len(first[key]), len(second.get(key, []))) >= FEWEST]
    if any(len({key[i] for key in keys}) < LEAST_FOLDS for i in range(2)):
        return
    for number in rng.permutation(len(keys))[:MOST_FOLDS]:
        by_type, by_unit = cells.types == keys[number][0], units == keys[number][1]
        yield by_type | by_unit, by_type & by_unit


def _fold(
    cells: Cells, is_case: NDArray[np.bool_], gone: NDArray[np.bool_], held: NDArray[np.bool_], *,
    names: tuple[str, str], methods: Sequence[str], by_donor: bool, seed: int,
) -> dict[str, Left]:  # fmt: skip
    control, case = names
    train = cells.at(~(gone & is_case))
    try:
        learned = learn(train, control=control, case=case, brief=True, by_donor=by_donor)
    except DataError:
        return {}
    matched, there = paired(cells.at(held & ~is_case), cells.at(held & is_case))
    targets = Targets.of(matched)
    model = by_model([(1.0, learned)], targets, seed=seed)
    moved = {MODEL: model}
    if set(methods) - {MODEL}:
        known = train if LATENT in methods else None
        moved |= by_baselines(learned, targets, train=known, control=control, model=model)
    truth = cells.at(held & is_case)
    found: dict[str, list[Left]] = {method: [] for method in methods}
    for number, (key, rows) in enumerate(targets.groups):
        measured = there.get(key)
        if measured is None or min(len(rows), len(measured)) < FEWEST:
            continue
        for method, parts in found.items():
            one = left_over(targets, number, moved[method], truth.at(measured))
            if len(one.off):
                parts.append(one)
    return {
        method: Left(*(np.concatenate([part[i] for part in parts]) for i in range(3)))
        for method, parts in found.items()
        if parts
    }


def left_over(targets: Targets, number: int, moved: Moved, truth: Cells) -> Left:
    """Return what measured case cells leave of a prediction, of genes with enough counts.

    Parameters
    ----------
    targets, number
        Control cells and which of their groups.
    moved
        As predicted.
    truth
        Measured case cells of that group.
    """
    before, after = targets.bulks[number], bulk(truth.counts)
    counts = [cells.sum(axis=0) for cells in (targets.cells.counts[targets.groups[number][1]], truth.counts)]
    seen = np.asarray(counts[0] + counts[1]).ravel() >= LEAST_COUNTS
    error = np.zeros(len(seen))
    for one in (before, after):
        level = SCALE * one.share
        error += one.variance[:-1] * ((OFFSET + level) / (PLAIN + level)) ** 2
    change = np.log1p(SCALE * after.share) - np.log1p(SCALE * before.share)
    return Left(np.abs(change - moved.change[number])[seen], moved.sd[number][seen], np.sqrt(error)[seen])
