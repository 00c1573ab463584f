"""More channels of the latent for a trained model: what was there stays, and what is added works."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ganic.errors import TrainingError
from ganic.extreme import lapped
from ganic.extreme.growing import channels, deepened, depths, grown, told
from ganic.extreme.model import Architecture, CompactModel
from ganic.extreme.prior import GROUPS, SCALE_UNIT
from ganic.extreme.symbol_costs import SCALE_STEP
from ganic.tensor_names import below

OLD, NEW = 16, 24


def architecture_of(small: Architecture, latent: int) -> Architecture:
    return small.model_copy(update={"latent": latent, "taper": 0, "conditioned": False})


def model_of(small: Architecture, latent: int) -> CompactModel:
    torch.manual_seed(2)
    return CompactModel(architecture_of(small, latent))


def weights_of(model: CompactModel) -> dict[str, Tensor]:
    torch.manual_seed(3)
    weights = {f"codec.{name}": value.clone() for name, value in model.state_dict().items()}
    for name in ("codec.generator.out.weight", "codec.encoder.out.weight", "codec.generator.enter.weight"):
        weights[name].normal_(std=0.1)
    for p in range(GROUPS):
        weights[f"codec.prior.passes.{p}.head.weight"].normal_(std=0.05)
    return weights


def places() -> tuple[list[int], list[int]]:
    """Old channels, four to a group, among six; the added ones after them."""
    kept = [6 * (c // 4) + c % 4 for c in range(OLD)]
    return kept, [c for c in range(NEW) if c not in kept]


def test_what_was_there_decides_as_before(small_architecture: Architecture) -> None:
    old = model_of(small_architecture, OLD)
    weights = weights_of(old)
    old.load_state_dict(below(weights, "codec."))
    new = model_of(small_architecture, NEW)
    more = grown(weights, NEW)
    kept, added = places()
    more["codec.encoder.linear.conv.weight"][added] = 0  # the added channels have nothing to say
    new.load_state_dict(below(more, "codec."))

    x, quality = torch.rand(2, 3, 64, 64), torch.tensor([40.0, 230.0])
    before, after = old(x, quality), new(x, quality)
    assert torch.allclose(after.latent[:, kept], before.latent, atol=1e-5)
    assert after.latent[:, added].abs().max() == 0
    assert torch.allclose(after.picture, before.picture, atol=1e-5)
    assert torch.allclose(after.prior.hyper_bits, before.prior.hyper_bits)
    assert (after.prior.bits >= before.prior.bits).all()


def test_the_added_channels_draw_what_the_old_ones_cannot(small_architecture: Architecture) -> None:
    old, new = model_of(small_architecture, OLD), model_of(small_architecture, NEW)
    weights = {f"codec.{name}": value for name, value in old.state_dict().items()}
    new.load_state_dict(below(grown(weights, NEW), "codec."))
    band = next(band for band in lapped.kept(NEW) if band not in lapped.kept(OLD))
    x = lapped.picture_basis(NEW)[lapped.kept(NEW).index(band)].float()
    x = torch.nn.functional.pad(x[None], (8, 24, 8, 24))  # its place among the blocks of 16 pixels

    def drawn(model: CompactModel) -> Tensor:
        return model.generator.linear(model.encoder.linear(x))  # type: ignore[no-any-return]

    assert drawn(old).abs().max() < 1e-3
    assert torch.allclose(drawn(new), x, atol=1e-3)


def test_scales_are_expected_to_fall_with_frequency(small_architecture: Architecture) -> None:
    old = model_of(small_architecture, OLD)
    weights = weights_of(old)
    more = grown(weights, NEW)
    name = "codec.prior.passes.1.head"
    kept, added = places()
    assert torch.equal(more[f"{name}.weight"][kept], weights[f"{name}.weight"][:OLD])
    assert torch.equal(more[f"{name}.weight"][[NEW + c for c in kept]], weights[f"{name}.weight"][OLD:])
    assert more[f"{name}.weight"][added].abs().max() == 0  # means
    # The first one added is brightness at the frequency after the last that there was.
    band = next(band for band in lapped.kept(NEW) if band not in lapped.kept(OLD))
    bands = lapped.kept(OLD)
    near = min(
        (other for other in bands if other[0] == band[0]),
        key=lambda other: math.hypot(band[1] - other[1], band[2] - other[2]),
    )
    like = bands.index(near)
    assert torch.equal(more[f"{name}.weight"][NEW + added[0]], weights[f"{name}.weight"][OLD + like])
    ratio = (
        lapped.typical_deviations(NEW)[lapped.kept(NEW).index(band)] / lapped.typical_deviations(OLD)[like]
    )
    steps = (more[f"{name}.bias"][NEW + added[0]] - weights[f"{name}.bias"][OLD + like]) * SCALE_UNIT
    assert float(steps) == pytest.approx(math.log(ratio) / SCALE_STEP, abs=1e-3) and steps < 0
    assert torch.equal(more["codec.gain.anchors"][:, added[0]], weights["codec.gain.anchors"][:, like])


def test_it_can_grow_again(small_architecture: Architecture) -> None:
    # The second time, channels are not in the order of their frequencies any more.
    once = grown(weights_of(model_of(small_architecture, OLD)), NEW)
    twice = grown(once, 32)
    kernels = lapped.kernel(32).flatten(1)
    likeness = twice["codec.encoder.linear.conv.weight"].flatten(1) @ kernels.mT / lapped.STORED**2
    assert torch.allclose(likeness.sum(1), torch.ones(32), atol=1e-4)
    assert torch.allclose(likeness.sum(0), torch.ones(32), atol=1e-4)


@pytest.mark.parametrize("latent", [12, 22])
def test_it_cannot_shrink(small_architecture: Architecture, latent: int) -> None:
    weights = weights_of(model_of(small_architecture, OLD))
    assert channels(weights) == OLD and channels({}) is None
    with pytest.raises(TrainingError, match="multiple of 4"):
        grown(weights, latent)


def test_a_selective_encoder_is_refused(small_architecture: Architecture) -> None:
    selective = CompactModel(small_architecture.model_copy(update={"classes": ("sky",)}))
    weights = {f"codec.{name}": value for name, value in selective.state_dict().items()}
    with pytest.raises(TrainingError, match="selective"):
        grown(weights, NEW)


def test_an_encoder_that_is_told_the_quality_begins_as_one_that_is_not(
    small_architecture: Architecture,
) -> None:
    old = model_of(small_architecture, OLD)
    weights = weights_of(old)
    old.load_state_dict(below(weights, "codec."))
    new = CompactModel(architecture_of(small_architecture, OLD).model_copy(update={"conditioned": True}))
    more = told(weights, small_architecture.encoder_widths)
    new.load_state_dict(below(more, "codec."))
    x, quality = torch.rand(2, 3, 64, 64), torch.tensor([40.0, 230.0])
    assert torch.equal(new(x, quality).picture, old(x, quality).picture)
    name = "codec.encoder.affines.2.bias.anchors"
    assert torch.equal(told({name: torch.ones(1)}, small_architecture.encoder_widths)[name], torch.ones(1))


def test_a_generator_with_more_blocks_begins_as_it_was(small_architecture: Architecture) -> None:
    old = model_of(small_architecture.model_copy(update={"generator_blocks": (1, 1, 0, 0)}), OLD)
    weights = weights_of(old)
    old.load_state_dict(below(weights, "codec."))
    widths, blocks = small_architecture.generator_widths, (2, 1, 3, 1)
    deeper = architecture_of(small_architecture, OLD).model_copy(update={"generator_blocks": blocks})
    new = CompactModel(deeper)
    more = deepened(weights, widths, blocks)
    new.load_state_dict(below(more, "codec."))
    x, quality = torch.rand(2, 3, 64, 64), torch.tensor([40.0, 230.0])
    assert torch.equal(new(x, quality).picture, old(x, quality).picture)
    added = {name for name in more if name not in weights}
    where = {".".join(name.split(".")[3:6]) for name in added}
    assert where == {"0.blocks.1", "2.blocks.0", "2.blocks.1", "2.blocks.2", "3.blocks.0"}
    # As new blocks begin, but for the second half; and the same every time.
    first = more["codec.generator.stages.2.blocks.1.first.weight"]
    fresh = CompactModel(deeper).state_dict()["generator.stages.2.blocks.1.first.weight"]
    assert float(first.std()) == pytest.approx(float(fresh.std()), rel=0.1)
    again = deepened(weights, widths, blocks)
    assert all(torch.equal(again[name], more[name]) for name in added)
    assert deepened(more, widths, blocks).keys() == more.keys()
    # Damage is not mended: what is missing before the last block of a stage stays missing.
    assert depths(weights) == (1, 1, 0, 0) and depths(more) == blocks and depths({}) == ()
    missing = "codec.generator.stages.2.blocks.1.first.weight"
    damaged = {name: value for name, value in more.items() if name != missing}
    assert deepened(damaged, widths, blocks).keys() == damaged.keys()
