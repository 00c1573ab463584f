"""One look of a step's losses at a picture."""

from __future__ import annotations

import torch

from ganic.extreme.eyes import Eyes
from ganic.metrics.squeezenet import SqueezeNetFeatures


def test_a_picture_is_looked_at_once_until_the_phase_is_drawn_anew() -> None:
    torch.manual_seed(0)
    eyes, picture = Eyes(), torch.rand(1, 3, 112, 96)
    eyes.phase = 5, 9
    first = eyes.look(picture)
    for ours, theirs in zip(first, SqueezeNetFeatures()(picture[:, :, 5:, 9:]), strict=True):
        assert torch.equal(ours, theirs)
    assert eyes.look(picture) is first
    assert eyes.look(picture.clone()) is not first
    eyes.redraw()
    assert eyes.look(picture) is not first


def test_a_look_without_gradients_does_for_nobody_who_needs_them() -> None:
    eyes, picture = Eyes(), torch.rand(1, 3, 96, 96, requires_grad=True)
    with torch.no_grad():
        blind = eyes.look(picture)
    seen = eyes.look(picture)
    assert not blind[0].requires_grad and seen[0].requires_grad
    assert eyes.look(picture) is seen


def test_small_pictures_are_seen_whole() -> None:
    eyes = Eyes()
    eyes.phase = 15, 15
    assert eyes.offset(torch.empty(1, 3, 80, 86)) == (0, 6)
    assert eyes.offset(torch.empty(1, 3, 64, 200)) == (0, 15)
