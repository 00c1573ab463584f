"""Small pictures and the tiny model that lies beside the golden files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ganic.ganz.measurements import Measurement
from ganic.ganz.model import Model, load

TINY = Path(__file__).parent / "golden" / "tiny.safetensors"
SIZE = 32
"""Of its pictures; its generator has 8 channels, so h0 has 512 numbers."""


class Whole:
    """A = I: every number is measured."""

    numbers = count = 3 * SIZE**2

    def forward(self, x: Tensor) -> Tensor:
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        return y


@pytest.fixture(scope="session")
def whole() -> Measurement:
    return Whole()


@pytest.fixture(scope="session")
def pictures() -> Tensor:
    """[6, 3, 32, 32] in [0, 1], whole 255ths, of the kind the tiny model has learned."""
    rng = np.random.default_rng(5)
    made = []
    for _ in range(6):
        coarse = Image.fromarray(rng.integers(40, 216, (4, 4, 3), dtype=np.uint8))
        picture = np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC), dtype=float)
        made.append((picture + rng.normal(0, 3, picture.shape)).round().clip(0, 255))
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).contiguous().float() / 255


@pytest.fixture(scope="session")
def tiny_file() -> Path:
    return TINY


@pytest.fixture(scope="session")
def tiny_model() -> Model:
    return load(TINY)


@pytest.fixture
def picture(pictures: Tensor) -> Image.Image:
    return Image.fromarray((pictures[0] * 255).round().byte().permute(1, 2, 0).numpy())
