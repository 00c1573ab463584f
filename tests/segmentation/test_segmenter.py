from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from ganic import images, models
from ganic.errors import InputError, ModelError, ModelFormatError, ModelMissingError
from ganic.labels import VOID
from ganic.segmentation import segmenter as module
from ganic.segmentation.objective import Settings
from ganic.segmentation.segmenter import WINDOW, Segmenter, working_size
from ganic.segmentation.storage import stored

Pixels = NDArray[np.uint8]


def bright(pixels: Pixels) -> Pixels:
    """Labels without anything learned: 1 where red is bright, 2 where blue is, VOID where green is."""
    labels = np.zeros(pixels.shape[:2], np.uint8)
    for channel, label in ((0, 1), (2, 2), (1, VOID)):
        labels[pixels[:, :, channel] > 127] = label
    return labels


def blocks(height: int, width: int, size: int, seed: int = 0) -> Pixels:
    """Squares of ``size`` pixels in black, red, green or blue."""
    rng = np.random.default_rng(seed)
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    numbers = rng.integers(0, 4, (-(-height // size), -(-width // size)))
    return colours[numbers].repeat(size, 0).repeat(size, 1)[:height, :width]


NAMES = ("dark", "red", "blue")


@pytest.mark.parametrize(("height", "width"), [(1, 1), (40, 31), (64, 200), (300, 7)])
def test_a_map_has_the_size_of_its_picture(height: int, width: int) -> None:
    pixels = blocks(height, width, 8)
    label_map = Segmenter(NAMES, bright, (1, 64))(Image.fromarray(pixels))
    assert label_map.names == NAMES and label_map.labels.dtype == np.uint8
    assert label_map.labels.shape == (height, width)
    if min(height, width) <= 64:  # labelled as it is
        assert np.array_equal(label_map.labels, bright(pixels))


def test_large_pictures_are_labelled_small_and_brought_back_in_place() -> None:
    pixels = blocks(240, 360, 40)
    seen: list[tuple[int, ...]] = []

    def classify(part: Pixels) -> Pixels:
        seen.append(part.shape)
        return bright(part)

    label_map = Segmenter(NAMES, classify, (20, 60))(Image.fromarray(pixels))
    assert seen == [(60, 90, 3)]
    truth = bright(pixels)
    assert set(np.unique(label_map.labels)) == {0, 1, 2, VOID}
    inner = np.zeros((40, 40), bool)
    inner[6:-6, 6:-6] = True  # away from edges, where colours mix
    mask = np.tile(inner, (6, 9))
    assert np.array_equal(label_map.labels[mask], truth[mask])
    # four pixels of the picture share one label
    assert np.array_equal(label_map.labels, label_map.labels[::4, ::4].repeat(4, 0).repeat(4, 1))


def test_long_pictures_are_cut_and_the_cuts_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = blocks(100, 700, 3)
    seen: list[tuple[int, ...]] = []

    def neighbourhood(part: Pixels) -> Pixels:
        """Depends on everything up to 32 pixels away."""
        seen.append(part.shape)
        red = np.pad(part[:, :, 0].astype(np.int64) // 255, 32)
        sums = np.pad(red.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        inside = sums[65:, 65:] - sums[65:, :-65] - sums[:-65, 65:] + sums[:-65, :-65]
        return (inside > 1000).astype(np.uint8)

    whole = Segmenter(("few", "many"), neighbourhood, (1, 100), windows=False)(Image.fromarray(pixels)).labels
    assert seen == [(100, 700, 3)] and 0.1 < whole.mean() < 0.9
    monkeypatch.setattr(module, "WINDOW", 128)
    monkeypatch.setattr(module, "MARGIN", 32)
    seen.clear()
    cut = Segmenter(("few", "many"), neighbourhood, (1, 100))(Image.fromarray(pixels)).labels
    assert len(seen) == 6 and max(shape[1] for shape in seen) <= 128 + 32 + 64
    assert np.array_equal(cut, whole)


@given(st.integers(1, 65535), st.integers(1, 65535), st.integers(32, 600), st.integers(0, 600))
def test_working_sizes(width: int, height: int, smallest: int, more: int) -> None:
    sides = smallest, smallest + more
    w, h = working_size(width, height, sides)
    short, long = min(width, height), max(width, height)
    assert (w <= h) == (width <= height) or abs(w - h) <= 1
    assert min(w, h) <= max(sides[1], 1)
    if sides[0] <= short <= sides[1]:
        assert (w, h) == (width, height)
    if short < sides[0]:  # never beyond a window, nor four times
        assert short <= min(w, h) <= 4 * short and max(w, h) <= max(long, WINDOW)
    if short > sides[1]:
        assert min(w, h) == sides[1]
        assert max(w, h) == pytest.approx(long * sides[1] / short, abs=0.6)


def test_working_sizes_of_common_pictures() -> None:
    assert working_size(480, 360, (256, 540)) == (480, 360)
    assert working_size(2048, 1024, (256, 540)) == (1080, 540)
    assert working_size(960, 720, (256, 540)) == (720, 540)
    assert working_size(200, 128, (256, 540)) == (400, 256)
    assert working_size(4000, 10, (256, 540)) == (4000, 10)


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., Path]:
    """Writes a model of random weights, its config changed."""
    settings = Settings(
        classes=("sky", "road"), sides=(32, 64), widths=(8, 8, 8, 8, 8), blocks=(0,) * 5, decoder=(8, 8, 8, 8)
    )
    torch.manual_seed(1)
    network = settings.network().eval()
    torch.nn.init.normal_(network.head.weight)
    weights = stored(network)

    def write(changes: Mapping[str, Any] | None = None, drop: str = "", system: Any = "segmentation") -> Path:
        config = {
            key: value for key, value in {**settings.config(), **(changes or {})}.items() if key != drop
        }
        path = tmp_path / "tiny.safetensors"
        models.save(path, "tiny", system, config, weights, card="# Tiny")
        return path

    return write


def test_models_by_path_name_and_id(model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = model()
    picture = Image.fromarray(blocks(50, 70, 5))
    loaded = Segmenter.load(path)
    labels = loaded(picture)
    assert labels.names == ("sky", "road") and labels.labels.shape == (50, 70)
    assert loaded.sides == (32, 64) and 0.02 < labels.labels.mean() < 0.98
    assert np.array_equal(Segmenter.load(path)(picture).labels, labels.labels)  # the same again
    monkeypatch.setenv("GANIC_MODELS", str(path.parent))
    for which in ("tiny", models.read_info(path).model_id):
        assert np.array_equal(Segmenter.load(which)(picture).labels, labels.labels)
    with pytest.raises(ModelMissingError):
        Segmenter.load("no-such-segmenter")


def test_whatever_images_read_is_labelled_upright(model: Callable[..., Path], tmp_path: Path) -> None:
    loaded = Segmenter.load(model())
    pixels = blocks(40, 64, 8)
    expected = loaded(Image.fromarray(pixels)).labels
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned a quarter to the left
    file = io.BytesIO()
    Image.fromarray(np.rot90(pixels).copy()).save(file, "PNG", exif=exif)
    assert np.array_equal(loaded(file.getvalue()).labels, expected)
    assert np.array_equal(loaded(images.read(Image.fromarray(pixels))).labels, expected)
    with pytest.raises(InputError, match=r"gone\.png: no such file"):
        loaded(tmp_path / "gone.png")


@pytest.mark.parametrize(
    ("changes", "drop"),
    [
        ({}, "classes"),
        ({"classes": "ab"}, ""),
        ({"classes": []}, ""),
        ({"classes": [1, 2]}, ""),
        ({"classes": ["a", "a"]}, ""),
        ({"classes": ["a", "b", "c"]}, ""),
        ({"sides": [64, 32]}, ""),
        ({"sides": [0, 10**6]}, ""),
        ({"sides": 64}, ""),
        ({"widths": [8, 8]}, ""),
        ({"widths": [8, 8, 8, 8, 16]}, ""),
        ({"blocks": [0, 0, 0, 0, 1]}, ""),
        ({"decoder": [8, 8, 8, -8]}, ""),
        ({"decoder": [8, 8, 8, "8"]}, ""),
    ],
)
def test_configs_that_no_export_writes(
    model: Callable[..., Path], changes: dict[str, Any], drop: str
) -> None:
    with pytest.raises(ModelFormatError, match=r"tiny\.safetensors: its config is not that of a segmenter"):
        Segmenter.load(model(changes, drop))


def test_other_systems(model: Callable[..., Path]) -> None:
    with pytest.raises(ModelError, match="tiny: is a model of ganz, which labels no pictures"):
        Segmenter.load(model(system="ganz"))
