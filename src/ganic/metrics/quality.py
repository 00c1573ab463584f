"""All per-picture measures of one decoded picture, in one frozen record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ganic.metrics.artefacts import WINDOW as SCREEN_MIN_SIDE
from ganic.metrics.artefacts import grid, screen
from ganic.metrics.distortion import box_psnr, psnr
from ganic.metrics.pixels import Pixels, as_pair
from ganic.metrics.ssimulacra import MIN_SIDE as SSIMULACRA2_MIN_SIDE
from ganic.metrics.ssimulacra import ssimulacra2, ssimulacra2_installed

if TYPE_CHECKING:
    from PIL import Image

    from ganic.metrics.dists import DISTS
    from ganic.metrics.lpips import LPIPS
    from ganic.metrics.squeezenet import SqueezeNetFeatures

LEARNED_MIN_SIDE = 32


@dataclass(frozen=True)
class Quality:
    """What one decoded picture measures against its original, both 8-bit RGB.

    A measure is None where the picture is too small for it or where it was not asked for, `ssimulacra2` also
    where the package is missing.
    """

    psnr: float
    """dB; infinite when every pixel is equal."""
    psnr_8x8: float
    """dB after 8x8 box averaging: colour and shading."""
    ms_ssim: float | None
    """0..1, higher is better; needs 161 pixels a side."""
    ssimulacra2: float | None
    """100 is perfect; needs 8 pixels a side."""
    squeezenet: float | None
    """SqueezeNet perceptual distance, lower is better; needs 17 pixels a side."""
    grid: float
    """1 = no lattice in the residual, see `ganic.metrics.grid`."""
    screen: float | None = None
    """About 1 = no fine regular pattern, see `ganic.metrics.screen`; needs 32 pixels a side."""
    lpips: float | None = None
    """Lower is better; needs the user's weights and 32 pixels a side."""
    dists: float | None = None
    """Lower is better; needs the user's weights and 32 pixels a side."""


def measure(
    original: Image.Image | Pixels,
    decoded: Image.Image | Pixels,
    *,
    network: SqueezeNetFeatures | None = None,
    lpips: LPIPS | None = None,
    dists: DISTS | None = None,
    with_ssimulacra2: bool = True,
) -> Quality:
    """Every per-picture measure of a decoded picture against its original.

    `network` saves loading the weights again for the next picture; LPIPS and DISTS are measured when they are
    given; `with_ssimulacra2` = False leaves out the slowest measure. Raises UsageError when the sizes differ.
    """
    import torch

    from ganic.metrics import squeezenet, structural
    from ganic.metrics.perceptual import SqueezeNetDistance

    pair = as_pair(original, decoded)
    side = min(pair[0].shape[:2])
    first, second = (
        torch.from_numpy(np.array(pixels)).permute(2, 0, 1).unsqueeze(0).float() / 255 for pixels in pair
    )
    with torch.inference_mode():
        structure = structural.ms_ssim(first, second).item() if side >= structural.MIN_SIDE else None
        distance = SqueezeNetDistance(network)(first, second).item() if side >= squeezenet.MIN_SIDE else None
        learned = [
            model(first, second).item() if model is not None and side >= LEARNED_MIN_SIDE else None
            for model in (lpips, dists)
        ]
    scored = with_ssimulacra2 and ssimulacra2_installed() and side >= SSIMULACRA2_MIN_SIDE
    return Quality(
        psnr=psnr(*pair),
        psnr_8x8=box_psnr(*pair),
        ms_ssim=structure,
        ssimulacra2=ssimulacra2(*pair) if scored else None,
        squeezenet=distance,
        grid=grid(*pair),
        screen=screen(*pair) if side >= SCREEN_MIN_SIDE else None,
        lpips=learned[0],
        dists=learned[1],
    )
