"""Products of bytes: against integers of Python's width, and found out where they would saturate."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from torch.nn import functional as F

from ganic import byte_products
from ganic.byte_products import ByteConv, ExactMatrix, in_bytes, supported

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 70), st.integers(1, 40))


def matrices() -> st.SearchStrategy[tuple[NDArray[np.uint8], NDArray[np.int8]]]:
    return SIZES.flatmap(
        lambda size: st.tuples(
            arrays.arrays(np.uint8, size[:2], elements=st.integers(0, 255)),
            arrays.arrays(np.int8, size[1:], elements=st.integers(-128, 127)),
        )
    )


@given(matrices(), st.sampled_from([0, 1, 128, 255]))
def test_a_matrix_gives_the_sums_of_integers(
    factors: tuple[NDArray[np.uint8], NDArray[np.int8]], zero: int
) -> None:
    x, weight = factors
    exact = ExactMatrix(weight)
    expected = (x.astype(np.int64) - zero) @ weight.astype(np.int64)
    assert exact.shape == weight.shape
    assert (exact(x, zero) == expected).all()
    assert (exact(x.astype(np.int16), zero) == expected).all()  # by float32
    assert exact(x, zero).dtype == np.float32


def test_the_same_without_the_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, weight = (
        rng.integers(0, 256, (300, 1152), np.uint8),
        rng.integers(-127, 128, (1152, 70)).astype(np.int8),
    )
    fast = ExactMatrix(weight)(x)
    monkeypatch.setattr(byte_products, "supported", lambda: False)
    slow = ExactMatrix(weight)
    assert slow._packed is None
    assert (slow(x) == fast).all()


def test_copies() -> None:
    x, weight = np.full((3, 5), 200, np.uint8), np.arange(20, dtype=np.int8).reshape(5, 4)
    exact = ExactMatrix(weight)
    for other in (copy.deepcopy(exact), pickle.loads(pickle.dumps(exact))):
        assert (other(x) == exact(x)).all()


@pytest.mark.parametrize(("largest", "bytes_"), [(0, True), (127, True), (128, False), (255, False)])
def test_which_numbers_are_bytes(largest: int, bytes_: bool) -> None:
    for sign in (1, -1):
        x = np.array([[0, sign * largest, 3 if largest else 0]], np.int16)
        numbers, zero = in_bytes(x)
        assert (numbers.dtype == np.uint8) == bytes_
        assert (numbers.astype(int) - zero == x).all()


def test_no_numbers_at_all() -> None:
    assert in_bytes(np.empty((0, 3), np.int16))[0].shape == (0, 3)
    for dtype in (np.uint8, np.int16):
        assert ExactMatrix(np.ones((3, 2), np.int8))(np.empty((0, 3), dtype)).shape == (0, 2)  # type: ignore[arg-type]


@pytest.mark.skipif(not supported(), reason="the processor multiplies no bytes")
@pytest.mark.parametrize(("size", "padding"), [(3, 1), (1, 0)])
def test_a_convolution_in_float64(size: int, padding: int) -> None:
    torch.manual_seed(0)
    x = torch.randint(0, 256, (2, 12, 7, 9))
    weight, steps = torch.randint(-127, 128, (20, 12, size, size)), torch.rand(20) / 1000
    bias, step, zero = torch.randn(20), 0.03, 17
    expected = F.conv2d(
        (x - zero).double() * step, weight * steps[:, None, None, None].double(), padding=padding
    )
    expected += bias[:, None, None]
    conv = ByteConv(weight.to(torch.int8), steps, bias, step, zero, (padding, padding))
    given = x.to(torch.uint8).contiguous(memory_format=torch.channels_last)
    assert torch.allclose(conv(given, torch.float32).double(), expected, atol=1e-5)
    assert torch.allclose(conv(given, torch.bfloat16).double(), expected, atol=0.02, rtol=0.01)
    before = torch.randn(expected.shape).contiguous(memory_format=torch.channels_last)
    assert torch.allclose(conv.add_to(before.clone(), given).double(), expected + before, atol=1e-5)
    assert torch.equal(copy.deepcopy(conv)(given, torch.float32), conv(given, torch.float32))
    other = given[:, :, :5]  # of another size: weights are packed anew
    assert conv(other.contiguous(memory_format=torch.channels_last), torch.float32).shape[2] == 5


def test_a_torch_without_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> bool:
        raise AttributeError("no such operator")

    monkeypatch.setattr(byte_products, "_multiplies", fails)
    supported.cache_clear()
    try:
        assert not supported()
    finally:
        monkeypatch.undo()
        supported.cache_clear()


@pytest.mark.parametrize("instructions", ["SSE41", "AVX2", "AVX512_CORE"])
def test_kernels_that_saturate_are_not_used(instructions: str) -> None:
    made = subprocess.run(
        [sys.executable, "-c", "from ganic.byte_products import supported; print(supported())"],
        env=os.environ | {"ONEDNN_MAX_CPU_ISA": instructions},
        capture_output=True,
        text=True,
        check=True,
    )
    assert made.stdout.strip() == "False"
