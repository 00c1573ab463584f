"""What a system hands to the training loop.

An objective owns the networks and the losses of its paper; the loop owns everything else: whose turn it is,
autocast, gradients, optimisers, schedules, averages, checkpoints and logs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

Batch = Mapping[str, Tensor]
"""What one draw of the data gives, on the training device.

``image``  float32 [b, 3, h, w], RGB in [0, 1], channels_last in memory.
``label``  int64 [b], the class, where the data have classes.
``map``    int64 [b, h, w], the label of each pixel, where the data have label maps.
``rate``   float32 [b], where ``data.rates`` says so: bits per pixel that the whole picture of each crop
           should take; ``level``, the water level at which it does (see ganic.water_filling); ``weight``,
           how much the crop has to count, since those with many bits are more frequent than they are.
"""


class Objective(Protocol):
    """The losses of one paper.

    The loop runs, for each step, for each of ``players(step)`` in order: a batch (a fresh one where
    ``fresh_batch`` says so, otherwise the one before), ``loss``, its gradients *with respect to that player's
    parameters only* (every other parameter in ``networks`` has ``requires_grad`` off during the turn), one
    optimiser step.  After the last player come the moving average and ``after_step``.

    A loss is a mean over the batch, so that averaging the gradients of several processes, each with its part
    of the batch, gives the gradient of the whole batch.  Randomness comes from torch's default generators
    (they are saved in checkpoints); nothing else is.

    Gradient penalties work as usual: call ``torch.autograd.grad(..., create_graph=True)`` within ``loss``.
    ``loss`` runs under autocast when the recipe says ``precision = "bf16"``; a term that needs float32 opens
    ``torch.autocast(device_type, enabled=False)`` itself.
    """

    @property
    def networks(self) -> nn.ModuleDict:
        """Everything that checkpoints save.

        Numbers that change in training but are no weights (BEGAN's k) are buffers of some module in here.
        Fixed networks that need no saving (a perceptual trunk) stay out: freeze them, and move them to the
        batch's device when they first see one.
        """
        ...

    @property
    def ema_of(self) -> Sequence[str]:
        """Names in ``networks`` whose moving average is kept, saved, and used for samples and export."""
        ...

    def players(self, step: int) -> Sequence[str]:
        """Whose turn it is, in order, within this step; each has its optimiser in the recipe."""
        ...

    def parameters(self, player: str) -> Sequence[nn.Parameter]:
        """What this player's optimiser changes: the same list on every call, all within ``networks``."""
        ...

    def fresh_batch(self, player: str) -> bool:
        """Whether this player's turn starts with new data; the first turn of a step always does."""
        ...

    def loss(self, player: str, batch: Batch, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The scalar this player minimises, and named scalars (detached or not) for ``metrics.jsonl``."""
        ...

    def after_step(self, step: int, stats: Mapping[str, float]) -> None:
        """Called once at the end of each step, with the same numbers in every process.

        ``stats`` holds ``"<player>/loss"``, ``"<player>/grad_norm"`` and ``"<player>/<name>"`` for every
        named scalar, averaged over processes; a player with several turns gives its last turn's numbers.
        """
        ...

    def samples(self, batch: Batch, step: int) -> Tensor:
        """Pictures to look at, [n, 3, h, w] in [0, 1].

        Called without gradients, with the averaged weights in ``networks``, which are in eval mode.
        """
        ...


@runtime_checkable
class Validating(Protocol):
    """An objective that can say how good its networks are on pictures that they are not trained on."""

    def validate(self, pictures: Sequence[Tensor]) -> Mapping[str, float]:
        """Named measures of pictures, each uint8 [3, h, w] on the training device, for ``metrics.jsonl``.

        Called as ``samples`` is, and in the leading process alone.
        """
        ...
