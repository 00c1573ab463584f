"""From a picture to a label map of its size.

A network knows objects at the sizes it was trained on, so pictures with much larger or smaller short sides
are resized first, and their labels brought back by taking the nearest.  Long pictures go through the network
in windows with margins, so memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ganic import images, models
from ganic.errors import ModelError, ModelFormatError
from ganic.hardware import device_of
from ganic.labels import LabelMap
from ganic.segmentation.network import STRIDE, Segnet, full_size, pad
from ganic.segmentation.storage import restored

Pixels = NDArray[np.uint8]

Classify = Callable[[Pixels], Pixels]
"""RGB uint8 [h, w, 3] -> uint8 [h, w]: a number of a class, or ``ganic.labels.VOID`` for none."""

WINDOW = 2048
"""Longest side that goes through a network in one piece, after resizing."""
MARGIN = 256
"""Pixels of surroundings that a window is given on each side: about what a label depends on."""
LARGEST_ENLARGEMENT = 4
"""Beyond it a picture is too small to hold anything that a network knows."""


@dataclass(frozen=True)
class Segmenter:
    """Makes label maps.

    ``Segmenter.load`` takes a model file; :mod:`ganic.segmentation.adapters` makes segmenters of other
    networks.

        labels = Segmenter.load("street-segmenter")("street.png")
        labels.names, labels.labels.shape
    """

    names: tuple[str, ...]
    """Of the classes, by number."""
    classify: Classify
    sides: tuple[int, int]
    """Pictures are resized so that their short side is between these."""
    windows: bool = True
    """Whether a picture may be cut: not where instances or the whole picture are looked at."""

    @classmethod
    def load(cls, model: str | PathLike[str] | bytes, *, device: str | torch.device = "cpu") -> Segmenter:
        """A model file by name, path or 6-byte id (see ``ganic.models.find``).

        It computes in fp32: labels decide what a file keeps, and should not depend on the processor.
        Raises ModelMissingError, ModelFormatError, and ModelError for a model of another system.
        """
        file = models.load(model)
        if file.system != "segmentation":
            raise ModelError(
                f"{file.name}: is a model of {file.system}, which labels no pictures; choose another"
            )
        try:
            names, sides, network = _parts(file.config)
            network.load_state_dict(restored(file.tensors))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelFormatError(
                f"{file.path}: its config is not that of a segmenter, or its tensors do not fit it ({error})"
            ) from error
        return cls(names, _NetworkLabels(network, device_of(device)), sides)

    def __call__(self, picture: images.Source | images.Picture) -> LabelMap:
        """The label map of a picture, at its own size. Raises InputError where it cannot be read."""
        image = images.read(picture).image
        size = working_size(image.width, image.height, self.sides)
        resized = image
        if size != image.size:
            # Averaging whole blocks first bounds the filter's memory; 3: no difference that a network sees.
            resized = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3)
        labels = Image.fromarray(self._labels(resized))
        if size != image.size:
            labels = labels.resize(image.size, Image.Resampling.NEAREST)
        return LabelMap(np.array(labels), self.names)

    def _labels(self, image: Image.Image) -> Pixels:
        if not self.windows:
            return self.classify(np.array(image))
        labels = np.empty((image.height, image.width), dtype=np.uint8)
        for top, bottom in _cuts(image.height):
            for left, right in _cuts(image.width):
                y0, x0 = max(0, top - MARGIN), max(0, left - MARGIN)
                window = image.crop(
                    (x0, y0, min(image.width, right + MARGIN), min(image.height, bottom + MARGIN))
                )
                inner = self.classify(np.array(window))[top - y0 : bottom - y0, left - x0 : right - x0]
                labels[top:bottom, left:right] = inner
        return labels


def working_size(width: int, height: int, sides: tuple[int, int]) -> tuple[int, int]:
    """(width, height) that a picture is labelled at: its short side within ``sides``.

    Pictures are not enlarged more than ``LARGEST_ENLARGEMENT`` times, nor beyond a long side of ``WINDOW``: a
    strip of a few pixels by thousands holds nothing that would gain by it.
    """
    short, long = min(width, height), max(width, height)
    smallest, largest = sides
    factor = 1.0
    if short > largest:
        factor = largest / short
    elif short < smallest:
        factor = max(1.0, min(smallest / short, LARGEST_ENLARGEMENT, WINDOW / long))
    return max(1, round(width * factor)), max(1, round(height * factor))


def _cuts(length: int) -> list[tuple[int, int]]:
    """Nearly equal parts of at most about ``WINDOW``, cut where the network's coarsest cells meet."""
    parts = -(-length // WINDOW)
    edges = [round(i * length / parts / STRIDE) * STRIDE for i in range(parts)]
    return list(pairwise([*edges, length]))


class _NetworkLabels:
    """The labels that the model's own network gives."""

    def __init__(self, network: Segnet, device: torch.device) -> None:
        self._device = device
        self._network = network.requires_grad_(False).eval().to(device)
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def __call__(self, pixels: Pixels) -> Pixels:
        height, width = pixels.shape[:2]
        picture = torch.from_numpy(pixels).to(self._device).permute(2, 0, 1)[None].float() / 255
        logits = full_size(self._network(pad(picture)))[0, :, :height, :width]
        return logits.argmax(0).to(torch.uint8).cpu().numpy()


def _parts(config: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[int, int], Segnet]:
    """Raises KeyError, TypeError or ValueError where ``config`` is not what ``export`` writes."""
    names = config["classes"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("classes must be names")
    if not 0 < len(set(names)) == len(names) < 256:
        raise ValueError("classes must be 1 to 255 different names")
    smallest, largest = (int(side) for side in config["sides"])
    if not STRIDE <= smallest <= largest <= WINDOW:
        raise ValueError(f"sides must be between {STRIDE} and {WINDOW}, the smaller first")
    network = Segnet(len(names), config["widths"], config["blocks"], config["decoder"], folded=True)
    return tuple(names), (smallest, largest), network
