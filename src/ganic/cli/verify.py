"""``ganic verify``."""

from __future__ import annotations

import click

from ganic.cli import jobs, options
from ganic.cli.batch import Done, Status, run


@click.command("verify", short_help="Check that .ganic files decode to what was encoded.")
@click.argument("inputs", nargs=-1, required=True, metavar="FILE...")
@options.recursive_option
@options.decoding_model_option
@options.status_options
def command(
    inputs: tuple[str, ...], recursive: bool, model: str | None, as_json: bool, quiet: bool, verbose: bool
) -> None:
    """Check that .ganic files decode to what was encoded, on this machine, with the models here.

    Every symbol is decoded and compared with the checksum in the file; the pictures are not computed.
    """
    files = jobs.gather(inputs, recursive=recursive, wanted=jobs.is_ganic)

    from ganic import _api

    def verify(source: str) -> Done:
        data = jobs.read(source)
        found = _api.info(data)
        _api.verify(data, model=model)
        line = f"{jobs.shown(source)}: ok, {found.bytes:,} bytes, {found.bpp:.4f} bpp"
        if verbose:
            line += f", model {found.model or 'by path'} ({found.model_id})"
        return Done(line, {"input": source, "ok": True, "bytes": found.bytes, "bpp": found.bpp})

    run(files, verify, Status(as_json, quiet), name=jobs.shown, verb="verifying")
