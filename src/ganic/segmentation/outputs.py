"""What segmentation networks return, as labels.

Semantic networks (FCN, DeepLab, PSPNet) give a score per class and pixel, or the best class at once.
Instance networks (Mask R-CNN) give a list of objects, each with a class, a score and a mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ganic.errors import UsageError

Pixels = NDArray[np.uint8]


def semantic_labels(output: Any, height: int, width: int, classes: int) -> Pixels:
    """The best class of each pixel, uint8 [height, width].

    Args:
        output: scores [1, classes, h, w], or numbers of classes, integers [1, h, w] or [1, 1, h, w]; or such
            a tensor as ``out`` of a dictionary (torchvision's), or as the first of a sequence whose others
            are auxiliary. Another resolution than the picture's is brought to it: scores bilinearly, numbers
            by taking the nearest.
        classes: how many the caller has names for.

    Raises:
        UsageError: the output is something else, or knows another number of classes.
    """
    scores = _first(output)
    if not scores.is_floating_point() and scores.dtype != torch.bool:
        numbers = scores[:, None] if scores.ndim == 3 else scores
        if numbers.ndim != 4 or tuple(numbers.shape[:2]) != (1, 1):
            raise UsageError(_misshapen(scores))
        # float64 holds every number that a class can have, and interpolation takes no integers.
        labels = F.interpolate(numbers.double(), (height, width), mode="nearest-exact")[0, 0].long()
    else:
        if scores.ndim != 4 or scores.shape[0] != 1:
            raise UsageError(_misshapen(scores))
        if scores.shape[1] != classes:
            raise UsageError(
                f"network: scores {scores.shape[1]} classes, but there are {classes} names; "
                "name every class, the background too"
            )
        labels = F.interpolate(scores.float(), (height, width), mode="bilinear", align_corners=False)[
            0
        ].argmax(0)
    _check(labels, classes)
    return labels.to(torch.uint8).cpu().numpy()


def instance_labels(output: Any, height: int, width: int, classes: int, threshold: float) -> Pixels:
    """Objects painted over class 0, the background: the best score on top; uint8 [height, width].

    Args:
        output: for one picture ``masks`` [n, 1, height, width] or [n, height, width] in [0, 1], ``labels``
            [n] and ``scores`` [n]: as torchvision's detection models return it, a list of one dictionary, or
            the (losses, list) of their scripted form; or the same tensors (and boxes) in any order, as ONNX
            files do.
        classes: how many the caller has names for, the background's included.
        threshold: objects with a lower score are left out; so is a mask's part below one half.

    Raises:
        UsageError: the output is something else, or has a class without a name.
    """
    masks, labels, scores = _objects(output)
    _check(labels, classes)
    canvas = torch.zeros(height, width, dtype=torch.uint8)
    for i in torch.argsort(scores, stable=True).tolist():
        if scores[i] >= threshold:
            mask = masks[i].reshape(masks.shape[-2:])
            if mask.shape != canvas.shape:
                raise UsageError(
                    f"network: its masks are {mask.shape[1]}x{mask.shape[0]}, the picture {width}x{height}; "
                    "masks pasted into the picture are needed"
                )
            canvas[mask > 0.5] = int(labels[i])
    return canvas.numpy()


def _first(output: Any) -> Tensor:
    if isinstance(output, Mapping) and "out" in output:
        output = output["out"]
    elif isinstance(output, Sequence) and output:
        output = output[0]
    if isinstance(output, np.ndarray):
        output = torch.from_numpy(output)
    if not isinstance(output, Tensor):
        raise UsageError(
            f"network: returned {_kind(output)}, not scores of pixels; "
            'for Mask R-CNN and the like pass kind="instance"'
        )
    return output


def _objects(output: Any) -> tuple[Tensor, Tensor, Tensor]:
    """(masks, labels, scores) on the CPU."""
    if isinstance(output, tuple) and len(output) == 2 and isinstance(output[1], list):
        output = output[1]  # a scripted torchvision model: (losses, detections)
    if isinstance(output, list) and len(output) == 1:
        output = output[0]
    if isinstance(output, Mapping):
        found = [output.get(key) for key in ("masks", "labels", "scores")]
    elif isinstance(output, Sequence):
        found = _by_shape([torch.as_tensor(part) for part in output])
    else:
        found = [None]
    if not all(isinstance(part, Tensor) for part in found):
        raise UsageError(f"network: returned {_kind(output)}, without masks, labels and scores of objects")
    masks, labels, scores = (part.detach().cpu() for part in found if part is not None)
    if masks.ndim not in (3, 4) or labels.ndim != 1 or not len(masks) == len(labels) == len(scores):
        raise UsageError(
            f"network: masks {list(masks.shape)}, labels {list(labels.shape)} and scores "
            f"{list(scores.shape)} do not belong together"
        )
    return masks, labels.long(), scores.float().reshape(-1)


def _by_shape(parts: list[Tensor]) -> list[Tensor | None]:
    """Masks, labels and scores among a Mask R-CNN's outputs, whatever their order and names."""
    masks = [part for part in parts if part.ndim == 4]
    labels = [part for part in parts if part.ndim == 1 and not part.is_floating_point()]
    scores = [part for part in parts if part.ndim == 1 and part.is_floating_point()]
    return [group[0] if len(group) == 1 else None for group in (masks, labels, scores)]


def _check(labels: Tensor, classes: int) -> None:
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise UsageError(
            f"network: gives classes {int(labels.min())} to {int(labels.max())}, but there are {classes} "
            "names; name every class, the background too"
        )


def _misshapen(output: Tensor) -> str:
    return (
        f"network: returned {output.dtype} {list(output.shape)}; "
        "scores [1, classes, h, w] or integer classes [1, h, w] are needed"
    )


def _kind(output: object) -> str:
    if isinstance(output, Mapping):
        return f"a dictionary of {', '.join(map(str, output)) or 'nothing'}"
    return f"a {type(output).__name__}"
