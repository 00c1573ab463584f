"""The progress bar of commands that work on one long thing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Show(Protocol):
    """How far the work is."""

    def __call__(self, done: int, text: str | None = None) -> None:
        """``done`` of the total; ``text`` replaces what stands before the bar."""


@contextmanager
def bar(total: int, verb: str, *, silent: bool) -> Iterator[Show | None]:
    """A bar on stderr where somebody looks at it; None where nobody does, or is to be left in peace."""
    if silent or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(verb, total=total)

        def show(done: int, text: str | None = None) -> None:
            progress.update(task, completed=done, description=text or verb)

        yield show
