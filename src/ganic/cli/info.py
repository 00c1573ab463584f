"""``ganic info``: imports nothing slow."""

from __future__ import annotations

import dataclasses

import click

from ganic import _api
from ganic.cli import jobs, options
from ganic.cli.batch import Done, Status, run

_BOXES = {
    "ALPH": "transparency",
    "AREA": "allocation",
    "LABL": "label map",
    "iccp": "ICC profile",
    "exif": "EXIF",
    "xmp_": "XMP",
}


@click.command("info", short_help="Say what is in .ganic files.")
@click.argument("inputs", nargs=-1, required=True, metavar="FILE...")
@options.recursive_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object per file.")
@click.option("-v", "--verbose", is_flag=True, help="The streams too.")
@options.debug_option
def command(inputs: tuple[str, ...], recursive: bool, as_json: bool, verbose: bool) -> None:
    """Say what is in .ganic files: size, rate, model, metadata. Nothing is decoded."""
    files = jobs.gather(inputs, recursive=recursive, wanted=jobs.is_ganic)

    def describe(source: str) -> Done:
        found = _api.info(jobs.read(source))
        record: dict[str, object] = {"input": source} | dataclasses.asdict(found)
        return Done(_line(jobs.shown(source), found, verbose), record)

    run(files, describe, Status(as_json, to_stdout=True), name=jobs.shown, verb="reading")


def _line(name: str, found: _api.Info, verbose: bool) -> str:
    model = f"{found.model} ({found.model_id})" if found.model else f"{found.model_id} (not installed here)"
    parts = [
        f"{found.width}x{found.height}",
        f"{found.bytes:,} bytes",
        f"{found.bpp:.4f} bpp",
        f"model {model}",
    ]
    parts += [f"{_BOXES.get(kind, kind)} {size:,} bytes" for kind, size in found.boxes.items()]
    if found.boxes.keys() & {"AREA", "LABL"}:
        parts.append(f"symbols {sum(found.streams):,} bytes")
        parts.append(
            f"{found.kept:.0%} kept" + (f" at {found.qualities} qualities" if found.qualities > 1 else "")
        )
    if found.labels is not None:
        named = ", ".join(f"{name} {share:.0%}" for name, share in found.labels.items())
        parts.append(f"synthesised: {named}")
    if verbose:
        count = len(found.streams)
        parts.append(f"{count} stream{'s' * (count != 1)}, {sum(found.streams):,} bytes")
        parts.append(f"format version {found.version}")
    return f"{name}: {', '.join(parts)}"
