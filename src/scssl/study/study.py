"""The study: whether pre-training helped here, against honest baselines, and by how much."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scssl.corpus.gather import gather as gather_corpus
from scssl.environment import machine, versions
from scssl.errors import DataError, ScsslError, SettingsError
from scssl.log import logger
from scssl.study import outcome
from scssl.study.baselines import get_baseline
from scssl.study.capsule import identify, note_study
from scssl.study.comparing import compare
from scssl.study.estimate import estimate
from scssl.study.fitting import Work, fit_job, make_network, network_config
from scssl.study.hierarchy import place
from scssl.study.leakage import find_leaks, leakage_table, share_of, with_target, without_target
from scssl.study.methods import list_jobs, list_methods, list_networks
from scssl.study.parallel import run_all
from scssl.study.plan import get_plan
from scssl.study.splits import make_splits
from scssl.study.store import FORMAT, SETTINGS, VERSION, open_folder, read_settings, write_atomically
from scssl.study.target import read_target
from scssl.words import count

if TYPE_CHECKING:
    from collections.abc import Collection

    import pandas as pd
    from anndata import AnnData

    from scssl.corpus import Corpus
    from scssl.genes import GenePanel
    from scssl.study.methods import Network
    from scssl.study.plan import Plan
    from scssl.study.splits import Split
    from scssl.study.target import Target
    from scssl.study.verdict import Verdict
    from scssl.training.trainer import Device


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyResult:
    """What a study found."""

    folder: Path
    verdict: Verdict
    scores: pd.DataFrame
    """One row per method and setting: mean over seeds, with interval."""
    differences: pd.DataFrame
    """One row per comparison."""
    per_type: pd.DataFrame
    """One row per type and method."""
    results: pd.DataFrame
    """One row per fit."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What was compared, on what, and what was left out."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, with the verdict and the scores."""
        scores = json.loads(self.scores.to_json(orient="records", double_precision=6))
        differences = json.loads(self.differences.to_json(orient="records", double_precision=6))
        return {
            "folder": str(self.folder),
            **self.verdict.to_dict(),
            "scores": scores,
            "differences": differences,
            "notes": self.settings["notes"],
            "hierarchy": self.settings["hierarchy"],
            "leakage": {name: self.settings["audit"][name] for name in ("verdict", "n_shared", "share", "excluded")},
            "seconds": self.settings["seconds"],
        }


def run(
    data: Corpus | AnnData | Path | str,
    *,
    target: AnnData | Path | str,
    labels: str,
    donor: str,
    out: Path | str,
    plan: str | Plan = "quick",
    source: str | None = None,
    layer: str | None = None,
    genes: str | Path | GenePanel | None = None,
    unlabelled: Collection[str] | None = None,
    ontology: Path | str | None = None,
    terms: Path | str | None = None,
    workers: int = 1,
    threads: int = 1,
    device: Device = "auto",
    overwrite: bool = False,
    command: str = "",
    **changes: Any,
) -> StudyResult:
    """Compare pre-training with honest baselines on the labelled donors of a target.

    Every method is given the same cells, genes and splits; test donors are only ever predicted. A study that was
    stopped goes on where it was when it is asked for again. Results do not depend on `workers`.

    Parameters
    ----------
    data
        Corpus, folder of one, AnnData or file to pre-train on.
    target
        AnnData or file with raw counts, labels and donors.
    labels, donor
        Columns of the target's ``obs``.
    out
        Folder for models, results, tables and the verdict.
    plan
        ``"quick"``, ``"full"`` or a `Plan`.
    source
        Column of the target's ``obs`` that names its data sets: each is then left out once as well.
    layer
        Where the target's counts are.
    genes
        For an AnnData or file to pre-train on: as in `scssl.pretrain`.
    unlabelled
        Names in `labels` that mean "not known".
    ontology
        Cell Ontology in which labels are looked up, so that scores with a kind of the true type counted as right stand
        beside the raw ones: .obo file, ``"bundled"`` for that of the extra `ontology` (taken by default if it is
        installed), or ``"none"``.
    terms
        Table of labels and their terms for labels that the ontology does not know, see `scssl.ontology.read_terms`.
    workers
        Processes to work with.
    threads
        Threads of each.
    device
        Where networks are trained. With a GPU, leave `workers` at 1.
    overwrite
        Throw away what another study left at `out`.
    command
        The command that repeats the study, for the report.
    **changes
        Settings of `Plan` to change, such as ``seeds`` or ``arms``.

    Returns
    -------
    StudyResult
        The verdict and tables, which are also written to `out`: ``verdict.json``, ``scores.csv``,
        ``differences.csv``, ``results.csv``, ``per_type.csv``, ``settings.json``.

    Raises
    ------
    ScsslError
        If data or settings cannot be used.
    KeyboardInterrupt
        If interrupted; what is finished is kept.
    """
    from scssl.tasks.annotate.labels import UNLABELLED

    began = time.time()
    chosen = get_plan(plan, **changes)
    _check_numbers(workers=workers, threads=threads)
    for pretext in (*chosen.pretexts, *chosen.controls):
        network_config(chosen, pretext, seed=0)
    folder, new = Path(out), not Path(out).exists()
    corpus = gather_corpus(data, genes=genes)
    if corpus.path is not None and folder.resolve().is_relative_to(corpus.path.resolve()):
        message = f"{folder} is inside the corpus {corpus.path}; choose another folder for the study"
        raise SettingsError(message)
    cells = read_target(
        target, corpus, labels=labels, donor=donor, source=source, layer=layer,
        unlabelled=UNLABELLED if unlabelled is None else unlabelled,
    )  # fmt: skip
    splits = make_splits(
        cells.codes, cells.donors, folds=chosen.folds, sources=cells.sources, source_names=cells.source_names
    )
    if not splits:
        message = (
            f"{cells.file}: no type in obs[{labels!r}] has cells of two donors in obs[{donor!r}], so none can be both "
            "learned and predicted; choose another column for --labels or --donor"
        )
        raise DataError(message)
    hierarchy = place(cells.classes, ontology=ontology, terms=terms)
    notes = [*cells.notes, *_notes(chosen, splits), *hierarchy.notes, *hierarchy.reached(cells.codes, splits)]
    methods = list_methods(chosen)
    todo = list_jobs(chosen, methods, splits)
    networks = list_networks(todo, methods, chosen)
    identity = identify(corpus, cells, splits, chosen)
    store = open_folder(folder, identity, overwrite=overwrite)
    for note in notes:
        logger.info("%s", note)
    leaks = find_leaks(corpus, target, donor=donor, layer=layer)
    logger.info("%s", leaks["verdict"])
    try:
        corpora = _corpora(corpus, target, networks, leaks, folder=folder, layer=layer)
    except ScsslError:
        if new:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    notes += _exclusions(leaks, corpus, corpora)
    work = Work(
        store=store, plan=chosen, target=cells, splits=splits, methods={m.name: m for m in methods}, corpora=corpora,
        device=device, threads=threads,
    )  # fmt: skip
    missing_networks = [network for network in networks if not work.done(network)]
    missing = [job for job in todo if not store.has(job, n_test=len(splits[job.split].named))]
    logger.info("%s", estimate(work, missing_networks, missing, workers=workers))
    if len(missing) < len(todo):
        logger.info("%d of %d results are there already", len(todo) - len(missing), len(todo))
    run_all(make_network, work, missing_networks, workers=workers, what="networks")
    run_all(fit_job, work, missing, workers=workers, what="fits")

    earlier = read_settings(folder).get("seconds", 0.0)
    results = outcome.gather(
        store, todo, target=cells, splits=splits, plan=chosen, methods=methods, descends=hierarchy.descends
    )
    notes += [f"Left out: {get_baseline(name).title} failed ({why})." for name, why in results.failed.items()]
    scores, per_type = outcome.table_of_scores(results), outcome.table_per_type(results)
    differences, verdict = compare(results)
    settings = {
        "format": FORMAT,
        "version": VERSION,
        "command": command,
        "identity": identity,
        "plan": chosen.to_dict(),
        "hierarchy": hierarchy.settings,
        "target": _describe(cells),
        "corpus": {
            "path": str(data) if isinstance(data, str | Path) else None if corpus.path is None else str(corpus.path),
            "cells": corpus.n_cells(),
            "sources": len(corpus.sources),
            "used": {f"{arm}, {share:.0%}": c.n_cells("train") for (arm, share), c in corpora.items()},
        },
        "splits": [_split(split, cells) for split in splits],
        "methods": [{"name": m.name, "title": m.title, "group": m.group} for m in results.methods],
        "best": {f"{name}, {' / '.join(map(str, s))}": found for (name, s), found in results.best.items()},
        "notes": notes,
        "audit": leaks,
        "workers": workers,
        "threads": threads,
        "device": device,
        "created": datetime.fromtimestamp(began, tz=UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "machine": machine(),
        "seconds": round(float(earlier) + (time.time() - began if missing or missing_networks else 0.0), 1),
    }
    _write(folder, verdict, settings, {
        "scores": scores, "differences": differences, "results": results.jobs, "per_type": per_type,
        "leakage": leakage_table(leaks),
    })  # fmt: skip
    note_study(
        folder, chosen, corpus, identity=identity, verdict=verdict, target=target, labels=labels, donor=donor,
        source=source, layer=layer, unlabelled=UNLABELLED if unlabelled is None else unlabelled,
    )  # fmt: skip
    return StudyResult(
        folder=folder, verdict=verdict, scores=scores, differences=differences, per_type=per_type,
        results=results.jobs, settings=settings,
    )  # fmt: skip


def _corpora(
    corpus: Corpus,
    target: AnnData | Path | str,
    networks: list[Network],
    leaks: dict[str, Any],
    *,
    folder: Path,
    layer: str | None,
) -> dict[tuple[str, float], Corpus]:
    """Make what is pre-trained on, by arm and share of the cells."""
    corpora: dict[tuple[str, float], Corpus] = {}
    for arm in dict.fromkeys(network.arm for network in networks):
        if arm == "excluded":
            whole = without_target(corpus, leaks["excluded"], folder=folder / "work" / arm)
        else:
            whole = with_target(corpus, target, layer=layer)
        for share in dict.fromkeys(n.fraction for n in networks if n.arm == arm):
            corpora[(arm, share)] = share_of(whole, share, folder=folder / "work" / f"{arm}-{share:g}", seed=0)
    return corpora


def _check_numbers(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            message = f"{name} is {value}; give at least 1"
            raise SettingsError(message)


def _notes(plan: Plan, splits: list[Split]) -> list[str]:
    notes = []
    unscored = sum(split.unscored for split in splits if split.scheme == splits[0].scheme)
    if unscored:
        notes.append(
            f"{unscored:,} test cells are not scored by name: their type is not among the cells to learn from."
        )
    for name in plan.extras:
        if not get_baseline(name).installed:
            notes.append(f"Left out: {get_baseline(name).fix}")
    if len(plan.seeds) < 3:
        notes.append(f"{count(len(plan.seeds), 'seed')}: chance between runs is barely covered.")
    return notes


def _exclusions(leaks: dict[str, Any], corpus: Corpus, corpora: dict[tuple[str, float], Corpus]) -> list[str]:
    left = corpora.get(("excluded", 1.0))
    if left is None:
        return []
    gone = corpus.n_cells() - left.n_cells()
    if not gone:
        return ["Nothing of the target was found in the corpus, so pre-training saw the whole corpus."]
    named = leaks["excluded"]
    what = [f"{len(named[kind])} {kind}" for kind in ("donors", "sources") if named[kind]]
    of = f"{gone:,} of {corpus.n_cells():,} cells of the corpus"
    return [f"{of} were left out of pre-training: {' and '.join(what)} of the target."]


def _describe(target: Target) -> dict[str, Any]:
    sizes = np.bincount(target.codes, minlength=len(target.classes))
    per_donor = np.bincount(target.donors, minlength=len(target.donor_names))
    return {
        "file": target.file,
        "cells": target.n_cells,
        "genes": int(target.genes.sum()),
        "types": {name: int(n) for name, n in zip(target.classes, sizes, strict=True)},
        "donors": {name: int(n) for name, n in zip(target.donor_names, per_donor, strict=True)},
        "sources": target.source_names,
    }


def _split(split: Split, target: Target) -> dict[str, Any]:
    tested = [target.donor_names[code] for code in np.unique(target.donors[split.test])]
    return {
        "name": split.name,
        "scheme": split.scheme,
        "train": len(split.train),
        "test": len(split.test),
        "unscored": split.unscored,
        "test_donors": tested,
    }


def _write(folder: Path, verdict: Verdict, settings: dict[str, Any], tables: dict[str, pd.DataFrame]) -> None:
    for name, table in tables.items():
        write_atomically(folder / f"{name}.csv", table.to_csv(index=False))
    write_atomically(folder / "verdict.json", json.dumps(verdict.to_dict(), indent=2))
    write_atomically(folder / SETTINGS, json.dumps(settings, indent=2, default=str))
