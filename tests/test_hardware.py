"""Devices by name."""

from __future__ import annotations

import pytest
import torch

from ganic.errors import UsageError
from ganic.hardware import device_of


def test_devices_by_name() -> None:
    assert device_of("cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match=r"device gpu: cannot be used here \(.*\); cpu always can"):
        device_of("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="device cuda: cannot be used here"):
            device_of("cuda")
