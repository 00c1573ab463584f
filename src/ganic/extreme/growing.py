"""A trained compact codec that becomes a larger one, from where it may train on.

More channels of the latent (`grown`).  Few are a ceiling: 128 of the 768 coefficients of a block draw no
picture better than their lowest frequencies can, however many bits are spent.  The channels that are added
are the next frequencies of the lapped transform (`ganic.extreme.lapped`), coded and drawn by the linear paths
alone.  Everything that was there stays what it was, in the same group of the same passes; the entropy model
expects of a new channel what it expects of its nearest neighbour in frequency, at the size that photographs
have there.

An encoder that knows the quality (`told`): at first it makes nothing of it.

More residual blocks in the generator (`deepened`): at first they change nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ganic.errors import TrainingError
from ganic.extreme import lapped
from ganic.extreme.compact import ResidualBlock
from ganic.extreme.conditioning import ANCHORS
from ganic.extreme.prior import GROUPS, SCALE_UNIT
from ganic.extreme.symbol_costs import SCALE_STEP
from ganic.separable import Band

GAIN = "codec.gain.anchors"
STAGES = "codec.generator.stages."
READERS = ("codec.generator.enter.weight", "codec.prior.hyper_encoder.layers.0.weight", "glance.weight")
"""Convolutions that see the whole latent; at first they do not look at what is added."""


def told(weights: Mapping[str, Tensor], widths: Sequence[int]) -> dict[str, Tensor]:
    """Weights by their names in a run, with tables that tell the encoder the quality, and say nothing yet.

    ``widths``: of the encoder's levels.  Tables that are there stay as they are.
    """
    tables = {
        f"codec.encoder.affines.{level}.{part}.anchors": torch.zeros(ANCHORS, width)
        for level, width in enumerate(widths)
        for part in ("scale", "bias")
    }
    return {**tables, **weights}


def deepened(
    weights: Mapping[str, Tensor], widths: Sequence[int], blocks: Sequence[int]
) -> dict[str, Tensor]:
    """Weights by their names in a run, with as many residual blocks in each stage of the generator.

    ``widths`` and ``blocks``: of the generator's stages.  Blocks that are there stay as they are; what is
    added is the same every time.
    """
    made = dict(weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for level, (before, wanted, width) in enumerate(zip(depths(weights), blocks, widths, strict=False)):
            for number in range(before, wanted):
                block = ResidualBlock(width)
                nn.init.zeros_(block.second.weight)
                for name, value in block.state_dict().items():
                    made[f"{STAGES}{level}.blocks.{number}.{name}"] = value
    return made


def depths(weights: Mapping[str, Tensor]) -> tuple[int, ...]:
    """How many residual blocks each stage of the generator has; () where there is none."""
    found: dict[int, int] = {}
    for name in weights:
        if name.startswith(STAGES):
            level, part, *rest = name.removeprefix(STAGES).split(".")
            blocks = int(rest[0]) + 1 if part == "blocks" else 0
            found[int(level)] = max(found.get(int(level), 0), blocks)
    return tuple(found[level] for level in sorted(found))


def channels(weights: Mapping[str, Tensor]) -> int | None:
    """Of the latent of a compact codec's weights; None: they are of something else."""
    return weights[GAIN].shape[1] if GAIN in weights else None


def grown(weights: Mapping[str, Tensor], latent: int) -> dict[str, Tensor]:
    """Weights by their names in a run, with ``latent`` channels, a multiple of 4, in place of fewer.

    Other tensors are handed through.  Raises TrainingError unless there are fewer channels so far, and
    for a selective model, whose encoder has further kernels.
    """
    old = channels(weights) or 0
    if latent % GROUPS or not 0 < old < latent:
        raise TrainingError(
            f"latent: {old} channels cannot become {latent}; give a multiple of 4 above {old}"
        )
    if any(".beside" in name for name in weights):
        raise TrainingError("latent: the encoder of a selective model cannot grow; start from another")
    known = dict(zip(lapped.kept(latent), lapped.kernel(latent), strict=True))
    bands = _bands(weights["codec.encoder.linear.conv.weight"], known)
    added = [band for band in known if band not in bands]
    if len(bands) + len(added) != latent:
        raise TrainingError("latent: two channels of this encoder have one frequency; start from another")
    like = torch.tensor([_nearest(band, bands) for band in added])
    where = _places(old, latent)
    source = torch.cat([torch.arange(old), like])  # of what channels are copied from, old and added

    def placed(values: Tensor, dim: int) -> Tensor:
        """[..., old and added, ...] -> every channel in its place."""
        out = torch.empty_like(values)
        return out.index_copy_(dim, where, values)

    def zeroed(values: Tensor, dim: int) -> Tensor:
        shape = [*values.shape]
        shape[dim] = len(added)
        return placed(torch.cat([values, values.new_zeros(shape)], dim), dim)

    deviations = dict(zip(known, lapped.typical_deviations(latent), strict=True))
    smaller = torch.stack([deviations[a] / deviations[bands[i]] for a, i in zip(added, like, strict=True)])
    smaller = torch.log(smaller) / (SCALE_STEP * SCALE_UNIT)

    def head(values: Tensor) -> Tensor:
        """Means of 0 and scales as of the neighbour, [2 old, ...]."""
        mean, scale = values.chunk(2)
        scale = scale[source]
        if scale.ndim == 1:
            scale[old:] += smaller
        return torch.cat([zeroed(mean, 0), placed(scale, 0)])

    kernel = torch.stack([known[band] for band in added])
    # G draws their neighbours smaller than they are, since some of them is noise.
    drawn = weights["codec.generator.linear.conv.weight"].transpose(0, 1).flip(2, 3)[like]
    begun = torch.stack([known[bands[i]] for i in like])
    share = (drawn * begun).flatten(1).sum(1) / begun.square().flatten(1).sum(1)
    shown = (kernel * share[:, None, None, None]).transpose(0, 1).flip(2, 3)
    made = dict(weights)
    made[GAIN] = placed(weights[GAIN][:, source], 1)
    for name, values in weights.items():
        if name == "codec.encoder.linear.conv.weight":
            made[name] = placed(torch.cat([values, kernel]), 0)
        elif name == "codec.generator.linear.conv.weight":
            made[name] = placed(torch.cat([values, shown], 1), 1)
        elif name.startswith("codec.encoder.out."):
            made[name] = zeroed(values, 0)
        elif name.startswith("codec.prior.passes.") and ".head." in name:
            made[name] = head(values)
        elif name in READERS or (name.startswith("codec.prior.passes.") and name.endswith(".context.weight")):
            made[name] = zeroed(values, 1)
    return made


def _places(old: int, latent: int) -> Tensor:
    """Where the old and the added channels go [latent]: groups keep theirs, the added ones take turns."""
    group, room = old // GROUPS, latent // GROUPS
    kept = torch.arange(old)
    added = torch.arange(latent - old)
    return torch.cat(
        [
            kept // group * room + kept % group,
            added % GROUPS * room + group + added // GROUPS,
        ]
    )


def _bands(analysis: Tensor, known: Mapping[Band, Tensor]) -> list[Band]:
    """What frequency each channel of a linear path has: the lapped function that its kernel is most like."""
    likeness = analysis.flatten(1) @ torch.stack([*known.values()]).flatten(1).mT
    names = [*known]
    return [names[i] for i in likeness.abs().argmax(dim=1)]


def _nearest(band: Band, bands: list[Band]) -> int:
    """Index of the band of the same colour that is nearest in frequency."""
    colour, u, v = band
    distances = [math.hypot(u - b[1], v - b[2]) if b[0] == colour else math.inf for b in bands]
    return distances.index(min(distances))
