from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import ganic.metrics
from ganic.errors import UsageError
from ganic.metrics import Quality, box_psnr, grid, measure, ms_ssim, psnr, ssimulacra2


def test_it_gathers_the_single_measures(picture, add_noise, network) -> None:  # type: ignore[no-untyped-def]
    original = picture(168, 176)
    decoded = add_noise(original, 10)
    quality = measure(Image.fromarray(original), decoded, network=network)
    assert (quality.psnr, quality.psnr_8x8) == (psnr(original, decoded), box_psnr(original, decoded))
    assert quality.grid == grid(original, decoded)
    tensors = [torch.from_numpy(p).permute(2, 0, 1)[None].float() / 255 for p in (original, decoded)]
    assert quality.ms_ssim == pytest.approx(ms_ssim(*tensors).item())
    assert quality.squeezenet == pytest.approx(ganic.metrics.SqueezeNetDistance(network)(*tensors).item())
    assert quality.ssimulacra2 == ssimulacra2(original, decoded)
    assert quality.ssimulacra2 is not None and quality.ssimulacra2 < 90


@pytest.mark.parametrize(
    ("size", "missing"),
    [
        ((1, 1), {"ms_ssim", "ssimulacra2", "squeezenet", "screen"}),
        ((16, 40), {"ms_ssim", "squeezenet", "screen"}),
        ((17, 40), {"ms_ssim", "screen"}),
        ((32, 40), {"ms_ssim"}),
        ((161, 161), set()),
    ],
)
def test_small_pictures_lack_some_measures(picture, network, size, missing) -> None:  # type: ignore[no-untyped-def]
    pixels = picture(*size)
    quality = measure(pixels, pixels.copy(), network=network)
    assert {name for name, value in vars(quality).items() if value is None} == {*missing, "lpips", "dists"}
    assert quality.psnr == math.inf and quality.grid == 1
    assert quality.ms_ssim in (None, pytest.approx(1)) and quality.squeezenet in (None, 0)


def test_the_slow_measure_can_be_left_out(picture, network) -> None:  # type: ignore[no-untyped-def]
    pixels = picture(20, 20)
    assert measure(pixels, pixels, network=network, with_ssimulacra2=False).ssimulacra2 is None


def test_ssimulacra2_knows_better_from_worse(picture, add_noise) -> None:  # type: ignore[no-untyped-def]
    original = picture(96, 96)
    scores = [ssimulacra2(original, add_noise(original, d)) for d in (1, 5, 25)]
    assert 100 >= scores[0] > scores[1] > scores[2]
    with pytest.raises(UsageError):
        ssimulacra2(original[:7], original[:7])


def test_unequal_sizes_are_refused() -> None:
    with pytest.raises(UsageError, match="2x1"):
        measure(np.zeros((1, 2, 3), np.uint8), np.zeros((2, 1, 3), np.uint8))


def test_everything_promised_is_there() -> None:
    for name in ganic.metrics.__all__:
        assert getattr(ganic.metrics, name) is not None
    with pytest.raises(AttributeError):
        _ = ganic.metrics.lpips_of_nothing
    assert Quality.__dataclass_params__.frozen  # type: ignore[attr-defined]


def test_importing_the_measures_does_not_import_torch() -> None:
    code = "import sys, ganic.metrics; assert 'torch' not in sys.modules, 'torch'"
    subprocess.run([sys.executable, "-c", code], check=True)
