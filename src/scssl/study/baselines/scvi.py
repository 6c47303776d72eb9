"""scVI and scANVI: variational autoencoders of the target's own cells, with and without labels."""

from __future__ import annotations

import logging
import random
import warnings
from contextlib import contextmanager
from math import ceil
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.study.baselines.base import Fit, register
from scssl.study.baselines.pca_methods import probe_labels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

UNKNOWN: Final = "(unknown)"
BATCH: Final = 128
EPOCHS: Final = (100, 400)
"""Passes over the training donors, at least and at most: few cells need more of them."""
STEPS: Final = 8000
"""Steps that more than the least number of passes is made for."""
TUNING_EPOCHS: Final = (20, 100)
"""The same when scANVI learns the labels, and when a model is adapted to the test donors."""
TUNING_STEPS: Final = 1000


@register(
    name="scvi",
    title="scVI of the target + logistic regression",
    summary="scVI of the training donors (batch: donor, 100 to 400 epochs); logistic regression on its 10 dimensions.",
    doi="10.1038/s41592-018-0229-2",
    needs="scvi-tools",
)
def scvi(fit: Fit) -> NDArray[np.int64]:
    """Label by logistic regression on scVI's latent space."""
    with _package(fit.seed) as package:
        model, query = _trained(package, fit)
        new = _adapted(package.model.SCVI, model, query, device=fit.device)
        space = model.get_latent_representation()
        told = np.searchsorted(fit.unlabelled, fit.train)
        return probe_labels(space[told], fit.codes, new.get_latent_representation(), n_classes=fit.n_classes)


@register(
    name="scanvi",
    title="scANVI of the target",
    summary="scANVI of the training donors, from that scVI, then adapted to the test donors without labels.",
    doi="10.15252/msb.20209620",
    needs="scvi-tools",
)
def scanvi(fit: Fit) -> NDArray[np.int64]:
    """Label by scANVI."""
    if len(np.unique(fit.codes)) == 1:
        return np.full(len(fit.test), fit.codes[0], dtype=np.int64)
    with _package(fit.seed) as package:
        model, query = _trained(package, fit)
        labelled = package.model.SCANVI.from_scvi_model(model, unlabeled_category=UNKNOWN, labels_key="told")
        _train(labelled, len(fit.unlabelled), TUNING_EPOCHS, TUNING_STEPS, device=fit.device)
        new = _adapted(package.model.SCANVI, labelled, query, device=fit.device)
        return np.asarray(new.predict()).astype(np.int64)


def _trained(package: Any, fit: Fit) -> tuple[Any, Any]:
    """Train scVI on the training donors' cells; return it, and the test cells."""
    reference, query = fit.target.anndata(fit.unlabelled), fit.target.anndata(fit.test)
    told = np.full(len(fit.unlabelled), UNKNOWN, dtype=object)
    told[np.searchsorted(fit.unlabelled, fit.train)] = fit.codes.astype(str)
    reference.obs["told"], query.obs["told"] = told, UNKNOWN
    package.model.SCVI.setup_anndata(reference, batch_key="donor", labels_key="told")
    model = package.model.SCVI(reference)
    _train(model, reference.n_obs, EPOCHS, STEPS, device=fit.device)
    return model, query


def _adapted(kind: Any, model: Any, query: Any, *, device: str) -> Any:
    """Return a model that also knows the query's donors; what it knew of the others stays."""
    kind.prepare_query_anndata(query, model)
    new = kind.load_query_data(query, model)
    plan = {"weight_decay": 0.0}
    _train(new, query.n_obs, TUNING_EPOCHS, TUNING_STEPS, device=device, plan_kwargs=plan)
    return new


def _train(model: Any, n_cells: int, epochs: tuple[int, int], steps: int, *, device: str, **options: Any) -> None:
    n = n_epochs(n_cells, epochs=epochs, steps=steps)
    place = {"cuda": "gpu"}.get(device, device)
    model.train(max_epochs=n, batch_size=BATCH, accelerator=place, enable_progress_bar=False, logger=False, **options)


def n_epochs(n_cells: int, *, epochs: tuple[int, int], steps: int) -> int:
    """Return how many passes to make.

    Parameters
    ----------
    n_cells
        Cells of one pass.
    epochs
        The least and the most.
    steps
        Steps to make as many passes for.

    Examples
    --------
    >>> [n_epochs(n, epochs=(100, 400), steps=8000) for n in (200, 5_000, 100_000)]
    [400, 200, 100]
    """
    least, most = epochs
    return max(least, min(most, ceil(steps / ceil(n_cells / BATCH))))


@contextmanager
def _package(seed: int) -> Iterator[Any]:
    """Give scvi-tools its seed, and put back what it changes for everybody: random states and how much is said."""
    import scvi as package  # type: ignore[import-not-found]
    import torch

    loggers = [logging.getLogger(name) for name in ("scvi", "lightning.pytorch")]
    levels = [each.level for each in loggers]
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for each in loggers:
                each.setLevel(logging.ERROR)
            package.settings.seed = seed
            yield package
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
            for each, level in zip(loggers, levels, strict=True):
                each.setLevel(level)
