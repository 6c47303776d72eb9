"""Labels of cells: which ones mean something, and maps from one naming scheme to another."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scssl.errors import DataError, FormatError, require_column

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

UNLABELLED = ("unknown", "unassigned", "nan", "")
"""Names that stand for "not known", in any case, and are no types."""


def read_labels(obs: pd.DataFrame, column: str, *, file: str, unlabelled: Collection[str] = UNLABELLED) -> pd.Series:
    """Return a column of labels as plain strings, None where a cell has no label.

    Parameters
    ----------
    obs
        Annotation of cells.
    column
        Name of the column.
    file
        What to call the cells in messages.
    unlabelled
        Names, in any case, that mean "not known".

    Raises
    ------
    DataError
        If there is no such column, or it holds no labels.
    """
    require_column(obs.columns, column, file=file)
    values = obs[column]
    if isinstance(values.dtype, np.dtype) and values.dtype.kind == "f" and values.notna().any():
        message = f"{file}: obs[{column!r}] holds numbers with decimals, not labels; make it text or categories first"
        raise DataError(message)
    names = values.astype(object).map(str, na_action="ignore")
    empty = {name.strip().casefold() for name in unlabelled}
    known = names.notna() & ~names.astype(str).str.strip().str.casefold().isin(empty)
    if not known.any():
        message = f"{file}: obs[{column!r}] has no labels, only missing values or {', '.join(map(repr, unlabelled))}"
        raise DataError(message)
    return names.where(known, None).astype(object)


def map_labels(labels: pd.Series, label_map: Mapping[str, str | None] | None) -> pd.Series:
    """Rename labels; names that the map does not have stay, those mapped to nothing become None."""
    if not label_map:
        return labels
    renamed = [label_map.get(name, name) if name is not None else None for name in labels]
    return pd.Series([name or None for name in renamed], index=labels.index, dtype=object)


def read_label_map(path: Path | str) -> dict[str, str | None]:
    """Read a map from names in the query to names in the reference.

    Parameters
    ----------
    path
        A table of two columns (.csv, or .tsv or .txt with tabs; a first line ``from,to``, ``query,reference`` or
        ``truth,reference`` is a header), or a mapping (.json, .yaml, .yml). An empty name on the right means that the
        cells are not to be scored.

    Returns
    -------
    dict
        Query name to reference name, None for those not to be scored.

    Raises
    ------
    DataError
        If there is no such file, or it is none of these kinds.
    FormatError
        If it cannot be read as what its name says.
    """
    file = Path(path)
    if not file.is_file():
        message = f"{file}: no such file"
        raise DataError(message)
    readers = {".csv": _table, ".tsv": _table, ".txt": _table, ".json": _mapping, ".yaml": _mapping, ".yml": _mapping}
    if file.suffix.lower() not in readers:
        message = f"{file}: a label map is one of {', '.join(readers)}"
        raise DataError(message)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"{file}: is not text in UTF-8"
        raise FormatError(message) from error
    pairs = readers[file.suffix.lower()](text, file=file)
    if not pairs:
        message = f"{file}: holds no labels"
        raise FormatError(message)
    return {name: other or None for name, other in pairs.items()}


_HEADERS = {("from", "to"), ("query", "reference"), ("truth", "reference")}


def _table(text: str, *, file: Path) -> dict[str, str]:
    pairs: dict[str, str] = {}
    delimiter = "," if file.suffix.lower() == ".csv" else "\t"
    for number, row in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), start=1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or (number == 1 and tuple(cell.casefold() for cell in cells) in _HEADERS):
            continue
        if len(cells) != 2:
            message = f"{file}, line {number}: {len(cells)} columns; a label map has two, query name and reference name"
            raise FormatError(message)
        if pairs.setdefault(cells[0], cells[1]) != cells[1]:
            message = f"{file}, line {number}: {cells[0]!r} is mapped twice, to {pairs[cells[0]]!r} and {cells[1]!r}"
            raise FormatError(message)
    return pairs


def _mapping(text: str, *, file: Path) -> dict[str, str]:
    import yaml

    try:
        content: Any = json.loads(text) if file.suffix.lower() == ".json" else yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        message = f"{file}: cannot be read: {error}"
        raise FormatError(message) from error
    if not isinstance(content, dict) or any(isinstance(value, dict | list) for value in content.values()):
        message = f"{file}: is not a mapping from query names to reference names"
        raise FormatError(message)
    return {str(name): "" if value is None else str(value) for name, value in content.items()}


def encode(labels: pd.Series) -> tuple[NDArray[np.int64], list[str]]:
    """Return codes, -1 where there is no label, and the names in sorted order."""
    names = sorted({name for name in labels if name is not None})
    code_of = {name: code for code, name in enumerate(names)}
    codes = np.fromiter((code_of.get(name, -1) for name in labels), dtype=np.int64, count=len(labels))
    return codes, names
