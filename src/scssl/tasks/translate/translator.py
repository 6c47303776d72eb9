"""Translator: proteins or peaks of new cells from their RNA, learned from cells in which both were measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from scssl import keys
from scssl.errors import SettingsError
from scssl.tasks.task import SavedTask, open_model
from scssl.tasks.translate import files
from scssl.tasks.translate.settings import GIVES, TranslationTraining, TranslatorSettings
from scssl.tasks.translate.targets import rna_of

if TYPE_CHECKING:
    from typing import Self

    from scssl.model.cell_model import CellModel
    from scssl.tasks.translate.fitted import Fitted
    from scssl.tasks.translate.scores import TranslationScores
    from scssl.tasks.translate.settings import Likelihood, Mode, To, Written
    from scssl.tasks.translate.translation import Translation
    from scssl.training.devices import Device


class Translator(SavedTask[TranslatorSettings, "Fitted"]):
    """Predict surface proteins (CITE-seq) or accessible peaks (multiome) from RNA.

    ``zero_shot``: the mean of the `k` nearest reference cells in the model's space. ``probe``: a linear head on the
    frozen encoder. ``finetune``: the encoder is trained with the head, from the probe on, for as long as held-out cells
    are predicted better. ``in_data``: the same with an encoder that was pre-trained on the reference's own RNA alone.
    ``scratch``: the same network from random weights. The last three are the arms of Richter et al. 2024 (doi
    10.1038/s42256-024-00934-3).

    Counts of proteins are background or foreground (negative binomial mixture of totalVI, Gayoso et al. 2021, doi
    10.1038/s41592-020-01050-x), given the cell's total; proteins that were normalised are normal on the scale given;
    peaks are open or not (Bernoulli), or counted (Poisson).

    Parameters
    ----------
    model
        `scssl.CellModel`, or the folder of one. ``in_data`` and ``scratch`` take only its shape and genes.
    to
        ``"protein"`` or ``"atac"``.
    mode
        How is learned.
    likelihood
        What the values are taken for; ``"auto"`` decides by what they are and says so.
    k
        Neighbours that are averaged over, in ``zero_shot``.
    max_features
        Of more features than this, those found in most cells are predicted.
    training
        Settings of the training, in all modes but ``zero_shot``.

    Examples
    --------
    >>> import scssl
    >>> translator = scssl.tasks.Translator("model/", to="protein").fit("cite.h5ad")  # doctest: +SKIP
    >>> translator.predict(query).obsm["scssl_protein"]  # doctest: +SKIP
    """

    _files = files
    _fit_first = "this translator has no reference yet: call fit(reference) first"

    def __init__(
        self,
        model: CellModel | Path | str,
        *,
        to: To = "protein",
        mode: Mode = "probe",
        likelihood: Likelihood = "auto",
        k: int = 20,
        max_features: int = 20_000,
        training: TranslationTraining | None = None,
    ) -> None:
        self.settings = TranslatorSettings(
            to=to, mode=mode, likelihood=likelihood, k=k, max_features=max_features,
            training=training or TranslationTraining(),
        )  # fmt: skip
        self.model, self.model_name = open_model(model)
        if not hasattr(self.model, "encoder"):
            message = f"a translator needs a scssl.CellModel, not {type(model).__name__}"
            raise SettingsError(message)
        self.fitted: Fitted | None = None
        self._reference: dict[str, Any] | None = None

    @property
    def names(self) -> list[str]:
        """Features that are predicted."""
        return self._fitted().scale.names

    def fit(
        self,
        reference: Any,
        *,
        target: str | None = None,
        donor: str | None = None,
        layer: str | None = None,
        seed: int = 0,
        device: Device = "auto",
    ) -> Self:
        """Learn from cells in which RNA and the other modality were measured.

        Parameters
        ----------
        reference
            AnnData, MuData, or a file of either (.h5ad, .zarr, .h5mu, 10x .h5 or mtx folder), with raw counts of RNA.
        target
            Where the other modality is: ``obsm:KEY``, ``mod:NAME``, ``mod:NAME/LAYER``, or ``features:TYPE`` for
            features of X that ``var["feature_types"]`` calls so (10x); None for a usual name, such as ``protein``,
            ``adt``, ``atac``, ``Antibody Capture``. Names come from a table's columns, the ``var``, or
            ``uns["KEY_names"]``.
        donor
            Column of ``obs`` with the donors or batches, who are held out whole; None for ``"donor"`` if there is one;
            ``"cell"`` to hold out cells one by one.
        layer
            Where the counts of RNA are: None for ``X``, ``"raw"``, or the name of a layer.
        seed
            Of everything random.
        device
            Where to compute.

        Raises
        ------
        DataError
            If the modality or a column is missing, its values cannot be used, or too few cells have both.
        SettingsError
            If `target` cannot be understood.
        """
        from scssl.tasks.translate.learn import learn

        self.fitted = learn(
            self.model, reference, settings=self.settings, target=target, donor=donor, layer=layer, seed=seed,
            device=device,
        )  # fmt: skip
        self._reference = {"reference": reference, "layer": layer, "donor": donor, "seed": seed}
        return self

    def translate(self, query: Any, *, layer: str | None = None, device: Device = "auto") -> Translation:
        """Predict for cells and hand the numbers back, with nothing written anywhere.

        Parameters
        ----------
        query
            AnnData, MuData or file with raw counts of RNA.
        layer
            Where the counts are.
        device
            Where to compute.

        Raises
        ------
        SettingsError
            If `fit` has not been called.
        DataError
            If the counts cannot be used, or the genes do not fit the model.
        """
        from scssl.tasks.translate.translation import describe, translate

        fitted = self._fitted()
        settings = describe(fitted, self.settings, model_name=self.model_name)
        return translate(fitted, rna_of(query), layer=layer, device=device, settings=settings)

    def predict(
        self,
        query: Any,
        *,
        written: Written = "scaled",
        layer: str | None = None,
        key_added: str | None = None,
        device: Device = "auto",
    ) -> Any:
        """Predict for cells and write the numbers beside them.

        Parameters
        ----------
        query
            AnnData or MuData (written to) or file (not written to) with raw counts of RNA.
        written
            ``"scaled"``: the mean on the scale of the scores, which ``uns`` states: of log1p of counts at the
            reference's median total, of the values as given, or the probability that a peak is open. ``"expected"``:
            expected counts at that total. ``"foreground"``: the same without the background, for counts of proteins.
        layer
            Where the counts are.
        key_added
            Word to put in place of "scssl" in the names below.
        device
            Where to compute.

        Returns
        -------
        anndata.AnnData or mudata.MuData
            The query; for a file, its ``obs`` without the counts. Written, for a MuData to its RNA:

            - ``obsm["scssl_protein"]`` or ``obsm["scssl_atac"]``: float32, (n_cells, n_features); NaN for cells without
              any count.
            - ``obsm["scssl_protein_probability"]``: float32, that a protein is above its background; for counts of
              proteins.
            - ``uns["scssl"]["translate"]``: names of the features, scale, settings, reference, model and versions.
        """
        self.check_written(written)
        translation = self.translate(query, layer=layer, device=device)
        results = translation.results(written=written, key_added=key_added)
        if isinstance(query, str | Path):
            from anndata import AnnData

            query = AnnData(obs=translation.obs)
        results.into(rna_of(query))
        return query

    def evaluate(
        self,
        query: Any,
        *,
        target: str | None = None,
        donor: str | None = None,
        layer: str | None = None,
        reference: Any = None,
        reference_layer: str | None = None,
        compare: Literal["all", "mean"] = "all",
        device: Device = "auto",
    ) -> TranslationScores:
        """Predict for cells and compare with what was measured, and with baselines; nothing is written.

        Parameters
        ----------
        query
            AnnData, MuData or file with RNA and the other modality.
        target
            Where the truth is; None for where the reference had it, or else a usual name.
        donor
            Column of ``obs`` with donors or batches, for scores by donor; ``"donor"`` if there is one.
        layer
            Where the counts of RNA are.
        reference
            What `fit` was given, for baselines that learn from it; a translator that was not loaded has it at hand.
        reference_layer
            Where the counts of RNA are in `reference`.
        compare
            ``"mean"`` leaves out the baselines that have to be fitted.
        device
            Where to compute.

        Returns
        -------
        TranslationScores
            Of the translator, the mean, ridge regression, nearest cells, and ridge on principal components.

        Raises
        ------
        DataError
            If these are the cells that the translator learned from, the truth is not there, or nothing can be scored.
        """
        from scssl.tasks.translate.evaluate import evaluate

        known = (self._reference if compare == "all" else None) or {
            "reference": None,
            "layer": None,
            "donor": None,
            "seed": 0,
        }
        if reference is not None:
            known = {**known, "reference": reference, "layer": reference_layer}
        fitted = self._fitted()
        return evaluate(
            fitted, self.translate(query, layer=layer, device=device), query, mode=self.settings.mode,
            target=target, donor=donor, layer=layer, reference=known["reference"], reference_layer=known["layer"],
            reference_donor=known["donor"], seed=known["seed"],
        )  # fmt: skip

    def check_written(self, written: Written) -> None:
        """Refuse numbers that the likelihood does not have, before any work.

        Parameters
        ----------
        written
            As in `predict`.

        Raises
        ------
        SettingsError
            If there are none.
        """
        likelihood = self._fitted().scale.likelihood
        there = GIVES[likelihood]
        if self.settings.mode == "zero_shot":
            there = tuple(name for name in there if name != "foreground")
        if written not in there:
            message = (
                f"{written!r} is not known in mode {self.settings.mode!r} with likelihood {likelihood!r}; there is: "
                f"{', '.join(there)}"
            )
            raise SettingsError(message)

    @property
    def key(self) -> str:
        """Key of ``obsm`` under which predictions are written."""
        return keys.PROTEIN if self.settings.to == "protein" else keys.PEAKS
