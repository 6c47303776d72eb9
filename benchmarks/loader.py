"""Loaders side by side: cells per second, warm and cold, per CPU second, memory, mixing.

    python -m benchmarks.loader --work FOLDER --annbatch-python /path/to/python3.12+ --scdataset-path FOLDER

One run measures scssl (raw and compressed corpus), annbatch on its own collection, scDataset and AnnLoader on backed
h5ad, and the whole file in memory, all on the same simulated cells (benchmarks/simulated_files.py), shuffled, with two
labels per cell. Each measurement is a fresh process: its first epoch after the page cache was dropped is the cold one
(opening the data included), the others are warm. The order of the contestants turns around from round to round.
annbatch and scDataset get the best settings of a grid that is measured first and reported.

annbatch needs a Python of 3.12 or newer with ``pip install "annbatch[zarrs]"``; scDataset is looked for in this Python
and in ``--scdataset-path`` (``pip install --no-deps --target FOLDER scdataset``). Who is missing is left out.
"""

from __future__ import annotations

import argparse
import inspect
import itertools
import json
import math
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import measuring, simulated_files

if TYPE_CHECKING:
    from collections.abc import Iterator

PEERS = Path(__file__).parent / "peers"
ROUNDS = 3
MIXED = 0.97
"""scDataset's settings must give this share of the label entropy of true random draws to be picked as the best."""


@dataclass(frozen=True)
class Contestant:
    """A loader, its data and its settings."""

    name: str
    script: str
    data: Path
    delivers: str
    options: dict[str, Any] = field(default_factory=dict)
    python: str = sys.executable
    env: dict[str, str] = field(default_factory=dict)

    def with_options(self, **options: Any) -> Contestant:
        """Return the same with other settings."""
        return Contestant(
            self.name, self.script, self.data, self.delivers, {**self.options, **options}, self.python, self.env
        )

    def command(self, **options: Any) -> list[str]:
        """Return the command that runs it."""
        words = [self.python, str(PEERS / self.script), str(self.data)]
        for name, value in {**self.options, **options}.items():
            flag = f"--{name.replace('_', '-')}"
            words += [] if value is False else [flag] if value is True else [flag, str(value)]
        return words


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the data, kept for the next run")
    parser.add_argument("--cells", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--max-seconds", type=float, default=15, help="epochs that last longer are cut there")
    parser.add_argument("--cores", default="", help="processors to use, as taskset writes them")
    parser.add_argument("--only", default="", help="names of contestants, separated by commas")
    parser.add_argument("--annbatch-python", default=os.environ.get("ANNBATCH_PYTHON", ""))
    parser.add_argument("--scdataset-path", default=os.environ.get("SCDATASET_PATH", ""))
    parser.add_argument("--threads", type=int, default=0, help="workers of scssl's loader; its default if 0")
    parser.add_argument(
        "--drop-caches", action="store_true", help="drop the whole machine's page cache for cold epochs"
    )
    parser.add_argument("--skip-grid", action="store_true", help="take the grid of the committed results")
    parser.add_argument("--prepare-only", action="store_true")
    parser.add_argument("--name", default="loader", help="name of the result")
    args = parser.parse_args()

    contestants = prepare(args)
    if args.only:
        contestants = [c for c in contestants if c.name in args.only.split(",")]
    if args.prepare_only:
        return
    where = {**measuring.machine(), "cores_used": args.cores or "all"}
    print(where, flush=True)
    bandwidth = measuring.disk_bandwidth(corpus_folder(args), drop_caches=args.drop_caches)
    print("disk MB/s, cold, large reads:", bandwidth, flush=True)
    if args.skip_grid:
        old = json.loads((measuring.RESULTS / f"{args.name}.json").read_text())
        grid, best = old["grid"], old["best_settings"]
    else:
        grid, best = tune(contestants, args)
    contestants = [c.with_options(**best.get(c.name, {})) for c in contestants]
    tests = {
        "csr, batches of 4,096": {"batch_size": 4096},
        "csr, batches of 1,024": {"batch_size": 1024},
        "dense log1p CP10k, batches of 4,096": {"batch_size": 4096, "dense": True},
    }
    runs = contest(contestants, tests, args)
    table = summarise(runs, contestants, args)
    after = measuring.disk_bandwidth(corpus_folder(args), drop_caches=args.drop_caches)
    result = {
        "cells": args.cells,
        "genes": simulated_files.GENES,
        "disk_mb_per_s": {"before": bandwidth, "after": after},
        "load_after": measuring.load(),
        "delivers": {c.name: c.delivers for c in contestants},
        "mb_on_disk": {c.name: round(measuring.size_of(c.data) / 1e6) for c in contestants},
        "best_settings": best,
        "grid_from": "an earlier run" if args.skip_grid else "this run",
        "grid": grid,
        "summary": table,
        "runs": runs,
    }
    measuring.write(args.name, command="python -m benchmarks.loader " + own_options(), result=result, where=where)
    for line in table:
        print(line)


def corpus_folder(args: argparse.Namespace) -> Path:
    return args.work / f"corpus_{args.cells}"


def prepare(args: argparse.Namespace) -> list[Contestant]:
    """Write the data that are not there yet, and say who takes part."""
    files = simulated_files.simulate(args.work / "h5ad", n_cells=args.cells)
    corpus = corpus_folder(args)
    build_corpus(files, corpus)
    counts = "CSR counts as uint16 tensors, totals, sources, 2 labels"
    threads = {"threads": args.threads} if args.threads else {}
    contestants = [Contestant("scssl", "scssl_loader.py", corpus, counts, threads)]
    if _can_compress():
        packed = args.work / f"corpus_zstd_{args.cells}"
        build_corpus(files, packed, compress="zstd")
        contestants.append(Contestant("scssl, zstd", "scssl_loader.py", packed, counts, threads))
    if args.annbatch_python:
        for name, chunk, raw in (("annbatch", 64, False), ("annbatch, uncompressed", 256, True)):
            store = args.work / f"annbatch_{args.cells}{'_raw' if raw else ''}.zarr"
            if not store.exists():
                _build_collection(args, files, store, chunk=chunk, raw=raw)
            delivers = "scipy CSR counts, uint16, a table with 2 labels"
            contestants.append(Contestant(name, "annbatch_loader.py", store, delivers, python=args.annbatch_python))
    if args.only and set(args.only.split(",")) <= {c.name for c in contestants}:
        return contestants
    sorted_file, shuffled = args.work / f"sorted_{args.cells}.h5ad", args.work / f"shuffled_{args.cells}.h5ad"
    if not sorted_file.exists():
        write_h5ad(as_sorted(files), sorted_file)
    if not shuffled.exists():
        write_h5ad(as_shuffled(corpus), shuffled)
    if _has_scdataset(args.scdataset_path):
        env = {"PYTHONPATH": args.scdataset_path} if args.scdataset_path else {}
        delivers = "CSR counts as tensors, uint16, 2 labels"
        for name, path in (("scDataset", sorted_file), ("scDataset, shuffled file", shuffled)):
            contestants.append(Contestant(name, "scdataset_loader.py", path, delivers, env=env))
    contestants.append(Contestant("AnnLoader", "annloader_loader.py", sorted_file, "dense counts, tensor, 2 labels"))
    contestants.append(Contestant("in memory", "memory_loader.py", sorted_file, "scipy CSR counts, uint16, 2 labels"))
    return contestants


def build_corpus(files: list[Path], out: Path, **options: Any) -> None:
    """Build a corpus of all cells in one split."""
    import scssl

    if not out.exists():
        scssl.Corpus.build(
            files, out, genes="union", obs=["donor", "cell_type"], split_by="donor", val=0, test=0, **options
        )


def _can_compress() -> bool:
    import scssl

    return "compress" in inspect.signature(scssl.Corpus.build).parameters


def _has_scdataset(path: str) -> bool:
    from importlib.util import find_spec

    return find_spec("scdataset") is not None or (bool(path) and (Path(path) / "scdataset").is_dir())


def _build_collection(args: argparse.Namespace, files: list[Path], store: Path, *, chunk: int, raw: bool) -> None:
    part = store.with_suffix(".part.zarr")
    script = str(PEERS / "annbatch_build.py")
    options = ["--dataset-size", "2GB", "--cells-per-chunk", str(chunk), *(["--uncompressed"] if raw else [])]
    done = measuring.run([args.annbatch_python, script, str(part), *map(str, files), *options])
    if "error" in done:
        sys.exit(f"annbatch could not build its collection: {done['error']}")
    part.rename(store)


def write_h5ad(pieces: Iterator[tuple[Any, Any]], out: Path) -> None:
    """Write pieces (CSR counts, table of the cells) into one uncompressed h5ad file with uint16 counts."""
    import h5py
    import numpy as np
    import pandas as pd
    from anndata.io import write_elem

    part = out.with_suffix(".part")
    with h5py.File(part, "w") as file:
        X = file.create_group("X")
        # Large chunks, so that reading a block of cells opens few of them.
        values = X.create_dataset("data", (0,), np.uint16, maxshape=(None,), chunks=(1 << 18,))
        indices = X.create_dataset("indices", (0,), np.int32, maxshape=(None,), chunks=(1 << 18,))
        lengths, tables = [], []
        for counts, obs in pieces:
            done = len(values)
            for array, new in ((values, counts.data), (indices, counts.indices)):
                array.resize((done + counts.nnz,))
                array[done:] = new
            lengths.append(np.diff(counts.indptr))
            tables.append(obs)
            n_genes = counts.shape[1]
        indptr = np.concatenate([[0], np.cumsum(np.concatenate(lengths), dtype=np.int64)])
        # As scipy would: with wider types than needed, it converts all indices for every batch.
        indptr = indptr.astype(np.int32) if indptr[-1] <= np.iinfo(np.int32).max else indptr
        X.create_dataset("indptr", data=indptr)
        X.attrs.update(
            {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": [len(indptr) - 1, n_genes]}
        )
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        write_elem(file, "obs", pd.concat(tables).astype("category"))
        write_elem(file, "var", pd.DataFrame(index=pd.RangeIndex(n_genes).astype(str)))
    part.rename(out)


def as_sorted(files: list[Path]) -> Iterator[tuple[Any, Any]]:
    """Give the cells as the files have them."""
    import anndata as ad

    for path in files:
        cells = ad.read_h5ad(path)
        yield cells.X, cells.obs.astype(str)


def as_shuffled(corpus_path: Path) -> Iterator[tuple[Any, Any]]:
    """Give the cells in the order in which a corpus stores them."""
    import scipy.sparse as sp

    import scssl

    corpus = scssl.Corpus.open(corpus_path)
    obs = corpus.obs("train")[["donor", "cell_type"]].astype(str)
    done = 0
    for batch in corpus.loader(batch_size=8192, shuffle=False):
        parts = (batch.values.numpy(), batch.indices.numpy(), batch.indptr.numpy())
        yield sp.csr_matrix(parts, shape=(batch.n_cells, batch.n_genes)), obs.iloc[done : done + batch.n_cells]
        done += batch.n_cells


def tune(contestants: list[Contestant], args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Try settings of the loaders that have any: the better of two warm epochs each, batches of 4,096."""
    grids = {
        "annbatch_loader.py": [
            {"chunk_size": size, "preload_nchunks": cells // size}
            for size, cells in itertools.product((32, 128, 512, 1024), (8_192, 16_384, 32_768))
        ],
        "scdataset_loader.py": [
            {"block_size": block, "fetch_factor": fetch, "processes": processes}
            for block, fetch, processes in itertools.product((16, 128, 1024), (1, 4), (0, 4))
        ],
    }
    grid: dict[str, Any] = {}
    best: dict[str, Any] = {}
    for contestant in contestants:
        rows = []
        for options in grids.get(contestant.script, []):
            command = contestant.with_options(**options).command(
                batch_size=4096, epochs=3, max_seconds=args.max_seconds
            )
            done = measuring.run(command, cores=args.cores, env=contestant.env)
            epochs = [event for event in done["events"] if event["event"] == "epoch"]
            if len(epochs) < 3:
                rows.append({**options, "error": done.get("error", "")[-300:]})
                continue
            rates = [epoch["cells"] / epoch["wall_s"] for epoch in epochs[1:]]
            row = {"cells_per_s": round(max(rates)), "donor_bits": epochs[1]["donor_bits"]}
            rows.append({**options, **row, "peak_private_mb": done["peak_private_mb"]})
            print(contestant.name, rows[-1], flush=True)
        if rows:
            grid[contestant.name] = rows
            done_rows = [row for row in rows if "error" not in row]
            most = random_bits(args.cells, 4096)
            fair = [row for row in done_rows if row["donor_bits"] >= MIXED * most] or done_rows
            pick = max(fair, key=lambda row: row["cells_per_s"])
            best[contestant.name] = {key: pick[key] for key in options}
    return grid, best


def random_bits(n_cells: int, batch_size: int) -> float:
    """Entropy of the donors in a truly random batch: donors are of equal size but for chance; with its bias."""
    donors = n_cells // simulated_files.CELLS_PER_FILE * simulated_files.DONORS_PER_FILE
    return math.log2(donors) - (donors - 1) / (2 * batch_size * math.log(2))


def contest(
    contestants: list[Contestant], tests: dict[str, dict[str, Any]], args: argparse.Namespace
) -> list[dict[str, Any]]:
    """Run everything: all contestants of a test after each other, the other way round in the next round."""
    runs = []
    for test, options in tests.items():
        for number in range(args.rounds):
            for contestant in contestants if number % 2 == 0 else contestants[::-1]:
                if contestant.script == "annloader_loader.py" and options.get("dense"):
                    continue
                way = measuring.evict([contestant.data], drop_caches=args.drop_caches)
                busy = measuring.load()
                command = contestant.command(**options, seed=number, max_seconds=args.max_seconds)
                done = measuring.run(command, cores=args.cores, env=contestant.env)
                events = done.pop("events")
                run = {"test": test, "name": contestant.name, "round": number, "cold": way, "load": busy, **done}
                run["ready"] = next((e for e in events if e["event"] == "ready"), None)
                run["epochs"] = [e for e in events if e["event"] == "epoch"]
                runs.append(run)
                rates = [round(e["cells"] / e["wall_s"]) for e in run["epochs"]]
                print(f"{test} | {contestant.name} | cold and warm cells/s {rates} | {busy}", flush=True)
    return runs


def summarise(
    runs: list[dict[str, Any]], contestants: list[Contestant], args: argparse.Namespace
) -> list[dict[str, Any]]:
    """Make one line per test and contestant."""
    lines = []
    for test, contestant in itertools.product(dict.fromkeys(run["test"] for run in runs), contestants):
        mine = [run for run in runs if run["test"] == test and run["name"] == contestant.name and run["epochs"]]
        if not mine:
            continue
        cold = [run["epochs"][0] for run in mine]
        warm = [epoch for run in mine for epoch in run["epochs"][1:]]
        bytes_per_cell = measuring.size_of(contestant.data) / args.cells
        lines.append(
            {
                "test": test,
                "name": contestant.name,
                "settings": contestant.options,
                "warm_cells_per_s": measuring.spread([e["cells"] / e["wall_s"] for e in warm]),
                "warm_cells_per_cpu_s": measuring.spread([e["cells"] / e["cpu_s"] for e in warm]),
                "cold_cells_per_s": measuring.spread([e["cells"] / e["wall_s"] for e in cold]),
                "cold_mb_per_s": measuring.spread([e["cells"] / e["wall_s"] * bytes_per_cell / 1e6 for e in cold]),
                "first_batch_s": measuring.spread([e["first_batch_s"] for e in cold], digits=2),
                "peak_rss_mb": measuring.spread([run["peak_rss_mb"] for run in mine]),
                "peak_private_mb": measuring.spread([run["peak_private_mb"] for run in mine]),
                "private_mb_before_opening": measuring.spread([run["ready"]["private_mb"] for run in mine]),
                "donor_bits": measuring.spread([e["donor_bits"] for e in warm if e["donor_bits"]], digits=3),
                "cell_type_bits": measuring.spread(
                    [e["cell_type_bits"] for e in warm if e["cell_type_bits"]], digits=3
                ),
                "all_cells": all(e["cut"] or e["cells"] == args.cells for e in warm),
                "nonzeros": sorted({e["nonzeros"] for e in warm if not e["cut"]}),
            }
        )
    return lines


def own_options() -> str:
    """Return this run's options, without paths of this machine."""
    words = sys.argv[1:]
    hidden = {"--work": "FOLDER", "--annbatch-python": "PYTHON", "--scdataset-path": "FOLDER"}
    return " ".join(hidden.get(words[i - 1], word) if i else word for i, word in enumerate(words))


if __name__ == "__main__":
    main()
