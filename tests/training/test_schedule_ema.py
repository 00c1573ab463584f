from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ganic.training.ema import Ema
from ganic.training.recipes import Schedule, Stage
from ganic.training.schedule import factor


def values(schedule: Schedule, steps: int) -> list[float]:
    return [factor(schedule, step, steps) for step in range(steps)]


def test_constant_with_warmup() -> None:
    assert values(Schedule(warmup=4), 6) == [0.25, 0.5, 0.75, 1, 1, 1]
    assert values(Schedule(), 3) == [1, 1, 1]


def test_cosine_ends_exactly_at_its_final_value() -> None:
    # 2 steps of warm-up, then 5 steps at angles 0, 45, 90, 135, 180 degrees between 1 and 0.2
    half = 0.8 * math.sqrt(0.5) / 2
    expected = [0.5, 1, 1, 0.6 + half, 0.6, 0.6 - half, 0.2]
    assert values(Schedule(warmup=2, shape="cosine", final=0.2), 7) == pytest.approx(expected)


def test_stages_take_over() -> None:
    schedule = Schedule(
        shape="cosine",
        stages=(Stage(start=3, scale=0.5, warmup=2), Stage(start=6, shape="cosine", scale=0.1)),
    )
    assert values(schedule, 9) == pytest.approx([1, 0.5, 0, 0.25, 0.5, 0.5, 0.1, 0.05, 0], abs=1e-12)


def test_halving_as_began_does() -> None:
    stages = tuple(Stage(start=100_000 * i, scale=0.5**i) for i in (1, 2, 3))
    schedule = Schedule(stages=stages)
    assert [factor(schedule, s, 400_000) for s in (0, 99_999, 100_000, 250_000, 399_999)] == [
        1,
        1,
        0.5,
        0.25,
        0.125,
    ]


def test_a_stage_of_one_step_does_not_divide_by_zero() -> None:
    assert values(Schedule(shape="cosine", final=0.5), 1) == [1.0]
    assert values(Schedule(warmup=1, shape="cosine"), 2) == [1.0, 1.0]


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([10.0, -2.0]))
        self.register_buffer("seen", torch.tensor(3))
        self.register_buffer("mean", torch.tensor([1.0]))


def test_average_by_hand() -> None:
    networks = nn.ModuleDict({"a": Counter(), "b": nn.Linear(1, 1)})
    ema = Ema(networks, ["a"], decay=0.15)
    assert list(ema.networks) == ["a"]
    a, average = networks["a"], ema.networks["a"]
    assert isinstance(a, Counter) and isinstance(average, Counter)
    with torch.no_grad():
        a.weight.copy_(torch.tensor([20.0, 8.0]))
    a.seen.fill_(7)
    a.mean.fill_(11.0)
    ema.update()  # d = min(0.15, 1/10): 0.1 * old + 0.9 * new
    assert average.weight.tolist() == pytest.approx([19.0, 7.0])
    assert average.seen.item() == 7
    assert average.mean.item() == pytest.approx(10)
    ema.update()  # d = min(0.15, 2/11) = 0.15
    assert average.weight.tolist() == pytest.approx([20 - 0.15, 8 - 0.15])
    assert ema.updates == 2 and not average.weight.requires_grad
    assert a.weight.tolist() == [20.0, 8.0]


def test_in_place_gives_and_takes_back() -> None:
    networks = nn.ModuleDict({"a": Counter()})
    a = networks["a"]
    assert isinstance(a, Counter)
    ema = Ema(networks, ["a"], decay=0.9)
    with torch.no_grad():
        a.weight.fill_(1.0)
    with pytest.raises(KeyError), ema.in_place():
        assert a.weight.tolist() == [10.0, -2.0]
        raise KeyError
    assert a.weight.tolist() == [1.0, 1.0]
    assert next(ema.networks.parameters()).tolist() == [10.0, -2.0]
    ema.restart()
    assert next(ema.networks.parameters()).tolist() == [1.0, 1.0] and ema.updates == 0
