"""The expected expression of groups of control cells under a case: by the model, and by each baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from scssl.tasks.simulate.baselines import (
    CONTROL_MEAN,
    LATENT,
    MATCHED,
    NO_CHANGE,
    SHIFTS,
    New,
    latent_shift,
    seen_groups,
    to_plain,
)
from scssl.tasks.simulate.covariates import design, likenesses
from scssl.tasks.simulate.generate import around, generate
from scssl.tasks.simulate.pseudobulks import OFFSET, PLAIN, SCALE, Bulk, bulk, to_share
from scssl.tasks.simulate.response import kernels, predict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import scipy.sparse as sp
    from numpy.typing import NDArray

    from scssl.tasks.simulate.cells import Cells
    from scssl.tasks.simulate.learn import Learned

MODEL: Final = "model"
LATENT_CELLS: Final = 5000
"""Cells that a latent shift is read from, at most."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Targets:
    """Groups of control cells, by type and donor (or combination of covariates), to be simulated under a case."""

    cells: Cells
    groups: list[tuple[tuple[str, str], NDArray[np.int64]]]
    bulks: list[Bulk]

    @classmethod
    def of(cls, cells: Cells) -> Targets:
        """Divide control cells."""
        groups = cells.groups()
        return cls(cells=cells, groups=groups, bulks=[bulk(cells.counts[rows]) for _, rows in groups])

    @property
    def types(self) -> list[str]:
        """Of each group."""
        return [key[0] for key, _ in self.groups]

    @property
    def donors(self) -> list[str]:
        """Of each group."""
        return [key[1] for key, _ in self.groups]

    @property
    def covariates(self) -> pd.DataFrame:
        """(n_groups, n_covariates)."""
        values = self.cells.covariates
        return pd.DataFrame() if values is None else values.iloc[[int(rows[0]) for _, rows in self.groups]]

    @property
    def before(self) -> NDArray[np.float64]:
        """(n_groups, n_genes + 1) values, and the mean log total."""
        return np.stack([group.value for group in self.bulks])

    @property
    def codes(self) -> NDArray[np.float64]:
        """(n_groups, n_latent) mean codes."""
        return np.stack([self.cells.codes[rows].mean(axis=0, dtype=np.float64) for _, rows in self.groups])


@dataclass(frozen=True, kw_only=True, eq=False)
class Moved:
    """Expected expression of groups under the case."""

    share: NDArray[np.float64]
    """(n_groups, n_genes) of the counts."""
    log_depth: NDArray[np.float64]
    """(n_groups,) change of the mean log total."""
    change: NDArray[np.float64]
    """(n_groups, n_genes) of log1p of counts per 10,000."""
    sd: NDArray[np.float64]
    """(n_groups, n_genes) how far `change` may be off; NaN where not known."""


def by_model(learned: Sequence[tuple[float, Learned]], targets: Targets, *, seed: int) -> Moved:
    """Predict with the model; changes of several conditions are added with their weights.

    Parameters
    ----------
    learned
        Weight and condition.
    targets
        Control cells.
    seed
        Of the genes that the mixture is learned from.
    """
    before, codes = targets.before, targets.codes
    mean, variance = np.zeros_like(before), np.zeros_like(before)
    for weight, one in learned:
        n = len(one.types)
        level = np.concatenate([one.before, before])
        donors = None if one.donors is None else [*one.donors, *targets.donors]
        features = [np.concatenate([one.codes, codes]), level[:, :-1] @ one.space.components]
        likeness = [] if one.covariates is None else likenesses(one.covariates, targets.covariates)
        covariances = kernels([*one.types, *targets.types], donors, features, likeness=likeness)
        found = predict(one.change, one.variance, covariances, level=level, seed=seed)
        mean += weight * found.mean[n:]
        variance += (weight * found.sd[n:]) ** 2
    values = before + mean
    moved = _moved(to_share(values[:, :-1]), mean[:, -1], targets)
    # From the scale of the model to that of log1p of counts per 10,000.
    level = SCALE * moved.share
    return Moved(
        share=moved.share,
        log_depth=moved.log_depth,
        change=moved.change,
        sd=np.sqrt(variance[:, :-1]) * (OFFSET + level) / (PLAIN + level),
    )


def by_baselines(
    learned: Learned, targets: Targets, *, train: Cells | None, control: str, model: Moved
) -> dict[str, Moved]:
    """Predict with every baseline but those that are no change of a group's own cells.

    Parameters
    ----------
    learned
        The condition.
    targets
        Control cells.
    train
        What was learned from, for the shift in the model's space; None to leave that out.
    control
        Which of them are control cells.
    model
        The model's prediction: how far a baseline may be off is its distance from that, and the model's own sd.
    """
    found = {}
    known = learned.covariates
    values = None if known is None else design(known, targets.covariates)
    for name, (shift, plain) in SHIFTS.items():
        if name == MATCHED and known is None:
            continue
        before = to_plain(targets.before) if plain else targets.before
        change = shift(seen_groups(learned, plain=plain), New(targets.types, targets.donors, before, values))
        share = to_share((before + change)[:, :-1], offset=PLAIN if plain else OFFSET)
        found[name] = _moved(share, change[:, -1], targets, like=model)
    if train is not None:
        before = to_plain(targets.before)
        change = _latent(train, targets, control=control)
        share = to_share((before + change)[:, :-1], offset=PLAIN)
        found[LATENT] = _moved(share, change[:, -1], targets, like=model)
    return found


def _latent(train: Cells, targets: Targets, *, control: str) -> NDArray[np.float64]:
    is_case = train.condition != control
    types = [name for name in sorted(set(train.types[is_case])) if name in set(train.types[~is_case])]
    shift = np.mean(
        [
            train.codes[is_case & (train.types == name)].mean(axis=0)
            - train.codes[~is_case & (train.types == name)].mean(axis=0)
            for name in types
        ],
        axis=0,
    )
    known = train.at(np.sort(np.random.default_rng(0).permutation(len(train))[:LATENT_CELLS]))
    codes = targets.cells.codes
    return np.stack(
        [latent_shift(codes[rows], shift=shift, known=known.codes, counts=known.counts) for _, rows in targets.groups]
    )


def _moved(
    share: NDArray[np.float64], log_depth: NDArray[np.float64], targets: Targets, *, like: Moved | None = None
) -> Moved:
    own = np.stack([group.share for group in targets.bulks])
    change = np.log1p(SCALE * share) - np.log1p(SCALE * own)
    sd = np.full_like(change, np.nan) if like is None else np.sqrt(like.sd**2 + (change - like.change) ** 2)
    return Moved(share=share, log_depth=log_depth, change=change, sd=sd)


def populate(
    method: str,
    moved: Mapping[str, Moved],
    targets: Targets,
    *,
    learned: Learned,
    seed: int,
) -> list[sp.csr_matrix]:
    """Make the cells of each group that a method predicts; every method starts from the same random numbers.

    Parameters
    ----------
    method
        The model or a baseline.
    moved
        By method.
    targets
        Control cells.
    learned
        The condition: dispersions, unevenness, and the mean of all control cells, for ``"control mean"``.
    seed
        Of the counts.
    """
    found = []
    for number, ((_, rows), group) in enumerate(zip(targets.groups, targets.bulks, strict=True)):
        rng, counts = np.random.default_rng([seed, number]), targets.cells.counts[rows]
        if method == NO_CHANGE:
            found.append(counts)
        elif method == CONTROL_MEAN:
            found.append(around(counts, share=to_share(learned.pooled[0][:-1]), rng=rng))
        else:
            one = moved[method]
            found.append(
                generate(
                    counts,
                    share=group.share,
                    target=one.share[number],
                    depth=float(np.exp(one.log_depth[number])),
                    dispersion=learned.dispersion,
                    unevenness=learned.unevenness,
                    rng=rng,
                )
            )
    return found
