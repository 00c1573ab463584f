"""The learned entropy model H(w-hat) of the compact codec: a mean-scale hyperprior with four passes.

This is the model as it is trained.  Every operation that decides a probability is already simulated with the
integers of :mod:`ganic.extreme.integer_prior`, which runs it exactly: activations live on a grid of 1/16 in
[0, 255/16], weights are 8-bit integers per output channel, and no partial sum can reach 2**24
(:mod:`ganic.extreme.integer_conv`).  What symbols cost is in :mod:`ganic.extreme.symbol_costs`.

Structure (E[H(w-hat)] of Eq. 4 in the GC papers is :attr:`PriorOutput.bits`):

- hyper-encoder (float, encoder only): gained latent -> hyper-latent z at 1/4 of the latent's resolution;
- z is coded with one integer mean and scale per channel and quality band;
- hyper-decoder (integer): z-hat -> features psi at the latent's resolution;
- four passes: the channel group ``g`` of a position with parity ``(i % 2, j % 2)`` is coded in pass
  ``g XOR (2 * (i % 2) + j % 2)``.  Each pass codes one group everywhere and sees all earlier ones, its own
  position's and its neighbours'.  (Checkerboard contexts: arXiv:2103.15306; four passes: arXiv:2303.03041.)
- each symbol s is coded with a table chosen by an integer scale index; the latent is s + mean, with the mean
  in 1/16.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganic.extreme.conditioning import QUALITIES, QualityTable, anchor_weights
from ganic.extreme.integer_conv import GRID, IntegerConv, activate, context_input, hyper_input
from ganic.extreme.symbol_costs import (
    SCALES,
    index_of_scale,
    nearest_index,
    nearest_symbols,
    quantised,
    rate_bits,
)
from ganic.extreme.tiling import CELL
from ganic.straight_through import round_through

MEAN_LIMIT = 4095
SCALE_UNIT = 16
"""The scale head's output 1.0 is 16 steps of the scale index."""
GROUPS = 4
BANDS = 64
"""Quality bands: hyper-latent priors and psi's bias are stored for every fourth quality index."""


def band_of(quality: Tensor) -> Tensor:
    """The first quality index of each index's band."""
    return torch.div(quality, QUALITIES // BANDS, rounding_mode="floor") * (QUALITIES // BANDS)


def every_band(device: torch.device | str = "cpu") -> Tensor:
    """The first quality index of every band [BANDS]."""
    return torch.arange(BANDS, device=device) * (QUALITIES // BANDS)


def pass_masks(channels: int, height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Boolean [GROUPS, channels, height, width]: which symbols each pass codes.  A partition."""
    group = torch.arange(channels, device=device) // (channels // GROUPS)
    rows = torch.arange(height, device=device) % 2
    columns = torch.arange(width, device=device) % 2
    phase = 2 * rows[:, None] + columns[None, :]
    order = group[:, None, None] ^ phase[None]
    return torch.stack([order == p for p in range(GROUPS)])


class HyperEncoder(nn.Module):
    """Gained latent [n, latent, h, w] (h, w multiples of 4) -> hyper-latent [n, hyper, h/4, w/4]; float."""

    def __init__(self, latent: int, hidden: int, hyper: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(latent, hidden, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(hidden, hidden, 5, stride=2, padding=2),
            nn.LeakyReLU(0.1),
            nn.Conv2d(hidden, hyper, 5, stride=2, padding=2),
        )

    def forward(self, y: Tensor) -> Tensor:
        out: Tensor = self.layers(y)
        return out


class HyperDecoder(nn.Module):
    """z-hat [n, hyper, h, w] -> psi [n, features, 4h, 4w]; integer."""

    def __init__(self, hyper: int, features: int) -> None:
        super().__init__()
        self.first = IntegerConv(hyper, features)
        self.second = IntegerConv(features, features)
        self.third = IntegerConv(features, features)
        self.quality = QualityTable(features)

    def forward(self, z: Tensor, quality: Tensor) -> Tensor:
        x = activate(self.first(hyper_input(z)))
        x = activate(self.second(F.interpolate(x, scale_factor=2.0, mode="nearest")))
        x = self.third(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return activate(x + self.quality(quality))


class ContextPass(nn.Module):
    """One pass: psi and the latents coded so far -> integer mean and scale index of every symbol."""

    def __init__(self, latent: int, features: int, hidden: int, context: int) -> None:
        super().__init__()
        self.context = IntegerConv(latent, context) if context else None
        self.first = IntegerConv(features + context, hidden, 1)
        self.second = IntegerConv(hidden, hidden, 1)
        self.head = IntegerConv(hidden, 2 * latent, 1, gain=0.3)

    def forward(self, psi: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        if self.context is not None:
            psi = torch.cat([psi, activate(self.context(context_input(known)))], dim=1)
        mean, scale = self.head(activate(self.second(activate(self.first(psi))))).chunk(2, dim=1)
        mean = round_through(mean.clamp(-MEAN_LIMIT / GRID, MEAN_LIMIT / GRID) * GRID) / GRID
        return mean, nearest_index(scale * SCALE_UNIT)


@dataclass(frozen=True)
class PriorOutput:
    """What the entropy model says of one batch."""

    latent: Tensor
    """y-hat [n, latent, h, w]: quantised, in gained units; for its gradient see :func:`quantised`."""
    bits: Tensor
    """Expected code length per picture [n], hyper-latent included."""
    hyper_bits: Tensor
    """The hyper-latent's share [n]."""


class Prior(nn.Module):
    """The whole entropy model; see the module's docstring.

    Args:
        latent: channels of the latent, a multiple of 4.
        hyper: channels of the hyper-latent.
        features: channels of psi.
        hidden: channels of each pass's 1x1 layers.
        context: channels of each pass's 3x3 context layer.
        price: what a bit of the latent is worth when its symbols are chosen, see :func:`nearest_symbols`.
    """

    def __init__(
        self,
        latent: int = 128,
        hyper: int = 64,
        features: int = 128,
        hidden: int = 160,
        context: int = 96,
        price: float = 0.0,
    ) -> None:
        super().__init__()
        self.price = price
        self.latent = latent
        self.hyper = hyper
        self.hyper_encoder = HyperEncoder(latent, features, hyper)
        self.hyper_decoder = HyperDecoder(hyper, features)
        self.passes = nn.ModuleList(
            ContextPass(latent, features, hidden, context if p else 0) for p in range(GROUPS)
        )
        self.expect(torch.ones(latent))
        self.hyper_mean = QualityTable(hyper)
        self.hyper_index = QualityTable(hyper, 8.0 / SCALES)  # in units of all scales, so that it can move

    @torch.no_grad()
    def expect(self, deviations: Tensor) -> None:
        """Set where training starts from: standard deviations [latent] of the gained latent."""
        index = index_of_scale(deviations).clamp(0, SCALES - 1)
        for network in self.passes:
            assert isinstance(network, ContextPass)
            network.head.bias[self.latent :] = index / SCALE_UNIT

    def hyper_prior(self, quality: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (in 1/16) and scale index of the hyper-latent for the band of each quality index."""
        band = band_of(quality)
        mean = round_through(self.hyper_mean(band) * GRID) / GRID
        return mean, nearest_index(self.hyper_index(band) * SCALES)

    @torch.no_grad()
    def integers(self) -> dict[str, Tensor]:
        """Everything that decides a probability, in integers (the tables aside)."""
        bands = every_band(self.hyper_mean.anchors.device)
        mean, index = self.hyper_prior(bands)
        third = self.hyper_decoder.third
        assert third.bias is not None
        layers = {
            "hyper_decoder.first": self.hyper_decoder.first.integers(),
            "hyper_decoder.second": self.hyper_decoder.second.integers(),
            "hyper_decoder.third": third.integers(third.bias + self.hyper_decoder.quality(bands)[:, :, 0, 0]),
        }
        for number, network in enumerate(self.passes):
            assert isinstance(network, ContextPass)
            if network.context is not None:
                layers[f"passes.{number}.context"] = network.context.integers()
            layers[f"passes.{number}.first"] = network.first.integers()
            layers[f"passes.{number}.second"] = network.second.integers()
            unit = torch.ones(2 * self.latent, dtype=torch.float64, device=mean.device)
            unit[self.latent :] = SCALE_UNIT / GRID
            layers[f"passes.{number}.head"] = network.head.integers(unit=unit)
        tensors = {
            f"{layer}.{name}": value for layer, parts in layers.items() for name, value in parts.items()
        }
        tensors["hyper_mean"] = torch.round(mean[:, :, 0, 0] * GRID).to(torch.int16)
        tensors["hyper_index"] = index[:, :, 0, 0].to(torch.uint8)
        return tensors

    @staticmethod
    def reals(integers: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state that `integers` made these of, but for its rounding; the hyper-encoder is not in it."""
        state: dict[str, Tensor] = {}
        layers = {key.removesuffix(".shift") for key in integers if key.endswith(".shift")}
        for layer in sorted(layers):
            parts = {part: integers[f"{layer}.{part}"] for part in ("weight", "bias", "multiplier", "shift")}
            unit = torch.ones(len(parts["multiplier"]), dtype=torch.float64)
            if layer.endswith(".head"):
                unit[len(unit) // 2 :] = SCALE_UNIT / GRID  # scales come after means
            state |= {f"{layer}.{name}": value for name, value in IntegerConv.reals(parts, unit).items()}
        # Stored for every band: the table that comes closest, and nothing left for the bias.
        banded = state["hyper_decoder.third.bias"]
        state["hyper_decoder.third.bias"] = torch.zeros(banded.shape[1])
        state["hyper_decoder.quality.anchors"] = anchors_of(banded)
        state["hyper_mean.anchors"] = anchors_of(integers["hyper_mean"].float() / GRID)
        state["hyper_index.anchors"] = anchors_of(integers["hyper_index"].float() / SCALES)
        return state

    def forward(self, y: Tensor, quality: Tensor, coded: Tensor | None = None) -> PriorOutput:
        """The entropy model of one batch.

        Args:
            y: gained latent [n, latent, h, w], h and w multiples of 4.
            quality: indices [n], or a map [n, h, w].
            coded: heat map [n, 1, h, w] of zeros and ones; symbols at zeros do not exist.  None: all do.
        """
        # Always float32: bf16 has 8 bits, and means in 1/16 need more.
        with torch.autocast(y.device.type, enabled=False):
            return self._forward(y.float(), quality, None if coded is None else coded.float())

    def _forward(self, y: Tensor, quality: Tensor, coded: Tensor | None) -> PriorOutput:
        coarse_quality, coarse_coded = quality, None
        if coded is not None:
            y, coarse_coded = y * coded, F.max_pool2d(coded, CELL)
        if quality.ndim == 3:
            among = quality if coded is None else quality * coded[:, 0]
            coarse_quality = F.max_pool2d(among, CELL)
        z = self.hyper_encoder(y)
        z_mean, z_index = self.hyper_prior(coarse_quality)
        z_symbols = nearest_symbols(z - z_mean)
        hyper_bits = _sum(rate_bits(z - z_mean, z_index, z_symbols), coarse_coded)
        z_hat = quantised(z, z_mean, z_symbols)
        psi = self.hyper_decoder(z_hat if coarse_coded is None else z_hat * coarse_coded, quality)

        masks = pass_masks(self.latent, y.shape[2], y.shape[3], y.device)
        known = torch.zeros_like(y)
        mean, index, symbols = torch.zeros_like(y), torch.zeros_like(y), torch.zeros_like(y)
        for mask, network in zip(masks, self.passes, strict=True):
            pass_mean, pass_index = network(psi, known)
            pass_symbols = nearest_symbols(y - pass_mean, pass_index, self.price)
            value = quantised(y, pass_mean, pass_symbols)
            known = torch.where(mask, value if coded is None else value * coded, known)
            mean = torch.where(mask, pass_mean, mean)
            index = torch.where(mask, pass_index, index)
            symbols = torch.where(mask, pass_symbols, symbols)
        bits = _sum(rate_bits(y - mean, index, symbols), coded)
        return PriorOutput(latent=known, bits=bits + hyper_bits, hyper_bits=hyper_bits)


def anchors_of(banded: Tensor) -> Tensor:
    """The anchors [ANCHORS, channels] of a `QualityTable` with these values [BANDS, channels]."""
    anchors: Tensor = torch.linalg.lstsq(anchor_weights(every_band()).double(), banded.double()).solution
    return anchors.float()


def _sum(bits: Tensor, coded: Tensor | None) -> Tensor:
    """Per picture [n], over the positions that are coded."""
    return (bits if coded is None else bits * coded).flatten(1).sum(1)
