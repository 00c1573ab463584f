"""The class tables against facts about the collections, and names that mean the same."""

from __future__ import annotations

import pytest

from ganic.errors import UsageError
from ganic.labels.classes import (
    CAMVID,
    CAMVID_COLOURS,
    CITYSCAPES,
    CITYSCAPES_COLOURS,
    CITYSCAPES_IDS,
    COCO,
    counterpart,
    resolve,
)


def test_camvid() -> None:
    assert len(CAMVID) == len(set(CAMVID)) == 11
    assert CAMVID.index("sky") == 0 and CAMVID.index("car") == 8 and CAMVID.index("bicyclist") == 10
    assert len(CAMVID_COLOURS) == len({colour for colour, _, _ in CAMVID_COLOURS}) == 32
    # All of its colours have components from 0, 64, 128, 192.
    assert {part for colour, _, _ in CAMVID_COLOURS for part in colour} == {0, 64, 128, 192}
    assert [name for _, name, fold in CAMVID_COLOURS if fold is None] == ["Void"]
    assert {fold for _, _, fold in CAMVID_COLOURS} == {*CAMVID, None}
    folds = {name: fold for _, name, fold in CAMVID_COLOURS}
    assert folds["Truck_Bus"] == "car" and folds["LaneMkgsDriv"] == "road" and folds["TrafficLight"] == "sign"


def test_cityscapes() -> None:
    assert len(CITYSCAPES_IDS) == 34 and len(CITYSCAPES) == 19
    by_id = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12}
    by_id |= {26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
    assert [CITYSCAPES_IDS[label] for label in by_id] == [CITYSCAPES[train] for train in by_id.values()]
    assert tuple(found for _, found in CITYSCAPES_COLOURS if found) == CITYSCAPES
    assert len({colour for colour, _ in CITYSCAPES_COLOURS}) == len(CITYSCAPES_COLOURS)
    assert dict(CITYSCAPES_COLOURS)[220, 20, 60] == "person"


def test_coco() -> None:
    assert len(COCO) == len(set(COCO.values())) == 80
    assert COCO[1] == "person" and COCO[90] == "toothbrush" and 12 not in COCO


@pytest.mark.parametrize(
    ("name", "known", "found"),
    [
        ("person", CAMVID, ("pedestrian",)),
        ("pedestrian", CITYSCAPES, ("person",)),
        ("Pedestrian", CAMVID, ("pedestrian",)),
        ("people", CITYSCAPES, ("person",)),
        ("traffic_light", CITYSCAPES, ("traffic light",)),
        ("Traffic-Light", CAMVID, ("sign",)),
        ("truck", CAMVID, ("car",)),
        ("truck", CITYSCAPES, ("truck",)),
        ("car", CITYSCAPES, ("car",)),
        ("sidewalk", CAMVID, ("pavement",)),
        ("vegetation", CAMVID, ("tree",)),
        ("tree", CITYSCAPES, ("vegetation",)),
        ("bicyclist", CITYSCAPES, ("rider", "motorcycle", "bicycle")),
        ("rider", CAMVID, ("bicyclist",)),
        ("sign", CITYSCAPES, ("traffic sign",)),
        ("stop sign", CITYSCAPES, ("traffic sign",)),
    ],
)
def test_names_that_mean_the_same(name: str, known: tuple[str, ...], found: tuple[str, ...]) -> None:
    assert resolve(name, known) == found


def test_an_unknown_class_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"class 'pedestrain'.*sky, building.*did you mean pedestrian\?"):
        resolve("pedestrain", CAMVID)
    with pytest.raises(UsageError, match=r"class 'zebra'.*bicyclist; give one of those"):
        resolve("zebra", CAMVID)


def test_counterparts_never_take_a_part_for_the_whole() -> None:
    assert counterpart("truck", CAMVID) == "car"
    assert counterpart("bicyclist", CITYSCAPES) is None
    assert counterpart("zebra", CAMVID) is None
    without = {name for name in CITYSCAPES if counterpart(name, CAMVID) is None}
    assert without == set()
    for _, name, fold in CAMVID_COLOURS:  # the tables agree wherever they both speak
        assert counterpart(name, CAMVID) in (fold, None)
