"""What can be recomputed of a file that a task wrote: its inputs, and the codes of its first cells."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.cli._repeat_outcome import ASK
from scssl.environment import expanded
from scssl.errors import ScsslError
from scssl.log import logger
from scssl.model.capsule import Finding, check_environment, check_inputs
from scssl.words import count

if TYPE_CHECKING:
    from scssl.report.file_tasks import FileContent, FileTask

CELLS: Final = 200
"""Cells whose codes are computed again."""
PARTS: Final = ("command", "inputs", "model", "versions", "machine")
"""What every command notes in a file, beside the settings."""


def verify_file(file: Path) -> list[tuple[str, Finding]]:
    """Check an .h5ad with results of scssl.

    Parameters
    ----------
    file
        As the commands write them.

    Returns
    -------
    list of (str, Finding)
        With the name of the task.

    Raises
    ------
    FormatError
        If it is not such a file.
    """
    from scssl.report.file_tasks import read_content

    content = read_content(file)
    return [(task.name, finding) for task in content.tasks for finding in _verify_task(task, content)]


def _verify_task(task: FileTask, content: FileContent) -> list[Finding]:
    record = task.record
    if not record:
        hint = "written from Python: it has no record of command and inputs"
        return [Finding(what="record", state="unknown", text=hint), *_codes(task, content)]
    absent = [name for name in PARTS if not record.get(name)]
    findings = [
        Finding(what="record", state="differs", text=f"lacks {', '.join(absent)}")
        if absent
        else Finding(what="record", state="same", text=f"has settings, {', '.join(PARTS)}")
    ]
    inputs = record.get("inputs")
    findings += check_inputs(inputs if isinstance(inputs, list) else [])
    findings += _codes(task, content)
    if record.get("scores"):
        findings.append(Finding(what="metrics", state="unknown", text=f"not recomputed: {ASK}"))
    then = record.get("versions")
    return [*findings, check_environment(then if isinstance(then, dict) else {})]


def _codes(task: FileTask, content: FileContent) -> list[Finding]:
    """Compute the codes of the first cells again, where they are the model's own."""
    name = task.embedding
    mixed = task.settings.get("adapted") or task.settings.get("pca")
    if task.kind not in ("embed", "annotate") or mixed or name not in content.obsm:
        return []
    place = expanded(str(task.record.get("folder", "."))) / str(task.settings.get("model", ""))
    folder = next((path for path in (place, place / "model") if (path / "config.json").is_file()), None)
    if folder is None:
        text = f"not recomputed: the model is not at {task.settings.get('model')}"
        return [Finding(what="codes", state="unknown", text=text)]
    try:
        found, text = _difference(content, name=str(name), model=folder, layer=task.settings.get("layer"))
    except ScsslError as error:
        return [Finding(what="codes", state="unknown", text=f"not recomputed: {error}")]
    from scssl.model.example import TOLERANCE

    return [Finding(what="codes", state="same" if found <= TOLERANCE else "differs", text=text)]


def _difference(content: FileContent, *, name: str, model: Path, layer: Any) -> tuple[float, str]:
    import h5py
    from anndata import AnnData

    from scssl.corpus.sources.source import open_source
    from scssl.model.cell_model import CellModel

    with open_source(content.file, layer=None if layer in (None, "X") else str(layer)) as source:
        cells = AnnData(source.rows(0, CELLS), var=source.var)
    with h5py.File(content.file) as store:
        stored = np.asarray(store["obsm"][name][: cells.n_obs], dtype=np.float64)
    # What is to be said of the cells was said by the run.
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        codes = CellModel.load(model).embed(cells, device="cpu").astype(np.float64)
    finally:
        logger.setLevel(level)
    if codes.shape != stored.shape:
        return np.inf, f"obsm[{name!r}] has {stored.shape[1]} numbers per cell, the model gives {codes.shape[1]}"
    found = float(np.abs(codes - stored).max() / max(np.abs(stored).max(), 1e-9))
    text = f"of {count(cells.n_obs, 'cell')}, computed again by {model.name}, differ by {found:.1e} of the largest"
    return found, text
