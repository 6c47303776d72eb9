"""What was tried of fine-tuning: rates per layer, a frozen start, averages of weights, class weights, early stopping.

    OMP_NUM_THREADS=1 python -m benchmarks.recipes.finetune_levers --work FOLDER [--seeds 1]

On the development tasks of `benchmarks.recipes.finetune` with 100 labels per type; models are those of its work folder.
The first goes as far as held-out cells support, as the package does; the others take the fine-tuned weights as they
come out ("all the way"). Writes `results/recipes_finetune_levers.json`.
What is in the work folder is not computed again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch

import scssl
from benchmarks import protocol
from benchmarks.recipes import roles
from benchmarks.recipes.finetune import Job, make_task, model_of, names_of, pretrain
from scssl.metrics import classification_scores
from scssl.tasks import Annotator, FineTuning
from scssl.training import supervised
from scssl.training.schedule import one_cycle

if TYPE_CHECKING:
    from collections.abc import Iterator

ROLE: roles.Role = "development"
N_LABELS = "100"
"""Per type."""


class SlowFirstLayer(supervised.SupervisedModule):
    """The encoder's first layer has a tenth of the rate of its others."""

    def configure_optimizers(self) -> Any:
        """Give every parameter its rate; vectors are not decayed, as in the package."""
        settings, encoder = self.config.optimiser, self.labels.encoder
        layer = next(layer for layer in encoder.layers if isinstance(layer, torch.nn.Linear))
        first = {id(p) for p in layer.parameters()}
        groups = [
            {"params": [p], "lr": settings.learning_rate * share * (0.1 if id(p) in first else 1.0),
             "weight_decay": settings.weight_decay if p.ndim > 1 else 0.0}
            for part, share in ((encoder, self.encoder_rate), (self.labels.head, 1.0))
            for p in part.parameters()
        ]  # fmt: skip
        optimiser = torch.optim.AdamW(groups)
        schedule = one_cycle(optimiser, n_steps=self.config.training.epochs * self.steps_per_epoch)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class FrozenFirst(supervised.SupervisedModule):
    """Only the head learns in the first half of the epochs."""

    def on_train_epoch_start(self) -> None:
        """Freeze the encoder, or let it go."""
        super().on_train_epoch_start()
        learns = self.current_epoch >= self.config.training.epochs / 2
        for parameter in self.labels.encoder.parameters():
            parameter.requires_grad_(learns)


class MeanOfSteps(supervised.SupervisedModule):
    """The weights at the end are the mean of those after each step of the second half."""

    def on_train_start(self) -> None:
        """Begin with none."""
        super().on_train_start()
        self.n_averaged, self.sum_of_weights = 0, {}

    @torch.no_grad()
    def on_train_batch_end(self, *given: Any) -> None:
        """Add the weights of this step; put the mean in their place after the last."""
        super().on_train_batch_end(*given)
        steps = self.config.training.epochs * self.steps_per_epoch
        if self.global_step <= steps / 2:
            return
        self.n_averaged += 1
        for name, value in self.labels.named_parameters():
            total = self.sum_of_weights.setdefault(name, torch.zeros_like(value))
            total += value
        if self.global_step == steps:
            for name, value in self.labels.named_parameters():
                value.copy_(self.sum_of_weights[name] / self.n_averaged)


class Lever(NamedTuple):
    """What differs from fine-tuning all the way at the package's settings."""

    settings: dict[str, Any]
    class_weight: str = "balanced"
    module: type[supervised.SupervisedModule] = supervised.SupervisedModule


ALL = {"blends": (1.0,)}
LEVERS = {
    "as far as held-out cells support": Lever({}),
    "all the way": Lever(ALL),
    "encoder at the head's rate": Lever({**ALL, "encoder_rate": 1.0}),
    "first layer at a tenth of its rate": Lever(ALL, module=SlowFirstLayer),
    "encoder frozen in the first half": Lever(ALL, module=FrozenFirst),
    "mean of the second half's weights": Lever(ALL, module=MeanOfSteps),
    "cells weigh the same": Lever(ALL, class_weight="none"),
    "stopped early": Lever({**ALL, "min_steps": 400, "patience": 4}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="that of benchmarks.recipes.finetune")
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for seed in range(given.seeds):
        for corpus in roles.corpora_of(ROLE, seed=seed):
            pretrain(corpus, seed, given.work)
            for name in names_of(corpus):
                rows += scored(Job(corpus, name, N_LABELS, seed, str(given.work)))
                print(pd.DataFrame(rows[-len(LEVERS) :])[["target", "lever", "macro_f1"]].to_string(), flush=True)
    table = pd.DataFrame(rows)
    means = table.pivot_table(index="lever", columns="target", values="macro_f1").loc[list(LEVERS)]
    means["mean"] = means.mean(axis=1)
    summary = means.round(4).to_dict("index")
    protocol.write(
        "recipes_finetune_levers",
        command="OMP_NUM_THREADS=1 python -m benchmarks.recipes.finetune_levers --work FOLDER",
        result={"role": ROLE, "seeds": given.seeds, "summary": summary, "rows": table.to_dict("records")},
    )
    print(pd.DataFrame(summary).T.to_string())


def scored(job: Job) -> list[dict[str, Any]]:
    """Return macro F1 of every lever on one task."""
    files = {lever: job.result(f"lever {lever}") for lever in LEVERS}
    left = {name: lever for name, lever in LEVERS.items() if not files[name].exists()}
    if left:
        model = scssl.load(model_of(job.corpus, job.seed, Path(job.work)))
        task = make_task(job)
        for name, lever in left.items():
            annotator = Annotator(
                model,
                mode="finetune",
                calibrate="never",
                finetuning=FineTuning(**lever.settings),
                class_weight=lever.class_weight,  # type: ignore[arg-type]
            )
            with trained_by(lever.module):
                annotator.fit(task.reference, labels="label", seed=job.seed)
            named = annotator.annotate(task.query).labels.astype(str)
            truth = task.query.obs["label"].to_numpy(dtype=str)
            f1 = classification_scores(truth, np.asarray(named, dtype=str)).macro_f1
            files[name].parent.mkdir(parents=True, exist_ok=True)
            row = {"target": job.target, "n_labels": job.n_labels, "seed": job.seed, "lever": name}
            files[name].write_text(json.dumps({**row, "macro_f1": round(f1, 4)}))
    return [json.loads(file.read_text()) for file in files.values()]


@contextlib.contextmanager
def trained_by(module: type[supervised.SupervisedModule]) -> Iterator[None]:
    """Let supervised training use another module."""
    usual = supervised.SupervisedModule
    supervised.SupervisedModule = module  # type: ignore[misc]
    try:
        yield
    finally:
        supervised.SupervisedModule = usual  # type: ignore[misc]


if __name__ == "__main__":
    main()
