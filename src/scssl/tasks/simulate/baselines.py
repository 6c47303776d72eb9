"""What anyone can do without a model: simple predictions that a simulator has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scssl.tasks.simulate.covariates import design
from scssl.tasks.simulate.pseudobulks import PLAIN, to_share, to_value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import scipy.sparse as sp
    from numpy.typing import NDArray

    from scssl.tasks.simulate.learn import Learned

NO_CHANGE: Final = "no change"
CONTROL_MEAN: Final = "control mean"
MATCHED: Final = "matched mean shift"
"""Only where there are covariates."""
LATENT: Final = "latent shift (scGen-like)"
PENALTIES: Final = (0.01, 0.1, 1.0, 10.0, 100.0)
NEIGHBOURS: Final = 20


class Seen(NamedTuple):
    """Groups that were measured under both conditions, on some scale."""

    types: NDArray[np.object_]
    donors: NDArray[np.object_]
    before: NDArray[np.float64]
    after: NDArray[np.float64]
    pooled: NDArray[np.float64]
    covariates: NDArray[np.float64] | None = None
    """(n_groups, any) as a linear model takes them."""

    @property
    def change(self) -> NDArray[np.float64]:
        """(n_groups, n_genes + 1)."""
        return self.after - self.before


class New(NamedTuple):
    """Groups to predict for."""

    types: Sequence[str]
    donors: Sequence[str]
    before: NDArray[np.float64]
    covariates: NDArray[np.float64] | None = None


def seen_groups(learned: Learned, *, plain: bool) -> Seen:
    """Return what was learned from, on the plain scale or that of the model."""
    kept = (learned.before, learned.after, learned.pooled)
    before, after, pooled = (to_plain(values) for values in kept) if plain else kept
    donors = [""] * len(learned.types) if learned.donors is None else learned.donors
    covariates = None if learned.covariates is None else design(learned.covariates, learned.covariates)
    types, whom = np.array(learned.types, dtype=object), np.array(donors, dtype=object)
    return Seen(types, whom, before, after, pooled, covariates)


def to_plain(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values (with the log total in the last column) as log1p of counts per 10,000."""
    return np.concatenate([to_value(to_share(values[..., :-1]), offset=PLAIN), values[..., -1:]], axis=-1)


def mean_shift(seen: Seen, new: New) -> NDArray[np.float64]:
    """Return all case cells minus all control cells, whatever their types."""
    return np.repeat((seen.pooled[1] - seen.pooled[0])[None], len(new.types), axis=0)


def type_mean_shift(seen: Seen, new: New) -> NDArray[np.float64]:
    """Return the mean change of the type over donors; of a type not seen, that of all types, of equal weight."""
    return _by_type(seen, seen.change, new)


def matched_mean_shift(seen: Seen, new: New) -> NDArray[np.float64]:
    """Return `type_mean_shift` among groups of the same covariates; where there are none, of the type's or of all."""
    found = type_mean_shift(seen, new)
    if seen.covariates is None or new.covariates is None:
        return found
    for i, (name, values) in enumerate(zip(new.types, new.covariates, strict=True)):
        same = (np.abs(seen.covariates - values) < 1e-9).all(axis=1)
        own = seen.types == name
        if (same & own).any() or (same.any() and not own.any()):
            alike = seen._replace(
                **{part: getattr(seen, part)[same] for part in ("types", "donors", "before", "after")}
            )
            found[i] = type_mean_shift(alike, New([name], [""], new.before[i : i + 1]))[0]
    return found


def case_mean(seen: Seen, new: New) -> NDArray[np.float64]:
    """Return what leads to the mean of the type's case cells, or of all types, whatever the control cells are like."""
    return _by_type(seen, seen.after, new) - new.before


def _by_type(seen: Seen, values: NDArray[np.float64], new: New) -> NDArray[np.float64]:
    means: dict[str, NDArray[np.float64]] = {
        str(name): values[seen.types == name].mean(axis=0) for name in sorted(set(seen.types))
    }
    whole: NDArray[np.float64] = np.stack([*means.values()]).mean(axis=0)
    return np.stack([means.get(name, whole) for name in new.types])


def additive(seen: Seen, new: New) -> NDArray[np.float64]:
    """Fit a mean and effects of the type, the donor and covariates; effects of what is new are 0."""
    names, whom = sorted(set(seen.types)), sorted(set(seen.donors))

    def columns(
        types: Sequence[str], donors: Sequence[str], covariates: NDArray[np.float64] | None
    ) -> NDArray[np.float64]:
        rows = np.zeros((len(types), 1 + len(names) + len(whom)))
        rows[:, 0] = 1
        for row, name, donor in zip(rows, types, donors, strict=True):
            row[1 : 1 + len(names)] = [name == other for other in names]
            row[1 + len(names) :] = [donor == other for other in whom]
        return rows if covariates is None else np.concatenate([rows, covariates], axis=1)

    # The smallest of all solutions: effects of a kind sum to 0, and what goes with a covariate is not the donors'.
    X = columns(list(seen.types), list(seen.donors), seen.covariates)
    n_own = 1 + len(names) + len(whom)
    penalty = np.diag([0.0] + [1e-6] * (n_own - 1) + [1e-9] * (X.shape[1] - n_own))
    query = columns(new.types, new.donors, new.covariates)
    return np.asarray(query @ np.linalg.solve(X.T @ X + penalty, X.T @ seen.change))


def ridge(seen: Seen, new: New) -> NDArray[np.float64]:
    """Regress the change on the expression under control by ridge regression; its penalty by leaving groups out."""
    n, change = len(seen.types), seen.change
    whole = change.mean(axis=0)
    middle = seen.before[:, :-1].mean(axis=0)
    X, query = seen.before[:, :-1] - middle, new.before[:, :-1] - middle
    products = X @ X.T
    if n < 3 or np.trace(products) <= 0:
        return np.repeat(whole[None], len(new.types), axis=0)
    unit = np.trace(products) / n
    K, across = products / unit, query @ X.T / unit
    errors = []
    for penalty in PENALTIES:
        hat = K @ np.linalg.inv(K + penalty * np.eye(n)) + 1.0 / n
        errors.append(float((((change - hat @ change) / (1.0 - np.diag(hat))[:, None]) ** 2).sum()))
    best = PENALTIES[int(np.argmin(errors))]
    return np.asarray(whole + across @ np.linalg.solve(K + best * np.eye(n), change - whole))


SHIFTS: Final[dict[str, tuple[Callable[[Seen, New], NDArray[np.float64]], bool]]] = {
    "mean shift": (mean_shift, True),
    "cell-type mean shift": (type_mean_shift, True),
    MATCHED: (matched_mean_shift, True),
    "case mean": (case_mean, True),
    "additive": (additive, True),
    "ridge on pseudobulks": (ridge, False),
}
"""Function, and whether it works on the plain scale; each on the scale that it does best on."""
BASELINES: Final = (NO_CHANGE, CONTROL_MEAN, *SHIFTS, LATENT)


def latent_shift(
    codes: NDArray[np.floating],
    *,
    shift: NDArray[np.floating],
    known: NDArray[np.floating],
    counts: sp.csr_matrix,
) -> NDArray[np.float64]:
    """Move codes by a shift and read the change off: the mean of the nearest measured cells, after against before.

    Parameters
    ----------
    codes
        (n_cells, n_latent) control cells of one group.
    shift
        (n_latent,) mean over types of case minus control.
    known
        (n_known, n_latent) codes of the cells that are read from.
    counts
        (n_known, n_genes) their counts.

    Returns
    -------
    numpy.ndarray
        (n_genes + 1,) change on the plain scale, and of the mean log total.
    """
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(known))).fit(known)
    totals = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    values = []
    for points in (codes, codes + shift):
        near = search.kneighbors(points, return_distance=False).ravel()
        weight = np.bincount(near, minlength=len(known)) / len(near)
        share = counts.T @ (weight / totals)
        values.append(np.append(to_value(share, offset=PLAIN), weight @ np.log(totals)))
    return np.asarray(values[1] - values[0])
