"""Cells that cannot be used: every command says which file, what is wrong with it and where the counts may be."""

from __future__ import annotations

import anndata
import numpy as np
import pytest
import scipy.sparse as sp

from scssl.genes.tables import gene_table
from tests.faults.commands import all_refused, that_read_cells


def one_value(value, dtype="float32"):
    def change(cells):
        cells.X = cells.X.astype(dtype)
        cells.X.data[-1] = value

    return change


def logs(cells):
    cells.X = cells.X.astype("float32").log1p()


def zeros(cells):
    cells.X = sp.csr_matrix(cells.shape, dtype="float32")


def names(prefix):
    def change(cells):
        cells.var_names = [f"{prefix}{i}" for i in range(cells.n_vars)]
        cells.var = cells.var[[]]

    return change


def mouse(cells):
    table = gene_table("mouse")
    cells.var = cells.var[[]]
    cells.var_names = table.ids[table.coding][: cells.n_vars]


CHANGED = {
    "negative": (one_value(-3), "negative"),
    "nan": (one_value(np.nan), "missing (NaN)"),
    "infinite": (one_value(np.inf), "infinite"),
    "fraction": (one_value(1.5), "no raw counts"),
    "too large": (one_value(2.0**32), "no count of molecules reaches"),
    "too large whole": (one_value(2**40, "int64"), "no count of molecules reaches"),
    "logs": (logs, "log"),
    "only zeros": (zeros, "counts"),
    "no cells": (lambda cells: cells[:0].copy(), "holds no cells"),
    "no genes": (lambda cells: cells[:, :0].copy(), "holds no genes: the matrix has no columns"),
    "few genes": (lambda cells: cells[:, :20].copy(), "at least 50"),
    "no matrix": (lambda cells: anndata.AnnData(obs=cells.obs, var=cells.var), "no matrix"),
    "unknown genes": (names("thing"), "known"),
    "numbered genes": (names(""), "known"),
    "mouse genes": (mouse, "look like mouse genes"),
}

VARIANTS = {
    "negative", "nan", "infinite", "fraction", "too large", "too large whole", "no genes", "no matrix", "unknown genes",
    "numbered genes",
}  # fmt: skip
"""What is found by the same lines as others: a few commands show that it is."""


@pytest.mark.parametrize("name", CHANGED)
def test_cells_that_cannot_be_used(base, cells, tmp_path, out, capsys, name):
    change, words = CHANGED[name]
    changed = cells.copy()
    made = change(changed)
    file = tmp_path / "bad file é.h5ad"
    (changed if made is None else made).write_h5ad(file)
    commands = that_read_cells(base, file, out)
    if name in VARIANTS:
        commands = {command: commands[command] for command in ("check", "build", "embed")}
    all_refused(capsys, commands, out=out, words=words, names=[file.name], untouched=[file, base.corpus])
