"""The panel of a corpus from its files."""

from __future__ import annotations

import numpy as np
import pytest

from scssl.corpus.build.panels import choose_panel
from scssl.corpus.settings import BuildSettings
from scssl.errors import DataError, SettingsError


def choose(genes, origins):
    return choose_panel(BuildSettings(genes=genes), origins)


def test_union_intersection_and_built_in(atlas, atlas_file):
    part = atlas[:, :200].copy()
    assert len(choose("union", [atlas_file, part])) == 300
    assert set(choose("intersection", [atlas_file, part]).ids) == set(part.var_names)
    assert len(choose("human", [atlas_file])) > 20_000


def test_most_variable(atlas, atlas_file):
    panel = choose("hvg:100", [atlas_file])
    assert len(panel) == 100
    assert panel.name == "hvg:100"
    assert set(panel.ids) <= set(atlas.var_names)
    # The same cells in two files are two sources with the same scores.
    assert choose("hvg:100", [atlas_file, atlas]) == panel


@pytest.mark.parametrize("spec", ["hvg", "hvg:", "hvg:many", "hvg:10", "hvg:5000"])
def test_numbers_that_are_not_possible(spec, atlas_file):
    with pytest.raises(SettingsError, match=r"hvg|no gene panel"):
        choose(spec, [atlas_file])


def test_log_values_are_refused(atlas):
    logs = atlas.copy()
    logs.X = logs.X.astype(np.float32).log1p()
    with pytest.raises(DataError, match="holds no raw counts but log1p"):
        choose("hvg:100", [logs])
