"""Names of tensors are paths: of networks with dots between their parts, in checkpoints with slashes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

V = TypeVar("V")


def below(values: Mapping[str, V], prefix: str) -> dict[str, V]:
    """Those whose name begins with ``prefix``, which includes its last dot or slash; named without it."""
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def halves(state: Mapping[str, Tensor], prefix: str) -> dict[str, npt.NDArray[Any]]:
    """A network's state in half precision, named below ``prefix``: as model files keep networks."""
    return {f"{prefix}.{name}": value.detach().half().cpu().numpy() for name, value in state.items()}
