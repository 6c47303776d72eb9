"""Train, val and test: whole donors (or other groups) at a time, alike over the sources."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from scssl.corpus.format.manifest import SPLITS
from scssl.errors import DataError
from scssl.log import logger

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

TOLERATED = 0.5
"""A split is called off its target when it misses it by more than this share of the target."""


def split_groups(
    cells: Mapping[tuple[str, str], int],
    *,
    val: float,
    test: float,
    seed: int,
    by: str = "donor",
    known: Mapping[str, str] | None = None,
    unnamed: Collection[str] = (),
) -> dict[str, str]:
    """Assign groups to splits: each split gets its share of the cells of each source, as far as whole groups allow.

    A group that occurs in several sources stays in one split: donors of the same name may be the same person, and
    keeping them together does no harm. Sources with a single group are pooled and share out among themselves
    (whole sources may be held out); what one source cannot give, because its groups are too large, the next ones make
    up for. Every source with several groups keeps at least one for training.

    Parameters
    ----------
    cells
        (source, group) -> number of cells.
    val, test
        Share of the cells wanted.
    seed
        Decides which groups.
    by
        Name of the column, for messages.
    known
        When cells are added to a corpus: group -> its split there. These stay where they are; the new groups are shared
        out among themselves, where there are enough of them, and else go to training.

    unnamed
        Groups of cells whose donor is not known, in sources that have others: they may be of any of these, and so are
        trained on.

    Returns
    -------
    dict
        group -> ``"train"``, ``"val"`` or ``"test"``, of all groups in `cells`.

    Raises
    ------
    DataError
        If there are fewer groups than splits.
    """
    if unnamed:
        named = {key: n for key, n in cells.items() if key[1] not in unnamed}
        splits = split_groups(named, val=val, test=test, seed=seed, by=by, known=known)
        return splits | dict.fromkeys(unnamed, "train")
    wanted = {"val": val, "test": test}
    held_out = [split for split, share in wanted.items() if share > 0]
    if known is not None:
        return _split_more(cells, wanted, seed, known)
    size: dict[str, int] = defaultdict(int)
    for (_, group), n in sorted(cells.items()):
        size[group] += n
    if len(size) < 1 + len(held_out):
        found = " and ".join(repr(g) for g in sorted(size)) or "missing values"
        message = (
            f"cannot split by {by!r} into train, {' and '.join(held_out)}: this column has only {found}. "
            f"Choose another column with --split-by, split at random with --split-by cell (cells of one "
            "donor in several splits: scores will look better than they are), or hold nothing out with "
            "--val 0 --test 0"
        )
        raise DataError(message)

    splits, order, missing = _share_out(cells, size, wanted, np.random.default_rng([seed, 0x5B117]))
    for split in held_out:
        _fill_up(split, missing[split], order, splits, size)
    for split in held_out:
        if split not in splits.values():
            _force(split, order, splits, size)
    _tell(splits, size, wanted)
    return splits


def _split_more(
    cells: Mapping[tuple[str, str], int], wanted: Mapping[str, float], seed: int, known: Mapping[str, str]
) -> dict[str, str]:
    """Leave the groups that have a split in it, and share out the others by themselves."""
    new = {key: n for key, n in cells.items() if key[1] not in known}
    size: dict[str, int] = defaultdict(int)
    for (_, group), n in sorted(new.items()):
        size[group] += n
    splits, order, missing = _share_out(new, size, wanted, np.random.default_rng([seed, 0x5B117, len(known)]))
    for split in missing:
        _fill_up(split, missing[split], order, splits, size)
    return {group: known.get(group) or splits[group] for _, group in sorted(cells)}


def _share_out(
    cells: Mapping[tuple[str, str], int],
    size: Mapping[str, int],
    wanted: Mapping[str, float],
    rng: np.random.Generator,
) -> tuple[dict[str, str], list[list[str]], dict[str, float]]:
    """Go through the sources, each giving its share; return the splits, the sources' groups, and what is missing."""
    held_out = [split for split, share in wanted.items() if share > 0]
    *several, single = _strata(cells)
    # Sources that can give some of their groups come first; whole sources make up for what is then missing.
    order = [several[i] for i in rng.permutation(len(several))] + [single]
    splits = dict.fromkeys(size, "train")
    missing = dict.fromkeys(held_out, 0.0)
    for groups in order:
        shuffled = [groups[i] for i in rng.permutation(len(groups))]
        share = {split: wanted[split] * sum(size[g] for g in shuffled) for split in held_out}
        for split in held_out:
            missing[split] += share[split]
        for group in shuffled:
            # Once a source has given its share, it does not make up for others.
            open_to = [split for split in held_out if share[split] > 0]
            split = max(open_to, key=lambda s: missing[s], default="train")
            if split in open_to and size[group] <= missing[split] and _can_spare(shuffled, splits):
                splits[group] = split
                missing[split] -= size[group]
                share[split] -= size[group]
    return splits, order, missing


def _strata(cells: Mapping[tuple[str, str], int]) -> list[list[str]]:
    """List the groups of each source with several of them; last, in one list, the groups of the other sources."""
    home: dict[str, tuple[int, str]] = {}
    for (source, group), n in sorted(cells.items()):
        # A group of several sources counts for the one where it has most cells.
        home[group] = max(home.get(group, (-1, "")), (n, source), key=lambda pair: pair[0])
    members: dict[str, list[str]] = defaultdict(list)
    for group in sorted(home):
        members[home[group][1]].append(group)
    several = [groups for _, groups in sorted(members.items()) if len(groups) > 1]
    single = [groups[0] for _, groups in sorted(members.items()) if len(groups) == 1]
    return [*several, single]


def _can_spare(groups: list[str], splits: Mapping[str, str]) -> bool:
    return sum(splits[group] == "train" for group in groups) > 1


def _fill_up(
    split: str, missing: float, strata: list[list[str]], splits: dict[str, str], size: Mapping[str, int]
) -> None:
    """Give a split the one more group that brings it nearest to its target, if any brings it nearer."""
    spare = _spare(strata, splits)
    nearest = min(spare, key=lambda g: (abs(missing - size[g]), g), default=None)
    if nearest is not None and abs(missing - size[nearest]) < missing:
        splits[nearest] = split


def _spare(strata: list[list[str]], splits: Mapping[str, str]) -> list[str]:
    """List the training groups whose source has another one."""
    return [g for groups in strata if _can_spare(groups, splits) for g in groups if splits[g] == "train"]


def _force(split: str, strata: list[list[str]], splits: dict[str, str], size: Mapping[str, int]) -> None:
    """Give an empty split the smallest group that can be spared, or failing that the smallest of the fullest split."""
    groups = _spare(strata, splits)
    if not groups:
        members: dict[str, list[str]] = defaultdict(list)
        for group, where in splits.items():
            members[where].append(group)
        groups = max(members.values(), key=len)
    splits[min(groups, key=lambda g: (size[g], g))] = split


def _tell(splits: Mapping[str, str], size: Mapping[str, int], wanted: Mapping[str, float]) -> None:
    total = sum(size.values())
    got = {split: sum(n for g, n in size.items() if splits[g] == split) / total for split in SPLITS}
    for split, share in wanted.items():
        if abs(got[split] - share) > TOLERATED * share:
            logger.warning(
                "%s gets %.1f %% of the cells instead of %.1f %%: whole groups cannot be shared out more evenly",
                split,
                100 * got[split],
                100 * share,
            )
