"""The demonstration: simulated and real cells through every step, scored against PCA on the same reference."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scssl.cli._demo_report import ATLAS, FEW, MODEL, PBMC, PCA, cell_sections, first_sections, tell
from scssl.log import logger
from scssl.report.run import Run

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

    from scssl.corpus import Corpus
    from scssl.model.cell_model import CellModel
    from scssl.tasks import Annotation
    from scssl.tasks.annotate.settings import Calibrate

STEPS = 7


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Sizes of the demonstration. The defaults fit two cores and three minutes."""

    n_cells: int = 8000
    n_genes: int = 2000
    n_types: int = 12
    n_studies: int = 4
    n_donors: int = 24
    epochs: int = 20
    test: float = 0.25
    """Share of the donors' cells that the model never sees."""
    k: int = 5
    """Neighbours that vote."""
    few: int = 10
    """Labelled cells per type where labels are few."""
    draws: int = 5
    """Such cells are drawn anew this many times; scores are means over the draws."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Query cells, and the labelled cells that both methods get."""

    name: str
    query: AnnData
    references: list[AnnData]
    """Labelled cells; several draws are averaged over."""
    unlabelled: AnnData
    """Cells that PCA may use without their labels."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One method on one comparison."""

    row: dict[str, Any]
    annotation: Annotation
    """That of the first reference."""


def run_demo(out: Path, *, plan: Plan, command: str) -> Run:
    """Run the demonstration.

    Parameters
    ----------
    out
        Folder for everything that is made; it exists and is empty.
    plan
        Sizes.
    command
        The command that repeats it, for the report.

    Returns
    -------
    Run
        What was done; saved in `out`, with its tables and ``report.html``.
    """
    from scssl import pretrain
    from scssl.model.capsule import write_capsule
    from scssl.report import umap, write_page

    run = Run(title="scssl demo: what self-supervised pre-training does with cells", command=command)
    with run.step(_say(1, "simulate an atlas, read the real PBMC cells")):
        atlas, files, halves = _inputs(out / "data", plan)
    with run.step(_say(2, "build the corpus")):
        corpus = _corpus(files, out / "corpus", plan)
    with run.step(_say(3, "pre-train, without labels")):
        model = pretrain(
            corpus,
            max_epochs=plan.epochs,
            seed=plan.seed,
            out=out / "model",
        )
    with run.step(_say(4, "embed and annotate, pre-trained model")):
        comparisons = _comparisons(atlas, halves, corpus=corpus, plan=plan)
        by_model = {c.name: _by_model(c, model=model, plan=plan) for c in comparisons}
    with run.step(_say(5, "annotate, PCA on the same reference")):
        by_pca = {c.name: _by_pca(c, model=model, plan=plan) for c in comparisons}
    with run.step(_say(6, "lay the cells out (UMAP)")):
        layouts = {name: umap(by_model[name].annotation.embedding, seed=plan.seed) for name in (ATLAS, PBMC)}
    _say(7, "write the report")
    scores = pd.DataFrame([scored[c.name].row for c in comparisons for scored in (by_model, by_pca)])
    scores.to_csv(out / "scores.csv", index=False)
    shutil.copyfile(out / "model" / "history.csv", out / "history.csv")
    run.sections = first_sections(plan)
    for name, stem in ((ATLAS, "atlas"), (PBMC, "pbmc")):
        query = next(c.query for c in comparisons if c.name == name)
        run.sections += cell_sections(out, stem, name, by_model[name].annotation, layouts[name], query)
    tell(run, scores, corpus=corpus, model=model, plan=plan)
    run.save(out)
    write_capsule(
        out,
        what="demo",
        settings=asdict(plan),
        seeds={"all": plan.seed},
        data={"corpus": corpus.fingerprint},
        genes={"n": len(corpus.panel), "sha256": corpus.panel.fingerprint, "name": corpus.panel.name},
        metrics={"scores": scores.to_dict("records")},
        # They have checksums of their own.
        leave_out=("corpus", "model"),
    )
    write_page(run, folder=out)
    return run


def _say(step: int, what: str) -> str:
    logger.info("[%d/%d] %s", step, STEPS, what)
    return what


def _inputs(folder: Path, plan: Plan) -> tuple[AnnData, list[Path], tuple[AnnData, AnnData]]:
    """Write one file per simulated study and one half of the real cells; the other half is for the test."""
    from sklearn.model_selection import train_test_split

    from scssl.datasets import pbmc68k, simulate_atlas

    folder.mkdir()
    atlas = simulate_atlas(
        plan.n_cells,
        plan.n_genes,
        n_types=plan.n_types,
        n_studies=plan.n_studies,
        n_donors=plan.n_donors,
        seed=plan.seed,
    )
    pbmc = pbmc68k()
    pbmc.obs["donor"] = pd.Categorical(["pbmc68k_donor"] * pbmc.n_obs)
    known, new = train_test_split(
        np.arange(pbmc.n_obs), test_size=0.5, stratify=pbmc.obs["cell_type"], random_state=plan.seed
    )
    halves = (pbmc[np.sort(known)].copy(), pbmc[np.sort(new)].copy())
    parts = {str(study): atlas[atlas.obs["study"] == study] for study in atlas.obs["study"].cat.categories}
    files = []
    for name, part in {**parts, "pbmc_reference": halves[0]}.items():
        files.append(folder / f"{name}.h5ad")
        part.write_h5ad(files[-1])
    halves[1].write_h5ad(folder / "pbmc_query.h5ad")
    return atlas, files, halves


def _corpus(files: list[Path], out: Path, plan: Plan) -> Corpus:
    from scssl import Corpus

    # Union: the real cells have few genes in common with the simulated ones; what a source lacks counts as unmeasured.
    return Corpus.build(
        files,
        out,
        genes="union",
        obs=["cell_type", "donor"],
        split_by="donor",
        val=0.1,
        test=plan.test,
        seed=plan.seed,
    )


def _comparisons(atlas: AnnData, halves: tuple[AnnData, AnnData], *, corpus: Corpus, plan: Plan) -> list[Comparison]:
    donor = atlas.obs["donor"].astype(str)
    reference = atlas[donor.isin(set(corpus.obs("train")["donor"].astype(str)))].copy()
    query = atlas[donor.isin(set(corpus.obs("test")["donor"].astype(str)))].copy()
    rng = np.random.default_rng(plan.seed)
    types = reference.obs["cell_type"].astype(str).to_numpy()
    draws = []
    for _ in range(plan.draws):
        members = [np.flatnonzero(types == name) for name in np.unique(types)]
        rows = np.concatenate([rng.choice(m, min(plan.few, len(m)), replace=False) for m in members])
        draws.append(reference[np.sort(rows)].copy())
    return [
        Comparison(name=ATLAS, query=query, references=[reference], unlabelled=reference),
        Comparison(name=FEW, query=query, references=draws, unlabelled=reference),
        Comparison(name=PBMC, query=halves[1], references=[halves[0]], unlabelled=halves[0]),
    ]


def _by_model(comparison: Comparison, *, model: CellModel, plan: Plan) -> Scored:
    from scssl.tasks import Annotator

    # Confidence is learned from held-out donors: there are none in the other comparisons, or too few of their cells.
    calibrate: Calibrate = "auto" if comparison.name == ATLAS else "never"
    fitted = [
        Annotator(model, mode="zero_shot", k=plan.k, calibrate=calibrate).fit(r, labels="cell_type")
        for r in comparison.references
    ]
    return _score(comparison, MODEL, [annotator.annotate(comparison.query) for annotator in fitted])


def _by_pca(comparison: Comparison, *, model: CellModel, plan: Plan) -> Scored:
    from scssl.study import pca_knn

    annotations = [
        pca_knn(
            reference,
            comparison.query,
            labels="cell_type",
            panel=model.panel,
            fit_on=comparison.unlabelled,
            k=plan.k,
            seed=plan.seed,
        )
        for reference in comparison.references
    ]
    return _score(comparison, PCA, annotations)


def _score(comparison: Comparison, method: str, annotations: list[Annotation]) -> Scored:
    scores = [annotation.score("cell_type") for annotation in annotations]
    row = {
        "data": comparison.name,
        "method": method,
        "macro_f1": float(np.mean([s.macro_f1 for s in scores])),
        "accuracy": float(np.mean([s.accuracy for s in scores])),
        "labelled_cells": comparison.references[0].n_obs,
        "query_cells": scores[0].n_cells,
        "types": len(scores[0].per_class),
    }
    return Scored(row=row, annotation=annotations[0])
