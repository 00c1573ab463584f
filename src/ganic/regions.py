"""What matters in a picture: from what users say (labels, classes, boxes, masks) to one map of importance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from ganic.errors import UsageError
from ganic.labels import LabelMap, simplify

if TYPE_CHECKING:
    from ganic.images import Source

Box = tuple[int, int, int, int]
"""x, y, width, height in pixels."""

Mask: TypeAlias = "npt.NDArray[np.generic] | Source"
"""Importance of every pixel: an array as :func:`choose` takes it, or a grey picture (white is kept)."""


@dataclass(frozen=True)
class Regions:
    """Importance of every pixel, and what it shows where that is known."""

    importance: npt.NDArray[np.float32]
    """[height, width] in 0..1: 1 is kept as well as the file can, 0 matters not at all."""
    labels: LabelMap | None = None
    """Of the same size."""

    def __post_init__(self) -> None:
        if self.labels is not None and self.labels.labels.shape != self.importance.shape:
            raise UsageError(
                f"labels: {self.labels.width}x{self.labels.height} pixels where the picture has "
                f"{self.width}x{self.height}; give a map of the picture's size"
            )

    @property
    def width(self) -> int:
        return int(self.importance.shape[1])

    @property
    def height(self) -> int:
        return int(self.importance.shape[0])

    def pooled(self, stride: int) -> npt.NDArray[np.float32]:
        """The largest importance in every stride x stride block [ceil(height / stride), ceil(width /
        stride)]."""
        padding = ((0, -self.height % stride), (0, -self.width % stride))
        padded = np.pad(self.importance, padding)
        rows, columns = padded.shape[0] // stride, padded.shape[1] // stride
        most: npt.NDArray[np.float32] = padded.reshape(rows, stride, columns, stride).max((1, 3))
        return most


def choose(
    width: int,
    height: int,
    *,
    labels: LabelMap | None = None,
    keep: Iterable[str] = (),
    drop: Iterable[str] = (),
    keep_boxes: Sequence[Box] = (),
    keep_mask: npt.NDArray[np.generic] | None = None,
    simplify_labels: int = 0,
) -> Regions | None:
    """What a user wants of a picture of ``width`` x ``height`` pixels; None where nothing is said.

    Args:
        labels: what each pixel shows.
        keep: classes to keep; everything else matters only if a box or the mask says so.
        drop: classes that do not matter; without ``keep``, boxes and mask everything else does.
        keep_boxes: rectangles to keep; parts outside the picture are ignored.
        keep_mask: importance of every pixel [height, width]: uint8 (255 = keep) or floats in 0..1.
        simplify_labels: by how many pixels the file's labels may be off (`ganic.labels.simplify`); what is
            kept follows the labels as they are given.

    Raises:
        UsageError: a size does not fit, a class is unknown, classes are named without labels, a class is both
            kept and dropped, a box lies outside the picture, or the radius is none that `simplify` takes.
    """
    keep, drop = tuple(keep), tuple(drop)
    if not (keep or drop or keep_boxes or keep_mask is not None):
        if labels is None:
            return None
        return Regions(np.ones((height, width), dtype=np.float32), labels)
    if (keep or drop) and labels is None:
        raise UsageError(f"{', '.join(keep or drop)}: naming classes needs a label map; give --labels")
    chosen = bool(keep or keep_boxes or keep_mask is not None)
    importance = np.full((height, width), 0.0 if chosen else 1.0, dtype=np.float32)
    if labels is not None:
        if labels.labels.shape != (height, width):
            raise UsageError(
                f"labels: {labels.width}x{labels.height} pixels where the picture has {width}x{height}; give "
                "a map of the picture's size"
            )
        kept, dropped = labels.mask(keep), labels.mask(drop)
        if (kept & dropped).any():
            raise UsageError(f"{', '.join(drop)}: a class is both kept and dropped; say one of them")
        importance[kept] = 1
        importance[dropped] = 0
    if keep_mask is not None:
        np.maximum(importance, _graded(keep_mask, width, height), out=importance)
    for x, y, w, h in keep_boxes:
        if w < 1 or h < 1 or x >= width or y >= height or x + w <= 0 or y + h <= 0:
            raise UsageError(
                f"box {x},{y},{w},{h}: has no pixel of the picture, which has {width}x{height}; give "
                "x,y,width,height in pixels"
            )
        importance[max(y, 0) : y + h, max(x, 0) : x + w] = 1
    if labels is not None and simplify_labels:
        labels = replace(labels, labels=simplify(labels.labels, simplify_labels))
    return Regions(importance, labels)


def read_mask(mask: Mask) -> npt.NDArray[np.generic]:
    """The mask as an array; a picture's is its grey value, 0..255. Raises InputError."""
    if isinstance(mask, np.ndarray):
        return mask
    from ganic import images

    return np.asarray(images.read(mask).image.convert("L"))


def _graded(mask: npt.NDArray[np.generic], width: int, height: int) -> npt.NDArray[np.float32]:
    if mask.ndim != 2:
        raise UsageError(f"mask: {mask.ndim} dimensions; give one grey value per pixel")
    if mask.shape != (height, width):
        raise UsageError(
            f"mask: {mask.shape[1]}x{mask.shape[0]} pixels where the picture has {width}x{height}; give a "
            "mask of the picture's size"
        )
    if mask.dtype == np.bool_:
        return mask.astype(np.float32)
    graded: npt.NDArray[np.float32] = mask.astype(np.float32)
    if mask.dtype == np.uint8:
        graded /= np.float32(255)
        return graded
    if not np.isfinite(graded).all() or graded.min() < 0 or graded.max() > 1:
        raise UsageError("mask: values beyond 0 and 1; give 0 (does not matter) to 1 (keep), or 8-bit greys")
    return graded


__all__ = ["Box", "Mask", "Regions", "choose", "read_mask"]
