"""The classes of well-known collections of labelled street scenes and everyday scenes, as plain data.

- CamVid (Brostow, Fauqueur and Cipolla 2009): 32 classes, each a colour in its label pictures. Nearly all
  work since SegNet (Badrinarayanan, Kendall and Cipolla 2017) folds them into 11, `CAMVID`, and calls the
  rest void (11 in SegNet's grey pictures).
- Cityscapes (Cordts et al. 2016): 34 classes by label id, of which 19 are evaluated and have a train id.
- COCO (Lin et al. 2014): 80 classes of objects, with category ids up to 90.

People do not remember which of them says "pedestrian" and which "person", so `resolve` knows both.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Final

from ganic.errors import UsageError

__all__ = [
    "CAMVID",
    "CAMVID_COLOURS",
    "CITYSCAPES",
    "CITYSCAPES_COLOURS",
    "CITYSCAPES_IDS",
    "COCO",
    "counterpart",
    "resolve",
]

Colour = tuple[int, int, int]

CAMVID: Final = (
    *("sky", "building", "pole", "road", "pavement", "tree"),
    *("sign", "fence", "car", "pedestrian", "bicyclist"),
)
"""SegNet's 11 classes, in its order."""

CAMVID_COLOURS: Final[tuple[tuple[Colour, str, str | None], ...]] = (
    ((64, 128, 64), "Animal", "pedestrian"),
    ((192, 0, 128), "Archway", "building"),
    ((0, 128, 192), "Bicyclist", "bicyclist"),
    ((0, 128, 64), "Bridge", "building"),
    ((128, 0, 0), "Building", "building"),
    ((64, 0, 128), "Car", "car"),
    ((64, 0, 192), "CartLuggagePram", "pedestrian"),
    ((192, 128, 64), "Child", "pedestrian"),
    ((192, 192, 128), "Column_Pole", "pole"),
    ((64, 64, 128), "Fence", "fence"),
    ((128, 0, 192), "LaneMkgsDriv", "road"),
    ((192, 0, 64), "LaneMkgsNonDriv", "road"),
    ((128, 128, 64), "Misc_Text", "sign"),
    ((192, 0, 192), "MotorcycleScooter", "bicyclist"),
    ((128, 64, 64), "OtherMoving", "car"),
    ((64, 192, 128), "ParkingBlock", "pavement"),
    ((64, 64, 0), "Pedestrian", "pedestrian"),
    ((128, 64, 128), "Road", "road"),
    ((128, 128, 192), "RoadShoulder", "pavement"),
    ((0, 0, 192), "Sidewalk", "pavement"),
    ((192, 128, 128), "SignSymbol", "sign"),
    ((128, 128, 128), "Sky", "sky"),
    ((64, 128, 192), "SUVPickupTruck", "car"),
    ((0, 0, 64), "TrafficCone", "pole"),
    ((0, 64, 64), "TrafficLight", "sign"),
    ((192, 64, 128), "Train", "car"),
    ((128, 128, 0), "Tree", "tree"),
    ((192, 128, 192), "Truck_Bus", "car"),
    ((64, 0, 64), "Tunnel", "building"),
    ((192, 192, 0), "VegetationMisc", "tree"),
    ((0, 0, 0), "Void", None),
    ((64, 192, 0), "Wall", "building"),
)
"""CamVid's 32 classes: colour, official name, and the one of `CAMVID` that it folds into (None: void)."""

CITYSCAPES_IDS: Final = (
    *("unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground"),
    *("road", "sidewalk", "parking", "rail track"),
    *("building", "wall", "fence", "guard rail", "bridge", "tunnel"),
    *("pole", "polegroup", "traffic light", "traffic sign"),
    *("vegetation", "terrain", "sky", "person", "rider"),
    *("car", "truck", "bus", "caravan", "trailer", "train", "motorcycle", "bicycle"),
)
"""Cityscapes' classes by label id, 0 to 33."""

CITYSCAPES: Final = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign"),
    *("vegetation", "terrain", "sky", "person", "rider"),
    *("car", "truck", "bus", "train", "motorcycle", "bicycle"),
)
"""Cityscapes' classes by train id, 0 to 18."""

CITYSCAPES_COLOURS: Final[tuple[tuple[Colour, str | None], ...]] = (
    ((128, 64, 128), "road"),
    ((244, 35, 232), "sidewalk"),
    ((70, 70, 70), "building"),
    ((102, 102, 156), "wall"),
    ((190, 153, 153), "fence"),
    ((153, 153, 153), "pole"),  # and polegroup
    ((250, 170, 30), "traffic light"),
    ((220, 220, 0), "traffic sign"),
    ((107, 142, 35), "vegetation"),
    ((152, 251, 152), "terrain"),
    ((70, 130, 180), "sky"),
    ((220, 20, 60), "person"),
    ((255, 0, 0), "rider"),
    ((0, 0, 142), "car"),  # and license plate
    ((0, 0, 70), "truck"),
    ((0, 60, 100), "bus"),
    ((0, 80, 100), "train"),
    ((0, 0, 230), "motorcycle"),
    ((119, 11, 32), "bicycle"),
    ((0, 0, 0), None),  # label ids 0 to 4
    ((111, 74, 0), None),  # dynamic
    ((81, 0, 81), None),  # ground
    ((250, 170, 160), None),  # parking
    ((230, 150, 140), None),  # rail track
    ((180, 165, 180), None),  # guard rail
    ((150, 100, 100), None),  # bridge
    ((150, 120, 90), None),  # tunnel
    ((0, 0, 90), None),  # caravan
    ((0, 0, 110), None),  # trailer
)
"""The colours of Cityscapes' label pictures and the one of `CITYSCAPES` that each means (None: void)."""

COCO: Final = {
    **{1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane", 6: "bus", 7: "train", 8: "truck"},
    **{9: "boat", 10: "traffic light", 11: "fire hydrant", 13: "stop sign", 14: "parking meter", 15: "bench"},
    **{16: "bird", 17: "cat", 18: "dog", 19: "horse", 20: "sheep", 21: "cow", 22: "elephant", 23: "bear"},
    **{24: "zebra", 25: "giraffe", 27: "backpack", 28: "umbrella", 31: "handbag", 32: "tie", 33: "suitcase"},
    **{34: "frisbee", 35: "skis", 36: "snowboard", 37: "sports ball", 38: "kite", 39: "baseball bat"},
    **{40: "baseball glove", 41: "skateboard", 42: "surfboard", 43: "tennis racket", 44: "bottle"},
    **{46: "wine glass", 47: "cup", 48: "fork", 49: "knife", 50: "spoon", 51: "bowl", 52: "banana"},
    **{53: "apple", 54: "sandwich", 55: "orange", 56: "broccoli", 57: "carrot", 58: "hot dog", 59: "pizza"},
    **{60: "donut", 61: "cake", 62: "chair", 63: "couch", 64: "potted plant", 65: "bed", 67: "dining table"},
    **{70: "toilet", 72: "tv", 73: "laptop", 74: "mouse", 75: "remote", 76: "keyboard", 77: "cell phone"},
    **{78: "microwave", 79: "oven", 80: "toaster", 81: "sink", 82: "refrigerator", 84: "book", 85: "clock"},
    **{86: "vase", 87: "scissors", 88: "teddy bear", 89: "hair drier", 90: "toothbrush"},
}
"""COCO's 80 classes by category id."""

_SAME: Final = (
    ("pedestrian", "person", "people"),
    ("bicyclist", "cyclist"),
    ("pavement", "sidewalk"),
    ("tree", "vegetation"),
    ("sign", "traffic sign", "sign symbol"),
    ("pole", "column pole"),
)
"""Names of the same thing."""

_PART_OF: Final = {
    **dict.fromkeys(("child", "animal"), "pedestrian"),
    **dict.fromkeys(("rider", "bicycle", "motorcycle"), "bicyclist"),
    **dict.fromkeys(("truck", "bus", "van", "suv", "caravan", "trailer", "train", "vehicle"), "car"),
    **dict.fromkeys(("traffic light", "stop sign"), "sign"),
    **dict.fromkeys(("wall", "bridge", "tunnel", "archway"), "building"),
    **dict.fromkeys(("parking", "ground"), "pavement"),
    **dict.fromkeys(("polegroup", "traffic cone"), "pole"),
    "guard rail": "fence",
    "terrain": "tree",
}
"""What other collections keep apart, and the class of `CAMVID` that has it (as `CAMVID_COLOURS` folds)."""


def resolve(name: str, known: Sequence[str]) -> tuple[str, ...]:
    """The classes among ``known`` that ``name`` means: its own, those called otherwise, the whole, the parts.

    The first of these that there is: a class of this name (in any case, with "_" or "-" for spaces); classes
    that are the same thing ("person" finds "pedestrian"); the class that it is part of ("truck" finds "car");
    the classes that are part of it ("bicyclist" finds "rider", "bicycle", "motorcycle").
    Raises UsageError, with the known classes and the one most alike, if there is none.
    """
    wanted = _plain(name)
    for meant in _meanings(wanted):
        found = tuple(candidate for candidate in known if _plain(candidate) in meant)
        if found:
            return found
    alike = difflib.get_close_matches(wanted, [_plain(candidate) for candidate in known], 1)
    hint = f"; did you mean {alike[0]}?" if alike else ""
    raise UsageError(
        f"class {name!r}: is not one of {', '.join(known) or 'any'}{hint or '; give one of those'}"
    )


def counterpart(name: str, known: Sequence[str]) -> str | None:
    """The one class among ``known`` that stands for all of ``name``: its own, a synonym or the whole."""
    for meant in _meanings(_plain(name))[:3]:
        for candidate in known:
            if _plain(candidate) in meant:
                return candidate
    return None


def _meanings(name: str) -> tuple[Iterable[str], ...]:
    same = _same(name)
    wholes = [_PART_OF[one] for one in same if one in _PART_OF]
    parts = [part for part, whole in _PART_OF.items() if whole in same]
    return (name,), same, [one for whole in wholes for one in _same(whole)], parts


def _same(name: str) -> tuple[str, ...]:
    return next((names for names in _SAME if name in names), (name,))


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())
