"""What the paper's figures are made of: PSNRs of the generator and of its baselines over sets of pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from ganic.errors import UsageError
from ganic.ganz.basis import ChosenLinear, KroneckerBasis
from ganic.ganz.budget import Report, Settings
from ganic.ganz.fista import Lasso, best_of
from ganic.ganz.measurements import GaussianMeasurement, Measurement, StructuredMeasurement, measure
from ganic.ganz.model import FirstLayer, Model
from ganic.ganz.picture_loss import PictureLoss
from ganic.ganz.rows import Parts, Together
from ganic.ganz.search import restarts, start
from ganic.ganz.sensing import Recovery, recover
from ganic.ganz.sparse_sensing import SparseRecovery, recover_sparse
from ganic.ganz.wavelets import Variant, keep_largest

VARIANTS: tuple[Variant, ...] = ("code", "formula", "joint")

WHITE = Settings(rate=0.1, betas=(0.9, 0.99))
"""Rate and betas for latents of unit variance: they start at zero and have a few units to go, together."""

FLOOR = 1e-4
"""The mean squared error that a generator cannot go below: to a Gaussian prior, noise like any other."""


@dataclass(frozen=True)
class How:
    """The effort that every experiment of a run makes."""

    settings: Settings
    restarts: int = 1
    seed: int = 0
    bf16: bool = False
    report: Report | None = None


@dataclass(frozen=True)
class Outcome:
    """Pictures [n, 3, s, s] in [0, 1] and their PSNRs [n] in dB."""

    pictures: Tensor
    psnr: Tensor

    @property
    def mean(self) -> float:
        return float(self.psnr.mean())


def psnrs(made: Tensor, truth: Tensor) -> Tensor:
    """Eq. 2 for each picture [n], pixels in [0, 1]."""
    errors = (made.double() - truth.double()).square().flatten(1).mean(dim=1)
    return -10 * torch.log10(errors.clamp(min=1e-12))


def untrained(model: Model, seed: int = 0) -> Model:
    """The control: the same generator with torch's default random weights, and nothing learned beside it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator = replace(model.config, direct=False).generator().to(model.device)
    return replace(model, generator=generator, basis=None, scales=None, prior=None, encoder=None)


def compress(
    model: Model,
    kind: FirstLayer | Literal["chosen"],
    truth: Tensor,
    how: How,
    ratio: float | None = None,
    layer: nn.Module | None = None,
) -> Outcome:
    """Eq. 1 with a kind of first layer and, for those that take any, d = N / ratio numbers; no file.

    ``layer`` is that layer, if there is one already: a dense one takes a second to make.

    "basis" are the d most important coefficients of the learned basis, "chosen" the d largest of each picture
    according to the encoder, as wavelet coders choose theirs. Both start at the encoder's coefficients, where
    the model has an encoder. Raises UsageError if this model has no such layer.
    """
    inputs = None if ratio is None else model.latent_size(ratio)
    parts = Parts.of(len(truth), model.size, truth.device)
    targets, coefficients, encoder = parts.split(truth), None, model.encoder
    if kind in ("basis", "chosen") and encoder is not None:

        def encoded(pictures: Tensor) -> Tensor:
            with torch.autocast(pictures.device.type, torch.bfloat16, enabled=how.bf16):
                return encoder(pictures)  # type: ignore[no-any-return]

        with torch.no_grad():
            coefficients = parts.map(encoded, targets)
    layers: list[nn.Module]
    if kind == "chosen":
        layers = [*_chosen(model, coefficients, inputs)]
    else:
        layers = [layer or model.first_layer(kind, inputs, how.seed)] * len(targets)

    def render_with(layer: nn.Module) -> Callable[[Tensor], Tensor]:
        return lambda z: model.generator.synthesise(layer(z))

    losses = [
        PictureLoss(render_with(layer), target, bf16=how.bf16)
        for layer, target in zip(layers, targets, strict=True)
    ]
    found = restarts(
        Together(losses, parts),
        _starts(model, kind, layers, truth, coefficients, how),
        how.settings,
        how.report,
        precise=Together([replace(loss, bf16=False) for loss in losses], parts),
    )
    with torch.no_grad():
        made = parts.cat(lambda loss, z: loss.render(z), losses, parts.split(found.latents))
    made = made.float().clamp(0, 1)
    return Outcome(made, psnrs(made, truth))


def _chosen(model: Model, coefficients: Sequence[Tensor] | None, inputs: int | None) -> list[ChosenLinear]:
    """A layer for each part of the pictures."""
    if model.basis is None or model.scales is None or coefficients is None:
        raise UsageError("first layer: this model has no learned basis with an encoder; choose another")
    return [
        ChosenLinear.of(model.basis, model.scales, part, inputs or part.shape[1]) for part in coefficients
    ]


def _starts(
    model: Model,
    kind: FirstLayer | Literal["chosen"],
    layers: Sequence[nn.Module],
    truth: Tensor,
    coefficients: Sequence[Tensor] | None,
    how: How,
) -> list[Tensor]:
    """For all pictures; ``layers`` and ``coefficients`` are of their parts."""
    chosen = [layer for layer in layers if isinstance(layer, ChosenLinear)]
    if chosen:
        if coefficients is None:
            return [start("zero", len(truth), chosen[0].inputs).to(truth.device)]
        parts = zip(chosen, coefficients, strict=True)
        return [torch.cat([layer.latents(part) for layer, part in parts])]
    size = (
        model.generator.latent_dim
        if kind == "trained"
        else int(getattr(layers[0], "inputs", model.generator.h0_size))
    )
    return _normal_starts(truth, size, how)


def _normal_starts(truth: Tensor, size: int, how: How) -> list[Tensor]:
    """The authors', one for each restart."""
    return [
        start("clamped-normal", len(truth), size, how.seed + i).to(truth.device) for i in range(how.restarts)
    ]


def wavelets(truth: Tensor, ratio: float) -> Mapping[Variant, Outcome]:
    """The baseline in its three versions."""
    kept = {variant: keep_largest(truth, ratio, variant).pictures for variant in VARIANTS}
    return {variant: Outcome(made, psnrs(made, truth)) for variant, made in kept.items()}


def measurement_of(model: Model, count: int, structured: bool, seed: int) -> Measurement:
    """``count`` measurements of pictures of the model's size."""
    kind = StructuredMeasurement if structured else GaussianMeasurement
    return kind(3 * model.size**2, count, seed, model.device)


def sense(
    model: Model,
    kind: FirstLayer,
    truth: Tensor,
    measurement: Measurement,
    how: How,
    *,
    ratio: float | None = None,
    noise: float = 0.0,
    floor: float = FLOOR,
) -> Outcome:
    """Recovery from measurements of the truth.

    With the learned basis, whose latents have unit variance, the search is for the most likely latent, and
    takes steps that suit such latents (`WHITE`) in place of the authors'; with a local basis for few latents
    (`ganic.ganz.sparse_sensing`).
    """
    if kind == "basis" and model.basis is not None and model.basis.local:
        return _sense_sparse(model, model.basis, truth, measurement, how, noise)
    problem, starts, settings = recovery(
        model, kind, truth, measurement, how, ratio=ratio, noise=noise, floor=floor
    )
    made = recover(problem, starts, settings, how.report).pictures
    return Outcome(made, psnrs(made, truth))


def recovery(
    model: Model,
    kind: FirstLayer,
    truth: Tensor,
    measurement: Measurement,
    how: How,
    *,
    ratio: float | None = None,
    noise: float = 0.0,
    floor: float = FLOOR,
) -> tuple[Recovery, list[Tensor], Settings]:
    """What `ganic.ganz.sensing.recover` is given for that: the problem, its starts, how to search."""
    inputs = None if ratio is None else model.latent_size(ratio)
    layer = model.first_layer(kind, inputs, how.seed)
    size = int(getattr(layer, "inputs", model.generator.h0_size))
    weight, settings = 0.0, how.settings
    if kind == "basis":
        settings = white(settings)
        weight = prior_weight(measurement, size, noise, floor)
        starts = [start("zero", len(truth), size).to(truth.device)]
    else:
        starts = _normal_starts(truth, size, how)
    y = measure(measurement, truth, noise, how.seed)
    return Recovery(model.generator, layer, measurement, y, weight, how.bf16), starts, settings


def white(settings: Settings) -> Settings:
    """The same budget in steps that suit latents of unit variance."""
    return replace(settings, rate=WHITE.rate, betas=WHITE.betas)


def _sense_sparse(
    model: Model, basis: KroneckerBasis, truth: Tensor, measurement: Measurement, how: How, noise: float
) -> Outcome:
    y = measure(measurement, truth, noise, how.seed)
    problem = SparseRecovery(model.generator, basis, measurement, y, noise, bf16=how.bf16)
    made = recover_sparse(problem, how.settings, how.report).pictures
    return Outcome(made, psnrs(made, truth))


def prior_weight(measurement: Measurement, latents: int, noise: float, floor: float = FLOOR) -> float:
    """`Recovery.prior` for the most likely z: with noise of variance v per measurement it is v d / M.

    An error of the generator with mean square ``floor`` over N numbers adds N floor / M to v.
    """
    variance = noise**2 + measurement.numbers * floor / measurement.count
    return variance * latents / measurement.count


def lasso(
    truth: Tensor,
    measurement: Measurement,
    *,
    noise: float = 0.0,
    seed: int = 0,
    opponent: bool = True,
    iterations: int = 300,
) -> Outcome:
    """FISTA on the same measurements, with the best of several weights for each picture."""
    problem = Lasso(measurement, measure(measurement, truth, noise, seed), truth.shape[-1], opponent)
    made, _ = best_of(problem, truth, iterations=iterations)
    return Outcome(made, psnrs(made, truth))
