"""``ganic sense``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

import click

from ganic.allocator import keep_freed_memory
from ganic.cli import jobs, options
from ganic.cli.progress import bar
from ganic.errors import UsageError

if TYPE_CHECKING:
    from ganic.ganz.budget import Progress
    from ganic.ganz.model import FirstLayer


@click.command("sense", short_help="Recover a picture from few measurements, with a GANZ model.")
@click.argument("picture", metavar="PICTURE")
@click.option("--measurements", type=int, metavar="M", help="How many numbers are measured.")
@click.option("--share", type=float, metavar="M/N", help="The same as a share of the picture's numbers: 0.2.")
@click.option(
    "--noise", type=float, default=0.0, show_default=True, help="Standard deviation per measurement."
)
@click.option(
    "--kind",
    type=click.Choice(["gaussian", "structured"]),
    default="gaussian",
    show_default=True,
    help="A random matrix, or a random circulant that needs no memory.",
)
@click.option("--model", default="ganz-photo128", show_default=True, help="Name or file of a GANZ model.")
@click.option(
    "--layer",
    type=click.Choice(["auto", "basis", "structured", "dense", "none"]),
    default="auto",
    show_default=True,
    help="First layer. auto: the learned basis where the model has one.",
)
@click.option(
    "--ratio", default=6.0, show_default=True, help="N / d of a structured or dense layer, 6 to 768."
)
@click.option("--steps", default=300, show_default=True, help="Gradients.")
@click.option("--seconds", type=float, metavar="S", help="Stop after so long; Ctrl-C stops as well.")
@click.option("--restarts", default=1, show_default=True, help="Starting points, of a random layer.")
@click.option("--seed", default=0, show_default=True, help="Of measurements, layer and start.")
@click.option("--no-baseline", is_flag=True, help="Leave out FISTA in wavelets.")
@click.option(
    "-o", "--output", metavar="FILE", help="Original, recovery and baseline side by side, as a picture."
)
@click.option("-f", "--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON object on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
@options.debug_option
def command(
    picture: str,
    measurements: int | None,
    share: float | None,
    noise: float,
    kind: str,
    model: str,
    layer: str,
    ratio: float,
    steps: int,
    seconds: float | None,
    restarts: int,
    seed: int,
    no_baseline: bool,
    output: str | None,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure a picture with random vectors, and find a picture of the model that measures alike.

    The middle square of the picture is scaled to the model's size first. Beside the recovery stands what the
    classical method makes of the same measurements: FISTA in db4 wavelets and opponent colours.
    """
    if (measurements is None) == (share is None):
        raise UsageError("sense: how many measurements? give one of --measurements and --share")
    try:
        import pywt  # noqa: F401 - fail before the search, not after it
    except ModuleNotFoundError as error:
        raise UsageError("sense: PyWavelets is not installed; pip install 'ganic[baselines]'") from error
    from pathlib import Path

    import torch

    from ganic.cli import picture_files
    from ganic.ganz import experiments
    from ganic.ganz.budget import Settings
    from ganic.ganz.model import load
    from ganic.ganz.pictures import load as load_pictures
    from ganic.ganz.pictures import to_image

    job, kind_of_file = jobs.Job(picture, output or jobs.STDIO), ""
    if output is not None:
        kind_of_file = picture_files.kind_of(output)
        jobs.check_target(job, force)
    keep_freed_memory()
    loaded = load(model)
    truth = load_pictures(Path(picture), loaded.size, how="resize").values[:1]
    count = round(share * truth.numel()) if share is not None else measurements or 0
    measurement = experiments.measurement_of(loaded, count, kind == "structured", seed)
    first = layer
    if first == "auto":
        first = "structured" if loaded.basis is None else "basis"
    with bar(steps, "recovering", silent=quiet or as_json) as show:

        def report(progress: Progress) -> None:
            if show is not None:
                show(progress.step, f"recovering, misfit {float(progress.best.mean()):.2e}")

        how = experiments.How(Settings(steps, seconds, finish=0.5), restarts, seed, report=report)
        recovery = experiments.sense(
            loaded,
            cast("FirstLayer", first),
            truth,
            measurement,
            how,
            ratio=ratio if first in ("structured", "dense") else None,
            noise=noise,
        )
    shown = [truth[0], recovery.pictures[0]]
    record: dict[str, object] = {
        "input": picture,
        "model": model,
        "layer": first,
        "measurements": count,
        "share": count / truth.numel(),
        "noise": noise,
        "psnr": round(recovery.mean, 3),
    }
    line = f"{count} of {truth.numel()} numbers: recovery {recovery.mean:.2f} dB"
    if not no_baseline:
        baseline = experiments.lasso(truth, measurement, noise=noise, seed=seed)
        shown.append(baseline.pictures[0])
        record["fista_psnr"] = round(baseline.mean, 3)
        line += f", FISTA {baseline.mean:.2f} dB"
    if output is not None:
        record["output"] = output
    click.echo(json.dumps(record) if as_json else line)
    if output is not None:
        image = to_image(torch.cat(shown, dim=2))
        jobs.write(job, lambda file: picture_files.save(image, file, kind_of_file, output), force)
