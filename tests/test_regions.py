"""What users say of a picture's parts, and the map of importance that comes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganic import regions
from ganic.errors import InputError, UsageError
from ganic.labels import VOID, LabelMap, simplify
from ganic.regions import Regions, choose

SCENE = LabelMap(
    np.array([[0, 0, 0, 0], [0, 2, 2, VOID], [1, 1, 2, 1]], dtype=np.uint8), ("sky", "road", "car")
)


def importance(**said: Any) -> list[list[float]]:
    found = choose(4, 3, **said)
    assert found is not None
    return found.importance.tolist()  # type: ignore[no-any-return]


def test_nothing_said_is_nothing() -> None:
    assert choose(4, 3) is None


def test_labels_alone_keep_everything() -> None:
    assert importance(labels=SCENE) == [[1] * 4] * 3


def test_kept_classes() -> None:
    assert importance(labels=SCENE, keep=["car"]) == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0]]
    assert importance(labels=SCENE, keep=["car", "road"])[2] == [1, 1, 1, 1]


def test_dropped_classes_leave_the_rest() -> None:
    assert importance(labels=SCENE, drop=["sky"]) == [[0] * 4, [0, 1, 1, 1], [1] * 4]


def test_simpler_labels_do_not_change_what_is_kept() -> None:
    found = choose(4, 3, labels=SCENE, keep=["car"], simplify_labels=1)
    assert found is not None and found.labels is not None
    assert found.importance.tolist() == importance(labels=SCENE, keep=["car"])
    assert (found.labels.labels == simplify(SCENE.labels, 1)).all()
    assert found.labels.names == SCENE.names
    with pytest.raises(UsageError, match="radius 65"):
        choose(4, 3, labels=SCENE, drop=["sky"], simplify_labels=65)


def test_boxes_and_masks_add_to_classes() -> None:
    mask = np.zeros((3, 4), np.uint8)
    mask[0, 0], mask[2, 3] = 51, 255
    found = importance(labels=SCENE, drop=["sky"], keep_boxes=[(3, -5, 100, 6)], keep_mask=mask)
    assert found == [[pytest.approx(0.2), 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1]]
    assert importance(keep_boxes=[(1, 1, 2, 1)]) == [[0] * 4, [0, 1, 1, 0], [0] * 4]


def test_masks_of_floats_and_booleans() -> None:
    graded = np.linspace(0, 1, 12).reshape(3, 4)
    assert importance(keep_mask=graded)[2][3] == 1
    assert importance(keep_mask=graded > 0.5) == (graded > 0.5).astype(float).tolist()


def test_masks_from_files(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    Image.linear_gradient("L").save(path)
    assert (regions.read_mask(path) == np.asarray(Image.linear_gradient("L"))).all()
    path.write_text("no picture")
    with pytest.raises(InputError, match=r"mask\.png"):
        regions.read_mask(path)


def test_blocks_take_their_most_important_pixel() -> None:
    values = np.zeros((5, 7), np.float32)
    values[0, 3], values[4, 6] = 0.5, 1
    assert Regions(values).pooled(4).tolist() == [[0.5, 0], [0, 1]]


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ({"keep": ["car"]}, "label map"),
        ({"labels": SCENE, "keep": ["cat"]}, "sky, road, car"),
        ({"labels": SCENE, "keep": ["car"], "drop": ["car"]}, "both"),
        ({"keep_boxes": [(4, 0, 2, 2)]}, "4,0,2,2"),
        ({"keep_boxes": [(0, 0, 0, 2)]}, "no pixel"),
        ({"keep_mask": np.zeros((4, 3), np.uint8)}, "3x4"),
        ({"keep_mask": np.zeros((3, 4, 3), np.uint8)}, "dimensions"),
        ({"keep_mask": np.full((3, 4), 1.5)}, "beyond"),
        ({"keep_mask": np.full((3, 4), np.nan)}, "beyond"),
        ({"labels": LabelMap(np.zeros((4, 4), np.uint8), ("sky",)), "keep": ["sky"]}, "4x4"),
        ({"labels": LabelMap(np.zeros((4, 4), np.uint8), ("sky",))}, "4x4"),
    ],
)
def test_contradictions_are_named(said: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        choose(4, 3, **said)
