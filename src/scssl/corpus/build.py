"""Build a corpus on disk: two passes over the cells, in bounded memory, visible only when complete."""

from __future__ import annotations

import csv
import errno
import math
import os
import shutil
import socket
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl import __version__
from scssl.corpus import manifest
from scssl.corpus.manifest import SPLITS
from scssl.corpus.memory import make_shard
from scssl.corpus.plan import Plan, make_plan
from scssl.corpus.shard import SOURCE, write_shard
from scssl.corpus.spill import Spill
from scssl.corpus.store import GENE_COUNTS, GENES, MEASURED
from scssl.corpus.stream import Tally, check_first_cells, columns_of, stream
from scssl.errors import DataError, SettingsError
from scssl.log import logger, progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scssl.corpus.settings import BuildSettings

GROUPS: Final = "splits.tsv"
SHARD_BYTES: Final = 128 << 20
"""Aimed size of a shard."""
_BYTES_PER_NONZERO: Final = 4
_BYTES_PER_CELL: Final = 100
_OWNER: Final = "owner"
SECONDS_PER_NONZERO: Final = 8e-8
"""From builds of gzip-compressed h5ad on one core."""
MEMORY_GB: Final = 1.4
"""What a build takes, whatever its size (chunks of 4,096 cells with 2,000 nonzeros each)."""


def build(
    files: Sequence[str | Path] | str | Path, out: str | Path, *, settings: BuildSettings, overwrite: bool = False
) -> None:
    """Build a corpus; see `Corpus.build`.

    First pass: cells are read in chunks, checked, brought to the panel, and appended to a random bucket of their
    split. Second pass: one bucket at a time is loaded, put in random order and written as a shard. Together that is a
    uniformly random order of the cells of each split.
    """
    paths = [Path(f) for f in ([files] if isinstance(files, str | Path) else files)]
    # Where links and ".." really lead: the work folder lies beside it, and one rename puts the corpus there.
    out = Path(out).resolve()
    _check_out(out, paths, overwrite=overwrite)
    with _work_folder(out) as work:
        plan = make_plan(paths, settings)
        n_buckets = _n_buckets(plan)
        _estimate(plan, out)
        check_first_cells(plan)
        tally = Tally.of(plan)
        spill = Spill(work / "buckets", n_buckets=n_buckets, rng=np.random.default_rng([settings.seed, 3]))
        for block in stream(plan, tally):
            spill.add(block)
        corpus = work / "corpus"
        corpus.mkdir()
        shards = _write_shards(corpus, plan, tally, spill)
        _write_tables(corpus, plan, tally, shards)
        _publish(corpus, out, work)
    logger.info("built %s: %s", out, _summary(shards))


def _check_out(out: Path, files: Sequence[Path], *, overwrite: bool) -> None:
    for file in files:
        place = file.resolve()
        if place.is_relative_to(out) or out.is_relative_to(place):
            message = f"{out}: {file}, which goes in, lies there and would be changed; choose another --out"
            raise SettingsError(message)
    if not out.exists():
        return
    if not out.is_dir():
        message = f"{out}: a file of this name exists; choose another --out"
        raise SettingsError(message)
    if not any(out.iterdir()):
        return
    if not (out / manifest.FILE).is_file():
        message = f"{out}: exists and is not a corpus, so it is not replaced; choose another --out"
        raise SettingsError(message)
    if not overwrite:
        message = f"{out}: a corpus exists there; choose another --out, or replace it with --overwrite"
        raise SettingsError(message)


@contextmanager
def _work_folder(out: Path) -> Iterator[Path]:
    """Give a hidden folder beside `out`, removed in the end whatever happens."""
    work = out.parent / f".{out.name}.building"
    out.parent.mkdir(parents=True, exist_ok=True)
    claim = Path(tempfile.mkdtemp(dir=out.parent, prefix=f"{work.name}-"))
    try:
        (claim / _OWNER).write_text(f"{socket.gethostname()} {os.getpid()}")
        if work.exists() and _read_owner(work) is None:
            logger.info("%s: removing what a build that was killed left behind", work)
            shutil.rmtree(work)
        try:
            # In one step and with the owner in it, so that of two builds that start together one gets it.
            claim.rename(work)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            message = (
                f"{work}: process {_read_owner(work)} is building this corpus now. Wait for it, or, if that is no "
                "build, delete this folder"
            )
            raise SettingsError(message) from error
    except BaseException:
        shutil.rmtree(claim, ignore_errors=True)
        raise
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _read_owner(work: Path) -> int | None:
    """Return the number of the process that works in the folder, None when it no longer runs."""
    try:
        host, pid = (work / _OWNER).read_text().split()
        if host != socket.gethostname() or int(pid) == os.getpid():
            return None
        os.kill(int(pid), 0)
    except (OSError, ValueError):
        return None
    return int(pid)


def _n_buckets(plan: Plan) -> list[int]:
    """Per split, as many buckets as shards of the aimed size are expected."""
    settings = plan.settings
    if settings.by_cell:
        share = [1 - settings.val - settings.test, settings.val, settings.test]
    else:
        cells = dict.fromkeys(SPLITS, 0)
        for (_, group), n in plan.group_cells.items():
            cells[plan.splits[group]] += n
        share = [cells[split] / plan.n_cells for split in SPLITS]
    size = plan.n_nonzeros * _BYTES_PER_NONZERO
    return [max(1, math.ceil(part * size / SHARD_BYTES)) for part in share]


def _estimate(plan: Plan, out: Path) -> None:
    """Say what the build will take, and refuse when the disk is too small."""
    needed = plan.n_nonzeros * _BYTES_PER_NONZERO + plan.n_cells * _BYTES_PER_CELL + SHARD_BYTES
    free = shutil.disk_usage(out.parent).free
    seconds = plan.n_nonzeros * SECONDS_PER_NONZERO
    logger.info(
        "%s of %s in %s, %s: up to %.1f GB on disk (%.0f GB free), %.1f GB of memory, %s",
        _number(plan.n_cells, "cell"),
        _number(len(plan.sources), "source"),
        _number(len(plan.files), "file"),
        _number(len(plan.panel), "gene"),
        needed / 1e9,
        free / 1e9,
        MEMORY_GB,
        f"about {_duration(seconds)}",
    )
    if needed > free:
        message = (
            f"{out.parent}: {free / 1e9:.1f} GB are free, up to {needed / 1e9:.1f} GB are needed. Free some space, or "
            "choose an --out on another disk"
        )
        raise DataError(message)


def _write_shards(corpus: Path, plan: Plan, tally: Tally, spill: Spill) -> list[dict[str, Any]]:
    categories = {SOURCE: plan.sources, **plan.categories}
    entries: list[dict[str, Any]] = []
    first = 0
    total = sum(sum(source.n_cells.values()) for source in tally.sources)
    with progress("writing shards", total) as advance:
        for split, number, blocks in spill.buckets(len(plan.panel)):
            rng = np.random.default_rng([plan.settings.seed, 2, SPLITS.index(split), number])
            shard = make_shard(blocks, rng, split=split, first_cell=first, columns=columns_of(plan))
            name = f"{split}/shard-{sum(e['split'] == split for e in entries):05d}.zarr"
            (corpus / split).mkdir(exist_ok=True)
            entry = write_shard(corpus / name, shard, panel=plan.panel, categories=categories, splits=SPLITS)
            entries.append({"path": name, **entry})
            first += shard.n_cells
            advance(shard.n_cells)
    return entries


def _write_tables(corpus: Path, plan: Plan, tally: Tally, shards: list[dict[str, Any]]) -> None:
    plan.panel.save(corpus / GENES)
    np.save(corpus / MEASURED, plan.measured, allow_pickle=False)
    np.save(corpus / GENE_COUNTS, tally.gene_counts, allow_pickle=False)
    if plan.splits:
        # Cells added later follow this table.
        with (corpus / GROUPS).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t", lineterminator="\n")
            writer.writerow(["group", "source", "split", "cells"])
            for (source, group), n in sorted(plan.group_cells.items()):
                writer.writerow([group, source, plan.splits[group], n])
    panel = plan.panel
    files = [path for path in corpus.rglob("*") if path.is_file()]
    content = {
        "package": f"scssl {__version__}",
        "panel": {
            "name": panel.name,
            "species": panel.species,
            "n_genes": len(panel),
            "fingerprint": panel.fingerprint,
        },
        "sources": [
            {"name": name, "files": names, "n_genes": int(row.sum())}
            for name, names, row in zip(plan.sources, plan.source_files, plan.measured, strict=True)
        ],
        "columns": plan.categories,
        "splits": {split: sum(e["n_cells"] for e in shards if e["split"] == split) for split in SPLITS},
        "next_cell": sum(e["n_cells"] for e in shards),
        "shards": shards,
        "settings": plan.settings.as_dict(),
        "report": tally.as_dict(),
        "files": manifest.file_entries(corpus, files),
    }
    manifest.write_manifest(corpus, content)


def _publish(corpus: Path, out: Path, work: Path) -> None:
    """Move the complete corpus to its place."""
    if out.exists():
        out.replace(work / "replaced")
    try:
        corpus.replace(out)
    except OSError:
        if (work / "replaced").exists():
            (work / "replaced").replace(out)
        raise


def _summary(shards: list[dict[str, Any]]) -> str:
    parts = []
    for split in SPLITS:
        mine = [e for e in shards if e["split"] == split]
        parts.append(f"{split} {sum(e['n_cells'] for e in mine):,} cells in {_number(len(mine), 'shard')}")
    return ", ".join(parts)


def _number(n: int, thing: str) -> str:
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
