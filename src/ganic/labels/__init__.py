"""Semantic label maps: what they are, how others write them, how a .ganic file carries them.

classes    the classes of CamVid, Cityscapes and COCO, and which of them mean the same
maps       LabelMap: a class for every pixel
reading    label maps from pictures and JSON in several conventions
coco       COCO's run-length masks
coding     the lossless code for label maps: its docstring is the specification
mixing     the binary arithmetic coder under it, likewise
simplify   fewer bends and specks within a given radius, for fewer bytes
"""

from ganic.labels.classes import CAMVID, CITYSCAPES, CITYSCAPES_IDS, COCO, resolve
from ganic.labels.coding import decode, encode
from ganic.labels.maps import VOID, LabelMap
from ganic.labels.reading import CONVENTIONS, Convention, read
from ganic.labels.simplify import simplify

__all__ = [
    "CAMVID",
    "CITYSCAPES",
    "CITYSCAPES_IDS",
    "COCO",
    "CONVENTIONS",
    "VOID",
    "Convention",
    "LabelMap",
    "decode",
    "encode",
    "read",
    "resolve",
    "simplify",
]
