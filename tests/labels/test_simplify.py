"""Simplification stays within its radius and makes maps cheaper."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ganic.errors import UsageError
from ganic.labels import encode, simplify
from ganic.labels.simplify import MAX_RADIUS


def jagged(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    edge = height // 2 + rng.integers(-2, 3, width)
    labels = (np.arange(height)[:, None] > edge).astype(np.uint8)
    labels[rng.random((height, width)) < 0.02] = 7
    return labels


@given(
    st.integers(1, 20), st.integers(1, 20), st.integers(0, 5), st.integers(1, 5), st.integers(0, 2**32 - 1)
)
@settings(max_examples=60, deadline=None)
def test_every_label_was_within_the_radius(height: int, width: int, radius: int, n: int, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, n, (height, width)).astype(np.uint8)
    labels[: height // 2] = 255
    before = labels.copy()
    simpler = simplify(labels, radius)
    assert np.array_equal(labels, before) and simpler.dtype == np.uint8 and simpler.shape == labels.shape
    for y in range(height):
        for x in range(width):
            window = labels[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1]
            assert simpler[y, x] in window


def test_radius_0_is_the_identity() -> None:
    labels = jagged(30, 40, 1)
    assert np.array_equal(simplify(labels, 0), labels)


def test_one_round_by_hand() -> None:
    labels = np.zeros((5, 5), np.uint8)
    labels[2, 2] = 3  # a speck goes
    assert not simplify(labels, 1).any()
    labels[:, 2] = 3  # a line one wide goes, two wide stays
    assert not simplify(labels, 1).any()
    labels[:, 3] = 3
    assert np.array_equal(simplify(labels, 1), labels)


def test_straight_edges_and_large_regions_stay() -> None:
    labels = np.zeros((24, 24), np.uint8)
    labels[:, 9:] = 1
    for radius in (1, 2, 4):
        assert np.array_equal(simplify(labels, radius), labels)
    labels[8:17, 12:21] = 2  # 9 wide: its centre has no other label within 4
    assert simplify(labels, 4)[12, 16] == 2


def test_strips_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    module = importlib.import_module("ganic.labels.simplify")
    labels = jagged(40, 50, 2)
    whole = simplify(labels, 3)
    monkeypatch.setattr(module, "_STRIP_PIXELS", 7 * 50)
    assert np.array_equal(simplify(labels, 3), whole)


def test_bytes_are_saved() -> None:
    labels = jagged(60, 120, 3)
    sizes = [len(encode(simplify(labels, radius))) for radius in (0, 1, 2)]
    assert sizes[1] < 0.6 * sizes[0] and sizes[2] <= sizes[1]


@pytest.mark.parametrize("radius", [-1, MAX_RADIUS + 1])
def test_other_radii_are_errors(radius: int) -> None:
    with pytest.raises(UsageError, match="radius"):
        simplify(np.zeros((2, 2), np.uint8), radius)
