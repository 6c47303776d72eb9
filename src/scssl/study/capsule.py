"""The capsule of a study, and whether its scores come out again from its predictions."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from scssl.environment import expanded, shortened
from scssl.errors import ScsslError
from scssl.model.capsule import Finding, read_capsule, write_capsule
from scssl.study import outcome
from scssl.study.methods import list_jobs, list_methods
from scssl.study.plan import Plan
from scssl.study.splits import make_splits
from scssl.study.store import Store, read_settings
from scssl.study.target import read_target

if TYPE_CHECKING:
    from collections.abc import Collection

    from anndata import AnnData

    from scssl.corpus import Corpus
    from scssl.study.splits import Split
    from scssl.study.target import Target
    from scssl.study.verdict import Verdict

CLOSE: Final = 1e-4
"""Difference of scores that are written with five decimals."""


def identify(corpus: Corpus, target: Target, splits: list[Split], plan: Plan) -> dict[str, Any]:
    """Return all that every result depends on; what only adds results, such as more seeds or labels, is not part of it.

    Parameters
    ----------
    corpus, target, splits, plan
        Of the study.
    """
    from scssl import __version__

    digest = hashlib.sha256()
    for part in (target.counts.data, target.counts.indices, target.counts.indptr, target.codes, target.donors):
        digest.update(np.ascontiguousarray(part).tobytes())
    for split in splits:
        digest.update(split.train.tobytes() + split.named.tobytes())
    return {
        "scssl": __version__,
        "corpus": corpus.fingerprint,
        "target": digest.hexdigest(),
        "labels": target.classes if len(target.classes) <= 100 else len(target.classes),
        "preset": plan.preset,
        "overrides": list(plan.overrides),
        "epochs": plan.epochs,
        "folds": plan.folds,
    }


def note_study(
    folder: Path,
    plan: Plan,
    corpus: Corpus,
    *,
    identity: dict[str, Any],
    verdict: Verdict,
    target: AnnData | Path | str,
    labels: str,
    donor: str,
    source: str | None,
    layer: str | None,
    unlabelled: Collection[str],
) -> None:
    """Write the capsule of a study into its folder, which holds everything else.

    Parameters
    ----------
    folder, plan, corpus, identity, verdict
        Of the study.
    target, labels, donor, source, layer, unlabelled
        What it was asked for.
    """
    path = Path(target) if isinstance(target, Path | str) else None
    write_capsule(
        folder,
        what="study",
        settings=plan.to_dict(),
        seeds={"methods": list(plan.seeds)},
        data={
            "corpus": identity["corpus"],
            "target": identity["target"],
            "path": None if corpus.path is None else shortened(corpus.path.resolve()),
            "target_path": None if path is None else shortened(path.resolve()),
            "labels": labels, "donor": donor, "source": source, "layer": layer, "unlabelled": sorted(unlabelled),
        },
        genes={"n": len(corpus.panel), "sha256": corpus.panel.fingerprint, "name": corpus.panel.name},
        metrics={"verdict": verdict.word, "conclusive": verdict.conclusive},
        leave_out=("work",),
    )  # fmt: skip


def recheck(folder: Path) -> list[Finding]:
    """Read corpus and target of a study again, and score its predictions again.

    Parameters
    ----------
    folder
        Folder of a study with a capsule.

    Returns
    -------
    list of Finding
        Whether the cells are those of the study, and whether ``results.csv`` comes out again.

    Raises
    ------
    FormatError
        If the folder cannot be read.
    """
    from scssl.corpus import Corpus

    settings, data = read_settings(folder), (read_capsule(folder) or {}).get("data", {})
    places = [data.get("path"), data.get("target_path")]
    if not all(isinstance(place, str) and expanded(place).exists() for place in places):
        hint = "its corpus, or its target, is no longer where the study read it"
        unknown = "not recomputed: that takes the labels of the target"
        return [Finding(what=what, state="unknown", text=text) for what, text in (("data", hint), ("metrics", unknown))]
    try:
        corpus = Corpus.open(expanded(places[0]))
        target = read_target(
            expanded(places[1]), corpus, labels=data["labels"], donor=data["donor"], source=data["source"],
            layer=data["layer"], unlabelled=data["unlabelled"],
        )  # fmt: skip
        known: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in settings["plan"].items()}
        plan = Plan(**known)
        splits = make_splits(
            target.codes, target.donors, folds=plan.folds, sources=target.sources, source_names=target.source_names
        )
    except (ScsslError, KeyError, TypeError) as error:
        return [Finding(what="data", state="differs", text=f"the study cannot be read again: {error}")]
    recorded = settings["identity"]
    now = json.loads(json.dumps(identify(corpus, target, splits, plan)))
    other = [name for name in recorded if name != "scssl" and now.get(name) != recorded[name]]
    if other:
        text = f"{' and '.join(places)} are not what was studied ({', '.join(other)} differ)"
        return [Finding(what="data", state="differs", text=text)]
    fingerprint = hashlib.sha256(json.dumps(recorded, sort_keys=True).encode()).hexdigest()
    found = Finding(what="data", state="same", text="corpus and target are those that were studied")
    return [found, _scores(Store(folder, fingerprint=fingerprint), target, splits, plan)]


def _scores(store: Store, target: Target, splits: list[Split], plan: Plan) -> Finding:
    """Score what was predicted again, and compare with the table."""
    methods = list_methods(plan)
    file = store.folder / "results.csv"
    try:
        written = pd.read_csv(file)
        jobs = outcome.gather(
            store, list_jobs(plan, methods, splits), target=target, splits=splits, plan=plan, methods=methods
        ).jobs
        names = list(outcome.NAMES.values())
        far = np.abs(jobs[names].to_numpy() - written[names].to_numpy()).max(axis=1) > CLOSE
    except (OSError, ValueError, KeyError, ScsslError) as error:
        return Finding(what="metrics", state="differs", text=f"{file.name} cannot be compared: {error}")
    if far.any():
        text = f"{far.sum()} of {len(far)} fits score otherwise than {file.name} says"
        return Finding(what="metrics", state="differs", text=text)
    text = f"{len(far)} fits score as {file.name} says; networks were not trained again"
    return Finding(what="metrics", state="same", text=text)
