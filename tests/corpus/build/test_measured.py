"""Tables of what was measured, and what is wrong with some."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scssl.corpus.build.measured import measured_by_source
from scssl.corpus.sources.source import open_source
from scssl.errors import DataError
from scssl.genes import harmonise, load_panel


def measured(adata, table, values=("s0", "s1")):
    adata = adata.copy()
    adata.uns["table"] = table
    with open_source(adata) as source:
        genes = harmonise(source.var, load_panel("human"))
        return measured_by_source(source, genes, values, key="uns:table"), genes


def whole_table(adata):
    return pd.DataFrame(True, index=adata.var_names, columns=["s0", "s1"])


def test_table_goes_to_the_panel(atlas):
    table = whole_table(atlas)
    table.iloc[::3, 1] = False
    table = table.iloc[::-1]  # the order of rows does not matter
    result, genes = measured(atlas, table)
    np.testing.assert_array_equal(result["s0"], genes.measured)
    expected = load_panel("human").index_of(table.index[table["s1"]])
    assert np.flatnonzero(result["s1"]).tolist() == sorted(expected)


def test_without_a_table_all_genes_of_the_file(atlas):
    with open_source(atlas) as source:
        genes = harmonise(source.var, load_panel("human"))
        result = measured_by_source(source, genes, ["a", "b"], key=None)
    assert list(result) == ["a", "b"]
    np.testing.assert_array_equal(result["a"], genes.measured)


def test_numbers_are_fine(atlas):
    result, genes = measured(atlas, whole_table(atlas).astype(float))
    np.testing.assert_array_equal(result["s0"], genes.measured)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="s1"), "no column for source 's1'; its columns are: s0"),
        (lambda t: t.iloc[:-2], "no row for 2 of 300 genes"),
        (lambda t: t.astype(int) * 2, "other values than true and false"),
        (lambda t: t.assign(s0=False), "source 's0' measured 0 genes"),
        (lambda t: "text", "is no table but str"),
    ],
)
def test_wrong_tables(atlas, change, message):
    with pytest.raises(DataError, match=message):
        measured(atlas, change(whole_table(atlas)))
