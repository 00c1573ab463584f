"""Files whose bits are not spread evenly: selective compression and spatial allocation."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ganic import bitstream, images
from ganic.errors import CorruptError, GanicError, UsageError
from ganic.extreme import windowed
from ganic.extreme.codec import Codec
from ganic.extreme.layout import label_shares, labels_of
from ganic.labels import VOID, LabelMap
from ganic.regions import Regions, choose

CLASSES = ("sky", "road", "car")
WIDTH, HEIGHT = 150, 100


def photo() -> Image.Image:
    path = Path(__file__).parents[1] / "data" / "photo.webp"
    return Image.open(path).convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def scene() -> LabelMap:
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[50:] = 1
    labels[40:70, 60:100] = 2
    labels[80:, :20] = VOID
    return LabelMap(labels, CLASSES)


def wanted(**said: object) -> Regions:
    found = choose(WIDTH, HEIGHT, labels=scene(), **said)  # type: ignore[arg-type]
    assert found is not None
    return found


def pixels(codec: Codec, data: bytes) -> NDArray[np.int64]:
    return np.asarray(codec.decode(data), dtype=np.int64)


def test_what_is_not_kept_has_no_symbols(selective: Codec) -> None:
    data = selective.encode(photo(), quality=0.7, regions=wanted(keep=["car"]))
    container = bitstream.unpack(data)
    assert list(container.boxes) == ["AREA", "LABL"]
    (tile,) = selective.symbols(data)
    kept = np.zeros((7, 10), bool)
    kept[2:5, 3:7] = True  # every block that a pixel of the car lies in
    assert (np.abs(tile.latent).sum(2) > 0).any() and (tile.latent[~kept] == 0).all()
    assert sum(map(len, tile.symbols)) == kept.sum() * 16 + 2 * 2 * 8
    whole = selective.encode(photo(), quality=0.7)
    assert sum(map(len, container.streams)) < 0.5 * len(whole)


def test_the_label_map_comes_back_where_nothing_is_coded(selective: Codec) -> None:
    data = selective.encode(photo(), quality=0.5, regions=wanted(keep=["car"]))
    container = bitstream.unpack(data)
    coded = np.zeros((HEIGHT, WIDTH), bool)
    coded[32:80, 48:112] = True  # the blocks that the car touches
    expected = np.where(coded, VOID, scene().labels)
    assert (labels_of(container) == expected).all()
    shares = label_shares(container, CLASSES)
    assert shares is not None and list(shares) == ["sky", "road", "void"]
    for number, name in [(0, "sky"), (1, "road"), (VOID, "void")]:
        share = ((expected == number) & ~coded).mean()
        assert shares[name] == pytest.approx(float(share))


def test_labels_decide_what_is_synthesised(selective: Codec) -> None:
    one = pixels(selective, selective.encode(photo(), quality=0.5, regions=wanted(keep=["car"])))
    other = scene()
    swapped = LabelMap(np.where(other.labels == 0, 1, other.labels).astype(np.uint8), CLASSES)
    regions = Regions(wanted(keep=["car"]).importance, swapped)
    two = pixels(selective, selective.encode(photo(), quality=0.5, regions=regions))
    assert np.abs(one[:20] - two[:20]).max() > 0


def test_the_picture_outside_does_not_matter_but_its_labels_do(selective: Codec) -> None:
    changed = np.asarray(photo()).copy()
    changed[:, 140:] = 255 - changed[:, 140:]  # beyond the reach of the encoder's margin
    regions = wanted(keep_boxes=[(0, 0, 20, 30)])
    assert selective.encode(photo(), quality=0.5, regions=regions) == selective.encode(
        Image.fromarray(changed), quality=0.5, regions=regions
    )


def test_a_second_look_helps_where_kept_blocks_end(selective: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the linear paths alone it is one step of descent on the error inside."""
    codec = copy.deepcopy(selective)
    codec._tensors["generator.out.weight"].zero_()
    codec._encoder.out.weight.zero_()
    codec._generators.clear()
    regions = wanted(keep=["car"])
    inside = np.s_[32:80, 48:112]  # the blocks that the car touches
    original = np.asarray(photo(), dtype=np.int64)
    twice = pixels(codec, codec.encode(photo(), quality=1.0, regions=regions))
    # All of the original in place of what the file shows: the first look once more.
    monkeypatch.setattr("ganic.extreme.codec.in_pixels", lambda _, *size: np.ones(size, bool))
    once = pixels(codec, codec.encode(photo(), quality=1.0, regions=regions))
    errors = [np.square(made[inside] - original[inside]).mean() for made in (twice, once)]
    assert errors[0] < 0.98 * errors[1]


def test_everything_kept_is_the_plain_file(selective: Codec) -> None:
    plain = selective.encode(photo(), quality=0.6)
    assert selective.encode(photo(), quality=0.6, regions=wanted()) == plain
    but_void = selective.encode(photo(), quality=0.6, regions=wanted(keep=["sky", "road", "car"]))
    assert but_void != plain
    assert selective.encode(photo(), quality=0.6, regions=wanted(keep_boxes=[(0, 0, 150, 100)])) == plain
    assert not bitstream.unpack(plain).boxes


def test_nothing_kept_is_a_map_of_labels(selective: Codec) -> None:
    data = selective.encode(photo(), quality=0.6, regions=wanted(drop=["sky", "road", "car"]))
    nothing = np.zeros((HEIGHT, WIDTH), np.uint8)
    empty = selective.encode(photo(), quality=0.6, regions=wanted(keep_mask=nothing))
    assert bitstream.unpack(empty).streams == (bytes([153]),)
    assert len(empty) < len(data) < 400
    assert selective.decode(empty).size == (WIDTH, HEIGHT)


def test_windows_leave_no_seams(selective: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    data = selective.encode(photo(), quality=0.7, regions=wanted(keep=["car"]))
    whole = pixels(selective, data)
    monkeypatch.setattr(windowed, "WHOLE", 0)
    monkeypatch.setattr(windowed, "WINDOW", 4)
    assert np.abs(pixels(selective, data) - whole).max() <= 1


def test_targets_hold_for_the_whole_file(selective: Codec) -> None:
    regions = wanted(keep=["car", "road"])
    low, high = (len(selective.encode(photo(), quality=q, regions=regions)) for q in (0.0, 1.0))
    target = (low + high) // 2
    assert 0.97 * target <= len(selective.encode(photo(), target_bytes=target, regions=regions)) <= target


def test_a_mask_moves_bits_into_it(codec: Codec) -> None:
    """Spatial allocation with a model that codes everything: finer latents inside at equal bytes.

    Latents, not pixels: the tiny model's own error hides what quantisation adds.
    """
    path = Path(__file__).parents[1] / "data" / "photo.webp"
    picture = Image.open(path).convert("RGB").resize((384, 256), Image.Resampling.LANCZOS)
    mask = np.zeros((256, 384), bool)
    mask[96:192, 128:256] = True
    even = codec.encode(picture, quality=0.4)
    regions = choose(384, 256, keep_mask=mask)
    uneven = codec.encode(picture, target_bytes=len(even), regions=regions, background=0.4)
    assert list(bitstream.unpack(uneven).boxes) == ["AREA"]
    assert 0.97 * len(even) <= len(uneven) <= len(even)
    exact = windowed.analyse(codec._encoder, images.read(picture), np.zeros((16, 24), np.uint8))
    inside = mask[::16, ::16]

    def error(data: bytes, where: NDArray[np.bool_]) -> float:
        (tile,) = codec.symbols(data)
        gains = codec._gains[codec._area(bitstream.unpack(data)).quality]
        return float((((tile.latent / 16 / gains) - exact)[where] ** 2).mean())

    assert error(uneven, inside) < 0.6 * error(even, inside)
    assert error(uneven, ~inside) > error(even, ~inside)


def test_what_the_kept_cannot_use_goes_to_the_rest(codec: Codec) -> None:
    """A small region at its best does not fill the target: the background is then dropped less."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[:32, :32] = True
    regions = choose(WIDTH, HEIGHT, keep_mask=mask)
    low, high = (len(codec.encode(photo(), quality=1.0, regions=r)) for r in (regions, None))
    target = (low + high) // 2
    data = codec.encode(photo(), target_bytes=target, regions=regions)
    assert 0.97 * target <= len(data) <= target
    quality = codec._area(bitstream.unpack(data)).quality
    assert quality[0, 0] == 255 and 255 * 0.4 < quality[-1, -1] < 255


def test_greys_are_qualities_between(codec: Codec) -> None:
    graded = np.tile(np.linspace(0, 1, WIDTH, dtype=np.float32), (HEIGHT, 1))
    area = codec._area(bitstream.unpack(codec.encode(photo(), quality=0.9, regions=Regions(graded))))
    assert area.coded.all()
    assert (np.diff(area.quality[0].astype(int)) >= 0).all() and len(np.unique(area.quality)) == 10
    assert area.quality[0, -1] == round(0.9 * 255)


def test_bad_regions_are_named(selective: Codec, codec: Codec) -> None:
    small = Regions(np.ones((10, 10), np.float32))
    with pytest.raises(UsageError, match="10x10"):
        selective.encode(photo(), quality=0.5, regions=small)
    half = np.zeros((HEIGHT, WIDTH), np.float32)
    with pytest.raises(UsageError, match="labels"):
        selective.encode(photo(), quality=0.5, regions=Regions(half))
    zoo = LabelMap(scene().labels, ("sky", "road", "elephant"))
    with pytest.raises(UsageError, match="elephant"):
        selective.encode(photo(), quality=0.5, regions=Regions(half, zoo))
    with pytest.raises(UsageError, match="background"):
        codec.encode(photo(), quality=0.5, regions=Regions(half), background=2)
    kept = choose(WIDTH, HEIGHT, labels=zoo, keep=["elephant"])  # a class unknown to the model may be kept
    assert selective.decode(selective.encode(photo(), quality=0.5, regions=kept)).size == (WIDTH, HEIGHT)


def test_boxes_that_contradict_each_other_are_refused(selective: Codec, codec: Codec) -> None:
    good = bitstream.unpack(selective.encode(photo(), quality=0.5, regions=wanted(keep=["car"])))

    def repacked(model: Codec, **boxes: bytes) -> bytes:
        return bitstream.pack(model.model_id, WIDTH, HEIGHT, good.streams, boxes, b"")

    for data in (
        repacked(selective, AREA=good.boxes["AREA"]),
        repacked(selective, LABL=good.boxes["LABL"]),
        repacked(selective, AREA=good.boxes["AREA"], LABL=good.boxes["LABL"][:-1]),
    ):
        with pytest.raises(CorruptError):
            selective.decode(data)
    with pytest.raises(CorruptError, match="labels"):
        codec.decode(repacked(codec, **good.boxes))


def test_mutations_are_detected_or_harmless(selective: Codec) -> None:
    good = selective.encode(photo(), quality=0.6, regions=wanted(keep=["car"]))
    before = [tile.canonical() for tile in selective.symbols(good)]
    rng = np.random.default_rng(0)
    for _ in range(150):
        changed = bytearray(good)
        for _ in range(int(rng.integers(1, 4))):
            changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
        try:
            after = [tile.canonical() for tile in selective.symbols(bytes(changed))]
        except GanicError:
            continue
        assert after == before
