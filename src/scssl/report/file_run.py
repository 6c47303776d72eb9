"""The run that a file with results of scssl tells of: what was done to its cells, and what came out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scssl import keys
from scssl.errors import DataError, FormatError
from scssl.log import logger
from scssl.report.file_cells import (
    Expression,
    choose_genes,
    choose_rows,
    columns_to_show,
    lay_out,
    read_expression,
    unique_names,
)
from scssl.report.file_sections import tell
from scssl.report.file_tasks import FileContent, FileTask, read_content
from scssl.report.run import Run, Section
from scssl.words import count

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from scssl.report.file_told import Told

CELLS = "cells.csv"
TYPES = ("cell_type", "celltype", "cell_types", "cell_label", "annotation", "label", "labels", "leiden", "louvain")
"""Columns of obs that usually hold kinds of cells."""
DONORS = ("donor", "donor_id", "patient", "individual", "sample", "batch", "study")
MOST_COLUMNS = 40
"""Columns of obs offered as colours."""
HOVERED = 8
"""Columns that pointing at a cell shows."""
RECONSTRUCTED = 25
"""Genes whose reconstruction is offered as a colour."""
FEATURES = 50
"""Proteins or peaks offered as colours."""


def run_of_file(file: Path, folder: Path, *, truth: str | None = None, name: str | None = None) -> Run:
    """Put together the `Run` of a file that scssl wrote.

    Parameters
    ----------
    file
        .h5ad with ``uns["scssl"]``.
    folder
        Folder for the tables of the run.
    truth
        Column of obs with the true labels; that of ``scssl annotate --truth`` by default.
    name
        What the page calls the file; its name by default.

    Returns
    -------
    Run
        Its tables are in `folder`.

    Raises
    ------
    FormatError
        If scssl has written nothing to the file.
    DataError
        If obs has no column `truth`.
    """
    content = read_content(file)
    if truth is not None and truth not in content.obs:
        there = ", ".join(map(str, content.obs.columns)) or "none"
        message = f"{file}: obs has no column {truth!r}; there are: {there}"
        raise DataError(message)
    newest, record = content.tasks[-1], content.tasks[-1].record
    several = len(content.tasks) > 1
    try:
        told = [tell(task, content, folder=folder, truth=truth) for task in content.tasks]
        timings = {
            f"{task.name}: {step}" if several else step: float(seconds)
            for task in content.tasks
            for step, seconds in task.record.get("timings", {}).items()
        }
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        names = ", ".join(task.name for task in content.tasks)
        message = (
            f"{file}: uns[{keys.SETTINGS!r}] is not as scssl writes it ({names}; {type(error).__name__}: {error}); "
            "make the file again"
        )
        raise FormatError(message) from error
    return Run(
        title=f"{_title(newest)}: {name or file.name}",
        command="\n".join(str(task.record["command"]) for task in content.tasks if "command" in task.record),
        summary=[sentence for part in reversed(told) for sentence in part.summary],
        sections=[
            *(section for part in reversed(told) for section in part.sections),
            _cells(content, folder, truth=truth, told=told),
            *(section for part in reversed(told) for section in part.later),
        ],
        settings={task.name: {**task.settings, **_model(task)} for task in content.tasks},
        data=[{"task": task.name, **one} if several else one for task in content.tasks for one in _inputs(task)],
        timings=timings,
        versions=dict(record.get("versions") or newest.settings.get("versions") or {}),
        machine=dict(record.get("machine", {})),
        created=re.sub(r"\.\d+", "", str(record.get("created", ""))),
    )


def _title(task: FileTask) -> str:
    titles = {
        "annotate": "Cells named",
        "embed": "Cells embedded",
        "integrate": "Batches brought together",
        "reconstruct": "Expression reconstructed",
        "translate": "Predicted from RNA",
        "simulate": "Simulated cells",
    }
    return titles.get(task.kind, task.name.capitalize())


def _model(task: FileTask) -> dict[str, Any]:
    return {"of the model": task.record["model"]} if task.record.get("model") else {}


def _inputs(task: FileTask) -> list[dict[str, Any]]:
    found = [
        {"name": one["name"], "role": one["role"], "cells": one["cells"],
         "MB": None if one["bytes"] is None else round(one["bytes"] / 1e6, 1)}
        for one in task.record.get("inputs", [])
    ]  # fmt: skip
    if model := task.record.get("model"):
        found.append(
            {"name": str(task.settings.get("model", "")), "role": f"model ({model['pretext']})",
             "cells": model["cells"], "MB": None}
        )  # fmt: skip
    return found


def _cells(content: FileContent, folder: Path, *, truth: str | None, told: list[Told]) -> Section:
    """Write the table of the cells that are drawn, and say how it is shown."""
    rows = choose_rows(len(content.obs))
    obs, left = columns_to_show(content.obs.iloc[rows])
    wanted = [column for part in reversed(told) for column in part.columns]
    wanted += [column for column in (truth, *_of(TYPES, obs), *_of(DONORS, obs)) if column is not None]
    first = [column for column in dict.fromkeys(wanted) if column in obs]
    obs = obs[[*first, *(column for column in obs if column not in first)]]
    left += [str(column) for column in obs.columns[MOST_COLUMNS:]]
    obs = obs.iloc[:, :MOST_COLUMNS]
    layer = next((str(t.settings["layer"]) for t in reversed(content.tasks) if t.settings.get("layer")), "X")
    logger.info("reading the counts of %s cells", f"{len(rows):,}")
    expression = read_expression(content.file, rows, layer=layer)
    by = _grouping(obs, [column for column in (*_labels(content), truth) if column is not None], otherwise=first)
    groups = None if by is None else _groups(obs[by])
    genes, are_markers = choose_genes(expression.X, groups)
    title = "Marker genes" if are_markers else "Genes that vary most"
    shown = [str(expression.symbols[gene]) for gene in genes]
    tables = {title: (shown, expression.X[:, genes].toarray()), **_predicted(content, expression, genes, shown)}
    embedding = next(
        (t.embedding for t in reversed(content.tasks) if t.embedding in content.obsm),
        keys.EMBEDDING if keys.EMBEDDING in content.obsm else None,
    )
    logger.info("laying out %s cells", f"{len(rows):,}")
    Z = None if embedding is None else _array(content.file, "obsm", embedding, rows)
    points = lay_out(Z, expression.X)
    table, features = pd.DataFrame(points, columns=["x", "y"]).round(3), {}
    table = pd.concat([table, obs.reset_index(drop=True)], axis=1)
    for heading, (names, values) in tables.items():
        columns = unique_names(names, taken=map(str, table.columns))
        features[heading] = columns
        part = pd.DataFrame(np.asarray(values, dtype=np.float32).round(3), columns=pd.Index(columns))
        table = pd.concat([table, part], axis=1)
    table.iloc[np.flatnonzero(np.isfinite(points).all(axis=1))].to_csv(folder / CELLS, index=False)
    offered = [str(column) for column in obs.columns]
    panels = offered[:2] or features[title][:1]
    options = {
        "colour": panels, "names": [c for c in offered if obs[c].dtype == object], "hover": offered[:HOVERED],
        "features": features,
        "n_cells": len(content.obs), "axes": "" if Z is not None and Z.shape[1] == 2 else "UMAP",
    }  # fmt: skip
    where = f"obsm[{embedding!r}]" if embedding else "the principal components of their log counts"
    text = (
        f"A UMAP of {where}: cells near each other are alike; how far apart groups lie means little. Any column of "
        f"obs can be the colour, and {count(len(genes), 'gene')}"
        + (f", those that set the groups of obs[{by!r}] apart most" if are_markers else ", those that vary most")
        + " (log1p of counts per 10,000)."
    )
    if left:
        text += f" Not offered, as they hold too many names or none: {', '.join(left[:8])}{', ...' * (len(left) > 8)}."
    return Section(kind="embedding", title="Cells", file=CELLS, text=text, options=options)


def _of(names: tuple[str, ...], obs: pd.DataFrame) -> list[str]:
    lower = {str(column).casefold(): str(column) for column in obs.columns}
    return [lower[name] for name in names if name in lower][:2]


def _labels(content: FileContent) -> list[str]:
    """Return the columns of obs with labels, as far as the tasks know."""
    found = [task.named(keys.LABEL) for task in content.tasks if task.kind == "annotate"]
    return found[::-1] + [str(task.record["labels"]) for task in content.tasks if task.record.get("labels")]


def _grouping(obs: pd.DataFrame, labels: list[str], *, otherwise: list[str]) -> str | None:
    """Return the column whose groups get markers: labels, or else types, or else whatever has names."""
    wanted = [*labels, *_of(TYPES, obs), *otherwise]
    return next((column for column in wanted if column in obs and obs[column].dtype == object), None)


def _groups(names: pd.Series) -> NDArray[Any]:
    rejected = names.isna() | names.isin(["unknown"])
    return names.where(~rejected, None).to_numpy(dtype=object)


def _predicted(
    content: FileContent, expression: Expression, genes: NDArray[np.int64], shown: list[str]
) -> dict[str, tuple[list[str], NDArray[Any]]]:
    """Return predicted values that can be the colour, by heading."""
    found: dict[str, tuple[list[str], NDArray[Any]]] = {}
    for task in content.tasks:
        layer = task.named(keys.EXPRESSION)
        if task.kind == "reconstruct" and layer in content.layers:
            values = _array(content.file, "layers", layer, expression.rows, columns=genes[:RECONSTRUCTED])
            found["Reconstructed"] = ([f"{name}, reconstructed" for name in shown[:RECONSTRUCTED]], values)
        key = str(task.settings.get("key", ""))
        if task.kind == "translate" and key in content.obsm:
            values = _array(content.file, "obsm", key, expression.rows)
            names = _feature_names(content.file, task.name, n=values.shape[1])
            best = np.sort(np.argsort(-np.nanvar(values, axis=0), kind="stable")[:FEATURES])
            what = "proteins" if task.settings.get("to") == "protein" else "peaks"
            found[f"Predicted {what}"] = ([f"{names[i]}, predicted" for i in best], values[:, best])
    return found


def _array(
    file: Path, place: str, name: str, rows: NDArray[np.int64], *, columns: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """Read some rows of a dense array, a part of the file at a time."""
    import h5py

    with h5py.File(file) as store:
        array = store[place][name]
        parts = []
        for start in range(0, array.shape[0], 4096):
            inside = rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + 4096)] - start
            if len(inside):
                part = array[start : start + 4096][inside]
                parts.append(part if columns is None else part[:, columns])
    return np.concatenate(parts).astype(np.float32)


def _feature_names(file: Path, task: str, *, n: int) -> list[str]:
    import h5py
    from anndata.io import read_elem

    with h5py.File(file) as store:
        names = (
            read_elem(store["uns"][keys.SETTINGS][task]["names"])
            if "names" in store["uns"][keys.SETTINGS][task]
            else []
        )
    return [str(name) for name in names] if len(names) == n else [f"feature {i + 1}" for i in range(n)]
