"""Fine-tuning against training from scratch, the linear probe and neighbours, with 10, 100 and all labels per type.

    OMP_NUM_THREADS=1 python -m benchmarks.recipes.finetune --work FOLDER [--role confirmation] [--seeds 3]

Settings were chosen on development data; ``--role confirmation`` asks the others. Seeds draw the pre-training, the
labelled cells, the halves of donors (or cells) that are reference and query, and the simulated atlases. Of these,
"other study" has its labels in one study of the pre-training corpus, and its query in the study that the corpus lacks.
"(before)" is the training of the first versions: a head that starts at zero, 15 % of the cells not learned from, and
a stop when their loss no longer falls. What is in the work folder is not computed again.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import anndata as ad
import numpy as np
import pandas as pd

import scssl
from benchmarks import protocol
from benchmarks.recipes import roles, scoring
from scssl.metrics import classification_scores
from scssl.tasks import Annotator

if TYPE_CHECKING:
    from numpy.typing import NDArray

METHODS = ("zero_shot", "probe", "scratch (before)", "scratch", "finetune (before)", "finetune")
OTHER_STUDY = ", other study"


class Task(NamedTuple):
    """Cells with labels, and cells to name."""

    reference: ad.AnnData
    query: ad.AnnData


class Job(NamedTuple):
    """One target, number of labels and seed."""

    corpus: str
    target: str
    n_labels: str
    seed: int
    work: str

    def result(self, method: str) -> Path:
        """Where the scores of a method are kept."""
        target, slug = ("".join(c if c.isalnum() else "_" for c in name) for name in (self.target, method))
        return Path(self.work) / "finetune" / self.corpus / f"{target}-{self.n_labels}-{self.seed}-{slug}.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="keeps corpora, models and scores")
    parser.add_argument("--role", choices=["development", "confirmation"], default="development")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    networks = [(corpus, seed) for seed in range(given.seeds) for corpus in roles.corpora_of(given.role, seed=seed)]
    for corpus, _ in networks:
        roles.open_corpus(corpus, given.work)
    jobs = [
        Job(corpus, name, n_labels, seed, str(given.work))
        for corpus, seed in networks
        for name in names_of(corpus)
        for n_labels in scoring.LABELS
    ]
    # Processes that start afresh: forked ones would share the state of torch's threads.
    with ProcessPoolExecutor(given.workers, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(pretrain, corpus, seed, given.work) for corpus, seed in networks]):
            done.result()
        for done in as_completed([pool.submit(run, job) for job in jobs]):
            print(done.result(), flush=True)
    rows = [json.loads(job.result(method).read_text()) for job in jobs for method in METHODS]
    table = pd.DataFrame(rows)
    option = "" if given.role == "development" else " --role confirmation"
    protocol.write(
        "recipes_finetune" + ("" if given.role == "development" else "_confirmation"),
        command=f"OMP_NUM_THREADS=1 python -m benchmarks.recipes.finetune --work FOLDER{option}",
        result={
            "role": given.role,
            "seeds": given.seeds,
            "summary": summarise(table),
            "rows": table.to_dict("records"),
        },
    )
    print(pd.DataFrame(summarise(table)).to_string(index=False))


def names_of(corpus: str) -> list[str]:
    """Return the names of the tasks of a corpus."""
    names = [target.name for target in roles.targets_of(corpus)]
    return [*names, *(name + OTHER_STUDY for name in names if name.endswith("strong"))]


def pretrain(corpus: str, seed: int, work: Path) -> None:
    """Pre-train the model of a corpus and a seed, where it is not there."""
    path = model_of(corpus, seed, work)
    if not (path / "config.json").is_file():
        data = roles.open_corpus(corpus, work)
        model = scssl.pretrain(data, seed=seed, overrides=["training.probe_every=100000"])
        model.save(path, overwrite=True)


def model_of(corpus: str, seed: int, work: Path) -> Path:
    return work / "models" / f"{corpus}@{seed}"


def make_task(job: Job) -> Task:
    """Draw reference and query; `obs` has the columns ``label`` and ``donor``."""
    work = Path(job.work)
    name = job.target.removesuffix(OTHER_STUDY)
    target = next(t for t in roles.targets_of(job.corpus) if t.name == name)
    adata = ad.read_h5ad(target.path(work))
    if name != job.target:
        return _other_study(job, target, adata)
    cells = scoring.labelled(target, adata.obs)
    # All methods and numbers of labels of a seed have the same halves of donors.
    picked = list(scoring.draws(cells, n_labels=job.n_labels))[job.seed]
    donors = np.full(len(cells.rows), "one") if cells.groups is None else cells.groups
    parts = []
    for rows in picked:
        part = ad.AnnData(adata.X[cells.rows[rows]].astype(np.float32), var=adata.var[[]])
        part.obs["label"], part.obs["donor"] = cells.types[cells.labels[rows]], donors[rows]
        parts.append(part)
    return Task(*parts)


def _other_study(job: Job, target: roles.Target, adata: ad.AnnData) -> Task:
    corpus = ad.read_h5ad(Path(job.work) / f"{job.corpus}.h5ad")
    studies = corpus.obs["study"].astype(str)
    study = sorted(studies.unique())[0]
    measured = corpus.uns["measured"][study].to_numpy()
    reference = corpus[(studies == study).to_numpy(), measured].copy()
    rng = np.random.default_rng([job.seed, scoring.LABELS[job.n_labels]])
    labels = reference.obs[target.labels].astype(str).to_numpy()
    picked = [
        rng.choice(rows, min(scoring.LABELS[job.n_labels], len(rows)), replace=False)
        for rows in (np.flatnonzero(labels == label) for label in np.unique(labels))
    ]
    reference = reference[np.sort(np.concatenate(picked))].copy()
    for part in (reference, adata):
        part.obs["label"] = part.obs[target.labels].astype(str).to_numpy()
    return Task(reference, adata[adata.obs["label"].isin(reference.obs["label"].unique()).to_numpy()].copy())


def run(job: Job) -> str:
    """Name the query by every method that is not there yet, and keep the scores."""
    import torch

    torch.set_num_threads(1)
    methods = [method for method in METHODS if not job.result(method).exists()]
    if methods:
        model = scssl.load(model_of(job.corpus, job.seed, Path(job.work)))
        task = make_task(job)
    for method in methods:
        started = time.process_time()
        named, used = name_cells(method, model, task, seed=job.seed)
        seconds = time.process_time() - started
        scores = classification_scores(task.query.obs["label"].to_numpy(dtype=str), named.astype(str))
        given = {"target": job.target, "n_labels": job.n_labels, "seed": job.seed, "method": method}
        found = {"macro_f1": round(scores.macro_f1, 4), "accuracy": round(scores.accuracy, 4)}
        cost = {"cpu_seconds": round(seconds, 1), "cells": task.reference.n_obs}
        file = job.result(method)
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(json.dumps({**given, **found, **cost, "used": used}))
        part.replace(file)
    table = {method: json.loads(job.result(method).read_text())["macro_f1"] for method in METHODS}
    return f"{job.target} {job.n_labels} {job.seed} {table}"


def name_cells(method: str, model: scssl.CellModel, task: Task, *, seed: int) -> tuple[NDArray[np.object_], str]:
    """Name the query, and say what was used where fine-tuning had a choice."""
    if method.endswith("(before)"):
        return as_before(model, task, from_scratch=method.startswith("scratch"), seed=seed), ""
    annotator = Annotator(model, mode=method, calibrate="never")  # type: ignore[arg-type]
    annotator.fit(task.reference, labels="label", seed=seed)
    assert annotator.fitted is not None
    used = annotator.fitted.training.get("share", "")
    return annotator.annotate(task.query).labels.astype(object), str(used)


def as_before(model: scssl.CellModel, task: Task, *, from_scratch: bool, seed: int) -> NDArray[np.object_]:
    """Train as the version before did, and name the query."""
    import torch

    from scssl.tasks.annotate import label_training
    from scssl.tasks.annotate.labelled import choose_validation, gather_labelled
    from scssl.training.finetuning import FineTuning
    from scssl.training.supervised import LabelTask, balanced_weights, fit_labels

    settings = FineTuning(epochs=10, min_steps=400, encoder_rate=0.1, patience=4)
    classes, codes = np.unique(task.reference.obs["label"].to_numpy(dtype=str), return_inverse=True)
    names, donors = np.unique(task.reference.obs["donor"].to_numpy(dtype=str), return_inverse=True)
    validation, _ = choose_validation(codes, donors if len(names) > 1 else None, share=settings.val, seed=seed)
    if from_scratch:
        model = label_training.narrowed_to(model, task.reference, layer=None)
    corpus = gather_labelled(
        model.batches(task.reference), model.panel, kept=np.ones(len(codes), dtype=bool), codes=codes,
        classes=list(classes), validation=validation, name="reference", seed=seed,
        share=None if from_scratch else model.encoder.gene_share.numpy(),
    )  # fmt: skip
    tuned = label_training.blank(model, corpus, seed=seed) if from_scratch else label_training.copied(model)
    counts = torch.from_numpy(np.bincount(codes[~validation], minlength=len(classes)))
    weights = balanced_weights(counts, max_weight=settings.max_weight)
    torch.manual_seed(seed)
    trained = LabelTask(tuned.encoder, n_classes=len(classes), settings=settings, class_weight=weights)
    rate = 1.0 if from_scratch else settings.encoder_rate
    fit_labels(trained, corpus, settings, encoder_rate=rate, seed=seed, device="cpu")
    with torch.no_grad():
        scores = trained.head(torch.from_numpy(tuned.embed(task.query, device="cpu")))
    return classes[scores.argmax(1).numpy()].astype(object)


def summarise(table: pd.DataFrame) -> list[dict[str, object]]:
    """Mean macro F1 over seeds, per target and number of labels, and over all targets."""
    means = table.pivot_table(index=["n_labels", "target"], columns="method", values="macro_f1")[list(METHODS)]
    overall = means.groupby("n_labels").mean()
    overall.index = pd.MultiIndex.from_tuples([(n, "mean of all") for n in overall.index], names=means.index.names)
    both = pd.concat([means, overall]).round(4)
    return [{"n_labels": n, "target": target, **row.to_dict()} for (n, target), row in both.iterrows()]


if __name__ == "__main__":
    main()
