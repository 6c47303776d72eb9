"""Score a translator on cells whose other modality is known, beside baselines fitted on the same reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scssl.corpus.sources.source import open_source
from scssl.errors import DataError, require_column
from scssl.log import logger
from scssl.tasks.translate.baselines import MEAN, Fits, baselines, log_counts
from scssl.tasks.translate.cells import Cells
from scssl.tasks.translate.division import CELL, GUESSED, read_groups
from scssl.tasks.translate.scale import PEAKS, columns
from scssl.tasks.translate.scores import TRANSLATOR, TranslationScores, score
from scssl.tasks.translate.targets import read_target, rna_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scssl.tasks.translate.fitted import Fitted
    from scssl.tasks.translate.translation import Translation

FEWEST = 3
"""Cells below which nothing can be scored."""


def evaluate(
    fitted: Fitted,
    translation: Translation,
    query: Any,
    *,
    mode: str,
    target: str | None,
    donor: str | None,
    layer: str | None,
    reference: Any,
    reference_layer: str | None,
    reference_donor: str | None,
    seed: int,
) -> TranslationScores:
    """Compare predictions with what was measured; see `Translator.evaluate`."""
    scale = fitted.scale
    if fitted.fingerprint == translation.fingerprint:
        message = (
            f"{translation.file}: the translator learned from these very cells, so scores on them would mean nothing; "
            "evaluate on other cells, or fit on some donors and evaluate on the others"
        )
        raise DataError(message)
    truth = read_target(query, target, to=scale.to)
    values, names = columns(truth, scale.names)
    known = (scale.totals(values, names=names) > 0) & ~translation.empty[truth.rows]
    rows = truth.rows[known]
    if len(rows) < FEWEST:
        message = f"{truth.where}: {len(rows)} cells have counts of RNA and of {scale.to}; at least {FEWEST} needed"
        raise DataError(message)
    scaled = scale.scaled(values[np.flatnonzero(known)], names=names)
    chosen = [scale.names.index(name) for name in names]
    predicted = {TRANSLATOR: translation.values["scaled"][rows][:, chosen]}
    tuned: dict[str, dict[str, float]] = {}
    if reference is None:
        logger.info("the reference is not at hand, so of the baselines only the mean is compared with; give reference=")
        predicted[MEAN] = np.repeat(fitted.mean[None, chosen], len(rows), axis=0)
    else:
        fits = _baselines(
            fitted, rna_of(query), rows, layer=layer, reference=reference, reference_layer=reference_layer,
            donor=reference_donor, seed=seed,
        )  # fmt: skip
        tuned = fits.chosen
        predicted |= {name: found[:, chosen] for name, found in fits.predicted.items()}
    donors = _donors(translation, donor, rows)
    overall, features, by_donor = score(
        scaled, predicted, names=names, donors=donors, open_peaks=scale.likelihood in PEAKS
    )
    return TranslationScores(
        to=scale.to,
        mode=mode,
        scale=scale.text,
        n_cells=len(rows),
        overall=overall,
        features=features,
        donors=by_donor,
        chosen=tuned,
        truth=scaled,
        predicted=predicted[TRANSLATOR],
    )


def _baselines(
    fitted: Fitted,
    query: Any,
    rows: NDArray[np.int64],
    *,
    layer: str | None,
    reference: Any,
    reference_layer: str | None,
    donor: str | None,
    seed: int,
) -> Fits:
    """Fit the baselines on the cells that the translator learned from, and on the genes that it reads."""
    scale, rna = fitted.scale, rna_of(reference)
    known = Cells.read(rna, fitted.model, layer=reference_layer)
    target = read_target(reference, fitted.target, to=scale.to)
    values, names = columns(target, scale.names)
    if names != scale.names:
        message = f"{target.where}: this is not the reference that the translator was fitted on"
        raise DataError(message)
    usable = (scale.totals(values) > 0) & (known.totals[target.rows] > 0)
    with open_source(rna, layer=reference_layer) as source:
        groups = read_groups(source.obs, donor, file=source.file)
    new = Cells.read(query, fitted.model, layer=layer)
    genes = np.flatnonzero(known.measured & new.measured)
    return baselines(
        log_counts(known.counts[target.rows[usable]], genes),
        log_counts(new.counts[rows], genes),
        target=scale.scaled(values[np.flatnonzero(usable)]),
        groups=None if groups is None else groups[target.rows[usable]],
        seed=seed,
    )


def _donors(translation: Translation, donor: str | None, rows: NDArray[np.int64]) -> NDArray[np.object_] | None:
    obs = translation.obs
    if donor == CELL or (donor is None and GUESSED not in obs.columns):
        return None
    column = donor or GUESSED
    require_column(obs.columns, column, file=translation.file, role="with the donors")
    names = obs[column].astype(object)
    return names.map(str, na_action="ignore").where(names.notna(), None).to_numpy(dtype=object)[rows]
