"""LPIPS, DISTS and FID against what the well-known packages compute, with the same made-up weights.

Names and shapes here are those of lpips 0.1.4, DISTS-pytorch 0.1 and pytorch-fid 0.3.0, whose modules load
these tensors without complaint; the numbers come from a seed, and what those packages computed with them is
written down below. So the networks are known to be theirs, though their trained weights are not at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from ganic.errors import ModelFormatError, ModelMissingError, UsageError
from ganic.metrics import DISTS, LPIPS, InceptionFeatures, fid, frechet_distance
from ganic.metrics.inception import fid_patches

Tensors = dict[str, NDArray[np.generic]]

LPIPS_LAYERS = {
    # slice.layer: out, in, kernel
    "alex": {
        "slice1.0": (64, 3, 11),
        "slice2.3": (192, 64, 5),
        "slice3.6": (384, 192, 3),
        "slice4.8": (256, 384, 3),
        "slice5.10": (256, 256, 3),
    },
    "vgg": {
        **{"slice1.0": (64, 3, 3), "slice1.2": (64, 64, 3)},
        **{"slice2.5": (128, 64, 3), "slice2.7": (128, 128, 3)},
        **{"slice3.10": (256, 128, 3), "slice3.12": (256, 256, 3), "slice3.14": (256, 256, 3)},
        **{"slice4.17": (512, 256, 3), "slice4.19": (512, 512, 3), "slice4.21": (512, 512, 3)},
        **{"slice5.24": (512, 512, 3), "slice5.26": (512, 512, 3), "slice5.28": (512, 512, 3)},
    },
    "squeeze": {
        "slice1.0": (64, 3, 3),
        **{
            f"{place}.{part}": shape
            for place, channels, squeeze, expand in (
                ("slice2.3", 64, 16, 64),
                ("slice2.4", 128, 16, 64),
                ("slice3.6", 128, 32, 128),
                ("slice3.7", 256, 32, 128),
                ("slice4.9", 256, 48, 192),
                ("slice5.10", 384, 48, 192),
                ("slice6.11", 384, 64, 256),
                ("slice7.12", 512, 64, 256),
            )
            for part, shape in (
                ("squeeze", (squeeze, channels, 1)),
                ("expand1x1", (expand, squeeze, 1)),
                ("expand3x3", (expand, squeeze, 3)),
            )
        },
    },
}
LPIPS_HEADS = {
    "alex": (64, 192, 384, 256, 256),
    "vgg": (64, 128, 256, 512, 512),
    "squeeze": (64, 128, 256, 384, 384, 512, 512),
}

INCEPTION_STEM = {
    "Conv2d_1a_3x3": (32, 3, 3, 3),
    "Conv2d_2a_3x3": (32, 32, 3, 3),
    "Conv2d_2b_3x3": (64, 32, 3, 3),
    "Conv2d_3b_1x1": (80, 64, 1, 1),
    "Conv2d_4a_3x3": (192, 80, 3, 3),
}


def _inception_a(channels: int, pooled: int) -> dict[str, tuple[int, ...]]:
    return {
        "branch1x1": (64, channels, 1, 1),
        "branch5x5_1": (48, channels, 1, 1),
        "branch5x5_2": (64, 48, 5, 5),
        "branch3x3dbl_1": (64, channels, 1, 1),
        "branch3x3dbl_2": (96, 64, 3, 3),
        "branch3x3dbl_3": (96, 96, 3, 3),
        "branch_pool": (pooled, channels, 1, 1),
    }


def _inception_c(width: int) -> dict[str, tuple[int, ...]]:
    return {
        "branch1x1": (192, 768, 1, 1),
        "branch7x7_1": (width, 768, 1, 1),
        "branch7x7_2": (width, width, 1, 7),
        "branch7x7_3": (192, width, 7, 1),
        "branch7x7dbl_1": (width, 768, 1, 1),
        "branch7x7dbl_2": (width, width, 7, 1),
        "branch7x7dbl_3": (width, width, 1, 7),
        "branch7x7dbl_4": (width, width, 7, 1),
        "branch7x7dbl_5": (192, width, 1, 7),
        "branch_pool": (192, 768, 1, 1),
    }


def _inception_e(channels: int) -> dict[str, tuple[int, ...]]:
    return {
        "branch1x1": (320, channels, 1, 1),
        "branch3x3_1": (384, channels, 1, 1),
        "branch3x3_2a": (384, 384, 1, 3),
        "branch3x3_2b": (384, 384, 3, 1),
        "branch3x3dbl_1": (448, channels, 1, 1),
        "branch3x3dbl_2": (384, 448, 3, 3),
        "branch3x3dbl_3a": (384, 384, 1, 3),
        "branch3x3dbl_3b": (384, 384, 3, 1),
        "branch_pool": (192, channels, 1, 1),
    }


INCEPTION_BLOCKS: dict[str, dict[str, tuple[int, ...]]] = {
    "Mixed_5b": _inception_a(192, 32),
    "Mixed_5c": _inception_a(256, 64),
    "Mixed_5d": _inception_a(288, 64),
    "Mixed_6a": {
        "branch3x3": (384, 288, 3, 3),
        "branch3x3dbl_1": (64, 288, 1, 1),
        "branch3x3dbl_2": (96, 64, 3, 3),
        "branch3x3dbl_3": (96, 96, 3, 3),
    },
    "Mixed_6b": _inception_c(128),
    "Mixed_6c": _inception_c(160),
    "Mixed_6d": _inception_c(160),
    "Mixed_6e": _inception_c(192),
    "Mixed_7a": {
        "branch3x3_1": (192, 768, 1, 1),
        "branch3x3_2": (320, 192, 3, 3),
        "branch7x7x3_1": (192, 768, 1, 1),
        "branch7x7x3_2": (192, 192, 1, 7),
        "branch7x7x3_3": (192, 192, 7, 1),
        "branch7x7x3_4": (192, 192, 3, 3),
    },
    "Mixed_7b": _inception_e(1280),
    "Mixed_7c": _inception_e(2048),
}


def lpips(net: str) -> Tensors:
    shapes: dict[str, tuple[int, ...]] = {
        "scaling_layer.shift": (1, 3, 1, 1),
        "scaling_layer.scale": (1, 3, 1, 1),
    }
    for layer, (out, channels, kernel) in LPIPS_LAYERS[net].items():
        shapes[f"net.{layer}.weight"] = (out, channels, kernel, kernel)
        shapes[f"net.{layer}.bias"] = (out,)
    for k, channels in enumerate(LPIPS_HEADS[net]):
        shapes[f"lin{k}.model.1.weight"] = (1, channels, 1, 1)
    tensors = _filled(shapes)
    for k in range(len(LPIPS_HEADS[net])):
        # Heads are not negative, and the package lists them twice.
        tensors[f"lin{k}.model.1.weight"] = np.abs(tensors[f"lin{k}.model.1.weight"])
        tensors[f"lins.{k}.model.1.weight"] = tensors[f"lin{k}.model.1.weight"].copy()
    return tensors


def dists() -> Tensors:
    shapes: dict[str, tuple[int, ...]] = {"alpha": (1, 1475, 1, 1), "beta": (1, 1475, 1, 1)}
    for layer, (out, channels, kernel) in LPIPS_LAYERS["vgg"].items():
        name = layer.replace("slice", "stage")
        shapes[f"{name}.weight"] = (out, channels, kernel, kernel)
        shapes[f"{name}.bias"] = (out,)
    tensors = _filled(shapes)
    for name in ("alpha", "beta"):
        tensors[name] = np.abs(tensors[name])
    hann = np.outer([0.5, 1, 0.5], [0.5, 1, 0.5]) / 4
    for place, channels in (("stage2.4", 64), ("stage3.9", 128), ("stage4.16", 256), ("stage5.23", 512)):
        tensors[f"{place}.filter"] = np.tile(hann.astype(np.float32), (channels, 1, 1, 1))
    tensors["mean"] = np.array([0.485, 0.456, 0.406], np.float32).reshape(1, 3, 1, 1)
    tensors["std"] = np.array([0.229, 0.224, 0.225], np.float32).reshape(1, 3, 1, 1)
    return tensors


def inception() -> Tensors:
    convolutions = dict(INCEPTION_STEM)
    for block, branches in INCEPTION_BLOCKS.items():
        convolutions |= {f"{block}.{branch}": shape for branch, shape in branches.items()}  # type: ignore[misc]
    shapes: dict[str, tuple[int, ...]] = {"fc.weight": (1008, 2048), "fc.bias": (1008,)}
    for name, shape in convolutions.items():
        shapes[f"{name}.conv.weight"] = shape
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.bn.{part}"] = shape[:1]
    tensors = _filled(shapes)
    for name in convolutions:
        tensors[f"{name}.bn.num_batches_tracked"] = np.array(0, np.int64)
    return tensors


def _filled(shapes: dict[str, tuple[int, ...]]) -> Tensors:
    """Numbers that keep activations alive through any depth, rounded to float16 to keep the files small."""
    rng = np.random.default_rng(2024)
    tensors: Tensors = {}
    for name in sorted(shapes):
        shape = shapes[name]
        values = rng.standard_normal(shape, dtype=np.float32)
        if name.endswith("running_var"):
            values = 0.5 + np.abs(values)
        elif name.endswith("bn.weight"):
            values = 1 + 0.1 * values
        elif len(shape) == 4:
            values *= (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
        else:
            values *= 0.1
        tensors[name] = values.astype(np.float16)
    return tensors


def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    """Two pairs of pictures in [0, 1], [2, 3, 65, 80]: noise, and the noise half mixed with other noise."""
    rng = np.random.default_rng(7)
    first, other = rng.random((2, 2, 3, 65, 80), dtype=np.float32)
    return torch.from_numpy(first), torch.from_numpy((first + other) / 2)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Tensors], Path]:
    def write(tensors: Tensors) -> Path:
        path = tmp_path / "weights.safetensors"
        save_file(tensors, path)
        return path

    return write


Write = Callable[[Tensors], Path]


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        ("alex", [0.0865735635, 0.0814284757]),
        ("vgg", [0.0799643919, 0.0799742416]),
        ("squeeze", [0.0943666473, 0.0966893360]),
    ],
)
def test_lpips_equals_the_package(net: str, expected: list[float], write: Write) -> None:
    measure = LPIPS(write(lpips(net)))
    first, second = pictures()
    with torch.inference_mode():
        assert measure(first, second).tolist() == pytest.approx(expected, rel=1e-4)
        assert measure(first, first).tolist() == [0, 0]


def test_dists_equals_the_package(write: Write) -> None:
    measure = DISTS(write(dists()))
    first, second = pictures()
    with torch.inference_mode():
        assert measure(first, second).tolist() == pytest.approx([0.1100618839, 0.1131305695], rel=1e-3)
        assert measure(first, first).tolist() == pytest.approx([0, 0], abs=1e-5)


def test_inception_equals_the_package(write: Write) -> None:
    network = InceptionFeatures(write(inception()))
    first, _ = pictures()
    with torch.inference_mode():
        features = network(first)
    assert features.shape == (2, 2048)
    assert features.mean().item() == pytest.approx(0.2511119545, rel=1e-4)
    assert features.std().item() == pytest.approx(0.3476112485, rel=1e-4)
    assert features[0, :3].tolist() == pytest.approx([0.1559398621, 0.0467943437, 0.0012092416], rel=1e-3)
    assert features[1, -4:].tolist() == pytest.approx(
        [0.5174816251, 0.0006519077, 0.5047130585, 0.1708226204], rel=1e-3
    )


def test_fid_is_the_frechet_distance_of_features_of_patches() -> None:
    # With features small enough to follow: the mean colour of a patch.
    rng = np.random.default_rng(0)
    originals = [rng.integers(0, 256, (170, 200, 3), dtype=np.uint8) for _ in range(3)]
    decoded = [p // 2 for p in originals]
    found = fid(zip(originals, decoded, strict=True), lambda x: x.mean(dim=(2, 3)), patch=32)
    sides = [
        np.array([q.mean(axis=(0, 1)) for p in side for q in fid_patches(p, 32)]) / 255
        for side in (originals, decoded)
    ]
    assert found.patches == len(sides[0]) == 3 * (5 * 6 + 4 * 5)
    moments = [m for side in sides for m in (side.mean(axis=0), np.cov(side, rowvar=False))]
    assert found.distance == pytest.approx(frechet_distance(*moments), rel=1e-4)
    with pytest.raises(UsageError):
        fid(zip(originals, decoded, strict=True), lambda x: x.mean(dim=(2, 3)))  # No 256-pixel patch.


def test_fid_patches_are_two_shifted_grids() -> None:
    rows, columns = np.indices((700, 520)).astype(np.uint8)
    pixels = np.stack([rows, columns, rows], axis=-1)
    corners = [(int(p[0, 0, 0]), int(p[0, 0, 1])) for p in fid_patches(pixels)]
    # From the corner: 2 x 2; from (128, 128): 2 x 1 (columns 128..384, the next would end at 640).
    assert corners == [(0, 0), (0, 0), (0, 0), (0, 0), (128, 128), (128, 128)]  # 256 is 0 again in a byte.
    assert all(p.shape == (256, 256, 3) for p in fid_patches(pixels))
    assert fid_patches(pixels[:255]) == []


@pytest.mark.parametrize("kind", [LPIPS, DISTS, InceptionFeatures])
def test_other_files_are_refused(kind: Callable[[Path], object], write: Write, tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError, match="none"):
        kind(tmp_path / "none.safetensors")
    with pytest.raises(ModelFormatError):
        kind(write({"net.slice1.0.weight": np.zeros((64, 3, 3, 3), np.float32)}))
    (tmp_path / "pickle.pth").write_bytes(b"\x80\x04\x95 a pickle")
    with pytest.raises(ModelFormatError):
        kind(tmp_path / "pickle.pth")


def test_a_network_with_one_tensor_too_few_is_refused(write: Write) -> None:
    tensors = lpips("alex")
    del tensors["net.slice5.10.bias"]
    with pytest.raises(ModelFormatError, match=r"slice5\.10\.bias"):
        LPIPS(write(tensors))


def test_other_inceptions_are_not_fids(tmp_path: Path) -> None:
    """torchvision's has the same layers, 1000 classes and a second head."""
    for wrong in (
        inception() | {"fc.weight": np.zeros((1000, 2048), np.float16)},
        inception() | {"AuxLogits.fc.weight": np.zeros((1000, 768), np.float16)},
    ):
        save_file(wrong, tmp_path / "inception.safetensors")
        with pytest.raises(ModelFormatError, match="not FID's network"):
            InceptionFeatures(tmp_path / "inception.safetensors")
