"""Batches moved together cluster by cluster: Harmony's model on the codes of cells, and new batches into its space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

SIGMA: Final = 0.1
"""Softness of the clusters."""
THETA: Final = 1.0
"""Weight of having all batches in each cluster. Harmony has 2, which loses more where batches have other types."""
RIDGE: Final = 1.0
"""Cells of a cluster without any shift that each batch is given: few cells are hardly moved."""
CELLS_PER_CLUSTER: Final = 30
MOST_CLUSTERS: Final = 100
ROUNDS: Final = 10
INNER: Final = 20
BLOCK: Final = 0.05
"""Share of the cells whose clusters are chosen at a time, given those of all others."""
TOLERANCE: Final = 1e-4


@dataclass(frozen=True, kw_only=True)
class Clusters:
    r"""What is kept of a study whose batches were moved together, so that new batches can be moved there, too.

    Fitting is Harmony's (Korsunsky et al. 2019, doi 10.1038/s41592-019-0619-0): cells :math:`z_i` belong to clusters
    :math:`k` by :math:`R_{ik} \propto e^{-2 (1 - u_i \cdot y_k) / \sigma} ((E_{kb} + 1) / (O_{kb} + 1))^\theta`, with
    :math:`u` the centred code at length 1, :math:`y` the centres, :math:`O` and :math:`E` the cells of batch
    :math:`b` in the cluster and those expected; then :math:`z_i \leftarrow z_i - \sum_k R_{ik} w_{kb}`, the
    :math:`w` from a ridge regression of the codes on the batch in each cluster; and again, until nothing changes.

    Mapping is Symphony's (Kang et al. 2021, doi 10.1038/s41467-021-25957-x): new cells belong to the centres as they
    are, and the shifts of their batches are regressed with the study as the batch that is not moved.
    """

    mean: NDArray[np.float32]
    """(n_latent,) taken from the codes before their directions are compared."""
    centres: NDArray[np.float32]
    """(n_clusters, n_latent) at length 1."""
    weight: NDArray[np.float32]
    """(n_clusters,) cells of the study in each."""
    total: NDArray[np.float32]
    """(n_clusters, n_latent) sum of their codes, moved and centred."""

    @classmethod
    def fit(
        cls, codes: NDArray[np.floating], *, batch: NDArray[np.integer], seed: int = 0
    ) -> tuple[Self, NDArray[np.float32]]:
        """Move the batches of a study together.

        Parameters
        ----------
        codes
            (n_cells, n_latent).
        batch
            (n_cells,) codes from 0.
        seed
            Of the first centres, and of the order of the cells.

        Returns
        -------
        clusters : Clusters
            What is needed to map others.
        moved : numpy.ndarray
            (n_cells, n_latent) float32.
        """
        rng = np.random.default_rng([seed, 0xC1])
        z = np.asarray(codes, dtype=np.float64)
        mean = z.mean(axis=0)
        z = z - mean
        batches = np.eye(int(batch.max()) + 1)[batch]
        centres = _first_centres(unit(z), n=max(1, min(MOST_CLUSTERS, len(z) // CELLS_PER_CLUSTER)), seed=seed)
        moved, member, before = z, belonging(unit(z), centres), np.inf
        for _ in range(ROUNDS):
            centres, member, objective = _cluster(unit(moved), centres, member, batches, rng=rng)
            shift = shifts(member.T @ batches, sums(member, z, batch))
            moved = z - apply(member, shift, batch)
            if abs(before - objective) < TOLERANCE * abs(before):
                break
            before = objective
        found = cls(
            mean=mean.astype(np.float32), centres=centres.astype(np.float32),
            weight=member.sum(axis=0).astype(np.float32), total=(member.T @ moved).astype(np.float32),
        )  # fmt: skip
        return found, (moved + mean).astype(np.float32)

    def map(self, codes: NDArray[np.floating], *, batch: NDArray[np.integer]) -> NDArray[np.float32]:
        """Move new batches to where the study lies, which stays as it is.

        Parameters
        ----------
        codes
            (n_cells, n_latent).
        batch
            (n_cells,) codes from 0, of the new cells' own batches.
        """
        z = np.asarray(codes, dtype=np.float64) - self.mean
        member = belonging(unit(z), self.centres.astype(np.float64))
        batches = np.eye(int(batch.max()) + 1)[batch]
        found = shifts(
            member.T @ batches, sums(member, z, batch), weight=self.weight.astype(np.float64),
            fixed=self.total.astype(np.float64),
        )  # fmt: skip
        return (z - apply(member, found, batch) + self.mean).astype(np.float32)


def unit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows at length 1; rows of zeros stay."""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    result: NDArray[np.float64] = x / np.maximum(length, 1e-12)
    return result


def belonging(directions: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far cells belong to clusters, (n_cells, n_clusters), rows summing to 1."""
    near = np.exp(-2 * (1 - directions @ centres.T) / SIGMA)
    result: NDArray[np.float64] = near / np.maximum(near.sum(axis=1, keepdims=True), 1e-300)
    return result


def sums(member: NDArray[np.float64], z: NDArray[np.float64], batch: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the sum of the codes of each batch in each cluster, (n_clusters, n_batches, n_latent)."""
    parts = [member[batch == b].T @ z[batch == b] for b in range(int(batch.max()) + 1)]
    return np.stack(parts, axis=1)


def shifts(
    cells: NDArray[np.float64],
    total: NDArray[np.float64],
    *,
    weight: NDArray[np.float64] | None = None,
    fixed: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Regress the codes of each cluster on the batch, and return how far each batch lies from what all share.

    Parameters
    ----------
    cells
        (n_clusters, n_batches) cells, not whole numbers.
    total
        (n_clusters, n_batches, n_latent) sums of their codes.
    weight, fixed
        (n_clusters,) and (n_clusters, n_latent), cells that are not moved and the sum of their codes; none without.

    Returns
    -------
    numpy.ndarray
        (n_clusters, n_batches, n_latent).
    """
    n_clusters, n_batches = cells.shape
    left = np.zeros((n_clusters, n_batches + 1, n_batches + 1))
    right = np.zeros((n_clusters, n_batches + 1, total.shape[2]))
    left[:, 0, 0] = cells.sum(axis=1) + (0.0 if weight is None else weight)
    left[:, 0, 1:] = left[:, 1:, 0] = cells
    diagonal = np.arange(1, n_batches + 1)
    left[:, diagonal, diagonal] = cells + RIDGE
    right[:, 0] = total.sum(axis=1) + (0.0 if fixed is None else fixed)
    right[:, 1:] = total
    # A cluster without cells has no intercept to find.
    left[:, 0, 0] += 1e-9
    solved: NDArray[np.float64] = np.linalg.solve(left, right)
    return solved[:, 1:]


def apply(member: NDArray[np.float64], shift: NDArray[np.float64], batch: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return what is taken from each cell, (n_cells, n_latent)."""
    taken = np.zeros((len(member), shift.shape[2]))
    for b in range(shift.shape[1]):
        taken[batch == b] = member[batch == b] @ shift[:, b]
    return taken


def _first_centres(directions: NDArray[np.float64], *, n: int, seed: int) -> NDArray[np.float64]:
    from sklearn.cluster import KMeans

    return unit(KMeans(n, n_init=1, max_iter=25, random_state=seed).fit(directions).cluster_centers_)


def _cluster(
    directions: NDArray[np.float64],
    centres: NDArray[np.float64],
    member: NDArray[np.float64],
    batches: NDArray[np.float64],
    *,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Choose clusters in which the batches are mixed, given where cells are now."""
    share = batches.mean(axis=0)
    member, before = member.copy(), np.inf
    size = max(1, round(BLOCK * len(directions)))
    for _ in range(INNER):
        centres = unit(member.T @ directions)
        gap = 2 * (1 - directions @ centres.T)
        near = np.exp(-gap / SIGMA)
        observed, expected = member.T @ batches, np.outer(member.sum(axis=0), share)
        order = rng.permutation(len(directions))
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            own = batches[rows]
            observed -= member[rows].T @ own
            expected -= np.outer(member[rows].sum(axis=0), share)
            favour = ((expected + 1) / (observed + 1)) ** THETA
            chosen = near[rows] * (own @ favour.T)
            member[rows] = chosen / np.maximum(chosen.sum(axis=1, keepdims=True), 1e-300)
            observed += member[rows].T @ own
            expected += np.outer(member[rows].sum(axis=0), share)
        spread = (member * np.log(np.maximum(member, 1e-300))).sum()
        mixing = (observed * np.log((observed + 1) / (expected + 1))).sum()
        objective = float((member * gap).sum() + SIGMA * (spread + THETA * mixing))
        if abs(before - objective) < TOLERANCE * abs(before):
            break
        before = objective
    return centres, member, objective
