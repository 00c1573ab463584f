"""What the paper's future work and its relatives gain over one search through a random first layer.

    python benchmarks/ganz_tries.py --model ganz-faces64 --set faces=faces.zip@8936 --box 13 25 64 64

For models with a learned basis: starts of the latent, several of them, the layer's change beside it
(`ganic.ganz.joint`), the basis from zero and from the encoder, and, for measurements, an intermediate layer
set free. All with as many gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import click
import torch
from torch import Tensor

from ganic.ganz.experiments import How, compress, measurement_of, psnrs, recovery, white
from ganic.ganz.figures import read_sets
from ganic.ganz.joint import joint_search
from ganic.ganz.model import Model, load
from ganic.ganz.picture_loss import PictureLoss
from ganic.ganz.search import Settings, restarts, search, start
from ganic.ganz.sensing import recover, recover_deeper
from ganic.module_command import run

RANKS = (1, 8)
"""Of the layer's change, which all pictures share."""


def random_layers(model: Model, truth: Tensor, ratio: float, settings: Settings) -> None:
    """One random layer, searched in different ways."""
    size = model.latent_size(ratio)
    layer = model.first_layer("structured", size, 0)
    loss = PictureLoss(lambda z: model.generator.synthesise(layer(z)), truth)

    def shown(latents: Tensor) -> Tensor:
        with torch.no_grad():
            return loss.render(latents).clamp(0, 1)

    def from_starts(count: int) -> Tensor:
        starts = [start("clamped-normal", len(truth), size, seed) for seed in range(count)]
        return shown(restarts(loss, starts, settings).latents)

    half = replace(settings, finish=0.5)
    zero, normal = (start(kind, len(truth), size) for kind in ("zero", "normal"))
    tries: list[tuple[str, Callable[[], Tensor]]] = [
        ("the authors' start, clamped to -1..1", lambda: from_starts(1)),
        ("a normal one, not clamped", lambda: shown(search(loss, normal, settings).latents)),
        ("zero", lambda: shown(search(loss, zero, settings).latents)),
        ("the best of four after a fifth of the steps", lambda: from_starts(4)),
        ("zero, then half of the steps L-BFGS", lambda: shown(search(loss, zero, half).latents)),
    ]
    for name, make in tries:
        say(name, size, make(), truth)
    for rank in RANKS:
        joint = joint_search(model.generator, layer, truth, zero, rank, settings)
        with torch.no_grad():
            h0 = layer(joint.latents) + (joint.latents @ joint.right) @ joint.left.mT
            made = model.generator.synthesise(h0).clamp(0, 1)
        say(f"zero, and a common change of rank {rank}", joint.numbers / len(truth), made, truth)
    for name, each in (
        ("learned basis, from zero", replace(model, encoder=None)),
        ("learned basis, from the encoder", model),
    ):
        found = compress(each, "basis", truth, How(white(settings)), ratio)
        say(name, size, found.pictures, truth)


def measurements(model: Model, truth: Tensor, share: float, settings: Settings) -> None:
    """Recovery, and the same number of steps of which the last third are in an intermediate layer."""
    measurement = measurement_of(model, round(share * truth[0].numel()), False, 0)
    problem, zero, settings = recovery(model, "basis", truth, measurement, How(settings))
    whole = recover(problem, zero, settings)
    say("measurements, the latent alone", measurement.count, whole.pictures, truth)
    third = settings.steps // 3
    first = recover(problem, zero, replace(settings, steps=settings.steps - third))
    for cut in (0, 1):
        deeper = recover_deeper(problem, first, replace(settings, steps=third), cut=cut)
        say(f"then the activation after block {cut}", measurement.count, deeper.pictures, truth)


def say(name: str, numbers: float, made: Tensor, truth: Tensor) -> None:
    """A row of the table."""
    click.echo(f"| {name} | {numbers:.0f} | {float(psnrs(made, truth).mean()):.2f} |")


@click.command()
@click.option("--model", required=True, metavar="NAME|FILE")
@click.option("--set", "sets", multiple=True, required=True, metavar="NAME=PATH[@FIRST]")
@click.option("--count", default=16, show_default=True, help="Pictures.")
@click.option("--box", type=int, nargs=4, default=None, metavar="LEFT TOP WIDTH HEIGHT")
@click.option("--ratio", default=50.0, show_default=True)
@click.option("--share", default=0.08, show_default=True, help="Measurements, of a picture's numbers.")
@click.option("--steps", default=150, show_default=True)
def command(
    model: str,
    sets: Sequence[str],
    count: int,
    box: tuple[int, int, int, int] | None,
    ratio: float,
    share: float,
    steps: int,
) -> None:
    """Print a table: numbers per picture, PSNR."""
    loaded = load(model)
    truth = torch.cat(list(read_sets(sets, loaded.size, "crop", box, count).values()))
    click.echo("| try | numbers a picture | PSNR |\n|---|---:|---:|")
    random_layers(loaded, truth, ratio, Settings(steps=steps))
    measurements(loaded, truth, share, Settings(steps=steps))


if __name__ == "__main__":
    run(command)
