from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganic.extreme.tiling import TILE, spans, tiles, windows


@given(st.integers(1, 700), st.integers(1, 700))
def test_tiles_partition_the_latent(height: int, width: int) -> None:
    covered = np.zeros((height, width), int)
    for tile in tiles(height, width):
        assert 0 < tile.height <= TILE + 1 and 0 < tile.width <= TILE + 1
        assert tile.top % 4 == 0 and tile.left % 4 == 0
        covered[tile.top : tile.bottom, tile.left : tile.right] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize(
    ("length", "cuts"), [(1, [0, 1]), (128, [0, 128]), (129, [0, 64, 129]), (385, [0, 96, 192, 288, 385])]
)
def test_cuts_by_hand(length: int, cuts: list[int]) -> None:
    got = tiles(1, length)
    assert [tile.left for tile in got] + [got[-1].right] == cuts


@given(st.integers(1, 500), st.integers(1, 90), st.integers(0, 20))
def test_spans_cover_with_margins(length: int, size: int, margin: int) -> None:
    parts = spans(length, size, margin)
    assert parts[0].start == 0 and parts[-1].stop == length
    assert all(a.stop == b.start for a, b in pairwise(parts))
    for part in parts:
        assert 0 < part.stop - part.start <= size
        assert part.outer_start == max(0, part.start - margin)
        assert part.outer_stop == min(length, part.stop + margin)


def test_windows_go_row_by_row() -> None:
    assert [(r.start, c.start) for r, c in windows(4, 6, 3, 1)] == [(0, 0), (0, 3), (2, 0), (2, 3)]
