"""A learned first layer with nested latents: h0 = mean + C Z S^T, most important numbers first.

h0 is a picture of 8 x 8 positions with 128 channels.  A basis for it that is a Kronecker product, one matrix
over channels and one over positions, has 20,480 numbers instead of 67 million, and turns h0 into coefficients
Z [channel, frequency] of very unequal variance.  Ordered by that variance, the first d of them are the best
d: one layer for every compression ratio, where the paper draws a new random layer for each.

It is either fitted to h0 maps (principal components over channels and over positions, `fit`) or trained with
generator and encoder (`ganic.ganz.reconstruction`), starting from cosines.

Faces have their eyes in one place; in photographs what is sharp can be anywhere, and is best chosen anew for
each (`ChosenLinear`).  A *local* basis therefore keeps all channels by position but the `SMOOTH` first, which
begin as the means of blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganic.errors import UsageError
from ganic.ganz.generator import SIDE, WIDTH
from ganic.separable import dct

POSITIONS = SIDE * SIDE

SMOOTH = 3
"""Channels whose positions a local basis turns into frequencies: three colours' means of blocks."""

SMALLEST = 1e-4
"""No coefficient counts as varying less than this share of the one that varies most."""


class KroneckerBasis(nn.Module):
    """Coefficients [n, width * 64] (channel-major) -> h0 [n, width * 64].

    ``local``: only the smooth channels' 64 numbers are frequencies, the others' are positions; and the lowest
    frequencies come in larger units, so that all coefficients have about the same range.
    """

    def __init__(self, width: int = WIDTH, *, local: bool = False) -> None:
        super().__init__()
        self.width, self.local = width, local
        self.channels = nn.Parameter(torch.eye(width))
        self.space = nn.Parameter(cosines())
        self.mean = nn.Parameter(torch.zeros(width * POSITIONS))
        self.units: Tensor
        self.register_buffer("units", units(width, local=local), persistent=False)

    def forward(self, coefficients: Tensor) -> Tensor:
        # In float32 under autocast too: bf16 would round the large coefficients more coarsely than a
        # quantiser.
        with torch.autocast(coefficients.device.type, enabled=False):
            z = (coefficients.float() * self.units).view(-1, self.width, POSITIONS)
            return (self.channels @ turned(z, self.space.mT, local=self.local)).flatten(1) + self.mean

    def sizes(self, coefficients: Tensor) -> Tensor:
        """How large coefficients [n, width * 64], or their standard deviations, are in one common unit."""
        return coefficients.abs() * self.units


@dataclass(frozen=True)
class Fitted:
    """A basis, and the standard deviation [width * 64] of each coefficient over what it was fitted to."""

    basis: KroneckerBasis
    scales: Tensor


def fit(h0: Tensor) -> Fitted:
    """Principal components over channels and over positions of h0 maps [n, width * 64], n >= 2.

    Columns are in descending order of variance, each with its largest component positive.
    Raises UsageError if there are fewer than two maps.
    """
    if len(h0) < 2:
        raise UsageError(f"basis: {len(h0)} h0 maps; at least two are needed")
    width = h0.shape[1] // POSITIONS
    maps = h0.double().view(len(h0), width, POSITIONS)
    mean = maps.mean(dim=0)
    centred = maps - mean
    basis = KroneckerBasis(width)
    channels = _components(torch.einsum("ncs,nds->cd", centred, centred))
    space = _components(torch.einsum("ncs,nct->st", centred, centred))
    coefficients = channels.mT @ centred @ space
    with torch.no_grad():
        basis.channels.copy_(channels)
        basis.space.copy_(space)
        basis.mean.copy_(mean.flatten())
    return Fitted(basis, coefficients.square().mean(dim=0).sqrt().flatten().float())


class ChosenLinear(nn.Module):
    """Some coefficients of a basis as a first layer, others for each picture: latents [n, d] -> h0.

    Latents are in units of their standard deviations, so that a search sees every one alike.

    Args:
        basis: the layer behind.
        scales: standard deviation of every coefficient [width * 64].
        places: which coefficients each picture has [n, d].
    """

    def __init__(self, basis: KroneckerBasis, scales: Tensor, places: Tensor) -> None:
        super().__init__()
        self.basis, self.inputs = basis, places.shape[1]
        self.places: Tensor
        self.scales: Tensor
        self.register_buffer("places", places, persistent=False)
        # Coefficients that never varied in training keep a way to move.
        self.register_buffer(
            "scales", scales.clamp(min=SMALLEST * float(scales.max()))[places], persistent=False
        )

    @classmethod
    def of(cls, basis: KroneckerBasis, scales: Tensor, coefficients: Tensor, inputs: int) -> ChosenLinear:
        """The ``inputs`` largest of each picture's coefficients [n, width * 64], as wavelet coders choose."""
        return cls(basis, scales, basis.sizes(coefficients).topk(inputs, dim=1).indices)

    def forward(self, z: Tensor) -> Tensor:
        spread = z.new_zeros(len(z), self.basis.width * POSITIONS)
        places = self.places.expand(len(z), -1)
        h0: Tensor = self.basis(spread.scatter(1, places, z * self.scales))
        return h0

    def latents(self, coefficients: Tensor) -> Tensor:
        """The latents [n, d] of coefficients [n, width * 64], say an encoder's: the rest is dropped."""
        return coefficients.gather(1, self.places.expand(len(coefficients), -1)) / self.scales


class NestedLinear(ChosenLinear):
    """The ``inputs`` most important coefficients of a basis, the same for all pictures."""

    def __init__(self, basis: KroneckerBasis, scales: Tensor, inputs: int) -> None:
        if not 1 <= inputs <= len(scales):
            raise UsageError(f"first layer: a latent of {inputs} numbers; 1 to {len(scales)} are possible")
        order = torch.argsort(basis.sizes(scales), descending=True, stable=True)
        super().__init__(basis, scales, order[None, :inputs])


def turned(z: Tensor, matrix: Tensor, *, local: bool) -> Tensor:
    """[n, width, 64] times a matrix [64, 64] between positions and frequencies; of a local basis only the
    smooth channels are."""
    if not local:
        return z @ matrix
    return torch.cat([z[:, :SMOOTH] @ matrix, z[:, SMOOTH:]], dim=1)


def units(width: int, *, local: bool) -> Tensor:
    """Of coefficients [width * 64], in their common unit: 1, but more for the lowest frequencies of a local
    basis's smooth channels, from 8 for the mean."""
    found = torch.ones(width, POSITIONS)
    if local:
        places = sorted(((u, v) for u in range(SIDE) for v in range(SIDE)), key=_zigzag)
        found[:SMOOTH] = torch.tensor([2.0 ** max(3 - u - v, 0) for u, v in places])
    return found.flatten()


def cosines() -> Tensor:
    """The orthonormal two-dimensional DCT-II of 8 x 8 positions [64, 64], columns in zigzag order."""
    one = dct(SIDE).mT
    order = sorted(((u, v) for u in range(SIDE) for v in range(SIDE)), key=_zigzag)
    columns = [torch.outer(one[:, u], one[:, v]).flatten() for u, v in order]
    return torch.stack(columns, dim=1).float()


def _zigzag(place: tuple[int, int]) -> tuple[int, int]:
    u, v = place
    return u + v, u if (u + v) % 2 else v


def _components(covariance: Tensor) -> Tensor:
    """Eigenvectors as columns, largest eigenvalue first, signs fixed."""
    vectors = torch.linalg.eigh(covariance).eigenvectors.flip(1)
    largest = vectors.abs().argmax(dim=0, keepdim=True)
    signs: Tensor = vectors.gather(0, largest).sign()
    components: Tensor = vectors * signs
    return components
