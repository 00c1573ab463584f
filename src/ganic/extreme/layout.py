"""What a file of the generative codec says of its picture's parts, read without networks (nor torch)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ganic.bitstream import Container
from ganic.errors import CorruptError
from ganic.extreme.allocation import Plan
from ganic.extreme.tiling import STRIDE, in_pixels
from ganic.labels import VOID, coding


def grid(container: Container) -> tuple[int, int]:
    """Rows and columns of the latent."""
    return -(-container.height // STRIDE), -(-container.width // STRIDE)


def plan_of(container: Container) -> Plan:
    """What each latent position got. Raises CorruptError."""
    rows, columns = grid(container)
    if "AREA" in container.boxes:
        plan = Plan.unpack(container.boxes["AREA"], rows, columns)
    else:
        plan = Plan.uniform(rows, columns)
    if bool(plan.coded.all()) == ("LABL" in container.boxes):
        raise CorruptError("file: what it leaves out and its labels do not agree; get it again")
    return plan


def labels_of(container: Container) -> npt.NDArray[np.uint8]:
    """The label map [height, width] in the box ``LABL``. Raises CorruptError."""
    return coding.decode(container.boxes["LABL"], container.height, container.width)


def label_shares(container: Container, classes: Sequence[str]) -> dict[str, float] | None:
    """Share of the picture that is synthesised as each class, the largest first; numbers stand for classes
    without known names. Raises CorruptError."""
    if "LABL" not in container.boxes:
        return None
    left_out = in_pixels(~plan_of(container).coded, container.height, container.width)
    labels = labels_of(container)
    numbers, counts = np.unique(labels[left_out], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    names = dict(enumerate(classes)) | {VOID: "void"}
    return {names.get(int(numbers[i]), str(numbers[i])): float(counts[i]) / labels.size for i in order}
