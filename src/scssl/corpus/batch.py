"""CellBatch: what the loader gives to training."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    import scipy.sparse as sp
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class CellBatch:
    """Raw counts of some cells over the panel, compressed by row (CSR), with what is needed to normalise and mask them.

    Within each row the gene indices are sorted and unique, and no stored count is zero.
    """

    values: Tensor
    """(n_nonzeros,) raw counts: uint16, or int32 where a corpus stores larger ones or cells come from a query."""
    indices: Tensor
    """(n_nonzeros,) position of the gene in the panel: uint16 or int32 likewise. Tensors of 16 bits travel at half
    the cost but know few operations: reckon with ``values.float()`` and ``indices.long()``."""
    indptr: Tensor
    """(n_cells + 1,) int64."""
    n_genes: int
    """Genes in the panel."""
    size_factor: Tensor
    """(n_cells,) float32, total raw counts over the measured panel genes."""
    measured: Tensor
    """(n_rows, n_genes) bool table: which panel genes were measured; `measured_row` says which row is a cell's."""
    measured_row: Tensor
    """(n_cells,) int64, row of `measured`."""
    measured_share: Tensor
    """(n_rows,) float32, share of a typical cell's counts that falls on the genes measured (1 for a full panel)."""
    source: Tensor
    """(n_cells,) int64, code of the source in the corpus, -1 if the corpus does not have it."""
    cell: Tensor
    """(n_cells,) int64, number of the cell in the corpus; keys masks and views."""
    labels: dict[str, Tensor] = field(default_factory=dict)
    """Per asked obs column (n_cells,) int64 category codes, -1 if missing."""

    @classmethod
    def from_csr(
        cls,
        counts: sp.csr_matrix,
        *,
        cell: np.ndarray | None = None,
        measured: np.ndarray | None = None,
        measured_share: float = 1.0,
    ) -> Self:
        """Make a batch of cells that share one set of measured genes and no source of a corpus, as a query does.

        Parameters
        ----------
        counts
            (n_cells, n_genes) raw counts over the panel; canonical, without stored zeros.
        cell
            (n_cells,) numbers of the cells; 0, 1, ... by default.
        measured
            (n_genes,) bool; all by default.
        measured_share
            Share of a typical cell's counts that falls on the measured genes.
        """
        n_cells, n_genes = counts.shape
        measured = np.ones(n_genes, dtype=bool) if measured is None else measured
        cell = np.arange(n_cells) if cell is None else cell
        totals = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
        return cls(
            values=torch.from_numpy(counts.data.astype(np.int32)),
            indices=torch.from_numpy(counts.indices.astype(np.int32)),
            indptr=torch.from_numpy(counts.indptr.astype(np.int64)),
            n_genes=n_genes,
            size_factor=torch.from_numpy(totals.astype(np.float32)),
            measured=torch.from_numpy(measured[None, :]),
            measured_row=torch.zeros(n_cells, dtype=torch.int64),
            measured_share=torch.tensor([measured_share], dtype=torch.float32),
            source=torch.full((n_cells,), -1, dtype=torch.int64),
            cell=torch.from_numpy(cell.astype(np.int64)),
        )

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.indptr.shape[0] - 1

    def rows(self) -> Tensor:
        """(n_nonzeros,) int64: the cell that each stored value belongs to."""
        cells = torch.arange(self.n_cells, device=self.indptr.device)
        return torch.repeat_interleave(cells, self.indptr.diff(), output_size=self.values.shape[0])

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Copy to a device.

        Parameters
        ----------
        device
            Where to.
        non_blocking
            Do not wait for the copy, where the memory is pinned.
        """

        def copy(tensor: Tensor) -> Tensor:
            if torch.device(device).type == "mps" and tensor.dtype == torch.uint16:
                # Apple's GPUs may not know the type.
                tensor = tensor.to(torch.int32)
            return tensor.to(device, non_blocking=non_blocking)

        return self._each(copy)

    def pin_memory(self) -> Self:
        """Copy to pinned memory, from which ``to(device, non_blocking=True)`` copies while the caller goes on."""
        return self._each(torch.Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        def changed(value: object) -> object:
            if isinstance(value, torch.Tensor):
                return change(value)
            if isinstance(value, dict):
                return {key: changed(item) for key, item in value.items()}
            return value

        return type(self)(**{f.name: changed(getattr(self, f.name)) for f in fields(self)})  # type: ignore[arg-type]
