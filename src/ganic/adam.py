"""Adam's update (Kingma and Ba, arXiv:1412.6980, Algorithm 1), for searches that last seconds.

`torch.optim` has it too, but its first use imports torch's compiler, which takes a second.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Adam:
    """The moments of one tensor's gradients.

    Args:
        like: a tensor of the same shape, type and device.
        betas: decay of the first and of the second moment.
        eps: keeps elements that never had a gradient from being divided by zero.
    """

    def __init__(self, like: Tensor, betas: tuple[float, float], eps: float = 1e-8) -> None:
        self.betas, self.eps, self.steps = betas, eps, 0
        self._first, self._second = torch.zeros_like(like), torch.zeros_like(like)

    def __call__(self, current: Tensor, gradient: Tensor, rate: float) -> Tensor:
        """``current`` after one more step, a new tensor; ``rate`` is the learning rate."""
        self.steps += 1
        beta1, beta2 = self.betas
        self._first.lerp_(gradient, 1 - beta1)
        self._second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        scale = (self._second / (1 - beta2**self.steps)).sqrt_().add_(self.eps)
        return current.addcdiv(self._first, scale, value=-rate / (1 - beta1**self.steps))
