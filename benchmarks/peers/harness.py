"""Times one loader in one process; needs numpy only, so that it runs in any contestant's own Python.

A contestant's script gives `measure` a function that opens the data and returns epochs of batches, each batch as
``(values, indices, indptr, donor, cell_type)``; loaders that deliver dense batches return ``(dense, None, None, donor,
cell_type)``. One JSON line per event goes to stdout: ``ready`` after the imports, ``epoch`` after each epoch. The first
epoch includes opening the data; where the caller has dropped the page cache it is the cold one, the others are warm.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np


def arguments(**options) -> argparse.Namespace:
    """Parse what all scripts share, and `options`: name of an option and its default."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--batch-size", type=int, default=4096)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--max-seconds", type=float, default=30, help="an epoch that lasts longer is cut there")
    parser.add_argument("--dense", action="store_true", help="densify to float32 and normalise to log1p CP10k")
    for name, default in options.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    return parser.parse_args()


def measure(open_data, args, *, n_genes: int = 0) -> None:
    """Run epochs and print what they took.

    Parameters
    ----------
    open_data
        Called once, timed with the first epoch; returns a function of the epoch's number that gives its batches.
    args
        From `arguments`.
    n_genes
        Width of a dense batch; 0 when the loader delivers dense batches itself, or is asked for none.
    """
    say(event="ready", **memory())
    dense = np.empty((args.batch_size, n_genes), dtype=np.float32) if args.dense and n_genes else None
    begin, cpu_begin = time.perf_counter(), cpu_seconds()
    epochs = open_data()
    opened = time.perf_counter() - begin
    for epoch in range(args.epochs):
        if epoch:
            begin, cpu_begin = time.perf_counter(), cpu_seconds()
        cells = nonzeros = n_batches = 0
        first, full, cut = None, 0.0, False
        labels = []
        for values, indices, indptr, donor, cell_type in epochs(epoch):
            if dense is not None:
                _normalise(values, indices, indptr, dense)
            n_batches += 1
            cells += len(donor)
            nonzeros += 0 if indptr is None else int(indptr[-1]) - int(indptr[0])
            # Small copies: what is kept here must not keep a batch alive, nor be taken for the loader's memory.
            labels.append((np.asarray(donor).astype(np.int16), np.asarray(cell_type).astype(np.int16)))
            full = time.perf_counter() - begin
            first = full if first is None else first
            if full > args.max_seconds:
                cut = True
                break
        wall = time.perf_counter() - begin
        say(
            event="epoch",
            epoch=epoch,
            cut=cut,
            opened_s=round(opened, 4) if epoch == 0 else None,
            first_batch_s=round(first or 0.0, 4),
            wall_s=round(wall if not cut else full, 4),
            cpu_s=round(cpu_seconds() - cpu_begin, 4),
            cells=cells,
            nonzeros=nonzeros,
            batches=n_batches,
            donor_bits=entropy([donor for donor, _ in labels], args.batch_size),
            cell_type_bits=entropy([cell_type for _, cell_type in labels], args.batch_size),
            **memory(),
        )


def entropy(labels: list[np.ndarray], batch_size: int) -> float | None:
    """Mean entropy in bits of the labels in a batch, over full batches."""
    bits = []
    for codes in labels:
        if len(codes) == batch_size:
            shares = np.unique(codes, return_counts=True)[1] / len(codes)
            bits.append(float(-(shares * np.log2(shares)).sum()))
    return round(float(np.mean(bits)), 4) if bits else None


def cpu_seconds() -> float:
    """CPU time of this process, its threads and its children, living or not."""
    gone = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = time.process_time() + gone.ru_utime + gone.ru_stime
    tick = os.sysconf("SC_CLK_TCK")
    for child in descendants(os.getpid()):
        try:
            fields = Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) / tick
    return total


def descendants(pid: int) -> list[int]:
    """Return the numbers of a process's children, and of theirs."""
    found = []
    try:
        tasks = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
        for task in tasks:
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                found += [int(child), *descendants(int(child))]
    except OSError:
        pass
    return found


def memory(pid: int | None = None) -> dict[str, float]:
    """MB now, of a process and its descendants: resident, and the private part that backs no file."""
    rss = private = 0.0
    for number in [pid or os.getpid(), *descendants(pid or os.getpid())]:
        try:
            lines = Path(f"/proc/{number}/status").read_text().splitlines()
        except OSError:
            continue
        kb = {
            name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines) if "kB" in value
        }
        rss += kb.get("VmRSS", 0) / 1024
        private += (kb.get("RssAnon", 0) + kb.get("RssShmem", 0)) / 1024
    return {"rss_mb": round(rss, 1), "private_mb": round(private, 1)}


def codes(column) -> np.ndarray:
    """Codes of a categorical column of a table."""
    return np.asarray(column.cat.codes if hasattr(column, "cat") else column.codes)


def say(**event) -> None:
    """Print one JSON line."""
    print(json.dumps(event), flush=True)


def _normalise(values, indices, indptr, out: np.ndarray) -> None:
    """Write log1p(1e4 * count / total) of a CSR batch into `out`."""
    values, indices, indptr = np.asarray(values), np.asarray(indices), np.asarray(indptr)
    lengths = np.diff(indptr)
    totals = np.add.reduceat(values, indptr[:-1], dtype=np.float32)
    x = np.log1p(values * np.repeat(1e4 / totals, lengths).astype(np.float32))
    out[: len(lengths)] = 0
    out[np.repeat(np.arange(len(lengths)), lengths), indices] = x


if __name__ == "__main__":
    sys.exit("this is used by the other scripts of this folder")
