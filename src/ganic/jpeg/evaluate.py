"""Table I: how far generated JPEG files are from real pictures, at every quality and subsampling.

The distance is that of Frechet between two Gaussians of features (Eq. 6): of all real pictures, uncompressed,
and of the files of a method, decoded by Pillow. With Inception's features it is the FID; with the networks
that ship with ganic it is not, and is named after its network. Each cell also has what the paper leaves out:
bytes per file.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ganic.errors import ModelError, UsageError
from ganic.jpeg import generate
from ganic.jpeg.features import CifarResNet
from ganic.jpeg.model import JpegModel
from ganic.jpeg.noise import draws
from ganic.jpeg.sampling import ALL, Subsampling
from ganic.jpeg.settings import Settings
from ganic.jpeg.synthesis import Noise
from ganic.metrics.frechet import Gaussian, GaussianAccumulator, frechet_distance
from ganic.metrics.inception import InceptionFeatures
from ganic.metrics.squeezenet import CHANNELS, SqueezeNetFeatures

QUALITIES = (100, 75, 50, 25)
BATCH = 250

Pixels = NDArray[np.uint8]


class FeatureNetwork(Protocol):
    """RGB [n, 3, h, w] in 0..1 -> features [n, ``dimensions``]; ``name`` says what it is, in tables."""

    name: str
    identity: str
    """The name, and of which weights where the user gives them."""
    dimensions: int

    def features(self, rgb: Tensor) -> Tensor:
        """On the device of ``rgb``."""
        ...


class CifarFeatures:
    """For 32 x 32 pictures."""

    name = identity = CifarResNet.NAME
    dimensions = CifarResNet.DIMENSIONS

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._network = CifarResNet().to(device)

    def features(self, rgb: Tensor) -> Tensor:
        return self._network(rgb)  # type: ignore[no-any-return]


class SqueezeFeatures:
    """For pictures of 64 x 64 and more: means over positions of SqueezeNet's last layer."""

    name = identity = "ImageNet SqueezeNet 1.1, 512 features"
    dimensions = CHANNELS[-1]

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._network = SqueezeNetFeatures().to(device)

    def features(self, rgb: Tensor) -> Tensor:
        return self._network(rgb)[-1].mean(dim=(2, 3))  # type: ignore[no-any-return]


class FidFeatures:
    """The network of FID, with weights that the user gives."""

    name = "Inception v3, 2048 features: this is FID"
    dimensions = 2048

    def __init__(self, weights: Path, device: torch.device | str = "cpu") -> None:
        self._network = InceptionFeatures(weights).to(device)
        self.identity = f"{self.name} ({hashlib.sha256(weights.read_bytes()).hexdigest()})"

    def features(self, rgb: Tensor) -> Tensor:
        return self._network(rgb)  # type: ignore[no-any-return]


class Method(Protocol):
    """A row of the table: gives JPEG files at any setting, always of the same pictures."""

    name: str
    output: str
    """What its generator emits, for the table."""

    def files(self, quality: int, subsampling: Subsampling) -> Iterator[bytes]:
        """All its files."""
        ...


class Recoded:
    """Pictures compressed by libjpeg: real ones, or those of an RGB generator with post-processing."""

    def __init__(self, name: str, output: str, pictures: Pixels) -> None:
        """``pictures`` uint8 [n, h, w, 3]."""
        self.name, self.output, self._pictures = name, output, pictures

    def files(self, quality: int, subsampling: Subsampling) -> Iterator[bytes]:
        def encoded(picture: Pixels) -> bytes:
            file = io.BytesIO()
            Image.fromarray(picture).save(
                file, "JPEG", quality=quality, subsampling=str(subsampling), optimize=True
            )
            return file.getvalue()

        with ThreadPoolExecutor() as pool:
            for some in _chunks(self._pictures, BATCH):
                yield from pool.map(encoded, some)


class Generated:
    """A generator's own files, laid out as libjpeg's: so that sizes compare coefficients, not writers."""

    def __init__(self, name: str, model: JpegModel, count: int, seed: int) -> None:
        self.name, self.output = name, "JPEG compressed image"
        self._model, self._count, self._seed = model, count, seed

    def files(self, quality: int, subsampling: Subsampling) -> Iterator[bytes]:
        pictures = generate.pictures(
            self._model,
            self._count,
            quality=quality,
            subsampling=subsampling,
            seed=self._seed,
            layout="libjpeg",
        )
        return (picture.data for picture in pictures)


class ByQuality:
    """A row of several generators, each for some qualities, as the paper trains one for each cell."""

    def __init__(self, methods: Mapping[int, Method], otherwise: Method | None = None) -> None:
        """``otherwise``: for qualities that have no method of their own."""
        self._methods, self._otherwise = methods, otherwise
        any_of_them = otherwise or next(iter(methods.values()))
        self.name, self.output = any_of_them.name, any_of_them.output

    def files(self, quality: int, subsampling: Subsampling) -> Iterator[bytes]:
        """Raises as `method`."""
        return self.method(quality).files(quality, subsampling)

    def method(self, quality: int) -> Method:
        """Whose files those of a quality are. Raises UsageError if that is nobody's."""
        method = self._methods.get(quality, self._otherwise)
        if method is None:
            raise UsageError(
                f"{self.name}: no model for quality {quality}; give one, or leave that quality out"
            )
        return method


def painted(model: JpegModel, count: int, seed: int, *, quality: int = 100) -> Pixels:
    """The trunk's own pictures, uint8 [count, s, s, 3]: an RGB generator, to be compressed afterwards.

    Raises ModelError for a generator without a trunk.
    """
    generator = model.generator
    if not generator.has_trunk:
        raise ModelError(f"{model.name}: emits coefficients only; it has no RGB pictures to compress")
    parts = []
    for start in range(0, count, generate.TOGETHER):
        drawn = draws(seed, start, generate.TOGETHER, generator.latent, generator.classes)
        noise = Noise(
            torch.from_numpy(drawn.latent).to(model.device), torch.from_numpy(drawn.label).to(model.device)
        )
        settings = Settings.same(generate.TOGETHER, quality, Subsampling.NONE, model.device)
        rgb = (model.paint(noise, settings)[:, :3] + 1) * 127.5
        parts.append(rgb.round().clamp(0, 255).to("cpu", torch.uint8).permute(0, 2, 3, 1).numpy())
    return np.concatenate(parts)[:count]


@dataclass(frozen=True)
class Cell:
    """One number of the table: ``distance`` of ``count`` files of ``bytes_per_file`` on average."""

    method: str
    output: str
    subsampling: str
    quality: int
    distance: float
    bytes_per_file: float
    count: int


def statistics(pictures: Iterable[Pixels], network: FeatureNetwork, device: torch.device | str) -> Gaussian:
    """The Gaussian of the features of pictures uint8 [h, w, 3], all of one size."""
    gathered = GaussianAccumulator(network.dimensions)
    for some in _chunks(pictures, BATCH):
        stack = np.stack(some)
        rgb = torch.from_numpy(stack).to(device).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            gathered.add(network.features(rgb).float().cpu().numpy())
    return gathered.result()


def cells(
    methods: Sequence[Method],
    real: Gaussian,
    network: FeatureNetwork,
    *,
    qualities: Sequence[int] = QUALITIES,
    subsamplings: Sequence[Subsampling] = ALL,
    device: torch.device | str = "cpu",
    done: Callable[[Cell], object] | None = None,
) -> list[Cell]:
    """Every cell, method by method; ``done`` is told of each. ``real`` must be of the same network."""
    if real.mean.size != network.dimensions:
        raise UsageError(f"statistics: of {real.mean.size} features; {network.name} has {network.dimensions}")
    table = []
    for method in methods:
        for subsampling in subsamplings:
            for quality in qualities:
                sizes: list[int] = []
                pictures = _decoded(method.files(quality, subsampling), sizes)
                found = statistics(pictures, network, device)
                distance = frechet_distance(real.mean, real.covariance, found.mean, found.covariance)
                cell = Cell(
                    method.name,
                    method.output,
                    str(subsampling),
                    quality,
                    distance,
                    sum(sizes) / len(sizes),
                    found.count,
                )
                table.append(cell)
                if done:
                    done(cell)
    return table


def _decoded(files: Iterable[bytes], sizes: list[int]) -> Iterator[Pixels]:
    """What Pillow, that is libjpeg, shows of the files; notes their sizes."""

    def decode(data: bytes) -> Pixels:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    with ThreadPoolExecutor() as pool:
        for some in _chunks(files, BATCH):
            sizes += map(len, some)
            yield from pool.map(decode, some)


T = TypeVar("T")


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
