"""Names of tensors are paths: of networks with dots between their parts, in checkpoints with slashes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

V = TypeVar("V")


def below(values: Mapping[str, V], prefix: str) -> dict[str, V]:
    """Those whose name begins with ``prefix``, which includes its last dot or slash; named without it."""
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
