"""FID over patches (FID/256 of compression papers) with the user's Inception weights.

Heusel et al. (arXiv 1706.08500) with the Inception-v3 of the original TensorFlow code, as ported by the
`pytorch-fid` package: not torchvision's network, whose poolings and input differ, and whose distances are
others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganic.errors import ModelFormatError, UsageError
from ganic.metrics.frechet import Gaussian, GaussianAccumulator
from ganic.metrics.patch_frechet import PatchFrechet, between
from ganic.metrics.pixels import Pixels, as_pair, as_pixels
from ganic.metrics.user_weights import load_frozen, read_tensors

if TYPE_CHECKING:
    from PIL import Image

INPUT = 299
BATCH = 16


class _Unit(nn.Module):
    """Convolution without bias, batch normalisation, ReLU."""

    def __init__(
        self,
        channels: int,
        width: int,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(width, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


def _mean_pool(x: Tensor) -> Tensor:
    """3x3 means; at the border over the pixels there are, as in TensorFlow."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class _A(nn.Module):
    """35x35: 1x1, 5x5, two 3x3 and pooling, side by side."""

    def __init__(self, channels: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = _Unit(channels, 64)
        self.branch5x5_1 = _Unit(channels, 48)
        self.branch5x5_2 = _Unit(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = _Unit(channels, 64)
        self.branch3x3dbl_2 = _Unit(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = _Unit(96, 96, 3, padding=1)
        self.branch_pool = _Unit(channels, pooled)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        pooled = self.branch_pool(_mean_pool(x))
        return torch.cat([self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)), double, pooled], dim=1)


class _B(nn.Module):
    """35x35 to 17x17."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch3x3 = _Unit(channels, 384, 3, stride=2)
        self.branch3x3dbl_1 = _Unit(channels, 64)
        self.branch3x3dbl_2 = _Unit(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = _Unit(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, stride=2)], dim=1)


class _C(nn.Module):
    """17x17: 7x7 convolutions as pairs of 1x7 and 7x1."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.branch1x1 = _Unit(channels, 192)
        self.branch7x7_1 = _Unit(channels, width)
        self.branch7x7_2 = _Unit(width, width, (1, 7), padding=(0, 3))
        self.branch7x7_3 = _Unit(width, 192, (7, 1), padding=(3, 0))
        self.branch7x7dbl_1 = _Unit(channels, width)
        self.branch7x7dbl_2 = _Unit(width, width, (7, 1), padding=(3, 0))
        self.branch7x7dbl_3 = _Unit(width, width, (1, 7), padding=(0, 3))
        self.branch7x7dbl_4 = _Unit(width, width, (7, 1), padding=(3, 0))
        self.branch7x7dbl_5 = _Unit(width, 192, (1, 7), padding=(0, 3))
        self.branch_pool = _Unit(channels, 192)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), single, double, self.branch_pool(_mean_pool(x))], dim=1)


class _D(nn.Module):
    """17x17 to 8x8."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch3x3_1 = _Unit(channels, 192)
        self.branch3x3_2 = _Unit(192, 320, 3, stride=2)
        self.branch7x7x3_1 = _Unit(channels, 192)
        self.branch7x7x3_2 = _Unit(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = _Unit(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = _Unit(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        long = self.branch7x7x3_2(self.branch7x7x3_1(x))
        long = self.branch7x7x3_4(self.branch7x7x3_3(long))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), long, F.max_pool2d(x, 3, stride=2)], dim=1)


class _E(nn.Module):
    """8x8. The last one of the network pools maxima where the first pools means."""

    def __init__(self, channels: int, *, pools_maxima: bool) -> None:
        super().__init__()
        self.pools_maxima = pools_maxima
        self.branch1x1 = _Unit(channels, 320)
        self.branch3x3_1 = _Unit(channels, 384)
        self.branch3x3_2a = _Unit(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = _Unit(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = _Unit(channels, 448)
        self.branch3x3dbl_2 = _Unit(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = _Unit(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = _Unit(384, 384, (3, 1), padding=(1, 0))
        self.branch_pool = _Unit(channels, 192)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = F.max_pool2d(x, 3, stride=1, padding=1) if self.pools_maxima else _mean_pool(x)
        branches = [
            self.branch1x1(x),
            *(self.branch3x3_2a(single), self.branch3x3_2b(single)),
            *(self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)),
            self.branch_pool(pooled),
        ]
        return torch.cat(branches, dim=1)


CLASSES = 1008
"""Of TensorFlow's network; torchvision's has 1000."""


class InceptionFeatures(nn.Module):
    """The 2048 pooled features of FID's Inception-v3.

    `weights` is a .safetensors file with the names of `pytorch_fid.inception.fid_inception_v3` (see
    `ganic.metrics.user_weights`). Raises ModelMissingError or ModelFormatError.
    """

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Unit(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = _Unit(32, 32, 3)
        self.Conv2d_2b_3x3 = _Unit(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = _Unit(64, 80)
        self.Conv2d_4a_3x3 = _Unit(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _A(192, 32), _A(256, 64), _A(288, 64)
        self.Mixed_6a = _B(288)
        self.Mixed_6b, self.Mixed_6c = _C(768, 128), _C(768, 160)
        self.Mixed_6d, self.Mixed_6e = _C(768, 160), _C(768, 192)
        self.Mixed_7a = _D(768)
        self.Mixed_7b, self.Mixed_7c = _E(1280, pools_maxima=False), _E(2048, pools_maxima=True)
        # The classifier takes no part in FID, but tells its network from others of the same layers.
        tensors = read_tensors(weights)
        classes = tensors["fc.weight"].shape[0] if "fc.weight" in tensors else 0
        if classes != CLASSES or any(name.startswith("AuxLogits.") for name in tensors):
            raise ModelFormatError(
                f"{weights}: not FID's network, which has {CLASSES} classes (fc.weight) and no AuxLogits; "
                "others give other distances: take pytorch_fid's fid_inception_v3"
            )
        load_frozen(self, tensors, weights, ignore=("fc.",))

    def forward(self, rgb: Tensor) -> Tensor:
        """[n, 3, h, w] in [0, 1] -> [n, 2048]; pictures are resized to 299x299."""
        x = 2 * F.interpolate(rgb, size=(INPUT, INPUT), mode="bilinear", align_corners=False) - 1
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, stride=2)))
        x = F.max_pool2d(x, 3, stride=2)
        x = self.Mixed_6a(self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(x))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return torch.as_tensor(x.mean(dim=(2, 3)))


def fid_patches(pixels: Pixels, patch: int = 256) -> list[Pixels]:
    """The patches of FID/256: side by side from the corner, then again from half a patch further in both
    directions.

    After Mentzer et al. (arXiv 2006.09965). A picture smaller than a patch has none.
    """
    height, width, _ = pixels.shape
    return [
        pixels[top : top + patch, left : left + patch]
        for origin in (0, patch // 2)
        for top in range(origin, height - patch + 1, patch)
        for left in range(origin, width - patch + 1, patch)
    ]


Network = Callable[[Tensor], Tensor]
"""Pictures [n, 3, h, w] in [0, 1] -> features [n, d]: an `InceptionFeatures`, else the result is not FID."""


def fid(
    pairs: Iterable[tuple[Image.Image | Pixels, Image.Image | Pixels]],
    network: Network,
    *,
    patch: int = 256,
) -> PatchFrechet:
    """FID between the patches of originals and decoded pictures, given as (original, decoded) pairs.

    Published values use 256-pixel patches of a whole data set. Raises UsageError when a pair's sizes differ
    or all pictures together have fewer than two patches.
    """
    both = [as_pair(*pair) for pair in pairs]
    first, second = (fid_statistics((pair[side] for pair in both), network, patch=patch) for side in (0, 1))
    return PatchFrechet(between(first, second), first.count)


def fid_statistics(
    pictures: Iterable[Image.Image | Pixels], network: Network, *, patch: int = 256
) -> Gaussian:
    """The Gaussian of the features of all patches of a set; raises UsageError for fewer than two patches."""
    statistics: GaussianAccumulator | None = None
    for picture in pictures:
        patches = fid_patches(as_pixels(picture), patch)
        for start in range(0, len(patches), BATCH):
            batch = torch.stack([torch.from_numpy(p.copy()) for p in patches[start : start + BATCH]])
            with torch.inference_mode():
                features = network(batch.permute(0, 3, 1, 2).float() / 255).numpy()
            statistics = statistics or GaussianAccumulator(features.shape[1])
            statistics.add(features)
    if statistics is None or statistics.count < 2:
        raise UsageError(f"pictures: fewer than two patches of {patch} pixels; FID needs larger ones")
    return statistics.result()
