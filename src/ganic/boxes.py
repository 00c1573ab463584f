"""What travels beside the symbols: a picture's alpha and metadata as boxes of the file, and back.

The boxes' types and meaning stand in :mod:`ganic.bitstream`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ganic import alpha
from ganic.images import Canvas, Picture

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["from_picture", "onto_canvas", "verify"]


def from_picture(picture: Picture) -> dict[str, bytes]:
    """The boxes that a picture needs; none for an opaque one without metadata."""
    boxes = {"iccp": picture.icc, "exif": picture.exif, "xmp_": picture.xmp}
    boxes["ALPH"] = None if picture.alpha is None else alpha.encode(picture.alpha)
    return {kind: data for kind, data in boxes.items() if data is not None}


def verify(boxes: Mapping[str, bytes], width: int, height: int) -> None:
    """Decode what beside the symbols has to be decoded. Raises CorruptError for damaged alpha."""
    if "ALPH" in boxes:
        alpha.decode(boxes["ALPH"], width, height)


def onto_canvas(canvas: Canvas, boxes: Mapping[str, bytes], width: int, height: int) -> Image.Image:
    """Finish a decoded picture, which uses the canvas up. Raises CorruptError for damaged alpha."""
    coverage = alpha.decode(boxes["ALPH"], width, height) if "ALPH" in boxes else None
    return canvas.to_image(coverage, boxes.get("iccp"), boxes.get("exif"), boxes.get("xmp_"))
