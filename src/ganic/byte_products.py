"""Products of bytes with signed bytes, added in 32-bit integers: exact, and fast on processors made for them.

Processors with VNNI instructions make twice as many of these as products of bfloat16, and four times as
many as of float32.  Without them, :class:`ExactMatrix` gives the same numbers by float32, and
:class:`ByteConv` is not for use.

The kernels are those that torch's compiler uses for 8-bit models on x86.  They are no public interface, and
on other processors, or where the environment tells oneDNN to do without some instructions, they add in 16
bits, which saturate.  So :func:`supported` has them multiply the largest numbers there are before anything
relies on them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from ganic.hardware import cpu_has

MIDDLE = 128
"""Signed numbers within +-127 become bytes by adding this."""

Integers = npt.NDArray[np.uint8] | npt.NDArray[np.int16]


class ExactMatrix:
    """A matrix [inputs, outputs] of int8: what integers times it add up to.

    Sums must stay below 2**24, up to which float32 is exact in any order of summation; the caller sees to it.
    """

    def __init__(self, weight: npt.NDArray[np.int8]) -> None:
        self.shape = weight.shape
        self._weight = weight
        self._packed = _pack(weight) if supported() else None
        self._float: Tensor | None = None

    def __reduce__(self) -> tuple[type[ExactMatrix], tuple[npt.NDArray[np.int8]]]:
        """Copies and pickles are made anew: torch copies no packed weights."""
        return ExactMatrix, (self._weight,)

    def __call__(self, x: Integers, zero: int = 0) -> npt.NDArray[np.float32]:
        """(x - zero) times the matrix: [n, inputs] -> [n, outputs]. Only bytes are multiplied as such."""
        if self._packed is not None and x.dtype == np.uint8:
            sums = _times(torch.from_numpy(np.require(x, requirements=["C", "W"])), zero, self._packed)
        else:
            if self._float is None:
                self._float = torch.from_numpy(self._weight.astype(np.float32))
            # torch.mm, not numpy's product: a second library's threads, spinning after their work, would slow
            # down the networks that run next.
            sums = torch.mm(torch.from_numpy(x.astype(np.float32) - np.float32(zero)), self._float)
        result: npt.NDArray[np.float32] = sums.numpy()
        return result


def in_bytes(x: Integers) -> tuple[Integers, int]:
    """Integers, and what stands for 0 among them: in bytes if they are within +-127, else as they are."""
    if x.dtype == np.uint8:
        return x, 0
    if x.size and max(int(x.max()), -int(x.min())) >= MIDDLE:
        return x, 0
    return (x + MIDDLE).astype(np.uint8), MIDDLE


class ByteConv:
    """A convolution of stride 1 of bytes [n, inputs, h, w], channels last.

    Args:
        weight: int8 [outputs, inputs, k, k].
        steps: what 1 in the weights of an output stands for, [outputs].
        bias: [outputs], in the unit of the output.
        step: what 1 in the input stands for.
        zero: the byte that stands for 0.
        padding: as in torch.nn.Conv2d.
    """

    def __init__(
        self, weight: Tensor, steps: Tensor, bias: Tensor, step: float, zero: int, padding: tuple[int, int]
    ) -> None:
        self.weight, self.steps, self.bias = weight, steps, bias
        self.step, self.zero, self.padding = step, zero, list(padding)
        self._no_offsets = torch.zeros(len(steps), dtype=torch.int64)
        self._packed: tuple[torch.Size, Tensor] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_packed": None}

    def __call__(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """[n, outputs, h, w] of the type ``dtype``: float32 or bfloat16."""
        kernel = torch.ops.onednn.qconv2d_pointwise.default
        result: Tensor = kernel(*self._operands(x), self.bias, *self._shape(), dtype, "none", [], "")
        return result

    def add_to(self, y: Tensor, x: Tensor) -> Tensor:
        """``y + conv(x)``, float32. May overwrite y."""
        kernel = torch.ops.onednn.qconv2d_pointwise.binary
        result: Tensor = kernel(
            *self._operands(x), y, self.bias, *self._shape(),
            torch.float32, 1.0, 0, "sum", 1.0, "none", [], "",
        )  # fmt: skip
        return result

    def _operands(self, x: Tensor) -> tuple[Tensor, float, int, Tensor, Tensor, Tensor]:
        # The best order of the weights depends on the input's size; in another they are moved in every call.
        packed = self._packed
        if packed is None or packed[0] != x.shape:
            how = self.step, self.zero, [1, 1], self.padding, [1, 1], 1, list(x.shape)
            packed = x.shape, torch.ops.onednn.qconv_prepack(self.weight, self.steps, *how)
            self._packed = packed
        return x, self.step, self.zero, packed[1], self.steps, self._no_offsets

    def _shape(self) -> tuple[list[int], list[int], list[int], int, float, int]:
        return [1, 1], self.padding, [1, 1], 1, 1.0, 0


_Packed = tuple[Tensor, Tensor, Tensor]


def _pack(weight: npt.NDArray[np.int8]) -> _Packed:
    outputs = weight.shape[1]
    matrix = torch.from_numpy(np.ascontiguousarray(weight.T))
    packed: Tensor = torch.ops.onednn.qlinear_prepack(matrix, None)
    return packed, torch.ones(outputs), torch.zeros(outputs, dtype=torch.int64)


def _times(x: Tensor, zero: int, matrix: _Packed) -> Tensor:
    kernel = torch.ops.onednn.qlinear_pointwise.default
    sums: Tensor = kernel(x, 1.0, zero, *matrix, None, 1.0, 0, torch.float32, "none", [], "")
    return sums


@lru_cache(maxsize=1)
def supported() -> bool:
    """Whether this processor has the instructions and this torch the kernels, and they calculate right."""
    if not cpu_has("vnni"):
        return False
    try:
        return _multiplies() and _convolves()
    except (AttributeError, RuntimeError, TypeError):  # no such kernel, or one with other arguments
        return False


def _multiplies() -> bool:
    """Largest, smallest and arbitrary numbers, in more rows and columns than a register has."""
    rows, inputs, outputs = 33, 259, 50
    x = _arbitrary((rows, inputs), 256)
    x[0], x[1] = 255, 0
    weight = _arbitrary((inputs, outputs), 255) - 127
    weight[:, 0], weight[:, 1] = 127, -127
    packed = _pack(weight.numpy().astype(np.int8))
    for zero in (0, MIDDLE):
        expected = (x - zero).double() @ weight.double()
        if not torch.equal(_times(x.to(torch.uint8), zero, packed).double(), expected):
            return False
    return True


def _convolves() -> bool:
    """The same for a convolution, by itself and added to what is there."""
    side, channels, zero = 5, 40, 20
    x = _arbitrary((1, channels, side, side), 256)
    x[:, :, 0], x[:, :, 1] = 255, 0
    weight = _arbitrary((channels, channels, 3, 3), 255) - 127
    weight[0], weight[1] = 127, -127
    bias = torch.arange(channels).float()
    expected = F.conv2d((x - zero).double(), weight.double(), bias.double(), padding=1)
    conv = ByteConv(weight.to(torch.int8), torch.ones(channels), bias, 1.0, zero, (1, 1))
    bytes_ = x.to(torch.uint8).contiguous(memory_format=torch.channels_last)
    ones = torch.ones(expected.shape).contiguous(memory_format=torch.channels_last)
    alone, added = conv(bytes_, torch.float32), conv.add_to(ones, bytes_)
    return torch.equal(alone.double(), expected) and torch.equal(added.double(), expected + 1)


def _arbitrary(shape: tuple[int, ...], below: int) -> Tensor:
    """The same numbers everywhere, below ``below``."""
    count = int(np.prod(shape))
    numbers: Any = np.arange(count, dtype=np.int64) * 2654435761 % 2**32 >> 12
    return torch.from_numpy(numbers % below).view(shape)
