"""Pre-train variants on corpora without the targets, and score them frozen.

    OMP_NUM_THREADS=1 python -m benchmarks.recipes development --work FOLDER [--workers 4] [--only "25 % hidden;MMD"]
    OMP_NUM_THREADS=1 python -m benchmarks.recipes confirmation --work FOLDER --seeds 0,1,2,3,4 --only "simple;default"
    OMP_NUM_THREADS=1 python -m benchmarks.recipes confirmation --work FOLDER --cells 1000,3000,10000,0 --only ...

The first line tries every variant on the development data with one seed, the others are for the chosen ones. What is
in the work folder is not computed again. Macro F1 of neighbours (k=5) and of a logistic probe with 10, 100 or all
labels of half of the donors, or of half of the cells where there is one donor; mean over draws of these. Tables and
figures of what was computed: `python -m benchmarks.recipes.tables`.
"""

from __future__ import annotations

import argparse
import itertools
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from benchmarks.recipes import roles
from benchmarks.recipes.jobs import Job, run
from benchmarks.recipes.variants import SIMPLE, VARIANTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("role", choices=["development", "confirmation"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--only", default="", help="variants, separated by semicolons")
    parser.add_argument("--seeds", default="0", help="separated by commas")
    parser.add_argument("--cells", default="0", help="sizes of the corpora, separated by commas; 0: all cells")
    parser.add_argument("--corpora", default="", help="kinds of corpora: real, weak, strong; all by default")
    args = parser.parse_args()
    names = args.only.split(";") if args.only else [SIMPLE, *VARIANTS]
    seeds = [int(s) for s in args.seeds.split(",")]
    sizes = [int(s) for s in args.cells.split(",")]
    args.work.mkdir(parents=True, exist_ok=True)
    jobs: list[Job] = []
    for seed, cells in itertools.product(seeds, sizes):
        for corpus in roles.corpora_of(args.role, seed=seed):
            if args.corpora and corpus.split("-")[1] not in args.corpora.split(","):
                continue
            for genes in {VARIANTS[name].genes for name in names if name in VARIANTS} | {roles.GENES}:
                for panel in [f"{genes}{t.name}" for t in roles.targets_of(corpus)] if genes == roles.OWN else [genes]:
                    roles.open_corpus(corpus, args.work, genes=panel, cells=cells)
            # Nothing of a baseline on real data depends on the seed.
            mine = [n for n in names if n != SIMPLE or seed == seeds[0] or "real" not in corpus]
            jobs += [Job(corpus, name, seed, str(args.work), cells) for name in mine]
    jobs = [job for job in jobs if not job.result.exists()]
    print(f"{len(jobs)} runs to do", flush=True)
    # Processes that start afresh: forked ones would share the state of torch's threads.
    with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(run, job): job for job in jobs}
        for done in as_completed(waiting):
            job = waiting[done]
            try:
                print(job.corpus, job.variant, job.seed, done.result(), flush=True)
            except Exception as error:  # noqa: BLE001 (one variant that fails must not end the others)
                print(job.corpus, job.variant, job.seed, "FAILED", repr(error), flush=True)


if __name__ == "__main__":
    main()
