"""How large the inputs of the generator's layers get, which :mod:`ganic.extreme.eight_bit` has to know.

They are measured on pictures of dead leaves: opaque shapes of all sizes that cover one another, under noise
whose spectrum falls as photographs' do.  Such pictures have edges, flats and textures at all scales (Lee,
Mumford and Huang, "Occlusion models for natural images", 2001), and nobody's data are needed for them.
Channels of the model ``photo`` get 1.1 to 1.2 times as wide on them as on photographs (medians of layers).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from ganic.extreme.compact import Generator
from ganic.extreme.eight_bit import REDUCED
from ganic.extreme.model import CompactModel
from ganic.extreme.selection import shares
from ganic.extreme.tiling import STRIDE

PICTURES, HEIGHT, WIDTH = 8, 384, 512
SHAPES = 900
SMALLEST, LARGEST = 2.0, 160.0
"""Radii of the shapes, in pixels; how many there are falls with the third power of the radius."""
QUALITIES = 0, 80, 160, 255


def dead_leaves(seed: int, classes: int = 0) -> tuple[Image.Image, npt.NDArray[np.uint8]]:
    """A picture of WIDTH x HEIGHT pixels, and a class below ``classes`` for each of its shapes' pixels."""
    random = np.random.default_rng(seed)
    picture, labels = Image.new("RGB", (WIDTH, HEIGHT)), Image.new("L", (WIDTH, HEIGHT))
    radii = (random.random(SHAPES) * (SMALLEST**-2 - LARGEST**-2) + LARGEST**-2) ** -0.5
    for radius in radii:
        x, y = random.random(2) * (WIDTH, HEIGHT)
        grey = random.random() * 255
        colour = tuple(int(value) for value in np.clip(random.normal(grey, 40, 3), 0, 255))
        kind, label = random.integers(3), int(random.integers(max(classes, 1)))
        angles = random.random(3).cumsum() * 2.1
        corners = [(x + radius * np.cos(angle), y + radius * np.sin(angle)) for angle in angles]
        end = tuple((x, y) + 4 * radius * random.normal(size=2))
        for image, fill in ((picture, colour), (labels, label)):
            draw = ImageDraw.Draw(image)
            if kind == 0:
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
            elif kind == 1:
                draw.polygon(corners, fill=fill)
            else:
                draw.line((x, y, *end), fill=fill, width=int(1 + radius / 8))
    frequencies = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None])
    spectrum = np.fft.rfft2(random.normal(size=(HEIGHT, WIDTH)))
    noise = np.fft.irfft2(spectrum / np.maximum(frequencies, 1 / WIDTH) ** random.uniform(0.5, 1.2))
    noise *= random.uniform(5, 30) / noise.std()
    pixels = np.clip(np.asarray(picture) + noise[:, :, None], 0, 255).astype(np.uint8)
    return Image.fromarray(pixels), np.asarray(labels)


@torch.no_grad()
def activation_ranges(
    model: CompactModel, generators: Sequence[Generator], classes: int = 0
) -> dict[str, Tensor]:
    """What the blocks and sub-pixel convolutions of these generators of one codec read.

    Args:
        classes: of the labels of a selective codec.

    Returns:
        By name of the convolution, least and largest value [2, channels] of each channel of its input.
    """
    prefixes = tuple(f"{part}.{level}." for part in ("stages", "up") for level in range(REDUCED))
    found: dict[str, Tensor] = {}

    def watch(name: str, conv: nn.Conv2d) -> torch.utils.hooks.RemovableHandle:
        def see(_: nn.Module, inputs: tuple[Tensor]) -> None:
            limits = torch.stack([inputs[0].amin((0, 2, 3)), inputs[0].amax((0, 2, 3))])
            if name in found:
                low, high = found[name]
                limits = torch.stack([torch.minimum(limits[0], low), torch.maximum(limits[1], high)])
            found[name] = limits

        return conv.register_forward_pre_hook(see)

    handles = [
        watch(name, layer)
        for generator in generators
        for name, layer in generator.named_modules()
        if isinstance(layer, nn.Conv2d) and name.startswith(prefixes)
    ]
    try:
        for seed in range(PICTURES):
            image, labels = dead_leaves(seed, classes)
            picture = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None].float() / 255
            cases = _cases(seed, labels, classes)
            for quality, (coded, seen) in product(QUALITIES, cases):
                index = torch.tensor([quality])
                latent, _ = model.compress(picture, index, coded)
                for generator in generators:
                    generator(latent, index, labels=seen)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _cases(
    seed: int, labels: npt.NDArray[np.uint8], classes: int
) -> list[tuple[Tensor | None, Tensor | None]]:
    """What is coded, and what G sees of the labels: all of it and nothing; with classes, also half of it."""
    if not classes:
        return [(None, None)]
    random = torch.Generator().manual_seed(seed)
    coded = (torch.rand(1, 1, HEIGHT // STRIDE, WIDTH // STRIDE, generator=random) < 0.5).float()
    where = torch.zeros(1, 2, dtype=torch.int64)
    return [(None, None), (coded, shares(torch.from_numpy(labels.copy())[None], 1 - coded, classes, where))]
