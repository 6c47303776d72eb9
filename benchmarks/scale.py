"""What corpora of 20 and 100 million cells take, worked out from what was measured; writes the tables of docs/scale.md.

    python -m benchmarks.scale

Reads benchmarks/results/build.json and loader.json and measures nothing itself. The formula of each number stands next
to it in the page.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import RESULTS

PAGE = Path(__file__).parent.parent / "docs" / "scale.md"
SIZES = (20_000_000, 100_000_000)
WORKERS = (1, 4, 16)
SPEEDS = (2_000, 10_000, 50_000, 200_000)
TEST = "csr, batches of 4,096"
SMALLER = "csr, batches of 1,024"
DENSE = "dense log1p CP10k, batches of 4,096"


def main() -> None:
    build, loader = (json.loads((RESULTS / f"{name}.json").read_text()) for name in ("build", "loader"))
    tables = {
        "loaders": loaders(loader),
        "aims": aims(loader),
        "dense": loaders(loader, test=DENSE),
        "builds": builds(build),
        "formats": formats(build),
        "sizes": sizes(build),
        "files": many_files(build),
        "plan": plan(build),
        "epochs": epochs(build, loader),
        "machine": machine(build, loader),
    }
    text = PAGE.read_text()
    for name, table in tables.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        text, n = re.subn(pattern, lambda m, table=table: f"{m[1]}\n{table}\n\n{m[2]}", text, flags=re.S)
        if n != 1:
            message = f"{PAGE}: needs one <!-- {name} --> ... <!-- end -->"
            raise SystemExit(message)
    PAGE.write_text(text)


def loaders(result: dict[str, Any], *, test: str = TEST) -> str:
    """Loaders side by side."""
    rows = [
        [
            line["name"],
            shown(line["warm_cells_per_s"]),
            shown(line["warm_cells_per_cpu_s"]),
            shown(line["cold_cells_per_s"]),
            shown(line["cold_mb_per_s"]),
            f"{line['peak_private_mb']['median']:,}",
            f"{line['donor_bits']['median']:.2f}" if line["donor_bits"] else "",
        ]
        for line in result["summary"]
        if line["test"] == test
    ]
    head = [
        "loader",
        "warm cells/s",
        "per CPU second",
        "cold cells/s",
        "cold MB/s off the disk",
        "private memory, MB",
        "donor entropy, bits",
    ]
    return table(head, rows)


AIMS = [
    ("warm, annbatch", "warm_cells_per_s", ["annbatch", "annbatch, uncompressed"], 3),
    ("warm, annbatch, per CPU second", "warm_cells_per_cpu_s", ["annbatch", "annbatch, uncompressed"], None),
    ("warm, scDataset", "warm_cells_per_s", ["scDataset"], 5),
    ("warm, scDataset on a file shuffled for it", "warm_cells_per_s", ["scDataset, shuffled file"], None),
    ("cold, annbatch", "cold_cells_per_s", ["annbatch", "annbatch, uncompressed"], 1.5),
]
"""What is compared, with whom (the fastest of them), and how many times as fast the loader should be."""


def aims(result: dict[str, Any]) -> str:
    """How many times as fast as others the loader is, and how near to the disk."""
    tests = [{line["name"]: line for line in result["summary"] if line["test"] == test} for test in (TEST, SMALLER)]
    rows = []
    for what, key, others, aim in AIMS:
        row = [what, "" if aim is None else f"{aim} times"]
        for lines in tests:
            rates = [lines[name][key]["median"] for name in others if name in lines]
            row.append(f"{lines['scssl'][key]['median'] / max(rates):.1f} times" if rates else "")
        rows.append(row)
    disk = np.mean([result["disk_mb_per_s"][when]["1_thread"] for when in ("before", "after")])
    shares = [f"{lines['scssl']['cold_mb_per_s']['median'] / disk:.0%}" for lines in tests]
    rows.append([f"cold, the disk ({disk:,.0f} MB/s, mean of before and after)", "80%", *shares])
    return table(["compared with", "aim", "batches of 4,096", "batches of 1,024"], rows)


def builds(result: dict[str, Any]) -> str:
    """Ways to bring 100,000 cells into shuffled order on disk."""
    lines = [*result["workers"], *result["others"]]
    rows = [
        [
            f"scssl, {line['name']}" if line in result["workers"] else line["name"],
            shown(line["cells_per_s"]),
            shown(line["cells_per_cpu_s"]),
            f"{line['peak_private_mb']['median']:,}",
            f"{line['mb_out']:,}",
        ]
        for line in lines
        if "error" not in line
    ]
    return table(["way", "cells/s", "per CPU second", "private memory, MB", "MB written"], rows)


def formats(result: dict[str, Any]) -> str:
    """Build by the format of the input."""
    rows = [
        [line["name"], f"{line['cells']:,}", shown(line["cells_per_s"]), shown(line["mb_in_per_s"])]
        for line in result["formats"]
        if "error" not in line
    ]
    return table(["input", "cells", "cells/s", "MB of input per second"], rows)


def sizes(result: dict[str, Any]) -> str:
    """Memory and disk by the number of cells."""
    rows = [
        [
            line["name"],
            f"{line['peak_private_mb']['median']:,}",
            f"{line['loader_peak_private_mb']:,}",
            f"{line['mb_in']:,}",
            f"{line['mb_out']:,}",
            f"{line['temporary_mb']['median']:,}",
            shown(line["cells_per_s"]),
        ]
        for line in result["sizes"]
        if "error" not in line
    ]
    head = ["corpus", "build, MB", "loader, MB", "files in, MB", "corpus, MB", "temporary, MB", "built cells/s"]
    return table(head, rows)


def many_files(result: dict[str, Any]) -> str:
    """Memory by the number of files."""
    rows = [
        [line["name"], f"{line['peak_private_mb']['median']:,}", shown(line["seconds"])]
        for line in result["files"]
        if "error" not in line
    ]
    return table(["input", "build, MB", "seconds"], rows)


def per_cell(result: dict[str, Any]) -> dict[str, float]:
    """Bytes per cell: of the input, the corpus raw and compressed, and while building."""
    raw = result["sizes"][-1]
    packed = next((line for line in result["workers"] if "zstd" in line["name"]), None)
    return {
        "input": raw["mb_in"] * 1e6 / raw["cells"],
        "raw": raw["mb_out"] * 1e6 / raw["cells"],
        "zstd": packed["mb_out"] * 1e6 / packed["cells"] if packed else float("nan"),
        "temporary": raw["temporary_mb"]["median"] * 1e6 / raw["cells"],
    }


def seconds_per_cell(result: dict[str, Any], workers: int) -> float:
    """Seconds per cell with so many workers: measured, or from the fit a + b / workers through the measured ones."""
    measured = {
        int(line["name"].split()[0]): 1 / line["cells_per_s"]["median"]
        for line in result["workers"]
        if "zstd" not in line["name"]
    }
    if workers in measured:
        return measured[workers]
    counts = np.array(list(measured), dtype=float)
    design = np.stack([np.ones_like(counts), 1 / counts], axis=1)
    serial, parallel = np.linalg.lstsq(design, np.array(list(measured.values())), rcond=None)[0]
    return float(max(0.0, serial) + parallel / workers)


def plan(result: dict[str, Any]) -> str:
    """Disk and hours of a build."""
    size = per_cell(result)
    rows = []
    for n in SIZES:
        rows.append(
            [
                f"{n / 1e6:.0f} million",
                *(f"{n * size[part] / 1e9:,.0f} GB" for part in ("input", "raw", "zstd", "temporary")),
                *(f"{hours(n * seconds_per_cell(result, w))}" for w in WORKERS),
            ]
        )
    head = [
        "cells",
        "gzip h5ad in",
        "corpus",
        "corpus, zstd",
        "temporary",
        *(f"{w} worker{'s' * (w > 1)}" for w in WORKERS),
    ]
    return table(head, rows)


def epochs(build: dict[str, Any], loader: dict[str, Any]) -> str:
    """Hours per epoch, and what the disk must give, by the speed of training."""
    size = per_cell(build)
    rows = [
        [
            f"{speed:,}",
            *(f"{hours(n / speed)}" for n in SIZES),
            f"{speed * size['raw'] / 1e6:,.0f} MB/s",
            f"{speed * size['zstd'] / 1e6:,.0f} MB/s",
        ]
        for speed in SPEEDS
    ]
    for name, key in (("warm", "warm_cells_per_s"), ("cold", "cold_cells_per_s")):
        line = next(line for line in loader["summary"] if line["test"] == TEST and line["name"] == "scssl")
        speed = line[key]["median"]
        rows.append(
            [
                f"{speed:,} (the loader here, {name}, nothing trained)",
                *(f"{hours(n / speed)}" for n in SIZES),
                f"{speed * size['raw'] / 1e6:,.0f} MB/s",
                "",
            ]
        )
    head = ["cells/s", *(f"epoch of {n / 1e6:.0f} million" for n in SIZES), "disk, raw", "disk, zstd"]
    return table(head, rows)


def machine(build: dict[str, Any], loader: dict[str, Any]) -> str:
    """Say what it was measured on."""
    m, disk = loader["machine"], loader["disk_mb_per_s"]["before"]
    building = max(load for part in build["measured"].values() for load in part["load"])
    busy = " and ".join(what for what, load in (("loaders", m["load"]), ("builds", building)) if load > 1)
    warning = f"**Preliminary: other programs took much of the processors, so that the rates of {busy} are too low.** "
    return (warning if busy else "") + (
        f"Measured {loader['date']} (loaders) and {build['date']} (builds): {m['cpu']}, {m['cores']} cores, "
        f"{m['memory_gb']:.0f} GB; the disk read "
        + ", ".join(f"{value:,.0f} MB/s with {name.replace('_', ' ')}" for name, value in disk.items())
        + f". Load average: {m['load']} before the loaders, at most {building} around the builds."
    )


def hours(seconds: float) -> str:
    """Write a duration."""
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"


def shown(spread: dict[str, Any] | None) -> str:
    """Median, with the lowest and highest."""
    if spread is None:
        return ""
    if spread["runs"] == 1:
        return f"{spread['median']:,}"
    return f"{spread['median']:,} ({spread['lowest']:,}–{spread['highest']:,})"  # noqa: RUF001


def table(head: list[str], rows: list[list[str]]) -> str:
    """Lay out a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
