"""Linear measurements y = A x + noise of pictures, for compressive sensing (Bora et al., arXiv:1703.03208).

Both kinds keep lengths on average, E |A x|^2 = |x|^2, and name their matrix by a seed.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from numpy.random import Generator as NumpyGenerator
from torch import Tensor

from ganic.errors import UsageError
from ganic.ganz.random_stream import Purpose, normal, permutation, signs, stream, uniform24


class Measurement(Protocol):
    """A: pictures as rows [n, numbers] -> measurements [n, count], and its transpose."""

    numbers: int
    count: int

    def forward(self, x: Tensor) -> Tensor: ...

    def adjoint(self, y: Tensor) -> Tensor: ...


class GaussianMeasurement:
    """Independent N(0, 1 / count) entries, as the paper's Fig. 8.

    Stored: 4 * count * numbers bytes (0.8 GB for 4000 of 49152).  Entries come from NumPy's normal generator
    on a Philox stream, which is fast; nobody stores measurements, so they may differ between NumPy versions.
    """

    def __init__(self, numbers: int, count: int, seed: int = 0, device: str | torch.device = "cpu") -> None:
        _check(numbers, count)
        self.numbers, self.count = numbers, count
        generator = NumpyGenerator(stream(seed, Purpose.SENSING_GAUSS))
        matrix = generator.standard_normal((count, numbers), dtype=np.float32)
        matrix *= np.float32(1 / math.sqrt(count))
        self.matrix = torch.from_numpy(matrix).to(device)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.matrix.mT

    def adjoint(self, y: Tensor) -> Tensor:
        return y @ self.matrix


class StructuredMeasurement:
    """Random signs, a random orthogonal circulant, ``count`` of its ``numbers`` outputs: nothing stored.

    The circulant's spectrum has modulus one and random phases, so that a product costs two Fourier
    transforms.
    """

    def __init__(self, numbers: int, count: int, seed: int = 0, device: str | torch.device = "cpu") -> None:
        _check(numbers, count)
        self.numbers, self.count = numbers, count
        random_signs = signs(seed, Purpose.SENSING_SIGNS, numbers).astype(np.float32)
        self.signs = torch.from_numpy(random_signs).to(device)
        phases = (
            torch.from_numpy(uniform24(seed, Purpose.SENSING_FILTER, numbers // 2 + 1)).double() * math.pi
        )
        phases[0] = 0.0  # real where a real filter's spectrum has to be
        if numbers % 2 == 0:
            phases[-1] = 0.0
        self.spectrum = torch.polar(torch.ones_like(phases), phases).to(device, torch.complex64)
        places = permutation(seed, Purpose.SENSING_ROWS, numbers)[:count].copy()
        self.places = torch.from_numpy(places).to(device)
        self.gain = math.sqrt(numbers / count)

    def forward(self, x: Tensor) -> Tensor:
        turned: Tensor = torch.fft.irfft(torch.fft.rfft(x * self.signs) * self.spectrum, n=self.numbers)
        return turned[:, self.places] * self.gain

    def adjoint(self, y: Tensor) -> Tensor:
        spread = y.new_zeros(len(y), self.numbers).index_copy(1, self.places, y * self.gain)
        turned: Tensor = torch.fft.irfft(torch.fft.rfft(spread) * self.spectrum.conj(), n=self.numbers)
        return turned * self.signs


def measure(measurement: Measurement, pictures: Tensor, noise: float = 0.0, seed: int = 0) -> Tensor:
    """y = A x + noise e [n, count] of pictures [n, 3, s, s]; e is standard normal, ``noise`` its deviation.

    Raises UsageError if the noise is negative or not finite.
    """
    if not 0 <= noise < math.inf:
        raise UsageError(f"noise: {noise} is no standard deviation; give 0 or more")
    y = measurement.forward(pictures.flatten(1))
    if noise:
        # The same for every picture, so that a picture's place in a batch does not matter.
        draws = torch.from_numpy(normal(seed, Purpose.NOISE, measurement.count))
        y = y + noise * draws.to(y.device)
    return y


def _check(numbers: int, count: int) -> None:
    if not 1 <= count <= numbers:
        raise UsageError(
            f"measurements: {count} of a picture of {numbers} numbers; 1 to {numbers} are possible"
        )
