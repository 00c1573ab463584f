"""Selective compression (SC, section 3.3 of arXiv:1804.02958): the labels of what a file does not code.

The box ``LABL`` (part of the file format) is a label map as :mod:`ganic.labels.coding` writes it, at the
picture's size.  Its labels index the model's classes; VOID (255) says that a pixel's class is not known, or
that the pixel lies in a block that is coded: G needs no label there, and a map of the rest is a third
smaller where a quarter is kept.  Where everything is coded there is no box.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ganic.bitstream import Container
from ganic.errors import CorruptError, UsageError
from ganic.extreme.allocation import Allocation
from ganic.extreme.layout import labels_of
from ganic.extreme.tiling import STRIDE, Span, in_pixels
from ganic.extreme.windowed import Conditions
from ganic.labels import VOID, coding
from ganic.regions import Regions

NOISE = 4
"""Channels of v."""

_LOW = (1 << 32) - 1


def labels_for(classes: Sequence[str], regions: Regions, coded: npt.NDArray[np.bool_]) -> bytes:
    """The data of the box ``LABL``.

    Args:
        classes: the model's.
        regions: with labels, which may have other classes where the picture is coded.
        coded: the positions [rows, columns] that are coded.

    Raises:
        UsageError: there are no labels, or a class that is to be synthesised is none of the model's.
    """
    if regions.labels is None:
        raise UsageError(
            "regions: leaving out parts of a picture needs labels that say what they are; give --labels, or "
            "keep everything"
        )
    labels = regions.labels
    known = {name: number for number, name in enumerate(classes)}
    table = np.full(256, VOID, dtype=np.uint8)
    for number, name in enumerate(labels.names):
        table[number] = known.get(name, VOID)
    mapped: npt.NDArray[np.uint8] = table[labels.labels]
    synthetic = in_pixels(~coded, labels.height, labels.width)
    unknown = np.unique(labels.labels[synthetic & (mapped == VOID) & (labels.labels != VOID)])
    if len(unknown):
        names = ", ".join(labels.names[number] for number in unknown)
        raise UsageError(
            f"labels: {names}: this model cannot synthesise that, it knows {', '.join(classes)}; keep such "
            "regions or rename their class"
        )
    mapped[~synthetic] = VOID
    return coding.encode(mapped)


def channels(classes: int) -> int:
    """How many `shares` gives for so many classes."""
    return classes + 1 + NOISE


def shares(labels: Tensor, synthetic: Tensor, classes: int, corners: Tensor) -> Tensor:
    """What G's label encoder sees.

    Args:
        labels: class numbers [n, 16h, 16w]; anything beyond 0..classes-1 counts as unknown.
        synthetic: ones [n, 1, h, w] where no symbols are coded, else zeros.
        classes: how many there are.
        corners: where in its picture each part has its first row and column: [n, 2] int64, in pixels, even.

    Returns:
        [n, channels(classes), 8h, 8w], float32: the share of each class in every 2x2 block, then
        ``synthetic``, then v where that is 1.
    """
    known = torch.where((labels >= 0) & (labels < classes), labels, classes).long()
    n, height, width = known.shape
    maps = torch.zeros(n, channels(classes), height // 2, width // 2, device=labels.device)
    for row in range(2):
        for column in range(2):
            part = known[:, None, row::2, column::2]
            maps.scatter_add_(1, part, torch.full(part.shape, 0.25, device=maps.device))
    side = STRIDE // 2
    left_out = synthetic.repeat_interleave(side, 2).repeat_interleave(side, 3)
    maps[:, classes : classes + 1] = left_out
    maps[:, classes + 1 :] = left_out * noise(corners // 2, height // 2, width // 2)
    return maps


def noise(corners: Tensor, rows: int, columns: int) -> Tensor:
    """v, the noise that G makes textures of where it has no symbols: the same for a place in every picture.

    Without it blocks of one class would all look alike, and the picture would show their lattice.  Channel i
    is constant in squares of 2**i rows and columns, and uniform with variance 1; integers alone decide it, so
    it is the same on every machine.

    Args:
        corners: first rows and columns [n, 2], int64.

    Returns:
        [n, NOISE, rows, columns], float32.
    """
    sides = (torch.arange(count, device=corners.device) for count in (rows, columns))
    y, x = (start[:, None] + along for start, along in zip(corners.T, sides, strict=True))
    found = [
        _mixed(_mixed(_mixed((y >> level) + (level << 28))[:, :, None] + (x >> level)[:, None, :]))
        for level in range(NOISE)
    ]
    return (torch.stack(found, 1).double() / 2**31 - 1).float() * 3**0.5


def _mixed(x: Tensor) -> Tensor:
    """Integers -> integers of 32 bits, each bit of which depends on all: multiplied by odd numbers below
    2**31, so that no product leaves 63 bits."""
    x = x & _LOW
    for factor in (0x2C1B3C6D, 0x297A2D39):
        x = (x ^ (x >> 16)) * factor & _LOW
    return x ^ (x >> 16)


def check_labels(container: Container, classes: int) -> npt.NDArray[np.uint8]:
    """The label map of a file, for a model of so many classes. Raises CorruptError."""
    labels = labels_of(container)
    if int(labels[labels != VOID].max(initial=0)) >= classes:
        raise CorruptError(
            "box LABL: has a class that the model does not have; the file is damaged, get it again"
        )
    return labels


def conditions_of(container: Container, classes: int, area: Allocation) -> Conditions:
    """The class shares of a file's label map, by window. Raises CorruptError."""
    labels = check_labels(container, classes)

    def window(row: Span, column: Span) -> Tensor:
        height, width = ((span.outer_stop - span.outer_start) * STRIDE for span in (row, column))
        top, left = row.outer_start * STRIDE, column.outer_start * STRIDE
        part = labels[top : top + height, left : left + width]
        part = np.pad(part, ((0, height - part.shape[0]), (0, width - part.shape[1])), mode="edge")
        coded = area.coded[row.outer_start : row.outer_stop, column.outer_start : column.outer_stop]
        synthetic = torch.from_numpy(~coded)[None, None].float()
        return shares(torch.from_numpy(part)[None], synthetic, classes, torch.tensor([[top, left]]))

    return window


__all__ = ["channels", "check_labels", "conditions_of", "labels_for", "noise", "shares"]
