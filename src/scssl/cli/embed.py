"""`scssl embed`: put an embedding beside the cells of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from scssl.cli._annotate_checks import check_apart
from scssl.cli._estimate import estimate
from scssl.cli._record import Record
from scssl.cli.common import Common, Device, Outcome, Whole
from scssl.words import count


def embed(
    file: Path,
    /,
    *,
    model: Path,
    out: Path,
    adapt: Annotated[bool, Parameter(negative="")] = False,
    pca: Whole = 0,
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
        Go on with the pre-training on these cells, without labels (1,000 steps: a minute for a model of few genes,
        several for 20,000), and put the adapted model's code beside that of the model as it is. It pays where the model
        has hardly seen cells of their kind. To keep the adapted model: scssl pretrain FILE --init MODEL.
    pca
        Principal components of the cells' own log counts to put beside the code, e.g. 20; 0: none.
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
    from rich.markup import escape

    from scssl import keys
    from scssl.corpus.sources.source import open_source
    from scssl.log import logger
    from scssl.model.cell_model import load
    from scssl.model.files import versions
    from scssl.tasks.embed import embed as embed_cells
    from scssl.tasks.output import Results, prepare_output, write_results

    record = Record()
    prepare_output(out, file=file, overwrite=overwrite, key_added=key_added)
    check_apart(model, {"--out": out})
    with open_source(file, layer=layer) as source:
        n_cells, n_features = source.n_cells, source.n_features
    logger.info("%s: %s; %s", file.name, count(n_cells, "cell"), estimate(file, n_cells=n_cells, n_features=n_features))
    cell_model = load(model)
    record.lap("load the model")
    embedding = embed_cells(
        cell_model,
        file,
        adapt=adapt,
        pca=pca,
        layer=layer,
        batch_size=batch_size,
        seed=seed,
        device=device,
        devices=devices,
    )
    record.lap("embed")
    record.read(file, role="cells to embed", n_cells=n_cells)
    key = key_added or keys.EMBEDDING
    settings = {
        "model": str(model),
        "layer": layer or "X",
        "key": key,
        "adapted": adapt,
        "pca": pca,
        "versions": versions(),
    }
    results = Results(task="embed", settings=settings, obsm={key: embedding})
    write_results(file, out, record.into(results, model=cell_model))
    text = (
        f"{count(n_cells, 'cell')} embedded into {embedding.shape[1]} numbers each: {escape(str(out))}, "
        f"obsm[{key!r}].\n"
        f"In scanpy: sc.pp.neighbors(adata, use_rep={key!r}); sc.tl.umap(adata)"
    )
    return Outcome(result={"out": str(out), "n_cells": n_cells, "n_latent": embedding.shape[1], "key": key}, text=text)
