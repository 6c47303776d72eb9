"""`scssl embed`: put an embedding beside the cells of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from scssl.cli._estimate import estimate
from scssl.cli.common import Common, Device, Outcome, Whole


def embed(
    file: Path,
    /,
    *,
    model: Path,
    out: Path,
    adapt: Annotated[bool, Parameter(negative="")] = False,
    layer: str | None = None,
    key_added: str | None = None,
    batch_size: Whole = 4096,
    seed: Whole = 0,
    device: Device = "auto",
    devices: Whole = 1,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    common: Common | None = None,  # noqa: ARG001
) -> Outcome:
    """Embed the cells of a file with a pre-trained model.

    Parameters
    ----------
    file
        .h5ad, .zarr, .h5mu, 10x .h5 or 10x mtx folder with raw counts. It is not changed.
    model
        Folder of the model.
    out
        .h5ad to write: the input with the embedding in obsm["X_scssl"].
    adapt
        First go on with the pre-training on these cells, without labels: 1,000 steps, which takes a minute. It pays
        where they are of a kind that the model has hardly seen. To keep the adapted model: scssl pretrain FILE --init.
    layer
        Where the raw counts are: a layer, or "raw"; X without it.
    key_added
        Name in obsm instead of X_scssl.
    batch_size
        Cells encoded at a time.
    seed
        Draws masks and the order of cells, if the model is adapted.
    device
        Where to compute.
    devices
        CUDA devices of this machine to use, with one process each; with --device cpu, processes.
    overwrite
        Replace OUT.
    """
    from scssl import keys
    from scssl.corpus.sources.source import open_source
    from scssl.log import logger
    from scssl.model import load
    from scssl.model_files import versions
    from scssl.tasks.output import Results, prepare_output, write_results

    prepare_output(out, file=file, overwrite=overwrite, key_added=key_added)
    with open_source(file, layer=layer) as source:
        n_cells, n_features = source.n_cells, source.n_features
    logger.info("%s: %s cells; %s", file.name, f"{n_cells:,}", estimate(file, n_cells=n_cells, n_features=n_features))
    cell_model = load(model)
    if adapt:
        from scssl.pretraining import pretrain

        cell_model = pretrain(
            file, init=cell_model, layer=layer, split_by="cell", seed=seed, device=device, loggers=["csv"]
        )
    embedding = cell_model.embed(file, layer=layer, batch_size=batch_size, device=device, devices=devices)
    key = key_added or keys.EMBEDDING
    settings = {"model": str(model), "layer": layer or "X", "key": key, "adapted": adapt, "versions": versions()}
    write_results(file, out, Results(task="embed", settings=settings, obsm={key: embedding}))
    text = (
        f"{n_cells:,} cells embedded into {cell_model.n_latent} numbers each: {out}, obsm[{key!r}].\n"
        f"In scanpy: sc.pp.neighbors(adata, use_rep={key!r}); sc.tl.umap(adata)"
    )
    return Outcome(result={"out": str(out), "n_cells": n_cells, "n_latent": cell_model.n_latent, "key": key}, text=text)
