"""Simulated cells beside control and measured cells, as figures show them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from scssl import keys
from scssl.tasks.simulate import cells as reading
from scssl.tasks.simulate.cells import check_condition, parse_where
from scssl.tasks.simulate.fitted import same_genes
from scssl.tasks.simulate.space import log_values

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.tasks.simulate.fitted import Fitted
    from scssl.tasks.simulate.simulation import Simulation
    from scssl.training.devices import Device


KINDS: Final = ("control", "measured", "simulated")
MOST_KEPT: Final = 1500
"""Cells of each population that a file keeps, drawn at random."""
MOST_CASES: Final = 4
"""Cases that a file keeps."""


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
    types: dict[str, NDArray[np.object_]] = field(default_factory=dict)
    """Cell types of the three, by "control", "measured" and "simulated"."""


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
    rows = [np.flatnonzero(cells.condition == name) for name in (fitted.control, case)]
    counts = [cells.counts[part] for part in rows]
    made = simulation.cases == case
    made[made] = np.asarray(simulation.counts[np.flatnonzero(made)].sum(axis=1)).ravel() > 0
    counts.append(simulation.counts[np.flatnonzero(made)])
    of_made = simulation.obs[keys.SIMULATED_TYPE].astype(str).to_numpy(dtype=object)[made]
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
        types=dict(zip(KINDS, [*(cells.types[part] for part in rows), of_made], strict=True)),
    )


def to_tables(besides: Mapping[str, Beside], *, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what a file keeps of populations for its page.

    Parameters
    ----------
    besides
        By case.
    seed
        Of the cells that are drawn where there are many.

    Returns
    -------
    cells : pandas.DataFrame
        ``case``, ``title``, ``kind`` (control, measured or simulated), ``cell_type``, and a column per component.
    genes : pandas.DataFrame
        ``case``, ``gene``, and the mean log expression of each population.
    """
    rng = np.random.default_rng(seed)
    cells, genes = [], []
    for case, one in list(besides.items())[:MOST_CASES]:
        for kind in KINDS:
            points = getattr(one, kind)
            kept = np.sort(rng.permutation(len(points))[:MOST_KEPT])
            table = pd.DataFrame(points[kept].astype(np.float32))
            table.columns = pd.Index([f"c{i + 1}" for i in range(points.shape[1])])
            names = one.types[kind][kept] if one.types else ""
            for column, value in (("cell_type", names), ("kind", kind), ("title", one.title), ("case", case)):
                table.insert(0, column, value)
            cells.append(table)
        means = {kind: getattr(one, f"mean_{kind}") for kind in KINDS}
        genes.append(pd.DataFrame({"case": case, "gene": one.genes, **means}))
    # Names of rows are text in the files of AnnData.
    return tuple(  # type: ignore[return-value]
        (table := pd.concat(parts, ignore_index=True)).set_index(table.index.astype(str)) for parts in (cells, genes)
    )


def from_tables(cells: pd.DataFrame, genes: pd.DataFrame) -> dict[str, Beside]:
    """Return populations by case from `to_tables`.

    Parameters
    ----------
    cells, genes
        As kept.
    """
    found = {}
    columns = [name for name in cells.columns if name.startswith("c") and name[1:].isdigit()]
    for case in dict.fromkeys(cells["case"].astype(str)):
        mine, means = cells[cells["case"] == case], genes[genes["case"] == case]
        parts = {kind: mine[mine["kind"] == kind] for kind in KINDS}
        found[case] = Beside(
            title=str(mine["title"].iloc[0]),
            genes=[str(name) for name in means["gene"]],
            **{f"mean_{kind}": means[kind].to_numpy(dtype=float) for kind in KINDS},
            **{kind: part[columns].to_numpy(dtype=float) for kind, part in parts.items()},
            types={kind: part["cell_type"].astype(str).to_numpy(dtype=object) for kind, part in parts.items()},
        )
    return found


def _symbols(cells: reading.Cells) -> list[str]:
    for name in ("symbol", "gene_symbol", "feature_name", "gene_name"):
        if name in cells.var.columns:
            return [str(symbol) for symbol in cells.var[name]]
    return [str(name) for name in cells.var.index]
