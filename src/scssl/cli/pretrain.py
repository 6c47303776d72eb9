"""`scssl pretrain`: an encoder from unlabelled cells."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from scssl.cli.common import Common, Device, Outcome, Whole, typed
from scssl.errors import SettingsError
from scssl.words import count

Logger = Literal["csv", "tensorboard", "wandb", "mlflow"]
Masking = Literal["random", "programme", "programme_to_programme", "programme_to_tf"]


def pretrain(
    data: Path,
    /,
    *,
    out: Path,
    preset: str | None = None,
    pretext: str | None = None,
    masking: Masking | None = None,
    programmes: str | None = None,
    epochs: Whole | None = None,
    batch_size: Whole | None = None,
    seed: Whole | None = None,
    config: Path | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    init: Path | None = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    device: Device = "auto",
    devices: Whole | None = None,
    num_nodes: Whole | None = None,
    logger: Annotated[list[Logger] | None, Parameter(negative="")] = None,
    genes: str | None = None,
    layer: str | None = None,
    source: str | None = None,
    split_by: str | None = None,
    common: Common | None = None,  # noqa: ARG001
) -> Outcome:
    """Pre-train an encoder on unlabelled cells.

    Parameters
    ----------
    data
        Folder of a corpus (`scssl corpus build`), or a file with raw counts.
    out
        Folder to make for the model, its training log and checkpoints.
    preset
        Settings to start from: default, richter2024, large or small, see `scssl presets`. Without it: default.
    pretext
        Pretext task; `scssl pretexts` lists them. Without it: the preset's, masked.
    masking
        How the masked task chooses the genes it hides: random, each on its own, or by gene programmes. Without it:
        random.
    programmes
        Gene programmes for the other ways of masking: modules:50 (learned from the corpus), a .gmt file, regulons:FILE,
        msigdb:H, collectri; see `scssl programmes`.
    epochs
        Passes over the training cells. Without it: the preset's (default: 20).
    batch_size
        Cells per step, of all processes together; fewer where a corpus is small. Without it: the preset's (default:
        512).
    seed
        Seed of weights, masks, cell order and dropout. Without it: 0.
    config
        YAML file of settings, laid over the preset.
    set_
        One setting, e.g. --set task.rate=0.25 or --set architecture.hidden=[512]; may be repeated; applied last.
    init
        Folder of a model to go on from, with its genes and settings, rather than from random weights: to adapt it to
        new cells, without their labels.
    resume
        Go on with the interrupted run at OUT, with its settings.
    overwrite
        Replace the model at OUT.
    device
        Where to compute.
    devices
        CUDA devices of this machine to use, with one process each that share every batch; with --device cpu, processes.
        Under torchrun or srun it is settled by these.
    num_nodes
        Machines, under torchrun or srun; checked against what these have started.
    logger
        Where the numbers go beside history.csv: tensorboard, wandb or mlflow; may be repeated. Without it: TensorBoard,
        if it is installed; csv: nowhere else.
    genes
        For a file: human (the default), mouse, union, intersection, hvg:N, a file of genes, or the folder of a model
        or corpus.
    layer
        For a file: layer of the raw counts; X without it.
    source
        For a file: column of obs that names the source of each cell.
    split_by
        For a file: column of obs whose values stay together when validation cells are set apart, or "cell".
    """
    from scssl.pretraining import pretrain as run

    given = {"masking": masking, "programmes": programmes}
    for name, value in given.items():
        if value is not None and pretext not in (None, "masked"):
            message = f"--{name} is about the masked task: leave it out, or choose --pretext masked"
            raise SettingsError(message)
    if not data.exists():
        message = f"{data}: no such file or corpus. A corpus is made with: scssl corpus build FILE... --out {data}"
        raise SettingsError(message)
    assignments = [*(set_ or []), *(f"task.{name}={value}" for name, value in given.items() if value is not None)]
    model = run(
        data,
        preset=preset,
        pretext=pretext,
        max_epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        config=config,
        overrides=assignments,
        init=init,
        out=out,
        overwrite=overwrite,
        resume=resume,
        device=device,
        devices=devices,
        num_nodes=num_nodes,
        loggers=logger,
        genes=genes,
        layer=layer,
        source=source,
        split_by=split_by,
    )
    from rich.markup import escape

    training, metrics, cells = model.card["training"], model.card["metrics"], model.card["data"]["cells"]
    epochs_done = count(training["epochs"], "epoch")
    scores = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
    scores = f"; {scores} (epoch {training['best_epoch']})" if scores else "; nothing was learned"
    text = (
        f"Model saved to {escape(str(out))}: {len(model.panel):,} genes in, {model.n_latent} numbers out.\n"
        f"{count(cells['train'], 'training cell')}, {epochs_done}, {training['seconds']:.0f} s{scores}.\n"
        f"Next: scssl embed my.h5ad --model {typed(out)} --out embedded.h5ad"
    )
    result = {"model": str(out), "n_genes": len(model.panel), "n_latent": model.n_latent, **model.card}
    return Outcome(result=result, text=text)
