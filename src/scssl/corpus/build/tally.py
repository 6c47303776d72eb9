"""What became of the cells during a build, counted per source."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from scssl.corpus.build.quality import REASONS
from scssl.corpus.format.manifest import SPLITS

if TYPE_CHECKING:
    from pathlib import Path

    import scipy.sparse as sp
    from numpy.typing import NDArray

    from scssl.corpus.build.plan import Plan

TRAIN = SPLITS.index("train")


@dataclass
class Tally:
    """Numbers per source, of the whole build or of a piece of it."""

    n_cells: NDArray[np.int64]
    """(n_sources, n_splits) cells in the corpus."""
    n_counts: NDArray[np.int64]
    """(n_sources,) their counts."""
    n_nonzeros: NDArray[np.int64]
    """(n_sources,)."""
    n_empty: NDArray[np.int64]
    """(n_sources,) cells left out because they have no counts on measured panel genes."""
    n_low_quality: NDArray[np.int64]
    """(n_sources, n_reasons) cells left out, by `REASONS`."""
    n_copies: NDArray[np.int64]
    """(n_sources,) cells left out as copies of others."""
    counts_not_measured: NDArray[np.int64]
    """(n_sources,) counts dropped because they were on genes that the source did not measure."""
    present: NDArray[np.int64]
    """(n_present,) sources that `gene_counts` has a row for."""
    gene_counts: NDArray[np.int64]
    """(n_present, n_genes) totals in the train split."""
    seen: NDArray[np.float64]
    """(2,) counts on the panel, and on all genes of the files."""

    @classmethod
    def empty(cls, n_sources: int, n_genes: int, *, present: NDArray[np.int64]) -> Self:
        """Start counting."""

        def zeros(*shape: int) -> NDArray[np.int64]:
            return np.zeros(shape, dtype=np.int64)

        return cls(
            n_cells=zeros(n_sources, len(SPLITS)),
            n_counts=zeros(n_sources),
            n_nonzeros=zeros(n_sources),
            n_empty=zeros(n_sources),
            n_low_quality=zeros(n_sources, len(REASONS)),
            n_copies=zeros(n_sources),
            counts_not_measured=zeros(n_sources),
            present=present,
            gene_counts=zeros(len(present), n_genes),
            seen=np.zeros(2),
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**{f.name: arrays[f.name] for f in fields(cls)})

    def write(self, path: Path) -> None:
        """Write to a .npz file."""
        with path.open("wb") as file:
            np.savez(file, **{f.name: getattr(self, f.name) for f in fields(self)})

    def drop(self, copies: Tally) -> None:
        """Take off what was counted for cells that are dropped as copies."""
        self._add(copies, -1)
        self.n_copies += copies.n_cells.sum(axis=1)

    def add(self, other: Tally) -> None:
        """Add the numbers of another piece."""
        self._add(other, 1)

    def _add(self, other: Tally, sign: int) -> None:
        for f in fields(self):
            if f.name not in ("present", "gene_counts"):
                getattr(self, f.name)[...] += sign * getattr(other, f.name)
        rows = np.searchsorted(self.present, other.present)
        self.gene_counts[rows] += sign * other.gene_counts

    def count(
        self, X: sp.csr_matrix, source: NDArray[np.integer], split: NDArray[np.integer], totals: NDArray[np.int64]
    ) -> None:
        """Count cells of the corpus.

        Parameters
        ----------
        X
            (n_cells, n_genes) raw counts.
        source, split, totals
            (n_cells,) codes of source and split, total counts.
        """
        lengths = np.diff(X.indptr)
        for code in np.unique(source):
            mine = source == code
            self.n_counts[code] += int(totals[mine].sum())
            self.n_nonzeros[code] += int(lengths[mine].sum())
            self.n_cells[code] += np.bincount(split[mine], minlength=len(SPLITS))
            train = mine & (split == TRAIN)
            if train.any():
                part = X if train.all() else X[train]
                # Sums of up to 2**53 are exact in float64, and a chunk's are far smaller.
                sums = np.bincount(part.indices, weights=part.data, minlength=X.shape[1])
                self.gene_counts[np.searchsorted(self.present, code)] += sums.astype(np.int64)

    def sources(self, plan: Plan) -> list[dict[str, Any]]:
        """Return one entry per source, for the manifest."""
        entries = []
        for code, (name, files) in enumerate(zip(plan.sources, plan.source_files, strict=True)):
            entry: dict[str, Any] = {
                "name": name,
                "files": files,
                "n_genes": int(plan.measured[code].sum()),
                "n_cells": {split: int(self.n_cells[code, i]) for i, split in enumerate(SPLITS)},
                "n_counts": int(self.n_counts[code]),
                "n_nonzeros": int(self.n_nonzeros[code]),
                "n_empty": int(self.n_empty[code]),
                "n_copies": int(self.n_copies[code]),
                "counts_not_measured": int(self.counts_not_measured[code]),
            }
            for i, reason in enumerate(REASONS):
                entry[f"n_{reason.replace(' ', '_')}"] = int(self.n_low_quality[code, i])
            entries.append(entry)
        return entries


def report_files(plan: Plan) -> list[dict[str, Any]]:
    """Return one entry per file, for the manifest."""
    return [
        {
            "file": file.file,
            "name": file.name,
            "n_cells": file.n_cells,
            "n_left_out_by_where": file.n_cells - file.n_kept,
            "genes": file.genes.report.to_dict(),
        }
        for file in plan.files
    ]
