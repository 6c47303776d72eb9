"""Whether a model still computes what it computed, and whether its metrics come out again."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from scssl.cores import own_cores
from scssl.corpus import Corpus
from scssl.environment import expanded
from scssl.errors import ScsslError
from scssl.log import progress
from scssl.model.capsule import Finding, check_environment, read_capsule
from scssl.model.cell_model import CellModel
from scssl.model.example import TOLERANCE, difference
from scssl.model.files import read
from scssl.words import count

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOSE: Final = {"fp32": 1e-3, "bf16": 2e-2}
"""Relative difference of a loss that other processors and orders of summation account for, by precision."""


def verify_model(folder: Path | str, *, corpus: Corpus | Path | str | None = None) -> list[Finding]:
    """Recompute what can be recomputed of a model, and compare.

    Parameters
    ----------
    folder
        Folder of the model.
    corpus
        That it was trained on, or its folder; by default where the run found it, if it is still there.

    Returns
    -------
    list of Finding
        For its files, the codes of the cells that it carries, its data, its metrics and its environment.

    Raises
    ------
    FormatError
        If it is no model that can be read.
    """
    path = Path(folder)
    model = CellModel.load(path)
    manifest, _, _ = read(path)
    findings = [_files(manifest), _example(model, manifest)]
    findings += _metrics(model, corpus if corpus is not None else _place(path))
    return [*findings, check_environment(model.card.get("versions", {}))]


def _files(manifest: dict[str, Any]) -> Finding:
    files = manifest.get("files")
    if not files:
        return Finding(what="files", state="unknown", text="the model was saved without checksums")
    # `load` has compared them.
    return Finding(what="files", state="same", text=f"{', '.join(files)} as they were written")


def _example(model: CellModel, manifest: dict[str, Any]) -> Finding:
    example = manifest.get("example")
    if example is None:
        return Finding(what="codes", state="unknown", text="the model carries no cells to compare")
    found = difference(model.encoder, example)
    text = f"of the {len(example.get('genes', ()))} cells that it carries differ by {found:.1e} of the largest"
    return Finding(what="codes", state="same" if found <= TOLERANCE else "differs", text=text)


def _place(folder: Path) -> Path | None:
    """Return where the run found its corpus, if there is one."""
    place = (read_capsule(folder) or {}).get("data", {}).get("path")
    if not isinstance(place, str):
        return None
    corpus = expanded(place)
    return corpus if (corpus / "corpus.json").is_file() else None


def _metrics(model: CellModel, corpus: Corpus | Path | str | None) -> Iterator[Finding]:
    recorded, fingerprint = model.card.get("metrics", {}), model.card.get("data", {}).get("corpus")
    if corpus is None:
        hint = "its corpus is not at hand" if fingerprint else "it does not say on which corpus it was trained"
        yield Finding(what="data", state="unknown", text=hint)
        yield Finding(what="metrics", state="unknown", text="not recomputed; give the corpus: --corpus DIR")
        return
    cells = corpus if isinstance(corpus, Corpus) else Corpus.open(corpus)
    same = cells.fingerprint == fingerprint
    where = cells.path or "the corpus"
    words = "has the cells that it was trained on" if same else "is not the corpus that it was trained on"
    yield Finding(what="data", state="same" if same else "differs", text=f"{where} {words}")
    if not same or "val_loss" not in recorded:
        why = "it is another corpus" if not same else "the run recorded no validation loss"
        yield Finding(what="metrics", state="unknown", text=f"not recomputed: {why}")
        return
    try:
        found = validation_loss(model, cells)
    except ScsslError as error:
        yield Finding(what="metrics", state="unknown", text=f"not recomputed: {error}")
        return
    precision = model.card.get("training", {}).get("precision", "fp32")
    close = abs(found - recorded["val_loss"]) <= CLOSE.get(precision, 1e-3) * max(abs(recorded["val_loss"]), 1e-9)
    text = (
        f"val_loss {found:.6g} on {count(cells.n_cells('val'), 'cell')}, recorded as {recorded['val_loss']:.6g} "
        f"({precision})"
    )
    yield Finding(what="metrics", state="same" if close else "differs", text=text)


def validation_loss(model: CellModel, corpus: Corpus) -> float:
    """Return the loss of a model on its validation cells, with the masks that its training drew.

    Parameters
    ----------
    model
        The model.
    corpus
        That it was trained on.
    """
    from scssl.pretext import Draw
    from scssl.training.module import VALIDATION_EPOCH
    from scssl.training.parallel import validation_batch_size

    n_cells, training = corpus.n_cells("val"), model.card["training"]
    size = validation_batch_size(n_cells, training["batch_size"])
    draw = Draw(model.config.training.seed, VALIDATION_EPOCH)
    task, total = model.task.to("cpu").eval(), 0.0
    cast: Any = contextlib.nullcontext()
    if training.get("precision") == "bf16":
        cast = torch.autocast("cpu", dtype=torch.bfloat16)
    loader = corpus.loader(split="val", batch_size=size, shuffle=False)
    with progress("validating", n_cells) as advance, torch.no_grad(), own_cores(torch.device("cpu")), cast:
        for batch in loader:
            total += float(task.losses(batch, draw=draw)["loss"]) * batch.n_cells
            advance(batch.n_cells)
    return total / n_cells
