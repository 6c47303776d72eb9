"""What the quality benchmarks share: the corpus without the targets, few-label scoring, provenance."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

import scssl
from scssl.metrics import classification_scores
from scssl.tasks.annotate.knn import vote
from scssl.tasks.annotate.labels import UNLABELLED

if TYPE_CHECKING:
    import pandas as pd

DATA = Path(os.environ.get("SCSSL_DATA", "../shared/data")) / "cells"
RESULTS = Path(__file__).parent / "results"
TARGETS = ("pbmc3k_10xv1", "human_lymph_ref_330", "pdacA_indrop_moncada")
"""Data sets that are scored and never pre-trained on."""
COPIES_OF_TARGETS = "GSE115189"
"""Batch of `pbmc_8libraries_tidy` that holds 300 cells of pbmc3k a second time, counted by another pipeline."""
MIN_CELLS = 15
"""Types with fewer cells are left out of few-label scoring: 10 labels would leave too few to score."""


def build_corpus(folder: Path, *, genes: str) -> scssl.Corpus:
    """Build the immune corpus without the targets, split by donor."""
    excluded = json.dumps(list(TARGETS))
    return scssl.Corpus.build(
        DATA / "human_immune_corpus.h5ad",
        folder,
        genes=genes,
        obs=["cell_type", "donor", "file"],
        source="file",
        measured="uns:measured",
        where=f"file not in {excluded} and batch != {COPIES_OF_TARGETS!r}",
        unlabelled=["unknown"],
        split_by="donor",
        overwrite=True,
    )


def labels_of(path: Path) -> pd.Series:
    """Return the cell types of a file, missing where unknown or rarer than `MIN_CELLS`."""
    import anndata as ad

    names = ad.read_h5ad(path, backed="r").obs["cell_type"].astype(object)
    names = names.where(~names.astype(str).str.lower().isin(UNLABELLED), None)
    counts = names.value_counts()
    return names.where(names.map(counts) >= MIN_CELLS, None)


def few_label_f1(codes: np.ndarray, names: pd.Series, *, n_labels: int = 10, draws: int = 5, k: int = 5) -> list[float]:
    """Score kNN from `n_labels` labelled cells per type on all others: macro-F1 per draw of the labels."""
    known = np.flatnonzero(names.notna().to_numpy())
    types, labels = np.unique(names.iloc[known].astype(str), return_inverse=True)
    scores = []
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        picked = np.concatenate(
            [rng.choice(np.flatnonzero(labels == t), n_labels, replace=False) for t in range(len(types))]
        )
        rest = np.setdiff1d(np.arange(len(known)), picked)
        votes = vote(codes[known[picked]], labels[picked], codes[known[rest]], k=k)
        scores.append(classification_scores(types[labels[rest]], types[votes.label]).macro_f1)
    return scores


def processor() -> str:
    """Return the model of the processor, as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def write(name: str, *, command: str, result: dict) -> None:
    """Write a result with what is needed to repeat it."""
    record = {
        "command": command,
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"cpu": processor(), "cores": os.cpu_count(), "torch_threads": torch.get_num_threads()},
        "versions": {"scssl": scssl.__version__, "torch": torch.__version__, "python": platform.python_version()},
        **result,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")
