"""The training loop: one for every system, from a recipe and an objective to checkpoints.

    recipe = recipes.load("recipes/photo.toml", ["steps=1000"])
    torch.manual_seed(recipe.seed)                   # decides the initial weights
    result = train(recipe, MyObjective(recipe.objective_as(MyTable)), Path("runs/photo"))

The same call under ``torchrun --nproc-per-node N`` is one run of N processes.  Started again with the same
``run_dir``, it goes on from the last checkpoint.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor, nn

from ganic.errors import RecipeError, TrainingError
from ganic.training import checkpoint, distributed
from ganic.training.data import Batches, PictureBatches, held_back
from ganic.training.distributed import Team
from ganic.training.objective import Batch, Objective, Validating
from ganic.training.recipes import Recipe, differences
from ganic.training.run_log import LOGGER, Means, RunLog, run_recipe
from ganic.training.run_state import RunState, Weights
from ganic.training.schedule import factor

SAMPLE_DRAW = 2**40
"""The draw that samples are made from: always the same pictures, and never reached by training."""

AT_FIRST = "init", "fresh"
"""Keys of a recipe that mean nothing to a run that goes on."""


@dataclass(frozen=True)
class Result:
    """Where a run got to; ``finished`` is false when a signal stopped it."""

    step: int
    finished: bool
    checkpoint: Path
    metrics: Path


def train(
    recipe: Recipe,
    objective: Objective,
    run_dir: Path,
    *,
    data: Callable[[Recipe, Team], Batches] = PictureBatches.of,
    weights: Weights = checkpoint.weights,
    device: str = "auto",
    quiet: bool = False,
) -> Result:
    """Train ``objective`` as ``recipe`` says; everything is written below ``run_dir``.

    ``data`` makes the batches of this process, in place of what the recipe's [data] table describes;
    ``weights`` reads what its ``init`` names, if that may be anything but another run.
    ``device``: auto, cpu, cuda, cuda:1, ...  ``quiet``: no progress bar, even on a terminal.
    SIGTERM and SIGINT save and return.  Raises DataError, RecipeError and TrainingError; the last among
    others for a loss that is not finite, after saving the last good state.
    """
    if recipe.validate_every and not isinstance(objective, Validating):
        raise RecipeError(f"{recipe.source}: validate_every: nothing validates these runs; leave it out")
    team = distributed.join(device)
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        batches = data(recipe, team)
        run = RunState(recipe, objective, run_dir, team, weights)
        if run.step and team.leads:
            _say_what_changed(run)
        with RunLog(run_dir, steps=recipe.steps, step=run.step, leads=team.leads, quiet=quiet) as log:
            return _loop(run, batches, log)
    finally:
        team.leave()


def _say_what_changed(run: RunState) -> None:
    """To who goes on with a run: a setting that was left out this time would not be noticed otherwise."""
    try:
        before = run_recipe(run.run_dir)
    except TrainingError:  # a log that is gone, or of a version whose recipes had other keys
        return
    for key, (was, now) in differences(before, run.recipe).items():
        if key in AT_FIRST:
            LOGGER.warning("%s: only a run's first start reads it; begin in another folder", key)
        else:
            LOGGER.info("%s: %r from step %d on, %r before", key, now, run.step, was)


def _loop(run: RunState, batches: Batches, log: RunLog) -> Result:
    recipe, team = run.recipe, run.team
    about = {
        "processes": team.size,
        "device": str(team.device),
        "torch": torch.__version__,
        "from": run.started_from,
    }
    log.write(
        "start", run.step, {"recipe": recipe.model_dump(mode="json"), "data": batches.describe(), **about}
    )
    log.skipped(run.step, batches.newly_skipped())
    held = held_back(recipe, team) if recipe.validate_every and team.leads else []
    if held and not run.step:
        _validate(run, held, log)  # what the run begins with
    means, bad_steps, saved = Means(), 0, None
    saved_at = logged_at = time.monotonic()
    logged_step = run.step

    with _stop_on_signals() as stop:
        while run.step < recipe.steps:
            stats = _step(run, batches)
            if stats is None:
                bad_steps += 1
                if bad_steps > recipe.bad_steps:
                    raise _give_up(run, log)
            else:
                bad_steps = 0
                means.add(stats)
            step = run.step = run.step + 1

            if step % recipe.log_every == 0 or step == recipe.steps:
                now = time.monotonic()
                rate = recipe.batch * (step - logged_step) / (now - logged_at)
                logged_at, logged_step = now, step
                log.metrics(step, run.seconds, rate, means.take())
            log.skipped(step, batches.newly_skipped())
            if recipe.sample_every and step % recipe.sample_every == 0 and team.leads:
                with run.averaged():
                    log.pictures(step, run.objective.samples(batches.batch(SAMPLE_DRAW), step))
            if held and step % recipe.validate_every == 0:
                _validate(run, held, log)
            log.advance(step)

            due = time.monotonic() - saved_at > 60 * recipe.checkpoint.minutes or step == recipe.steps
            stopping, due = team.any([stop.is_set(), due])
            if stopping or due:
                saved, saved_at = run.save(), time.monotonic()
                log.write("saved", step, {"checkpoint": saved.name})
            if stopping:
                log.write("stopped", step, {"reason": "signal"})
                break
    return Result(run.step, run.step >= recipe.steps, saved or run.save(), run.run_dir / "metrics.jsonl")


def _validate(run: RunState, held: Sequence[Tensor], log: RunLog) -> None:
    assert isinstance(run.objective, Validating)
    with run.averaged():
        log.write("validation", run.step, run.objective.validate(held))


def _step(run: RunState, batches: Batches) -> dict[str, float] | None:
    """Every player's turn, then the moving average; None where a turn was not finite, which ends the step."""
    objective, step = run.objective, run.step
    batch: Batch | None = None
    stats: dict[str, float] = {}
    for player in objective.players(step):
        if batch is None or objective.fresh_batch(player):
            batch = batches.batch(run.draw)
            run.draw += 1
        if not _turn(run, player, batch, stats):
            return None
    run.average_weights()
    objective.after_step(step, stats)
    return stats


def _turn(run: RunState, player: str, batch: Batch, stats: dict[str, float]) -> bool:
    """One player's gradient and update; adds to ``stats``.  False, and no update, where it is not finite."""
    recipe, team = run.recipe, run.team
    run.take_turn(player)
    settings, optimiser, parameters = recipe.players[player], run.optimisers[player], run.parameters[player]

    autocast = torch.autocast(team.device.type, torch.bfloat16, enabled=recipe.precision == "bf16")
    with autocast:
        loss, scalars = run.objective.loss(player, batch, run.step)
    loss.backward()  # type: ignore[no-untyped-call]
    team.average_gradients(parameters)
    norm = nn.utils.clip_grad_norm_(parameters, settings.clip or math.inf)

    # One transfer from the device for all numbers, before anything is changed.
    numbers = torch.stack([value.detach().float().mean() for value in (loss, norm, *scalars.values())])
    names = [f"{player}/{name}" for name in ("loss", "grad_norm", *scalars)]
    values = dict(zip(names, team.average(numbers).tolist(), strict=True))
    if not (math.isfinite(values[f"{player}/loss"]) and math.isfinite(values[f"{player}/grad_norm"])):
        return False

    rate = settings.lr * factor(settings.schedule or recipe.schedule, run.step, recipe.steps)
    for group in optimiser.param_groups:
        group["lr"] = rate * group["times"]
    with autocast:  # Muon's products
        optimiser.step()
    stats |= {f"{player}/lr": rate, **values}
    return True


def _give_up(run: RunState, log: RunLog) -> TrainingError:
    path = run.save()
    log.write("stopped", run.step, {"reason": "loss or gradient not finite"})
    return TrainingError(
        f"{run.recipe.name}: step {run.step}: a loss or gradient is not finite; the weights before it are in "
        f"{path}: go on with a lower lr, a clip, or another seed"
    )


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """Within the block the first SIGTERM or SIGINT only sets the event; a second one acts as usual."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # Python handles signals there only
        yield stop
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        stop.set()
        restore()

    for number in previous:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        restore()
