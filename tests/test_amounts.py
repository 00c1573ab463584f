"""The ways of saying how much, against hand-computed limits."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ganic.amounts import Amount
from ganic.errors import UsageError

RATES = {"low": 0.05, "medium": 0.1}


@pytest.mark.parametrize(
    "asked, expected",
    [
        ({}, 1000),  # "medium": 0.1 * 400 * 200 / 8
        ({"rate": "low"}, 500),
        ({"target_bpp": 0.0999}, 999),
        ({"target_bytes": 77}, 77),
    ],
)
def test_limits(asked: dict[str, Any], expected: int) -> None:
    assert Amount.of(RATES, **asked).limit(400, 200) == expected


def test_only_names_are_goals() -> None:
    assert Amount.of(RATES).is_goal and Amount.of(RATES, rate="low").is_goal
    assert not any(
        Amount.of(RATES, **asked).is_goal
        for asked in ({"quality": 0.5}, {"target_bpp": 0.1}, {"target_bytes": 100})
    )
    assert Amount.of(RATES).limit(1, 1) == 0  # the smallest file will do
    assert Amount.of(RATES, quality=0.5) == Amount(quality=0.5)


@pytest.mark.parametrize(
    "asked, said",
    [
        ({"quality": 0.5, "rate": "low"}, "more than one of quality, rate"),
        ({"target_bpp": 1.0, "target_bytes": 3}, "more than one"),
        ({"quality": 1.01}, "quality: 1.01 is not within 0 and 1"),
        ({"quality": math.nan}, "quality: nan is not within"),
        ({"rate": "huge"}, "rate: 'huge' is none of low, medium"),
        ({"target_bpp": 0.0}, "target_bpp: 0.0 is not a positive"),
        ({"target_bpp": math.inf}, "target_bpp: inf is not a positive"),
    ],
)
def test_contradictions_and_impossible_amounts(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Amount.of(RATES, **asked)


@pytest.mark.parametrize("asked", [{"target_bytes": 0}, {"target_bytes": -5}, {"target_bpp": 1e-6}])
def test_less_than_a_byte(asked: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="bytes is not a size; ask for more"):
        Amount.of(RATES, **asked).limit(64, 64)
