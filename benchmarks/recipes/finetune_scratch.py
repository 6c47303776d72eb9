"""What if a network from scratch competed with probe and fine-tuned network on held-out cells.

    OMP_NUM_THREADS=1 python -m benchmarks.recipes.finetune_scratch --work FOLDER [--role confirmation --only brain]

On the tasks of `benchmarks.recipes.finetune` (first seed), whose models and scores it takes: the loss on held-out cells
of what fine-tuning chooses, that of a network from scratch on the same divisions, their difference with its standard
error, and macro F1 of both on the query. Writes `results/recipes_finetune_scratch.json`. What is in the work folder is
not computed again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import scssl
from benchmarks import protocol
from benchmarks.recipes import roles
from benchmarks.recipes.finetune import Job, make_task, model_of, name_cells, names_of, pretrain
from scssl.metrics import classification_scores
from scssl.tasks.annotate.blend import choose, divide, held_out_losses
from scssl.tasks.annotate.folds import read_donors
from scssl.tasks.annotate.label_training import Training, narrowed_to
from scssl.tasks.annotate.labelled import gather_labelled
from scssl.tasks.annotate.labels import encode
from scssl.tasks.annotate.quantile import donor_weights
from scssl.training.finetuning import FineTuning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from benchmarks.recipes.finetune import Task
    from scssl import CellModel
    from scssl.tasks.annotate.blend import Division

SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="that of benchmarks.recipes.finetune")
    parser.add_argument("--role", choices=["development", "confirmation"], default="development")
    parser.add_argument("--only", default="", help="tasks, separated by semicolons")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for corpus in roles.corpora_of(given.role, seed=SEED):
        pretrain(corpus, SEED, given.work)
        for name in names_of(corpus):
            if given.only and name not in given.only.split(";"):
                continue
            # With ten labels of simulated cells scratch is 0.2 behind or more: nothing is to be decided.
            for n_labels in ("100",) if "simulated" in name else ("10", "100"):
                rows.append(compared(Job(corpus, name, n_labels, SEED, str(given.work))))
                print(rows[-1], flush=True)
    suffix = "" if given.role == "development" else "_confirmation"
    protocol.write(
        f"recipes_finetune_scratch{suffix}",
        command="OMP_NUM_THREADS=1 python -m benchmarks.recipes.finetune_scratch --work FOLDER"
        + (f" --role {given.role}" if suffix else "")
        + (f' --only "{given.only}"' if given.only else ""),
        result={"role": given.role, "seed": SEED, "rows": rows},
    )


def compared(job: Job) -> dict[str, Any]:
    """Return the losses of one task."""
    file = job.result("scratch competes")
    if file.exists():
        found: dict[str, Any] = json.loads(file.read_text())
        return found
    settings = FineTuning()
    model, task = scssl.load(model_of(job.corpus, job.seed, Path(job.work))), make_task(job)
    reference = task.reference
    codes, classes = encode(reference.obs["label"].astype(str))
    kept = np.ones(len(codes), dtype=bool)
    donors = read_donors(reference.obs, None, kept=kept, file="reference", unlabelled=())
    divisions, by_donor = divide(codes, donors, settings=settings, seed=job.seed)
    unit = donors if by_donor else None
    common: dict[str, Any] = {"codes": codes, "classes": classes, "divisions": divisions, "seed": job.seed}
    tuned, rows = scored(model, reference, shares=settings.blends, from_scratch=False, **common)
    (scratch,), same = scored(model, reference, shares=(1.0,), from_scratch=True, **common)
    assert (rows == same).all()
    donors_of = None if unit is None else unit[rows]
    choice = choose(settings.blends, tuned, codes=codes[rows], donors=donors_of)
    mine, other = (
        held_out_losses(scores, codes=codes[rows], donors=donors_of)
        for scores in (tuned[settings.blends.index(choice.share)], scratch)
    )
    weights = donor_weights(donors_of, n_cells=len(rows))
    gain = float(weights @ (mine - other))
    error = float(np.sqrt(np.sum((weights * (mine - other - gain)) ** 2)))
    row = {
        "target": job.target,
        "n_labels": job.n_labels,
        "share": choice.share,
        "loss": round(float(weights @ mine), 4),
        "loss_scratch": round(float(weights @ other), 4),
        "gain_of_scratch": round(gain, 4),
        "standard_error": round(error, 4),
        **query_scores(job, model, task),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(row))
    return row


def scored(
    model: CellModel,
    reference: AnnData,
    *,
    shares: tuple[float, ...],
    from_scratch: bool,
    codes: NDArray[np.int64],
    classes: list[str],
    divisions: Sequence[Division],
    seed: int,
) -> tuple[list[NDArray[np.float32]], NDArray[np.int64]]:
    """Train on every division; return the scores of held-out cells at each share, and which cells of the reference."""
    if from_scratch:
        model = narrowed_to(model, reference, layer=None)
    nothing = np.zeros(len(codes), dtype=bool)
    cells = gather_labelled(
        model.batches(reference), model.panel, kept=~nothing, codes=codes, classes=classes, validation=nothing,
        share=None if from_scratch else model.encoder.gene_share.cpu().numpy(), name="reference", seed=seed,
    )  # fmt: skip
    training = Training(
        model=model, cells=cells, settings=FineTuning(), class_weight="balanced", from_scratch=from_scratch, seed=seed,
        device="cpu",
    )  # fmt: skip
    judged = [training.fit(cells.divided(train=a, validation=b, seed=seed)).judge(shares) for a, b in divisions]
    rows = np.concatenate([each[0].rows for each in judged])
    order = np.argsort(rows)
    scores = [np.concatenate([each[i].log_scores for each in judged])[order] for i in range(len(shares))]
    return scores, rows[order]


def query_scores(job: Job, model: CellModel, task: Task) -> dict[str, float]:
    """Return macro F1 on the query: what `benchmarks.recipes.finetune` found with this model, or found now."""
    scores: dict[str, float] = {}
    for method in ("probe", "scratch", "finetune"):
        file = job.result(method)
        if file.exists():
            scores[f"f1_{method}"] = json.loads(file.read_text())["macro_f1"]
            continue
        named, _ = name_cells(method, model, task, seed=job.seed)
        f1 = classification_scores(task.query.obs["label"].to_numpy(dtype=str), named.astype(str)).macro_f1
        scores[f"f1_{method}"] = round(f1, 4)
    return scores


if __name__ == "__main__":
    main()
