"""A segmenter's tensors as its model file holds them: kernels in 8 bits, biases in single precision.

A kernel ``x.weight`` is int8 [out, ...], and beside it stands ``x.step`` [out], float32: the value of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganic.errors import ModelFormatError
from ganic.segmentation.network import Segnet, fold

LARGEST = 127


def stored(network: Segnet) -> dict[str, NDArray[Any]]:
    """The folded network. Raises ModelFormatError for values that are not finite."""
    arrays: dict[str, NDArray[Any]] = {}
    for key, value in fold(network).items():
        array = value.detach().float().cpu().numpy()
        if not np.isfinite(array).all():
            raise ModelFormatError(f"segmenter: {key} has values that are not finite; train it again")
        if array.ndim == 1:
            arrays[key] = array
            continue
        largest = np.abs(array).reshape(len(array), -1).max(1)
        step = np.where(largest > 0, largest, 1).astype(np.float32) / LARGEST
        arrays[key] = np.rint(array / step.reshape(-1, *[1] * (array.ndim - 1))).astype(np.int8)
        arrays[_step_of(key)] = step
    return arrays


def restored(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    """The state of a folded network from what `stored` gave; KeyError where a step is missing."""
    state = {}
    for key, array in arrays.items():
        value = torch.from_numpy(array).float()
        if array.dtype == np.int8:
            step = torch.from_numpy(arrays[_step_of(key)]).float()
            state[key] = value * step.reshape(-1, *[1] * (array.ndim - 1))
        elif not key.endswith(".step"):
            state[key] = value
    return state


def _step_of(kernel: str) -> str:
    return f"{kernel.removesuffix('.weight')}.step"


__all__ = ["restored", "stored"]
