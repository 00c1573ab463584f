from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from training_toys import smooth

from ganic.training.augment import LUMA, Window, cut, cut_map, draw_colours, draw_window, recolour
from ganic.training.recipes import Data


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(16, 200),
    st.integers(16, 200),
    st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)).map(sorted),
    st.sampled_from(["none", "h", "hv"]),
)
def test_windows_lie_inside_and_respect_the_scale(
    seed: int, height: int, width: int, scale: list[float], flips: Literal["none", "h", "hv"]
) -> None:
    chosen = Data(scale=(scale[0], scale[1]), flips=flips)
    window = draw_window(np.random.default_rng(seed), height, width, 16, chosen)
    assert 0 <= window.top <= height - window.side and 0 <= window.left <= width - window.side
    assert 16 <= window.side <= min(height, width)
    fits = 16 / min(height, width)
    assert 16 / max(scale[1], fits) - 1 <= window.side <= 16 / max(scale[0], fits) + 1
    if flips == "none":
        assert not window.left_right
    if flips != "hv":
        assert not window.upside_down


def test_every_position_scale_and_mirror_comes_up() -> None:
    chosen = Data(scale=(0.5, 1.0), flips="hv")
    windows = [draw_window(np.random.default_rng(i), 40, 50, 16, chosen) for i in range(2000)]
    assert {w.side for w in windows} == set(range(16, 33))
    assert {w.top for w in windows if w.side == 16} == set(range(25))
    assert {(w.left_right, w.upside_down) for w in windows} == {
        (a, b) for a in (False, True) for b in (False, True)
    }
    # log-uniform: half of the windows between 16 and 16 sqrt 2
    assert np.mean([w.side < 16 * 2**0.5 for w in windows]) == pytest.approx(0.5, abs=0.04)
    half = [draw_window(np.random.default_rng(i), 20, 20, 16, Data(flips="h")) for i in range(2000)]
    assert np.mean([w.left_right for w in half]) == pytest.approx(0.5, abs=0.04)


def test_plain_crops_are_exact() -> None:
    pixels = smooth(0, 30, 40)
    image = torch.from_numpy(pixels).permute(2, 0, 1)
    crop = cut(image, Window(3, 5, 16, False, False), 16)
    expected = pixels[3:19, 5:21].astype(np.float32) / 255
    assert np.array_equal(crop.permute(1, 2, 0).numpy(), expected)
    mirrored = cut(image, Window(3, 5, 16, True, True), 16)
    assert np.array_equal(mirrored.permute(1, 2, 0).numpy(), expected[::-1, ::-1])


@pytest.mark.parametrize("side", [17, 25, 40])
def test_downscaling_is_pillows_antialiased_bicubic(side: int) -> None:
    pixels = smooth(1, 60, 60)
    pixels[::2] = 255 - pixels[::2]  # stripes that alias where nothing is averaged
    image = torch.from_numpy(pixels).permute(2, 0, 1)
    crop = cut(image, Window(2, 4, side, False, False), 16) * 255
    window = Image.fromarray(pixels[2 : 2 + side, 4 : 4 + side])
    expected = np.asarray(window.resize((16, 16), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(crop.permute(1, 2, 0).numpy() - expected).max() <= 1
    assert torch.allclose(crop, crop.round(), atol=1e-4)


@pytest.mark.parametrize("side", [16, 24, 37])
@pytest.mark.parametrize("flip", [False, True])
def test_label_maps_stay_on_their_pictures(side: int, flip: bool) -> None:
    labels = np.zeros((50, 60), dtype=np.uint8)
    labels[20:, :] = 7
    labels[:, 30:] += 100
    pixels = np.repeat(labels[:, :, None], 3, axis=2)
    window = Window(5, 10, side, flip, flip)
    found = cut_map(torch.from_numpy(labels), window, 16)
    assert found.dtype == torch.int64 and set(found.unique().tolist()) <= {0, 7, 100, 107}
    picture = cut(torch.from_numpy(pixels).permute(2, 0, 1), window, 16)[0] * 255
    # away from the edges between regions, the downscaled picture has the label as its value
    agree = (picture - found).abs() < 20
    assert agree.float().mean() > 0.7


def test_no_colour_change_is_the_identity() -> None:
    matrix = draw_colours(np.random.default_rng(0), Data())
    assert np.allclose(matrix, np.eye(3, 4))


def test_grey_is_luma() -> None:
    matrix = draw_colours(np.random.default_rng(0), Data(grey=1.0))
    image = torch.rand(1, 3, 4, 4)
    changed = recolour(image, torch.from_numpy(matrix).float()[None])
    luma = torch.einsum("c,bchw->bhw", torch.from_numpy(LUMA).float(), image)
    for channel in range(3):
        assert torch.allclose(changed[:, channel], luma, atol=1e-6)


def test_vivid_crops_exchange_colours_and_reach_the_edges() -> None:
    settings = Data(vivid=1.0)
    matrices = np.stack([draw_colours(np.random.default_rng(i), settings) for i in range(300)])
    assert np.allclose(matrices @ [0.5, 0.5, 0.5, 1.0], 0.5)  # grey stays grey
    to = matrices[:, :, :3]  # every column is s above its others where its colour goes
    saturation = to.max(1) - to.min(1)
    assert np.allclose(saturation, saturation[:, :1])
    assert saturation.min() == pytest.approx(1, abs=0.05) and saturation.max() == pytest.approx(4, abs=0.05)
    order = to.argmax(1)
    assert len(np.unique(order, axis=0)) == 6 and (np.sort(order) == [0, 1, 2]).all()
    some = [
        np.allclose(draw_colours(np.random.default_rng(i), Data(vivid=0.2)), np.eye(3, 4)) for i in range(500)
    ]
    assert np.mean(some) == pytest.approx(0.8, abs=0.05)


def test_colour_jitter_stays_within_its_strength() -> None:
    matrices = np.stack([draw_colours(np.random.default_rng(i), Data(colour=0.3)) for i in range(500)])
    middle = (matrices @ np.array([0.5, 0.5, 0.5, 1.0])).mean(axis=1)
    # mid-grey: exposure +-30 %, white balance +-10 %, contrast +-30 % of the difference these make
    assert middle.min() > 0.5 * (1 - 0.45) and middle.max() < 0.5 * (1 + 0.75)
    assert middle.std() > 0.05
    offsets = matrices[:, :, 3]
    assert np.abs(offsets).max() <= 0.15 and np.allclose(offsets[:, 0], offsets[:, 2])
    clipped = recolour(torch.ones(500, 3, 1, 1), torch.from_numpy(matrices).float())
    assert clipped.min() >= 0 and clipped.max() <= 1
