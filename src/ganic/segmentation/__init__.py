"""Label maps from pictures: what is road, what is a person, so that an encoder can be told what to keep.

A small network, trained on street scenes
    network.py         the encoder-decoder; batch normalisation folded into it
    objective.py       its losses and its ``[objective]`` table; colours.py: label maps to look at
    recipe.py          a recipe becomes an objective
    export.py          a training run becomes a model file

From pictures to label maps
    segmenter.py       ``Segmenter.load(model)(picture) -> LabelMap``: any size, bounded memory
    adapters.py        the same from a segmentation network the user has: TorchScript, ONNX, any module
    outputs.py         what such networks return, as labels

How good is it
    scores.py          confusion matrix, IoU per class, mIoU

What needs torch is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ganic.segmentation.scores import Scores, Scoring, score

if TYPE_CHECKING:
    from ganic.segmentation.adapters import from_onnx as from_onnx
    from ganic.segmentation.adapters import from_torch as from_torch
    from ganic.segmentation.adapters import from_torchscript as from_torchscript
    from ganic.segmentation.segmenter import Segmenter as Segmenter

_NEED_TORCH = {
    "Segmenter": "segmenter",
    "from_onnx": "adapters",
    "from_torch": "adapters",
    "from_torchscript": "adapters",
}

__all__ = [
    "Scores",
    "Scoring",
    "Segmenter",
    "from_onnx",
    "from_torch",
    "from_torchscript",
    "score",
]


def __getattr__(name: str) -> object:
    if name in _NEED_TORCH:
        return getattr(import_module(f"ganic.segmentation.{_NEED_TORCH[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
