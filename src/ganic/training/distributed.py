"""Several processes, one run: plain ``torch.distributed``, started by ``torchrun``.

Each process takes its share of every batch; gradients are averaged.  No wrapper around the networks, so an
objective needs to know nothing of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from ganic.errors import TrainingError
from ganic.hardware import device_of


@dataclass(frozen=True)
class Team:
    """This process's place among the run's processes.  With ``size`` 1 every method is free of charge."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and the logs."""
        return self.rank == 0

    def average(self, values: Tensor) -> Tensor:
        """The mean of ``values`` over processes, in place."""
        if self.size > 1:
            distributed.all_reduce(values)
            values /= self.size
        return values

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its mean over processes; a missing one counts as zero.

        One all-reduce of all gradients end to end: all parameters have one dtype here (float32).
        """
        if self.size == 1:
            return
        present = [p for p in parameters if p.requires_grad]
        for parameter in present:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [p.grad for p in present if p.grad is not None]
        flat = self.average(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))

    @torch.no_grad()
    def broadcast(self, module: nn.Module) -> None:
        """Give every process the leader's parameters and buffers."""
        if self.size > 1:
            for tensor in [*module.parameters(), *module.buffers()]:
                whole = tensor.detach().contiguous()
                distributed.broadcast(whole, src=0)
                tensor.copy_(whole)

    def any(self, flags: Sequence[bool]) -> list[bool]:
        """Each flag, true where it is true in any process; the same answer in all of them."""
        if self.size == 1:
            return list(flags)
        votes = torch.tensor(flags, dtype=torch.int32, device=self.device)
        distributed.all_reduce(votes, op=distributed.ReduceOp.MAX)
        return [bool(vote) for vote in votes.tolist()]

    def gather(self, values: Tensor) -> list[Tensor]:
        """Every process's ``values`` (all of one shape), in rank order, on the CPU."""
        if self.size == 1:
            return [values.cpu()]
        return [value.cpu() for value in _of_all(values.to(self.device))]

    def wait(self) -> None:
        """Return once every process has called this."""
        if self.size > 1:
            distributed.barrier()

    def leave(self) -> None:
        """End the collective communication of this process."""
        if self.size > 1:
            distributed.destroy_process_group()


@torch.no_grad()
def from_everyone(values: Tensor) -> Tensor:
    """Every process's ``values``, all of one shape, end to end in rank order; alone: the values themselves.

    For statistics over the whole batch, of which an objective sees its share.
    """
    if not distributed.is_available() or not distributed.is_initialized():
        return values.detach()
    return torch.cat(_of_all(values))


def _of_all(values: Tensor) -> list[Tensor]:
    """Every process's ``values``, in rank order."""
    mine = values.contiguous()
    all_values = [torch.empty_like(mine) for _ in range(distributed.get_world_size())]
    distributed.all_gather(all_values, mine)
    return all_values


def join(device: str = "auto") -> Team:
    """Take the place that torchrun's environment (RANK, WORLD_SIZE, LOCAL_RANK) gives; alone without it.

    ``device``: ``auto`` (a GPU where there is one), or anything torch accepts.  Under torchrun each process
    takes the GPU of its LOCAL_RANK (NCCL), or the CPU (Gloo).
    Raises UsageError for a device that is not here, TrainingError where there are more processes on a machine
    than GPUs.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    chosen = device_of(kind)
    if size == 1:
        return Team(0, 1, torch.device("cuda", torch.cuda.current_device()) if kind == "cuda" else chosen)
    if chosen.type == "cuda":
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise TrainingError(
                f"torchrun: process {local} of this machine finds {torch.cuda.device_count()} GPU(s); "
                "start at most one process per GPU, or train with device cpu"
            )
        chosen = torch.device("cuda", local)
        torch.cuda.set_device(chosen)
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return Team(distributed.get_rank(), distributed.get_world_size(), chosen)
