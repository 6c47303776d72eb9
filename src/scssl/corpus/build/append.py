"""Add the cells of more files to a corpus on disk, without touching what is there until all is ready."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scssl import __version__
from scssl.corpus.build.create import count_buckets, estimate, refuse_inside, summary
from scssl.corpus.build.duplicates import write_known
from scssl.corpus.build.passes import make_shards
from scssl.corpus.build.plan import Plan, make_plan
from scssl.corpus.build.read import check_first_cells, settle
from scssl.corpus.build.tally import Tally, report_files
from scssl.corpus.build.workers import start_workers
from scssl.corpus.build.workplace import workplace
from scssl.corpus.format import manifest
from scssl.corpus.format.manifest import SPLITS
from scssl.corpus.format.tables import groups_name, table_names, write_groups
from scssl.corpus.settings import BuildSettings
from scssl.errors import SettingsError
from scssl.files import why_unwritable
from scssl.log import logger

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from scssl.corpus.store import Corpus

FREE = (
    "obs",
    "layer",
    "source",
    "measured",
    "where",
    "unlabelled",
    "min_counts",
    "min_genes",
    "max_mito",
    "duplicates",
)
"""Settings that may differ from those of the corpus."""


def append(
    corpus: Corpus,
    files: Sequence[str | Path] | str | Path,
    *,
    workers: int = 1,
    dask: str | None = None,
    **changes: Any,
) -> None:
    """Add cells to a corpus; see `Corpus.append`.

    New shards and tables get names of their own. The manifest, written last and in one step, makes them part of the
    corpus; without it they are no more than files that lie about, which the next call removes.
    """
    if corpus.path is None:
        message = "this corpus is in memory; only one on disk can be added to: make it with Corpus.build"
        raise SettingsError(message)
    out = corpus.path.resolve()
    # As it is now: since it was opened, cells may have been added.
    before = manifest.read_manifest(out)
    corpus = type(corpus).open(out)
    if corpus.digest != before["sha256"]:
        raise _changed(out)
    origins = [files] if isinstance(files, str | Path) else list(files)
    refuse_inside(out, origins)
    _refuse_unwritable(out)
    settings = _settings(corpus, changes)
    plan = make_plan(origins, settings, base=corpus)
    _refuse_again(corpus, plan)
    n_buckets = count_buckets(plan)
    with (
        start_workers(workers=workers, dask=dask) as run,
        workplace(out, fingerprint=f"{__version__} {plan.fingerprint()} {n_buckets} {before['sha256']}") as work,
    ):
        if manifest.read_manifest(out)["sha256"] != before["sha256"]:
            raise _changed(out)
        estimate(plan, work, workers=workers)
        check_first_cells(plan)
        (work / "corpus").mkdir(exist_ok=True)
        n_shards = {split: _next_shard(before, split) for split in SPLITS}

        def find_known(keys: Sequence[Path], rank: NDArray[np.int32], folder: Path) -> int:
            return write_known(corpus, keys, rank, folder)

        tally, shards, written = make_shards(
            plan,
            work,
            run,
            n_buckets=n_buckets,
            first_cell=before["next_cell"],
            n_shards=n_shards,
            find_known=find_known,
        )
        settle(plan, tally)
        content = _content(corpus, before, plan, tally, shards)
        tables = _write_tables(work / "corpus", corpus, plan, tally)
        names = [*tables, *(entry["path"] for entry in shards)]
        _remove_leftovers(out, before, moved={name for name in names if not (work / "corpus" / name).exists()})
        content["files"] = _move(work / "corpus", out, before, names, tables) | written
        manifest.write_manifest(out, content)
        _remove_leftovers(out, content)
    logger.info("added to %s: %s", out, summary(shards))


def _changed(out: Path) -> SettingsError:
    return SettingsError(f"{out}: another process added cells to this corpus just now; try again")


def _refuse_unwritable(out: Path) -> None:
    """Say before the work rather than after it that what comes of it has no place."""
    for place in (out, out / manifest.FILE, *(out / split / "new" for split in SPLITS)):
        if problem := why_unwritable(place):
            message = f"{out}: no cells can be added, the corpus {problem}"
            raise SettingsError(message)


def _settings(corpus: Corpus, changes: dict[str, Any]) -> BuildSettings:
    fixed = [name for name in changes if name not in FREE]
    if fixed:
        message = f"{', '.join(fixed)} cannot be changed when cells are added: settled when the corpus was built"
        raise SettingsError(message)
    known = {f.name for f in fields(BuildSettings)}
    before = {name: value for name, value in corpus.settings.items() if name in known}
    settings = BuildSettings.of(**{**before, **changes, "genes": corpus.panel})
    if settings.kept != list(corpus.categories):
        columns = ", ".join(corpus.categories)
        message = (
            f"obs={','.join(settings.obs)!r} does not fit this corpus, which keeps {columns}; give these, with the "
            "columns that they are found under, e.g. cell_type=annotation"
        )
        raise SettingsError(message)
    return settings


def _refuse_again(corpus: Corpus, plan: Plan) -> None:
    there = {str(Path(entry["file"]).resolve()) for entry in corpus.report["files"]}
    for file in plan.files:
        if str(Path(file.file).resolve()) in there:
            message = f"{file.file}: its cells are in the corpus already"
            raise SettingsError(message)


def _next_shard(content: dict[str, Any], split: str) -> int:
    """Return a number that no shard of a split has yet."""
    return sum(entry["split"] == split for entry in content["shards"])


def _write_tables(folder: Path, corpus: Corpus, plan: Plan, tally: Tally) -> list[str]:
    measured, gene_counts = table_names(plan.layout.generation)
    np.save(folder / measured, plan.measured, allow_pickle=False)
    counts = tally.gene_counts.copy()
    counts[: len(corpus.sources)] += corpus.gene_counts
    np.save(folder / gene_counts, counts, allow_pickle=False)
    tables = [measured, gene_counts]
    if plan.splits:
        cells = Counter({(source, group): n for source, group, _, n in corpus.groups()})
        cells.update(plan.group_cells)
        splits = {group: split for _, group, split, _ in corpus.groups()} | plan.splits
        name = groups_name(plan.layout.generation)
        write_groups(folder / name, [(source, group, splits[group], n) for (source, group), n in cells.items()])
        tables.append(name)
    return tables


def _content(
    corpus: Corpus, before: dict[str, Any], plan: Plan, tally: Tally, shards: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the new manifest, but for its files."""
    entries = tally.sources(plan)
    for entry, old in zip(entries, corpus.report["sources"], strict=False):
        entry["files"] = [*old["files"], *entry["files"]]
        for key, value in old.items():
            if key.startswith(("n_", "counts_")) and key not in ("n_genes", "n_cells"):
                entry[key] = entry.get(key, 0) + value
        entry["n_cells"] = {split: n + old["n_cells"][split] for split, n in entry["n_cells"].items()}
    every = [*before["shards"], *shards]
    return {key: value for key, value in before.items() if key not in ("format", "version", "sha256", "files")} | {
        "package": f"scssl {__version__}",
        "generation": plan.layout.generation,
        "sources": [{key: entry[key] for key in ("name", "files", "n_genes")} for entry in entries],
        "columns": plan.categories,
        "splits": {split: sum(e["n_cells"] for e in every if e["split"] == split) for split in SPLITS},
        "next_cell": sum(e["n_cells"] for e in every),
        "shards": every,
        "additions": [*before.get("additions", []), plan.settings.as_dict()],
        "report": {"files": [*corpus.report["files"], *report_files(plan)], "sources": entries},
    }


def _move(made: Path, out: Path, before: dict[str, Any], names: Sequence[str], tables: Sequence[str]) -> dict[str, Any]:
    """Move new files to their place; return the entries of the files of the old corpus that stay, and of the tables."""
    for name in names:
        if (made / name).exists():
            (out / name).parent.mkdir(exist_ok=True)
            (made / name).replace(out / name)
    generation = before.get("generation", 0)
    old = {*table_names(generation), groups_name(generation)}
    kept = {name: entry for name, entry in before["files"].items() if name not in old}
    return kept | manifest.file_entries(out, [out / name for name in tables])


def _remove_leftovers(out: Path, content: dict[str, Any], *, moved: Collection[str] = ()) -> None:
    """Remove shards and tables that are not part of the corpus: of an older state, or of a call that was killed.

    What this call moved there itself, before it was interrupted, is spared.
    """
    shards = {entry["path"] for entry in content["shards"]} | set(moved)
    for split in SPLITS:
        for folder in (out / split).glob("shard-*.zarr"):
            if folder.relative_to(out).as_posix() not in shards:
                shutil.rmtree(folder)
    for path in out.iterdir():
        table = re.fullmatch(r"(measured|gene_counts)(-\d+)?\.npy|splits(-\d+)?\.tsv", path.name)
        if table and path.name not in content["files"]:
            path.unlink()
