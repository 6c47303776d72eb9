"""`scssl models`: models on the Hugging Face hub, and networks of others made into models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from scssl.cli.common import Common, Outcome, Whole


def list_(
    *,
    online: Annotated[bool, Parameter(negative="")] = False,
    owner: str | None = None,
    limit: Whole = 100,
    common: Common | None = None,  # noqa: ARG001 (read by cli.app)
) -> Outcome:
    """List the models that were fetched from the Hugging Face hub, or those that it has.

    Parameters
    ----------
    online
        Ask the hub. Without it no network is used.
    owner
        Only those of one user or organisation of the hub.
    limit
        At most so many of the hub.
    common
        Options that every command takes.
    """
    from scssl.model.hub import list_cached, list_online

    kept = [entry for entry in list_cached() if owner is None or entry["model"].startswith(f"{owner}/")]
    found = list_online(owner=owner, limit=limit) if online else []
    lines = [
        f"{entry['model']}  {', '.join(entry['revisions']) or 'pinned'}  {entry['n_genes']:,} genes to "
        f"{entry['n_latent']}, {entry['bytes'] / 1e6:.1f} MB"
        for entry in kept
    ]
    lines = ["Fetched:", *lines] if lines else ["There are no models in the cache."]
    if online:
        there = [f"{entry['model']}  {str(entry['modified'])[:10]}  {entry['downloads']} downloads" for entry in found]
        lines += ["On the hub:", *there] if there else ["The hub lists no models of scssl."]
    else:
        lines.append("What the hub has: scssl models list --online")
    return Outcome(result={"cached": kept, "online": found}, text="\n".join(map(_escape, lines)))


def pull(
    model: str,
    /,
    *,
    out: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    common: Common | None = None,  # noqa: ARG001
) -> Outcome:
    """Fetch a model or annotator from the Hugging Face hub. Size and licence are shown before.

    Only its own files are taken, and checked by their checksums; an interrupted transfer goes on where it was.
    Every command takes such a name after --model as well, and fetches the model when it is not there.

    Parameters
    ----------
    model
        owner/name, or owner/name@revision for one branch, tag or commit. A commit never changes.
    out
        Folder to make for it. Without it, it stays in the cache of the hub's client, from which it is used without a
        network.
    overwrite
        Replace the model or annotator at OUT by another.
    common
        Options that every command takes.
    """
    from scssl.model.cell_model import CellModel
    from scssl.model.files import CONFIG
    from scssl.model.hub import pull as fetch
    from scssl.model.hub_kinds import INSIDE
    from scssl.tasks.annotate.files import KIND

    folder = fetch(model, out=out, overwrite=overwrite)
    named = KIND.is_at(folder)
    loaded = CellModel.load(folder if (folder / CONFIG).is_file() else folder / INSIDE)
    shown = str(folder) if out is not None else model
    command, what = ("annotate", "Annotator on ") if named else ("embed", "")
    text = f"{what}{loaded!r}\nIt is in {folder}\nNext: scssl {command} my.h5ad --model {shown} --out out.h5ad"
    result = {"model": model, "path": str(folder), "n_genes": len(loaded.panel), "n_latent": loaded.n_latent}
    return Outcome(result=result, text=_escape(text))


def push(
    model: Path,
    to: str,
    /,
    *,
    licence: str | None = None,
    private: Annotated[bool, Parameter(negative="")] = False,
    message: str = "Model of scssl",
    common: Common | None = None,  # noqa: ARG001
) -> Outcome:
    """Publish a model on the Hugging Face hub, with a card that says what it was trained on and what it is not for.

    What is published: weights, settings, gene list, card with the names of the sources. No cells. Of an annotator that
    `scssl annotate --save` wrote also labels and embedding of its reference; no counts. Log in before with: hf auth
    login.

    Parameters
    ----------
    model
        Folder of the model or annotator.
    to
        owner/name; made if it is not there.
    licence
        As the hub spells it, e.g. cc-by-4.0; not needed where the card has one.
    private
        Let only the owner see it, if it is made now.
    message
        Of the change.
    common
        Options that every command takes.
    """
    from scssl.model.hub import push as publish
    from scssl.tasks import Annotator
    from scssl.tasks.annotate.files import KIND

    if KIND.is_at(model):
        what = "annotator"
        name = Annotator.load(model).push(to, licence=licence, private=private, description=message)
    else:
        what = "model"
        name = publish(model, to=to, licence=licence, private=private, description=message)
    command = "annotate" if what == "annotator" else "embed"
    text = f"Published as {name}\nTo use exactly this {what}: scssl {command} my.h5ad --model {name} --out out.h5ad"
    return Outcome(result={"model": name}, text=_escape(text))


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
    from scssl.model.cell_model import CellModel
    from scssl.model.files import check_free

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
