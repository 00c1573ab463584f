"""What a semantic label map is: for every pixel the number of its class, and the names of the classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ganic.errors import InputError
from ganic.labels.classes import counterpart, resolve

__all__ = ["VOID", "LabelMap"]

VOID: Final = 255
"""The label of pixels that belong to no class."""


@dataclass(frozen=True, eq=False)
class LabelMap:
    """``labels`` uint8 [h, w], each an index of ``names`` or VOID; kept as a read-only view.

    Raises InputError for a label beyond the names, a map without pixels, or names that are not 1 to 255
    different ones; ValueError for an array that is not uint8 [h, w].
    """

    labels: NDArray[np.uint8]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.labels.ndim != 2 or self.labels.dtype != np.uint8:
            raise ValueError(f"labels are uint8 [h, w], not {self.labels.dtype} {list(self.labels.shape)}")
        names = tuple(self.names)
        if not self.labels.size:
            raise InputError(f"label map: has no pixels ({self.width}x{self.height}); give another")
        if not 1 <= len(names) <= VOID or len(set(names)) < len(names):
            raise InputError(
                f"label map: {len(names)} classes are not 1 to {VOID} different ones; rename them"
            )
        occurs = _occurring(self.labels)
        beyond = np.flatnonzero(occurs[len(names) : VOID])
        if beyond.size:
            raise InputError(
                f"label map: label {len(names) + beyond[0]} is beyond the palette of {len(names)} classes; "
                f"name the convention or the classes the map was made with ({VOID} is no class)"
            )
        labels = self.labels.view()
        labels.flags.writeable = False
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "names", names)

    @property
    def height(self) -> int:
        return int(self.labels.shape[0])

    @property
    def width(self) -> int:
        return int(self.labels.shape[1])

    def areas(self) -> dict[str, int]:
        """How many pixels each class that occurs has, in the order of ``names``."""
        counts = np.zeros(256, np.int64)
        for row in self.labels:
            counts += np.bincount(row, minlength=256)
        return {name: int(count) for name, count in zip(self.names, counts, strict=False) if count}

    def present(self) -> tuple[str, ...]:
        """The names of the classes that occur, in the order of ``names``."""
        occurs = _occurring(self.labels)
        return tuple(name for name, there in zip(self.names, occurs, strict=False) if there)

    def mask(self, names: Iterable[str]) -> NDArray[np.bool_]:
        """Where the label is one of the classes that ``names`` mean (see ganic.labels.classes): bool [h, w].

        Raises UsageError for a name that means none of ``self.names``. Classes that do not occur are fine.
        """
        wanted = np.zeros(256, np.bool_)
        for name in names:
            for found in resolve(name, self.names):
                wanted[self.names.index(found)] = True
        return wanted[self.labels]

    def onto(self, names: Sequence[str]) -> LabelMap:
        """The same map in other classes: each pixel's nearest counterpart among ``names``, VOID if none.

        For instance from Cityscapes to `CAMVID`: "person" becomes "pedestrian", "truck" becomes "car".
        """
        table = np.full(256, VOID, np.uint8)
        for index, name in enumerate(self.names):
            found = counterpart(name, names)
            if found is not None:
                table[index] = names.index(found)
        return LabelMap(table[self.labels], tuple(names))

    def resized(self, width: int, height: int) -> LabelMap:
        """Stretched to ``width`` x ``height`` pixels; each takes the label at its centre's place."""
        if width < 1 or height < 1:
            raise ValueError(f"a label map has at least one pixel, not {width}x{height}")
        rows = (2 * np.arange(height) + 1) * self.height // (2 * height)
        columns = (2 * np.arange(width) + 1) * self.width // (2 * width)
        return LabelMap(self.labels[np.ix_(rows, columns)], self.names)


def _occurring(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which of the 256 labels occur, without a second array of the map's size."""
    occurs = np.zeros(256, np.bool_)
    for row in labels:
        occurs[row] = True
    return occurs
