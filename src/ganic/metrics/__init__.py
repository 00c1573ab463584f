"""How good is a decoded picture? Every measure ganic reports, and nothing it cannot compute offline.

Per picture (8-bit RGB against the original), all at once as `measure(original, decoded) -> Quality`:

    psnr, box_psnr          distortion, and the same after 8x8 box averaging
    ms_ssim                 structure, on torch batches
    ssimulacra2             where the package of that name is installed
    SqueezeNetDistance      perceptual distance, also a training loss (never called LPIPS)
    WassersteinDistortion   perceptual distance that forgives resampled texture, also a loss
    grid, screen            the pixel lattice, and finer regular patterns

Per set of pictures: `patch_frechet_distance` (never called FID). Between curves: `bd_rate`. LPIPS, DISTS and
FID need weights that do not ship with ganic and are computed from files the user gives: `LPIPS`, `DISTS`,
`fid`.

What needs torch is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ganic.metrics.artefacts import grid, screen
from ganic.metrics.bjontegaard import bd_rate
from ganic.metrics.distortion import box_psnr, psnr
from ganic.metrics.frechet import Gaussian, GaussianAccumulator, frechet_distance
from ganic.metrics.quality import Quality, measure
from ganic.metrics.ssimulacra import ssimulacra2

if TYPE_CHECKING:
    from ganic.metrics.dists import DISTS as DISTS
    from ganic.metrics.inception import InceptionFeatures as InceptionFeatures
    from ganic.metrics.inception import fid as fid
    from ganic.metrics.lpips import LPIPS as LPIPS
    from ganic.metrics.patch_frechet import PatchFrechet as PatchFrechet
    from ganic.metrics.patch_frechet import patch_frechet_distance as patch_frechet_distance
    from ganic.metrics.perceptual import SqueezeNetDistance as SqueezeNetDistance
    from ganic.metrics.squeezenet import SqueezeNetFeatures as SqueezeNetFeatures
    from ganic.metrics.structural import ms_ssim as ms_ssim
    from ganic.metrics.wasserstein import WassersteinDistortion as WassersteinDistortion

_NEED_TORCH = {
    "DISTS": "dists",
    "InceptionFeatures": "inception",
    "LPIPS": "lpips",
    "fid": "inception",
    "PatchFrechet": "patch_frechet",
    "SqueezeNetDistance": "perceptual",
    "SqueezeNetFeatures": "squeezenet",
    "WassersteinDistortion": "wasserstein",
    "ms_ssim": "structural",
    "patch_frechet_distance": "patch_frechet",
}

__all__ = [
    "DISTS",
    "LPIPS",
    "Gaussian",
    "GaussianAccumulator",
    "InceptionFeatures",
    "PatchFrechet",
    "Quality",
    "SqueezeNetDistance",
    "SqueezeNetFeatures",
    "WassersteinDistortion",
    "bd_rate",
    "box_psnr",
    "fid",
    "frechet_distance",
    "grid",
    "measure",
    "ms_ssim",
    "patch_frechet_distance",
    "psnr",
    "screen",
    "ssimulacra2",
]


def __getattr__(name: str) -> object:
    if name in _NEED_TORCH:
        return getattr(import_module(f"ganic.metrics.{_NEED_TORCH[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
