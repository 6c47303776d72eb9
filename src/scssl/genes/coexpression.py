"""Which genes go up and down together: correlations over a sample of cells, within sources, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

import numpy as np
import scipy.sparse as sp

from scssl.errors import DataError, require
from scssl.log import progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from scssl.genes.panel import GenePanel

N_CELLS: Final = 20_000
"""Cells that are looked at unless told otherwise: the error of a correlation is then below 0.01."""
BLOCK: Final = 64
"""Cells that are drawn together; stored cells are in random order already."""
CHUNK: Final = 2048
"""Cells in memory at a time."""
CHANCE: Final = 4.0
"""Standard errors from which on a correlation is taken for one: chance reaches it once in 30,000 pairs."""
MIN_CELLS: Final = 50
"""Fewer cells tell nothing about which genes go together."""


class StoredRows(Protocol):
    """Consecutive cells, compressed by row."""

    @property
    def values(self) -> NDArray[Any]:
        """(n_nonzeros,) raw counts."""

    @property
    def indices(self) -> NDArray[Any]:
        """(n_nonzeros,) positions of the genes in the panel."""

    @property
    def indptr(self) -> NDArray[np.int64]:
        """(n_cells + 1,) starting at 0."""


class StoredCells(Protocol):
    """Cells that can be read in ranges, as a shard of a corpus can."""

    @property
    def n_cells(self) -> int:
        """Number of cells."""

    def rows(self, start: int, stop: int) -> StoredRows:
        """Read the counts of cells `start` to `stop`."""

    def read_codes(self, column: str, part: slice = ..., *, n_names: int) -> NDArray[Any]:
        """Read the codes of a column, of which ``source`` is one."""


class CellStore(Protocol):
    """What learning from cells needs of a corpus (`scssl.Corpus` has it)."""

    @property
    def panel(self) -> GenePanel:
        """The genes."""

    @property
    def sources(self) -> list[str]:
        """Names of the sources."""

    @property
    def measured(self) -> NDArray[np.bool_]:
        """(n_sources, n_genes) which genes each source measured."""

    def shards_of(self, split: Literal["train"]) -> Sequence[StoredCells]:
        """Return the training cells."""


class Cells(NamedTuple):
    """Some cells, normalised."""

    X: sp.csr_matrix
    """(n_cells, n_genes) log1p CP10k, float32."""
    source: NDArray[np.int64]
    """(n_cells,) source codes."""


@dataclass(frozen=True)
class CellSample:
    """A random sample of a corpus' training cells, read anew each time it is gone through.

    The same seed gives the same cells in the same order. Nothing but where they are is kept in memory.
    """

    store: CellStore
    n_cells: int
    """Cells in the sample."""
    _blocks: list[tuple[int, int, int]]
    """Shard, first cell and end of each block."""

    @classmethod
    def draw(cls, store: CellStore, *, n_cells: int = N_CELLS, seed: int = 0) -> CellSample:
        """Draw blocks of training cells without replacement.

        Parameters
        ----------
        store
            Corpus to draw from.
        n_cells
            How many; all of them where there are no more.
        seed
            Seed of the draw.

        Raises
        ------
        DataError
            If there are too few training cells.
        """
        require("n_cells", n_cells, holds=n_cells >= MIN_CELLS, must=f"at least {MIN_CELLS}")
        sizes = [shard.n_cells for shard in store.shards_of("train")]
        if sum(sizes) < MIN_CELLS:
            message = (
                f"the corpus has {sum(sizes)} training cells; gene programmes are learned from at least {MIN_CELLS}. "
                "Give a file of gene sets in place of modules or regulons"
            )
            raise DataError(message)
        blocks = [(i, at, min(at + BLOCK, size)) for i, size in enumerate(sizes) for at in range(0, size, BLOCK)]
        chosen: list[tuple[int, int, int]] = []
        left = min(n_cells, sum(sizes))
        for number in np.random.default_rng(seed).permutation(len(blocks)):
            shard, start, stop = blocks[number]
            chosen.append((shard, start, min(stop, start + left)))
            left -= chosen[-1][2] - start
            if left == 0:
                break
        return cls(store, min(n_cells, sum(sizes)), sorted(chosen))

    def __iter__(self) -> Iterator[Cells]:
        held: list[Cells] = []
        for shard, start, stop in self._blocks:
            held.append(self._read(shard, start, stop))
            if sum(len(cells.source) for cells in held) >= CHUNK:
                yield _join(held)
                held = []
        if held:
            yield _join(held)

    def _read(self, number: int, start: int, stop: int) -> Cells:
        shard = self.store.shards_of("train")[number]
        rows = shard.rows(start, stop)
        values = rows.values.astype(np.float32)
        shape = (stop - start, len(self.store.panel))
        X = sp.csr_matrix((values, rows.indices.astype(np.int32), rows.indptr), shape=shape)
        totals = np.asarray(X.sum(axis=1, dtype=np.float64)).ravel()
        scale = np.divide(1e4, totals, out=np.zeros_like(totals), where=totals > 0)
        X.data = np.log1p(X.data * np.repeat(scale, np.diff(rows.indptr))).astype(np.float32)
        source = shard.read_codes("source", slice(start, stop), n_names=len(self.store.sources))
        return Cells(X, source.astype(np.int64))


def _join(parts: list[Cells]) -> Cells:
    return Cells(sp.vstack([cells.X for cells in parts], format="csr"), np.concatenate([c.source for c in parts]))


@dataclass(frozen=True)
class Moments:
    """Sums over a sample, per source and gene."""

    n_cells: NDArray[np.float64]
    """(n_sources,) cells of each source."""
    mean: NDArray[np.float64]
    """(n_sources, n_genes) mean log1p CP10k."""
    scatter: NDArray[np.float64]
    """(n_sources, n_genes) sum of squared deviations from the source's mean; 0 where not measured."""
    expressed: NDArray[np.int64]
    """(n_genes,) cells with at least one count."""
    eligible: NDArray[np.int64]
    """(n_genes,) cells of sources that measured the gene."""

    @property
    def share_expressed(self) -> NDArray[np.float64]:
        """(n_genes,) share of the cells that express a gene, among those that could show it."""
        return np.divide(self.expressed, self.eligible, out=np.zeros(len(self.expressed)), where=self.eligible > 0)


def moments(sample: CellSample) -> Moments:
    """Go through a sample once.

    Parameters
    ----------
    sample
        Cells.
    """
    store = sample.store
    shape = (len(store.sources), len(store.panel))
    n = np.zeros(shape[0])
    sums, squares, expressed = np.zeros(shape), np.zeros(shape), np.zeros(shape[1], dtype=np.int64)
    for X, source in sample:
        X = X.astype(np.float64)
        ones = np.ones(len(source))
        by_source = sp.csr_matrix((ones, (source, np.arange(len(source)))), shape=(shape[0], len(source)))
        n += np.bincount(source, minlength=shape[0])
        sums += (by_source @ X).toarray()
        squares += (by_source @ X.multiply(X)).toarray()
        expressed += X.getnnz(axis=0)
    n_or_one = np.maximum(n, 1)[:, None]
    mean = sums / n_or_one
    # A constant gene must have none at all: what rounding leaves would be divided by.
    scatter = squares - n_or_one * mean**2
    scatter[scatter <= 1e-9 * squares] = 0
    scatter[~store.measured] = 0
    return Moments(n, mean, scatter, expressed, (n @ store.measured).astype(np.int64))


def correlate(
    sample: CellSample,
    *,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    known: Moments,
) -> NDArray[np.float64]:
    """Pearson correlation of log1p CP10k between genes, each source centred on its own mean.

    For a pair of genes the sources that measured both count: r = Σ_s c_s(i, j) / sqrt(Σ_s v_s(i) · Σ_s v_s(j)), where
    c_s and v_s are the sums of products and squares of deviations from the source's means. So differences between
    sources are no correlation, and a gene that one of them did not measure is not taken for absent in it.

    Parameters
    ----------
    sample
        Cells; gone through once.
    rows, columns
        Positions in the panel.
    known
        Moments of the same sample.

    Returns
    -------
    (n_rows, n_columns) float64
        0 where a gene does not vary or no source measured both.
    """
    products = np.zeros((len(rows), len(columns)))
    with progress("correlating genes", sample.n_cells) as advance:
        for X, source in sample:
            by_gene = X.astype(np.float64).tocsc()
            products += (by_gene[:, rows].T @ by_gene[:, columns]).toarray()
            advance(len(source))
    products -= (known.mean[:, rows] * known.n_cells[:, None]).T @ known.mean[:, columns]
    measured = sample.store.measured.astype(np.float64)
    scale = np.sqrt(known.scatter[:, rows].T @ measured[:, columns])
    scale *= np.sqrt(measured[:, rows].T @ known.scatter[:, columns])
    return np.clip(np.divide(products, scale, out=np.zeros_like(products), where=scale > 0), -1, 1)


def above_chance(least: float, *, n_cells: int) -> float:
    """Raise a threshold on correlations to what chance hardly reaches, which few cells need.

    Parameters
    ----------
    least
        Threshold asked for.
    n_cells
        Cells that correlations are taken over: their standard error is 1 / sqrt(n_cells).
    """
    return max(least, CHANCE / float(np.sqrt(n_cells)))
