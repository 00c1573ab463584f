"""Options that several subcommands share, and the types of their values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from ganic.hardware import Precision

if TYPE_CHECKING:
    from ganic.regions import Box

DEBUG = "ganic.debug"
"""Key in the click context: tracebacks are wanted."""

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_SIZE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([kKmM]?)(i?)[bB]?")


def parse_size(text: str) -> int:
    """A number of bytes: 1234, 12k, 1.5M (thousands), 12Ki, 1Mi (1024s). Raises click.BadParameter."""
    match = _SIZE.fullmatch(text.strip())
    if not match or (match[3] and not match[2]):
        raise click.BadParameter(f"{text!r} is not a number of bytes; write 1234, 12k or 1.5M.")
    power = {"": 0, "k": 1, "m": 2}[match[2].lower()]
    size = int(float(match[1]) * (1024 if match[3] else 1000) ** power)
    if size < 1:
        raise click.BadParameter("0 bytes hold no picture.")
    return size


@dataclass(frozen=True)
class Rate:
    """How many bytes to spend; at most one of them is set."""

    name: str | None
    quality: float | None
    bpp: float | None
    size: int | None

    @property
    def given(self) -> bool:
        return any(way is not None for way in (self.name, self.quality, self.bpp, self.size))


def rate_options(command: F) -> F:
    """--rate, --quality, --target-bpp and --target-size; `rate_of` makes a Rate of them."""
    for option in (
        click.option(
            "--target-size", type=parse_size, metavar="SIZE", help="Whole file, in bytes: 1234, 12k, 1.5M."
        ),
        click.option(
            "--target-bpp",
            type=click.FloatRange(0, min_open=True),
            metavar="BPP",
            help="Whole file, in bits per pixel: never above; at most 3 % below, where the model can.",
        ),
        click.option("--quality", type=click.FloatRange(0, 100), metavar="0..100", help="Instead of a rate."),
        click.option(
            "--rate",
            type=click.Choice(["low", "medium", "high"]),
            help="About 0.05, 0.1 (the default) or 0.2 bits per pixel; GANZ models 0.15, 0.3 or 0.6.",
        ),
    ):
        command = option(command)
    return command


def rate_of(
    rate: str | None, quality: float | None, target_bpp: float | None, target_size: int | None
) -> Rate:
    """What the options say; raises click.UsageError if they say several things."""
    chosen = Rate(rate, quality, target_bpp, target_size)
    given = {"--rate": rate, "--quality": quality, "--target-bpp": target_bpp, "--target-size": target_size}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise click.UsageError(f"{' and '.join(names)} contradict each other; give one of them.")
    return chosen


def parse_box(ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]) -> list[Box]:
    """Rectangles written x,y,width,height in pixels. Raises click.BadParameter."""
    boxes: list[Box] = []
    for text in texts:
        parts = text.split(",")
        try:
            x, y, width, height = (int(part) for part in parts)
        except ValueError as error:
            raise click.BadParameter(f"{text!r} is no box; write x,y,width,height in pixels.") from error
        boxes.append((x, y, width, height))
    return boxes


def parse_names(ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]) -> list[str]:
    """Names with commas between, from every use of the option."""
    return [name.strip() for text in texts for name in text.split(",") if name.strip()]


def named(baselines: Mapping[str, T], name: str, option: str) -> T:
    """The codec to compare with of that name. Raises click.UsageError."""
    try:
        return baselines[name]
    except KeyError:
        known = ", ".join(baselines)
        raise click.UsageError(f"{option} {name}: not installed or unknown; there are {known}.") from None


def region_options(command: F) -> F:
    """--labels, --keep, --drop, --keep-box, --keep-mask, --background, --segmenter, --label-format,
    --simplify-labels."""
    for option in (
        click.option(
            "--simplify-labels",
            type=click.IntRange(0, 64),
            default=0,
            show_default=True,
            metavar="PIXELS",
            help="How far off labels may be, to cost fewer bytes.",
        ),
        click.option(
            "--label-format",
            type=click.Choice(
                ["auto", "indexed", "camvid", "cityscapes", "cityscapes-ids", "cityscapes-train-ids", "coco"]
            ),
            default="auto",
            help="Whose convention label maps follow.",
        ),
        click.option(
            "--segmenter", metavar="MODEL", help="Makes the labels where there are none.  [street-segmenter]"
        ),
        click.option(
            "--background",
            type=click.FloatRange(0, 100),
            default=60,
            show_default=True,
            metavar="0..100",
            help="Quality points less for what is not kept, where it is not synthesised.",
        ),
        click.option(
            "--keep-mask",
            metavar="FILE",
            help="A grey picture of the same size; white is kept.",
        ),
        click.option(
            "--keep-box", multiple=True, callback=parse_box, metavar="X,Y,W,H", help="Repeatable; pixels."
        ),
        click.option(
            "--drop", multiple=True, callback=parse_names, metavar="CLASS,...", help="What does not."
        ),
        click.option(
            "--keep", multiple=True, callback=parse_names, metavar="CLASS,...", help="What matters."
        ),
        click.option(
            "--labels",
            metavar="FILE|DIR",
            help="A map of what is where, or a folder with one per picture.",
        ),
    ):
        command = option(command)
    return command


def model_option(command: F) -> F:
    return click.option(
        "--model",
        default="photo",
        show_default=True,
        help="Name of an installed model, or path of a model file.",
    )(command)


def decoding_model_option(command: F) -> F:
    return click.option(
        "--model", help="Path of the model file that made the file, where no folder of models has it."
    )(command)


def precision_option(command: F) -> F:
    return click.option(
        "--precision",
        type=click.Choice(get_args(Precision)),
        default="auto",
        show_default=True,
        help="Arithmetic of the networks. auto: bf16, and 8 bits for the widest layers, where the processor "
        "has those.",
    )(command)


def truncation_option(command: F) -> F:
    return click.option(
        "--truncation",
        type=float,
        default=1.0,
        show_default=True,
        metavar="0..1",
        help="Below 1: more typical pictures, less variety.",
    )(command)


def output_options(command: F) -> F:
    """-o and -f of commands that write one file for each they read."""
    command = click.option("-f", "--force", is_flag=True, help="Replace files that exist.")(command)
    return click.option("-o", "--output", metavar="FILE|DIR|-", help="Default: beside each input.")(command)


def recursive_option(command: F) -> F:
    return click.option("-r", "--recursive", is_flag=True, help="Search folders.")(command)


def status_options(command: F) -> F:
    """--json, -q, -v and --debug of commands that go through files."""
    command = debug_option(command)
    command = click.option("-v", "--verbose", is_flag=True, help="Say more.")(command)
    command = click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")(command)
    return click.option("--json", "as_json", is_flag=True, help="One JSON object per file on stdout.")(
        command
    )


def debug_option(command: F) -> F:
    def remember(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        ctx.meta[DEBUG] = value

    return click.option(
        "--debug", is_flag=True, expose_value=False, callback=remember, help="Show the traceback of an error."
    )(command)
