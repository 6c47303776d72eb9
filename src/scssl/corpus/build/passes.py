"""The two passes of a build, in pieces that are done once each, in any order and by any process.

Every piece ends by writing a report of its own; one whose report is there is not done again.
"""

from __future__ import annotations

import errno
import json
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.corpus.build.copies import gene_order
from scssl.corpus.build.duplicates import ENDING, KeyWriter, find_dropped, key_ranges, read_range
from scssl.corpus.build.memory import make_shard
from scssl.corpus.build.read import Block, columns_of, read_part
from scssl.corpus.build.spill import Spill, read_bucket
from scssl.corpus.build.tally import Tally
from scssl.corpus.build.workplace import keep_alive
from scssl.corpus.format import manifest
from scssl.corpus.format.manifest import SPLITS
from scssl.corpus.format.shard import SOURCE, write_shard
from scssl.log import logger, progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from scssl.corpus.build.plan import FilePlan, Layout, Part, Plan
    from scssl.corpus.build.workers import Run
    from scssl.genes import GenePanel

SPILL_SHARE: Final = 0.5
"""What the first pass writes, as a share of the size of the counts as they are."""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What every piece of work needs."""

    work: Path
    layout: Layout
    panel: GenePanel
    columns: list[str]
    first_bucket: NDArray[np.int64]
    """(n_splits + 1,) number of the first bucket of each split, and of all."""
    rank: NDArray[np.int32] | None
    """(n_genes,) order of the sketches; None where copies are kept."""

    def report(self, kind: str, number: int) -> Path:
        """Where the report of a piece is, without its ending."""
        return self.work / kind / f"{number:06d}"


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """A shard to write."""

    bucket: int
    split: int
    """Position in `SPLITS`."""
    first_cell: int
    path: str
    """In the corpus."""
    dropped: NDArray[np.int64]
    """Cells to leave out."""


def make_shards(
    plan: Plan,
    work: Path,
    run: Run,
    *,
    n_buckets: Sequence[int],
    first_cell: int = 0,
    n_shards: Mapping[str, int] | None = None,
    find_known: Callable[[Sequence[Path], NDArray[np.int32], Path], int] | None = None,
) -> tuple[Tally, list[dict[str, Any]], dict[str, Any]]:
    """Read all files of a plan and write their cells as shards.

    Parameters
    ----------
    plan
        What to read.
    work
        Folder to work in; the shards come to lie in its folder ``corpus``.
    run
        Does the pieces of work.
    n_buckets
        Shards aimed at, per split of `SPLITS`.
    first_cell
        Number of the first cell.
    n_shards
        Shards that each split has already.
    find_known
        Writes, to a folder, the records of cells that are in the corpus already, of those whose keys are in the files
        given; returns how many.

    Returns
    -------
    tally
        What became of the cells.
    entries
        Of the shards, for the manifest.
    files
        Sizes and checksums of the shards' files, for the manifest.
    """
    for folder in ("parts", "shards"):
        (work / folder).mkdir(exist_ok=True)
    rank = gene_order(plan.panel.ids.tolist(), plan.measured) if plan.settings.duplicates == "drop" else None
    shared = Shared(
        work=work,
        layout=plan.layout,
        panel=plan.panel,
        columns=columns_of(plan),
        first_bucket=np.concatenate([[0], np.cumsum(n_buckets)]),
        rank=rank,
    )
    tally, bucket_cells = _read(plan, shared, run)
    dropped = np.empty(0, dtype=[("bucket", "<i4"), ("cell", "<i8")])
    if rank is not None:
        dropped = _find_copies(shared, run, n_cells=int(tally.n_cells.sum()), find_known=find_known)
    jobs = _shard_jobs(bucket_cells, dropped, shared.first_bucket, first_cell, n_shards or {})
    entries: list[dict[str, Any]] = []
    files: dict[str, Any] = {}
    for report in _write(shared, run, jobs, tally):
        entries.append(report["entry"])
        files |= report["files"]
    return tally, entries, files


def _read(plan: Plan, shared: Shared, run: Run) -> tuple[Tally, NDArray[np.int64]]:
    """First pass: the cells of all parts into buckets."""
    todo = [part for part in plan.parts if not _parts_report(shared, part).is_file()]
    if len(todo) < len(plan.parts):
        done = len(plan.parts) - len(todo)
        logger.info("going on with what was interrupted: %d of %d parts are read", done, len(plan.parts))
    with progress("reading cells", sum(part.stop - part.start for part in plan.parts)) as advance:
        advance(sum(part.stop - part.start for part in plan.parts) - sum(part.stop - part.start for part in todo))
        for part in run(read_piece, shared, ((part, plan.files[part.file]) for part in todo)):
            keep_alive(shared.work)
            advance(part.stop - part.start)
    tally = Tally.empty(*plan.measured.shape, present=np.arange(len(plan.sources)))
    bucket_cells = np.zeros(int(shared.first_bucket[-1]), dtype=np.int64)
    seen = np.zeros((len(plan.files), 2))
    for part in plan.parts:
        piece = Tally.read(_parts_report(shared, part))
        tally.add(piece)
        seen[part.file] += piece.seen
        bucket_cells += np.load(_bucket_cells(shared, part), allow_pickle=False)
    for file, counts in zip(plan.files, seen, strict=True):
        file.genes.judge(counts)
    return tally, bucket_cells


def _parts_report(shared: Shared, part: Part) -> Path:
    return shared.report("parts", part.number).with_suffix(".npz")


def _bucket_cells(shared: Shared, part: Part) -> Path:
    return shared.report("parts", part.number).with_suffix(".cells.npy")


@contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """Say where a file could not be written: numpy tells of a full disk without its name."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno not in (None, errno.ENOSPC):
            raise
        raise OSError(errno.ENOSPC, "the disk is full", str(folder)) from error


def read_piece(shared: Shared, job: tuple[Part, FilePlan]) -> Part:
    """Read one part of a file into buckets."""
    with _naming(shared.work):
        return _read_piece(shared, job)


def _read_piece(shared: Shared, job: tuple[Part, FilePlan]) -> Part:
    part, file = job
    layout = shared.layout
    present = np.unique(np.array(sorted(set(file.sources.values())), dtype=np.int64))
    tally = Tally.empty(len(layout.sources), layout.n_genes, present=present)
    path = shared.report("parts", part.number)
    spill = Spill(path, first_bucket=shared.first_bucket, key=[layout.settings.seed, 3, layout.generation])
    keys = KeyWriter(shared.rank) if shared.rank is not None else None
    for block in read_part(layout, file, part, tally):
        bucket = spill.add(block)
        if keys is not None:
            keys.add(block, bucket)
    spill.flush()
    if keys is not None:
        np.save(path.with_name(path.name + ENDING), keys.sorted(), allow_pickle=False)
    np.save(_bucket_cells(shared, part), spill.n_cells, allow_pickle=False)
    _finish(_parts_report(shared, part), tally.write)
    return part


def _finish(path: Path, write: Callable[[Path], None]) -> None:
    """Write a report in one step: it is there completely or not at all."""
    temporary = path.with_name(f".{path.name}")
    write(temporary)
    temporary.replace(path)


def _find_copies(
    shared: Shared,
    run: Run,
    *,
    n_cells: int,
    find_known: Callable[[Sequence[Path], NDArray[np.int32], Path], int] | None,
) -> NDArray[Any]:
    """Between the passes: cells that are copies of others, by bucket."""
    path = shared.work / "dropped.npy"
    if not path.is_file():
        assert shared.rank is not None
        files = sorted((shared.work / "parts").glob(f"*{ENDING}"))
        (shared.work / "known").mkdir(exist_ok=True)
        n_known = find_known(files, shared.rank, shared.work / "known") if find_known is not None else 0
        found = []
        with progress("comparing cells", n_cells) as advance:
            ranges = key_ranges(n_cells + n_known)
            for copies in run(compare_piece, shared, ranges):
                keep_alive(shared.work)
                advance(n_cells // len(ranges))
                found.append(copies)
        dropped = np.concatenate(found)
        dropped = dropped[np.lexsort((dropped["cell"], dropped["bucket"]))]
        _finish(path, lambda to: _save(to, dropped))
    return np.asarray(np.load(path, allow_pickle=False))


def _save(path: Path, array: NDArray[Any]) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def compare_piece(shared: Shared, keys: tuple[int, int]) -> NDArray[Any]:
    """Find the copies among the cells with keys in a range; return their buckets and numbers."""
    first, last = keys
    files = sorted((shared.work / "parts").glob(f"*{ENDING}"))
    known = list(read_range(sorted((shared.work / "known").glob(f"*{ENDING}")), first, last))
    assert shared.rank is not None
    copies = find_dropped([*read_range(files, first, last)], shared.rank, shared.layout.measured, known=known)
    found = np.empty(len(copies), dtype=[("bucket", "<i4"), ("cell", "<i8")])
    found["bucket"], found["cell"] = copies["bucket"], copies["cell"]
    return found


def _shard_jobs(
    bucket_cells: NDArray[np.int64],
    dropped: NDArray[Any],
    first_bucket: NDArray[np.int64],
    first_cell: int,
    n_shards: Mapping[str, int],
) -> list[ShardJob]:
    edges = np.searchsorted(dropped["bucket"], np.arange(len(bucket_cells) + 1))
    jobs = []
    for position, split in enumerate(SPLITS):
        number = n_shards.get(split, 0)
        for bucket in range(int(first_bucket[position]), int(first_bucket[position + 1])):
            gone = dropped["cell"][edges[bucket] : edges[bucket + 1]]
            left = int(bucket_cells[bucket]) - gone.size
            # A bucket without cells becomes no shard, but what was dropped from it is counted.
            path = f"{split}/shard-{number:05d}.zarr" if left else ""
            if bucket_cells[bucket]:
                jobs.append(
                    ShardJob(bucket=bucket, split=position, first_cell=first_cell, path=path, dropped=np.array(gone))
                )
            first_cell += left
            number += left > 0
    return jobs


def _write(shared: Shared, run: Run, jobs: Sequence[ShardJob], tally: Tally) -> list[dict[str, Any]]:
    """Second pass: every bucket into a shard; what was dropped is taken off the tally."""
    reports = {job.bucket: shared.report("shards", job.bucket).with_suffix(".json") for job in jobs}
    todo = [job for job in jobs if not reports[job.bucket].is_file()]
    if len(todo) < len(jobs):
        logger.info("going on with what was interrupted: %d of %d shards are written", len(jobs) - len(todo), len(jobs))
    with progress("writing shards", len(jobs), unit="shards") as advance:
        advance(len(jobs) - len(todo))
        for _ in run(write_piece, shared, todo):
            keep_alive(shared.work)
            advance(1)
    for job in jobs:
        if job.dropped.size:
            tally.drop(Tally.read(shared.report("shards", job.bucket).with_suffix(".npz")))
    return [json.loads(reports[job.bucket].read_text()) for job in jobs if job.path]


def write_piece(shared: Shared, job: ShardJob) -> None:
    """Write one bucket as a shard."""
    with _naming(shared.work):
        _write_piece(shared, job)


def _write_piece(shared: Shared, job: ShardJob) -> None:
    layout, split = shared.layout, SPLITS[job.split]
    report = shared.report("shards", job.bucket)
    blocks: list[Block] = []
    for block in read_bucket(shared.work / "parts", job.bucket, split=job.split, n_genes=layout.n_genes):
        blocks.append(block)
    if job.dropped.size:
        blocks = _drop(shared, blocks, job.dropped, report.with_suffix(".npz"))
    content: dict[str, Any] = {}
    if job.path:
        # Random in the corpus as a whole, whatever the number of the bucket stands for.
        rng = np.random.default_rng([layout.settings.seed, 2, layout.generation, job.bucket])
        shard = make_shard(blocks, rng, split=split, first_cell=job.first_cell, columns=shared.columns)
        corpus = shared.work / "corpus"
        folder = corpus / job.path
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(exist_ok=True)
        entry = write_shard(
            folder,
            shard,
            panel=shared.panel,
            categories={SOURCE: layout.sources, **layout.categories},
            splits=SPLITS,
            compress=layout.settings.compress,
        )
        files = manifest.file_entries(corpus, [path for path in folder.rglob("*") if path.is_file()])
        content = {"entry": {"path": job.path, **entry}, "files": files}
    _finish(report.with_suffix(".json"), lambda path: _write_json(path, content))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _drop(shared: Shared, blocks: list[Block], dropped: NDArray[np.int64], path: Path) -> list[Block]:
    """Leave out some cells, and write down what is lost with them."""
    layout, kept = shared.layout, []
    lost = Tally.empty(len(layout.sources), layout.n_genes, present=np.arange(len(layout.sources)))
    for block in blocks:
        gone = np.isin(block.cell, dropped)
        part = block.take(np.flatnonzero(gone))
        if part.cell.size:
            lost.count(part.X, part.codes[:, 0], part.split, part.n_counts)
        if not gone.all():
            kept.append(block.take(np.flatnonzero(~gone)) if gone.any() else block)
    _finish(path, lost.write)
    return kept
