"""Build a corpus on disk: two passes over the cells, in bounded memory, resumable, visible only when complete."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl import __version__
from scssl.corpus.build.passes import SPILL_SHARE, make_shards
from scssl.corpus.build.plan import Plan, make_plan
from scssl.corpus.build.read import check_first_cells, settle
from scssl.corpus.build.tally import Tally, report_files
from scssl.corpus.build.workers import start_workers
from scssl.corpus.build.workplace import publish_done, workplace
from scssl.corpus.format import manifest
from scssl.corpus.format.manifest import SPLITS
from scssl.corpus.format.tables import GENES, groups_name, table_names, write_groups
from scssl.corpus.store import Corpus
from scssl.errors import DataError, SettingsError
from scssl.log import logger
from scssl.words import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scssl.corpus.settings import BuildSettings

SHARD_BYTES: Final = 128 << 20
"""Aimed size of a shard."""
BYTES_PER_NONZERO: Final = 4
BYTES_PER_CELL: Final = 100
COMPRESSED_SHARE: Final = 0.3
"""Of the size of the counts as they are."""
SECONDS_PER_NONZERO: Final = 1.2e-7
"""From builds of gzip-compressed h5ad on one core."""
MEMORY_GB: Final = 1.4
"""What each process of a build takes, whatever its size (chunks of 4,096 cells with 2,000 nonzeros each)."""


def build(
    files: Sequence[str | Path] | str | Path,
    out: str | Path,
    *,
    settings: BuildSettings,
    overwrite: bool = False,
    workers: int = 1,
    dask: str | None = None,
) -> None:
    """Build a corpus; see `Corpus.build`.

    First pass: parts of the files are read in chunks, checked, brought to the panel, and their cells written to random
    buckets of their split. Second pass: one bucket at a time is loaded, put in random order and written as a shard.
    Together that is a uniformly random order of the cells of each split, and it depends on the seed alone.
    """
    origins = [files] if isinstance(files, str | Path) else list(files)
    # Where links and ".." really lead: the work folder lies beside it, and one rename puts the corpus there.
    out = Path(out).resolve()
    _check_out(out, origins, overwrite=overwrite)
    plan = make_plan(origins, settings)
    n_buckets = count_buckets(plan)
    with (
        start_workers(workers=workers, dask=dask) as run,
        workplace(out, fingerprint=f"{__version__} {plan.fingerprint()} {n_buckets}") as work,
    ):
        estimate(plan, work, workers=workers)
        check_first_cells(plan)
        corpus = work / "corpus"
        corpus.mkdir(exist_ok=True)
        tally, shards, written = make_shards(plan, work, run, n_buckets=n_buckets)
        settle(plan, tally)
        _write_tables(corpus, plan, tally, shards, written)
        # What cannot be opened takes nobody's place.
        Corpus.open(corpus)
        _publish(corpus, out, work)
    logger.info("built %s: %s", out, summary(shards))


def _check_out(out: Path, origins: Sequence[str | Path], *, overwrite: bool) -> None:
    refuse_inside(out, origins)
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
        message = (
            f"{out}: a corpus exists there; choose another --out, replace it with --overwrite, or add cells to it with "
            "scssl corpus append"
        )
        raise SettingsError(message)


def refuse_inside(out: Path, origins: Sequence[str | Path]) -> None:
    """Refuse to read what is going to be written.

    Raises
    ------
    SettingsError
        If a file lies in the corpus, or the corpus in a file's folder.
    """
    for origin in origins:
        place = Path(origin).resolve()
        if place.is_relative_to(out) or out.is_relative_to(place):
            message = f"{out}: {origin}, which goes in, lies there and would be changed; choose another place"
            raise SettingsError(message)


def count_buckets(plan: Plan) -> list[int]:
    """Per split, as many buckets as shards of the aimed size are expected."""
    settings = plan.settings
    if settings.by_cell:
        share = [1 - settings.val - settings.test, settings.val, settings.test]
    else:
        cells = Counter(dict.fromkeys(SPLITS, 0))
        for (_, group), n in plan.group_cells.items():
            cells[plan.splits[group]] += n
        share = [cells[split] / plan.n_cells for split in SPLITS]
    size = plan.n_nonzeros * BYTES_PER_NONZERO
    return [max(1, math.ceil(part * size / SHARD_BYTES)) for part in share]


def estimate(plan: Plan, work: Path, *, workers: int) -> None:
    """Say what the build will take, and refuse when the disk is too small.

    Raises
    ------
    DataError
        If the disk is too small.
    """
    counts = plan.n_nonzeros * BYTES_PER_NONZERO
    final = counts * (COMPRESSED_SHARE if plan.settings.compress else 1) + plan.n_cells * BYTES_PER_CELL
    between = counts * SPILL_SHARE + plan.n_cells * 2 * BYTES_PER_CELL + SHARD_BYTES
    there = sum(path.stat().st_size for path in work.rglob("*") if path.is_file())
    free = shutil.disk_usage(work).free
    logger.info(
        "%s of %s in %s, %s: up to %s on disk, and %s while it is built (%.0f GB free); %.1f GB of memory%s, about %s",
        count(plan.n_cells, "cell"),
        count(len(plan.sources), "source"),
        count(len(plan.files), "file"),
        count(len(plan.panel), "gene"),
        _size(final),
        _size(between),
        free / 1e9,
        MEMORY_GB,
        f" for each of {workers} processes" if workers > 1 else "",
        _duration(plan.n_nonzeros * SECONDS_PER_NONZERO / workers),
    )
    if final + between > free + there:
        message = (
            f"{work.parent}: {free / 1e9:.1f} GB are free, up to {(final + between - there) / 1e9:.1f} GB are needed. "
            "Free some space, or choose an --out on another disk"
        )
        raise DataError(message)


def _write_tables(corpus: Path, plan: Plan, tally: Tally, shards: list[dict[str, Any]], files: dict[str, Any]) -> None:
    measured, gene_counts = table_names(0)
    plan.panel.save(corpus / GENES)
    np.save(corpus / measured, plan.measured, allow_pickle=False)
    np.save(corpus / gene_counts, tally.gene_counts, allow_pickle=False)
    tables = [GENES, measured, gene_counts]
    if plan.splits:
        rows = [(source, group, plan.splits[group], n) for (source, group), n in plan.group_cells.items()]
        write_groups(corpus / groups_name(0), rows)
        tables.append(groups_name(0))
    panel = plan.panel
    content = {
        "package": f"scssl {__version__}",
        "generation": 0,
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
        "report": {"files": report_files(plan), "sources": tally.sources(plan)},
        "files": manifest.file_entries(corpus, [corpus / name for name in tables]) | files,
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
    # Interrupted while the rest is removed, it would else be taken for a build that is nearly done.
    publish_done(work)


def summary(shards: Sequence[dict[str, Any]]) -> str:
    """Cells and shards per split, in words."""
    parts = []
    for split in SPLITS:
        mine = [e for e in shards if e["split"] == split]
        parts.append(f"{split} {count(sum(e['n_cells'] for e in mine), 'cell')} in {count(len(mine), 'shard')}")
    return ", ".join(parts)


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
