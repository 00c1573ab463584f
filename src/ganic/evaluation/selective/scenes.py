"""Pictures with label maps, and what of them is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ganic.errors import DataError
from ganic.evaluation.contest import find_pictures
from ganic.extreme.heat_maps import components
from ganic.extreme.tiling import STRIDE
from ganic.labels import LabelMap, read, simplify

Mask = NDArray[np.bool_]
Pick = Callable[["Scene", float], Mask]
"""A scene and a share -> the pixels to keep."""


@dataclass(frozen=True)
class Scene:
    """One picture and what it shows."""

    name: str
    image: Image.Image
    labels: LabelMap
    written: LabelMap
    """What files say of them: the same, or simpler."""
    number: int
    """Position in the list: random choices depend on it."""

    def random(self, seed: int) -> np.random.Generator:
        return np.random.default_rng((seed, self.number))


def load_scenes(
    pictures: Path, labels: Path, chosen: Sequence[str] | None = None, simplify_labels: int = 0
) -> list[Scene]:
    """The scenes of two folders with files of the same names; ``chosen``: only these, in this order.

    Raises DataError where a picture has no label map or a chosen scene is missing.
    """
    by_name = {path.stem: path for path in find_pictures(pictures)}
    names = sorted(by_name) if chosen is None else [Path(name).stem for name in chosen]
    scenes = []
    for number, name in enumerate(names):
        if name not in by_name or not (labels / f"{name}.png").is_file():
            raise DataError(f"{name}: is not in both {pictures} and {labels}; give folders that have it")
        with Image.open(by_name[name]) as file:
            image = file.convert("RGB")
        true = read(labels / f"{name}.png", "camvid")
        written = replace(true, labels=simplify(true.labels, simplify_labels))
        scenes.append(Scene(name, image, true, written, number))
    return scenes


def kept_box(scene: Scene, share: float, *, seed: int = 0) -> Mask:
    """RB: a box of the picture's proportions at a random place."""
    rng = scene.random(seed)
    height, width = scene.labels.labels.shape
    h, w = (max(1, round(side * share**0.5)) for side in (height, width))
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    mask = np.zeros((height, width), dtype=bool)
    mask[top : top + h, left : left + w] = True
    return mask


def kept_instances(scene: Scene, share: float, *, seed: int = 0) -> Mask:
    """RI: connected regions of one class in random order, each that fits, until ``share`` is reached."""
    rng = scene.random(seed)
    labels = scene.labels.labels
    coarse = torch.from_numpy(labels[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE].astype(np.int64))
    numbers = components(coarse[None])[0].numpy()
    chosen = np.zeros(numbers.shape, dtype=bool)
    for name in rng.permutation(np.unique(numbers)):
        region = numbers == name
        if (chosen | region).mean() <= share * 1.1:
            chosen |= region
    mask = chosen.repeat(STRIDE, axis=0).repeat(STRIDE, axis=1)
    missing = ((0, max(0, labels.shape[0] - mask.shape[0])), (0, max(0, labels.shape[1] - mask.shape[1])))
    return np.pad(mask, missing)[: labels.shape[0], : labels.shape[1]]


def psnr_inside(original: Image.Image, decoded: Image.Image, inside: Mask) -> float:
    """PSNR over some of the pixels, in dB."""
    error = np.asarray(original, dtype=np.float64)[inside] - np.asarray(decoded, dtype=np.float64)[inside]
    return float(10 * np.log10(255**2 / max(float((error**2).mean()), 1e-9)))
