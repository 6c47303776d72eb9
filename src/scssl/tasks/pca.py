"""Principal components of log counts, in the shape of a model: the embedding that needs no pre-training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import scipy.sparse as sp

from scssl.corpus import Corpus
from scssl.corpus.sources.inspect import check_counts
from scssl.corpus.sources.source import open_source
from scssl.errors import DataError, SettingsError
from scssl.genes import harmonise, load_panel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.genes import GenePanel

TARGET_SUM = 1e4


class PCAEncoder:
    """Principal components of log1p CP10k values, in the shape of a model: ``panel`` and ``embed``.

    Counts are brought onto the panel, divided by the cell's total over the genes used, times 10,000, ``log1p``;
    genes are centred and not scaled. `scssl.tasks.Annotator` takes it in place of a `CellModel`, so that both are
    compared on the same cells, by the same neighbours.

    Parameters
    ----------
    panel
        Gene panel, or what `scssl.genes.load_panel` takes; that of the model to compare with.
    n_components
        Width of the embedding; less where there are fewer cells or genes.
    n_top_genes
        Use only the genes whose log values vary most among the cells fitted on; all by default.
    genes
        (n_panel,) bool, genes allowed; all by default. Genes that the query did not measure only do harm.
    max_cells
        The components are fitted on at most this many cells, drawn at random.
    seed
        Draws those cells, and starts the iterations.

    Examples
    --------
    >>> import scssl
    >>> adata = scssl.datasets.simulate_atlas(300, 200)
    >>> PCAEncoder("human", n_components=10).fit(adata).embed(adata).shape
    (300, 10)
    """

    def __init__(
        self,
        panel: GenePanel | Path | str,
        *,
        n_components: int = 50,
        n_top_genes: int | None = None,
        genes: NDArray[np.bool_] | None = None,
        max_cells: int = 50_000,
        seed: int = 0,
    ) -> None:
        self.panel = load_panel(panel)
        for name, value in (("n_components", n_components), ("n_top_genes", n_top_genes), ("max_cells", max_cells)):
            if value is not None and value < 1:
                message = f"{name} is {value}: give at least 1"
                raise SettingsError(message)
        self.n_components, self.n_top_genes, self.max_cells, self.seed = n_components, n_top_genes, max_cells, seed
        self.genes = np.arange(len(self.panel)) if genes is None else np.flatnonzero(genes)
        self.mean = np.zeros(len(self.genes), dtype=np.float32)
        self.components: NDArray[np.float32] | None = None

    def fit(self, data: AnnData | Corpus | Path | str, *, layer: str | None = None) -> Self:
        """Find the components.

        Parameters
        ----------
        data
            AnnData, file, or a corpus (its training split) on the same panel.
        layer
            For an AnnData or file: where the counts are.

        Raises
        ------
        DataError
            If the counts cannot be used, or fewer than three cells are left.
        SettingsError
            If a corpus is on another panel.
        """
        from sklearn.decomposition import PCA

        values = self._sample(data, layer=layer)
        if self.n_top_genes is not None and self.n_top_genes < len(self.genes):
            second = values.multiply(values).mean(axis=0).A1
            variance = second - values.mean(axis=0).A1 ** 2
            top = np.sort(np.argsort(-variance, kind="stable")[: self.n_top_genes])
            self.genes, values = self.genes[top], values[:, top]
        if min(values.shape) < 3:
            message = f"PCA of {values.shape[0]} cells and {values.shape[1]} genes: at least 3 of both are needed"
            raise DataError(message)
        n = min(self.n_components, min(values.shape) - 1)
        pca = PCA(n, svd_solver="arpack", random_state=self.seed).fit(values)
        self.mean, self.components = pca.mean_.astype(np.float32), pca.components_.astype(np.float32)
        return self

    def embed(
        self,
        data: AnnData | Path | str,
        *,
        layer: str | None = None,
        batch_size: int = 4096,
        device: Literal["auto", "cpu", "cuda", "mps"] = "auto",  # noqa: ARG002 (same shape as a model's)
    ) -> NDArray[np.float32]:
        """Project cells on the components, in bounded memory.

        Parameters
        ----------
        data
            AnnData or file with raw counts.
        layer
            Where the counts are.
        batch_size
            Cells read at a time.
        device
            Not used; the processor does it.

        Returns
        -------
        numpy.ndarray
            (n_cells, n_components) float32.

        Raises
        ------
        SettingsError
            If `fit` has not been called.
        """
        if self.components is None:
            message = "the components are not known yet: call fit(data) first"
            raise SettingsError(message)
        shift = self.mean @ self.components.T
        codes = [values @ self.components.T - shift for values in self._values(data, layer=layer, size=batch_size)]
        return np.concatenate(codes).astype(np.float32, copy=False)

    def _values(self, data: AnnData | Path | str, *, layer: str | None, size: int = 4096) -> Iterator[sp.csr_matrix]:
        with open_source(data, layer=layer) as source:
            genes = harmonise(source.var, self.panel, file=source.name)
            for rows, counts in source.chunks(size):
                check_counts(counts, file=source.file, layer=layer, first_row=rows.start)
                yield log_normalise(genes.apply(counts)[:, self.genes])

    def _sample(self, data: AnnData | Corpus | Path | str, *, layer: str | None) -> sp.csr_matrix:
        if isinstance(data, str | Path) and (Path(data) / "corpus.json").is_file():
            data = Corpus.open(data)
        if isinstance(data, Corpus):
            return self._sample_corpus(data)
        with open_source(data, layer=layer) as source:
            n_cells = source.n_cells
        rng = np.random.default_rng(self.seed)
        kept = np.zeros(n_cells, dtype=bool)
        kept[rng.choice(n_cells, size=min(n_cells, self.max_cells), replace=False)] = True
        start, parts = 0, []
        for values in self._values(data, layer=layer):
            parts.append(values[kept[start : start + values.shape[0]]])
            start += values.shape[0]
        return sp.vstack(parts, format="csr")

    def _sample_corpus(self, corpus: Corpus) -> sp.csr_matrix:
        if corpus.panel != self.panel:
            message = f"the corpus is on {corpus.panel!r}, the PCA on {self.panel!r}; give both the same genes"
            raise SettingsError(message)
        parts, n = [], 0
        # Shuffled, so that the first cells are a random draw also from a corpus held in memory.
        for batch in corpus.loader(split="train", batch_size=4096, shuffle=True, seed=self.seed):
            arrays = (batch.values.numpy(), batch.indices.numpy(), batch.indptr.numpy())
            counts = sp.csr_matrix(arrays, shape=(batch.n_cells, batch.n_genes))
            parts.append(log_normalise(counts[: self.max_cells - n, self.genes]))
            n += parts[-1].shape[0]
            if n == self.max_cells:
                break
        return sp.vstack(parts, format="csr")


def log_normalise(counts: sp.csr_matrix) -> sp.csr_matrix:
    """Return log1p(1e4 * count / total of the cell), float32; cells without counts stay zero."""
    values = sp.csr_matrix(counts, dtype=np.float32)
    total = values.sum(axis=1, dtype=np.float64).A1
    scale = np.divide(TARGET_SUM, total, out=np.zeros_like(total), where=total > 0)
    values.data = np.log1p(values.data * np.repeat(scale, np.diff(values.indptr))).astype(np.float32)
    return values
