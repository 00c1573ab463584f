"""The convolutional trunk of SqueezeNet 1.1 (Iandola et al., arXiv 1602.07360), in plain torch.

The smallest network whose ImageNet features ship with ganic (weights/features/squeezenet.md says whence): the
perceptual distance and the patch Frechet distance look through it.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganic.errors import ModelFormatError, ModelMissingError

WEIGHTS = (
    Path(__file__).resolve().parent.parent / "weights" / "features" / "squeezenet1_1_features.safetensors"
)

TAPS = (1, 4, 7, 9, 10, 11, 12)
"""The layers whose output is returned: the first ReLU and the last Fire module at each resolution and
width."""

CHANNELS = (64, 128, 256, 384, 384, 512, 512)

STRIDE = 16
"""Pixels per position of the coarsest activations: what the trunk sees of a pixel depends on its phase."""

MIN_SIDE = 17
"""Shorter pictures vanish in the third pooling layer."""

BGR_MEAN = (103.939, 116.779, 123.68)


class Fire(nn.Module):
    """Squeeze to few channels with 1x1, expand with 1x1 and 3x3 side by side (section 3.2 of the paper)."""

    def __init__(self, channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return F.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], dim=1))


class SqueezeNetFeatures(nn.Module):
    """Frozen activations after layers 1, 4, 7, 9, 10, 11 and 12 of SqueezeNet 1.1.

    Gradients flow to the picture, never to the weights, and `train()` changes nothing. Under autocast the
    convolutions run in the reduced type; in channels_last they run several times faster on CPUs with bf16.

    Raises ModelMissingError when the weights file is not there, ModelFormatError when it is something else.
    """

    bgr_mean: Tensor

    def __init__(self, weights: Path = WEIGHTS) -> None:
        super().__init__()

        def pool() -> nn.Module:
            return nn.MaxPool2d(3, stride=2, ceil_mode=True)

        # Positions in this list are the numbers in the names of the weights: "features.3.squeeze.weight".
        self.features = nn.ModuleList(
            [
                nn.Conv2d(3, 64, 3, stride=2),
                nn.ReLU(),
                pool(),
                Fire(64, 16, 64),
                Fire(128, 16, 64),
                pool(),
                Fire(128, 32, 128),
                Fire(256, 32, 128),
                pool(),
                Fire(256, 48, 192),
                Fire(384, 48, 192),
                Fire(384, 64, 256),
                Fire(512, 64, 256),
            ]
        )
        self.register_buffer("bgr_mean", torch.tensor(BGR_MEAN).view(1, 3, 1, 1), persistent=False)
        self._load(weights)
        self.requires_grad_(False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _load(self, path: Path) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        if not path.is_file():
            raise ModelMissingError(f"{path}: the perceptual network's weights are missing; reinstall ganic")
        try:
            self.load_state_dict(load_file(path))
        except (SafetensorError, RuntimeError) as error:
            raise ModelFormatError(f"{path}: not SqueezeNet 1.1 ({error}); reinstall ganic") from error

    def forward(self, rgb: Tensor) -> tuple[Tensor, ...]:
        """RGB pictures [n, 3, h, w] in [0, 1], sides >= `MIN_SIDE` -> seven activations [n, `CHANNELS`,
        ...]."""
        x = rgb.flip(1) * 255 - self.bgr_mean  # Caffe's convention: BGR, 0..255, mean subtracted, not scaled.
        x = x.contiguous(memory_format=torch.channels_last)
        activations = []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in TAPS:
                activations.append(x)
        return tuple(activations)
