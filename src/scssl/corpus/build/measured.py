"""Which panel genes each source measured: the file's genes, or what a table in ``uns`` says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scssl.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scssl.corpus.sources.source import CellSource
    from scssl.genes import GeneMap

FEWEST_GENES = 50
"""A source with fewer measured panel genes says nothing about a cell."""


def measured_by_source(
    source: CellSource, genes: GeneMap, values: Sequence[str], *, key: str | None
) -> dict[str, NDArray[np.bool_]]:
    """Return the measured panel genes of each source in a file.

    Parameters
    ----------
    source
        The open file.
    genes
        Where its features are on the panel.
    values
        Names of the sources in it.
    key
        ``uns:KEY`` of a boolean table, genes by sources; None: all sources measured the file's genes.

    Returns
    -------
    dict
        source -> (n_panel,) bool.

    Raises
    ------
    DataError
        If the table is missing, or does not fit the file's genes and sources.
    """
    if key is None:
        return dict.fromkeys(values, genes.measured)
    entry = key.removeprefix("uns:")
    where = f"{source.file}: uns[{entry!r}] (--measured {key})"
    table = _as_frame(source.uns(entry), where)
    features = source.var.index.astype(str)
    absent = features[~features.isin(table.index)]
    if len(absent):
        message = f"{where} has no row for {len(absent):,} of {len(features):,} genes of the file, e.g. {absent[0]!r}"
        raise DataError(message)
    rows = table.loc[~table.index.duplicated()].reindex(features)
    result = {}
    for value in values:
        if value not in rows.columns:
            known = ", ".join(rows.columns[:20])
            message = f"{where} has no column for source {value!r}; its columns are: {known}"
            raise DataError(message)
        said = rows[value].to_numpy()
        on_panel = np.zeros_like(genes.measured)
        on_panel[genes.index[said & (genes.index >= 0)]] = True
        if on_panel.sum() < min(FEWEST_GENES, on_panel.size):
            message = (
                f"{where}: source {value!r} measured {int(on_panel.sum())} genes of the panel; at least {FEWEST_GENES} "
                "are needed. Leave it out with --where, or choose another panel with --genes"
            )
            raise DataError(message)
        result[value] = on_panel
    return result


def _as_frame(value: Any, where: str) -> pd.DataFrame:
    if isinstance(value, pd.DataFrame):
        table = value
    elif isinstance(value, Mapping) and {"index", "columns", "values"} <= set(value):
        table = pd.DataFrame(np.asarray(value["values"]), index=value["index"], columns=value["columns"])
    else:
        message = f"{where} is no table but {type(value).__name__}; it must be a DataFrame, genes by sources, of bool"
        raise DataError(message)
    table = table.set_axis(table.index.astype(str), axis=0).set_axis(table.columns.astype(str), axis=1)
    if table.isna().to_numpy().any() or not np.isin(table.to_numpy(), [0, 1]).all():
        message = f"{where} holds other values than true and false"
        raise DataError(message)
    return table.astype(bool)
