"""How much a picture may cost: the ways of saying so that every codec takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from ganic.errors import UsageError


@dataclass(frozen=True)
class Amount:
    """A quality, a rate, or a size: one of the three is not None."""

    quality: float | None = None
    """0 (smallest) to 1 (best)."""
    bpp: float | None = None
    """Bits per pixel."""
    size: int | None = None
    """Bytes."""
    is_goal: bool = False
    """The rate is a name's: for the picture alone, and where it cannot be kept, the smallest file will do."""

    @classmethod
    def of(
        cls,
        rates: Mapping[str, float],
        *,
        quality: float | None = None,
        rate: str | None = None,
        target_bpp: float | None = None,
        target_bytes: int | None = None,
    ) -> Self:
        """What a caller of ``encode`` asks for; nothing is the rate "medium".

        ``rates``: a codec's named rates, in bits per pixel.  Raises UsageError where more than one thing is
        asked for, or one is out of range.
        """
        if sum(x is not None for x in (quality, rate, target_bpp, target_bytes)) > 1:
            raise UsageError("encode: more than one of quality, rate, target_bpp and target_bytes; give one")
        if quality is not None:
            if not 0 <= quality <= 1:
                raise UsageError(f"quality: {quality} is not within 0 and 1")
            return cls(quality=quality)
        if target_bpp is not None:
            if not 0 < target_bpp < math.inf:
                raise UsageError(f"target_bpp: {target_bpp} is not a positive number of bits per pixel")
            return cls(bpp=target_bpp)
        if target_bytes is not None:
            return cls(size=target_bytes)
        name = "medium" if rate is None else rate
        if name not in rates:
            raise UsageError(f"rate: {name!r} is none of {', '.join(rates)}")
        return cls(bpp=rates[name], is_goal=True)

    def limit(self, width: int, height: int, beside: int = 0) -> int:
        """Bytes for the whole file of a picture; ``beside`` of them are for what it carries besides pixels.

        Raises UsageError where a target leaves less than one byte.  A quality has no limit.
        """
        size = math.floor((self.bpp or 0) * width * height / 8) if self.size is None else self.size
        if self.is_goal:
            return size + beside
        if size < 1:
            raise UsageError(f"target: {size} bytes is not a size; ask for more")
        return size
