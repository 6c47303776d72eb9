"""Pre-train variants on corpora without the targets, and score them frozen.

    OMP_NUM_THREADS=1 python -m benchmarks.recipes all --work FOLDER [--workers 4]
    OMP_NUM_THREADS=1 python -m benchmarks.recipes development --work FOLDER --corpora real --only "25 % hidden;MMD"
    OMP_NUM_THREADS=1 python -m benchmarks.recipes confirmation --work FOLDER --seeds 0,1 --cells 1000,0 --only "start"

The first line makes everything of docs/recipes.md again: the runs of `benchmarks.recipes.plan`, fine-tuning, tables and
figures. The others do some runs. What is in the work folder is not computed again. Macro F1 of neighbours (k=5) and of
a logistic probe with 10, 100 or all labels of half of the donors, or of half of the cells where there is one donor;
mean over draws of these. Tables and figures of what was computed: `python -m benchmarks.recipes.tables`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from benchmarks.recipes import roles
from benchmarks.recipes.jobs import Job, run
from benchmarks.recipes.plan import KINDS, PLAN, Part
from benchmarks.recipes.variants import ADAPTED, BOTH, SIMPLE, VARIANTS

AFTERWARDS = (
    "finetune",
    "finetune --role confirmation",
    "finetune_levers",
    "finetune_scratch",
    "finetune_scratch --role confirmation --only brain",
    "uses",
    "tables",
)
"""Modules beside this one, which take the same work folder."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("role", choices=["all", "development", "confirmation"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--only", default="", help="variants, separated by semicolons")
    parser.add_argument("--seeds", default="0", help="separated by commas")
    parser.add_argument("--cells", default="0", help="sizes of the corpora, separated by commas; 0: all cells")
    parser.add_argument("--corpora", default=",".join(KINDS), help="kinds of corpora, separated by commas")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    if args.role == "all":
        for part in PLAN:
            do(part, args.work, workers=args.workers)
        for words in AFTERWARDS:
            module, *options = words.split()
            command = [sys.executable, "-m", f"benchmarks.recipes.{module}", "--work", str(args.work), *options]
            subprocess.run(command, check=True)
        return
    names = tuple(args.only.split(";")) if args.only else (SIMPLE, *VARIANTS)
    seeds, cells = (tuple(int(number) for number in text.split(",")) for text in (args.seeds, args.cells))
    do(Part(args.role, names, seeds, tuple(args.corpora.split(",")), cells), args.work, workers=args.workers)


def do(part: Part, work: Path, *, workers: int) -> None:
    """Do the runs of a part that are not done yet."""
    jobs = [job for job in part.jobs(work) if not job.result.exists()]
    # Corpora are built first: two processes would build the same one.
    for job in jobs:
        genes = VARIANTS[job.variant].genes if job.variant in VARIANTS else roles.GENES
        named = [f"{genes}{t.name}" for t in roles.targets_of(job.corpus)] if genes == roles.OWN else [genes]
        for panel in {roles.GENES, *named}:
            roles.open_corpus(job.corpus, work, genes=panel, cells=job.cells)
    print(f"{len(jobs)} runs to do", flush=True)
    kind = {job: VARIANTS[job.variant].kind if job.variant in VARIANTS else "" for job in jobs}
    last = (ADAPTED, BOTH)
    # What goes on from models, or puts codes beside each other, comes after these were made.
    for wave in ([job for job in jobs if kind[job] not in last], *([j for j in jobs if kind[j] == k] for k in last)):
        together(wave, workers=workers)


def together(jobs: list[Job], *, workers: int) -> None:
    """Do runs that need nothing of each other, and say how each went."""
    # Processes that start afresh: forked ones would share the state of torch's threads.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(run, job): job for job in jobs}
        for done in as_completed(waiting):
            job = waiting[done]
            try:
                print(job.corpus, job.variant, job.seed, done.result(), flush=True)
            except Exception as error:  # noqa: BLE001 (one variant that fails must not end the others)
                print(job.corpus, job.variant, job.seed, "FAILED", repr(error), flush=True)


if __name__ == "__main__":
    main()
