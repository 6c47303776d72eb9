"""One run: pre-train a variant (or fit the simple baselines), score it on the corpus' targets, keep the scores."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import protocol
from benchmarks.recipes import roles, scoring
from benchmarks.recipes.variants import ADAPTED, ALONE, BOTH, PEER, SIMPLE, START, VARIANTS

if TYPE_CHECKING:
    import anndata as ad
    from numpy.typing import NDArray

    from benchmarks.recipes.variants import Variant
    from scssl import CellModel

REACTOME = "human_reactome_v2025.gmt"
READOUTS = ("knn", "probe:0.1")
"""Of models; the penalty of the probe was chosen on development data, as those of the baselines."""
OWN_COMPONENTS = 20
"""Of the target's PCA; more are worse on development data, alone and beside a code."""
MOST_SEEN = 1_200_000
"""Cells that a run on a corpus of a chosen size sees, at most; it has two epochs at least."""


@dataclass(frozen=True)
class Job:
    """What one process does."""

    corpus: str
    variant: str
    seed: int
    work: str
    cells: int = 0
    """Training cells of the corpus to keep; 0 for all."""

    @property
    def result(self) -> Path:
        """Where its scores are kept."""
        slug = "".join(c if c.isalnum() else "_" for c in self.variant)
        size = f".{self.cells}" if self.cells else ""
        return Path(self.work) / "rows" / self.corpus / f"{slug}{size}@{self.seed}.json"


def run(job: Job) -> str:
    """Do a job, keep its scores, and return a line about it."""
    import torch

    torch.set_num_threads(1)
    started = time.process_time()
    rows = simple_rows(job) if job.variant == SIMPLE else variant_rows(job)
    common = {
        "corpus": job.corpus,
        "variant": job.variant,
        "seed": job.seed,
        "cells": job.cells,
        "cpu_seconds": round(time.process_time() - started, 1),
    }
    job.result.parent.mkdir(parents=True, exist_ok=True)
    part = job.result.with_suffix(".part")
    part.write_text(json.dumps([{**common, **row} for row in rows]))
    part.replace(job.result)
    few = [row for row in rows if row["n_labels"] == "10"]
    best = {t.name: max(np.mean(r["draws"]).round(3) for r in few if r["target"] == t.name) for t in targets(job)}
    return f"{common['cpu_seconds']} s {best}"


def targets(job: Job) -> tuple[roles.Target, ...]:
    """Return what a job scores."""
    return roles.targets_of(job.corpus)


def simple_rows(job: Job) -> list[dict[str, Any]]:
    """Score the baselines that need no network."""
    from benchmarks.recipes import simple

    folder = Path(job.work)
    rows: list[dict[str, Any]] = []
    for target in targets(job):
        rows += [{"target": target.name, **row} for row in simple.score_target(target, folder)]
    corpus = roles.open_corpus(job.corpus, folder, cells=job.cells)
    return rows + simple.score_corpus_pca(corpus, targets(job), folder)


def variant_rows(job: Job) -> list[dict[str, Any]]:
    """Pre-train, embed the targets, and score the embeddings."""
    import anndata as ad

    import scssl

    variant = VARIANTS[job.variant]
    if variant.kind == PEER:
        return peer_rows(job)
    if variant.kind == BOTH:
        return both_rows(job, variant.base)
    base = VARIANTS[variant.base or job.variant]
    quiet = {"split_by": "cell", "seed": job.seed, "overrides": ["training.probe_every=100000"]}
    rows: list[dict[str, Any]] = []
    for target in targets(job):
        adata = ad.read_h5ad(target.path(Path(job.work)))
        if variant.kind == ALONE:
            panel = roles.open_corpus(job.corpus, Path(job.work)).panel
            # As many steps as an adapted model takes on these cells.
            used = scssl.pretrain(adata, genes=panel, max_epochs=alone(adata), **quiet)
        else:
            used = pretrained(job, base, target=target.name)
        if variant.kind == ADAPTED:
            used = scssl.pretrain(adata, init=used, **quiet)
        rows += score(job, target, [used.embed(adata)], adata)
    return rows


def pretrained(job: Job, variant: Variant, *, target: str) -> CellModel:
    """Pre-train a variant, or load it if that was done before."""
    import scssl
    from benchmarks.recipes import levers  # noqa: F401 (registers)

    slug = replace(job, variant=variant.name).result
    own = variant.genes == roles.OWN
    genes = f"{roles.OWN}{target}" if own else variant.genes
    path = Path(job.work) / "models" / slug.parent.name / (slug.stem + (f".{target.replace(' ', '_')}" if own else ""))
    if path.exists():
        return scssl.load(path)
    corpus = roles.open_corpus(job.corpus, Path(job.work), genes=genes, cells=job.cells)
    overrides = [c.replace("REACTOME", str(protocol.DATA.parent / "genesets" / REACTOME)) for c in variant.changes]
    start = START if variant.preset == "default" else ()
    model = scssl.pretrain(
        corpus,
        preset=variant.preset,
        pretext=variant.pretext,
        max_epochs=min(variant.epochs, max(2, MOST_SEEN // max(job.cells, 1))) if job.cells else variant.epochs,
        seed=job.seed,
        overrides=[*start, *overrides, "training.probe_every=100000"],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    model.save(part)
    if not path.exists():
        part.rename(path)
    return model


def both_rows(job: Job, base: str) -> list[dict[str, Any]]:
    """Score the codes of a model and of its adapted self, which earlier runs kept, beside each other."""
    import anndata as ad

    rows: list[dict[str, Any]] = []
    for target in targets(job):
        kept = [codes_of(replace(job, variant=name), target) for name in (base, f"{base}, adapted")]
        adata = ad.read_h5ad(target.path(Path(job.work)))
        rows += score(job, target, [np.load(path) for path in kept], adata)
    return rows


def codes_of(job: Job, target: roles.Target) -> Path:
    """Return where the codes of a target are kept."""
    return Path(f"{job.result.with_suffix('')}.{target.name.replace(' ', '_')}.npy")


def peer_rows(job: Job) -> list[dict[str, Any]]:
    """Train scVI on the corpus, and score what it makes of the targets."""
    import anndata as ad

    from benchmarks.recipes.peers import scvi_codes

    adatas = [ad.read_h5ad(target.path(Path(job.work))) for target in targets(job)]
    corpus = roles.open_corpus(job.corpus, Path(job.work), cells=job.cells)
    found = scvi_codes(corpus, adatas, seed=job.seed, latent=30)
    scored = zip(targets(job), found, adatas, strict=True)
    return [row for target, codes, adata in scored for row in score(job, target, [codes], adata)]


def alone(adata: ad.AnnData) -> int:
    """Return the epochs in which a network that starts afresh takes about 1,000 steps of 64 cells or more."""
    return max(1, round(1000 / max(1, min(100, adata.n_obs // 64))))


def score(job: Job, target: roles.Target, codes: list[NDArray[np.float32]], adata: ad.AnnData) -> list[dict[str, Any]]:
    """Keep the codes of a target, and score what can be made of them."""
    from benchmarks.recipes.simple import own_pca

    cells = scoring.labelled(target, adata.obs)
    job.result.parent.mkdir(parents=True, exist_ok=True)
    if len(codes) == 1:
        np.save(codes_of(job, target), codes[0])
    rows: list[dict[str, Any]] = []
    for use, values in scoring.uses(codes, own_pca(adata, n=OWN_COMPONENTS)).items():
        found = scoring.score_embedding(values[cells.rows], cells, readouts=READOUTS)
        rows += [{"target": target.name, "use": use, **row} for row in found]
    return rows
