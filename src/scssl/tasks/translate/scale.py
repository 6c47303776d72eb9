"""What the values of a modality are taken for, and the one scale on which predictions of it are scored."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import scipy.sparse as sp

from scssl.errors import DataError
from scssl.log import logger

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scssl.tasks.translate.settings import To
    from scssl.tasks.translate.targets import Target

Values: TypeAlias = Any
"""(n_cells, n_features) float32: an array, or compressed by row (scipy has no types)."""
COUNTS: Final = ("nb_mixture", "nb", "poisson")
PEAKS: Final = ("bernoulli", "poisson")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How values become what is scored. It is settled by the reference and applied to every query."""

    to: To
    likelihood: str
    """One of `scssl.nn.heads.HEADS`."""
    names: list[str]
    """Features that are predicted."""
    typical: float
    """Median total of the reference's cells over these features; 1 for values that were normalised."""
    share: list[float]
    """Share of all counts that falls on each feature in the reference."""

    @property
    def text(self) -> str:
        """The scale in words."""
        if self.likelihood in PEAKS:
            return "whether a peak is open, 0 or 1"
        if self.likelihood == "gaussian":
            return "as given"
        return f"log1p of counts per {self.typical:,.0f}"

    def totals(self, values: Values, *, names: list[str] | None = None) -> NDArray[np.float64]:
        """Return each cell's total over the typical one, (n_cells,); over some features where not all are known."""
        if self.likelihood == "gaussian":
            return np.ones(values.shape[0])
        typical = self.typical
        if names is not None:
            position = {name: i for i, name in enumerate(self.names)}
            typical *= max(sum(self.share[position[name]] for name in names), 1e-12)
        given = values > 0 if self.likelihood == "bernoulli" else values
        totals: NDArray[np.float64] = np.asarray(given.sum(axis=1), dtype=np.float64).ravel() / typical
        return totals

    def scaled(self, values: Values, *, names: list[str] | None = None) -> NDArray[np.float32]:
        """Return values on the scale of the scores, (n_cells, n_features); cells without any count are zero."""
        if self.likelihood == "gaussian":
            return dense(values)
        if self.likelihood in PEAKS:
            return dense(values > 0)
        totals = self.totals(values, names=names)
        out: NDArray[np.float32] = np.log1p(dense(values) / np.where(totals > 0, totals, 1)[:, None])
        return out.astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def dense(values: Any) -> NDArray[np.float32]:
    """Return an array, whatever holds the numbers."""
    array = values.toarray() if sp.issparse(values) else np.asarray(values)
    return array.astype(np.float32, copy=False)


def settle(target: Target, *, to: To, likelihood: str, max_features: int) -> Scale:
    """Decide by the reference's values what they are, and which features are predicted.

    Parameters
    ----------
    target
        Values of the reference.
    to
        Modality.
    likelihood
        ``"auto"``, or one that the user chose.
    max_features
        Most features to predict.

    Raises
    ------
    DataError
        If the values do not fit the likelihood asked for, or there is nothing to predict.
    """
    stored = target.values.data if sp.issparse(target.values) else target.values
    whole, negative = bool((stored == np.round(stored)).all()), bool((stored < 0).any())
    counts = whole and not negative
    chosen = likelihood
    if likelihood == "auto":
        chosen = "bernoulli" if to == "atac" else "nb_mixture" if counts else "gaussian"
        if chosen == "gaussian":
            logger.info(
                "%s: no counts (%s values), so taken for proteins that were normalised already: predicted and scored "
                "on the scale they are given on", target.where, "negative" if negative else "fractional",
            )  # fmt: skip
    if chosen in COUNTS and not counts:
        strange = float(stored[(stored < 0) | (stored != np.round(stored))].flat[0])
        message = (
            f"{target.where}: likelihood {chosen!r} is for raw counts, and {strange:g} is none; give counts, or choose "
            f"{'bernoulli' if to == 'atac' else 'gaussian'}"
        )
        raise DataError(message)
    if chosen == "bernoulli" and negative:
        message = f"{target.where}: peaks have negative values, so open ones cannot be told; give counts, or 0 and 1"
        raise DataError(message)
    found = np.asarray((target.values != 0).sum(axis=0)).ravel()
    if not found.any():
        message = f"{target.where}: all values are zero"
        raise DataError(message)
    kept = np.arange(len(target.names))
    if len(kept) > max_features:
        kept = np.sort(np.argsort(-found, kind="stable")[:max_features])
        logger.warning(
            "%s: of %s features the %s found in most cells are predicted; for more raise --max-features",
            target.where, f"{len(target.names):,}", f"{max_features:,}",
        )  # fmt: skip
    never = [target.names[i] for i in kept if not found[i]]
    if never:
        logger.warning("%s: %d features are zero in all cells, e.g. %s", target.where, len(never), never[0])
    values = target.values[:, kept]
    given = values > 0 if chosen == "bernoulli" else values
    totals, sums = (np.asarray(given.sum(axis=axis), dtype=np.float64).ravel() for axis in (1, 0))
    normalised = chosen == "gaussian"
    return Scale(
        to=to,
        likelihood=chosen,
        names=[target.names[i] for i in kept],
        typical=1.0 if normalised else float(np.median(totals[totals > 0])),
        share=[0.0] * len(kept) if normalised else (sums / sums.sum()).tolist(),
    )


def columns(target: Target, names: list[str]) -> tuple[Values, list[str]]:
    """Return the values of those features that both know, in the order of `names`, and their names.

    Raises
    ------
    DataError
        If there is none.
    """
    position = {name: i for i, name in enumerate(target.names)}
    shared = [name for name in names if name in position]
    if not shared:
        message = (
            f"{target.where}: none of its {len(target.names):,} features is one that was learned "
            f"({', '.join(target.names[:3])}, ... against {', '.join(names[:3])}, ...); rename them"
        )
        raise DataError(message)
    if len(shared) < len(names):
        logger.warning("%s: has %d of the %d features that were learned; those are scored", target.where,
                       len(shared), len(names))  # fmt: skip
    return target.values[:, [position[name] for name in shared]], shared
