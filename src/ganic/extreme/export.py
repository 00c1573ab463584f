"""From training runs to a model file, and back to where another run starts."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ganic import models
from ganic.errors import TrainingError
from ganic.extreme.activation_ranges import activation_ranges
from ganic.extreme.model import GAIN_UNIT, CompactModel
from ganic.extreme.objective import CompactSettings
from ganic.extreme.prior import Prior
from ganic.extreme.published_objective import PublishedSettings
from ganic.extreme.recipe import table_of
from ganic.extreme.shades import Shades, Steps
from ganic.extreme.symbol_costs import symbol_tables
from ganic.tensor_names import below, halves
from ganic.training import checkpoint
from ganic.training.run_log import run_recipe

Arrays = dict[str, npt.NDArray[Any]]

SHADE_INDEX = "prior.shade_index"

OPPONENTS = ("discriminator", "glance")
"""Networks that no codec needs: who trains a model on goes on against the discriminator that it had."""


def export_run(
    run_dir: Path,
    output: Path,
    name: str,
    *,
    card: str = "",
    fidelity: str | None = None,
    shades: str | None = None,
) -> models.ModelInfo:
    """Write the averaged weights of a run's newest checkpoint, and its discriminator, as a model file.

    ``fidelity`` is another run, or a model that has such a generator, that trained a generator for the same
    encoder and entropy model, for distortion alone: it goes along and decodes the same files at ``fidelity``
    1.  ``shades`` is a run that trained them for the same codec, or a model that has them.

    Raises:
        TrainingError: there is no checkpoint, the run did not train the compact networks, or the encoders
            differ.
        ModelError: there is no such model.
        OutputError: the file cannot be written.
    """
    recipe = run_recipe(run_dir)
    table = table_of(recipe) if recipe.system == "extreme" else None
    if table is None or isinstance(table, PublishedSettings):
        raise TrainingError(f"{run_dir}: this run trained no compact codec, so there is nothing to export")
    architecture = table.architecture if isinstance(table, CompactSettings) else table.codec
    model = CompactModel(architecture)
    weights = checkpoint.weights(run_dir)
    model.load_state_dict(below(weights, "codec."))
    own = model.encoder.state_dict()["out.weight"].half()

    def check(source: str, encoder: Mapping[str, Tensor]) -> None:
        if not torch.equal(encoder["out.weight"].half(), own):
            raise TrainingError(f"{source}: has another encoder than {run_dir}; start both from one run")

    generator, config = None, architecture.config()
    if fidelity is not None:
        encoder, generator = _for_distortion(fidelity)
        check(fidelity, encoder)
    tensors = model_tensors(model, distortion_generator=generator)
    tensors |= _ranges(model, generator, len(architecture.classes))
    if isinstance(table, CompactSettings):
        for opponent in OPPONENTS:
            tensors |= halves(below(weights, f"{opponent}."), opponent)
    if shades is not None:
        encoder, made, entries = _shades_of(shades)
        check(shades, encoder)
        tensors |= made
        config |= entries
    return models.save(output, name, "extreme", config, tensors, card=card)


def model_tensors(model: CompactModel, *, distortion_generator: Mapping[str, Tensor] | None = None) -> Arrays:
    """A model file's tensors: networks in half precision, everything that decides a probability in
    integers."""
    tensors = halves(model.encoder.state_dict(), "encoder")
    tensors |= halves(model.generator.state_dict(), "generator")
    if distortion_generator is not None:
        tensors |= halves(distortion_generator, "generator_mse")
    tensors |= halves(model.prior.hyper_encoder.state_dict(), "hyper_encoder")
    tensors["gain.anchors"] = (model.gain.anchors.detach().float() * GAIN_UNIT).cpu().numpy()
    return tensors | prior_tensors(model.prior)


def _ranges(model: CompactModel, distortion_generator: Mapping[str, Tensor] | None, classes: int) -> Arrays:
    """What :mod:`ganic.extreme.eight_bit` needs, of all generators together: it may get a blend of them."""
    generators = [model.generator]
    if distortion_generator is not None:
        generators.append(copy.deepcopy(model.generator))
        generators[1].load_state_dict({name: value.float() for name, value in distortion_generator.items()})
    return halves(activation_ranges(model, generators, classes), "ranges")


def prior_tensors(prior: Prior) -> Arrays:
    """The entropy model in integers, with its tables."""
    tensors: Arrays = {
        f"prior.{name}": np.ascontiguousarray(value.cpu().numpy()) for name, value in prior.integers().items()
    }
    tables = symbol_tables()
    return tensors | {
        "prior.tables.counts": tables.counts,
        "prior.tables.supports": tables.supports,
        "prior.tables.excess": tables.excess,
    }


def _for_distortion(source: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """An encoder, and the generator for distortion alone that goes with it; of a run or of a model."""
    if checkpoint.means_run(Path(source)):
        weights = checkpoint.weights(Path(source))
        return below(weights, "codec.encoder."), below(weights, "codec.generator.")
    file = models.load(source)
    tensors = {name: torch.from_numpy(value) for name, value in file.tensors.items()}
    generator = below(tensors, "generator_mse.")
    if not generator:
        raise TrainingError(f"{file.path}: has no second generator; give a run, or leave --fidelity out")
    return below(tensors, "encoder."), generator


def shade_parts(shades: Shades, steps: Steps) -> tuple[Arrays, dict[str, Any]]:
    """What a model file with shades has beside all else: tensors, and entries of its config."""
    tensors = halves(shades.afar.state_dict(), "afar") | {SHADE_INDEX: shades.integers().cpu().numpy()}
    return tensors, {"afar": {"latent": shades.afar.enter.in_channels}, "shade_steps": list(steps)}


def _shades_of(source: str) -> tuple[dict[str, Tensor], Arrays, dict[str, Any]]:
    """An encoder, and the `shade_parts` that go with it; of a run or of a model."""
    if checkpoint.means_run(Path(source)):
        weights, recipe = checkpoint.weights(Path(source)), run_recipe(Path(source))
        found = below(weights, "shades.")
        if not found:
            raise TrainingError(f"{source}: this run trained no shades; give one of photo_shades.toml's kind")
        table = recipe.objective_as(CompactSettings)
        shades = Shades(table.architecture.latent)
        shades.load_state_dict(found)
        return below(weights, "codec.encoder."), *shade_parts(shades, table.shades)
    file = models.load(source)
    if SHADE_INDEX not in file.tensors:
        raise TrainingError(
            f"{file.path}: has no shades; give a run that trained them, or leave --shades out"
        )
    encoder = {name: torch.from_numpy(value) for name, value in below(file.tensors, "encoder.").items()}
    made = {name: v for name, v in file.tensors.items() if name == SHADE_INDEX or name.startswith("afar.")}
    return encoder, made, {name: file.config[name] for name in ("afar", "shade_steps")}


def weights_of(file: models.ModelFile) -> dict[str, Tensor]:
    """A model's weights by their names in a run, for its ``init``: as they were, but for their rounding."""
    tensors = {name: torch.from_numpy(value) for name, value in file.tensors.items()}
    weights = {
        f"codec.{name}": value.float()
        for name, value in tensors.items()
        if name.startswith(("encoder.", "generator."))
    }
    weights |= {name: value.float() for name, value in tensors.items() if name.split(".")[0] in OPPONENTS}
    hyper_encoder = below(tensors, "hyper_encoder.")
    weights |= {f"codec.prior.hyper_encoder.{name}": value.float() for name, value in hyper_encoder.items()}
    weights |= {
        f"shades.{name}": value.float() for name, value in tensors.items() if name.startswith("afar.")
    }
    index = tensors.pop(SHADE_INDEX, None)
    if index is not None:
        weights["shades.index.anchors"] = Shades.anchors(index)
    reals = Prior.reals(below(tensors, "prior."))
    weights |= {f"codec.prior.{name}": value for name, value in reals.items()}
    return weights | {"codec.gain.anchors": tensors["gain.anchors"] / GAIN_UNIT}


__all__ = ["export_run", "model_tensors", "prior_tensors", "shade_parts", "weights_of"]
