"""Label sets with a stated error rate: conformal prediction over donors."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from scssl.errors import DataError, FormatError, require
from scssl.tasks.annotate.quantile import UNITS, Unit, donor_weights, quantile, threshold

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Self

    from numpy.typing import NDArray

MIN_CELLS = 50
"""A class with fewer held-out cells has no threshold of its own."""
MIN_DONORS = 3
"""Nor has one that fewer held-out donors have, where there are several."""
MOST_OTHERS = 0.15
"""No label is in the sets of a larger share of the cells of other types."""
AMBIGUOUS = "ambiguous"
JOINED = 3
"""Up to so many labels are named, where no ancestor can stand for them."""


class Tree(Protocol):
    """What backing off needs to know of the labels: `scssl.ontology.LabelTree`."""

    def common_ancestor(self, codes: Iterable[int]) -> tuple[str, str | None] | None:
        """Return name and id of the smallest common ancestor of some labels, None where there is none."""


@dataclass(frozen=True, kw_only=True)
class LabelSets:
    """Sets of labels that hold the true one at a stated rate.

    A label is in the set of a cell if its calibrated probability is at least the label's threshold ("least ambiguous
    sets": Sadinle, Lei and Wasserman 2019, doi 10.1080/01621459.2017.1395341), which makes sets as small as they can
    be on average. Thresholds come from held-out cells of each type, so that the rate holds for every type and not just
    for the common ones; types with too few held-out cells or donors share one. A type that cannot be told would then
    be in the sets of most other cells, and make all of them useless: no label may be in the sets of more than 15 % of
    the cells of other types, and where that has to be enforced, the rate does not hold for this type (see `own`). It
    holds over all cells in any case. The most probable label is always in the set: there are no empty sets.
    """

    error_rate: float
    """Share of cells whose set may miss the true label."""
    least: tuple[float, ...]
    """Per class: the probability from which on it is in the set; 0: always."""
    own: tuple[bool, ...]
    """Per class: whether the rate holds for this class, by a threshold of its own."""
    units: tuple[Unit, ...]
    """Per class: what the rate holds for, see `scssl.tasks.annotate.quantile.Threshold`."""
    n_cells: tuple[int, ...]
    """Per class: held-out cells."""
    n_donors: tuple[int, ...]
    """Per class: held-out donors that have it."""

    @classmethod
    def fit(
        cls,
        probabilities: NDArray[np.floating],
        *,
        codes: NDArray[np.integer],
        donors: NDArray[np.integer] | None = None,
        error_rate: float = 0.1,
        min_cells: int = MIN_CELLS,
    ) -> Self:
        """Find the thresholds from cells whose donors the classifier did not learn from.

        Parameters
        ----------
        probabilities
            (n_cells, n_classes) calibrated, see `scssl.tasks.annotate.calibrate`.
        codes
            (n_cells,) true classes; cells with a negative code are left out.
        donors
            (n_cells,) codes; negative where not known (left out, unless no donor is known). None: cells are the units.
        error_rate
            Share of cells whose set may miss the true label.
        min_cells
            Held-out cells from which on a class has a threshold of its own.

        Raises
        ------
        DataError
            If lengths differ, or no cell is left to learn from.
        SettingsError
            If `error_rate` is not between 0 and 1.
        """
        require("error_rate", error_rate, holds=0 < error_rate < 1, must="between 0 and 1")
        p, y = _checked(probabilities, codes)
        n_classes = p.shape[1]
        d = None if donors is None or not (np.asarray(donors) >= 0).any() else np.asarray(donors)
        used = (y >= 0) if d is None else (y >= 0) & (d >= 0)
        if not used.any():
            message = "label sets: there is no held-out cell with a label to learn the thresholds from"
            raise DataError(message)
        y, d = y[used], None if d is None else d[used]
        # The score is minus the probability of the true label, so that a threshold is minus the least probability.
        scores = -p[used, y].astype(np.float64)
        n_cells = np.bincount(y, minlength=n_classes)
        seen = [0 if d is None else len(np.unique(d[y == code])) for code in range(n_classes)]
        several = d is not None and len(np.unique(d)) > 1
        own = (n_cells >= min_cells) & (np.array(seen) >= MIN_DONORS if several else True)

        def of(cells: NDArray[np.bool_]) -> tuple[float, Unit]:
            found = threshold(scores[cells], error_rate=error_rate, donors=None if d is None else d[cells])
            return max(-found.value, 0.0), found.unit

        everyone = of(np.ones(len(y), dtype=bool))
        rare = ~own[y]
        enough = rare.sum() >= min_cells and (not several or d is None or len(np.unique(d[rare])) >= MIN_DONORS)
        shared = of(rare) if enough else everyone
        found = [of(y == code) if own[code] else shared for code in range(n_classes)]
        least = np.array([value for value, _ in found])
        cap = _cap(p[used], codes=y, donors=d)
        own &= least >= cap
        least = np.maximum(least, cap)
        least *= _factor(p[used], codes=y, donors=d, least=least, error_rate=error_rate)
        return cls(
            error_rate=float(error_rate),
            least=tuple(float(value) for value in least),
            own=tuple(bool(value) for value in own),
            units=tuple(unit for _, unit in found),
            n_cells=tuple(int(n) for n in n_cells),
            n_donors=tuple(seen),
        )

    def sets(self, probabilities: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return which labels are in the set of each cell, (n_cells, n_classes); at least the most probable one.

        Parameters
        ----------
        probabilities
            (n_cells, n_classes) calibrated.

        Raises
        ------
        DataError
            If the number of classes is another one.
        """
        p, _ = _checked(probabilities, None)
        if p.shape[1] != len(self.least):
            message = f"probabilities of {p.shape[1]} classes, but the label sets were fitted for {len(self.least)}"
            raise DataError(message)
        inside = p.astype(np.float64) >= np.array(self.least)
        inside[np.arange(len(p)), p.argmax(axis=1)] = True
        return inside

    @property
    def unit(self) -> Unit:
        """What the rate holds for, for all classes: the weakest of them."""
        return max(self.units, key=UNITS.index)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Any, *, n_classes: int) -> Self:
        """Read what `to_dict` wrote.

        Parameters
        ----------
        values
            Content of the JSON file.
        n_classes
            Number of classes that there have to be.

        Raises
        ------
        FormatError
            If anything is missing or not possible.
        """
        number = (int, float)
        kinds: dict[str, Any] = {"least": number, "own": bool, "units": str, "n_cells": int, "n_donors": int}
        good = (
            isinstance(values, dict)
            and isinstance(values.get("error_rate"), number)
            and 0 < values["error_rate"] < 1
            and all(
                isinstance(values.get(name), list)
                and len(values[name]) == n_classes
                and all(isinstance(value, kind) for value in values[name])
                for name, kind in kinds.items()
            )
            and all(0 <= value <= 1 for value in values["least"])
            and all(value in UNITS for value in values["units"])
        )
        if not good:
            message = f"label sets are incomplete or malformed, or not of {n_classes} classes; the file was altered"
            raise FormatError(message)
        return cls(error_rate=values["error_rate"], **{name: tuple(values[name]) for name in kinds})


def coverage(
    sets: NDArray[np.bool_],
    *,
    codes: NDArray[np.integer],
    donors: Sequence[object] | NDArray[Any] | None = None,
    right: NDArray[np.bool_] | None = None,
) -> pd.DataFrame:
    """Count how often sets hold the true label, donor by donor.

    Parameters
    ----------
    sets
        (n_cells, n_classes) as from `LabelSets.sets`.
    codes
        (n_cells,) true classes; a negative code is a type that no set can hold, and counts as missed.
    donors
        (n_cells,) names or codes; None for all cells together. Cells with a missing donor are left out.
    right
        (n_cells, n_classes) bool, the classes that count as the true one, in place of `codes`: with a hierarchy, those
        that are a kind of it. A set holds the truth if it holds any of them.

    Returns
    -------
    pandas.DataFrame
        One row per donor: ``n_cells``, ``coverage`` (share of cells whose set holds the truth), ``size`` (labels per
        set, mean), ``single`` (share of cells with one label).
    """
    y = np.asarray(codes, dtype=np.int64)
    if right is not None:
        held = (sets & right).any(axis=1)
    else:
        held = np.where(y >= 0, sets[np.arange(len(y)), np.maximum(y, 0)], False)  # noqa: FBT003
    size = sets.sum(axis=1)
    table = pd.DataFrame({"n_cells": 1, "coverage": held.astype(float), "size": size, "single": size == 1})
    groups = pd.Series("all" if donors is None else np.asarray(donors), index=table.index, name="donor")
    how = {"n_cells": "sum", "coverage": "mean", "size": "mean", "single": "mean"}
    return table.groupby(groups, observed=True, sort=True).agg(how)


def back_off(sets: NDArray[np.bool_], *, classes: Sequence[str], tree: Tree | None = None) -> NDArray[np.object_]:
    """Name each set: its label, the smallest common ancestor of its labels, or the labels themselves.

    An ancestor that all labels of the reference have in common ("cell") says nothing: up to three labels are then
    joined as "A | B", more are "ambiguous".

    Parameters
    ----------
    sets
        (n_cells, n_classes) as from `LabelSets.sets`.
    classes
        (n_classes,) names.
    tree
        Relation among the classes, in the same order; None where there is none.

    Returns
    -------
    numpy.ndarray
        (n_cells,) names.
    """
    everything = None if tree is None or len(classes) < 2 else tree.common_ancestor(list(range(len(classes))))
    patterns, place = np.unique(np.packbits(sets, axis=1), axis=0, return_inverse=True)
    names = np.empty(len(patterns), dtype=object)
    for i, pattern in enumerate(patterns):
        inside = np.flatnonzero(np.unpackbits(pattern, count=len(classes))).tolist()
        ancestor = tree.common_ancestor(inside) if tree is not None and len(inside) > 1 else None
        if len(inside) == 1:
            names[i] = classes[inside[0]]
        elif ancestor is not None and (ancestor != everything or ancestor[0] in classes):
            names[i] = ancestor[0]
        else:
            names[i] = " | ".join(classes[code] for code in inside) if 2 <= len(inside) <= JOINED else AMBIGUOUS
    return names[place.ravel()]


def _cap(
    p: NDArray[np.floating], *, codes: NDArray[np.int64], donors: NDArray[np.integer] | None
) -> NDArray[np.float64]:
    """Return, per class, the least probability that at most `MOST_OTHERS` of the cells of other classes reach."""
    cap = np.zeros(p.shape[1])
    for code in range(p.shape[1]):
        others = codes != code
        if others.any():
            values = p[others, code].astype(np.float64)
            order = np.argsort(values, kind="stable")
            weights = donor_weights(None if donors is None else donors[others], n_cells=len(values))
            cap[code] = np.nextafter(quantile(values[order], weights[order], level=1 - MOST_OTHERS), 2.0)
    return cap


def _factor(
    p: NDArray[np.floating],
    *,
    codes: NDArray[np.int64],
    donors: NDArray[np.integer] | None,
    least: NDArray[np.float64],
    error_rate: float,
) -> float:
    """Return what to multiply all thresholds with so that the rate holds over all cells; 1 where it does already."""
    with np.errstate(divide="ignore", invalid="ignore"):
        times = p[np.arange(len(p)), codes].astype(np.float64) / least[codes]
    # The most probable label is in the set whatever its threshold.
    times[(p.argmax(axis=1) == codes) | (least[codes] == 0)] = np.inf
    return float(np.clip(-threshold(-times, error_rate=error_rate, donors=donors).value, 0, 1))


def _checked(
    probabilities: NDArray[np.floating], codes: NDArray[np.integer] | None
) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    p = np.asarray(probabilities)
    if p.ndim != 2 or p.shape[1] == 0 or not np.isfinite(p).all():
        message = f"probabilities have shape {p.shape}; they must be finite and (n_cells, n_classes)"
        raise DataError(message)
    y = np.full(len(p), -1, dtype=np.int64) if codes is None else np.asarray(codes, dtype=np.int64)
    if y.shape != p.shape[:1] or (len(y) and y.max() >= p.shape[1]):
        message = f"codes have shape {y.shape}, probabilities {p.shape}: one code below {p.shape[1]} per cell is needed"
        raise DataError(message)
    return p, y
