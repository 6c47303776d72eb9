"""A simulated atlas as AnnData, with the truth in ``uns``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.datasets.blueprint import Programmes, Tree
    from scssl.datasets.cells import Cells, Truth


def assemble(truth: Truth, tree: Tree, cells: Cells, *, settings: Mapping[str, Any]) -> AnnData:
    """Put cells and truth into an AnnData that can be written to h5ad; `simulate_atlas` lists its fields.

    Parameters
    ----------
    truth, tree
        The hidden structure.
    cells
        What was drawn from it.
    settings
        The arguments of `simulate_atlas`.
    """
    from anndata import AnnData

    samples, programmes = truth.samples, truth.programmes
    obs = pd.DataFrame(
        {
            "cell_type": _categorical(cells.cell_type, tree.types),
            "donor": _categorical(samples.donor[cells.sample], samples.donor_names),
            "study": _categorical(samples.study[cells.sample], samples.study_names),
            "batch": _categorical(samples.batch[cells.sample], samples.batch_names),
            "condition": _categorical(samples.condition[cells.sample], list(settings["conditions"])),
            "depth": cells.depth,
        },
        index=pd.Index([f"cell_{i + 1}" for i in range(len(cells.sample))], dtype=object),
    )
    adata = AnnData(X=cells.counts, obs=obs, var=truth.var)
    adata.obsm["programme_activity"] = cells.activity
    simulation: dict[str, Any] = {
        "settings": dict(settings),
        "tree": tree.nodes,
        "type_activity": pd.DataFrame(programmes.type_activity, index=tree.types, columns=programmes.names),
        "programmes": _programme_records(programmes, truth.var.index.to_numpy()),
        "conditions": _condition_records(truth, tree),
        "samples": samples.table,
        "proportions": pd.DataFrame(
            samples.proportions, index=samples.table["donor"] + "_" + samples.table["condition"], columns=tree.types
        ),
        "batch_effects": pd.DataFrame(truth.batch_effects, index=truth.var.index, columns=samples.batch_names),
        "donor_effects": pd.DataFrame(truth.donor_effects, index=truth.var.index, columns=samples.donor_names),
    }
    for key, readout in truth.readouts.items():
        feature = key if key == "protein" else "peak"
        counts = cells.readouts[key]
        adata.obsm[key] = counts.toarray() if key == "protein" else counts.astype(np.uint16)
        adata.uns[f"{feature}_names"] = np.asarray(readout.names, dtype=object)
        simulation[f"{feature}_genes"] = truth.var.index.to_numpy()[readout.genes]
    if settings["unmeasured"] > 0:
        adata.uns["measured"] = pd.DataFrame(truth.measured, index=truth.var.index, columns=samples.study_names)
    adata.uns["simulation"] = simulation
    return adata


def _categorical(codes: NDArray[np.int64], names: Sequence[str]) -> pd.Categorical:
    return pd.Categorical(np.asarray(names, dtype=object)[codes], categories=list(names))


def _programme_records(programmes: Programmes, ids: NDArray[Any]) -> dict[str, dict[str, Any]]:
    records: dict[str, dict[str, Any]] = {}
    for p, name in enumerate(programmes.names):
        weights = programmes.tf_weights[:, p]
        genes = programmes.genes(p)
        records[name] = {
            "genes": ids[genes],
            "loadings": programmes.loadings[p, genes],
            "tfs": ids[programmes.tfs(p)],
            "tf_weights": weights[weights > 0],
            "identity": bool(programmes.is_identity[p]),
        }
    return records


def _condition_records(truth: Truth, tree: Tree) -> dict[str, dict[str, Any]]:
    ids, programmes = truth.var.index.to_numpy(), truth.programmes
    records: dict[str, dict[str, Any]] = {}
    for shift in truth.shifts:
        targets = np.unique(np.concatenate([programmes.genes(p) for p in shift.programmes]))
        tfs = np.unique(np.concatenate([programmes.tfs(p) for p in shift.programmes]))
        records[shift.name] = {
            "programmes": np.asarray([programmes.names[p] for p in shift.programmes], dtype=object),
            "genes": ids[targets],
            "tfs": ids[tfs],
            "types": np.asarray([tree.types[t] for t in shift.types], dtype=object),
            "shift": float(shift.shift),
            "composition": pd.DataFrame({"log_factor": shift.composition}, index=tree.types),
        }
    return records
