"""`scssl models`: networks of others, made into models of scssl."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from scssl.cli.common import Common, Outcome


def import_(
    checkpoint: Path,
    /,
    *,
    out: Path,
    genes: Path | None = None,
    licence: str | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    common: Common | None = None,  # noqa: ARG001 (read by cli.app)
) -> Outcome:
    """Make a model of a network that the paper published (doi 10.1038/s42256-024-00934-3).

    The model gives the codes of the published network. Nothing pickled in the checkpoint is executed.

    Parameters
    ----------
    checkpoint
        Checkpoint of Lightning (.ckpt), bare weights of torch, or the weights as .safetensors: an encoder of
        genes-512-512-256-256-64.
    out
        Folder to make for the model.
    genes
        The genes that the network reads, in the order of its inputs: a table with a column id, gene_id or feature_id
        (.tsv, .csv, .parquet), or one gene per line. Not needed where the checkpoint lists them; never guessed.
    licence
        Of the weights, for the model card, e.g. mit.
    overwrite
        Replace the model at OUT.
    common
        Options that every command takes.
    """
    from scssl.model import CellModel
    from scssl.model_files import check_free

    check_free(out, overwrite=overwrite)
    model = CellModel.from_published(checkpoint, genes=genes, licence=licence)
    model.save(out, overwrite=overwrite)
    origin = model.card["origin"]
    text = (
        f"Model saved to {_escape(str(out))}: {origin['kind']}, {len(model.panel):,} genes in, {model.n_latent} "
        f"numbers out.\nGenes are those of {_escape(origin['genes'])}, in that order: nothing in the weights tells "
        f"whether it is the right one.\nDecoder: {_escape(origin['decoder'])}.\n"
        f"Next: scssl embed my.h5ad --model {_escape(str(out))} --out embedded.h5ad"
    )
    result = {"model": str(out), "n_genes": len(model.panel), "n_latent": model.n_latent, "origin": origin}
    return Outcome(result=result, text=text)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
