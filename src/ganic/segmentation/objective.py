"""How the segmenter is trained: cross entropy with weights against rarity, and the Dice loss.

    L  =  mean over pixels of  w_c (-log p_c)   +   dice * (1 - mean over classes of  2 |p g| / (|p| + |g|))

with c the true class of a pixel, p the probabilities and g the true labels as zeros and ones.  ``w_c`` is
proportional to a power of 1 / the share of class c among labelled pixels, is 1 for the average pixel, and
bounded (SegNet, arXiv:1511.00561, balances with the power 1; one half does not drown the large classes).
The second term is the Dice loss (V-Net, arXiv:1606.04797, without its squares): close to what is measured,
the intersection over union, in which a sign counts like the sky.

Labels at or above the number of classes are void: no pixel of theirs counts anywhere.

Of several processes each normalises with the statistics of its own part of the batch; those of the leading
one are kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ganic.errors import DataError
from ganic.segmentation.colours import painted
from ganic.segmentation.network import STRIDE, Segnet, full_size
from ganic.segmentation.segmenter import WINDOW
from ganic.training.objective import Batch
from ganic.training.recipes import Table

Width = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Weight = Annotated[float, Field(ge=0)]
PLAYER = "segmenter"


class Settings(Table):
    """The ``[objective]`` table of a recipe with ``system = "segmentation"``."""

    classes: Annotated[tuple[str, ...], Field(min_length=1, max_length=255)]  # names, by label
    sides: tuple[Width, Width]  # later pictures are resized to a short side between these: those trained on
    widths: tuple[Width, Width, Width, Width, Width] = (24, 48, 96, 160, 224)  # encoder: 1/2, 1/4 ... 1/32
    blocks: tuple[Count, Count, Count, Count, Count] = (0, 0, 1, 2, 1)  # residual blocks at the same
    decoder: tuple[Width, Width, Width, Width] = (96, 64, 32, 16)  # channels at 1/16 ... 1/2
    shares: tuple[
        Annotated[float, Field(gt=0, le=1)], ...
    ] = ()  # of labelled pixels; none: all weigh the same
    balance: Annotated[float, Field(ge=0, le=1)] = 0.5  # power of 1 / share; 0: all weigh the same
    heaviest: Annotated[float, Field(ge=1)] = 8.0  # bound of a class's weight
    dice: Weight = 0.5  # weight of the Dice loss
    zoom: Annotated[float, Field(ge=1)] = 1.0  # crops are enlarged at random, log-uniform up to this

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes must have different names")
        if self.shares and len(self.shares) != len(self.classes):
            raise ValueError("shares needs one number per class")
        if not STRIDE <= self.sides[0] <= self.sides[1] <= WINDOW:
            raise ValueError(f"sides must be between {STRIDE} and {WINDOW}, the smaller first")
        return self

    def network(self) -> Segnet:
        """The network that is trained, with new weights."""
        return Segnet(len(self.classes), self.widths, self.blocks, self.decoder)

    def config(self) -> dict[str, object]:
        """A model file's ``config``."""
        return {
            "classes": list(self.classes),
            "sides": list(self.sides),
            "widths": list(self.widths),
            "blocks": list(self.blocks),
            "decoder": list(self.decoder),
        }

    def weights(self) -> list[float]:
        """w of each class; 1 for the average labelled pixel, before the bound."""
        shares = [share / sum(self.shares) for share in self.shares]
        mean = sum(share ** (1 - self.balance) for share in shares)
        weights = [share**-self.balance / mean for share in shares] or [1.0] * len(self.classes)
        return [min(weight, self.heaviest) for weight in weights]


class SegmentationObjective:
    """The training objective; see the module's docstring.  Implements
    ``ganic.training.objective.Objective``."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.network = settings.network()
        self.networks = nn.ModuleDict({PLAYER: self.network})
        self.ema_of: Sequence[str] = (PLAYER,)
        self._weights = torch.tensor(settings.weights())

    def players(self, step: int) -> Sequence[str]:
        return (PLAYER,)

    def parameters(self, player: str) -> Sequence[nn.Parameter]:
        return list(self.network.parameters())

    def fresh_batch(self, player: str) -> bool:
        return False

    def loss(self, player: str, batch: Batch, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        if "map" not in batch:
            raise DataError(
                "training data: no label maps; name their folders in data.maps, or add .seg.png to shards"
            )
        picture, truth = enlarged(batch["image"], batch["map"], self.settings.zoom)
        logits = self.network(picture)
        with torch.autocast(picture.device.type, enabled=False):
            logits = full_size(logits)
            weights = self._weights.to(logits.device)
            entropy = cross_entropy(logits, truth, weights)
            overlap = dice(logits, truth)
            stats = {"cross_entropy": entropy, "dice": overlap, **_accuracy(logits.detach(), truth)}
            return entropy + self.settings.dice * overlap, stats

    def after_step(self, step: int, stats: Mapping[str, float]) -> None:
        pass

    @torch.no_grad()
    def samples(self, batch: Batch, step: int) -> Tensor:
        """Rows of three: the picture, its true labels, and those found, in the classes' colours."""
        picture, truth = batch["image"][:4], batch["map"][:4]
        found = full_size(self.network(picture)).argmax(1)
        columns = [
            picture,
            painted(truth, len(self.settings.classes)),
            painted(found, len(self.settings.classes)),
        ]
        return torch.stack(columns, dim=1).flatten(0, 1)


def cross_entropy(logits: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """The sum of w_c (-log p_c) over labelled pixels, divided by the number of all pixels.

    Not by the sum of weights, nor of labelled pixels: so the mean over the parts of a batch is that of the
    whole.
    ``logits`` [n, k, h, w] float32; ``truth`` int64 [n, h, w], void from k on; ``weights`` [k].
    """
    void = logits.shape[1]
    ignored = truth.masked_fill(truth >= void, -100)
    return F.cross_entropy(logits, ignored, weights, ignore_index=-100, reduction="sum") / truth.numel()


def dice(logits: Tensor, truth: Tensor) -> Tensor:
    """1 - the mean of 2 |p g| / (|p| + |g|) over the classes that a picture shows, and over pictures."""
    classes = logits.shape[1]
    known = (truth < classes)[:, None]
    given = truth[:, None] == torch.arange(classes, device=truth.device)[:, None, None]
    probability = logits.softmax(1) * known
    both = (probability * given).sum((2, 3))
    present = given.sum((2, 3))
    ratio = 2 * both / (probability.sum((2, 3)) + present).clamp_min(1)
    shown = present > 0
    per_picture = (ratio * shown).sum(1) / shown.sum(1).clamp_min(1)
    # A picture that is void throughout says nothing: no loss, no gradient.
    return ((1 - per_picture) * shown.any(1)).mean()


def enlarged(picture: Tensor, truth: Tensor, zoom: float) -> tuple[Tensor, Tensor]:
    """A random window of each crop, at the crop's size: as if the camera had been nearer.

    The loop's data only reduce pictures; this enlarges them, up to ``zoom`` times, log-uniform.
    ``picture`` [n, 3, h, w], bilinear; ``truth`` [n, h, w], nearest.
    """
    if zoom == 1:
        return picture, truth
    # Half precision has 8 bits: places would be half a pixel off.
    with torch.autocast(picture.device.type, enabled=False):
        return _enlarged(picture, truth, zoom)


def _enlarged(picture: Tensor, truth: Tensor, zoom: float) -> tuple[Tensor, Tensor]:
    chance = torch.rand(len(picture), 3).to(picture.device)
    part = torch.exp(-math.log(zoom) * chance[:, 0])  # side of the window, as a part of the crop's
    theta = torch.zeros(len(picture), 2, 3, device=picture.device)
    theta[:, 0, 0] = theta[:, 1, 1] = part
    theta[:, :, 2] = (2 * chance[:, 1:] - 1) * (1 - part)[:, None]
    grid = F.affine_grid(theta, [len(picture), 3, *picture.shape[2:]], align_corners=False)
    near = F.grid_sample(picture, grid, mode="bilinear", padding_mode="border", align_corners=False)
    labels = F.grid_sample(
        truth[:, None].float(), grid, mode="nearest", padding_mode="border", align_corners=False
    )
    return near.contiguous(memory_format=torch.channels_last), labels[:, 0].long()


@torch.no_grad()
def _accuracy(logits: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """``accuracy``: the share of right pixels; ``miou``: over the classes of this batch."""
    classes = logits.shape[1]
    known = truth < classes
    cells = truth[known] * classes + logits.argmax(1)[known]
    table = torch.bincount(cells, minlength=classes**2).reshape(classes, classes).float()
    both = table.diagonal()
    either = table.sum(0) + table.sum(1) - both
    present = (either > 0).sum().clamp_min(1)
    return {
        "accuracy": both.sum() / table.sum().clamp_min(1),
        "miou": (both / either.clamp_min(1)).sum() / present,
    }
