"""LabelMap: validation, masks, areas, sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganic.errors import InputError, UsageError
from ganic.labels import CAMVID, CITYSCAPES, VOID, LabelMap

MAP = LabelMap(np.array([[0, 0, 8], [9, VOID, 8]], np.uint8), CAMVID)


def test_what_is_in_it() -> None:
    assert (MAP.height, MAP.width) == (2, 3)
    assert MAP.present() == ("sky", "car", "pedestrian")
    assert MAP.areas() == {"sky": 2, "car": 2, "pedestrian": 1}


def test_masks() -> None:
    assert MAP.mask(["car"]).tolist() == [[False, False, True], [False, False, True]]
    assert MAP.mask(["person", "sky"]).tolist() == [[True, True, False], [True, False, False]]
    assert MAP.mask(["tree"]).sum() == 0
    assert MAP.mask([]).dtype == np.bool_ and not MAP.mask([]).any()
    assert MAP.mask(CAMVID).tolist() == [[True] * 3, [True, False, True]]
    with pytest.raises(UsageError, match="did you mean fence"):
        MAP.mask(["car", "fense"])


def test_a_label_beyond_the_palette() -> None:
    labels = np.zeros((4, 4), np.uint8)
    labels[2, 1] = 11
    with pytest.raises(InputError, match="label 11 is beyond the palette of 11 classes"):
        LabelMap(labels, CAMVID)


@pytest.mark.parametrize("names", [(), ("a", "a"), tuple(map(str, range(256)))])
def test_names_that_cannot_be(names: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="1 to 255 different"):
        LabelMap(np.zeros((1, 1), np.uint8), names)


def test_arrays_that_cannot_be() -> None:
    with pytest.raises(InputError, match="no pixels"):
        LabelMap(np.zeros((0, 3), np.uint8), CAMVID)
    for array in (np.zeros(3, np.uint8), np.zeros((3, 3), np.int64)):
        with pytest.raises(ValueError, match="uint8"):
            LabelMap(array, CAMVID)


def test_it_cannot_be_changed_through_the_map() -> None:
    with pytest.raises(ValueError, match="read-only"):
        MAP.labels[0, 0] = 1


def test_other_classes() -> None:
    source = LabelMap(np.array([[0, 8, 11, 13, 14, 17, VOID]], np.uint8), CITYSCAPES)
    found = source.onto(CAMVID)
    assert [CAMVID[i] for i in found.labels[0, :-1]] == [
        "road",
        "tree",
        "pedestrian",
        "car",
        "car",
        "bicyclist",
    ]
    assert found.labels[0, -1] == VOID and found.names == CAMVID
    assert np.array_equal(MAP.onto(CAMVID).labels, MAP.labels)
    assert MAP.onto(("car",)).labels.tolist() == [[255, 255, 0], [255, 255, 0]]


def test_resizing_takes_the_nearest() -> None:
    assert MAP.resized(6, 4).labels.tolist() == np.kron(MAP.labels, np.ones((2, 2), np.uint8)).tolist()
    assert MAP.resized(1, 1).labels.tolist() == [[VOID]]
    assert MAP.resized(6, 4).resized(3, 2).labels.tolist() == MAP.labels.tolist()
    with pytest.raises(ValueError, match="at least one"):
        MAP.resized(0, 4)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 30), st.integers(1, 30))
def test_resizing_takes_the_pixel_under_the_centre(h: int, w: int, height: int, width: int) -> None:
    labels = np.arange(h * w, dtype=np.uint8).reshape(h, w)
    found = LabelMap(labels, tuple(map(str, range(81)))).resized(width, height).labels
    for y in range(height):
        for x in range(width):
            assert (
                found[y, x] == labels[int((y + 0.5) * h / height + 1e-9), int((x + 0.5) * w / width + 1e-9)]
            )
