"""Commands that are run as modules: ``python -m ganic.ganz.figures`` and its like."""

from __future__ import annotations

import click

from ganic.allocator import keep_freed_memory
from ganic.errors import GanicError


def run(command: click.Command) -> None:
    """Run it; what ganic raises becomes a message and its exit code."""
    keep_freed_memory()
    try:
        command(standalone_mode=True)
    except GanicError as error:
        click.echo(f"ganic: {error}", err=True)
        raise SystemExit(error.exit_code) from error
