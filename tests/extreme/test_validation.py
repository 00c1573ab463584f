"""What a run says of pictures it is not trained on, against files' own measures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ganic.errors import DataError
from ganic.extreme.model import Architecture, CompactModel
from ganic.extreme.validation import RATES, validate
from ganic.metrics import SqueezeNetFeatures, measure


def photograph(height: int, width: int) -> Tensor:
    torch.manual_seed(3)
    size = height // 8, width // 8
    picture = F.interpolate(torch.rand(1, 3, *size), size=(height, width), mode="bicubic").clamp(0, 1)
    return (255 * picture[0]).round().byte()


@torch.no_grad()
def test_measures_at_rates(small_architecture: Architecture) -> None:
    torch.manual_seed(0)
    codec, network = CompactModel(small_architecture).eval(), SqueezeNetFeatures()
    picture = photograph(208, 280)
    got = validate(codec, [picture], network)
    middle = picture[:, 8:200, 12:268]  # 192 x 256: multiples of 64
    original = middle.permute(1, 2, 0).numpy()
    rows = []
    for quality in range(0, 256, 32):
        out = codec(middle[None] / 255, torch.tensor([float(quality)]))
        decoded = (255 * out.picture[0].clamp(0, 1)).round().byte().permute(1, 2, 0).numpy()
        q = measure(original, decoded, network=network, with_ssimulacra2=False)
        rows.append([out.prior.bits.item() / (192 * 256), q.psnr, q.ms_ssim, q.squeezenet])
    curve = np.array(rows)
    curve = curve[curve[:, 0].argsort()]
    for rate in RATES:
        names = [f"{name}@{rate:g}" for name in ("bpp", "psnr", "ms_ssim", "distance")]
        expected = [np.interp(np.log(rate), np.log(curve[:, 0]), column) for column in curve.T]
        assert [got[name] for name in names] == pytest.approx(expected, rel=1e-4)
    twice = validate(codec, [picture, photograph(256, 256)], network)
    other = validate(codec, [photograph(256, 256)], network)
    assert twice == pytest.approx({name: (got[name] + other[name]) / 2 for name in got})


def test_pictures_that_are_too_small_are_named(small_architecture: Architecture) -> None:
    with pytest.raises(DataError, match="400x191 pixels; 192 a side are needed"):
        validate(CompactModel(small_architecture), [photograph(191, 400)], SqueezeNetFeatures())
