"""From training runs to a model file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ganic import models
from ganic.entropy import SymbolTables, gaussian_scales, gaussian_tables
from ganic.errors import TrainingError
from ganic.extreme.model import GAIN_UNIT, CompactModel
from ganic.extreme.objective import CompactSettings
from ganic.extreme.prior import SCALE_MAX, SCALE_MIN, SCALES, Prior
from ganic.extreme.selective_objective import SelectiveSettings
from ganic.training import checkpoint
from ganic.training.run_log import run_recipe

Arrays = dict[str, npt.NDArray[Any]]


def export_run(
    run_dir: Path, output: Path, name: str, *, card: str = "", fidelity: Path | None = None
) -> models.ModelInfo:
    """Write the averaged weights of a run's newest checkpoint as a model file.

    ``fidelity`` is another run that trained a generator for the same encoder and entropy model, for
    distortion alone: that generator goes along and decodes the same files at ``fidelity`` 1.

    Raises:
        TrainingError: there is no checkpoint, the run did not train the compact networks, or the encoders of
            the two runs differ.
        OutputError: the file cannot be written.
    """
    recipe = run_recipe(run_dir)
    arch = recipe.objective.get("arch", "compact")
    if recipe.system != "extreme" or arch == "agustsson2019":
        raise TrainingError(f"{run_dir}: this run trained no compact codec, so there is nothing to export")
    if arch == "compact":
        architecture = recipe.objective_as(CompactSettings).architecture
    else:
        architecture = recipe.objective_as(SelectiveSettings).codec
    model = CompactModel(architecture)
    weights = checkpoint.weights(run_dir)
    model.load_state_dict(_part(weights, "codec"))
    generator = None
    if fidelity is not None:
        other = checkpoint.weights(fidelity)
        if not torch.equal(other["codec.encoder.out.weight"], weights["codec.encoder.out.weight"]):
            raise TrainingError(f"{fidelity}: has another encoder than {run_dir}; start both from one run")
        generator = _part(other, "codec.generator")
    tensors = model_tensors(model, distortion_generator=generator)
    return models.save(output, name, "extreme", architecture.config(), tensors, card=card)


def model_tensors(
    model: CompactModel,
    *,
    tables: SymbolTables | None = None,
    distortion_generator: Mapping[str, Tensor] | None = None,
) -> Arrays:
    """A model file's tensors: networks in half precision, everything that decides a probability in
    integers."""
    tensors = _half(model.encoder.state_dict(), "encoder")
    tensors |= _half(model.generator.state_dict(), "generator")
    if distortion_generator is not None:
        tensors |= _half(distortion_generator, "generator_mse")
    tensors |= _half(model.prior.hyper_encoder.state_dict(), "hyper_encoder")
    tensors["gain.anchors"] = (model.gain.anchors.detach().float() * GAIN_UNIT).cpu().numpy()
    return tensors | prior_tensors(model.prior, tables)


def prior_tensors(prior: Prior, tables: SymbolTables | None = None) -> Arrays:
    """The entropy model in integers, with Gaussian tables unless others are given."""
    if tables is None:
        # Certain tables (support 0) code nothing: most symbols of a photograph are of that kind.
        tables = gaussian_tables(gaussian_scales(SCALES, SCALE_MIN, SCALE_MAX), min_support=0)
    tensors: Arrays = {
        f"prior.{name}": np.ascontiguousarray(value.cpu().numpy()) for name, value in prior.integers().items()
    }
    counts, supports = tables.to_arrays()
    return tensors | {"prior.tables.counts": counts, "prior.tables.supports": supports}


def _half(state: Mapping[str, Tensor], prefix: str) -> Arrays:
    return {f"{prefix}.{name}": value.detach().cpu().half().numpy() for name, value in state.items()}


def _part(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(f"{prefix}."): v for k, v in weights.items() if k.startswith(f"{prefix}.")}


__all__ = ["export_run", "model_tensors", "prior_tensors"]
