"""CellBatch: what the loader gives to training."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class CellBatch:
    """Raw counts of some cells over the panel, compressed by row (CSR), with what is needed to normalise and mask them.

    Within each row the gene indices are sorted and unique, and no stored count is zero.
    """

    values: Tensor
    """(n_nonzeros,) int32, raw counts."""
    indices: Tensor
    """(n_nonzeros,) int32, position of the gene in the panel."""
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

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.indptr.shape[0] - 1

    def rows(self) -> Tensor:
        """(n_nonzeros,) int64: the cell that each stored value belongs to."""
        cells = torch.arange(self.n_cells, device=self.indptr.device)
        return torch.repeat_interleave(cells, self.indptr.diff(), output_size=self.values.shape[0])

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Copy to a device."""

        def move(value: object) -> object:
            if isinstance(value, torch.Tensor):
                return value.to(device, non_blocking=non_blocking)
            if isinstance(value, dict):
                return {key: move(item) for key, item in value.items()}
            return value

        return type(self)(**{f.name: move(getattr(self, f.name)) for f in fields(self)})  # type: ignore[arg-type]
