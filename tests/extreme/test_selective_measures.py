"""What ganic.evaluation.selective measures, on made-up scenes and the untrained selective model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganic.errors import DataError
from ganic.evaluation.selective.costs import Ladder, costs
from ganic.evaluation.selective.gains import gains
from ganic.evaluation.selective.scenes import Scene, kept_box, kept_instances, load_scenes, psnr_inside
from ganic.evaluation.selective.semantics import sights
from ganic.extreme.codec import Codec
from ganic.labels import VOID, LabelMap

CLASSES = ("sky", "road", "car")


def scene(number: int = 0) -> Scene:
    path = Path(__file__).parents[1] / "data" / "photo.webp"
    image = Image.open(path).convert("RGB").resize((192, 128), Image.Resampling.LANCZOS)
    labels = np.zeros((128, 192), np.uint8)
    labels[64:] = 1
    labels[48:80, 32:64] = labels[48:80, 128:176] = 2
    labels[:8] = VOID
    label_map = LabelMap(labels, CLASSES)
    return Scene("made up", image, label_map, label_map, number)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 1.0])
def test_boxes_have_their_share_and_depend_on_the_scene_alone(share: float) -> None:
    masks = [kept_box(scene(number), share) for number in range(5)]
    assert all(abs(mask.mean() - share) < 0.02 for mask in masks)
    assert (masks[3] == kept_box(scene(3), share)).all()
    assert share in (0.0, 1.0) or len({mask.tobytes() for mask in masks}) > 1


def test_instances_are_whole_and_stay_below_the_share() -> None:
    for number in range(8):
        mask = kept_instances(scene(number), 0.25)
        assert mask.mean() <= 0.275
        for part in (np.s_[48:80, 32:64], np.s_[48:80, 128:176]):  # the cars, where blocks are theirs alone
            assert len(np.unique(mask[part])) == 1
    assert kept_instances(scene(), 1.0).all() and not kept_instances(scene(), 0.0).any()


def test_costs_grow_with_the_preserved_area(selective: Codec) -> None:
    scenes = [scene(0), scene(1)]
    ladders = [Ladder.of(selective, one.image) for one in scenes]
    rows = costs(selective, scenes, ladders, kept_box, (0.0, 0.25, 1.0), quality=0.6)
    assert rows[0].share < rows[1].share < rows[2].share == 1
    assert rows[0].bytes < rows[1].bytes < rows[2].bytes
    assert rows[2].ratio == 1 and rows[2].difference == 0 and rows[2].labels == 0
    assert 0 < rows[0].equal < rows[1].equal < 1
    assert all(0 < row.near <= row.equal for row in rows[:2])  # GC needs more bytes for more
    (empty,) = costs(selective, scenes, ladders, kept_instances, [0.0], quality=0.6)
    assert empty.share == 0 and np.isnan(empty.equal)
    assert 0 < rows[0].labels < rows[0].bytes


def test_a_ladder_says_what_a_quality_inside_costs() -> None:
    grey = Image.new("RGB", (4, 2), (10, 10, 10))
    pictures = [Image.new("RGB", (4, 2), (value,) * 3) for value in (50, 30, 20)]
    ladder = Ladder((100, 200, 400), tuple(pictures))
    inside = np.ones((2, 4), bool)
    reached = [10 * np.log10(255**2 / error**2) for error in (40, 20, 10)]
    assert ladder.bytes_for(reached[1], grey, inside) == pytest.approx(200)
    assert ladder.bytes_for((reached[1] + reached[2]) / 2, grey, inside) == pytest.approx(200 * 2**0.5)
    assert ladder.bytes_for(0, grey, inside) == pytest.approx(100)
    assert ladder.bytes_for(99, grey, inside) == pytest.approx(400)


def test_a_segmenter_looks_at_everybodys_pictures(selective: Codec, codec: Codec) -> None:
    scenes = [scene(0), scene(1)]
    looked: list[Image.Image] = []

    def segmenter(picture: Image.Image) -> LabelMap:
        looked.append(picture)
        return scenes[0].labels if picture in (one.image for one in scenes) else LabelMap(nothing, CLASSES)

    nothing = np.zeros((128, 192), np.uint8)  # sky everywhere
    found = sights(segmenter, selective, [("GC", codec)], scenes, 0.5, keep=[1])
    assert [one.title.split(" (")[0] for one in found] == [
        *("originals", "SC, nothing kept", "AVIF of these sizes"),
        *("SC, a quarter kept", "AVIF of these sizes", "GC", "AVIF of these sizes"),
    ]
    assert len(looked) == 2 * len(found)
    assert found[0].scores.miou == 1 and found[0].distance is None
    assert all(one.scores.iou["car"] == 0 and one.scores.iou["sky"] < 1 for one in found[1:])
    nothing_kept, some_kept, everything = found[1], found[3], found[5]
    assert nothing_kept.bpp < some_kept.bpp < everything.bpp < 0.5
    picture, size = everything.kept[1]
    assert everything.kept.keys() == {1} and picture.size == (192, 128)
    assert size == len(codec.encode(scenes[1].image, target_bpp=0.5))
    for ours, avif in zip(found[1::2], found[2::2], strict=True):
        assert "over" in avif.title and (avif.bpp <= ours.bpp or "(0 over)" not in avif.title)


def test_gains_compare_at_equal_bytes(codec: Codec) -> None:
    (gain,) = gains(codec, [("photo", scene().image)], bpp=0.5, share=0.2)
    even = codec.encode(scene().image, target_bpp=0.5)
    assert 0.9 * len(even) < gain.bytes <= len(even)


def test_psnr_inside_by_hand() -> None:
    one, other = Image.new("RGB", (4, 2), (10, 10, 10)), Image.new("RGB", (4, 2), (10, 10, 10))
    other.putpixel((0, 0), (20, 20, 20))
    inside = np.zeros((2, 4), bool)
    inside[0, :2] = True
    assert psnr_inside(one, other, inside) == pytest.approx(10 * np.log10(255**2 / 50))


def test_scenes_without_labels_are_named(tmp_path: Path) -> None:
    pictures, labels = tmp_path / "images", tmp_path / "labels"
    pictures.mkdir()
    labels.mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (20, 10)).save(pictures / f"{name}.png")
    Image.new("L", (20, 10), 11).save(labels / "a.png")
    found = load_scenes(pictures, labels, ["a"])
    assert [one.name for one in found] == ["a"] and found[0].labels.labels.shape == (10, 20)
    with pytest.raises(DataError, match="b"):
        load_scenes(pictures, labels)
    with pytest.raises(DataError, match="c"):
        load_scenes(pictures, labels, ["c.png"])
