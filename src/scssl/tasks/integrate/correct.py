"""What is done to the codes of batches: nothing, moved onto the mean of all, or moved together cluster by cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from scssl.errors import FormatError
from scssl.tasks.integrate.clusters import Clusters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from scssl.tasks.integrate.settings import Correct


class Correction(Protocol):
    """Moves the batches of new cells to where the study lies."""

    def map(self, codes: NDArray[np.floating], *, batch: NDArray[np.integer]) -> NDArray[np.float32]:
        """Move cells, (n_cells, n_latent); batches by codes from 0."""


@dataclass(frozen=True, kw_only=True)
class Unmoved:
    """Codes as they are."""

    def map(self, codes: NDArray[np.floating], *, batch: NDArray[np.integer]) -> NDArray[np.float32]:  # noqa: ARG002
        """Return the codes.

        Parameters
        ----------
        codes
            (n_cells, n_latent).
        batch
            Not used.
        """
        return np.array(codes, dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class Centred:
    """Each batch moved as a whole, so that its mean is that of the study.

    What distinguishes batches as a whole is taken out, and with it what they differ in by having other shares of the
    types: right where all batches have about the same types, wrong where they do not.
    """

    mean: NDArray[np.float32]
    """(n_latent,) mean over the cells of the study."""

    def map(self, codes: NDArray[np.floating], *, batch: NDArray[np.integer]) -> NDArray[np.float32]:
        """Move cells.

        Parameters
        ----------
        codes
            (n_cells, n_latent).
        batch
            (n_cells,) codes from 0.
        """
        z = np.asarray(codes, dtype=np.float64)
        moved = z.copy()
        for b in np.unique(batch):
            moved[batch == b] += self.mean - z[batch == b].mean(axis=0)
        return moved.astype(np.float32)


def fit_correction(
    codes: NDArray[np.floating], *, batch: NDArray[np.integer], correct: Correct, seed: int
) -> tuple[Correction, NDArray[np.float32]]:
    """Move the batches of a study together.

    Parameters
    ----------
    codes
        (n_cells, n_latent).
    batch
        (n_cells,) codes from 0.
    correct
        How.
    seed
        Of what is random in it.

    Returns
    -------
    correction : Correction
        What maps other cells to them.
    moved : numpy.ndarray
        (n_cells, n_latent) float32.
    """
    if correct == "clusters":
        return Clusters.fit(codes, batch=batch, seed=seed)
    correction: Correction = Unmoved()
    if correct == "centre":
        correction = Centred(mean=np.asarray(codes, dtype=np.float64).mean(axis=0).astype(np.float32))
    return correction, correction.map(codes, batch=batch)


def arrays_of(correction: Correction) -> dict[str, NDArray[np.float32]]:
    """Return the arrays of a correction by name, for a file."""
    return {name: np.ascontiguousarray(array) for name, array in vars(correction).items()}


def from_arrays(arrays: Mapping[str, NDArray[Any]], *, correct: Correct, n_latent: int) -> Correction:
    """Make a correction of what `arrays_of` returned.

    Raises
    ------
    FormatError
        If arrays are missing, or do not fit each other.
    """
    n = arrays["centres"].shape[0] if "centres" in arrays else 0
    shapes: dict[str, tuple[int, ...]] = {
        "none": {},
        "centre": {"mean": (n_latent,)},
        "clusters": {"mean": (n_latent,), "centres": (n, n_latent), "weight": (n,), "total": (n, n_latent)},
    }[correct]  # type: ignore[assignment]
    found = {name: arrays[name] for name in shapes if name in arrays}
    good = all(array.dtype == np.float32 and np.isfinite(array).all() for array in found.values())
    if {name: array.shape for name, array in found.items()} != shapes or not good or (correct == "clusters" and not n):
        message = f"what moves batches ({correct}) does not fit codes of width {n_latent}"
        raise FormatError(message)
    if correct == "none":
        return Unmoved()
    return Centred(**found) if correct == "centre" else Clusters(**found)
