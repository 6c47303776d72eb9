"""Annotator: names for new cells, from a labelled reference in the space of a pre-trained encoder."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import numpy as np
import pandas as pd

from scssl.corpus.sources.source import open_source
from scssl.errors import DataError, SettingsError
from scssl.log import logger
from scssl.tasks.annotate import files
from scssl.tasks.annotate.annotation import Annotation
from scssl.tasks.annotate.knn import vote
from scssl.tasks.annotate.labels import UNLABELLED, encode, read_label_map, read_labels

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Self

    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.genes import GenePanel
    from scssl.metrics import ClassificationScores

Mode = Literal["zero_shot"]
Device = Literal["auto", "cpu", "cuda", "mps"]


class Embedder(Protocol):
    """What an annotator needs of a model: `scssl.CellModel`, or a baseline of the same shape."""

    panel: GenePanel

    def embed(
        self, data: AnnData | Path | str, *, layer: str | None = None, batch_size: int = ..., device: Device = ...
    ) -> NDArray[np.float32]:
        """Embed cells, (n_cells, n_latent)."""


class Annotator:
    """Label cells by a labelled reference, in the space of a pre-trained encoder.

    ``zero_shot``: each cell gets the label that most of its `k` nearest reference cells have (Euclidean distance
    between embeddings, exact search, the very nearest cell included); where labels are level, the nearest cell decides.
    Nothing is trained.

    Parameters
    ----------
    model
        `scssl.CellModel`, or the folder of one.
    mode
        How labels are found; only ``"zero_shot"`` in this version.
    k
        Neighbours that vote.

    Examples
    --------
    >>> import scssl
    >>> model = scssl.load("model/")  # doctest: +SKIP
    >>> annotator = scssl.tasks.Annotator(model).fit(reference, labels="cell_type")  # doctest: +SKIP
    >>> annotator.predict(query).obs["scssl_label"]  # doctest: +SKIP
    """

    def __init__(self, model: Embedder | Path | str, *, mode: Mode = "zero_shot", k: int = 5) -> None:
        if mode not in get_args(Mode):
            message = f"mode {mode!r} is not known; choose one of: {', '.join(get_args(Mode))}"
            raise SettingsError(message)
        if k < 1:
            message = f"k is {k}; at least one neighbour has to vote"
            raise SettingsError(message)
        self.mode, self.k = mode, k
        self.model_name = "in memory"
        if isinstance(model, str | Path):
            from scssl.model import load

            self.model_name = str(model)
            model = load(model)
        self.model: Embedder = model
        self.reference: files.Reference | None = None

    def fit(
        self,
        reference: AnnData | Path | str,
        *,
        labels: str = "cell_type",
        layer: str | None = None,
        unlabelled: Collection[str] = UNLABELLED,
        device: Device = "auto",
    ) -> Self:
        """Take the labelled cells of a reference.

        Parameters
        ----------
        reference
            AnnData or file with raw counts.
        labels
            Column of ``obs`` with the names.
        layer
            Where the counts are: None for ``X``, ``"raw"``, or the name of a layer.
        unlabelled
            Names, in any case, that mean "not known"; such cells, those without a name and those without any count
            on the model's genes are left out.
        device
            Where to compute.

        Raises
        ------
        DataError
            If the column is missing, fewer than `k` cells are labelled, or the counts cannot be used.
        """
        with open_source(reference, layer=layer) as source:
            names = read_labels(source.obs, labels, file=source.file, unlabelled=unlabelled)
            file = source.file
        embedding = self.model.embed(reference, layer=layer, device=device)
        names = names.where(~_empty(self.model, reference, layer=layer, n_cells=len(names)), None)
        kept = names.notna().to_numpy()
        if kept.sum() < self.k:
            message = f"{file}: has {kept.sum()} labelled cells in obs[{labels!r}], fewer than k = {self.k}; lower k"
            raise DataError(message)
        codes, classes = encode(names[kept])
        rare = [name for name, n in zip(classes, np.bincount(codes), strict=True) if 2 * n <= self.k]
        if rare:
            logger.warning(
                "%s: %d of %d labels have too few cells to win a vote of %d neighbours outright: %s",
                file, len(rare), len(classes), self.k, ", ".join(rare[:10]) + (", ..." if len(rare) > 10 else ""),
            )  # fmt: skip
        self.reference = files.Reference(
            embedding=embedding[kept].astype(np.float32, copy=False),
            codes=codes,
            classes=classes,
            name=file,
            labels=labels,
        )
        return self

    def annotate(self, query: AnnData | Path | str, *, layer: str | None = None, device: Device = "auto") -> Annotation:
        """Label cells and hand the labels back, with nothing written anywhere.

        Parameters
        ----------
        query
            AnnData or file with raw counts.
        layer
            Where the counts are: None for ``X``, ``"raw"``, or the name of a layer.
        device
            Where to compute.

        Raises
        ------
        SettingsError
            If `fit` has not been called.
        DataError
            If the counts cannot be used, or the genes do not fit the model.
        """
        known = self._fitted()
        with open_source(query, layer=layer) as source:
            obs, file = source.obs, source.file
        embedding = self.model.embed(query, layer=layer, device=device)
        votes = vote(known.embedding, known.codes, embedding, k=self.k)
        empty = _empty(self.model, query, layer=layer, n_cells=len(obs))
        settings = {
            "mode": self.mode,
            "k": self.k,
            "model": self.model_name,
            "genes": self.model.panel.name,
            "reference": known.name,
            "labels": known.labels,
            "n_reference_cells": len(known.codes),
            "n_classes": len(known.classes),
            "query": file,
            "layer": layer or "X",
            "confidence": f"share of the {self.k} nearest reference cells with this label",
            "versions": {name: version(name) for name in ("scssl", "torch", "scikit-learn", "anndata", "numpy")},
        }
        return Annotation(
            labels=pd.Categorical.from_codes(
                np.where(empty, -1, votes.label).tolist(), categories=pd.Index(known.classes, dtype=object)
            ),
            confidence=np.where(empty, np.float32(0), votes.share),
            embedding=embedding,
            obs=obs,
            file=file,
            settings=settings,
        )

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
            - ``obs["scssl_confidence"]``: float32 from 0 to 1, share of the k nearest reference cells that have the
              label. It says how clear the vote was, and is not the chance of being right.
            - ``obsm["X_scssl"]``: float32, (n_cells, n_latent), embedding.
            - ``uns["scssl"]["annotate"]``: settings, reference, model and versions.
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
        layer: str | None = None,
        unlabelled: Collection[str] = UNLABELLED,
        device: Device = "auto",
    ) -> ClassificationScores:
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
        layer
            Where the counts are.
        unlabelled
            Names, in any case, that mean "not known"; such cells are not scored.
        device
            Where to compute.

        Returns
        -------
        ClassificationScores
            A true label that the reference does not have counts as wrong and is listed in ``missing_classes``.
        """
        names = read_label_map(label_map) if isinstance(label_map, str | Path) else label_map
        return self.annotate(query, layer=layer, device=device).score(truth, label_map=names, unlabelled=unlabelled)

    def save(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write the annotator, its model included, to a folder that works alone.

        Parameters
        ----------
        path
            Folder to make.
        overwrite
            Replace an annotator that is there.

        Raises
        ------
        SettingsError
            If `fit` has not been called, or there is something at `path`.
        """
        files.write(Path(path), self._fitted(), model=self.model, mode=self.mode, k=self.k, overwrite=overwrite)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read an annotator from a folder. Nothing is unpickled and nothing executed.

        Parameters
        ----------
        path
            Folder written by `save`.

        Raises
        ------
        FormatError
            If the folder is not an annotator, or is truncated, altered or of a later version.
        """
        folder = Path(path)
        settings, reference = files.read(folder, modes=get_args(Mode))
        annotator = cls(folder / files.MODEL, mode=settings["mode"], k=settings["k"])
        annotator.reference = reference
        return annotator

    def _fitted(self) -> files.Reference:
        if self.reference is None:
            message = "this annotator has no reference yet: call fit(reference, labels=...) first"
            raise SettingsError(message)
        return self.reference


def _empty(model: Embedder, data: AnnData | Path | str, *, layer: str | None, n_cells: int) -> NDArray[np.bool_]:
    """Tell which cells have no count on the model's genes: where they lie means nothing."""
    from scssl.genes import harmonise

    empty = np.zeros(n_cells, dtype=bool)
    with open_source(data, layer=layer) as source:
        on_panel = harmonise(source.var, model.panel, file=source.name).index >= 0
        for rows, counts in source.chunks():
            empty[rows] = counts @ on_panel.astype(np.float32) == 0
    return empty
