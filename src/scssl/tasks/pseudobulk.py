"""Pseudobulk: the counts of all cells of a sample (donor, type, condition, ...) summed, gene by gene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import scipy.sparse as sp

from scssl.corpus.sources.source import open_source
from scssl.corpus.sources.values import check_counts
from scssl.errors import DataError, require_column

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

N_CELLS: Final = "n_cells"
"""Column of ``obs`` with the cells that were summed."""


def sum_counts(counts: Any, *, group: NDArray[np.integer], n_groups: int) -> sp.csr_matrix:
    """Sum the counts of the cells of each group.

    Parameters
    ----------
    counts
        (n_cells, n_genes) counts, sparse or not, of any type of number: they are added as 64-bit numbers.
    group
        (n_cells,) codes from 0; cells with a negative code are left out.
    n_groups
        Rows of the result; groups without cells have zeros.

    Returns
    -------
    scipy.sparse.csr_matrix
        (n_groups, n_genes) int64; float64 if `counts` holds floating-point numbers.
    """
    matrix = sp.csr_matrix(counts)
    kind = np.float64 if matrix.dtype.kind == "f" else np.int64
    rows = np.flatnonzero(np.asarray(group) >= 0)
    ones = np.ones(len(rows), dtype=kind)
    belongs = sp.csr_matrix((ones, (np.asarray(group)[rows], rows)), shape=(n_groups, matrix.shape[0]))
    return sp.csr_matrix(belongs @ matrix.astype(kind))


def pseudobulk(
    cells: AnnData | Path | str,
    *,
    by: Sequence[str],
    layer: str | None = None,
    rows: NDArray[np.bool_] | None = None,
    raw_only: bool = False,
) -> AnnData:
    """Sum counts over the cells of each sample; memory does not grow with the number of cells.

    Parameters
    ----------
    cells
        AnnData or file with raw counts.
    by
        Columns of ``obs`` whose combinations are the samples, such as ``["donor", "cell_type", "condition"]``.
    layer
        Where the counts are: None for ``X``, ``"raw"``, or the name of a layer.
    rows
        (n_cells,) cells to take; all by default. Cells without a value in a column are never taken.
    raw_only
        Refuse values that are no raw counts; without it anything is summed.

    Returns
    -------
    anndata.AnnData
        One row per combination that some cell has, in the order of their names:

        - ``X``: summed counts, CSR int64 (float64 where the counts are floating-point numbers).
        - ``obs``: the columns of `by` (text) and ``n_cells`` (int64).
        - ``var``: that of the counts.

    Raises
    ------
    DataError
        If a column is missing, no cell is left, or values are no counts and must be.
    """
    from anndata import AnnData

    columns = list(by)
    with open_source(cells, layer=layer, obs_columns=columns) as source:
        for name in columns:
            require_column(source.columns, name, file=source.file, role="to sum by")
        group, table = samples(source.obs[columns], rows=rows)
        if table.empty:
            message = f"{source.file}: no cell has a value in every column of {columns}, so there is nothing to sum"
            raise DataError(message)
        total: sp.csr_matrix | None = None
        for part, chunk in source.chunks():
            if raw_only:
                check_counts(chunk, file=source.file, layer=layer, first_row=part.start)
            summed = sum_counts(chunk, group=group[part], n_groups=len(table))
            total = summed if total is None else total + summed
        var = source.var
    return AnnData(sp.csr_matrix(total), obs=table, var=var)


def samples(obs: pd.DataFrame, *, rows: NDArray[np.bool_] | None = None) -> tuple[NDArray[np.int64], pd.DataFrame]:
    """Find the samples that cells belong to.

    Parameters
    ----------
    obs
        (n_cells, n_columns): the combinations of its values are the samples.
    rows
        (n_cells,) cells to take; all by default.

    Returns
    -------
    group : numpy.ndarray
        (n_cells,) row of `table`; -1 for cells that are not taken or have no value in some column.
    table : pandas.DataFrame
        One row per sample: its values as text, and ``n_cells``; the index joins the values with ``|``.
    """
    taken = obs.notna().all(axis=1).to_numpy(dtype=bool)
    if rows is not None:
        taken &= np.asarray(rows, dtype=bool)
    chosen = obs.loc[taken].astype(str)
    group = np.full(len(obs), -1, dtype=np.int64)
    number = chosen.groupby(list(chosen.columns), sort=True, observed=True).ngroup().to_numpy(dtype=np.int64)
    group[taken] = number
    table = chosen.assign(number=number).drop_duplicates("number").sort_values("number").drop(columns="number")
    table[N_CELLS] = np.bincount(number, minlength=len(table)).astype(np.int64)
    table.index = pd.Index(["|".join(values) for values in table[list(obs.columns)].to_numpy(dtype=str)])
    return group, table
