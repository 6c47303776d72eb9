"""All runs that the results of docs/recipes.md are made of."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.recipes import roles
from benchmarks.recipes.jobs import Job
from benchmarks.recipes.variants import PEER, SIMPLE, VARIANTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KINDS = ("real", "weak", "strong")


class Part(NamedTuple):
    """Variants that are run on the same corpora with the same seeds."""

    role: roles.Role
    names: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    kinds: tuple[str, ...] = KINDS
    cells: tuple[int, ...] = (0,)

    def jobs(self, work: Path) -> Iterator[Job]:
        """Yield the runs."""
        for seed, cells in itertools.product(self.seeds, self.cells):
            for corpus in roles.corpora_of(self.role, seed=seed):
                if corpus.split("-")[1] not in self.kinds:
                    continue
                for name in self.names:
                    # Nothing of a baseline on real data depends on the seed.
                    if name != SIMPLE or seed == self.seeds[0] or "real" not in corpus:
                        yield Job(corpus, name, seed, str(work), cells)


DEFAULT = "code of 128"
FIVE = (0, 1, 2, 3, 4)


def _three(base: str) -> tuple[str, str, str]:
    return base, f"{base}, adapted", f"{base}, both"


SCREENED = tuple(v.name for v in VARIANTS.values() if not v.base and v.kind not in (PEER, "preset"))
PLAN = (
    # The screen: every variant, one seed.
    Part("development", (SIMPLE, *SCREENED, "preset small"), kinds=("real",)),
    Part(
        "development",
        (
            "start, adapted",
            "masked + VICReg, adapted",
            *(
                name
                for base in (DEFAULT, f"all genes, {DEFAULT}", f"own genes, {DEFAULT}")
                for name in _three(base)[1:]
            ),
        ),
        kinds=("real",),
    ),
    Part(
        "development",
        (
            SIMPLE,
            "start",
            DEFAULT,
            f"{DEFAULT}, adapted",
            f"{DEFAULT}, masked + SimCLR",
            f"{DEFAULT}, negative binomial",
            "no mask",
            "untrained",
            "linear encoder",
            "25 % hidden",
            "visible genes asked too",
            "negative binomial",
            "zeros balanced",
            "z-scored input and target",
            "counts thinned by half, and hidden",
            "four layers (the paper's)",
            "two layers of 512",
            "decoder not told the source",
            "adversary",
            "MMD",
            "SimCLR",
            "VICReg",
            "masked + VICReg",
            "masked + SimCLR",
            "SimCLR across sources",
            "masked + SimCLR across sources",
            "masked + teacher's code",
        ),
        kinds=("strong",),
    ),
    Part("development", (SIMPLE, DEFAULT, f"{DEFAULT}, adapted"), kinds=("weak",)),
    # The best four, and the ways of using the first of them.
    Part("confirmation", (SIMPLE, *_three(DEFAULT)), FIVE),
    Part("confirmation", ("start", f"{DEFAULT}, negative binomial", f"{DEFAULT}, masked + SimCLR"), FIVE),
    Part("confirmation", (*_three(f"all genes, {DEFAULT}"), *_three(f"own genes, {DEFAULT}")), kinds=("real",)),
    # What they are held against, beside the simple baselines.
    Part("confirmation", ("target alone",), FIVE),
    Part("confirmation", ("untrained", "no mask")),
    Part("confirmation", ("scVI",), (0, 1, 2), kinds=("real",)),
    Part("confirmation", ("scVI",), kinds=("weak", "strong")),
    Part("confirmation", ("preset small", "preset richter2024", "preset large")),
    # Growth.
    Part("confirmation", (SIMPLE,), kinds=("real",), cells=(1000, 3000, 10_000)),
    Part("confirmation", (DEFAULT,), (0, 1), kinds=("real",), cells=(1000, 3000, 10_000)),
    Part("confirmation", (f"{DEFAULT}, adapted",), kinds=("real",), cells=(1000, 3000, 10_000)),
    Part("confirmation", (f"{DEFAULT}, adapted",), (1,), kinds=("real",), cells=(1000,)),
    Part(
        "confirmation",
        (DEFAULT,),
        (0, 1),
        kinds=("weak", "strong"),
        cells=(1000, 3000, 30_000, 100_000, 300_000),
    ),
)
