"""Annotator: names for new cells, from a labelled reference in the space of a pre-trained encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from scssl.log import warnings_kept
from scssl.tasks.annotate import files
from scssl.tasks.annotate.apply import apply, describe, score_labels, without_folder
from scssl.tasks.annotate.labels import UNLABELLED, read_label_map
from scssl.tasks.annotate.learn import learn
from scssl.tasks.annotate.settings import AnnotatorSettings, Calibrate, ClassWeight, Mode
from scssl.tasks.task import SavedTask, open_model
from scssl.training.finetuning import FineTuning

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Self

    import numpy as np
    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.genes import GenePanel
    from scssl.ontology import LabelTree
    from scssl.tasks.annotate.annotation import Annotation
    from scssl.tasks.annotate.classifier import Scores
    from scssl.tasks.annotate.explanation import Explanation
    from scssl.tasks.annotate.fitted import Fitted, Reference
    from scssl.tasks.annotate.scores import AnnotationScores

Device = Literal["auto", "cpu", "cuda", "mps"]


class Embedder(Protocol):
    """What an annotator needs of a model: `scssl.CellModel`, or a baseline of the same shape."""

    panel: GenePanel

    def embed(
        self, data: AnnData | Path | str, *, layer: str | None = None, batch_size: int = ..., device: Device = ...
    ) -> NDArray[np.float32]:
        """Embed cells, (n_cells, n_latent)."""


class Annotator(SavedTask[AnnotatorSettings, "Fitted"]):
    """Label cells by a labelled reference, in the space of a pre-trained encoder.

    ``zero_shot``: each cell gets the label that most of its `k` nearest reference cells have (Euclidean distance
    between embeddings, exact search, the very nearest cell included); where labels are level, the nearest cell decides.
    Nothing is trained. ``probe``: multinomial logistic regression on the standardised embedding. ``finetune``: encoder
    and a linear head are trained on the labels. ``scratch``: the same from random weights, on the genes that the
    reference measured: what pre-training has to be better than.

    In all modes, what is said of a label beside its name is learned from reference cells whose donors were held out:
    probabilities (temperature scaling) and label sets. Where there are fewer than two donors, cells are held out, which
    makes them look better than they are; that is said.

    Parameters
    ----------
    model
        `scssl.CellModel`, or the folder of one; ``zero_shot`` and ``probe`` also take a baseline of the same shape.
    mode
        How labels are found.
    k
        Neighbours that vote, in ``zero_shot``.
    class_weight
        In the other modes, ``"balanced"``: all labels weigh the same in all; ``"none"``: all cells do.
    calibrate
        ``"never"`` leaves out everything that is learned from held-out donors.
    error_rate
        Share of cells whose label set may miss the true label; 0 for no label sets.
    error_budget
        Share of cells of known types that may be rejected as unknown; 0 never rejects.
    finetuning
        Settings of the training, in ``finetune`` and ``scratch``.

    Examples
    --------
    >>> import scssl
    >>> model = scssl.load("model/")  # doctest: +SKIP
    >>> annotator = scssl.tasks.Annotator(model, mode="probe").fit(reference, labels="cell_type")  # doctest: +SKIP
    >>> annotator.predict(query).obs["scssl_label"]  # doctest: +SKIP
    """

    _files = files
    _fit_first = "this annotator has no reference yet: call fit(reference, labels=...) first"

    def __init__(
        self,
        model: Embedder | Path | str,
        *,
        mode: Mode = "zero_shot",
        k: int = 5,
        class_weight: ClassWeight = "balanced",
        calibrate: Calibrate = "auto",
        error_rate: float = 0.1,
        error_budget: float = 0.05,
        finetuning: FineTuning | None = None,
    ) -> None:
        self.settings = AnnotatorSettings(
            mode=mode, k=k, class_weight=class_weight, calibrate=calibrate, error_rate=error_rate,
            error_budget=error_budget, finetuning=finetuning or FineTuning(),
        )  # fmt: skip
        opened, self.model_name = open_model(model)
        self.model: Embedder = opened
        self.fitted: Fitted | None = None

    @property
    def mode(self) -> Mode:
        """How labels are found."""
        return self.settings.mode

    @property
    def k(self) -> int:
        """Neighbours that vote, in ``zero_shot``."""
        return self.settings.k

    @property
    def reference(self) -> Reference | None:
        """The labelled cells; None before `fit`."""
        return None if self.fitted is None else self.fitted.reference

    def fit(
        self,
        reference: AnnData | Path | str,
        *,
        labels: str = "cell_type",
        donor: str | None = None,
        layer: str | None = None,
        unlabelled: Collection[str] = UNLABELLED,
        ontology: Path | str | LabelTree | None = None,
        seed: int = 0,
        device: Device = "auto",
    ) -> Self:
        """Learn from the labelled cells of a reference.

        Parameters
        ----------
        reference
            AnnData or file with raw counts.
        labels
            Column of ``obs`` with the names.
        donor
            Column of ``obs`` with the donors, who are held out whole; None for ``"donor"`` if there is one; ``"cell"``
            to hold out cells one by one.
        layer
            Where the counts are: None for ``X``, ``"raw"``, or the name of a layer.
        unlabelled
            Names, in any case, that mean "not known"; such cells, those without a name and those without any count
            on the model's genes are left out.
        ontology
            Cell Ontology (.obo file, or ``"bundled"`` for that of the extra `ontology`) in which the labels are looked
            up, or the labels already placed in it: wide label sets then become what their labels have in common, and
            scores count kinds of the true type as right.
        seed
            Of everything random: folds over cells, and the training of ``finetune`` and ``scratch``.
        device
            Where to compute.

        Raises
        ------
        DataError
            If a column is missing, fewer than `k` cells are labelled, or the counts cannot be used.
        SettingsError
            If the mode trains the encoder, and the model is none that can be trained.
        """
        with warnings_kept() as said:
            fitted = learn(
                self.model, reference, settings=self.settings, labels=labels, donor=donor, layer=layer,
                unlabelled=unlabelled, ontology=ontology, seed=seed, device=device,
            )  # fmt: skip
        self.fitted = replace(fitted, warnings=without_folder(said, file=fitted.reference.name))
        return self

    def scores(self, query: AnnData | Path | str, *, layer: str | None = None, device: Device = "auto") -> Scores:
        """Score all labels for cells, before any calibration.

        Parameters
        ----------
        query
            AnnData or file with raw counts.
        layer
            Where the counts are: None for ``X``, ``"raw"``, or the name of a layer.
        device
            Where to compute.

        Returns
        -------
        log_scores : numpy.ndarray
            (n_cells, n_classes) float32, log-probabilities up to a constant per cell.
        embedding : numpy.ndarray
            (n_cells, n_latent) float32.
        """
        return score_labels(self._fitted(), query, layer=layer, device=device)

    def annotate(
        self, query: AnnData | Path | str, *, layer: str | None = None, device: Device = "auto", devices: int = 1
    ) -> Annotation:
        """Label cells and hand the labels back, with nothing written anywhere.

        Parameters
        ----------
        query
            AnnData or file with raw counts.
        layer
            Where the counts are: None for ``X``, ``"raw"``, or the name of a layer.
        device
            Where to compute.
        devices
            For files: CUDA devices, or with ``device="cpu"`` processes, that share the embedding.

        Raises
        ------
        SettingsError
            If `fit` has not been called.
        DataError
            If the counts cannot be used, or the genes do not fit the model.
        """
        with warnings_kept() as said:
            found = apply(self._fitted(), query, layer=layer, device=device, devices=devices)
        settings = {**describe(self._fitted(), self.settings, self.model_name), **found.settings}
        if lines := [*self._fitted().warnings, *without_folder(said, file=found.file)]:
            settings["warnings"] = lines
        return replace(found, settings=settings)

    def predict(
        self,
        query: AnnData | Path | str,
        *,
        layer: str | None = None,
        key_added: str | None = None,
        device: Device = "auto",
    ) -> AnnData:
        """Label cells and write the labels beside them.

        Parameters
        ----------
        query
            AnnData (written to) or file (not written to) with raw counts.
        layer
            Where the counts are: None for ``X``, ``"raw"``, or the name of a layer.
        key_added
            Word to put in place of "scssl" in the names below.
        device
            Where to compute.

        Returns
        -------
        anndata.AnnData
            The query; for a file, its ``obs`` without the counts. Written:

            - ``obs["scssl_label"]``: categorical, name of the label, missing for cells without any count.
            - ``obs["scssl_confidence"]``: float32 from 0 to 1, probability of the best guess, calibrated on held-out
              donors of the reference; 0 for cells without any count.
            - ``obs["scssl_label_set"]``: categorical, labels that hold the true one at the stated rate: one label, what
              several have in common, ``"A | B"``, or ``"ambiguous"``. Not with ``error_rate=0``.
            - ``obs["scssl_unknown"]``: categorical, why a cell was rejected, "" if it was not; rejected cells have the
              label ``"unknown"``. Not with ``error_budget=0``.
            - ``obsm["X_scssl"]``: float32, (n_cells, n_latent), embedding.
            - ``uns["scssl"]["annotate"]``: settings, reference, model, versions, and what was warned of.
        """
        from anndata import AnnData

        annotation = self.annotate(query, layer=layer, device=device)
        adata = AnnData(obs=annotation.obs) if isinstance(query, str | Path) else query
        annotation.results(key_added=key_added).into(adata)
        return adata

    def evaluate(
        self,
        query: AnnData | Path | str,
        *,
        truth: str = "cell_type",
        label_map: Mapping[str, str | None] | Path | str | None = None,
        donor: str | None = None,
        layer: str | None = None,
        unlabelled: Collection[str] = UNLABELLED,
        device: Device = "auto",
    ) -> AnnotationScores:
        """Label cells and compare with what they are known to be; nothing is written.

        Parameters
        ----------
        query
            AnnData or file with raw counts.
        truth
            Column of ``obs`` with the true names.
        label_map
            From names in the query to names in the reference, or a file of one (`read_label_map`); names that it does
            not have stay, and those mapped to nothing are not scored.
        donor
            Column of ``obs`` with the donors, for the coverage of label sets; ``"donor"`` if there is one.
        layer
            Where the counts are.
        unlabelled
            Names, in any case, that mean "not known"; such cells are not scored.
        device
            Where to compute.

        Returns
        -------
        AnnotationScores
            Of the best guesses; calibration, coverage of the label sets and rejection beside them. A true label that
            the reference does not have counts as wrong and is listed in ``missing_classes``.
        """
        names = read_label_map(label_map) if isinstance(label_map, str | Path) else label_map
        annotation = self.annotate(query, layer=layer, device=device)
        return annotation.score(truth, label_map=names, unlabelled=unlabelled, donor=donor)

    def explain(
        self, query: AnnData | Path | str, *, n_top: int = 20, layer: str | None = None, device: Device = "auto"
    ) -> Explanation:
        """Find the genes that drove the labels of cells; `scssl.tasks.annotate.explain.explain` has more options.

        Parameters
        ----------
        query
            AnnData or file with raw counts.
        n_top
            Genes to return per cell and per label.
        layer
            Where the counts are: None for ``X``, ``"raw"``, or the name of a layer.
        device
            Where to compute.
        """
        from scssl.tasks.annotate.explain import explain

        return explain(self, query, n_top=n_top, layer=layer, device=device)

    def push(
        self, to: str, *, licence: str | None = None, private: bool = False, description: str = "Annotator of scssl"
    ) -> str:
        """Publish the annotator, its model included, on the Hugging Face hub; `load` reads it from there.

        Published are weights, labels, the embedding of the reference's cells and what was calibrated: no counts.

        Parameters
        ----------
        to
            ``owner/name``; made if it is not there.
        licence
            As the hub spells it, e.g. ``"cc-by-4.0"``; not needed where the model's card has one.
        private
            Let only the owner see it, if it is made now.
        description
            Of the change.

        Returns
        -------
        str
            ``owner/name@commit``, by which exactly this annotator can be loaded for ever.

        Raises
        ------
        MissingExtraError
            If huggingface_hub is not installed.
        SettingsError
            If `fit` has not been called, or the ID or licence is not possible.
        DataError
            If the hub cannot be reached or does not allow it.
        """
        from scssl.tasks.annotate.publish import publish

        return publish(
            self._fitted(), settings=self.settings, to=to, licence=licence, private=private, description=description
        )
