"""Muon (Jordan et al. 2024): momentum made orthogonal, for convolutions; Adam for everything else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ganic.errors import UsageError

MOMENTUM = 0.95
RMS = 0.2
"""Of an update's entries, in learning rates: about what Adam's have (arXiv:2502.16982, section 2.2)."""
SMALLEST = 16
"""Rows and columns of a matrix, below which it is not worth the trouble."""
POLYNOMIAL = (3.4445, -4.7750, 2.0315)
"""Five turns of X <- aX + b(XX')X + c(XX')^2 X bring all singular values near 1."""
TURNS = 5


class Muon(torch.optim.Adam):
    """Adam whose updates of convolutions are orthogonal.

    A convolution [o, i, k, k] is taken for the matrix [o, i k k]; its Nesterov momentum, with all singular
    values set to about 1 and scaled to a root mean square of ``RMS`` learning rates, is its update.
    Parameters of other shapes get Adam's, and so do convolutions with an even k, which here change the
    resolution, and those from or to a few channels, which are pictures.

    Source: https://kellerjordan.github.io/posts/muon; the scale is that of Liu et al. (arXiv:2502.16982,
    Eq. 4).  Raises UsageError for a weight decay.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        if weight_decay:
            raise UsageError(f"muon: weight_decay {weight_decay}; it has none, adamw has")
        super().__init__(parameters, lr=lr, betas=betas, eps=eps)

    @staticmethod
    def orthogonalises(parameter: nn.Parameter) -> bool:
        """Whether a parameter gets orthogonal updates, and not Adam's."""
        if parameter.ndim != 4 or parameter.shape[2] % 2 == 0:
            return False
        return min(parameter.shape[0], parameter[0].numel()) >= SMALLEST

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        alike: dict[torch.Size, list[tuple[nn.Parameter, Tensor, float]]] = defaultdict(list)
        for group in self.param_groups:
            for parameter in filter(self.orthogonalises, group["params"]):
                gradient = parameter.grad
                if gradient is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
                update = gradient.lerp(momentum, MOMENTUM)
                alike[parameter.shape].append((parameter, update, group["lr"]))
                parameter.grad = None  # not Adam's
        for matrices in alike.values():
            updates = orthogonal(torch.stack([update.flatten(1) for _, update, _ in matrices]))
            rows, columns = updates.shape[1:]
            for (parameter, _, rate), update in zip(matrices, updates, strict=True):
                scale = RMS * max(rows, columns) ** 0.5
                parameter.sub_(update.view_as(parameter), alpha=rate * scale)
        loss: float | None = super().step(closure)
        return loss


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices [n, rows, columns] with their singular values moved to about 1 (0.7 to 1.2).

    Under autocast, products are taken in bfloat16: the turns forgive that.
    """
    a, b, c = POLYNOMIAL
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True) + 1e-12)
    for _ in range(TURNS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)
