"""Building a corpus: cells per second by format and workers, memory and temporary disk by size, other ways beside it.

    python -m benchmarks.build --work FOLDER --annbatch-python /path/to/python3.12+ --sizes 10000,100000,1000000

Simulated cells (benchmarks/simulated_files.py). Every build is a fresh process with a warm page cache; memory is the
largest sum over its processes, looked at every 20 ms; temporary disk is the largest size, looked at every second, of
the folder that the corpus appears in, less the corpus. The corpora of ``--sizes`` are then read for a shuffled epoch
of batches of 4,096, to see what memory the loader takes.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np

from benchmarks import measuring, simulated_files
from benchmarks.loader import PEERS, own_options

FORMAT_CELLS = 20_000
DENSE_CELLS = 5_000
WORKER_CELLS = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the data, kept for the next run")
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--workers", default="1,2,4")
    parser.add_argument("--rounds", type=int, default=3, help="of the formats and workers; a size of 1M is built once")
    parser.add_argument("--parts", default="formats,workers,others,sizes,files")
    parser.add_argument("--annbatch-python", default=os.environ.get("ANNBATCH_PYTHON", ""))
    parser.add_argument("--name", default="build", help="name of the result")
    args = parser.parse_args()
    where = measuring.machine()
    print(where, flush=True)
    parts = {"formats": formats, "workers": workers, "others": others, "sizes": sizes, "files": many_files}
    kept = measuring.RESULTS / f"{args.name}.json"
    # Parts that are not measured again stay as they are; `measured` says which command made each, under what load.
    old = json.loads(kept.read_text()) if kept.exists() else {}
    result: dict[str, Any] = {part: old[part] for part in parts if part in old}
    result["measured"] = dict(old.get("measured", {}))
    for part in args.parts.split(","):
        before = measuring.load()
        result[part] = parts[part](args)
        result["measured"][part] = {
            "command": "python -m benchmarks.build " + own_options(),
            "date": time.strftime("%Y-%m-%d"),
            "load": [before, measuring.load()],
        }
        for line in result[part]:
            print(part, line, flush=True)
    measuring.write(args.name, command="python -m benchmarks.build " + own_options(), result=result, where=where)


def formats(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Build from the same cells in several formats, one worker."""
    files = format_files(args.work)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in files}
    for number in range(args.rounds):
        for name in list(files) if number % 2 == 0 else list(files)[::-1]:
            rows[name].append(build(args.work, [files[name]]))
    return [line(rows[name], name=name, mb_in=files[name].stat().st_size / 1e6) for name in files]


def workers(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Build from gzip-compressed files with more processes."""
    files = simulated_files.simulate(args.work / "h5ad", n_cells=WORKER_CELLS)
    mb_in = sum(file.stat().st_size for file in files) / 1e6
    counts = [int(n) for n in args.workers.split(",")] if can("workers") else [1]
    rows: dict[int, list[dict[str, Any]]] = {n: [] for n in counts}
    for number in range(args.rounds):
        for n in counts if number % 2 == 0 else counts[::-1]:
            rows[n].append(build(args.work, files, "--workers", str(n)))
    lines = [line(rows[n], name=f"{n} worker{'s' * (n > 1)}", mb_in=mb_in) for n in counts]
    if can("compress"):
        packed = [build(args.work, files, "--compress", "zstd") for _ in range(args.rounds)]
        lines.append(line(packed, name="1 worker, zstd", mb_in=mb_in))
    return lines


def others(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Do the same with anndata alone and with annbatch."""
    files = [str(f) for f in simulated_files.simulate(args.work / "h5ad", n_cells=WORKER_CELLS)]
    mb_in = sum(Path(f).stat().st_size for f in files) / 1e6
    out = args.work / "building"
    commands = {"anndata: read all, concat, shuffle, write h5ad": [sys.executable, "memory_build.py", "cells.h5ad"]}
    if args.annbatch_python:
        for size in ("20GB", "2GB"):
            name = f"annbatch collection, dataset_size={size}"
            commands[name] = [args.annbatch_python, "annbatch_build.py", "cells.zarr", "--dataset-size", size]
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
    for number in range(args.rounds):
        for name in list(commands) if number % 2 == 0 else list(commands)[::-1]:
            python, script, target, *options = commands[name]
            fresh(out)
            done = measuring.run([python, str(PEERS / script), str(out / target), *files, *options], watch=out)
            rows[name].append(settle(done, out / target, n_cells=WORKER_CELLS))
    shutil.rmtree(out)
    return [line(rows[name], name=name, mb_in=mb_in) for name in commands]


def sizes(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Build and read corpora of several sizes."""
    lines = []
    for n_cells in [int(n) for n in args.sizes.split(",")]:
        files = files_of(args.work, n_cells)
        mb_in = sum(file.stat().st_size for file in files) / 1e6
        rows = []
        for _ in range(args.rounds if n_cells < 1_000_000 else 1):
            rows.append(build(args.work, files, keep=True))
        corpus = args.work / "building" / "corpus"
        command = [sys.executable, str(PEERS / "scssl_loader.py"), str(corpus), "--epochs", "1", "--max-seconds", "120"]
        read = measuring.run(command)
        epoch = [event for event in read["events"] if event["event"] == "epoch"]
        lines.append(
            {
                **line(rows, name=f"{n_cells:,} cells", mb_in=mb_in),
                "loader_peak_private_mb": read["peak_private_mb"],
                "loader_peak_rss_mb": read["peak_rss_mb"],
                "loader_cells_per_s": round(epoch[0]["cells"] / epoch[0]["wall_s"]) if epoch else None,
            }
        )
        shutil.rmtree(args.work / "building")
    return lines


def many_files(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Build from few and many files of 150 cells each: what a file takes, whatever is in it."""
    folder = args.work / "formats" / "small"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.h5ad" for number in range(60)]
    if not paths[-1].exists():
        cells = ad.read_h5ad(files_of(args.work, 10_000)[0])
        for number, path in enumerate(paths):
            cells[number * 150 : (number + 1) * 150].copy().write_h5ad(path)
    lines = []
    for n in (10, 30, 60):
        rows = [build(args.work, paths[:n]) for _ in range(args.rounds)]
        mb_in = sum(path.stat().st_size for path in paths[:n]) / 1e6
        lines.append(line(rows, name=f"{n} files of 150 cells", mb_in=mb_in))
    return lines


def can(option: str) -> bool:
    """Tell whether `Corpus.build` knows an option."""
    import scssl

    return option in inspect.signature(scssl.Corpus.build).parameters


def build(work: Path, files: list[Path], *options: str, keep: bool = False) -> dict[str, Any]:
    """Build one corpus in a process of its own."""
    out = work / "building"
    fresh(out)
    command = [sys.executable, str(PEERS / "scssl_build.py"), str(out / "corpus"), *map(str, files), *options]
    done = settle(measuring.run(command, watch=out), out / "corpus")
    if not keep:
        shutil.rmtree(out)
    return done


def fresh(folder: Path) -> None:
    """Make an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def settle(done: dict[str, Any], out: Path, *, n_cells: int = 0) -> dict[str, Any]:
    """Put together what a build took."""
    if "error" in done:
        return {"error": done["error"][-300:]}
    built = next(event for event in done["events"] if event["event"] == "built")
    ready = next(event for event in done["events"] if event["event"] == "ready")
    mb_out = measuring.size_of(out) / 1e6
    return {
        "wall_s": built["wall_s"],
        "cpu_s": built["cpu_s"],
        "cells": built.get("cells", n_cells),
        "peak_rss_mb": done["peak_rss_mb"],
        "peak_private_mb": done["peak_private_mb"],
        "private_mb_after_imports": round(ready["private_mb"]),
        "mb_out": round(mb_out, 1),
        "temporary_mb": max(0, round(done["peak_folder_mb"] - mb_out)),
        "load": measuring.load(),
    }


def line(rows: list[dict[str, Any]], *, name: str, mb_in: float) -> dict[str, Any]:
    """Make one line of several builds."""
    good = [row for row in rows if "error" not in row]
    if not good:
        return {"name": name, "error": rows[0]["error"]}
    return {
        "name": name,
        "cells": good[0]["cells"],
        "mb_in": round(mb_in),
        "mb_out": round(good[0]["mb_out"]),
        "seconds": measuring.spread([row["wall_s"] for row in good], digits=1),
        "cells_per_s": measuring.spread([row["cells"] / row["wall_s"] for row in good]),
        "cells_per_cpu_s": measuring.spread([row["cells"] / row["cpu_s"] for row in good]),
        "mb_in_per_s": measuring.spread([mb_in / row["wall_s"] for row in good], digits=1),
        "peak_private_mb": measuring.spread([row["peak_private_mb"] for row in good]),
        "peak_rss_mb": measuring.spread([row["peak_rss_mb"] for row in good]),
        "temporary_mb": measuring.spread([row["temporary_mb"] for row in good]),
        "load": [row["load"] for row in good],
    }


def format_files(work: Path) -> dict[str, Path]:
    """Write the first cells in the formats that are not there yet."""
    folder = work / "formats"
    folder.mkdir(parents=True, exist_ok=True)
    source = simulated_files.simulate(work / "h5ad", n_cells=FORMAT_CELLS)[0]
    files = {
        "gzip CSR, few cells: start-up": files_of(work, 1000)[0],
        "gzip CSR": source,
        "uncompressed CSR": folder / "csr.h5ad",
        "uncompressed CSC": folder / "csc.h5ad",
        "gzip CSC": folder / "csc_gzip.h5ad",
        "uncompressed dense": folder / "dense.h5ad",
        "gzip dense": folder / "dense_gzip.h5ad",
    }
    if all(path.exists() for path in files.values()):
        return files
    cells = ad.read_h5ad(source)
    cells.write_h5ad(files["uncompressed CSR"])
    few = cells[:DENSE_CELLS].copy()
    cells.X = cells.X.tocsc()
    cells.write_h5ad(files["uncompressed CSC"])
    cells.write_h5ad(files["gzip CSC"], compression="gzip")
    few.X = few.X.toarray().astype(np.float32)
    few.write_h5ad(files["uncompressed dense"])
    few.write_h5ad(files["gzip dense"], compression="gzip")
    return files


def files_of(work: Path, n_cells: int) -> list[Path]:
    """Return files with so many cells: whole ones, or the first cells of one."""
    if n_cells % simulated_files.CELLS_PER_FILE == 0:
        return simulated_files.simulate(work / "h5ad", n_cells=n_cells)
    path = work / "formats" / f"first_{n_cells}.h5ad"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        source = simulated_files.simulate(work / "h5ad", n_cells=simulated_files.CELLS_PER_FILE)[0]
        ad.read_h5ad(source)[:n_cells].copy().write_h5ad(path, compression="gzip")
    return [path]


if __name__ == "__main__":
    main()
