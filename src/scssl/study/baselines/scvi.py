"""scVI and scANVI: variational autoencoders of the target's own cells, with and without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.study.baselines.base import Fit, register
from scssl.study.baselines.pca_methods import probe_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNKNOWN: Final = "(unknown)"
EPOCHS: Final = 100
TUNING_EPOCHS: Final = 20


@register(
    name="scvi",
    title="scVI of the target + logistic regression",
    summary="scVI of the training donors (batch: donor, 100 epochs); logistic regression on its 10 dimensions.",
    doi="10.1038/s41592-018-0229-2",
    needs="scvi-tools",
)
def scvi(fit: Fit) -> NDArray[np.int64]:
    """Label by logistic regression on scVI's latent space."""
    import scvi as package  # type: ignore[import-not-found]

    model, query = _trained(package, fit)
    package.model.SCVI.prepare_query_anndata(query, model)
    new = package.model.SCVI.load_query_data(query, model, inplace_subset_query_vars=True)
    new.train(max_epochs=TUNING_EPOCHS, plan_kwargs={"weight_decay": 0.0}, enable_progress_bar=False, logger=False)
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
    import scvi as package

    model, query = _trained(package, fit)
    labelled = package.model.SCANVI.from_scvi_model(model, unlabeled_category=UNKNOWN, labels_key="told")
    labelled.train(max_epochs=TUNING_EPOCHS, enable_progress_bar=False, logger=False)
    query.obs["told"] = UNKNOWN
    new = package.model.SCANVI.load_query_data(query, labelled)
    new.train(max_epochs=TUNING_EPOCHS, plan_kwargs={"weight_decay": 0.0}, enable_progress_bar=False, logger=False)
    return np.asarray(new.predict()).astype(np.int64)


def _trained(package: Any, fit: Fit) -> tuple[Any, Any]:
    """Train scVI on the training donors' cells; return it, and the test cells."""
    package.settings.seed = fit.seed
    reference, query = fit.target.anndata(fit.unlabelled), fit.target.anndata(fit.test)
    told = np.full(len(fit.unlabelled), UNKNOWN, dtype=object)
    told[np.searchsorted(fit.unlabelled, fit.train)] = fit.codes.astype(str)
    reference.obs["told"] = told
    package.model.SCVI.setup_anndata(reference, batch_key="donor", labels_key="told")
    model = package.model.SCVI(reference)
    model.train(max_epochs=EPOCHS, enable_progress_bar=False, logger=False)
    return model, query
