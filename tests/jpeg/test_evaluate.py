from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from ganic.errors import ModelError, ModelFormatError, ModelMissingError, UsageError
from ganic.jpeg import table
from ganic.jpeg.direct import fully_connected
from ganic.jpeg.evaluate import (
    Cell,
    CifarFeatures,
    Generated,
    Recoded,
    SqueezeFeatures,
    cells,
    painted,
    statistics,
)
from ganic.jpeg.features import CifarResNet
from ganic.jpeg.generate import pictures
from ganic.jpeg.model import JpegModel
from ganic.jpeg.remembered import remembered
from ganic.jpeg.sampling import Subsampling
from ganic.metrics.frechet import frechet_distance


class Colours:
    """Mean colours as features: quick, and computable by hand."""

    name = identity = "mean colours"
    dimensions = 3

    def features(self, rgb: torch.Tensor) -> torch.Tensor:
        return rgb.mean(dim=(2, 3))


@pytest.fixture(scope="module")
def many(photos: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    shifts = rng.integers(-40, 40, (5, 1, 1, 1, 3))
    return np.clip(photos[None] + shifts, 0, 255).astype(np.uint8).reshape(-1, 32, 32, 3)


def test_statistics_are_kept(many: NDArray[np.uint8], tmp_path: Path) -> None:
    path, network = tmp_path / "kept.npz", Colours()
    found = remembered(path, many, network)
    assert np.allclose(found.mean, many.mean(axis=(0, 1, 2)) / 255, atol=1e-6) and found.count == len(many)

    def never(rgb: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the features were computed again")

    network.features = never  # type: ignore[method-assign]
    again = remembered(path, many, network)
    assert np.array_equal(again.mean, found.mean) and np.array_equal(again.covariance, found.covariance)
    assert again.count == found.count
    with pytest.raises(UsageError, match="other pictures"):
        remembered(path, many[1:], network)
    network.identity = "other colours"
    with pytest.raises(UsageError, match="another network"):
        remembered(path, many, network)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UsageError, match="no statistics"):
        remembered(path, many, network)


def test_cifar_trunk_is_resnet_56() -> None:
    network = CifarResNet()
    kernels = 9 * (3 * 16 + 18 * 16**2 + 16 * 32 + 17 * 32**2 + 32 * 64 + 17 * 64**2)
    norms = 2 * (19 * 16 + 18 * 32 + 18 * 64)
    assert sum(p.numel() for p in network.parameters()) == kernels + norms + 650
    noise = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    features = network(noise)
    assert features.shape == (2, 64)
    assert (features >= 0).all()  # means of rectified values
    assert (features[0] - features[1]).norm() > 0.1
    assert torch.allclose(network.logits(noise), network.linear(features))
    assert not network.train().training
    assert not any(p.requires_grad for p in network.parameters())


def test_cifar_trunk_refuses_other_weights(tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError):
        CifarResNet(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(ModelFormatError):
        CifarResNet(tmp_path / "bad.safetensors")


def test_statistics_of_features(many: NDArray[np.uint8]) -> None:
    found = statistics(list(many), Colours(), "cpu")
    expected = many.reshape(len(many), -1, 3).mean(axis=1) / 255
    assert found.count == len(many)
    assert np.allclose(found.mean, expected.mean(axis=0), atol=1e-6)
    assert np.allclose(found.covariance, np.cov(expected.T), atol=1e-7)


def test_real_data_row_by_hand(many: NDArray[np.uint8]) -> None:
    """Each cell is the distance of libjpeg's own files, and their size."""
    real = statistics(list(many), CifarFeatures(), "cpu")
    method = Recoded(table.REAL, "-", many)
    found = cells([method], real, CifarFeatures(), qualities=(90, 10), subsamplings=(Subsampling.BOTH,))
    assert [(c.subsampling, c.quality, c.count) for c in found] == [("4:2:0", 90, 40), ("4:2:0", 10, 40)]
    files = list(method.files(10, Subsampling.BOTH))
    assert found[1].bytes_per_file == sum(map(len, files)) / 40
    assert found[0].bytes_per_file > found[1].bytes_per_file
    assert 0 <= found[0].distance < found[1].distance
    decoded = [np.asarray(Image.open(io.BytesIO(data))) for data in files]
    again = statistics(decoded, CifarFeatures(), "cpu")
    distance = frechet_distance(real.mean, real.covariance, again.mean, again.covariance)
    assert found[1].distance == pytest.approx(distance)


def test_generated_row_measures_its_own_files(model: JpegModel, many: NDArray[np.uint8]) -> None:
    method = Generated("ours", model, 70, 5)
    expected = [
        p.data for p in pictures(model, 70, quality=30, subsampling="4:4:4", seed=5, layout="libjpeg")
    ]
    assert list(method.files(30, Subsampling.NONE)) == expected
    told: list[Cell] = []
    real = statistics(list(many), Colours(), "cpu")
    found = cells(
        [method], real, Colours(), qualities=(30,), subsamplings=(Subsampling.NONE,), done=told.append
    )
    assert told == found
    assert found[0].bytes_per_file == sum(map(len, expected)) / 70
    assert found[0].distance > 0


def test_rgb_pictures_of_a_trunk(model: JpegModel) -> None:
    rgb = painted(model, 70, 5)
    assert rgb.shape == (70, 32, 32, 3) and rgb.dtype == np.uint8
    assert np.array_equal(painted(model, 66, 5), rgb[:66])
    direct = JpegModel(fully_connected(32).eval(), "fc", bytes(6), (), torch.device("cpu"))
    with pytest.raises(ModelError, match="no RGB pictures"):
        painted(direct, 1, 0)


def test_features_of_larger_pictures() -> None:
    network = SqueezeFeatures()
    with torch.inference_mode():
        assert network.features(torch.rand(2, 3, 64, 64)).shape == (2, network.dimensions)


def test_statistics_of_another_network_are_refused(many: NDArray[np.uint8]) -> None:
    real = statistics(list(many), Colours(), "cpu")
    with pytest.raises(UsageError, match="of 3 features"):
        cells([], real, CifarFeatures())


def test_layout_of_the_table() -> None:
    def row(method: str, distances: tuple[float, ...]) -> Iterator[Cell]:
        for subsampling in ("4:4:4", "4:2:0"):
            for quality, distance in zip((100, 25), distances, strict=True):
                yield Cell(method, "JPEG", subsampling, quality, distance, 500.4 + quality, 1000)

    rows = [*row(table.PROPOSED, (1.234, 5.0)), *row("another", (2.0, 3.0))]
    text = table.markdown(rows, "some network", 7)
    lines = text.splitlines()
    assert "(some network; N = 1,000; seed 7); in brackets the paper's FID" in lines[0]
    assert lines[2] == "| Method | Generator output | Subsampling | Quality 100 | Quality 25 |"
    assert lines[4] == "| Proposed | JPEG | 4:4:4 | 1.23 (25.57) | 5.00 (54.20) |"
    assert lines[6] == "| another | JPEG | 4:4:4 | 2.00 | 3.00 |"
    assert "| Proposed | JPEG | 4:2:0 | 600 | 525 |" in lines
    assert "(" not in table.markdown([*row(table.PROPOSED, (1.2, 5.0))], "x", 0, paper=False).splitlines()[4]


def test_the_papers_numbers() -> None:
    assert len(table.PAPER_FID) == 15
    assert table.PAPER_FID[(table.REAL, "4:2:0")] == (1.86, 16.30, 32.47, 55.83)
    assert table.PAPER_FID[(table.RGB, "4:2:2")][3] == 63.37
