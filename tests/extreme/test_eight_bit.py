"""The generator's wide layers in 8 bits: near to what they replace, and refused where ranges are missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganic import models
from ganic.byte_products import supported
from ganic.errors import ModelFormatError
from ganic.extreme.activation_ranges import HEIGHT, WIDTH, activation_ranges, dead_leaves
from ganic.extreme.codec import Codec
from ganic.extreme.compact import Generator, ResidualBlock, Upsample
from ganic.extreme.eight_bit import KEPT, EightBitBlock, EightBitUpsample, Rounding, reduce
from ganic.extreme.model import Architecture, CompactModel

PHOTO = Path(__file__).parents[1] / "data" / "photo.webp"

needs_bytes = pytest.mark.skipif(not supported(), reason="the processor multiplies no bytes")


def generator() -> Generator:
    torch.manual_seed(2)
    made = Generator(latent=8, widths=(24, 16, 16, 8, 8), blocks=(2, 1, 1, 1), guided=True).eval()
    torch.nn.init.normal_(made.out.weight, std=0.1)
    return made.requires_grad_(False)


def ranges_of(generator: Generator, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of exactly these inputs, widened so that nothing is clipped."""
    found: dict[str, torch.Tensor] = {}

    def hook(name: str) -> object:
        def see(_: torch.nn.Module, given: tuple[torch.Tensor]) -> None:
            found[name] = torch.stack([given[0].amin((0, 2, 3)), given[0].amax((0, 2, 3))]) / KEPT

        return see

    handles = [
        layer.register_forward_pre_hook(hook(name))  # type: ignore[arg-type]
        for name, layer in generator.named_modules()
        if isinstance(layer, torch.nn.Conv2d)
    ]
    generator(*inputs)
    for handle in handles:
        handle.remove()
    return found


def test_rounding_has_a_zero_and_equal_steps() -> None:
    limits = torch.tensor([[-1.0, -20.0], [3.0, 20.0]])
    rounding = Rounding(limits)
    # Channel 0 reaches -0.25 and 0.75 of its range, channel 1 -0.5 and 0.5.
    assert rounding.step == pytest.approx(1.25 / 255)
    assert rounding.zero == round(0.5 / rounding.step) == 102
    x = torch.tensor([0.0, KEPT * 3.0, -KEPT * 1.0, 100.0]).view(1, 1, 1, 4).repeat(1, 2, 1, 1)
    steps = rounding(x)
    assert steps.dtype == torch.uint8
    assert torch.equal(rounding.in_place(x * rounding.per_unit), steps)
    assert steps[0, 0, 0].tolist() == [102, 255, 51, 255]
    back = (steps.float() - rounding.zero) / rounding.per_unit
    assert (back - x)[:, :, :, :3].abs().amax(3).flatten().tolist() == pytest.approx(
        [0.0, 0.0], abs=0.5 * rounding.step * KEPT * 40
    )


def test_a_channel_that_is_always_zero() -> None:
    rounding = Rounding(torch.zeros(2, 3))
    assert (rounding(torch.zeros(1, 3, 2, 2)) == rounding.zero).all()


@needs_bytes
def test_blocks_and_sub_pixels_are_near_to_those_of_float32() -> None:
    torch.manual_seed(1)
    block, up = ResidualBlock(24).eval(), Upsample(24, 16, 3).eval()
    block.second.weight.data.mul_(10)  # what training makes of its small beginning
    block, up = block.requires_grad_(False), up.requires_grad_(False)
    x = torch.randn(1, 24, 12, 20).contiguous(memory_format=torch.channels_last)
    inner = torch.nn.functional.leaky_relu(block.first(x), 0.1)
    limits = {
        name: torch.stack([value.amin((0, 2, 3)), value.amax((0, 2, 3))]) / KEPT
        for name, value in (("b.first", x), ("b.second", inner), ("u.conv", x))
    }
    change = block(x) - x
    error = EightBitBlock(block, limits, "b")(x.clone()) - x - change
    assert error.norm() < 0.02 * change.norm()
    expected = up(x)
    made = EightBitUpsample(up, limits, "u", torch.bfloat16)(x.clone())
    assert made.dtype == torch.bfloat16
    assert (made.float() - expected).norm() < 0.02 * expected.norm()


@needs_bytes
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_reduced_generator(dtype: torch.dtype) -> None:
    network, latent, quality = generator(), torch.randn(1, 8, 6, 9), torch.tensor([100])
    expected = network(latent, quality)
    reduce(network, ranges_of(network, latent, quality), dtype)
    assert isinstance(network.stages[2].blocks[0], EightBitBlock)  # type: ignore[index]
    assert isinstance(network.stages[3].blocks[0], EightBitBlock)  # type: ignore[index]
    network.to(dtype)
    picture = network(latent.to(dtype), quality)
    assert picture.dtype == torch.float32
    linear = generator().linear(latent).float() + 0.5
    assert (picture - expected).norm() < 0.05 * (expected - linear).norm()


@needs_bytes
def test_layers_whose_ranges_are_not_known_stay_as_they_are() -> None:
    """As in models that were exported when layers at 1/2 resolution were not reduced."""
    network = generator()
    ranges = ranges_of(network, torch.randn(1, 8, 4, 4), torch.tensor([0]))
    reduce(network, {name: value for name, value in ranges.items() if ".3." not in name}, torch.float32)
    assert isinstance(network.stages[2].blocks[0], EightBitBlock)  # type: ignore[index]
    assert isinstance(network.up[2], EightBitUpsample)
    assert isinstance(network.stages[3].blocks[0], ResidualBlock)  # type: ignore[index]
    assert isinstance(network.up[3], Upsample)


@needs_bytes
def test_ranges_of_another_generator() -> None:
    network = generator()
    ranges = ranges_of(network, torch.randn(1, 8, 4, 4), torch.tensor([0]))
    for damaged in (
        {name: value for name, value in ranges.items() if name != "up.1.conv"},
        ranges | {"stages.0.blocks.1.second": torch.zeros(2, 5)},
    ):
        with pytest.raises(ModelFormatError, match="ranges"):
            reduce(generator(), damaged, torch.float32)


def test_dead_leaves_are_the_same_every_time_and_have_all_classes() -> None:
    picture, labels = dead_leaves(3, 5)
    assert picture.size == (WIDTH, HEIGHT)
    assert picture == dead_leaves(3, 5)[0]
    assert set(np.unique(labels)) == {0, 1, 2, 3, 4}
    assert picture != dead_leaves(4, 5)[0]
    assert 20 < np.asarray(picture).std() < 110


def test_ranges_cover_what_a_photograph_needs() -> None:
    """Of the shipped model, whose file has them: few values of a photograph lie outside."""
    codec = Codec.load("photo", precision="fp32")
    ranges = {
        name.removeprefix("ranges."): torch.from_numpy(value).float()
        for name, value in models.load("photo").tensors.items()
        if name.startswith("ranges.")
    }
    with torch.inference_mode():
        network = codec._generator(0.0)
    outside: dict[str, float] = {}

    def hook(name: str) -> object:
        def see(_: torch.nn.Module, given: tuple[torch.Tensor]) -> None:
            low, high = (KEPT * ranges[name])[:, None, :, None, None]
            outside[name] = float(((given[0] < low) | (given[0] > high)).float().mean())

        return see

    for name in ranges:
        network.get_submodule(name).register_forward_pre_hook(hook(name))  # type: ignore[arg-type]
    with Image.open(PHOTO) as photo:
        codec.decode(codec.encode(photo.crop((0, 0, 384, 256)), quality=0.6))
    assert outside.keys() == ranges.keys()
    assert max(outside.values()) < 0.01


@needs_bytes
def test_the_shipped_model_decodes_in_eight_bits_and_nearly_the_same() -> None:
    with Image.open(PHOTO) as photo:
        cut = photo.convert("RGB").crop((0, 0, 384, 256))
    data = Codec.load("photo").encode(cut, quality=0.6)
    exact = np.asarray(Codec.load("photo", precision="fp32").decode(data), dtype=float)
    reduced = Codec.load("photo")
    picture = np.asarray(reduced.decode(data), dtype=float)
    with torch.inference_mode():
        assert isinstance(reduced._generator(0.0).up[0], EightBitUpsample)
        assert isinstance(Codec.load("photo", precision="bf16")._generator(0.0).up[0], Upsample)
    assert 0 < np.sqrt(((picture - exact) ** 2).mean()) < 0.7
    assert abs(picture.mean() - exact.mean()) < 0.05


def test_ranges_of_a_selective_codec_know_its_labels() -> None:
    torch.manual_seed(0)
    architecture = Architecture(
        latent=16, encoder_widths=(8, 8, 8, 8), encoder_blocks=(0, 0, 0, 0), classes=("a", "b"),
        generator_widths=(12, 8, 8, 8, 4), generator_blocks=(1, 0, 0, 0), hyper=4, features=8, hidden=8,
        context=4,
    )  # fmt: skip
    model = CompactModel(architecture)
    assert model.generator.label_encoder is not None
    ranges = activation_ranges(model, [model.generator], 2)
    names = [f"stages.0.blocks.0.{half}" for half in ("first", "second")]
    names += [f"up.{level}.conv" for level in range(4)]
    assert sorted(ranges) == names
    assert ranges[names[0]].shape == (2, 12)
    # What is coded whole, where G sees no labels at all, is within them too.
    seen: list[torch.Tensor] = []
    block = model.generator.stages[0].blocks[0].first  # type: ignore[union-attr,index]
    block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))  # type: ignore[union-attr]
    picture = torch.from_numpy(np.asarray(dead_leaves(0, 2)[0]).copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        model(picture, torch.tensor([255]))
    assert (seen[0].amin((0, 2, 3)) >= ranges[names[0]][0]).all()
    assert (seen[0].amax((0, 2, 3)) <= ranges[names[0]][1]).all()
    with torch.no_grad():
        for layer in model.generator.label_encoder.out:
            layer.weight.mul_(100)  # type: ignore[operator]
    louder = activation_ranges(model, [model.generator], 2)
    assert (louder[names[0]][1] > 2 * ranges[names[0]][1]).any()
