"""D on pretrained features."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ganic.errors import DataError, UsageError
from ganic.extreme.projected_discriminator import ProjectedDiscriminator


def test_one_logit_per_place_and_scale() -> None:
    torch.manual_seed(0)
    verdict = ProjectedDiscriminator(8)(torch.rand(2, 3, 96, 128))
    # SqueezeNet's maps have 47x63, 23x31, 11x15 and 5x7 places; the finest head halves its own.
    assert [tuple(x.shape) for x in verdict.logits] == [
        (2, 1, 24, 32),
        (2, 1, 23, 31),
        (2, 1, 11, 15),
        (2, 1, 5, 7),
    ]
    assert [x.shape[2:] for x in verdict.features] == [s.shape[2:] for s in verdict.logits for _ in range(2)]


def test_a_phase_leaves_out_rows_and_columns() -> None:
    """As if the picture had been cut, and with it what the latent says of it."""
    torch.manual_seed(0)
    critic = ProjectedDiscriminator(8, condition=2)
    picture, maps = torch.rand(1, 3, 112, 96), torch.rand(1, 2, 112, 96)
    critic.eyes.phase = 5, 9
    shifted = critic(picture, maps).logits
    critic.eyes.phase = 0, 0
    cut = critic(picture[:, :, 5:, 9:], maps[:, :, 5:, 9:]).logits
    for ours, theirs in zip(shifted, cut, strict=True):
        assert torch.equal(ours, theirs)


def test_a_head_on_pixels_sees_what_is_finer_than_the_trunks_strides() -> None:
    torch.manual_seed(0)
    critic = ProjectedDiscriminator(8, condition=2, pixels=4)
    picture, maps = torch.rand(1, 3, 96, 88), torch.rand(1, 2, 96, 88)
    verdict = critic(picture, maps)
    assert [tuple(x.shape[1:]) for x in (verdict.logits[0], *verdict.features[:2])] == [
        (1, 96, 88),
        (4, 96, 88),
        (4, 96, 88),
    ]
    assert len(verdict.logits) == 5 and len(verdict.features) == 10
    # Three 3x3 convolutions: a pixel is seen three places away and no further, whatever phase the trunk has.
    critic.eyes.phase = 3, 2
    picture[0, :, 40, 41] += 0.5
    changed = (critic(picture, maps).logits[0] - verdict.logits[0]).abs()[0, 0] > 0
    rows, columns = changed.any(1).nonzero(), changed.any(0).nonzero()
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (37, 43, 38, 44)
    plain = ProjectedDiscriminator(8, condition=2)
    assert set(critic.state_dict()) - set(plain.state_dict()) == {
        f"pixels.{layer}.{part}" for layer in ("conv1", "conv2", "out") for part in ("weight", "bias")
    }


def test_phases_are_drawn_within_the_strides() -> None:
    torch.manual_seed(0)
    critic = ProjectedDiscriminator(4)
    seen = set()
    for _ in range(400):
        critic.eyes.redraw()
        seen |= set(critic.eyes.phase)
    assert seen == set(range(16))


def test_what_it_cannot_judge() -> None:
    critic = ProjectedDiscriminator(4, condition=2)
    with pytest.raises(UsageError, match="0 channels of maps; it was made for 2"):
        critic(torch.rand(1, 3, 96, 96))
    with pytest.raises(DataError, match="64x96 pixels are too few"):
        critic(torch.rand(1, 3, 96, 64), torch.rand(1, 2, 6, 4))


def test_what_accompanies_a_map_is_the_mean_over_its_places() -> None:
    """Against the slow way: the maps in pixels, cut as the picture is, and pooled."""
    torch.manual_seed(0)
    critic = ProjectedDiscriminator(4, condition=2)
    picture, maps = torch.rand(1, 3, 112, 96), torch.rand(1, 2, 7, 6)
    critic.eyes.phase = 5, 9
    seen = critic.perceive(picture)
    pixels = F.interpolate(maps, picture.shape[2:], mode="nearest")[:, :, 5:, 9:]
    for head, features, ours in zip(critic.heads, seen[1:], critic.judge(seen, maps).logits, strict=True):
        beside = F.adaptive_avg_pool2d(pixels, features.shape[2:])
        torch.testing.assert_close(ours, head(torch.cat([features, beside], dim=1))[0])
