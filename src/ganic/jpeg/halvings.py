"""How wide networks are that halve a picture's sides until 4 x 4 positions are left."""

from __future__ import annotations

LAST_SIDE = 4
"""Side of the last map in pixels."""


def channels(size: int, widths: tuple[int, ...]) -> tuple[int, ...]:
    """At side ``size``, half of it, ..., `LAST_SIDE`: ``widths``, and the last of them again where they end.

    ``size`` is 4 times a power of two.
    """
    halvings = (size // LAST_SIDE).bit_length() - 1
    return (*widths, *widths[-1:] * halvings)[: halvings + 1]
