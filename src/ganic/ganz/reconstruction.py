"""Beyond the paper: the generator trained for what it is used for, to reproduce pictures from few bits.

The paper's generator only ever saw random latents; what it can reproduce is a by-product.  Here generator,
learned basis (`ganic.ganz.basis`) and encoder are trained together on

    rate and distortion   bits + price(s)^-1 ||x - G(z + noise)||^2, with the step index s drawn anew for each
                          picture, so that one model serves every rate; noise is uniform, as rounding's error
                          is
    nesting               the same distortion, in decibels, with all but the d most important coefficients set
                          to zero (with a local basis all but a picture's d largest), d = N / R with log R
                          uniform over the paper's ratios: no rounding
    BEGAN                 the paper's own game, with reconstructions among the made pictures; optional

The rate is that of independent Laplace variables with learned scales; the model's shipped tables are better
(they adapt to a picture's activity) and are made afterwards (`ganic.ganz.prior_fit`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ganic.ganz.basis import POSITIONS, KroneckerBasis
from ganic.ganz.direct import deviations
from ganic.ganz.discriminator import Discriminator
from ganic.ganz.encoder import FEATURES, GAIN, Encoder
from ganic.ganz.generator import Generator
from ganic.ganz.latent_coder import RATIO
from ganic.ganz.objective import Equilibrium, reconstruction_error, uniform_latents
from ganic.ganz.random_linear import RATIOS
from ganic.training.objective import Batch


class LearnedScales(nn.Module):
    """The standard deviation of every coefficient [size]; they travel over several decades."""

    SPEED = 8.0
    """The stored number is the logarithm divided by this, so that Adam's equal steps move it faster."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.slow_log = nn.Parameter(torch.log(start) / self.SPEED)

    def forward(self) -> Tensor:
        return torch.exp(self.SPEED * self.slow_log)


def laplace_bits(values: Tensor, scales: Tensor) -> Tensor:
    """-log2 of the probability of [value - 1/2, value + 1/2] under zero-mean Laplace variables, elementwise.

    ``scales``: standard deviations, in the values' units.  Probabilities are floored at 2**-24.
    """
    rate = math.sqrt(2.0) / scales
    size = values.abs()
    # Within half a step of zero both tails count; beyond, one difference of exponentials.
    near = size.clamp(max=0.5)  # torch.where differentiates both of its sides: neither may overflow
    inside = 1 - 0.5 * (torch.exp(-rate * (0.5 - near)) + torch.exp(-rate * (0.5 + near)))
    outside = torch.exp(-rate * (size - 0.5).clamp(min=0)) * 0.5 * (1 - torch.exp(-rate))
    probability = torch.where(size < 0.5, inside, outside).clamp(min=2.0**-24)
    return -torch.log2(probability)


class ReconstructionObjective:
    """A "codec" player (generator, basis, encoder, scales) and, where there is one, a "discriminator".

    Args:
        generator: of the image size of the crops.
        discriminator: None without the adversarial part.
        encoder_features: channels of the encoder at full size.
        local: whether the basis is local, see `ganic.ganz.basis`.
        distortion: bits that a squared error of 1 ([0, 1] pixels, summed) is worth at step index 0.
        steps: the range of step indices that are drawn.
        nested: the share of each batch that trains nesting.
        adversarial: weight of BEGAN's generator loss, relative to bits per number.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator | None,
        *,
        encoder_features: int = FEATURES,
        local: bool = False,
        distortion: float = 400.0,
        steps: tuple[int, int] = (0, 30),
        nested: float = 0.25,
        adversarial: float = 0.0,
        gamma: float = 0.5,
        gain: float = 1e-3,
    ) -> None:
        self.generator, self.discriminator = generator, discriminator
        self.basis = KroneckerBasis(generator.width, local=local)
        path = generator.direct
        lapped = path is not None and path.lapped
        self.encoder = Encoder(
            generator.image_size,
            generator.width,
            encoder_features,
            direct=path is not None,
            lapped=lapped,
            local=local,
        )
        spread = torch.ones(generator.width)
        if path is not None:
            spread = deviations(generator.width, path.side, lapped=lapped).float()
        self.scales = LearnedScales((GAIN * spread).repeat_interleave(POSITIONS))
        with torch.no_grad():
            self.basis.channels.div_(GAIN * spread)  # h0 begins at the size the generator is made for
        self.equilibrium = Equilibrium(gamma, gain)
        self.distortion, self.steps, self.nested, self.adversarial = distortion, steps, nested, adversarial
        self._networks = nn.ModuleDict(
            {
                "generator": generator,
                "basis": self.basis,
                "encoder": self.encoder,
                "scales": self.scales,
                "equilibrium": self.equilibrium,
            }
        )
        if discriminator is not None:
            self._networks["discriminator"] = discriminator

    @property
    def networks(self) -> nn.ModuleDict:
        return self._networks

    @property
    def ema_of(self) -> Sequence[str]:
        return ("generator", "basis", "encoder", "scales")

    def players(self, step: int) -> Sequence[str]:
        return ("codec",) if self.discriminator is None else ("discriminator", "codec")

    def parameters(self, player: str) -> Sequence[nn.Parameter]:
        if player == "discriminator":
            assert self.discriminator is not None
            return list(self.discriminator.parameters())
        return [p for name in self.ema_of for p in self._networks[name].parameters()]

    def fresh_batch(self, player: str) -> bool:
        return False

    def loss(self, player: str, batch: Batch, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        if player == "discriminator":
            return self._discriminator_loss(batch["image"])
        return self._codec_loss(batch["image"])

    def _codec_loss(self, real: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        cut = round(len(real) * (1 - self.nested))
        coefficients = self.encoder(real).float()
        numbers = real[0].numel()

        # Rate and distortion, in bits per number of the picture.
        indices = torch.randint(self.steps[0], self.steps[1] + 1, (cut, 1), device=real.device)
        quantiser = RATIO ** indices.float()
        values = coefficients[:cut] / quantiser
        values = values + torch.rand_like(values) - 0.5
        bits = laplace_bits(values, self.scales() / quantiser).sum(1)
        coded = self.generator.synthesise(self.basis(values * quantiser)).float()
        errors = (coded - real[:cut]).square().flatten(1).sum(1)
        worth = self.distortion * quantiser[:, 0] ** -2
        # Fine steps cost a hundred times more bits and errors than coarse ones; without a counterweight,
        # theirs would be the only gradient that counts.
        balance = quantiser[:, 0] / RATIO ** (0.5 * sum(self.steps))
        loss = (balance * (bits + worth * errors)).sum() / (numbers * len(real))
        scalars = {"bits": bits.mean() / numbers, "psnr": _psnr(errors / numbers)}

        made = [coded]
        if cut < len(real):
            nested = self.generator.synthesise(self.basis(self._nest(coefficients[cut:], numbers))).float()
            mse = (nested - real[cut:]).square().flatten(1).mean(1)
            # A decibel counts alike at every ratio; 1/6 bit per number and decibel is the theory's exchange.
            loss = loss + (10 / 6.02) * torch.log10(mse + 1e-6).sum() / len(real)
            scalars["nested_psnr"] = _psnr(mse)
            made.append(nested)
        if self.discriminator is not None:
            made.append(
                self.generator(
                    uniform_latents(max(1, len(real) // 2), self.generator.latent_dim, real)
                ).float()
            )
            fake = reconstruction_error(self.discriminator, torch.cat(made))
            loss = loss + self.adversarial * fake
            scalars["fake"] = fake
        return loss, scalars

    def _nest(self, coefficients: Tensor, numbers: int) -> Tensor:
        """Coefficients [n, width * 64] with all but the d most important of each row set to zero."""
        low, high = (math.log(r) for r in RATIOS)
        ratios = torch.exp(low + (high - low) * torch.rand(len(coefficients), 1, device=coefficients.device))
        importance = self.scales.slow_log if not self.basis.local else self.basis.sizes(coefficients)
        order = torch.argsort(importance.detach(), descending=True, stable=True)
        ranks = torch.arange(order.shape[-1], device=order.device).expand(order.shape)
        rank = torch.empty_like(order).scatter_(-1, order, ranks)
        return coefficients * (rank < numbers / ratios)

    def _discriminator_loss(self, real: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        assert self.discriminator is not None
        with torch.no_grad():
            made = self.generator(uniform_latents(max(1, len(real) // 2), self.generator.latent_dim, real))
            again = self.generator.synthesise(self.basis(self.encoder(real)))
        true_error = reconstruction_error(self.discriminator, real)
        made_error = reconstruction_error(self.discriminator, torch.cat([made, again]))
        loss = true_error - self.equilibrium.k * made_error
        return loss, {"real": true_error, "fake": made_error, "k": self.equilibrium.k}

    def after_step(self, step: int, stats: Mapping[str, float]) -> None:
        if self.discriminator is not None:
            self.equilibrium.update(stats["discriminator/real"], stats["codec/fake"])

    @torch.no_grad()
    def samples(self, batch: Batch, step: int) -> Tensor:
        """Pictures of the batch, then the same coded at a fine, a middle and a coarse step."""
        real = batch["image"][:8]
        coefficients = self.encoder(real).float()
        rows = [real]
        for index in (self.steps[0], sum(self.steps) // 2, self.steps[1]):
            quantiser = RATIO**index
            rows.append(
                self.generator.synthesise(self.basis(torch.round(coefficients / quantiser) * quantiser))
            )
        return torch.cat([row.float() for row in rows]).clamp(0, 1)


def _psnr(mse: Tensor) -> Tensor:
    """Mean PSNR [dB] of pictures with these mean squared errors [n]."""
    return (-10 * torch.log10(mse.detach() + 1e-10)).mean()
