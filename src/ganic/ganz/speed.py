"""How fast a search is: together or one by one, and how soon near its end.

python -m ganic.ganz.speed --model ganz-photo128 --set test=crops/
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import click
import torch
from torch import Tensor

from ganic.ganz.budget import Progress, Settings
from ganic.ganz.experiments import How, compress
from ganic.ganz.figures import read_sets
from ganic.ganz.model import FirstLayer, Model, load
from ganic.ganz.pictures import How as Fitting
from ganic.hardware import Precision, device_of, uses_bf16
from ganic.module_command import run

NEAR = 0.3
"""Decibels below the converged PSNR."""


@dataclass(frozen=True)
class Batching:
    """Pictures per second, of the same pictures with the same steps."""

    together: float
    one_by_one: float

    @property
    def gain(self) -> float:
        return self.together / self.one_by_one


@dataclass(frozen=True)
class Convergence:
    """One picture's search against the clock."""

    converged: float
    """PSNR [dB] after all steps."""
    seconds: float
    """Until the search was within NEAR of it; ``steps`` likewise."""
    steps: int


def batching(
    model: Model, kind: FirstLayer, truth: Tensor, how: How, ratio: float | None, rounds: int = 1
) -> Batching:
    """Search all pictures [n, 3, s, s] at once and one after the other, in turns: the best of each.

    Before that two steps of both, unmeasured: they bring the memory of the one and of the other batch from
    the system, which happens once in a process.
    """
    layer = model.first_layer(kind, None if ratio is None else model.latent_size(ratio), how.seed)
    for pictures in (truth[:1], truth):
        compress(model, kind, pictures, replace(how, settings=Settings(steps=2)), ratio, layer)
    together, one_by_one = math.inf, math.inf
    for _ in range(rounds):
        begin = time.perf_counter()
        compress(model, kind, truth, how, ratio, layer)
        middle = time.perf_counter()
        for picture in truth:
            compress(model, kind, picture[None], how, ratio, layer)
        together = min(together, middle - begin)
        one_by_one = min(one_by_one, time.perf_counter() - middle)
    return Batching(len(truth) / together, len(truth) / one_by_one)


def convergence(model: Model, kind: FirstLayer, truth: Tensor, how: How, ratio: float | None) -> Convergence:
    """Search one picture [1, 3, s, s] and look back when it was near its end."""
    path: list[Progress] = []
    outcome = compress(model, kind, truth, replace(how, report=path.append), ratio)
    goal = 10 ** (-(outcome.mean - NEAR) / 10)
    first = next((point for point in path if float(point.best[0]) <= goal), path[-1])
    return Convergence(outcome.mean, first.seconds, first.step)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--model", required=True, metavar="NAME|FILE")
@click.option("--set", "sets", multiple=True, required=True, metavar="NAME=PATH[@FIRST]")
@click.option("--count", default=8, show_default=True, help="Pictures.")
@click.option("--fitting", type=click.Choice(["crop", "resize"]), default="crop", show_default=True)
@click.option("--box", type=int, nargs=4, default=None, metavar="LEFT TOP WIDTH HEIGHT")
@click.option(
    "--layer", type=click.Choice(["basis", "structured", "dense"]), default="structured", show_default=True
)
@click.option("--ratio", default=50.0, show_default=True)
@click.option("--steps", default=20, show_default=True, help="Of the comparison of batches.")
@click.option("--rounds", default=3, show_default=True, help="Of that comparison; the best of each counts.")
@click.option("--converge", default=1000, show_default=True, help="Steps until convergence.")
@click.option("--precision", type=click.Choice(get_args(Precision)), default="auto", show_default=True)
@click.option("--device", default="cpu", show_default=True)
def command(
    model: str,
    sets: Sequence[str],
    count: int,
    fitting: Fitting,
    box: tuple[int, int, int, int] | None,
    layer: FirstLayer,
    ratio: float,
    steps: int,
    rounds: int,
    converge: int,
    precision: Precision,
    device: str,
) -> None:
    """Measure both, on this machine."""
    where = device_of(device)
    loaded, bf16 = load(model).to(where), uses_bf16(precision, where)
    pictures = torch.cat(list(read_sets(sets, loaded.size, fitting, box, count).values())).to(where)
    speeds = batching(loaded, layer, pictures, How(Settings(steps=steps), bf16=bf16), ratio, rounds)
    click.echo(
        f"{steps} steps: {speeds.together:.3f} pictures/s together, {speeds.one_by_one:.3f} one by one, "
        f"{speeds.gain:.2f} times"
    )
    how = How(Settings(steps=converge, finish=0.5), bf16=bf16)
    found = convergence(loaded, layer, pictures[:1], how, ratio)
    click.echo(
        f"converged {found.converged:.2f} dB after {converge} steps; within {NEAR} dB after "
        f"{found.seconds:.1f} s, {found.steps} steps"
    )


if __name__ == "__main__":
    run(command)
