"""``ganic export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ganic.cli import jobs, options
from ganic.errors import TrainingError, UsageError

if TYPE_CHECKING:
    from ganic.models import ModelInfo


@click.command("export", short_help="Make a model file from a training run.")
@click.argument("run_dir", metavar="RUN_DIR")
@click.option("-o", "--output", metavar="FILE", help="Default: NAME.safetensors in the current folder.")
@click.option("--name", help="The model's name. Default: that of the folder.")
@click.option("--card", type=click.Path(exists=True, dir_okay=False), help="The model card, a Markdown file.")
@click.option(
    "--fidelity",
    metavar="RUN_DIR|MODEL",
    help="Codecs: a run that trained a second generator, for distortion alone, on the same encoder, or a "
    "model that has one.",
)
@click.option(
    "--shades",
    metavar="RUN_DIR|MODEL",
    help="Codecs: a run that trained shades on the same encoder and generator, or a model that has them.",
)
@click.option("-f", "--force", is_flag=True, help="Replace a file that exists.")
@options.debug_option
def command(
    run_dir: str,
    output: str | None,
    name: str | None,
    card: str | None,
    fidelity: str | None,
    shades: str | None,
    force: bool,
) -> None:
    """Make a model file from the averaged weights of a training run's last checkpoint.

    Put the file into a folder that $GANIC_MODELS names, or give its path to --model.
    """
    name = name or Path(run_dir).resolve().name
    target = output or f"{name}.safetensors"
    jobs.check_target(jobs.Job(run_dir, target), force)
    jobs.make_folder(target)
    text = Path(card).read_text(encoding="utf-8") if card else ""
    model = _export(Path(run_dir), Path(target), name, text, fidelity, shades)
    click.echo(f"{model.path}: {model.name} ({model.model_id.hex()}), {model.file_bytes:,} bytes", err=True)


def _export(
    run_dir: Path, target: Path, name: str, card: str, fidelity: str | None, shades: str | None
) -> ModelInfo:
    try:
        from ganic.training.run_log import run_recipe
    except ModuleNotFoundError as error:
        raise UsageError(f"export: {error.name} is not installed; pip install 'ganic[train]'") from error

    system = run_recipe(run_dir).system
    for option, source in (("--fidelity", fidelity), ("--shades", shades)):
        if source is not None and system != "extreme":
            raise UsageError(f"{option}: only models of the generative codec have that; leave it out")
    if system == "extreme":
        from ganic.extreme.export import export_run

        return export_run(run_dir, target, name, card=card, fidelity=fidelity, shades=shades)
    if system == "jpeg":
        from ganic.jpeg.export import export_run as export_jpeg

        return export_jpeg(run_dir, target, name, card=card)
    if system == "ganz":
        from ganic.ganz.export import export_run as export_ganz

        return export_ganz(run_dir, target, name, card=card)
    if system == "segmentation":
        from ganic.segmentation.export import export_run as export_segmenter

        return export_segmenter(run_dir, target, name, card=card)
    raise TrainingError(f"{run_dir}: runs of the system {system!r} cannot be exported with this command")
