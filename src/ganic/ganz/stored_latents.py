"""What a file's head means with a given model: its first layer, its coder, its quantiser step."""

from __future__ import annotations

from torch import nn

from ganic.errors import UsageError
from ganic.ganz.latent_coder import LatentCoder, PlainCoder
from ganic.ganz.model import Model
from ganic.ganz.payload import Head

PLAIN_STEP = 1 / 64
"""Step of latents of random layers, which are about standard normal, at step index 0."""


def layer_of(model: Model, head: Head) -> nn.Module:
    """The first layer, from latents as the file has them.  Raises UsageError if there is none."""
    if head.layer == "basis":
        if model.basis is None or model.prior is None:
            raise UsageError("first layer: this model has no learned basis; choose structured or dense")
        return model.basis
    return model.first_layer(head.layer, head.inputs or None, head.seed)


def latents_of(model: Model, head: Head) -> int:
    """Numbers per tile."""
    if head.layer == "basis":
        return model.generator.h0_size
    return head.inputs or model.generator.latent_dim


def coder_of(model: Model, *heads: Head) -> LatentCoder:
    """The probabilities of the symbols of any tile of one head, or of one tile of each head; all have the
    same first layer."""
    if len(set(heads)) == 1:
        heads = heads[:1]  # a large picture has thousands of tiles, all alike
    first, steps = heads[0], [head.step for head in heads]
    if first.layer == "basis" and model.prior is not None:
        return model.prior.at(steps)
    return PlainCoder(model.tables, latents_of(model, first), [head.level for head in heads], steps)


def step_of(model: Model, head: Head) -> float:
    """Latent = step * symbol."""
    if head.layer == "basis":
        return float(model.steps[head.step])
    return float(model.steps[head.step] / model.steps[0]) * PLAIN_STEP
