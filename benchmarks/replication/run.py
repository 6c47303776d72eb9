"""The same embeddings under the paper's public evaluation and under ours: which choices change conclusions.

    OMP_NUM_THREADS=1 python -m benchmarks.replication [--workers 2] [--folder DIR]

Pretext tasks of the paper (masked, BYOL, Barlow Twins; the default network, 10 epochs, three seeds), an encoder that
was not trained, and PCA, on the control cells of Kang et al.'s eight donors with the immune corpus for pre-training,
and on simulated studies with batch effects, one of them the target. Donors of the target are split 70 : 15 : 15, ten
draws (their mean is a seed's score). Each choice of the public evaluation is switched on alone, then all together.
Embeddings are kept in DIR, so that an interrupted run goes on. About 25 CPU minutes.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import scssl
from benchmarks import protocol
from benchmarks.replication import data
from benchmarks.replication.evaluation import SETTINGS, score, with_relu
from benchmarks.replication.verdict import summarise

EPOCHS, SEEDS, DRAWS = 10, (0, 1, 2), 10
ARMS = ("masked", "byol", "barlow_twins", "none", "PCA (50)")
BASELINES = ("none", "PCA (50)")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    parser.add_argument("--folder", type=Path, help="keeps corpora and embeddings")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        targets = [data.kang(folder), *(data.simulated(folder, seed=seed) for seed in SEEDS)]
        jobs = [
            (target, arm, seed, inside, folder)
            for target, seeds in zip(targets, [SEEDS, *((seed,) for seed in SEEDS)], strict=True)
            for seed in seeds
            for arm in ARMS
            for inside in (False, True)
        ]
        # Processes that start afresh: forked ones would share the state of torch's threads.
        with ProcessPoolExecutor(given.workers, mp_context=get_context("spawn"), initializer=one_thread) as pool:
            rows: list[dict[str, Any]] = []
            for found in pool.map(run, jobs):
                rows += found
                print(found[0]["data"], found[0]["arm"], found[0]["seed"], len(found), flush=True)
    summary = summarise(pd.DataFrame(rows))
    protocol.write(
        "replication",
        command="OMP_NUM_THREADS=1 python -m benchmarks.replication",
        result={"epochs": EPOCHS, "seeds": len(SEEDS), "draws_of_donors": DRAWS, **summary, "scores": rows},
    )


def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def run(job: tuple[data.Target, str, int, bool, Path]) -> list[dict[str, Any]]:
    """Embed the target with one arm and score it under the settings that these embeddings belong to."""
    target, arm, seed, inside, folder = job
    labels, donors = target.labels()
    codes = embeddings(target, arm, seed=seed, inside=inside, folder=folder)
    rows = []
    for name, choices in SETTINGS.items():
        if choices.donors_inside != inside:
            continue
        own = codes["relu" if choices.relu else "trained"]
        scores = [
            score(own, labels, donors, choices=choices, baseline=arm in BASELINES, draw=100 * seed + draw)
            for draw in range(DRAWS)
        ]
        rows.append(
            {
                "data": target.name,
                "arm": arm,
                "seed": seed,
                "evaluation": name,
                "macro_f1": round(float(np.mean(scores)), 4),
            }
        )
    return rows


def embeddings(target: data.Target, arm: str, *, seed: int, inside: bool, folder: Path) -> dict[str, np.ndarray]:
    """Pre-train and embed the target, with the activation of training and with ReLU; or read what was kept."""
    place = "inside" if inside else "without"
    kept = folder / f"{target.name}-{arm.partition(' ')[0]}-{seed}-{place}.npz"
    if kept.is_file():
        with np.load(kept) as arrays:
            return dict(arrays)
    corpus = scssl.Corpus.open(target.inside if inside else target.without)
    if arm.startswith("PCA"):
        from scssl.study import PCAEncoder

        codes = PCAEncoder(corpus.panel, n_components=50, seed=seed).fit(corpus).embed(target.file)
        found = {"trained": codes, "relu": codes}
    else:
        overrides = ["training.probe_every=1000"]
        model = scssl.pretrain(corpus, pretext=arm, max_epochs=EPOCHS, seed=seed, overrides=overrides)
        found = {"trained": model.embed(target.file), "relu": with_relu(model).embed(target.file)}
    unfinished = kept.with_suffix(".part.npz")
    np.savez(unfinished, **found)
    unfinished.rename(kept)
    return found
