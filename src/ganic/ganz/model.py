"""A GANZ model: what its file holds, and the first layers it offers.

Tensors of a model file (* optional; without the basis, only random layers and the trained one code files):

    generator.*                   fp16   the generator, its trained first layer included
    encoder.*              *      fp16   pictures to coefficients, for encoding only
    basis.channels|space|mean  *  fp32   the learned first layer
    basis.scales           *      fp32   standard deviation of each coefficient [width * 64]
    prior.levels|shifts    *      int16, int8   see `ganic.ganz.latent_coder.LatentPrior`
    tables.counts|supports        int32, int16  the probability tables
    steps                         fp32   the quantiser's steps [64], so that no machine computes powers

``config`` holds the generator's arguments and the numbers of `Config`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from os import PathLike
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ganic import models
from ganic.entropy import SymbolTables
from ganic.errors import ModelError, ModelFormatError, UsageError
from ganic.ganz.basis import KroneckerBasis, NestedLinear
from ganic.ganz.encoder import Encoder
from ganic.ganz.generator import Generator, Init
from ganic.ganz.latent_coder import RATIO, STEPS, LatentPrior, check_tables
from ganic.ganz.layout import Fit
from ganic.ganz.random_linear import latent_size, random_linear
from ganic.tensor_names import below, halves

FirstLayer = Literal["basis", "structured", "dense", "square", "none", "trained"]


@dataclass(frozen=True)
class Config:
    """What a model says about itself beside its weights."""

    latent_dim: int = 64
    image_size: int = 128
    width: int = 128
    encoder_features: int = 32
    fit: Fit = "tiles"
    """What to do with pictures of other sizes."""
    overlap: int = 8
    """Pixels that neighbouring tiles share."""
    direct: bool = False
    """Whether generator and encoder have a direct path, see `ganic.ganz.direct`."""
    narrowing: tuple[int, ...] = ()
    """Channels of the generator's blocks, where they are not ``width`` in all."""
    local: bool = False
    """Whether the basis is local, see `ganic.ganz.basis`."""
    lapped: bool = False
    """Whether the blocks of the direct path overlap."""
    price: float = 1e-3
    """Squared error ([0, 1] pixels) that a bit is worth at step index 0; grows as the step squared."""
    best_step: int = 0
    worst_step: int = STEPS - 1
    """The step indices of quality 1 and 0."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "narrowing", tuple(self.narrowing))  # a file has a list
        steps = 0 <= self.best_step <= self.worst_step < STEPS
        if not steps or not self.price > 0 or self.fit not in ("tiles", "resized"):
            raise ModelFormatError("ganz model: its config is inconsistent; get the model file again")

    def price_at(self, step: int) -> float:
        return float(self.price * RATIO ** (2 * step))

    def generator(self, init: Init = "torch") -> Generator:
        """The generator, untrained."""
        return Generator(
            self.latent_dim,
            self.image_size,
            self.width,
            init,
            narrowing=self.narrowing,
            direct=self.direct,
            lapped=self.lapped,
        )

    def encoder(self) -> Encoder:
        """The encoder, untrained."""
        return Encoder(
            self.image_size,
            self.width,
            self.encoder_features,
            direct=self.direct,
            lapped=self.lapped,
            local=self.local,
        )

    def basis(self) -> KroneckerBasis:
        """The basis, untrained."""
        return KroneckerBasis(self.width, local=self.local)


@dataclass(frozen=True, eq=False)
class Model:
    """Networks in eval mode, weights frozen, in float32."""

    config: Config
    generator: Generator
    tables: SymbolTables
    steps: NDArray[np.float32]
    basis: KroneckerBasis | None = None
    scales: Tensor | None = None
    prior: LatentPrior | None = None
    encoder: Encoder | None = None
    model_id: bytes = bytes(6)

    def __post_init__(self) -> None:
        check_tables(self.tables)
        if self.steps.shape != (STEPS,) or self.steps.dtype != np.float32 or not (self.steps > 0).all():
            raise ModelFormatError("ganz model: its quantiser steps are damaged; get the model file again")
        for network in (self.generator, self.basis, self.encoder):
            if network is not None:
                network.eval().requires_grad_(False)
        # Both matter for speed: convolutions run about twice as fast on channels_last weights, and gradients
        # that nobody needs would cost a third of every search step.
        self.generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def to(self, device: torch.device) -> Model:
        """The model there; its networks are moved in place."""
        for network in (self.generator, self.basis, self.encoder):
            if network is not None:
                network.to(device)
        return replace(self, scales=None if self.scales is None else self.scales.to(device))

    @property
    def device(self) -> torch.device:
        return self.generator.last.weight.device

    @property
    def size(self) -> int:
        return self.config.image_size

    def first_layer(self, kind: FirstLayer, inputs: int | None = None, seed: int = 0) -> nn.Module:
        """The module from latents [n, inputs] to h0; ``inputs`` may be left out where the kind determines it.

        Raises UsageError where this model has no such layer, or not of this size.
        """
        whole = self.generator.h0_size
        if kind == "trained":
            if inputs not in (None, self.generator.latent_dim):
                raise UsageError(f"first layer: the trained one takes {self.generator.latent_dim} numbers")
            return self.generator.linear
        if kind == "basis":
            if self.basis is None or self.scales is None:
                raise UsageError("first layer: this model has no learned basis; choose structured or dense")
            return NestedLinear(self.basis, self.scales, inputs or whole).to(self.device)
        if kind in ("square", "none"):
            inputs = inputs or whole
        if inputs is None:
            raise UsageError(f"first layer: a {kind} one needs the size of the latent")
        return random_linear(kind, inputs, whole, seed).to(self.device)

    def latent_size(self, ratio: float) -> int:
        """d = N / R at this model's picture size, at most h0's; raises UsageError for R outside 6 to 768."""
        return min(latent_size(ratio, self.size), self.generator.h0_size)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """For a model file."""
        found = halves(self.generator.state_dict(), "generator")
        found["tables.counts"], found["tables.supports"] = self.tables.counts, self.tables.supports
        found["steps"] = self.steps
        if self.encoder is not None:
            found |= halves(self.encoder.state_dict(), "encoder")
        if self.basis is not None and self.scales is not None:
            found |= {f"basis.{name}": value.cpu().numpy() for name, value in self.basis.state_dict().items()}
            found["basis.scales"] = self.scales.cpu().numpy()
        if self.prior is not None:
            found |= {"prior.levels": self.prior.levels, "prior.shifts": self.prior.shifts}
        return found


def quantiser_steps(first: float = 1.0) -> NDArray[np.float32]:
    """Steps for a new model: ``first`` times powers of RATIO."""
    steps: NDArray[np.float32] = (first * RATIO ** np.arange(STEPS)).astype(np.float32)
    return steps


def load(which: str | PathLike[str] | bytes) -> Model:
    """A model by name, path or id.  Raises ModelError (see `ganic.models.load`)."""
    return from_file(models.load(which))


def from_file(file: models.ModelFile) -> Model:
    """The model in a loaded file.  Raises ModelError for another system, ModelFormatError for damage."""
    if file.system != "ganz":
        raise ModelError(f"{file.name}: is a model of {file.system}, not of ganz; choose another")
    tensors = file.tensors
    try:
        config = Config(**file.config)
        generator = config.generator()
        fill(generator, tensors, "generator")
        tables = SymbolTables(tensors["tables.counts"], tensors["tables.supports"])
        basis, scales, prior, encoder = None, None, None, None
        if "basis.scales" in tensors:
            basis = config.basis()
            scales = torch.from_numpy(tensors["basis.scales"])
            fill(basis, {k: v for k, v in tensors.items() if k != "basis.scales"}, "basis")
        if "prior.levels" in tensors:
            prior = LatentPrior(tables, tensors["prior.levels"], tensors["prior.shifts"], config.local)
        if "encoder.first.weight" in tensors:
            encoder = config.encoder()
            fill(encoder, tensors, "encoder")
        return Model(
            config, generator, tables, tensors["steps"], basis, scales, prior, encoder, file.model_id
        )
    except (KeyError, TypeError, RuntimeError, ValueError, UsageError, ModelFormatError) as error:
        raise ModelFormatError(f"{file.path}: is no complete ganz model ({error}); get it again") from error


def save(
    path: str | PathLike[str], name: str, model: Model, *, card: str = "", overwrite: bool = True
) -> models.ModelInfo:
    """Write a model file.  Raises OutputError, ModelFormatError."""
    config = asdict(model.config) | {"narrowing": list(model.config.narrowing)}  # as JSON has it
    return models.save(path, name, "ganz", config, model.tensors(), card=card, overwrite=overwrite)


def fill(network: nn.Module, tensors: Mapping[str, Tensor] | Mapping[str, NDArray[Any]], name: str) -> None:
    """Give a network its parameters, those named ``<name>.<parameter>``; it is not for training.

    Raises ModelFormatError if they are not those of this network.
    """
    state = below(tensors, f"{name}.")
    try:
        network.load_state_dict({key: torch.as_tensor(value).float() for key, value in state.items()})
    except RuntimeError as error:
        raise ModelFormatError(f"{name}: not the network of this config ({error})") from error
    network.eval().requires_grad_(False)
