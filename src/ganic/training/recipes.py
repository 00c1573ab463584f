"""Recipes: the exact run that makes a model, as TOML.

    name = "photo"                  # names the run and the exported model
    system = "extreme"              # whose objective: extreme, jpeg, ganz or segmentation
    steps = 200_000
    batch = 16                      # over all processes together
    crop = 256

    [data]
    sources = ["$GANIC_DATA/photos_open", "shards/"]   # folders of pictures or .tar shards
    exclude = ["heldout.txt", "0001TP_*"]              # names that must not be trained on

    [players.codec]
    lr = 3e-4
    clip = 1.0

    [schedule]
    warmup = 1000
    shape = "cosine"

    [objective]                     # whatever the system wants: it validates this table itself
    kind = "distortion"

Every knob and its default stands in the classes below.  Unknown keys are errors.  ``--set a.b=value``
replaces one value, written as TOML (a bare word counts as a string).  Relative paths start at the current
folder; ``~`` and ``$VARIABLES`` are expanded.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeGuard, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ganic.errors import RecipeError

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Unit = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0, le=24)]
Times = Annotated[float, Field(gt=0)]
Byte = Annotated[int, Field(ge=0, le=255)]


class Table(BaseModel):
    """The base of every recipe table: frozen, no unknown keys, no infinities.

    Systems derive the class of their ``[objective]`` table from it; see :meth:`Recipe.objective_as`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


T = TypeVar("T", bound=Table)


class Segment(Table):
    """One shape of the learning rate's factor; see ``schedule.factor``."""

    warmup: Count = 0  # steps of linear warm-up at its beginning
    shape: Literal["constant", "cosine"] = "constant"
    scale: Annotated[float, Field(gt=0)] = 1.0  # factor at its height
    final: Unit = 0.0  # a cosine ends at scale * final


class Stage(Segment):
    """A later segment: from step ``start`` on, instead of what was before."""

    start: Positive


class Schedule(Segment):
    """The learning rate over a run: a first segment, then optional stages in order."""

    stages: tuple[Stage, ...] = ()

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        starts = [stage.start for stage in self.stages]
        if starts != sorted(set(starts)):
            raise ValueError("stages must have increasing start steps")
        return self


class Player(Table):
    """The optimiser of one player."""

    kind: Literal["adam", "adamw", "muon"] = "adamw"  # muon: see ganic.training.muon
    lr: Annotated[float, Field(gt=0)]
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    eps: Annotated[float, Field(gt=0)] = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip: Annotated[float, Field(ge=0)] = 0.0  # largest norm of all its gradients together; 0: no clipping
    # how many times the learning rate, by how names of parameters begin ("codec.prior"); others: once
    times: dict[str, Times] = {}
    schedule: Schedule | None = None  # its own, in place of the run's

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind == "muon" and self.weight_decay:
            raise ValueError("weight_decay is not for muon; adamw has it")
        return self


class Data(Table):
    """Which pictures, and how batches are cut from them."""

    sources: tuple[str, ...] = ()  # folders (searched recursively), .tar shards
    exclude: tuple[
        str, ...
    ] = ()  # held-out names or patterns (with or without folder, suffix); *.txt: a list
    test: tuple[str, ...] = ()  # sources of test pictures: anything that looks like one is left out
    exclude_alike: bool = False  # also what looks like an excluded picture; frames of a film all do
    # as exclude, of pictures that are not trained on either and that `validate_every` looks at
    validation: tuple[str, ...] = ()
    near: Annotated[int, Field(ge=0, le=31)] = 8  # "looks like": bits of difference between 64-bit hashes
    classes: Literal["none", "folders", "shards"] = "none"  # label: first folder level, or .cls in shards
    maps: tuple[str, ...] = ()  # one folder of label maps (.png, same names) per source; in shards: .seg.png
    map_names: tuple[str, str] | None = None  # the end of a picture's name, and what its map has instead
    map_values: tuple[
        Byte, ...
    ] = ()  # the label that each value in the files means; others: 255; none: itself
    box: tuple[Count, Count, Positive, Positive] | None = (
        None  # left, top, width, height cut from every picture
    )
    short_side: Positive | None = None  # pictures are downscaled to this short side, once, when read
    memory_mib: Count = 4096  # decoded pictures kept in memory; the rest is decoded at every use
    weight: Literal["pictures", "pixels"] = "pictures"  # which are equally likely to be drawn
    scale: tuple[Share, Share] = (1.0, 1.0)  # random antialiased downscaling, log-uniform between these
    flips: Literal["none", "h", "hv"] = "h"  # mirrored at random: left-right, or also upside down
    colour: Annotated[float, Field(ge=0, lt=1)] = 0.0  # strength of the colour jitter, see augment.py
    grey: Unit = 0.0  # share of crops made grey
    vivid: Unit = 0.0  # share of crops in other colours, up to four times as saturated
    rates: tuple[Rate, Rate] | None = None  # bits per pixel that pictures are asked for, log-uniform between
    calm: Unit = 0.0  # share of pictures that need few bits, drawn on purpose

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.maps and len(self.maps) != len(self.sources):
            raise ValueError("maps needs one folder per source")
        if self.map_names and not self.maps:
            raise ValueError("map_names needs maps")
        if len(self.map_values) > 256:
            raise ValueError("map_values has more than 256 values")
        if self.scale[0] > self.scale[1]:
            raise ValueError("scale needs its smaller number first")
        if self.rates and self.rates[0] > self.rates[1]:
            raise ValueError("rates needs its smaller number first")
        if self.calm and not self.rates:
            raise ValueError("calm needs rates")
        return self


class Ema(Table):
    """The moving average of the weights."""

    decay: Decay = 0.999
    start: Count = 0  # the step before which the average just follows the weights


class Checkpoint(Table):
    """How the state of the run is kept."""

    minutes: Annotated[float, Field(gt=0)] = 10.0
    keep: Positive = 2  # the last so many
    half: bool = False  # weights as float16, optimiser state as bfloat16: half the size, no exact resume
    part_mib: Count = 0  # largest file; 0: one file, however large


class Recipe(Table):
    """A whole run; ``system`` tells whose objective the ``[objective]`` table describes."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    system: Literal["extreme", "jpeg", "ganz", "segmentation"]
    seed: Count = 0
    steps: Positive
    batch: Positive  # pictures per step, over all processes together
    crop: Positive  # pixels, square
    precision: Literal["fp32", "bf16"] = "bf16"
    compile: tuple[
        str, ...
    ] = ()  # networks to run through torch.compile (none that needs second derivatives)
    cpu_threads: Count = 0  # 0: torch's own choice
    bad_steps: Count = 0  # steps in a row that may be left out, their loss not being finite, before giving up
    init: str | tuple[str, ...] | None = (
        None  # run folder, checkpoint or model whose weights (averaged, if kept) start this run; of several,
        # each network starts from the first that has it; "a + b" is the mean of both
    )
    fresh: tuple[str, ...] = ()  # how names of tensors begin that are not taken from init
    log_every: Positive = 50
    sample_every: Count = 1000  # 0: never
    validate_every: Count = 0  # steps between measurements on data.validation; 0: never
    data: Data = Data()
    players: dict[str, Player]
    schedule: Schedule = Schedule()
    ema: Ema = Ema()
    checkpoint: Checkpoint = Checkpoint()
    objective: dict[str, Any] = {}

    _source: str = "recipe"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.data.rates and self.system != "extreme":
            raise ValueError(f"data.rates is for codecs; {self.system} asks for no rates")
        if self.validate_every and not self.data.validation:
            raise ValueError("validate_every needs pictures; name some in data.validation")
        return self

    @property
    def source(self) -> str:
        """The file it was read from, for messages."""
        return self._source

    def objective_as(self, table: type[T]) -> T:
        """The ``[objective]`` table as the system's own class; raises RecipeError naming file and key."""
        return _validate(table, self.objective, self._source, ("objective",))

    def with_objective(self, table: Table) -> Recipe:
        """The same with every value of its ``[objective]`` table, as a run's log should have it: what a later
        version takes for granted may be something else."""
        full = self.model_copy(update={"objective": table.model_dump(mode="json")})
        full._source = self._source
        return full


def load(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe; ``overrides`` are ``"a.b=value"``.

    Raises RecipeError naming the file, the key, and what is allowed there.
    """
    try:
        with Path(path).open("rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise RecipeError(
            f"{path}: cannot be read ({error.strerror}); give the path of a .toml recipe"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not TOML ({error})") from error
    return parse(values, overrides, source=str(path))


def parse(values: Mapping[str, Any], overrides: Sequence[str] = (), *, source: str = "recipe") -> Recipe:
    """A recipe from nested dictionaries, as ``tomllib`` gives them; ``source`` is named in messages."""
    table: dict[str, Any] = dict(values)
    for override in overrides:
        _override(table, override)
    recipe = _validate(Recipe, table, source, ())
    recipe._source = source
    return recipe


def differences(before: Recipe, after: Recipe) -> dict[str, tuple[object, object]]:
    """What two recipes have different values for, by key: ``{"players.codec.lr": (1e-4, 5e-5)}``; None where
    only one of them has it."""
    old, new = (_leaves(recipe.model_dump(mode="json")) for recipe in (before, after))
    return {key: (old.get(key), new.get(key)) for key in {**old, **new} if old.get(key) != new.get(key)}


def _leaves(table: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            found |= _leaves(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def _override(table: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not equals or not all(path):
        raise RecipeError(f"--set {override}: no key and value; write --set data.memory_mib=2048")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        if not re.fullmatch(r"[\w./~$*-]+", text.strip()):
            raise RecipeError(f"--set {override}: the value is not TOML ({error}); quote strings") from error
        value = text.strip()
    for part in path[:-1]:
        inner = table.get(part, {})
        if not isinstance(inner, Mapping):
            raise RecipeError(f"--set {override}: {part} is not a table, it has the value {inner!r}")
        table[part] = dict(inner)  # a copy: the caller's dictionaries stay as they are
        table = table[part]
    table[path[-1]] = value


def _validate(model: type[T], values: Mapping[str, Any], source: str, prefix: tuple[str, ...]) -> T:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = [_explain(model, dict(problem), prefix) for problem in error.errors()]
        raise RecipeError(f"{source}: " + "; ".join(problems)) from error


def _explain(model: type[Table], problem: Mapping[str, Any], prefix: tuple[str, ...]) -> str:
    """One pydantic problem as ``key: fact; what is allowed``."""
    location: tuple[str | int, ...] = problem["loc"]
    key = ".".join(str(part) for part in (*prefix, *location)) or "recipe"
    if problem["type"] == "extra_forbidden":
        table = _table_at(model, location[:-1])
        return f"{key}: unknown key" + (
            f" (allowed here: {', '.join(sorted(table.model_fields))})" if table else ""
        )
    if problem["type"] == "missing":
        return f"{key}: missing"
    if problem["type"] == "literal_error":
        return f"{key}: {problem['input']!r} is not one of {problem['ctx']['expected']}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    given = problem["input"]
    return f"{key}: {message}" + ("" if isinstance(given, Mapping) else f" (it is {given!r})")


def _table_at(model: type[Table], location: Sequence[str | int]) -> type[Table] | None:
    """The class of the table at ``location`` inside ``model``, where the annotations tell."""
    annotation: Any = model
    for part in location:
        if _is_table(annotation):
            annotation = annotation.model_fields[str(part)].annotation
        else:  # an index into a tuple, or a key of a dict: what they hold comes last
            annotation = next((a for a in reversed(get_args(annotation)) if a is not ...), None)
        choices = [a for a in get_args(annotation) if _is_table(a)]
        if type(None) in get_args(annotation) and choices:  # an optional table
            annotation = choices[0]
    return annotation if _is_table(annotation) else None


def _is_table(annotation: Any) -> TypeGuard[type[Table]]:
    return isinstance(annotation, type) and issubclass(annotation, Table)
