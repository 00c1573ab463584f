"""Arithmetic of one training step of each recipe, so that recipes can be compared at equal compute.

    python benchmarks/jpeg_compute.py recipes/jpeg_*.toml

Counts the multiplications and additions of matrix products and convolutions, forward and backward, second
derivatives of gradient penalties included, averaged over a few steps.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ganic.jpeg import recipe as jpeg_recipe
from ganic.training import recipes

BATCH, STEPS = 4, 16


class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sums over every operator that runs. (FlopCounterMode follows modules; second derivatives break it.)"""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


def flops_per_picture(path: str) -> tuple[float, int]:
    """Operations for each picture of a batch and step; and the generator's parameters."""
    loaded = recipes.load(path)
    objective = jpeg_recipe.build(loaded)
    side = loaded.crop
    batch = {"image": torch.rand(BATCH, 3, side, side), "label": torch.zeros(BATCH, dtype=torch.int64)}
    total = 0
    for step in range(STEPS):
        for player in objective.players(step):
            mine = {id(parameter) for parameter in objective.parameters(player)}
            for parameter in objective.networks.parameters():
                parameter.requires_grad_(id(parameter) in mine)
            with Counter() as counter:  # type: ignore[no-untyped-call]
                loss, _ = objective.loss(player, batch, step)
                loss.backward()  # type: ignore[no-untyped-call]
            total += counter.total
    parameters = sum(parameter.numel() for parameter in objective.generator.parameters())
    return total / (BATCH * STEPS), parameters


def main() -> None:
    for path in sys.argv[1:]:
        loaded = recipes.load(path)
        flops, parameters = flops_per_picture(path)
        whole = flops * loaded.batch * loaded.steps
        print(
            f"{loaded.name:28} {flops / 1e9:6.2f} GFLOP per picture and step, {loaded.steps:7,} steps of "
            f"{loaded.batch}: {whole / 1e15:6.1f} PFLOP; generator {parameters:,} parameters"
        )


if __name__ == "__main__":
    main()
