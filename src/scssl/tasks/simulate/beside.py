"""Simulated cells beside control and measured cells, as figures show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scssl.tasks.simulate import cells as reading
from scssl.tasks.simulate.cells import check_condition, parse_where
from scssl.tasks.simulate.fitted import same_genes
from scssl.tasks.simulate.space import log_values

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.tasks.simulate.fitted import Fitted
    from scssl.tasks.simulate.simulation import Simulation
    from scssl.training.devices import Device


@dataclass(frozen=True, kw_only=True, eq=False)
class Beside:
    """Three populations of cells."""

    title: str
    genes: list[str]
    mean_control: NDArray[np.float64]
    """(n_genes,) mean log expression."""
    mean_measured: NDArray[np.float64]
    mean_simulated: NDArray[np.float64]
    control: NDArray[np.float64]
    """(n_cells, n_components) principal components of log expression."""
    measured: NDArray[np.float64]
    simulated: NDArray[np.float64]


def put_beside(
    fitted: Fitted,
    simulation: Simulation,
    query: AnnData | Path | str,
    *,
    case: str,
    where: str | None,
    layer: str | None,
    device: Device,
) -> Beside:
    """Read control and measured cells; see `Simulator.beside`."""
    cells = same_genes(fitted, reading.read(query, fitted.model, columns=fitted.columns, layer=layer, device=device))
    if where is not None:
        cells = cells.at(cells.where(*parse_where(where)))
    check_condition(cells, case, column=fitted.columns.condition)
    space = fitted.learned[case].space
    counts = [cells.counts[np.flatnonzero(cells.condition == name)] for name in (fitted.control, case)]
    simulated = simulation.counts[np.flatnonzero(simulation.cases == case)]
    counts.append(simulated[np.asarray(simulated.sum(axis=1)).ravel() > 0])
    means = [np.asarray(log_values(part, target_sum=space.target_sum).mean(axis=0)).ravel() for part in counts]
    points = [space.of(part) for part in counts]
    method = simulation.settings["cases"][case]["method"]
    return Beside(
        title=f"{where.partition('=')[2] if where else 'all cells'}: {case}\nby the {method}",
        genes=_symbols(cells),
        mean_control=means[0],
        mean_measured=means[1],
        mean_simulated=means[2],
        control=points[0],
        measured=points[1],
        simulated=points[2],
    )


def _symbols(cells: reading.Cells) -> list[str]:
    for name in ("symbol", "gene_symbol", "feature_name", "gene_name"):
        if name in cells.var.columns:
            return [str(symbol) for symbol in cells.var[name]]
    return [str(name) for name in cells.var.index]
