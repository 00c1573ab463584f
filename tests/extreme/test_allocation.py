"""Where bits go: plans, boxes, and what a hyper-latent position gets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from ganic.errors import CorruptError, StreamError
from ganic.extreme.allocation import MAX_LEVELS, Allocation, Plan
from ganic.extreme.tiling import Tile
from ganic.labels import VOID


def test_by_hand() -> None:
    drop = np.array([[10, 10, 60], [10, 60, 0]])
    coded = np.array([[True, True, True], [True, True, False]])
    plan = Plan.of(drop, coded)
    assert plan.drops == (0, 50)  # the best positions define the file's quality
    assert plan.levels.tolist() == [[0, 0, 1], [0, 1, VOID]]
    assert plan.share == pytest.approx(5 / 6) and not plan.is_uniform
    area = plan.at(40)
    assert area.quality.tolist() == [[40, 40, 0], [40, 0, 40]]  # never below 0
    assert (area.coded == coded).all()


def test_uniform_plans_are_known_as_such() -> None:
    assert Plan.uniform(3, 4).is_uniform
    assert Plan.of(np.full((3, 4), 77), np.ones((3, 4), bool)).is_uniform
    assert (Plan.uniform(3, 4).at(9).quality == 9).all()


def test_softer_plans_lie_between() -> None:
    plan = Plan.of(np.array([[0, 40], [100, 7]]), np.array([[True, True], [True, False]]))
    assert plan.softened(0.5).drops == (0, 20, 50) and plan.softened(1).drops == plan.drops
    assert plan.softened(0).drops == (0,)
    assert (plan.softened(0).levels == [[0, 0], [0, VOID]]).all()


def test_nothing_coded_is_a_plan() -> None:
    plan = Plan.of(np.zeros((2, 2), int), np.zeros((2, 2), bool))
    assert plan.drops == () and plan.share == 0
    assert Plan.unpack(plan.pack(), 2, 2).drops == ()
    assert not plan.at(100).coded.any()


def test_a_hyper_position_gets_the_best_of_its_sixteen() -> None:
    quality = np.full((5, 6), 20, np.uint8)
    quality[1, 2], quality[4, 5] = 90, 200
    coded = np.zeros((5, 6), bool)
    coded[0, 0] = coded[1, 2] = coded[4, 0] = True
    coarse = Allocation(quality, coded).coarse()
    assert coarse.coded.tolist() == [[True, False], [True, False]]
    assert coarse.quality[0, 0] == 90 and coarse.quality[1, 0] == 20


def test_a_tile_is_cut_out() -> None:
    plan = Plan.of(np.arange(12).reshape(3, 4), np.ones((3, 4), bool))
    part = plan.at(50).tile(Tile(1, 2, 3, 4))
    assert part.quality.tolist() == [[44, 43], [40, 39]]


maps = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))


@given(drop=maps, share=st.floats(0, 1), quality=st.integers(0, 255))
def test_boxes_come_back(drop: NDArray[np.uint8], share: float, quality: int) -> None:
    coded = np.random.default_rng(0).random(drop.shape) < share
    plan = Plan.of(drop, coded)
    assert len(plan.drops) <= MAX_LEVELS
    if plan.is_uniform:
        return
    again = Plan.unpack(plan.pack(), *drop.shape)
    assert again.drops == plan.drops and (again.levels == plan.levels).all()
    area = again.at(quality)
    assert (area.coded == coded).all()
    wanted = np.maximum(quality - (drop.astype(int) - (drop[coded].min() if coded.any() else 0)), 0)
    assert (np.abs(area.quality.astype(int) - wanted)[coded] < 256 // MAX_LEVELS).all()


GOOD = Plan.of(np.array([[0, 9], [0, 0]]), np.ones((2, 2), bool)).pack()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x02\x00",
        b"\x02\x09\x00" + GOOD[3:],  # not increasing
        b"\x02\x00\x00" + GOOD[3:],  # twice the same
        b"\x02\x05\x09" + GOOD[3:],  # the best positions lost their quality
        b"\x03\x00\x09\x0a" + GOOD[3:],  # a level that the map does not have
        b"\x01\x00" + GOOD[3:],  # the map has more
        bytes([33, *range(33)]) + GOOD[3:],
        Plan.uniform(2, 2).pack(),  # says nothing
    ],
)
def test_what_no_encoder_writes_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptError):
        Plan.unpack(data, 2, 2)


@given(data=st.binary(max_size=40))
def test_foreign_bytes_are_refused_or_canonical(data: bytes) -> None:
    try:
        plan = Plan.unpack(data, 5, 7)
    except StreamError:
        return
    assert plan.pack() == data
