"""Why this label? The genes that drove a prediction, by integrated gradients on encoder and classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch

from scssl.cores import own_cores
from scssl.corpus.sources.source import open_source
from scssl.errors import DataError, SettingsError
from scssl.log import logger, progress
from scssl.nn.inputs import unmeasured_genes
from scssl.tasks.annotate.attribution import STEPS, integrated_gradients
from scssl.tasks.annotate.explanation import Explanation, Gathering
from scssl.tasks.annotate.smooth_vote import LinearScores, SmoothVote
from scssl.tasks.annotate.zero_shot import NearestCells
from scssl.training import resolve_device

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray
    from torch import Tensor

    from scssl.model.cell_model import CellModel
    from scssl.tasks.annotate.annotator import Annotator
    from scssl.tasks.annotate.probe import LinearHead
    from scssl.tasks.annotate.smooth_vote import SmoothScores
    from scssl.training.trainer import Device

INCOMPLETE = 0.05
"""Share of a score's difference from the baseline that may be lost to finite steps before a warning is given."""


class Subject(NamedTuple):
    """What is explained: an encoder, and what makes labels of its codes."""

    model: CellModel
    classifier: NearestCells | LinearHead
    classes: list[str]
    mode: str


def explain(
    annotator: Annotator | Subject,
    query: AnnData | Path | str,
    *,
    cells: Sequence[str] | NDArray[Any] | None = None,
    label: str | None = None,
    against: str | None = None,
    n_top: int = 20,
    n_steps: int = STEPS,
    layer: str | None = None,
    batch_size: int = 512,
    device: Device = "auto",
) -> Explanation:
    """Find the genes that drove the labels of cells: integrated gradients (Sundararajan et al. 2017).

    The score that is explained is the log-odds of the label against all others together. Each gene is given the part
    of it by which the cell differs from one that has every gene at its mean in the pre-training corpus; the parts add
    up to the difference. Genes that were not measured are given none. A gene can speak for a label by being absent.

    ``zero_shot`` has no gradient, as neighbours vote; there a smooth stand-in is explained: the log-odds of labels
    whose scores fall with the squared distance to the label's own k cells nearest to the cell. In the other modes it
    is the classifier itself.

    Parameters
    ----------
    annotator
        Fitted annotator, on a `scssl.CellModel`; or the parts of one.
    query
        AnnData or file with raw counts.
    cells
        The cells to explain: names, row numbers, or a mask over all; all by default.
    label
        Explain this label for every cell ("how much of a NK cell is it, and why?"); by default each cell's own best
        guess.
    against
        Compare with this label alone ("why CD4 T rather than CD8 T?"); by default with all others. Cells whose own
        best guess it is are left out.
    n_top
        Genes to return per cell and per type.
    n_steps
        Points at which gradients are taken on the way from the baseline to the cell.
    layer
        Where the counts are: None for ``X``, ``"raw"``, or the name of a layer.
    batch_size
        Cells explained at a time: memory is about 20 bytes for each of them and each gene.
    device
        Where to compute.

    Returns
    -------
    Explanation
        Tables of genes per cell and per type. Cells without counts are left out.

    Raises
    ------
    SettingsError
        If the annotator is not fitted, is not on a `CellModel`, or knows one label only; if a label is not known; or
        if a number is not positive.
    DataError
        If there is no cell to explain, or the counts cannot be used.
    """
    for name, value in (("n_top", n_top), ("n_steps", n_steps), ("batch_size", batch_size)):
        if value < 1:
            message = f"{name} is {value}; give at least 1"
            raise SettingsError(message)
    model, classifier, classes, mode = annotator if isinstance(annotator, Subject) else _parts_of(annotator)
    if len(classes) < 2:
        message = f"the reference has one label only, {classes[0]!r}; there is nothing that could speak for another"
        raise SettingsError(message)
    asked, other = _code(label, classes, name="label"), _code(against, classes, name="against")
    if asked is not None and asked == other:
        message = f"label and against are both {label!r}; there is nothing to compare"
        raise SettingsError(message)
    with open_source(query, layer=layer) as source:
        names, file = source.obs.index.to_numpy(dtype=object), source.file
    chosen = _chosen(cells, names=names, file=file)
    target = resolve_device(device)
    encoder = model.encoder.to(target).eval()
    smooth = _smooth(classifier, n_classes=len(classes), device=target)
    batch_size = min(batch_size, smooth.cells_at_once(model.n_latent))
    gathering = Gathering(
        panel=model.panel,
        classes=classes,
        baseline=encoder.states.mean.cpu().numpy(),
        n_top=min(n_top, len(model.panel)),
    )
    agreeing = explained = first = 0
    lost = 0.0
    with progress("explaining", len(names)) as advance, own_cores(target):
        for batch in model.batches(query, layer=layer, batch_size=batch_size):
            wanted = chosen[first : first + batch.n_cells] & (batch.size_factor.numpy() > 0)
            rows = torch.from_numpy(np.flatnonzero(wanted)).to(target)
            here, first = first, first + batch.n_cells
            advance(batch.n_cells)
            if not wanted.any():
                continue
            batch = batch.to(target)
            x, unmeasured = encoder.normalise(batch)[rows], unmeasured_genes(batch)
            unmeasured = None if unmeasured is None else unmeasured[rows]
            with torch.no_grad():
                codes = encoder(x, unmeasured=unmeasured).float()
            own = torch.from_numpy(classifier.log_scores(codes.cpu().numpy()).argmax(1)).to(target)
            if other is not None and asked is None:
                kept = own != other
                x, codes, own, rows = x[kept], codes[kept], own[kept], rows[kept]
                unmeasured = None if unmeasured is None else unmeasured[kept]
                if not len(rows):
                    continue
            labels = own if asked is None else torch.full_like(own, asked)
            scores = smooth.around(codes)
            agreeing += int((scores(codes).argmax(1) == own).sum())
            found = integrated_gradients(
                encoder, _log_odds(scores, labels, other=other), x, unmeasured=unmeasured, n_steps=n_steps
            )
            explained += len(rows)
            gap = found.score - found.baseline - found.values.sum(1)
            lost += float(gap.abs().sum())
            gathering.add(
                names[here + rows.cpu().numpy()],
                labels.cpu().numpy(),
                values=found.values.cpu().numpy(),
                log1p=x.cpu().numpy(),
                score=found.score.cpu().numpy(),
                baseline=found.baseline.cpu().numpy(),
            )
    if not explained:
        message = f"{file}: no cell to explain" + (f"; all chosen cells are {against!r}" if other is not None else "")
        raise DataError(message)
    tables = gathering.tables()
    change = float((tables["cells"]["score"] - tables["cells"]["baseline"]).abs().mean())
    share_lost = lost / explained / max(change, 1e-12)
    settings = {
        "mode": mode,
        "label": label or "best guess",
        "against": against or "all other labels",
        "baseline": "gene means of the pre-training corpus",
        "n_steps": n_steps,
        "lost_to_finite_steps": round(share_lost, 6),
        # How often the score explained puts first the label that the annotator does: 1 but for the stand-in.
        "stand_in_agreement": round(agreeing / explained, 4),
        "n_cells": explained,
        "query": file,
    }
    if share_lost > INCOMPLETE:
        logger.warning(
            "%.0f%% of the scores is lost to finite steps; raise n_steps from %d",
            100 * share_lost, n_steps,
        )  # fmt: skip
    return Explanation(**tables, settings=settings)


def _log_odds(scores: Callable[[Tensor], Tensor], labels: Tensor, *, other: int | None) -> Callable[[Tensor], Tensor]:
    """Return the score that is explained: log-odds of each cell's label against one other label, or all."""

    def log_odds(codes: Tensor) -> Tensor:
        all_scores = scores(codes)
        mine = all_scores.gather(1, labels[:, None])
        if other is not None:
            return mine[:, 0] - all_scores[:, other]
        rest = all_scores.scatter(1, labels[:, None], -torch.inf)
        return mine[:, 0] - rest.logsumexp(1)

    return log_odds


def _parts_of(annotator: Annotator) -> Subject:
    from scssl.model.cell_model import CellModel

    known = annotator._fitted()
    if not isinstance(known.model, CellModel):
        message = f"only a CellModel can be explained; this annotator is on a {type(known.model).__name__}"
        raise SettingsError(message)
    classifier = cast("NearestCells | LinearHead", known.classifier)
    return Subject(known.model, classifier, known.reference.classes, annotator.mode)


def _smooth(classifier: NearestCells | LinearHead, *, n_classes: int, device: torch.device) -> SmoothScores:
    """Return scores with a gradient, of a classifier or in its place."""
    if isinstance(classifier, NearestCells):
        reference = torch.from_numpy(classifier.embedding).to(device)
        return SmoothVote(reference, labels=classifier.codes, n_classes=n_classes, k=classifier.k)
    return LinearScores(
        weight=torch.from_numpy(classifier.weight).to(device), bias=torch.from_numpy(classifier.bias).to(device)
    )


def _code(label: str | None, classes: list[str], *, name: str) -> int | None:
    if label is None:
        return None
    if label not in classes:
        there = ", ".join(classes[:20]) + (", ..." if len(classes) > 20 else "")
        message = f"{name} {label!r} is not a label of the reference; there are: {there}"
        raise SettingsError(message)
    return classes.index(label)


def _chosen(cells: Sequence[str] | NDArray[Any] | None, *, names: NDArray[Any], file: str) -> NDArray[np.bool_]:
    """Return a mask of the cells to explain."""
    if cells is None:
        return np.ones(len(names), dtype=bool)
    given = np.asarray(cells)
    if given.dtype == bool:
        if given.shape != names.shape:
            message = f"{file}: the mask of cells has {given.size} entries, the file {len(names)} cells"
            raise DataError(message)
        return given
    if given.size == 0:
        message = f"{file}: no cell to explain: cells is empty"
        raise DataError(message)
    if np.issubdtype(given.dtype, np.integer):
        if given.min() < 0 or given.max() >= len(names):
            message = (
                f"{file}: cells holds row {given.max() if given.min() >= 0 else given.min()}, of {len(names)} rows"
            )
            raise DataError(message)
        return np.isin(np.arange(len(names)), given)
    wanted = {str(name) for name in given.ravel()}
    mask = np.fromiter((str(name) in wanted for name in names), dtype=bool, count=len(names))
    absent = sorted(wanted.difference(map(str, names[mask])))
    if absent:
        message = f"{file}: has no cell {absent[0]!r}" + (
            f" ({len(absent)} of those asked for)" if len(absent) > 1 else ""
        )
        raise DataError(message)
    return mask
