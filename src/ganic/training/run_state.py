"""The state of a run in memory: networks, optimisers, averages, counters; and its way to disk and back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganic.errors import RecipeError, TrainingError
from ganic.tensor_names import below
from ganic.training import checkpoint
from ganic.training.checkpoint import State
from ganic.training.distributed import Team
from ganic.training.ema import Ema
from ganic.training.muon import Muon
from ganic.training.objective import Objective
from ganic.training.recipes import Recipe
from ganic.training.sources import expand

SUM = " + "
"""Between origins in a recipe's ``init`` whose weights are averaged."""

Weights = Callable[[Path], Mapping[str, Tensor]]
"""From what a recipe's ``init`` names to weights, as `ganic.training.checkpoint.weights` gives them."""


class RunState:
    """Set up on the team's device, restored from the newest checkpoint of ``run_dir`` where there is one.

    Attributes: ``step``, steps done; ``draw``, batches drawn; ``optimisers`` and ``parameters`` by player;
    ``ema``; ``started_from``, for the log.
    """

    def __init__(
        self, recipe: Recipe, objective: Objective, run_dir: Path, team: Team, weights: Weights
    ) -> None:
        _check_players(recipe, objective)
        self.recipe, self.objective, self.run_dir, self.team = recipe, objective, run_dir, team
        self.networks = objective.networks
        self.step = self.draw = 0
        self._seconds, self._since = 0.0, time.monotonic()
        if recipe.cpu_threads:
            torch.set_num_threads(recipe.cpu_threads)
        if team.device.type == "cuda":
            torch.backends.cudnn.benchmark = True
        self.networks.to(team.device)
        self.networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        state = checkpoint.latest(self.checkpoints)
        self.started_from = "scratch" if state is None else f"step {state.step}"
        if state is not None:
            self._load_networks(state.part("network"), "network")
        elif recipe.init is not None:
            self._initialise((recipe.init,) if isinstance(recipe.init, str) else recipe.init, weights)
        team.broadcast(self.networks)
        self.ema = Ema(
            self.networks, [self._known(name, "ema_of") for name in objective.ema_of], recipe.ema.decay
        )
        self.parameters = {player: list(objective.parameters(player)) for player in recipe.players}
        self._names = {id(parameter): name for name, parameter in self.networks.named_parameters()}
        for player, parameters in self.parameters.items():
            if not all(id(parameter) in self._names for parameter in parameters):
                raise TrainingError(
                    f"{player}: has parameters outside the objective's networks; add them there"
                )
        self.optimisers = {player: self._optimiser(player) for player in recipe.players}
        torch.manual_seed((recipe.seed << 20) + team.rank + 1)
        if state is not None:
            self._restore(state)
        for name in recipe.compile:
            self.networks[self._known(name, "compile")].compile()

    @property
    def checkpoints(self) -> Path:
        """The folder of this run's checkpoints."""
        return self.run_dir / "checkpoints"

    @property
    def seconds(self) -> float:
        """Time spent training, earlier starts included."""
        return self._seconds + time.monotonic() - self._since

    def take_turn(self, player: str) -> None:
        """Let gradients flow to this player's parameters and to no others; forget its old ones."""
        mine = {id(parameter) for parameter in self.parameters[player]}
        for parameter in self.networks.parameters():
            parameter.requires_grad_(id(parameter) in mine)
        self.optimisers[player].zero_grad(set_to_none=True)

    def average_weights(self) -> None:
        """Move the moving averages; before ``ema.start`` they follow the weights."""
        if self.step < self.recipe.ema.start:
            self.ema.restart()
        else:
            self.ema.update()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within the block: averaged weights, eval mode, no gradients, and random numbers of its own."""
        devices = [self.team.device] if self.team.device.type == "cuda" else []
        with self.ema.in_place(), torch.no_grad(), torch.random.fork_rng(devices):
            torch.manual_seed(self.recipe.seed)
            self.networks.eval()
            try:
                yield
            finally:
                self.networks.train()

    def save(self) -> Path:
        """Write a checkpoint (all processes must call this); returns where it is."""
        tensors = {f"network/{name}": value for name, value in self.networks.state_dict().items()}
        tensors |= {f"ema/{name}": value for name, value in self.ema.networks.state_dict().items()}
        for player, optimiser in self.optimisers.items():
            for parameter, entries in optimiser.state.items():
                for entry, value in entries.items():
                    tensors[f"optimiser/{player}/{self._names[id(parameter)]}/{entry}"] = value
        for kind, numbers in self._random().items():
            for rank, value in enumerate(self.team.gather(numbers)):
                tensors[f"random/{rank}/{kind}"] = value
        path = self.checkpoints / f"{self.step:08d}"
        if self.team.leads:
            how = self.recipe.checkpoint
            state = State(self.step, self.draw, self.seconds, self.ema.updates, tensors)
            checkpoint.save(
                self.checkpoints, state, keep=how.keep, half=how.half, part_bytes=how.part_mib * 2**20
            )
        self.team.wait()
        return path

    def _random(self) -> dict[str, Tensor]:
        states = {"cpu": torch.get_rng_state()}
        if self.team.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.team.device)
        return states

    def _restore(self, state: State) -> None:
        self.step, self.draw, self._seconds = state.step, state.draw, state.seconds
        averages = state.part("ema")
        if averages:
            _copy(averages, self.ema.networks.state_dict(), "ema")
            self.ema.updates = state.ema_updates
        for player, optimiser in self.optimisers.items():
            kept = state.part(f"optimiser/{player}")
            for parameter in self.parameters[player]:
                entries = below(kept, f"{self._names[id(parameter)]}/")
                # Of another kind of optimiser, when the recipe has a new one: that begins anew.
                if entries.keys() == _entries(optimiser, parameter):
                    optimiser.state[parameter] = {
                        key: _like(parameter, value) for key, value in entries.items()
                    }
        numbers = state.part(f"random/{self.team.rank}")
        if set(numbers) == set(self._random()):
            torch.set_rng_state(numbers["cpu"])
            if "cuda" in numbers:
                torch.cuda.set_rng_state(numbers["cuda"], self.team.device)
        else:  # other processes, or another device: new numbers, but not those of the beginning
            torch.manual_seed((self.recipe.seed << 20) + self.team.rank + 1 + (state.step << 44))

    def _initialise(self, paths: Sequence[str], weights: Weights) -> None:
        """Start each network from the first of these that has it; others, and tensors that the recipe calls
        fresh, stay as they are."""
        missing, origins = list(self.networks), []
        for path in paths:
            if not missing:
                raise TrainingError(
                    f"{path}: every network starts from what init names before it; leave it out of init"
                )
            found = _mean([(origin, weights(expand(origin))) for origin in path.split(SUM)])
            known = {_network(name) for name in found}
            chosen = [name for name in missing if name in known]
            if not chosen:
                raise TrainingError(f"{path}: has the networks {sorted(known)}, none of {sorted(missing)}")
            own = {
                name: value
                for name, value in self.networks.state_dict().items()
                if _network(name) in chosen and not name.startswith(self.recipe.fresh)
            }
            _copy(found, own, path)
            missing = [name for name in missing if name not in chosen]
            unused = [name for name in found if _network(name) in chosen and name not in own]
            unused = [name for name in unused if not name.startswith(self.recipe.fresh)]
            without = f" without {', '.join(unused)}" if unused else ""
            origins.append(f"{path} ({', '.join(chosen)}{without})")
        self.started_from = ", ".join(origins)

    def _load_networks(self, tensors: Mapping[str, Tensor], what: str) -> None:
        _copy(tensors, self.networks.state_dict(), what)

    def _optimiser(self, player: str) -> torch.optim.Optimizer:
        """With a group of parameters for every learning rate."""
        settings = self.recipe.players[player]
        groups: dict[str, dict[str, Any]] = {}
        for parameter in self.parameters[player]:
            name = self._names[id(parameter)]
            # The longest of those that fit.
            start = max(filter(name.startswith, settings.times), key=len, default="")
            times = settings.times.get(start, 1.0)
            groups.setdefault(start, {"params": [], "times": times})["params"].append(parameter)
        for start in settings.times:
            if start not in groups:
                raise RecipeError(
                    f"{self.recipe.source}: players.{player}.times: {start!r} begins none of its parameters' "
                    "names; correct it or leave it out"
                )
        return OPTIMISERS[settings.kind](
            list(groups.values()),
            lr=settings.lr,
            betas=settings.betas,
            eps=settings.eps,
            weight_decay=settings.weight_decay,
        )

    def _known(self, name: str, what: str) -> str:
        if name not in self.networks:
            raise RecipeError(
                f"{self.recipe.source}: {what}: no network {name!r} (there are {sorted(self.networks)})"
            )
        return name


def _check_players(recipe: Recipe, objective: Objective) -> None:
    """Raises RecipeError unless the recipe has the players that some step trains, and no others."""
    trained = {player for step in range(recipe.steps) for player in objective.players(step)}
    for player in sorted(trained - recipe.players.keys()):
        raise RecipeError(f"{recipe.source}: players.{player}: missing; this objective trains {player}")
    for player in sorted(recipe.players.keys() - trained):
        raise RecipeError(
            f"{recipe.source}: players.{player}: this objective trains only {', '.join(sorted(trained))}; "
            "remove the table"
        )


OPTIMISERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "muon": Muon,
}


def _entries(optimiser: torch.optim.Optimizer, parameter: nn.Parameter) -> set[str]:
    """The names of what an optimiser remembers of a parameter."""
    if isinstance(optimiser, Muon) and optimiser.orthogonalises(parameter):
        return {"momentum"}
    return {"step", "exp_avg", "exp_avg_sq"}


def _like(parameter: nn.Parameter, value: Tensor) -> Tensor:
    """An optimiser's tensor as it was: laid out in memory as the parameter where it is one per weight."""
    if value.shape != parameter.shape or parameter.ndim == 0:
        return value.clone()
    return torch.empty_like(parameter, requires_grad=False).copy_(value)


@torch.no_grad()
def _mean(weights: Sequence[tuple[str, Mapping[str, Tensor]]]) -> Mapping[str, Tensor]:
    """The mean of weights with their origins, of the networks that all have; integers must be alike.

    Runs that went apart from one model find the same valley, each with the noise of its last steps; between
    them there is less of it (model soups, arXiv:2203.05482).
    """
    (origin, first), *others = weights
    if not others:
        return first
    shared = set.intersection(*({_network(name) for name in one} for _, one in weights))
    mean: dict[str, Tensor] = {}
    for name in sorted({name for _, one in weights for name in one if _network(name) in shared}):
        values = []
        for other, one in weights:
            alike = name in first and name in one and one[name].shape == first[name].shape
            if not alike or not (one[name].is_floating_point() or torch.equal(one[name], first[name])):
                raise TrainingError(
                    f"{other}: {name} is not as in {origin}, so they have no mean; name weights of the same "
                    "networks"
                )
            values.append(one[name])
        real = values[0].is_floating_point()
        mean[name] = torch.stack([value.float() for value in values]).mean(0) if real else values[0]
    return mean


def _network(name: str) -> str:
    """Of a tensor."""
    return name.split(".", 1)[0]


def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor], what: str) -> None:
    """Fill every tensor of ``target``, in place; raises TrainingError where one is missing or misshapen."""
    for name, tensor in target.items():
        value = source.get(name)
        if value is None or value.shape != tensor.shape:
            fact = (
                "is missing" if value is None else f"has shape {list(value.shape)}, not {list(tensor.shape)}"
            )
            raise TrainingError(
                f"{what}: {name} {fact}; the networks are not those of the checkpoint: "
                "train in another folder, with init for the networks that are the same, fresh for others"
            )
        tensor.copy_(value)
