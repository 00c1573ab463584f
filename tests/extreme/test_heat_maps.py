from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from ganic.extreme.heat_maps import components, random_box, random_instances

SEEDS = st.integers(0, 2**32 - 1)
SIDES = st.integers(1, 12)


def random_labels(seed: int, height: int, width: int, classes: int) -> Tensor:
    """Void among them, as -1."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(-1, classes, (1, height, width)))


def regions(labels: Tensor) -> set[frozenset[int]]:
    """SciPy's connected regions of each label [h, w], as sets of flat positions."""
    found = set()
    for label in set(labels.flatten().tolist()):
        numbers, count = ndimage.label((labels == label).numpy())  # 4 neighbours
        found |= {frozenset(np.flatnonzero(numbers == k + 1).tolist()) for k in range(count)}
    return found


def parts(numbers: Tensor) -> set[frozenset[int]]:
    """The sets of flat positions of [h, w] with the same number."""
    flat = numbers.flatten()
    return {frozenset((flat == k).nonzero()[:, 0].tolist()) for k in set(flat.tolist())}


@settings(deadline=None, max_examples=60)
@given(SEEDS, SIDES, SIDES, st.integers(0, 3))
def test_components_are_those_of_scipy(seed: int, height: int, width: int, classes: int) -> None:
    labels = random_labels(seed, height, width, classes)
    assert parts(components(labels)[0]) == regions(labels[0])


def test_components_by_hand() -> None:
    """Two spirals in each other: two regions, however long the way through them."""
    spiral = torch.tensor(
        [
            [1, 1, 1, 1, 1, 1],
            [0, 0, 0, 0, 0, 1],
            [1, 1, 1, 1, 0, 1],
            [1, 0, 0, 1, 0, 1],
            [1, 0, 1, 1, 0, 1],
            [1, 0, 0, 0, 0, 1],
            [1, 1, 1, 1, 1, 1],
        ]
    )
    numbers = components(torch.stack([spiral, torch.zeros_like(spiral)]))
    assert len(parts(numbers[0])) == 2 and len(parts(numbers[1])) == 1
    assert torch.equal(numbers[0] == numbers[0][0, 0], spiral == 1)


@settings(deadline=None, max_examples=60)
@given(SEEDS, SIDES, SIDES, st.integers(0, 3), st.floats(0.05, 1))
def test_the_share_of_instances_is_preserved_and_they_are_whole(
    seed: int, height: int, width: int, classes: int, share: float
) -> None:
    coarse = random_labels(seed, height, width, classes)
    torch.manual_seed(seed)
    heat = random_instances(coarse.repeat_interleave(4, 1).repeat_interleave(4, 2), 4, share)
    assert heat.shape == (1, 1, height, width) and heat.dtype == torch.float32
    preserved = set(heat.flatten().nonzero()[:, 0].tolist())
    chosen = [region for region in regions(coarse[0]) if region & preserved]
    assert set().union(*chosen) == preserved, "an instance was cut"
    assert len(chosen) == max(round(share * len(regions(coarse[0]))), 1)


def test_the_centre_of_a_block_is_its_class() -> None:
    labels = torch.zeros(1, 8, 8, dtype=torch.int64)
    labels[0, 4:, 4:] = 1
    labels[0, 4:, 4:6] = 0  # a block of 4 x 4 whose third column is the first of class 1
    labels[0, :4, 0:2] = 1  # and one whose third is not
    torch.manual_seed(0)
    seen = {tuple(random_instances(labels, 4, 0.01).flatten().tolist()) for _ in range(30)}
    assert seen == {(0, 0, 0, 1), (1, 1, 1, 0)}


def test_every_instance_has_its_chance() -> None:
    labels = torch.arange(4).reshape(1, 2, 2)
    torch.manual_seed(0)
    mean = torch.stack([random_instances(labels, 1, 0.25) for _ in range(400)]).mean(0)
    assert torch.allclose(mean, torch.full((1, 1, 2, 2), 0.25), atol=0.08)


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.integers(4, 40), st.floats(0.05, 0.5))
def test_boxes_are_boxes_of_about_that_share(seed: int, side: int, share: float) -> None:
    torch.manual_seed(seed)
    maps = random_box(3, side, side, (share, share))
    assert maps.shape == (3, 1, side, side)
    for heat in maps[:, 0]:
        height, width = int(heat.amax(1).sum()), int(heat.amax(0).sum())
        assert heat.sum() == height * width > 0, "not a rectangle without gaps"
        assert len(np.flatnonzero(np.diff(heat.amax(1).numpy(), prepend=0, append=0))) == 2
        assert len(np.flatnonzero(np.diff(heat.amax(0).numpy(), prepend=0, append=0))) == 2
        # Each side is off by half a position, or a whole where it was raised to one.
        assert abs(height * width - share * side * side) <= 0.51 * (height + width) + 1


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
def test_boxes_in_small_maps(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    maps = random_box(20, *size)
    assert set(maps.flatten().tolist()) <= {0.0, 1.0} and (maps.flatten(1).sum(1) >= 1).all()


def test_boxes_lie_everywhere() -> None:
    torch.manual_seed(0)
    maps = random_box(2000, 8, 8)
    assert 0.2 < maps.mean() < 0.4  # shares are uniform in 0.1 to 0.5
    share = maps.mean((0, 1))
    assert share.amin() > 0.02  # the corners too
    assert torch.allclose(share, share.flip(0), atol=0.06) and torch.allclose(share, share.flip(1), atol=0.06)
    assert len({tuple(heat.flatten().tolist()) for heat in maps}) > 200
