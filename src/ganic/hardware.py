"""What the machine at hand is good at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "fp32", "bf16"]
"""Arithmetic of networks that decide no symbol; auto: bf16 where the processor has it, and what can do with
8 bits in those (:mod:`ganic.byte_products`)."""


def uses_bf16(precision: Precision, device: torch.device) -> bool:
    """What a precision comes to on a device."""
    return precision == "bf16" or (precision == "auto" and has_fast_bf16(device))


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 products are made in hardware; emulation is slower than fp32."""
    import torch

    if device.type == "cuda":
        return True
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    checks = [getattr(torch.cpu, name, None) for name in names]
    return any(check is not None and check() for check in checks)
