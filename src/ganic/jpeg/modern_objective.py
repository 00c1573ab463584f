"""What 2020s adversarial training makes of the paper's system: one checkpoint for every setting and class.

StyleGAN2's generator (Karras et al. 2020), a discriminator that looks through pretrained features as well as
by itself (`ganic.jpeg.modern_discriminator`), a classifier whose gradients tell what a class looks like
(`ganic.jpeg.classifier`), a way to go for features in means and covariances (`ganic.jpeg.transport`), the
hinge loss, one turn each, a moving average of the generator, differentiable augmentation (Zhao et al. 2020).

The real pictures are uncompressed whatever the setting. Eq. 5's gamma holds the decoded picture to the
trunk's own, so that no compressed picture is better than its own compression; here gamma falls to zero, and
the generator is free to choose the coefficients whose decoded picture looks most real.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ganic.jpeg.classifier import Classifier
from ganic.jpeg.modern_discriminator import ModernDiscriminator, Verdict
from ganic.jpeg.modern_generator import FIRST_SIDE, ModernGenerator
from ganic.jpeg.objective import DISCRIMINATOR, GENERATOR, SAMPLES, JpegSettings, NotNegative, show
from ganic.jpeg.synthesis import Noise
from ganic.jpeg.transport import Transport
from ganic.metrics.squeezenet import CHANNELS
from ganic.training.adversarial import (
    Change,
    diff_augment,
    hinge_discriminator,
    hinge_generator,
)
from ganic.training.objective import Batch
from ganic.training.recipes import Count, Positive, Table

CLASSIFIER, JUDGE = "classifier", "judge"
TRANSPORT = "transport"

Widths = Annotated[tuple[Positive, ...], Field(min_length=3)]


class Falling(Table):
    """A weight that falls linearly from ``start`` to ``end`` over ``steps``, and stays there."""

    start: NotNegative = 0.0
    end: NotNegative = 0.0
    steps: Count = 0

    def at(self, step: int) -> float:
        """The weight at a 0-based step."""
        return self.end if step >= self.steps else self.start + (self.end - self.start) * step / self.steps


class ModernTable(JpegSettings):
    """``[objective]`` of the stronger recipe."""

    kind: Literal["modern"]
    widths: Widths  # the generator's channels at sides 4, 8, ..., size
    critic_width: Positive = 64  # channels of the discriminator's projections and heads
    classes: Count = 0  # 0: unconditional
    class_names: tuple[str, ...] = ()  # what the labels 0, 1, ... mean, for the exported model
    features: Count = 8  # planes of block features that correct the coefficients; 0: the head alone
    output: Literal["rgb", "jpeg"] = "jpeg"
    gamma: Falling = Falling()
    augment: tuple[Change, ...] = ()
    classify: NotNegative = 0.0  # weight in G's loss of how well a classifier tells the class it meant
    transport: NotNegative = 0.0  # weight in G's loss of how far frozen features are from real classes'

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.classes == 1:
            raise ValueError("classes: 1 is no choice; use 0")
        if self.class_names and len(self.class_names) != self.classes:
            raise ValueError(f"class_names: {len(self.class_names)} names for {self.classes} classes")
        if self.classify and not self.classes:
            raise ValueError("classify: there are no classes to tell; set classes, or classify to 0")
        return self

    @property
    def size(self) -> int:
        """Side of the pictures."""
        return FIRST_SIDE << (len(self.widths) - 1)


JUDGE_DECAY = 0.995
"""Of the average over the classifier's steps, which tells better than its last step, and judges what is
generated."""


class ModernObjective:
    """Eq. 5 with another GAN loss, other networks, and a gamma that falls."""

    ema_of: Sequence[str] = (GENERATOR,)

    def __init__(self, table: ModernTable) -> None:
        self.table = table
        self.generator = ModernGenerator(table.widths, table.features, table.classes)
        self.discriminator = ModernDiscriminator(table.size, table.critic_width, table.classes)
        self.classifier = Classifier(table.size, table.classes) if table.classify else None
        self.judge = _averaged(self.classifier) if self.classifier is not None else None
        self.transport = Transport(CHANNELS, table.classes) if table.transport else None
        self.networks = nn.ModuleDict({GENERATOR: self.generator, DISCRIMINATOR: self.discriminator})
        if self.classifier is not None and self.judge is not None:
            self.networks[CLASSIFIER], self.networks[JUDGE] = self.classifier, self.judge
        if self.transport is not None:
            self.networks[TRANSPORT] = self.transport

    def players(self, step: int) -> Sequence[str]:
        return tuple(p for p in (DISCRIMINATOR, CLASSIFIER, GENERATOR) if p in self.networks)

    def parameters(self, player: str) -> Sequence[nn.Parameter]:
        """All but the head's: its exact transforms lose nothing; trunk and corrections do the choosing."""
        return [p for name, p in self.networks[player].named_parameters() if not name.startswith("head.")]

    def fresh_batch(self, player: str) -> bool:
        return player == DISCRIMINATOR

    def loss(self, player: str, batch: Batch, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        real = batch["image"] * 2 - 1
        if player == GENERATOR:
            return self._generator_loss(len(real), real.device, step)
        if player == CLASSIFIER:
            return self._classifier_loss(real, batch["label"]), {}
        label = batch["label"] if self.table.classes else torch.zeros(len(real), device=real.device).long()
        return self._discriminator_loss(real, label)

    def _discriminator_loss(self, real: Tensor, label: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        table = self.table
        settings = table.draw(len(real), real.device)
        with torch.no_grad():
            # The labels of the real pictures: the discriminator compares within a class.
            noise = Noise(self.generator.noise(len(real), real.device).latent, label)
            fake, _ = show(self.generator, noise, settings, table.output)
        features = settings.features()

        on_real, on_fake = (self._verdict(pictures, label, features) for pictures in (real, fake))
        loss = hinge_discriminator(on_real.logits, on_fake.logits)
        scalars = {
            "real": on_real.projected.mean(),
            "fake": on_fake.projected.mean(),
            "native_real": on_real.native.mean(),
            "native_fake": on_fake.native.mean(),
        }
        if self.transport is not None:
            self.transport.update(on_real.means, label, real=True)
            self.transport.update(on_fake.means, label, real=False)
        return loss, scalars

    def _classifier_loss(self, real: Tensor, label: Tensor) -> Tensor:
        """Of real pictures alone: nothing the generator does may teach what a class looks like."""
        assert self.classifier is not None and self.judge is not None
        self.judge.update_parameters(self.classifier)
        self.classifier.train()
        return F.cross_entropy(self.classifier(diff_augment(real, self.table.augment)), label)

    def _verdict(self, pictures: Tensor, label: Tensor, features: Tensor) -> Verdict:
        augmented = diff_augment(pictures, self.table.augment)
        return self.discriminator(pictures, augmented, label, features)  # type: ignore[no-any-return]

    def _generator_loss(
        self, count: int, device: torch.device, step: int
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        table = self.table
        settings = table.draw(count, device)
        noise = self.generator.noise(count, device)
        fake, trunk = show(self.generator, noise, settings, table.output)
        verdict = self._verdict(fake, noise.label, settings.features())
        loss = hinge_generator(verdict.logits)
        scalars = {}
        if self.judge is not None:
            self.judge.eval()  # batch norm by the real pictures' statistics
            told = self.judge(diff_augment(fake, table.augment))
            scalars["class"] = F.cross_entropy(told, noise.label)
            loss = loss + table.classify * scalars["class"]
        if self.transport is not None:
            self.transport.update(verdict.means, noise.label, real=False)
            scalars["transport"] = self.transport.loss(verdict.means, noise.label)
            loss = loss + table.transport * scalars["transport"]
        gamma = table.gamma.at(step)
        if table.output == "jpeg" and trunk is not None:
            deviation = (fake - trunk).abs().mean()
            scalars["deviation"] = deviation
            if gamma:
                loss = loss + gamma * deviation
        return loss, scalars

    def after_step(self, step: int, stats: Mapping[str, float]) -> None:
        """Nothing changes but by gradients."""

    def samples(self, batch: Batch, step: int) -> Tensor:
        """Rows of classes where there are such."""
        device = batch["image"].device
        noise = self.generator.noise(SAMPLES, device)
        label = torch.arange(SAMPLES, device=device) % max(self.table.classes, 1)
        settings = self.table.draw(SAMPLES, device)
        fake, _ = show(self.generator, Noise(noise.latent, label), settings, self.table.output)
        return ((fake + 1) / 2).clamp(0, 1)


def _averaged(classifier: Classifier) -> AveragedModel:
    """Torch's, whose count is a buffer, and so in every checkpoint: a run that goes on averages as before."""
    average = get_ema_multi_avg_fn(JUDGE_DECAY)  # type: ignore[no-untyped-call]
    return AveragedModel(classifier, multi_avg_fn=average, use_buffers=True).requires_grad_(False)
