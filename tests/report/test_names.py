"""Names beside points: none on another, none over the edge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.report.names import HIGH, WIDE, place_names, put_names

INSIDE = (190.0, 160.0)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_no_name_lies_on_another_or_over_the_edge(seed, n):
    rng = np.random.default_rng(seed)
    places = rng.normal([95, 80], [12, 12], size=(n, 2)).clip(2, 150)
    names = ["G" * int(k) for k in rng.integers(2, 12, n)]
    boxes = place_names(places, names, crowd=places, inside=INSIDE)
    found = [box for box in boxes if box is not None]
    for i, one in enumerate(found):
        assert one.left >= 0
        assert one.bottom >= 0
        assert one.right <= INSIDE[0]
        assert one.top <= INSIDE[1]
        for other in found[:i]:
            # The overlap of two rectangles, along each side.
            across = min(one.right, other.right) - max(one.left, other.left)
            up = min(one.top, other.top) - max(one.bottom, other.bottom)
            assert across <= 0 or up <= 0
    # The first has every place to itself.
    assert boxes[0] is not None


def test_a_lone_point_has_its_name_to_the_right_and_at_the_edge_to_the_left():
    for x, left in ((50.0, 53.5), (189.0, 189 - 3.5 - 4 * WIDE)):
        (box,) = place_names(np.array([[x, 80.0]]), ["MX12"], crowd=np.empty((0, 2)), inside=INSIDE)
        assert box.left == pytest.approx(left)
        assert (box.bottom + box.top) / 2 == pytest.approx(80)


def test_points_are_not_covered_if_there_is_a_place():
    places = np.array([[50.0, 80.0]])
    crowd = np.array([[60.0, 80.0], [40.0, 80.0], [60.0, 88.0], [40.0, 88.0]])
    (box,) = place_names(places, ["MX12"], crowd=crowd, inside=INSIDE)
    assert box.holds(crowd) == 0


def test_without_room_a_name_is_left_out():
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    places = np.full((40, 2), 20.0)
    put_names(axes, places[:, 0], places[:, 1], ["LONGNAME"] * 40, places=places, crowd=places, inside=(60.0, 3 * HIGH))
    assert 0 < len(axes.texts) < 8
