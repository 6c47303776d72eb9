"""Fine-tuning and training from scratch: the encoder of a model and a linear head, on the labels of a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scssl.log import logger
from scssl.tasks.annotate.blend import Division, choose, divide
from scssl.tasks.annotate.classifier import HeldOut
from scssl.tasks.annotate.label_training import Training, narrowed_to
from scssl.tasks.annotate.labelled import gather_labelled

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.model.cell_model import CellModel
    from scssl.tasks.annotate.blend import Choice
    from scssl.tasks.annotate.label_training import Judgement
    from scssl.tasks.annotate.probe import LinearHead
    from scssl.tasks.annotate.settings import ClassWeight
    from scssl.training.finetuning import FineTuning
    from scssl.training.trainer import Device

USED = {0.0: "the probe on the frozen encoder", 1.0: "the fine-tuned network"}
"""What a share means; between them, a blend of both."""
UNCHECKED = (
    "; whether that helps on cells of another donor or study could not be checked: "
    "compare with modes 'probe' and 'scratch' on cells whose labels are known"
)
"""Said where no donor was held out."""


class Tuned(NamedTuple):
    """What supervised training gives."""

    model: CellModel
    """The encoder as it was trained on the labels, ready for use; the one given, where the probe was as good."""
    head: LinearHead
    held_out: HeldOut | None
    """Cells scored without having been learned from."""
    by_donor: bool
    """Whether whole donors were held out."""
    summary: dict[str, Any]
    """How it went, as plain values."""


def tune(
    model: CellModel,
    reference: AnnData | Path | str,
    *,
    layer: str | None,
    kept: NDArray[np.bool_],
    codes: NDArray[np.int64],
    classes: list[str],
    donors: NDArray[np.int64] | None,
    name: str,
    settings: FineTuning,
    class_weight: ClassWeight,
    from_scratch: bool,
    seed: int,
    device: Device,
    judged: bool = False,
) -> Tuned:
    """Train the encoder of a model, or one of its shape that starts at random, on labels.

    Fine-tuning starts at the linear probe's solution. How far to follow it, which may be not at all, is decided by
    cells that neither learned from: `scssl.tasks.annotate.blend`.

    Parameters
    ----------
    model
        Model to start from; it stays as it is.
    reference
        AnnData or file with raw counts.
    layer
        Where the counts are.
    kept
        (n_cells,) the labelled cells.
    codes, classes
        (n_labelled,) labels, and their names.
    donors
        (n_labelled,) codes of donors, None where cells are to be held out one by one.
    name
        What the reference is called.
    settings
        Of the training.
    class_weight
        ``"balanced"``: all labels weigh the same in all; ``"none"``: all cells do.
    from_scratch
        Start at random, on the genes that the reference measured, with what the reference says of their counts.
    seed
        Of everything random.
    device
        Where to compute.
    judged
        Hold cells out, and score them, where nothing is to be decided by them, too.
    """
    if from_scratch:
        model = narrowed_to(model, reference, layer=layer)
    nothing = np.zeros(len(codes), dtype=bool)
    cells = gather_labelled(
        model.batches(reference, layer=layer),
        model.panel,
        kept=kept,
        codes=codes,
        classes=classes,
        validation=nothing,
        share=None if from_scratch else model.encoder.gene_share.cpu().numpy(),
        name=name,
        seed=seed,
    )
    training = Training(
        model=model, cells=cells, settings=settings, class_weight=class_weight, from_scratch=from_scratch, seed=seed,
        device=device,
    )  # fmt: skip
    shares = (1.0,) if from_scratch else settings.blends
    divisions, by_donor = [Division(~nothing, nothing)], donors is not None
    if judged or settings.patience or len(shares) > 1:
        divisions, by_donor = divide(codes, donors, settings=settings, seed=seed)
    fits, judgements = [], []
    for train, validation in divisions:
        fits.append(training.fit(cells.divided(train=train, validation=validation, seed=seed)))
        judgements.append(fits[-1].judge(shares))
    unit = donors if by_donor else None
    held = [_together([judgement[i] for judgement in judgements], donors=unit) for i in range(len(shares))]
    scored = held[0]
    choice = choose(
        shares, [part.log_scores for part in held], codes=scored.codes, donors=None if unit is None else scored.donors
    )
    last = fits[-1]
    final: HeldOut | None = held[shares.index(choice.share)]
    if choice.share == 0:
        frozen, head, final = training.probe(codes, donors=donors)
        by_donor = donors is not None
    else:
        if len(scored.codes) and not settings.patience:
            # What was held out decides no more, and is learned from.
            last = training.fit(cells.divided(train=~nothing, validation=nothing, seed=seed))
        frozen, head = last.at(choice.share)
    summary = training.summary(last.result, n_train=last.n_train, n_val=len(scored.codes))
    summary["seconds"] = round(sum(fit.result.seconds for fit in {id(f): f for f in (*fits, last)}.values()), 1)
    summary["times_held_out"] = len(fits) if len(scored.codes) else 0
    if not from_scratch:
        unit_name = "donors" if unit is not None else "cells"
        summary |= _said(choice, unit=unit_name if len(scored.codes) else "", competed=len(shares) > 1, name=name)
    frozen.card["supervised"] = {**summary, "reference": name, "classes": len(classes)}
    return Tuned(
        model=frozen,
        head=head,
        held_out=final if final is not None and len(final.codes) else None,
        by_donor=by_donor,
        summary=summary,
    )


def _said(choice: Choice, *, unit: str, competed: bool, name: str) -> dict[str, Any]:
    """Say what was chosen, by what and how far that can be trusted, and return it as plain values."""
    used = USED.get(choice.share, "a blend of both")
    losses = {f"{share:g}": round(loss, 4) for share, loss in choice.losses.items()}
    if competed and choice.share == 0 and losses:
        logger.warning(
            "%s: fine-tuning is not better than the linear probe on held-out %s by more than chance (loss %s at best, "
            "against %s): the probe on the frozen encoder is used",
            name, unit, min(loss for share, loss in losses.items() if share != "0"), losses["0"],
        )  # fmt: skip
    elif competed:
        told, more = (logger.info, "") if unit == "donors" else (logger.warning, UNCHECKED)
        how = f"by held-out {unit}" if unit else "with no cell that could be held out"
        told("%s: %s, %s is used (%g fine-tuned)%s", name, how, used, choice.share, more)
    return {"used": used, "share": choice.share, "held_out_loss": losses, "judged_by": unit}


def _together(parts: list[Judgement], *, donors: NDArray[np.int64] | None) -> HeldOut:
    """Put the held-out cells of all divisions together, in the order of the reference."""
    rows = np.concatenate([part.rows for part in parts])
    order = np.argsort(rows)
    rows = rows[order]
    return HeldOut(
        log_scores=np.concatenate([part.log_scores for part in parts])[order],
        codes=np.concatenate([part.codes for part in parts])[order],
        donors=rows if donors is None else donors[rows],
        embedding=np.concatenate([part.embedding for part in parts])[order],
        rows=rows,
    )
