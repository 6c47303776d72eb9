"""Reconstructor: expression of all genes of a model's panel for each cell, with its uncertainty."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from scssl.errors import DataError, SettingsError, require_column
from scssl.tasks.reconstruct import files
from scssl.tasks.reconstruct.apply import Reading, read
from scssl.tasks.reconstruct.holdout import SHARES
from scssl.tasks.reconstruct.learn import Fitted, learn
from scssl.tasks.reconstruct.readout import Readout, check_readable
from scssl.tasks.reconstruct.sample import draw
from scssl.tasks.reconstruct.settings import Likelihood, Mode, ReconstructorSettings
from scssl.tasks.task import SavedTask, open_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    import numpy as np
    from anndata import AnnData

    from scssl.model.cell_model import CellModel
    from scssl.tasks.reconstruct.holdout import HoldOut
    from scssl.tasks.reconstruct.reconstruction import Reconstruction
    from scssl.tasks.reconstruct.scoring import Evaluation
    from scssl.training.devices import Device

DEFAULT = ("expression", "sd")
LEAST_CELLS = 10
"""Cells without which nothing can be scored."""


class Reconstructor(SavedTask[ReconstructorSettings, Fitted]):
    """Read the expression of all genes of a model's panel, measured or not, from its decoder.

    ``zero_shot``: the pre-trained model as it is. ``finetune``: its pre-training goes on with the cells of a reference,
    without labels. ``scratch``: the same network learns from the reference alone, from random weights: what
    pre-training has to be better than.

    Values are log1p of counts per 10,000. Where the model predicts counts, they are without the noise of counting, and
    the likelihood says how far measurements stray from them. Where it predicts log values (``mse``), that is learned
    from a reference, per gene. Reconstructed values are for looking at and for other models, not for tests: they share
    information between cells, so that tests find differences that are not there (doi 10.12688/f1000research.16613.2).

    Parameters
    ----------
    model
        `scssl.CellModel`, or the folder of one.
    mode
        Where the network comes from.
    loss
        What is predicted, in the modes that train: counts (``"nb"``, ``"zinb"``, ``"poisson"``), log values
        (``"mse"``), or ``"model"``: as the model does.
    epochs
        Passes over the reference; 0 for as many as make 1,000 steps (2,000 in ``scratch``).
    source
        Source of the model's corpus that the cells are of, for decoders that are told it; "" for a new one.

    Examples
    --------
    >>> import scssl
    >>> model = scssl.load("model/")  # doctest: +SKIP
    >>> reconstructor = scssl.tasks.Reconstructor(model, mode="finetune").fit(reference)  # doctest: +SKIP
    >>> reconstructor.predict(query).layers["scssl_expression"]  # doctest: +SKIP
    """

    _files = files

    def __init__(
        self,
        model: CellModel | Path | str,
        *,
        mode: Mode = "zero_shot",
        loss: Likelihood = "model",
        epochs: int = 0,
        source: str = "",
    ) -> None:
        self.settings = ReconstructorSettings(mode=mode, loss=loss, epochs=epochs, source=source)
        self.model, self.model_name = open_model(model)
        self.fitted: Fitted | None = None
        if mode == "zero_shot":
            check_readable(self.model)

    @property
    def mode(self) -> Mode:
        """Where the network comes from."""
        return self.settings.mode

    def fit(
        self,
        reference: AnnData | Path | str,
        *,
        layer: str | None = None,
        seed: int = 0,
        device: Device = "auto",
    ) -> Self:
        """Learn from cells; no labels are needed.

        In ``zero_shot`` the network stays as it is, and only how far measurements stray from its values is learned,
        where the likelihood does not say; `predict` works without `fit`, then.

        Parameters
        ----------
        reference
            AnnData or file with raw counts; may be the query.
        layer
            Where the counts are: None for ``X``, ``"raw"``, or the name of a layer.
        seed
            Of everything random.
        device
            Where to compute.

        Raises
        ------
        SettingsError
            If no expression can be read from the model.
        DataError
            If the counts cannot be used, or the genes do not fit the model.
        """
        self.fitted = learn(self.model, reference, settings=self.settings, layer=layer, seed=seed, device=device)
        return self

    def read(
        self,
        query: AnnData | Path | str,
        *,
        genes: Sequence[str] | None = None,
        wanted: Sequence[str] = DEFAULT,
        layer: str | None = None,
        device: Device = "auto",
    ) -> Reading:
        """Prepare to read a query; ``.chunks()`` of what is returned yields the values in bounded memory.

        Parameters
        ----------
        query
            AnnData or file with raw counts.
        genes
            IDs or symbols; None for all genes of the panel.
        wanted
            Any of ``"expression"``, ``"sd"``, ``"counts"``, ``"counts_sd"``; the last two are for models of counts.
        layer
            Where the counts are.
        device
            Where to compute.
        """
        return read(
            self._fitted(), query, settings=self.settings, model_name=self.model_name, genes=genes, wanted=wanted,
            layer=layer, device=device,
        )  # fmt: skip

    def reconstruct(
        self,
        query: AnnData | Path | str,
        *,
        genes: Sequence[str] | None = None,
        wanted: Sequence[str] = DEFAULT,
        layer: str | None = None,
        device: Device = "auto",
    ) -> Reconstruction:
        """Read the expression of cells and hand it back, with nothing written anywhere.

        Parameters
        ----------
        query, genes, wanted, layer, device
            As for `read`.

        Returns
        -------
        Reconstruction
            Arrays (n_cells, n_genes); ``.to_anndata()`` makes an AnnData of all genes.
        """
        return self.read(query, genes=genes, wanted=wanted, layer=layer, device=device).all()

    def predict(
        self,
        query: AnnData | Path | str,
        *,
        genes: Sequence[str] | None = None,
        wanted: Sequence[str] = DEFAULT,
        layer: str | None = None,
        key_added: str | None = None,
        device: Device = "auto",
    ) -> AnnData:
        """Read the expression of cells and write it beside them.

        Parameters
        ----------
        query
            AnnData (written to) or file (not written to) with raw counts.
        genes, wanted, layer, device
            As for `read`.
        key_added
            Word to put in place of "scssl" in the names below.

        Returns
        -------
        anndata.AnnData
            The query; for a file, its ``obs`` without the counts. Written:

            - ``layers["scssl_expression"]``: float32, (n_cells, n_vars), log1p of counts per 10,000; NaN for features
              that are not reconstructed, genes that the model never saw, and cells without counts. For AnnData.
            - ``layers["scssl_expression_sd"]``, ``["scssl_counts"]``, ``["scssl_counts_sd"]``: likewise, if wanted.
            - ``var["scssl_reconstructed"]``: bool, whether the feature was reconstructed. For AnnData.
            - ``obsm["X_scssl_expression"]``: float32, (n_cells, n_genes), all genes asked for.
            - ``uns["scssl"]["reconstruct"]``: ``genes``, ``symbols``, ``measured`` and ``learned`` of the columns of
              the latter; settings, reference, model and versions.
        """
        from anndata import AnnData

        found = self.reconstruct(query, genes=genes, wanted=wanted, layer=layer, device=device)
        of_file = isinstance(query, str | Path)
        adata = AnnData(obs=found.obs) if isinstance(query, str | Path) else query
        found.results(key_added=key_added, features=not of_file).into(adata)
        return adata

    def evaluate(
        self,
        query: AnnData | Path | str,
        *,
        hold_out: HoldOut = "thinned",
        share: float | None = None,
        labels: str | None = None,
        max_cells: int = 2000,
        layer: str | None = None,
        seed: int = 0,
        device: Device = "auto",
        others: Mapping[str, Any] | None = None,
    ) -> Evaluation:
        """Hold out a part of the counts of cells, predict it, and compare with baselines; nothing is written.

        Parameters
        ----------
        query
            AnnData or file with raw counts. Not the reference of ``finetune`` or ``scratch``: the network has seen
            these counts.
        hold_out
            ``"thinned"``: each cell's counts are split at random into what is seen and what is scored.
            ``"hidden"``: some of the measured genes of each cell are hidden and scored.
        share
            Share of the counts, or of the genes, held out; half of the counts, or 20 % of the genes.
        labels
            Column of ``obs`` with cell types, for the mean of each as a baseline.
        max_cells
            Cells to score, drawn at random.
        layer
            Where the counts are.
        seed
            Of the draws.
        device
            Where to compute.
        others
            More methods to score: name to function that makes one of `scssl.tasks.reconstruct.scoring.Held`.

        Returns
        -------
        Evaluation
            ``.table``: one row per method (the model, gene mean, cell-type mean, kNN smoothing, PCA), one column per
            score; per gene and per cell in ``.scores``.

        Raises
        ------
        DataError
            If the network was trained on these very cells, the column is missing, or there are too few counts.
        """
        import numpy as np

        from scssl.tasks.reconstruct.scoring import evaluate

        fitted = self._fitted()
        drawn = draw(fitted.model, query, layer=layer, max_cells=max_cells, seed=seed)
        if self.mode != "zero_shot" and drawn.fingerprint == fitted.fingerprint:
            message = (
                f"{drawn.file}: the network was trained on these very cells, held-out counts included, so scores would "
                "mean nothing; evaluate on other cells, or fit on some donors and evaluate on the others"
            )
            raise DataError(message)
        n_cells = drawn.sample.counts.shape[0]
        if n_cells < LEAST_CELLS:
            message = f"{drawn.file}: {n_cells} cells with counts are too few to score; give {LEAST_CELLS} or more"
            raise DataError(message)
        names: np.ndarray | None = None
        if labels is not None:
            require_column(drawn.obs.columns, labels, file=drawn.file)
            names = drawn.obs[labels].astype(object).map(str).to_numpy(dtype=object)
        symbols = fitted.model.panel.symbols
        return evaluate(
            drawn.sample, Readout(fitted.model, source=self.settings.source, device=device), name=self.mode,
            genes=list(np.where(symbols == "", fitted.model.panel.ids, symbols)), labels=names, spread=fitted.spread,
            gene_share=fitted.model.encoder.gene_share.cpu().numpy(), how=hold_out,
            share=SHARES.get(hold_out, 0.5) if share is None else share, seed=seed, others=others,
        )  # fmt: skip

    def _fitted(self) -> Fitted:
        if self.fitted is not None:
            return self.fitted
        if self.mode != "zero_shot":
            message = f"mode {self.mode!r} learns from a reference: call fit(reference) first"
            raise SettingsError(message)
        return Fitted(model=self.model, reference="", n_reference=0, fingerprint="", spread=None)
