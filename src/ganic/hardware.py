"""What the machine at hand is good at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ganic.errors import UsageError

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "fp32", "bf16"]
"""Arithmetic of networks that decide no symbol; auto: bf16 where the processor has it, and what can do with
8 bits in those (:mod:`ganic.byte_products`)."""


def device_of(name: str | torch.device) -> torch.device:
    """The device of that name: ``cpu``, ``cuda``, ``cuda:1``.  Raises UsageError if there is none here."""
    import torch

    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"device {name}: cannot be used here ({reason}); cpu always can") from error
    return device


def uses_bf16(precision: Precision, device: torch.device) -> bool:
    """What a precision comes to on a device."""
    return precision == "bf16" or (precision == "auto" and has_fast_bf16(device))


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 products are made in hardware; emulation is slower than fp32."""
    return device.type == "cuda" or cpu_has("avx512_bf16") or cpu_has("amx_tile")


def cpu_has(instructions: str) -> bool:
    """Whether torch says that the processor has these instructions; false where it does not know them."""
    import torch

    check = getattr(torch.cpu, f"_is_{instructions}_supported", None)
    return check is not None and bool(check())
