"""What the page of simulated cells says: what made them, what that is worth, and how they lie beside measured ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scssl import keys
from scssl.report.file_cells import lay_out

if TYPE_CHECKING:
    from scssl.report.file_tasks import FileContent, FileTask
    from scssl.report.file_told import Told

LAID_OUT = 1000
"""Cells of each population in the plane."""


def tell_simulate(told: Told, task: FileTask, content: FileContent) -> None:
    """Add sentences, scores, figures and groups.

    Parameters
    ----------
    told
        To add to.
    task
        What the command wrote.
    content
        The file.
    """
    # Tables are no settings, among which the page would list them.
    kept = [task.settings.pop(name, None) for name in (keys.BESIDE_CELLS, keys.BESIDE_GENES)]
    obs, columns = content.obs, dict(task.settings.get("columns") or {})
    made = "1 cell was" if len(obs) == 1 else f"{len(obs):,} cells were"
    told.summary.append(
        f"{made} simulated: cells of obs[{columns.get('condition')!r}] = "
        f"{task.settings.get('control')!r}, as they would be under another condition."
    )
    cases = [
        {"case": name, **case}
        for name, case in dict(task.settings.get("cases") or {}).items()
        if isinstance(case, dict)
    ]
    for case in cases:
        words = [f"{case['case']}: made by {case.get('method', 'an unknown method')}", _sentence(case.get("verdict"))]
        told.summary.append(
            "; ".join(words) + (f" Uncertainty: {_sentence(case['uncertainty'])}" if case.get("uncertainty") else "")
        )
    if warning := task.settings.get("warning"):
        told.summary.append(f"Mind: {warning}")
    if methods := task.scores.get("methods"):
        _scores(told, methods, held=str(task.settings.get("hold_out")), made=[str(c.get("method")) for c in cases])
    if all(isinstance(table, pd.DataFrame) for table in kept):
        _beside(told, *kept)
    groups = [key for key in (keys.SIMULATED_TYPE, keys.SIMULATED_DONOR, keys.SIMULATED_BY, keys.CASE_MEASURED)
              if key in obs]  # fmt: skip
    condition = str(columns.get("condition"))
    several = [condition] if condition in obs and len(obs[condition].unique()) > 1 else []
    told.columns = list(dict.fromkeys([*groups[:1], *several, *groups]))
    if groups:
        table = obs[groups].astype(str).value_counts().rename("cells").reset_index().sort_values(groups[:2])
        text = "Simulated cells by type and donor, what made them, and whether such cells were measured under the case."
        told.section(table, "groups", title="Simulated groups", text=text, options={"names": groups})


def _sentence(words: object) -> str:
    return f"{str(words or '').rstrip('.')}."


def _scores(told: Told, methods: dict[str, Any], *, held: str, made: list[str]) -> None:
    table = pd.DataFrame.from_dict(methods, orient="index").astype(float) + 0.0
    made = list(dict.fromkeys(made))
    text = (
        f"Against the measured cells of {held}, which were not learned from. explained: the part of the way from "
        "control to measured cells, in means and shapes of the populations; 0 is no change, 1 the truth. The simulated "
        f"cells of this file were made by {' and '.join(made)}, in colour: that was chosen without the cells that are "
        "scored here. Half of the truth is one half of the measured cells against the other. The table has "
        "means over cell types (and over donors, where they are known); explained and discrimination are of all of "
        "them together."
    )
    told.section(
        table.rename_axis("method").reset_index(), "scores", kind="simulation_scores", title="Against baselines",
        text=text, later=False, options={"made": made},
    )  # fmt: skip


def _beside(told: Told, cells: pd.DataFrame, genes: pd.DataFrame) -> None:
    cases = list(dict.fromkeys(cells["case"].astype(str)))
    for number, case in enumerate(cases):
        mine, of = cells[cells["case"] == case], f": {case}" if len(cases) > 1 else ""
        title = str(mine["title"].iloc[0])
        text = (
            "Every point is a gene: its change from control cells, simulated and measured, and its mean. On the dashed "
            "line both agree. The numbers are of all cells together, whatever their type, and so not those of the "
            "table above, which are means over cell types. On the right, grey is what no change at all would give."
        )
        means = genes[genes["case"] == case].drop(columns="case").round(6)
        told.section(
            means, f"means_{number}", kind="simulation_means", title=f"Mean expression, simulated and measured{of}",
            text=text, later=False, options={"title": title, "names": ["gene"]},
        )  # fmt: skip
        text = (
            "From control to measured cells (left to right), and along the main other difference. Simulated cells "
            "should cover the measured ones: between control and measured, the change is too small; a tighter cloud, "
            "and they are too much alike."
        )
        told.section(
            mine.drop(columns=["case", "title"]).round(3), f"plane_{number}", kind="simulation_cells",
            title=f"Simulated beside measured cells{of}", text=text, later=False, options={"title": title},
        )  # fmt: skip
        colour = ["kind", "cell type"] if len(mine["cell_type"].unique()) > 1 else ["kind"]
        told.section(
            _layout(mine), f"umap_{number}", kind="embedding", title=f"The same cells as a UMAP{of}",
            text="Of the principal components of their log expression, all three kinds of cells together. A UMAP pulls "
            "apart what differs a little: apart here need not be far apart above.",
            later=False, options={"colour": colour, "names": ["kind", "cell type"], "axes": "UMAP"},
        )  # fmt: skip


def _layout(cells: pd.DataFrame) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = np.concatenate(
        [rng.permutation(np.flatnonzero(cells["kind"] == kind))[:LAID_OUT] for kind in dict.fromkeys(cells["kind"])]
    )
    cells = cells.iloc[np.sort(rows)]
    points = cells[[name for name in cells.columns if name.startswith("c") and name[1:].isdigit()]].to_numpy(float)
    table = pd.DataFrame(lay_out(points, None), columns=["x", "y"]).round(3)
    table["kind"], table["cell type"] = cells["kind"].astype(str).to_numpy(), cells["cell_type"].astype(str).to_numpy()
    return table
