"""Simulation: cells under a case that were made of control cells."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from scssl import keys

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.tasks.simulate.beside import Beside
    from scssl.tasks.simulate.scoring import SimulationScores


WARNING = (
    "Simulated cells are predictions, not measurements: do not test them against real cells, count them as donors, or "
    "pool them with measured ones."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Simulation:
    """Simulated cells of one or several cases."""

    counts: sp.csr_matrix
    """(n_cells, n_genes) whole numbers."""
    obs: pd.DataFrame
    """Of the control cells, with the case for the condition; and where each cell derives from."""
    var: pd.DataFrame
    change: pd.DataFrame
    """(n_genes, n_groups) predicted change of log1p of the mean counts per 10,000."""
    sd: pd.DataFrame
    """(n_genes, n_groups) how far it may be off."""
    settings: dict[str, Any]
    """How the cells came about, as written to ``uns``."""

    @property
    def cases(self) -> NDArray[np.object_]:
        """(n_cells,) case of each simulated cell."""
        return np.asarray(self.obs[self.settings["columns"]["condition"]].astype(str).to_numpy(dtype=object))

    def to_anndata(
        self, *, scores: SimulationScores | None = None, beside: Mapping[str, Beside] | None = None
    ) -> AnnData:
        """Return an AnnData of the simulated cells, see `Simulator.predict`.

        Parameters
        ----------
        scores
            To note in ``uns``.
        beside
            By case, simulated beside measured cells (`Simulator.beside`), for `scssl report`.
        """
        from anndata import AnnData

        from scssl.tasks.output import undivided
        from scssl.tasks.simulate.beside import to_tables

        # Smallest type that holds the counts and that every tool reads.
        counts = sp.csr_matrix(self.counts, dtype=np.float32 if self.counts.max() < 2**24 else np.float64)
        adata = AnnData(counts, obs=self.obs, var=self.var)
        adata.varm[keys.CHANGE] = self.change.set_axis(adata.var_names)
        adata.varm[f"{keys.CHANGE}_sd"] = self.sd.set_axis(adata.var_names)
        settings = dict(self.settings)
        # A slash in a name would divide it, in the file.
        settings["cases"] = undivided({name: {"case": name, **one} for name, one in settings["cases"].items()})
        if scores is not None:
            settings["scores"] = scores.methods.reset_index()
        if beside:
            settings[keys.BESIDE_CELLS], settings[keys.BESIDE_GENES] = to_tables(beside)
        adata.uns[keys.SETTINGS] = {"simulate": settings}
        return adata

    def write(
        self, out: Path, *, scores: SimulationScores | None = None, beside: Mapping[str, Beside] | None = None
    ) -> None:
        """Write .h5ad, which appears only when complete.

        Parameters
        ----------
        out
            File, checked by `prepare_output`.
        scores, beside
            To note in ``uns``, as for `to_anndata`.
        """
        from scssl.files import whole

        with whole(out) as place:
            self.to_anndata(scores=scores, beside=beside).write_h5ad(place, compression="gzip")


def versions() -> dict[str, str]:
    """Return the versions that a simulation depends on."""
    return {name: version(name) for name in ("scssl", "torch", "anndata", "numpy", "scipy")}


def describe_cells(
    obs: pd.DataFrame,
    *,
    case: str,
    condition: str,
    types: NDArray[np.object_],
    donors: NDArray[np.object_] | None,
    method: str,
    measured: NDArray[np.bool_],
) -> pd.DataFrame:
    """Return obs of simulated cells: that of their control cells, and where each derives from."""
    found = obs.copy()
    names = obs.index.astype(str)
    found.index = pd.Index([f"{name}-{case}" for name in names])
    found[condition] = pd.Categorical([case] * len(obs))
    found[keys.CONTROL_CELL] = names.to_numpy(dtype=object)
    found[keys.SIMULATED_TYPE] = pd.Categorical(types.astype(str))
    if donors is not None:
        found[keys.SIMULATED_DONOR] = pd.Categorical(donors.astype(str))
    found[keys.SIMULATED_BY] = pd.Categorical([method] * len(obs))
    found[keys.CASE_MEASURED] = measured
    return found
