"""The paper's loss (Eq. 5), and the two runs that use it: the RGB trunk first, then trunk and head together.

With G-hat the trunk, G the whole generator and P the decoder of ``transform.py``:

    D minimises  E D(P(G(z))) - E D(x) + lambda E (||grad D(u)|| - 1)^2,  u between real and generated
    G minimises  -E D(P(G(z))) + gamma E |P(G(z)) - G-hat(z)|

The printed equation has one sign for both players; G maximises D of its pictures and minimises the gamma
term. Distances are means over pixels in -1..1. Without the head (``output = "rgb"``) P(G(z)) is G-hat(z), and
what remains is TTUR's WGAN-GP: the pretraining of the trunk, and rows 2 of the tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ganic.jpeg.direct import convolutional, fully_connected
from ganic.jpeg.discriminator import Discriminator
from ganic.jpeg.generator import JpegGenerator
from ganic.jpeg.sampling import Subsampling
from ganic.jpeg.settings import Settings, draw
from ganic.jpeg.synthesis import Generator, Noise, rendered
from ganic.training.adversarial import gradient_penalty, wasserstein_discriminator, wasserstein_generator
from ganic.training.objective import Batch
from ganic.training.recipes import Table

GENERATOR, DISCRIMINATOR = "generator", "discriminator"
SAMPLES = 64

Quality = Annotated[int, Field(ge=1, le=100)]
NotNegative = Annotated[float, Field(ge=0)]


class JpegSettings(Table):
    """The part of the [objective] table that both objectives have: what settings are trained."""

    qualities: Annotated[tuple[Quality, ...], Field(min_length=1)] = (100, 75, 50, 25)
    anywhere: Annotated[float, Field(ge=0, le=1)] = (
        0.0  # share of pictures with any quality between the extremes
    )
    subsamplings: Annotated[tuple[Subsampling, ...], Field(min_length=1)] = tuple(Subsampling)

    def draw(self, count: int, device: torch.device) -> Settings:
        """Random settings for a batch."""
        return draw(count, self.qualities, self.subsamplings, self.anywhere, device)


class PaperTable(JpegSettings):
    """``[objective]`` of the paper's five methods."""

    kind: Literal["paper"] = "paper"
    size: Literal[32, 64]
    generator: Literal["trunk", "convolutional", "fully_connected"] = "trunk"
    output: Literal["rgb", "jpeg"] = "jpeg"  # what D sees: the trunk's picture, or the decoded coefficients
    gamma: NotNegative = 100.0  # weight of |P(G(z)) - G-hat(z)|
    gradient_penalty: NotNegative = 10.0  # lambda

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.output == "rgb" and self.generator != "trunk":
            raise ValueError(
                'output "rgb" needs generator "trunk": the others have no picture before the decoder'
            )
        return self

    def build_generator(self) -> Generator:
        """With its first weights, from torch's default generator."""
        if self.generator == "trunk":
            return JpegGenerator(self.size)
        return convolutional(self.size) if self.generator == "convolutional" else fully_connected(self.size)


class PaperObjective:
    """Eq. 5 for TTUR's networks.

    Weights are averaged over training, which the paper does not do: rows of a table are then compared without
    the wandering of their last steps. The averages take no part in the loss.
    """

    ema_of: Sequence[str] = (GENERATOR,)

    def __init__(self, table: PaperTable) -> None:
        self.table = table
        self.generator = table.build_generator()
        self.discriminator = Discriminator(table.size)
        self.networks = nn.ModuleDict({GENERATOR: self.generator, DISCRIMINATOR: self.discriminator})

    def players(self, step: int) -> Sequence[str]:
        """One turn each: TTUR replaces the critic's five turns by its larger learning rate."""
        return DISCRIMINATOR, GENERATOR

    def parameters(self, player: str) -> Sequence[nn.Parameter]:
        """Without the head where it takes no part."""
        if player == DISCRIMINATOR:
            return list(self.discriminator.parameters())
        if isinstance(self.generator, JpegGenerator) and self.table.output == "rgb":
            return list(self.generator.trunk.parameters())
        return list(self.generator.parameters())

    def fresh_batch(self, player: str) -> bool:
        return player == DISCRIMINATOR

    def loss(self, player: str, batch: Batch, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        real = batch["image"] * 2 - 1
        if player == DISCRIMINATOR:
            return self._discriminator_loss(real)
        return self._generator_loss(len(real), real.device)

    def _discriminator_loss(self, real: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        with torch.no_grad():
            fake, _ = self._generate(len(real), real.device)
        on_real, on_fake = self.discriminator(torch.cat([real, fake])).chunk(2)
        distance = wasserstein_discriminator(on_real, on_fake)
        penalty = gradient_penalty(self.discriminator, real, fake)
        loss = distance + self.table.gradient_penalty * penalty
        return loss, {"distance": -distance, "penalty": penalty}

    def _generator_loss(self, count: int, device: torch.device) -> tuple[Tensor, Mapping[str, Tensor]]:
        fake, trunk = self._generate(count, device)
        loss = wasserstein_generator(self.discriminator(fake))
        scalars = {}
        if self.table.output == "jpeg" and trunk is not None:
            deviation = (fake - trunk).abs().mean()
            loss = loss + self.table.gamma * deviation
            scalars["deviation"] = deviation
        return loss, scalars

    def _generate(self, count: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """What D sees, and the trunk's picture where there is one; both [count, 3, s, s] in -1..1."""
        settings = self.table.draw(count, device)
        return show(self.generator, self.generator.noise(count, device), settings, self.table.output)

    def after_step(self, step: int, stats: Mapping[str, float]) -> None:
        """Nothing changes but by gradients."""

    def samples(self, batch: Batch, step: int) -> Tensor:
        fake, _ = self._generate(SAMPLES, batch["image"].device)
        return ((fake + 1) / 2).clamp(0, 1)


def show(
    generator: Generator, noise: Noise, settings: Settings, output: Literal["rgb", "jpeg"]
) -> tuple[Tensor, Tensor | None]:
    """What a discriminator sees of these pictures, and the trunk's pictures where there are such."""
    planes = generator(noise, settings.features())
    trunk = planes[:, :3] if generator.has_trunk else None
    if output == "rgb":
        assert trunk is not None
        return trunk, trunk
    return rendered(generator, planes, settings), trunk
