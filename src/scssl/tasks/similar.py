"""Similar cells: the nearest cells of a corpus or reference to each cell of one's own, with what is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np
import pandas as pd

from scssl.corpus import Corpus
from scssl.corpus.sources.source import open_source
from scssl.corpus.store import Split
from scssl.errors import DataError, SettingsError, import_extra, require, require_column
from scssl.tasks.annotate.knn import nearest
from scssl.tasks.annotate.labels import UNLABELLED, read_labels
from scssl.tasks.annotate.quality import read_quality
from scssl.tasks.task import open_model

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Self

    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.model.cell_model import CellModel
    from scssl.training.devices import Device

Backend = Literal["exact", "faiss"]

USUAL: Final = (
    "cell_type", "donor", "source", "batch", "study", "dataset", "tissue", "disease", "condition", "assay",
)  # fmt: skip
"""Columns that are shown of similar cells where none are chosen."""
OWN: Final = ("query", "rank", "cell", "distance")
"""Columns that the table of similar cells always has."""
FETCHED: Final = 4
"""Times k that faiss is asked for; distances to these are worked out anew."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Cells among which similar ones are searched."""

    codes: NDArray[np.float32]
    """(n_cells, n_latent)."""
    cells: pd.Index
    """Their names."""
    obs: pd.DataFrame
    """What is told of them, texts."""
    name: str
    """Where they came from."""


@dataclass(frozen=True, kw_only=True)
class SimilarityScores:
    """How often similar cells have the true label."""

    first: float
    """Share of the cells whose nearest cell has it."""
    neighbours: float
    """Share of the k nearest that have it, mean over cells."""
    chance: float
    """The same of cells drawn at random from the reference."""
    n_cells: int
    """Cells that were scored: those with a label that the reference has."""


class SimilarCells:
    """Find the cells of a corpus or reference that are most like given ones, in the space of a pre-trained encoder.

    Near is near in the embedding (Euclidean distance). Codes of the reference are kept, 4 bytes per dimension: 256 MB
    per million cells at 64 dimensions.

    Parameters
    ----------
    model
        `scssl.CellModel`, or the folder of one.
    k
        Cells to find for each.
    backend
        ``"exact"``: every cell of the reference is looked at, in bounded memory; ``"faiss"``: an approximate search
        (HNSW graph), faster in large references, which can miss some cells; it takes the extra ``faiss``.

    Examples
    --------
    >>> import scssl
    >>> similar = scssl.tasks.SimilarCells("model/", k=10).fit("corpus/")  # doctest: +SKIP
    >>> similar.predict(adata)  # a table: query, rank, cell, distance, cell_type, donor, ...  # doctest: +SKIP
    """

    def __init__(self, model: CellModel | Path | str, *, k: int = 10, backend: Backend = "exact") -> None:
        if backend not in get_args(Backend):
            message = f"backend {backend!r} is not known; choose one of: {', '.join(get_args(Backend))}"
            raise SettingsError(message)
        require("k", k, holds=isinstance(k, int) and k >= 1, must="a whole number, 1 or more")
        if backend == "faiss":
            import_extra("faiss", extra="faiss")
        self.k, self.backend = k, backend
        self.model, self.model_name = open_model(model)
        self.reference: Reference | None = None

    def fit(
        self,
        reference: Corpus | AnnData | Path | str,
        *,
        columns: Sequence[str] | None = None,
        layer: str | None = None,
        device: Device = "auto",
    ) -> Self:
        """Embed the cells to search among.

        Parameters
        ----------
        reference
            Corpus on the model's genes, the folder of one, an AnnData or a file of raw counts.
        columns
            Of ``obs``, to tell of similar cells; by default the usual ones that there are (cell_type, donor, ...).
        layer
            For an AnnData or file: where the counts are.
        device
            Where to compute.

        Raises
        ------
        DataError
            If a column is missing, the counts cannot be used, or there are fewer than `k` cells.
        SettingsError
            If the corpus is on other genes than the model.
        """
        if isinstance(reference, str | Path) and (Path(reference) / "corpus.json").is_file():
            reference = Corpus.open(reference)
        kept = None
        if isinstance(reference, Corpus):
            name = "corpus" if reference.path is None else str(reference.path)
            splits: list[Split] = [split for split in get_args(Split) if reference.n_cells(split)]
            frames: list[pd.DataFrame] = [reference.obs(split) for split in splits]
            obs = pd.concat(frames)
            codes = np.concatenate([self.model.embed_corpus(reference, split=s, device=device) for s in splits])
        else:
            quality = read_quality(reference, self.model.panel, layer=layer)
            obs, name, kept = quality.obs, quality.file, ~quality.empty
            codes = self.model.embed(reference, layer=layer, device=device)
        shown = _columns(obs, columns, file=name)
        told = pd.DataFrame({column: _texts(obs[column]) for column in shown}, index=obs.index)
        if kept is not None:
            # Cells without counts all lie in one place, near to whatever has few.
            codes, told = codes[kept], told[kept]
        if len(codes) < self.k:
            message = f"{name}: has {len(codes):,} cells with counts, fewer than k = {self.k}; lower k"
            raise DataError(message)
        self.reference = Reference(codes=codes, cells=told.index.astype(str), obs=told, name=name)
        return self

    def predict(
        self, query: AnnData | Path | str, *, layer: str | None = None, device: Device = "auto"
    ) -> pd.DataFrame:
        """Find the cells of the reference that are most like each cell of a query; nothing is written.

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
        pandas.DataFrame
            `k` rows for each cell, cells in the order of the query, the most similar first: ``query`` and ``cell``
            (names), ``rank`` from 1, ``distance``, and the columns chosen in `fit`. A cell that is itself in the
            reference is its own most similar one, at distance 0. Cells without any count on the model's genes are
            left out.

        Raises
        ------
        SettingsError
            If `fit` has not been called.
        DataError
            If the counts cannot be used, or the genes do not fit the model.
        """
        reference = self._fitted()
        quality = read_quality(query, self.model.panel, layer=layer)
        codes = self.model.embed(query, layer=layer, device=device)[~quality.empty]
        place, distance = self.search(codes)
        flat = place.ravel()
        table = {
            "query": np.repeat(quality.obs.index[~quality.empty].astype(str).to_numpy(dtype=object), self.k),
            "rank": np.tile(np.arange(1, self.k + 1), len(place)),
            "cell": reference.cells.to_numpy(dtype=object)[flat],
            "distance": distance.ravel(),
        }
        return pd.DataFrame(table | {name: reference.obs[name].to_numpy(dtype=object)[flat] for name in reference.obs})

    def search(self, codes: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the nearest cells of the reference to codes.

        Parameters
        ----------
        codes
            (n_cells, n_latent) of the same model.

        Returns
        -------
        place : numpy.ndarray
            (n_cells, k) rows of the reference, nearest first.
        distance : numpy.ndarray
            (n_cells, k) float32.
        """
        reference = self._fitted().codes
        if self.backend == "exact":
            return nearest(reference, codes, k=self.k)
        return _approximate(reference, np.ascontiguousarray(codes, dtype=np.float32), k=self.k)

    def evaluate(
        self,
        query: AnnData | Path | str,
        *,
        truth: str = "cell_type",
        layer: str | None = None,
        unlabelled: Collection[str] = UNLABELLED,
        device: Device = "auto",
    ) -> SimilarityScores:
        """Say how often similar cells have the label that the cell has.

        Parameters
        ----------
        query
            AnnData or file with raw counts, of cells that are not in the reference.
        truth
            Column of ``obs`` with the labels, in query and reference.
        layer
            Where the counts are.
        unlabelled
            Names, in any case, that mean "not known".
        device
            Where to compute.

        Raises
        ------
        DataError
            If a column is missing, or the two have no label in common.
        """
        reference = self._fitted()
        if truth not in reference.obs.columns:
            message = f"{reference.name}: obs[{truth!r}] was not kept; call fit(..., columns=[{truth!r}])"
            raise DataError(message)
        with open_source(query, layer=layer) as source:
            names = read_labels(source.obs, truth, file=source.file, unlabelled=unlabelled)
            file = source.file
        quality = read_quality(query, self.model.panel, layer=layer)
        theirs = reference.obs[truth].to_numpy(dtype=object)
        scored = names.isin(set(theirs)).to_numpy() & ~quality.empty
        if not scored.any():
            message = f"{file}: no name in obs[{truth!r}] is one in obs[{truth!r}] of {reference.name}"
            raise DataError(message)
        place, _ = self.search(self.model.embed(query, layer=layer, device=device)[scored])
        own = names.to_numpy(dtype=object)[scored]
        same = theirs[place] == own[:, None]
        share = pd.Series(theirs).value_counts(normalize=True)
        return SimilarityScores(
            first=float(same[:, 0].mean()), neighbours=float(same.mean()), chance=float(share[own].mean()),
            n_cells=len(own),
        )  # fmt: skip

    def save(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write model and reference to a folder that works alone.

        Parameters
        ----------
        path
            Folder to make.
        overwrite
            Replace one that is there.

        Raises
        ------
        SettingsError
            If `fit` has not been called, or there is something at `path`.
        """
        from scssl.tasks import similar_files

        similar_files.write(Path(path), self, overwrite=overwrite)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what `save` wrote. Nothing is unpickled and nothing executed.

        Parameters
        ----------
        path
            The folder.

        Raises
        ------
        FormatError
            If the folder is none of these, or is truncated, altered or of a later version.
        """
        from scssl.tasks import similar_files

        model, settings, reference = similar_files.read(Path(path))
        found = cls(model, k=settings["k"], backend=settings["backend"])
        found.reference, found.model_name = reference, str(path)
        return found

    def _fitted(self) -> Reference:
        if self.reference is None:
            message = "there are no cells to search among yet: call fit(reference) first"
            raise SettingsError(message)
        return self.reference


def _texts(values: pd.Series) -> pd.Series:
    """Return a column as texts, empty where there is nothing."""
    texts = values.astype(object).map(str, na_action="ignore")
    return texts.where(texts.notna(), "").astype(object)


def _columns(obs: pd.DataFrame, columns: Sequence[str] | None, *, file: str) -> list[str]:
    if columns is None:
        return [name for name in USUAL if name in obs.columns]
    for name in columns:
        require_column(obs.columns, name, file=file)
        if name in OWN:
            message = f"{file}: obs[{name!r}] has the name of a column that the table has anyway; rename it"
            raise DataError(message)
    return list(dict.fromkeys(columns))


def _approximate(
    reference: NDArray[np.float32], codes: NDArray[np.float32], *, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    faiss = import_extra("faiss", extra="faiss")
    fetched = min(FETCHED * k, len(reference))
    index = faiss.IndexHNSWFlat(reference.shape[1], 32)
    index.hnsw.efConstruction, index.hnsw.efSearch = 200, max(128, fetched)
    index.add(np.ascontiguousarray(reference, dtype=np.float32))
    found = index.search(codes, fetched)[1]
    gap = np.full(found.shape, np.inf)
    for j in range(fetched):
        # -1 where the graph led to fewer.
        there = found[:, j] >= 0
        difference = reference[found[there, j]].astype(np.float64) - codes[there]
        gap[there, j] = np.sqrt(np.einsum("ij,ij->i", difference, difference))
    order = np.argsort(gap, axis=1, kind="stable")[:, :k]
    place = np.take_along_axis(found, order, axis=1).astype(np.int64)
    return place, np.take_along_axis(gap, order, axis=1).astype(np.float32)
