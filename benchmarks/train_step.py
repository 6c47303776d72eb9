"""A training step beside the paper's written plainly, and beside its own matrix products alone.

    python -m benchmarks.train_step [--threads 2] [--genes 19331,4000,2000] [--scvi PYTHON]

Preset richter2024 (the paper's network), simulated counts, a tenth of the genes seen per cell, batches of 1,024 in
memory. The paper's way is given its dense values for nothing; ours starts at sparse counts. All are timed in turn in
one process, a step each per round; rates are medians over rounds, and so are ratios, which are taken within rounds. The
limit is the time of the step's own matrix products, measured in the same rounds, each as its best of five. Peak memory
is that of a process which takes three steps of one kind alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks import measuring
from benchmarks.steps import limits
from benchmarks.steps.ours import Embedding, FineTuning, Ours, batch
from benchmarks.steps.paper import Paper

if TYPE_CHECKING:
    from collections.abc import Callable

N_CELLS, ROUNDS = 1024, 7
GROUPED = (f"task.group_size={N_CELLS}",)
ARMS: dict[str, Callable[[list, list], Any]] = {
    "the paper's way, fp32": lambda _, dense: Paper(dense, bf16=False),
    "the paper's way, bf16": lambda _, dense: Paper(dense, bf16=True),
    "masked, fp32": lambda cells, _: Ours(cells, bf16=False),
    "masked, bf16": lambda cells, _: Ours(cells),
    "masked in groups, bf16": lambda cells, _: Ours(cells, overrides=GROUPED),
    "masked, negative binomial": lambda cells, _: Ours(cells, overrides=("task.loss=nb",)),
    "byol": lambda cells, _: Ours(cells, pretext="byol"),
    "barlow_twins": lambda cells, _: Ours(cells, pretext="barlow_twins"),
    "vicreg": lambda cells, _: Ours(cells, pretext="vicreg"),
    "simclr": lambda cells, _: Ours(cells, pretext="simclr"),
    "fine-tuning": lambda cells, _: FineTuning(cells),
    "embedding, fp32": lambda cells, _: Embedding(cells, bf16=False),
}
LIMITS: dict[str, Callable[[int], float]] = {
    "masked, fp32": lambda n: limits.training(N_CELLS, n, bf16=False),
    "masked, bf16": lambda n: limits.training(N_CELLS, n, bf16=True),
    "masked in groups, bf16": lambda n: limits.training(N_CELLS, n, bf16=True, seen=0.5, asked=0.5),
    "embedding, fp32": lambda n: limits.forward(N_CELLS, n, bf16=False),
}


def cells_of(n_genes: int) -> tuple[list, list]:
    from scssl.nn import log_normalise

    cells = [batch(N_CELLS, n_genes, seed=seed) for seed in (0, 1)]
    return cells, [log_normalise(b) for b in cells]


def compare(n_genes: int, *, rounds: int) -> list[dict[str, Any]]:
    """Time all arms and limits in turn."""
    cells, dense = cells_of(n_genes)
    arms = {name: make(cells, dense) for name, make in ARMS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    least: dict[str, list[float]] = {name: [] for name in LIMITS}
    for number in range(rounds + 1):
        for name, arm in arms.items():
            started = time.perf_counter()
            arm.step(number)
            # The first step pays for memory and for compiling.
            if number:
                seconds[name].append(time.perf_counter() - started)
        if number:
            for name, limit in LIMITS.items():
                least[name].append(limit(n_genes))
    plain = seconds["the paper's way, fp32"]
    rows = []
    for name, taken in seconds.items():
        row: dict[str, Any] = {"n_genes": n_genes, "arm": name}
        row["cells_per_second"] = round(N_CELLS / statistics.median(taken))
        if not name.startswith("embedding"):
            ratios = [p / t for p, t in zip(plain, taken, strict=True)]
            row["times_the_papers_way"] = round(statistics.median(ratios), 2)
            row["lowest"], row["highest"] = round(min(ratios), 2), round(max(ratios), 2)
        if name in least:
            row["limit_cells_per_second"] = round(N_CELLS / statistics.median(least[name]))
            row["share_of_limit"] = round(
                statistics.median([limit / t for limit, t in zip(least[name], taken, strict=True)]), 3
            )
        rows.append(row)
        print(row, flush=True)
    return rows


def child(name: str, n_genes: int) -> None:
    """Take three steps of one kind and print the peak memory, in GB."""
    cells, dense = cells_of(n_genes)
    if not name.startswith("the paper"):
        dense.clear()
    arm = ARMS[name](cells, dense)
    for number in range(3):
        arm.step(number)
    # Not from getrusage, which hands down what the parent had.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    kilobytes = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps(round(kilobytes / 1e6, 2)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--genes", default="19331,4000,2000")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--scvi", default="", help="python with scvi-tools")
    parser.add_argument("--corpus", type=Path, help="time steps on this corpus' own batches too, and nothing else")
    parser.add_argument("--child", default="")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    sizes = [int(n) for n in given.genes.split(",")]
    if given.child:
        child(given.child, sizes[0])
        return
    if given.corpus is not None:
        row = behind_compute(given.corpus, threads=given.threads)
        command_line = f"python -m benchmarks.train_step --threads {given.threads} --corpus FOLDER"
        measuring.write("train_loading", command=command_line, result=row, where=measuring.machine())
        return
    started = measuring.load()
    rows = [row for n_genes in sizes for row in compare(n_genes, rounds=given.rounds)]
    add_memory(rows, threads=given.threads)
    if given.scvi:
        rows += scvi_rows(given.scvi, sizes, threads=given.threads)
    command_line = f"python -m benchmarks.train_step --threads {given.threads} --genes {given.genes}"
    result = {"threads": given.threads, "batch_size": N_CELLS, "load_before": started, "rows": rows}
    measuring.write("train_step", command=command_line, result=result, where=measuring.machine())


def add_memory(rows: list[dict[str, Any]], *, threads: int) -> None:
    """Measure the peak memory of each row's step, in a process of its own."""
    for row in rows:
        command = [sys.executable, "-m", "benchmarks.train_step", "--threads", str(threads)]
        command += ["--child", row["arm"], "--genes", str(row["n_genes"])]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        row["peak_gb"] = json.loads(out.splitlines()[-1])


def behind_compute(path: Path, *, threads: int, n_batches: int = 24, rounds: int = 3) -> dict[str, Any]:
    """Time steps on batches as they come from disk, and on the same number that are in memory, in turn."""
    import scssl

    loader = scssl.Corpus.open(path).loader(batch_size=N_CELLS, seed=0)
    held = [b for _, b in zip(range(4), loader, strict=False)]
    arms = {"mask per cell": (), "one mask per batch": GROUPED}
    out: dict[str, Any] = {"threads": threads, "batch_size": N_CELLS, "corpus_cells": loader.n_cells, "rows": []}
    for name, overrides in arms.items():
        ours = Ours(held, overrides=overrides)
        rates: dict[str, list[float]] = {"from disk": [], "in memory": []}
        for number in range(2 * rounds + 2):
            where = "from disk" if number % 2 else "in memory"
            source = loader if number % 2 else held * n_batches
            started = 0.0
            for step, cells in zip(range(n_batches + 1), source, strict=False):
                ours.on(cells, step)
                # The first batch waits for the first pool; what is measured is whether later ones do.
                started = time.perf_counter() if step == 0 else started
            if number > 1:
                rates[where].append(N_CELLS * n_batches / (time.perf_counter() - started))
        median = {where: statistics.median(found) for where, found in rates.items()}
        share = statistics.median([a / b for a, b in zip(rates["from disk"], rates["in memory"], strict=True)])
        row = {"arm": name, "share": round(share, 3)} | {f"{w}, cells/s": round(r) for w, r in median.items()}
        out["rows"].append(row)
        print(row, flush=True)
    return out


def scvi_rows(python: str, sizes: list[int], *, threads: int) -> list[dict[str, Any]]:
    """Measure SCVI by its own Python."""
    script = Path(__file__).parent / "peers" / "scvi_step.py"
    commands = [[python, str(script), str(threads), str(n_genes)] for n_genes in sizes]
    return [json.loads(subprocess.run(c, check=True, capture_output=True, text=True).stdout) for c in commands]


if __name__ == "__main__":
    main()
