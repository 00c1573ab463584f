"""What a run shows and leaves behind: ``metrics.jsonl``, sample pictures, a progress bar on terminals.

``metrics.jsonl`` has one JSON object per line, each with ``event`` and ``step`` (steps done):

    start       recipe, data, processes, device, torch, from: at every (re)start
    skipped     name, reason: a picture that is not trained on
    step        seconds, pictures_per_second, "<player>/lr", "<player>/loss", ...: means since the last one
    validation  what the validation returned
    saved       checkpoint
    stopped     reason
"""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from PIL import Image
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor

from ganic.errors import TrainingError
from ganic.training.recipes import Recipe
from ganic.training.store import Skipped

LOGGER = logging.getLogger("ganic.training")

METRICS = "metrics.jsonl"
"""Name of the log in a run's folder."""


class Means:
    """Running means of named numbers."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, float]) -> None:
        """One more observation of each name."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """The mean of each name since the last call."""
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means


class RunLog:
    """The files and the progress bar of one run; in processes that do not lead it does nothing."""

    def __init__(self, run_dir: Path, *, steps: int, step: int, leads: bool, quiet: bool) -> None:
        """Lines of ``metrics.jsonl`` from after ``step`` are dropped: those steps are run again."""
        self._run_dir, self._leads = run_dir, leads
        self._path = run_dir / METRICS
        if leads:
            _drop_after(self._path, step)
        bar = leads and not quiet and sys.stderr.isatty()
        self._progress = Progress(
            TextColumn("step"), MofNCompleteColumn(), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"), console=Console(stderr=True), disable=not bar,
        )  # fmt: skip
        self._task = self._progress.add_task("training", total=steps, completed=step, note="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def write(self, event: str, step: int, values: Mapping[str, object]) -> None:
        """Append one line; numbers that are not finite become null."""
        if self._leads:
            line = {"event": event, "step": step, **{name: _json(value) for name, value in values.items()}}
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def skipped(self, step: int, pictures: Sequence[Skipped]) -> None:
        """Name pictures that are not trained on, in the file and as a warning."""
        for picture in pictures:
            self.write("skipped", step, {"name": picture.name, "reason": picture.reason})
            if self._leads:
                LOGGER.warning("%s: not trained on: %s", picture.name, picture.reason)

    def metrics(self, step: int, seconds: float, rate: float, means: Mapping[str, float]) -> None:
        """One ``step`` line; the losses appear beside the progress bar."""
        line = {"seconds": round(seconds, 1), "pictures_per_second": round(rate, 1), **means}
        self.write("step", step, line)
        losses = "  ".join(f"{k} {v:.4g}" for k, v in means.items() if k.endswith("/loss"))
        self.advance(step, losses)
        if self._leads and self._progress.disable:
            LOGGER.info("step %d  %.1f pictures/s  %s", step, rate, losses)

    def advance(self, step: int, note: str = "") -> None:
        """Move the progress bar."""
        self._progress.update(self._task, completed=step)
        if note:
            self._progress.update(self._task, note=note)

    def pictures(self, step: int, samples: Tensor) -> None:
        """Write ``samples/<step>.png``: [n, 3, h, w] in [0, 1] as a near-square grid, row by row."""
        if self._leads:
            folder = self._run_dir / "samples"
            folder.mkdir(exist_ok=True)
            Image.fromarray(grid(samples).numpy()).save(folder / f"{step:08d}.png")


def grid(samples: Tensor) -> Tensor:
    """[n, 3, h, w] in [0, 1] as one uint8 picture [rows h, columns w, 3]; empty places are black."""
    count, channels, height, width = samples.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    tiles = torch.zeros(rows * columns, channels, height, width, dtype=torch.uint8)
    tiles[:count] = samples.detach().float().nan_to_num().clamp(0, 1).mul(255).round().byte().cpu()
    tiles = tiles.reshape(rows, columns, channels, height, width)
    return tiles.permute(0, 3, 1, 4, 2).reshape(rows * height, columns * width, channels)


def _json(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _drop_after(path: Path, step: int) -> None:
    """Keep the lines of steps up to ``step``; a last line cut short by a kill goes too."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line + "\n" for line in lines if _record(line).get("step", math.inf) <= step]
    partial = path.with_suffix(".partial")
    partial.write_text("".join(kept), encoding="utf-8")
    partial.replace(path)


def _record(line: str) -> dict[str, Any]:
    """A line of the log; nothing for the one that a power cut left in the middle."""
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def run_recipe(run_dir: Path) -> Recipe:
    """The recipe that a run last started with, from its log: a run may be resumed with other settings.

    Raises TrainingError where there is none.
    """
    path = run_dir / METRICS
    try:
        with path.open(encoding="utf-8") as log:
            starts = [record for line in log if (record := _record(line)).get("event") == "start"]
        return Recipe.model_validate(starts[-1]["recipe"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise TrainingError(
            f"{path}: holds no recipe ({error}); name the folder of a training run"
        ) from error
