"""Integrator: the batches of a study in one space, from a pre-trained encoder; and new cells into that space."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scssl.errors import DataError
from scssl.log import logger
from scssl.tasks.annotate.quality import read_quality
from scssl.tasks.integrate import files
from scssl.tasks.integrate.correct import fit_correction
from scssl.tasks.integrate.fitted import FEW, Fitted, Integration, read_batches
from scssl.tasks.integrate.settings import Correct, IntegratorSettings, Mode
from scssl.tasks.task import SavedTask, open_model

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Self

    from anndata import AnnData

    from scssl.model.cell_model import CellModel
    from scssl.tasks.integrate.evaluate import IntegrationReport
    from scssl.training.devices import Device


class Integrator(SavedTask[IntegratorSettings, Fitted]):
    """Bring the batches of a study together, in the space of a pre-trained encoder.

    ``zero_shot``: the encoder stays as it is. ``finetune``: it first goes on with its training on the cells of the
    study, without labels, its decoder told the batch of each cell. Then the batches are moved together (see `correct`).

    New cells, of new batches too, are mapped into the space of the study by `predict`, with nothing trained and no cell
    of the study moved.

    Parameters
    ----------
    model
        `scssl.CellModel`, or the folder of one.
    mode
        Whether the encoder is trained on the study.
    batch
        Column of ``obs`` with the batches.
    correct
        What is done to the codes. ``"clusters"``: batches are moved together in each of many overlapping clusters, by
        Harmony's model; ``"centre"``: each batch is moved as a whole onto the mean of all cells; ``"none"``: nothing.
    steps
        Of the training in ``finetune``; an epoch is finished.

    Examples
    --------
    >>> import scssl
    >>> integrator = scssl.tasks.Integrator("model/", batch="donor").fit(adata)  # doctest: +SKIP
    >>> integrator.predict(adata).obsm["X_scssl_integrated"]  # doctest: +SKIP
    """

    _files = files
    _fit_first = "this integrator has no study yet: call fit(study) first"

    def __init__(
        self,
        model: CellModel | Path | str,
        *,
        mode: Mode = "zero_shot",
        batch: str = "batch",
        correct: Correct = "clusters",
        steps: int = 500,
    ) -> None:
        self.settings = IntegratorSettings(mode=mode, correct=correct, steps=steps)
        self.batch = batch
        self.model, self.model_name = open_model(model)
        self.fitted: Fitted | None = None

    @property
    def mode(self) -> Mode:
        """Whether the encoder is trained on the study."""
        return self.settings.mode

    def fit(
        self, study: AnnData | Path | str, *, layer: str | None = None, seed: int = 0, device: Device = "auto"
    ) -> Self:
        """Bring the batches of a study together.

        Parameters
        ----------
        study
            AnnData or file with raw counts of all batches.
        layer
            Where the counts are: None for ``X``, ``"raw"``, or the name of a layer.
        seed
            Of everything random.
        device
            Where to compute.

        Raises
        ------
        DataError
            If the column is missing, a cell has no batch, there is one batch only, or the counts cannot be used.
        """
        cells = read_batches(study, self.batch, layer=layer, several=True)
        empty = read_quality(study, self.model.panel, layer=layer).empty
        size = np.bincount(cells.codes[~empty], minlength=len(cells.names))
        if size.min() < FEW:
            logger.warning(
                "%s: %d of %d batches in obs[%r] have fewer than %d cells, of which little can be said as a batch",
                cells.file, (size < FEW).sum(), len(size), self.batch, FEW,
            )  # fmt: skip
        model, training = self.model, dict[str, Any]()
        if self.mode == "finetune":
            from scssl.tasks.integrate.adapt import adapt

            model, training = adapt(
                self.model, study, batch=self.batch, layer=layer, steps=self.settings.steps, seed=seed, device=device
            )
        codes = model.embed(study, layer=layer, device=device)
        moved = codes.copy()
        # Cells without counts all lie in one place, and would pull their batches there. Batches that have no others
        # are left out of the numbering.
        batch = np.unique(cells.codes[~empty], return_inverse=True)[1]
        correction, moved[~empty] = fit_correction(codes[~empty], batch=batch, correct=self.settings.correct, seed=seed)
        self.fitted = Fitted(
            model=model, correction=correction, codes=codes, embedding=moved, batch=cells.codes, batches=cells.names,
            cells=[str(name) for name in cells.obs.index], column=self.batch, name=cells.file, training=training,
        )  # fmt: skip
        return self

    def integrate(
        self,
        cells: AnnData | Path | str,
        *,
        batch: str | None = None,
        layer: str | None = None,
        device: Device = "auto",
    ) -> Integration:
        """Return where cells lie in the space of the study, with nothing written anywhere.

        Parameters
        ----------
        cells
            AnnData or file with raw counts: the study itself, or other cells, of its batches or of new ones.
        batch
            Column of ``obs`` with the batches, if these cells have another one than the study.
        layer
            Where the counts are: None for ``X``, ``"raw"``, or the name of a layer.
        device
            Where to compute.

        Raises
        ------
        SettingsError
            If `fit` has not been called.
        DataError
            If the column is missing, a cell has no batch, or the counts cannot be used.
        """
        fitted = self._fitted()
        read = read_batches(cells, fitted.column if batch is None else batch, layer=layer, several=False)
        codes = fitted.model.embed(cells, layer=layer, device=device)
        empty = read_quality(cells, fitted.model.panel, layer=layer).empty
        embedding, known = fitted.map(codes, read, empty=empty)
        settings = self._describe() | {"query": read.file, "layer": layer or "X", "n_new_cells": int((~known).sum())}
        return Integration(embedding=embedding, codes=codes, known=known, empty=empty, batches=read, settings=settings)

    def predict(
        self,
        cells: AnnData | Path | str,
        *,
        batch: str | None = None,
        layer: str | None = None,
        key_added: str | None = None,
        device: Device = "auto",
    ) -> AnnData:
        """Write where cells lie beside them.

        Cells of the study lie where `fit` put them. Others are mapped into its space: each of their batches is moved as
        a new one, and no cell of the study is.

        Parameters
        ----------
        cells
            AnnData (written to) or file (not written to) with raw counts.
        batch
            Column of ``obs`` with the batches, if these cells have another one than the study.
        layer
            Where the counts are: None for ``X``, ``"raw"``, or the name of a layer.
        key_added
            Name in ``obsm`` instead.
        device
            Where to compute.

        Returns
        -------
        anndata.AnnData
            The cells; for a file, its ``obs`` without the counts. Written:

            - ``obsm["X_scssl_integrated"]``: float32, (n_cells, n_latent).
            - ``uns["scssl"]["integrate"]``: settings, study, model and versions.
        """
        from anndata import AnnData

        found = self.integrate(cells, batch=batch, layer=layer, device=device)
        adata = AnnData(obs=found.batches.obs) if isinstance(cells, str | Path) else cells
        found.results(key_added=key_added).into(adata)
        return adata

    transform = predict
    """The same under scikit-learn's name."""

    def evaluate(
        self,
        cells: AnnData | Path | str,
        *,
        labels: str | None = None,
        layer: str | None = None,
        unlabelled: Collection[str] | None = None,
        max_cells: int = 20_000,
        seed: int = 0,
        device: Device = "auto",
    ) -> IntegrationReport:
        """Say how well batches are mixed and types kept, beside what else could have been done; nothing is written.

        Parameters
        ----------
        cells
            AnnData or file with raw counts: the study, alone or with cells that were mapped to it.
        labels
            Column of ``obs`` with the types; without it only mixing is scored, which is best where all is lost.
        layer
            Where the counts are.
        unlabelled
            Names, in any case, that mean "not known".
        max_cells
            Score at most this many cells, drawn at random.
        seed
            Draws cells, and shuffles.
        device
            Where to compute.

        Returns
        -------
        IntegrationReport
            One row per method: this one, unintegrated principal components, Harmony on them, and as limits shuffled
            cells and an oracle that knows the labels.

        Raises
        ------
        MissingExtraError
            If the extra ``integrate`` is not installed.
        """
        from scssl.tasks.annotate.labels import UNLABELLED
        from scssl.tasks.integrate.evaluate import evaluate

        found = self.integrate(cells, layer=layer, device=device)
        if len(found.batches.names) < 2:
            message = f"{found.batches.file}: has one batch only; mixing is a matter of two or more"
            raise DataError(message)
        return evaluate(
            found, cells, panel=self._fitted().model.panel, labels=labels, layer=layer,
            unlabelled=UNLABELLED if unlabelled is None else unlabelled, max_cells=max_cells, seed=seed,
        )  # fmt: skip

    @classmethod
    def _from(cls, fitted: Fitted) -> Self:
        return cls(fitted.model, batch=fitted.column)

    def _describe(self) -> dict[str, Any]:
        fitted, settings = self._fitted(), self.settings
        return {
            "mode": settings.mode,
            "correct": settings.correct,
            **({"training": fitted.training} if fitted.training else {}),
            "model": self.model_name,
            "genes": fitted.model.panel.name,
            "batch": fitted.column,
            "study": fitted.name,
            "n_study_cells": len(fitted.codes),
            "n_batches": len(fitted.batches),
            "versions": {name: version(name) for name in ("scssl", "torch", "scikit-learn", "anndata", "numpy")},
        }
