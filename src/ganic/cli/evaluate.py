"""``ganic evaluate``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from ganic import __version__
from ganic.cli import options
from ganic.errors import TargetError

if TYPE_CHECKING:
    from PIL import Image

    from ganic._api import FileCodec
    from ganic.baselines import Baseline
    from ganic.evaluation import Opponent
    from ganic.evaluation.contest import Progress
    from ganic.hardware import Precision
    from ganic.models import ModelInfo

WEIGHTS = click.Path(exists=True, dir_okay=False, path_type=Path)
MSE = "mse"
"""The opponent that is the same file, decoded by the network of the distortion-only stage."""


@click.command("evaluate", short_help="Measure a model against other codecs.")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False))
@click.option(
    "-o", "--output", default="evaluation", show_default=True, metavar="DIR", help="For files and results."
)
@click.option(
    "--bpp", default="0.05,0.1,0.2", show_default=True, metavar="X,...", help="Rate points, for each picture."
)
@click.option(
    "--quality", metavar="Q,...", help="Rate points as qualities 0..100 instead, the same for all pictures."
)
@click.option(
    "--against",
    metavar="CODEC[:N],...",
    help="Opponents; :2 with twice the bytes; mse: the distortion-only network. Default: all, and avif:2.",
)
@click.option(
    "--floor",
    metavar="CODEC",
    help="Never code a picture smaller than this codec can: where its coarsest file is larger than the rate "
    "point, ganic gets as many bytes.",
)
@click.option(
    "--published", metavar="SET", help="Draw published points on this data set: kodak, clic2020, ..."
)
@click.option("--no-ssimulacra2", is_flag=True, help="Leave out the slowest measure.")
@click.option("--lpips", type=WEIGHTS, help="Weights for LPIPS, which do not ship with ganic.")
@click.option("--dists", type=WEIGHTS, help="Weights for DISTS.")
@click.option("--inception", type=WEIGHTS, help="Inception weights for FID.")
@click.option("--fidelity", type=click.FloatRange(0, 1), default=0.0, metavar="0..1", help="As in decode.")
@click.option("--steps", type=click.IntRange(0), metavar="N", help="As in encode.")
@options.model_option
@options.precision_option
@click.option("--json", "as_json", is_flag=True, help="All results as one JSON object on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="No table and no progress.")
@options.debug_option
def command(
    folder: str,
    output: str,
    bpp: str,
    quality: str | None,
    against: str | None,
    floor: str | None,
    published: str | None,
    no_ssimulacra2: bool,
    lpips: Path | None,
    dists: Path | None,
    inception: Path | None,
    fidelity: float,
    steps: int | None,
    model: str,
    precision: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Code every picture in DIR with ganic and with other codecs at the same bytes, and measure them all.

    Writes results as JSON, CSV, Markdown, plots and an HTML report. Coded files are kept: an
    evaluation that was interrupted goes on, and one with another opponent adds only that.
    """
    points = _points(bpp, quality)
    if find_spec("matplotlib") is None:  # said before the work, not after it
        raise click.UsageError("plots need matplotlib; pip install 'ganic[baselines]'")
    if floor and quality is not None:
        raise click.UsageError("--floor is for rate points in bits per pixel; leave out --quality.")

    from ganic import models
    from ganic._api import load_codec
    from ganic.baselines import available
    from ganic.evaluation import Contest, Instruments, find_pictures, markdown, to_json, write_results
    from ganic.evaluation.published import read_published

    drawn = read_published(published) if published else ()
    codec = load_codec(model, cast("Precision", precision))
    found = models.find(model)
    baselines = {baseline.name: baseline for baseline in available()}
    lower = None if floor is None else options.named(baselines, floor.strip().lower(), "--floor")
    ours = {point.name: _Ours(codec, found, point, fidelity, steps, precision, lower) for point in points}
    contest = Contest(
        find_pictures(Path(folder)),
        ours,
        _opponents(against, baselines, codec, found),
        Path(output),
        title=f"ganic {found.name}",
        instruments=Instruments(
            with_ssimulacra2=not no_ssimulacra2, lpips=lpips, dists=dists, inception=inception
        ),
    )
    with _progress(quiet) as tell:
        evaluation = contest.evaluate(tell)
    report = write_results(
        contest, evaluation, title=f"ganic {found.name} on {Path(folder).name}", published=drawn
    )
    if as_json:
        click.echo(to_json(evaluation))
    elif not quiet:
        click.echo(markdown(evaluation))
    click.echo(f"wrote {report}", err=True)


@dataclass(frozen=True)
class _Point:
    """Where on its curve a codec is measured: bits per pixel of each picture, or a quality 0 .. 100."""

    name: str
    bpp: float | None
    quality: float | None


def _points(bpp: str, quality: str | None) -> list[_Point]:
    option, text = ("--bpp", bpp) if quality is None else ("--quality", quality)
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise click.BadParameter("write numbers with commas between them.", param_hint=option) from error
    if not all(0 < n < 100 or (quality is not None and 0 <= n <= 100) for n in numbers):
        raise click.BadParameter(f"{text} is out of range.", param_hint=option)
    if quality is None:
        return [_Point(f"{n:g} bpp", n, None) for n in numbers]
    return [_Point(f"quality {n:g}", None, n) for n in numbers]


@dataclass(frozen=True)
class _Ours:
    """The codec at one rate point, as the contest wants it."""

    codec: FileCodec
    model: ModelInfo
    point: _Point
    fidelity: float
    steps: int | None
    precision: str
    floor: Baseline | None

    @property
    def identity(self) -> str:
        import torch

        from ganic.hardware import uses_bf16

        bf16 = uses_bf16(cast("Precision", self.precision), torch.device("cpu"))
        how = f"ganic {__version__}, {self.precision} as {'bf16' if bf16 else 'fp32'}"
        parts = [f"model {self.model.digest}", self.point.name, how]
        if self.fidelity:
            parts.append(f"fidelity {self.fidelity:g}")
        if self.steps is not None:
            parts.append(f"steps {self.steps}")
        if self.floor:
            parts.append(f"not below {self.floor.name}: {self.floor.settings}")
        return ", ".join(parts)

    def encode(self, image: Image.Image) -> bytes:
        encode = partial(self.codec.encode, image, steps=self.steps)
        if self.point.bpp is None:
            return encode(quality=cast("float", self.point.quality) / 100)
        size = max(1, int(self.point.bpp * image.width * image.height / 8))
        if self.floor:
            from ganic.baselines import file_of

            size = max(size, len(file_of(self.floor, image, self.floor.qualities[0])))
        try:
            return encode(target_bytes=size)
        except TargetError:
            # Too detailed for so few bits: the lowest quality takes part, and opponents get its bytes.
            return encode(quality=0)

    def decode(self, data: bytes) -> Image.Image:
        return self.codec.decode(data, fidelity=self.fidelity)


def _opponents(
    against: str | None, baselines: Mapping[str, Baseline], codec: FileCodec, model: ModelInfo
) -> list[Opponent]:
    from ganic.evaluation import Opponent
    from ganic.extreme.codec import Codec

    by_name = dict(baselines)
    if isinstance(codec, Codec) and codec.has_distortion_generator:
        by_name[MSE] = _distortion_only(codec, model)
    if against is None:
        opponents = [Opponent(baseline) for baseline in by_name.values()]
        return opponents + [Opponent(by_name["avif"], 2.0)] * ("avif" in by_name)
    opponents = []
    for part in against.split(","):
        name, _, budget = part.strip().lower().partition(":")
        baseline = options.named(by_name, name, "--against")
        try:
            opponents.append(Opponent(baseline, float(budget or 1)))
        except ValueError as error:
            raise click.UsageError(f"--against {part}: write CODEC or CODEC:2.") from error
    return opponents


def _distortion_only(codec: FileCodec, model: ModelInfo) -> Baseline:
    """The papers' learned baseline: the same bits, decoded by the network before its adversarial stage."""
    from ganic.baselines import Baseline
    from ganic.extreme.conditioning import QUALITIES

    return Baseline(
        MSE,
        "the same network, distortion only",
        f"the same symbols, decoded with fidelity 1; model {model.digest}",
        lambda image, quality: codec.encode(image, quality=quality / (QUALITIES - 1)),
        lambda data: codec.decode(data, fidelity=1),
        range(QUALITIES),
    )


@contextmanager
def _progress(quiet: bool) -> Iterator[Progress | None]:
    """A bar where somebody looks at it."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, what: bar.update(task, completed=done, total=total, description=what)
