from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ganic.errors import UsageError
from ganic.extreme.published_selective import LabelEncoder, SelectiveCodec

CLASSES = 11

# Every convolution of the paper: (inputs, outputs, kernel, share of the picture's pixels it is evaluated at).
# A transposed convolution meets each of its inputs once with every weight, at the lower resolution.
Convolutions = list[tuple[int, int, int, float]]
DOWN: Convolutions = [(60, 120, 3, 1 / 4), (120, 240, 3, 1 / 16), (240, 480, 3, 1 / 64)]
LABELS: Convolutions = [(CLASSES, 60, 7, 1.0), *DOWN, (480, 960, 3, 1 / 256)]
GENERATOR: Convolutions = [
    (960 + 960, 960, 3, 1 / 256),
    *[(960, 960, 3, 1 / 256)] * 18,
    (960, 480, 3, 1 / 256),
    (480, 240, 3, 1 / 64),
    (240, 120, 3, 1 / 16),
    (120, 60, 3, 1 / 4),
    (60, 3, 7, 1.0),
]


def before_q(channels: int) -> Convolutions:
    return [(3, 60, 7, 1.0), *DOWN, (480, channels, 3, 1 / 64)]


def after_q(channels: int) -> Convolutions:
    return [(channels, 480, 3, 1 / 64), (480, 960, 3, 1 / 256)]


def parameters(convolutions: Convolutions) -> int:
    return sum(a * b * k * k + b for a, b, k, _ in convolutions)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("channels", [4, 8])
def test_parameters_and_arithmetic(channels: int) -> None:
    with torch.device("meta"):
        codec = SelectiveCodec(channels, classes=CLASSES)
        picture, labels = torch.empty(1, 3, 256, 256), torch.empty(1, 256, 256, dtype=torch.int64)
    assert count(codec.encoder) == parameters(before_q(channels))
    assert count(codec.symbol_features) == parameters(after_q(channels))
    assert count(codec.label_encoder) == parameters(LABELS)
    assert count(codec.generator) == parameters(GENERATOR)
    everything = [*before_q(channels), *after_q(channels), *LABELS, *GENERATOR]
    assert count(codec) == parameters(everything)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        w = codec.encoder(picture)
        assert w.shape == (1, channels, 32, 32)
        assert codec.generate(w, labels).shape == picture.shape
    macs = sum(a * b * k * k * share for a, b, k, share in everything)
    assert counter.get_total_flops() / 2 / 256**2 == macs


def test_published_size() -> None:
    """C = 4, 11 classes: 1.4 M parameters before q, 4.2 M after it, 5.5 M for labels, 171.4 M in G."""
    millions = [round(parameters(part) / 1e6, 1) for part in (before_q(4), after_q(4), LABELS, GENERATOR)]
    assert millions == [1.4, 4.2, 5.5, 171.4]


@pytest.mark.parametrize(("channels", "bpp"), [(2, 0.0726), (4, 0.145), (8, 0.290)])
def test_bound(channels: int, bpp: float) -> None:
    """Four times as many positions as GC has."""
    assert SelectiveCodec(channels, classes=2, width=1, blocks=0).bpp_bound == pytest.approx(bpp, rel=3e-3)


def small(**changes: Any) -> SelectiveCodec:
    """Narrow, but with a latent as wide as the published network's: symbols of every value."""
    torch.manual_seed(0)
    codec = SelectiveCodec(3, **{"classes": 4, "width": 4, "blocks": 1, **changes})
    codec.encoder.get_parameter("layers.4.weight").data *= (60 / 4) ** 0.5
    return codec


def scene(height: int = 96, width: int = 112) -> tuple[Tensor, Tensor, Tensor]:
    """Picture, labels in large regions with void, and a heat map whose ones are 2 x 3 positions."""
    torch.manual_seed(1)
    coarse = torch.randint(-1, 4, (1, height // 16, width // 16))
    labels = coarse.repeat_interleave(16, 1).repeat_interleave(16, 2)
    heat = torch.zeros(1, 1, height // 8, width // 8)
    heat[..., 5:7, 6:9] = 1
    return torch.rand(1, 3, height, width), labels, heat


def with_latent(codec: SelectiveCodec, where: Tensor, scene: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """The reconstruction where E's output is something else at ``where`` > 0."""
    hook = codec.encoder.register_forward_hook(
        lambda module, inputs, w: torch.where(where > 0, 3 * torch.randn_like(w), w)
    )
    try:
        picture: Tensor = codec(*scene).picture
        return picture
    finally:
        hook.remove()


def test_symbols_outside_the_heat_map_do_not_exist() -> None:
    codec, (picture, labels, heat) = small(), scene()
    plain = codec(picture, labels, heat).picture
    assert torch.equal(with_latent(codec, 1 - heat, (picture, labels, heat)), plain)
    assert not torch.allclose(with_latent(codec, heat, (picture, labels, heat)), plain, atol=1e-2)


def test_no_gradient_reaches_what_is_not_preserved() -> None:
    codec, (picture, labels, heat) = small(), scene()
    latents: list[Tensor] = []
    codec.encoder.register_forward_hook(lambda module, inputs, w: latents.append(w))
    made = codec(picture, labels, heat).picture
    (gradient,) = torch.autograd.grad(made.square().sum(), latents[0])
    assert not gradient[:, :, heat[0, 0] == 0].any()
    assert gradient[:, :, heat[0, 0] == 1].all()


def test_nothing_preserved_is_pure_synthesis() -> None:
    codec, (picture, labels, heat) = small(), scene()
    nothing = torch.zeros_like(heat)
    made = codec(picture, labels, nothing)
    assert torch.equal(codec(torch.rand_like(picture), labels, nothing).picture, made.picture)
    assert not made.quantised.values.any()
    assert not torch.allclose(codec(picture, labels.flip(2), nothing).picture, made.picture, atol=1e-2)


def test_pixels_count_as_far_as_the_encoder_sees() -> None:
    """Without InstanceNorm, which sees everything, a symbol at p depends on pixels 8p - 18 to 8p + 18.

    3 from c7s1, then 1, 2, 4 from the halvings, and 8 from c3s1-C.
    """
    codec, (picture, labels, heat) = small(), scene()
    for layer in list(codec.encoder.layers)[:-1]:
        assert isinstance(layer, nn.Sequential) and isinstance(layer[1], nn.InstanceNorm2d)
        layer[1] = nn.Identity()
        nn.init.kaiming_normal_(layer.get_parameter("0.weight"))  # in place of the normalisation
    seen = torch.zeros_like(picture, dtype=torch.bool)
    seen[..., 5 * 8 - 18 : 6 * 8 + 19, 6 * 8 - 18 : 8 * 8 + 19] = True
    elsewhere = torch.where(seen, picture, torch.rand_like(picture))
    plain, other = codec(picture, labels, heat), codec(elsewhere, labels, heat)
    assert torch.allclose(other.picture, plain.picture, atol=1e-5)
    everything = torch.ones_like(heat)
    assert not torch.allclose(
        codec(elsewhere, labels, everything).picture, codec(picture, labels, everything).picture, atol=1e-2
    )
    # And no less far: each side of what is seen reaches a preserved symbol.
    sides = [(0, 22), (0, 66), (1, 30), (1, 82)]
    w = codec.encoder(picture)[:, :, 5:7, 6:9]
    for axis, line in sides:
        changed = picture.clone()
        changed.select(2 + axis, line).mul_(-5)
        assert not torch.equal(codec.encoder(changed)[:, :, 5:7, 6:9], w), (axis, line)


def test_decoding_needs_preserved_symbols_labels_and_heat_map_only() -> None:
    codec, (picture, labels, heat) = small(), scene()
    out = codec(picture, labels, heat)
    stored = out.quantised.symbols[:, :, 5:7, 6:9]
    values = torch.zeros(1, 3, 12, 14)
    values[:, :, 5:7, 6:9] = codec.quantiser.dequantise(stored)
    assert torch.equal(codec.generate(values, labels), out.picture)
    assert out.picture.dtype == torch.float32 and 0 <= out.picture.amin() < out.picture.amax() <= 1


def test_noise() -> None:
    codec, (picture, labels, heat) = small(noise=2), scene()
    assert codec.generator.get_parameter("layers.0.0.weight").shape[1] == 2 * (4 << 4) + 2
    values, noise = codec(picture, labels, heat).quantised.values, torch.randn(1, 2, 6, 7)
    assert torch.equal(codec.generate(values, labels, noise), codec.generate(values, labels, noise))
    assert not torch.equal(codec.generate(values, labels), codec.generate(values, labels))


def test_every_parameter_learns() -> None:
    codec = small(learned_centres=True)
    codec(*scene()).picture.square().mean().backward()
    assert all(p.grad is not None for p in codec.parameters())
    for name in ("encoder", "label_encoder"):
        first = codec.get_submodule(name).get_parameter("layers.0.0.weight").grad
        assert first is not None and first.abs().amax() > 0, name


def test_labels_without_a_class_are_void() -> None:
    torch.manual_seed(0)
    encoder = LabelEncoder(3, width=4)
    labels = torch.randint(3, (1, 32, 48))
    hole = torch.zeros_like(labels, dtype=torch.bool)
    hole[:, 8:24, 8:24] = True
    features = [encoder(labels.masked_fill(hole, void)) for void in (-1, 3, 255)]
    assert features[0].shape == (1, 64, 2, 3)
    assert torch.equal(features[0], features[1]) and torch.equal(features[0], features[2])
    assert not any(torch.allclose(encoder(labels.masked_fill(hole, k)), features[0]) for k in range(3))


def test_other_sizes_are_refused() -> None:
    codec, (picture, labels, heat) = small(), scene()
    with pytest.raises(UsageError, match=r"heat map: 7x6.*14x12"):
        codec(picture, labels, heat[..., ::2, ::2])
    with pytest.raises(UsageError, match="heat map"):
        codec(picture, labels, heat.expand(-1, 3, -1, -1))
    with pytest.raises(UsageError, match=r"label map: 56x48.*112x96"):
        codec(picture, labels[:, ::2, ::2], heat)
    with pytest.raises(UsageError, match="multiples of 16 from 32"):
        codec(picture[..., :40], labels[..., :40], heat[..., :5])
