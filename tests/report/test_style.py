"""Colours differ, also in grey; names come in reading order."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from scssl.report.style import category_order, palette, styled


def grey(colour):
    r, g, b = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return 0.2126 * r**2.2 + 0.7152 * g**2.2 + 0.0722 * b**2.2


@pytest.mark.parametrize("n", [0, 1, 2, 8, 9, 20, 60])
def test_palette_gives_distinct_colours(n):
    colours = palette(n)
    assert len(set(colours)) == len(colours) == n
    assert all(re.fullmatch("#[0-9A-F]{6}", colour) for colour in colours)


def test_neighbours_in_a_large_palette_differ_in_grey():
    steps = [abs(grey(a) - grey(b)) for a, b in itertools.pairwise(palette(30))]
    assert min(steps) > 0.05


def test_numbers_inside_names_sort_by_value():
    assert category_order(["donor10", "donor2", "b", "2", "donor2", "10"]) == ["2", "10", "b", "donor2", "donor10"]
    assert category_order(["a", "", "1a", "a1b2"]) == ["", "1a", "a", "a1b2"]


def test_the_users_settings_come_back():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    with styled():
        assert mpl.rcParams["legend.frameon"] is False
    assert {key: value for key, value in mpl.rcParams.items() if not np.array_equal(before[key], value)} == {}
