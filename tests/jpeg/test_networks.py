from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganic.errors import UsageError
from ganic.jpeg import layer_norm
from ganic.jpeg.classifier import Classifier
from ganic.jpeg.direct import FullyConnected, convolutional, fully_connected
from ganic.jpeg.discriminator import Discriminator
from ganic.jpeg.equalised import EqualConv, EqualLinear
from ganic.jpeg.generator import JpegGenerator, ResidualTrunk
from ganic.jpeg.layer_norm import LayerNorm
from ganic.jpeg.modern_discriminator import ModernDiscriminator, NativeCritic, deviation
from ganic.jpeg.modern_generator import ModernGenerator, StyledConv
from ganic.jpeg.sampling import ALL, Subsampling
from ganic.jpeg.settings import Settings, draw
from ganic.jpeg.synthesis import Generator, rendered
from ganic.metrics.squeezenet import CHANNELS
from ganic.training.adversarial import hinge_discriminator


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("size", "generator", "discriminator"), [(64, 8_540_483, 7_491_841), (32, 2_005_155, 1_874_049)]
)
def test_parameters_of_the_ttur_networks(size: int, generator: int, discriminator: int) -> None:
    assert parameters(ResidualTrunk(size)) == generator
    assert parameters(Discriminator(size)) == discriminator
    assert parameters(JpegGenerator(size)) == generator + 12_492
    layers = 128 * 512 + 512 + 3 * (512 * 512 + 512) + 512 * 3 * size**2 + 3 * size**2
    assert parameters(FullyConnected(size)) == layers


@pytest.mark.parametrize("size", [16, 33, 128])
def test_other_sizes_are_refused(size: int) -> None:
    for network in (ResidualTrunk, Discriminator, FullyConnected):
        with pytest.raises(UsageError, match="32 and 64"):
            network(size)


def test_first_weights_have_the_reference_codes_deviations() -> None:
    torch.manual_seed(0)
    trunk, critic = ResidualTrunk(32), Discriminator(32)
    kernel = trunk.blocks[0].conv1.weight  # 256 -> 256, 3x3
    assert kernel.std().item() == pytest.approx((4 / (9 * 512)) ** 0.5, rel=0.01)
    assert kernel.abs().max().item() <= (3 * 4 / (9 * 512)) ** 0.5  # uniform
    shortcut = critic.blocks[2].shortcut.weight  # 128 -> 256, 1x1
    assert shortcut.std().item() == pytest.approx((2 / 384) ** 0.5, rel=0.02)
    assert critic.input.weight.std().item() == pytest.approx((2 / (9 * 35)) ** 0.5, rel=0.1)  # Glorot, not He


@pytest.mark.parametrize("cached", [2**18, 48], ids=["at once", "in parts"])
def test_layer_norm_has_right_first_and_second_gradients(
    cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against finite differences in double precision: every argument, every output."""
    monkeypatch.setattr(layer_norm, "CACHED", cached)
    torch.manual_seed(0)
    norm = LayerNorm(3).double()
    x = torch.randn(5, 3, 4, 2, dtype=torch.double, requires_grad=True)
    weight, bias = (torch.randn(3, dtype=torch.double, requires_grad=True) for _ in range(2))

    def function(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(norm, {"weight": weight, "bias": bias}, (x,))  # type: ignore[no-any-return]

    assert torch.autograd.gradcheck(function, (x, weight, bias))
    assert torch.autograd.gradgradcheck(function, (x, weight, bias))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
def test_layer_norm_is_torchs_with_one_group(layout: torch.memory_format, precision: torch.dtype) -> None:
    """Values, gradients, and the gradients of a gradient penalty."""
    torch.manual_seed(0)
    ours, torchs = LayerNorm(8), nn.GroupNorm(1, 8)
    with torch.no_grad():
        ours.weight.normal_()
        ours.bias.normal_()
        torchs.load_state_dict(ours.state_dict())
    x = (torch.randn(6, 8, 4, 4) * 3 + 1).to(precision).contiguous(memory_format=layout)
    found = []
    for norm in (ours, torchs):
        at = x.clone().requires_grad_(True)
        y = norm(at)
        (gradient,) = torch.autograd.grad((y.float() ** 3).sum(), at, create_graph=True)
        (gradient.float() ** 2).sum().backward()
        found.append((y, gradient, at.grad, norm.weight.grad, norm.bias.grad))
    tolerance = 1e-4 if precision == torch.float32 else 0.03
    for mine, expected in zip(*found, strict=True):
        assert mine is not None and expected is not None
        assert mine.dtype == expected.dtype
        assert (mine - expected).abs().max() <= tolerance * expected.abs().max()


def test_critic_looks_at_one_picture_at_a_time() -> None:
    """The reference code merges four pictures into one value at this size."""
    torch.manual_seed(0)
    critic, pictures = Discriminator(32), torch.rand(4, 3, 32, 32) * 2 - 1
    values = critic(pictures)
    assert values.shape == (4,)
    assert torch.allclose(values[1:2], critic(pictures[1:2]), atol=1e-5)


def generators() -> list[Generator]:
    torch.manual_seed(0)
    return [
        JpegGenerator(32),
        convolutional(32),
        fully_connected(32),
        ModernGenerator((16, 16, 16, 16), 2, 10),
    ]


@pytest.mark.parametrize(
    "generator", generators(), ids=["proposed", "convolutional", "fully connected", "modern"]
)
def test_every_generator_makes_coefficients_and_learns(generator: Generator) -> None:
    settings = Settings(torch.tensor([100, 75, 50, 25, 10, 1]), tuple((s, 2) for s in ALL))
    noise = generator.noise(6, "cpu")
    planes = generator(noise, settings.features())
    assert planes.shape[0] == 6 and planes.shape[2:] == (32, 32)
    if generator.has_trunk:
        assert planes.shape[1] >= 3
    coded = generator.code(planes[:2], settings.quality[:2], Subsampling.BOTH)
    assert coded.luminance.shape == (2, 64, 4, 4)
    assert coded.blue.shape == coded.red.shape == (2, 64, 2, 2)
    assert torch.equal(coded.luminance, coded.luminance.round())
    rgb = rendered(generator, planes, settings)
    assert rgb.shape == (6, 3, 32, 32)
    assert rgb.min() >= -1 and rgb.max() <= 1
    rgb.square().sum().backward()
    missing = [name for name, p in generator.named_parameters() if p.grad is None]
    assert missing == []


@pytest.mark.parametrize("subsampling", ALL, ids=str)
def test_direct_planes_hold_coefficients_in_place(subsampling: Subsampling) -> None:
    """Of plane 1's every v-th row and h-th column, (8 i + a, 8 j + b) is Cb's (a, b) of block (i, j)."""
    generator = convolutional(32)
    planes = torch.zeros(1, 3, 32, 32)
    v, h = subsampling.vertical, subsampling.horizontal
    planes[0, 1, (8 * 1 + 2) * v, (8 * 0 + 3) * h] = 100 / 1024
    planes[0, 0, 8 * 3 + 7, 8 * 2 + 1] = -50 / 1024
    coded = generator.code(planes, torch.tensor([100]), subsampling)
    assert coded.blue[0, 2 * 8 + 3, 1, 0] == 100
    assert coded.luminance[0, 7 * 8 + 1, 3, 2] == -50
    assert coded.blue.count_nonzero() == coded.luminance.count_nonzero() == 1
    assert coded.red.count_nonzero() == 0


def test_modern_generator_starts_as_a_jpeg_encoder_of_its_trunk() -> None:
    torch.manual_seed(0)
    generator = ModernGenerator((8, 8, 8, 8), 2, 0)
    settings = Settings.same(2, 60, Subsampling.HORIZONTAL, "cpu")
    with torch.no_grad():
        planes = generator(generator.noise(2, "cpu"), settings.features())
        ours = generator.code(planes, settings.quality, Subsampling.HORIZONTAL)
        plain = JpegGenerator(32).code(planes[:, :3], settings.quality, Subsampling.HORIZONTAL)
        assert torch.equal(ours.luminance, plain.luminance)
        assert torch.equal(ours.blue, plain.blue)
        # The settings change nothing yet.
        noise = generator.noise(2, "cpu")
        other = Settings.same(2, 5, Subsampling.BOTH, "cpu")
        assert torch.equal(generator(noise, settings.features()), generator(noise, other.features()))


def test_corrections_change_coefficients() -> None:
    torch.manual_seed(0)
    generator = ModernGenerator((8, 8, 8, 8), 2, 0)
    planes = torch.randn(1, 5, 32, 32)
    quality = torch.tensor([75])
    with torch.no_grad():
        before = generator.code(planes, quality, Subsampling.BOTH).red
        generator.corrections[2].loc.weight.normal_()  # type: ignore[union-attr, operator]
        after = generator.code(planes, quality, Subsampling.BOTH)
    assert not torch.equal(before, after.red)


def test_modulation_is_stylegan2s() -> None:
    """Scaling inputs and outputs equals weights for each picture (Karras et al. 2020, Eqs. 1 and 3)."""
    torch.manual_seed(0)
    layer = StyledConv(4, 5, 3)
    x, style = torch.randn(2, 4, 6, 6), torch.randn(2, 256)
    expected = []
    for i in range(2):
        scale = layer.style(style[i : i + 1])[0]
        weight = layer.conv.weight * layer.conv.scale * scale[None, :, None, None]
        weight = weight / (weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        expected.append(torch.nn.functional.conv2d(x[i : i + 1], weight, padding=1))
    assert torch.allclose(layer(x, style), torch.cat(expected), atol=1e-5)


def test_critics_know_class_and_settings() -> None:
    torch.manual_seed(0)
    critic = ModernDiscriminator(32, 8, 10)
    x = torch.rand(8, 3, 32, 32) * 2 - 1
    here = Settings.same(8, 50, Subsampling.NONE, "cpu").features()
    there = Settings.same(8, 5, Subsampling.NONE, "cpu").features()
    zeros = torch.zeros(8, dtype=torch.int64)
    verdict = critic(x, x, zeros, here)
    assert verdict.projected.shape == (8, 4 * 16)  # four scales of 4x4 places
    assert verdict.native.shape == (8, 1)
    for other in (critic(x, x, zeros + 1, here), critic(x, x, zeros, there)):
        for logits, others in zip(verdict.logits, other.logits, strict=True):
            assert not torch.allclose(logits, others)
    flat = x[:, :, :, :1].expand(-1, -1, -1, 32)
    assert all(torch.isfinite(logits).all() for logits in critic(flat, flat, zeros, here).logits)
    large = torch.rand(8, 3, 64, 64)
    verdict = ModernDiscriminator(64, 8, 10)(large, large, zeros, here)
    assert verdict.projected.shape == (8, 4 * 16) and verdict.native.shape == (8, 1)


def test_native_critic_learns_a_lattice_that_stays_in_its_place() -> None:
    """The same lattice, here on every fourth column from the first on, there from a random one: heads on
    features that are the same everywhere, of pictures moved at random, could not tell."""
    torch.manual_seed(0)
    critic = NativeCritic(32, 1)
    known = torch.ones(32, 1)
    optimiser = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.0, 0.99))

    def lattice(first: Tensor) -> Tensor:
        columns = (torch.arange(32) - first[:, None]) % 4 == 0
        pictures: Tensor = torch.randn(32, 3, 32, 32) * 0.1 + 0.3 * columns[:, None, None].float()
        return pictures

    for _ in range(60):
        optimiser.zero_grad()
        fixed, free = lattice(torch.zeros(32)), lattice(torch.randint(4, (32,)))
        loss = hinge_discriminator(critic(free, known), critic(fixed, known))
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        moved = critic(lattice(torch.ones(32)), known) > critic(lattice(torch.zeros(32)), known)
    assert moved.float().mean() > 0.9


def test_frozen_features_know_one_picture_and_nothing_else() -> None:
    torch.manual_seed(0)
    critic = ModernDiscriminator(32, 8, 10)
    x = torch.rand(4, 3, 32, 32) * 2 - 1
    features = Settings.same(4, 50, Subsampling.NONE, "cpu").features()
    zeros = torch.zeros(4, dtype=torch.int64)
    found = critic(x, x, zeros, features).means
    assert [mean.shape for mean in found] == [(4, channels) for channels in CHANNELS]
    told = critic(x, x, zeros + 1, features).means
    one = critic(x[:1], x[:1], zeros[:1], features[:1]).means
    for mean, same, alone in zip(found, told, one, strict=True):
        assert torch.equal(mean, same)
        torch.testing.assert_close(mean[:1], alone, rtol=1e-4, atol=1e-4)


def test_classifier_learns_which_way_stripes_go() -> None:
    """Of any colour, phase and width."""
    torch.manual_seed(0)
    classifier = Classifier(16, 2)
    optimiser = torch.optim.Adam(classifier.parameters(), lr=2e-3)

    def pictures(n: int) -> tuple[Tensor, Tensor]:
        label = torch.randint(2, (n,))
        across = torch.sin(torch.arange(16) * (0.7 + torch.rand(n, 1)) + 6.3 * torch.rand(n, 1))
        stripes = across[:, None, None, :].expand(n, 1, 16, 16)
        turned = torch.where(label.view(n, 1, 1, 1) > 0, stripes, stripes.transpose(2, 3))
        return turned * (torch.rand(n, 3, 1, 1) * 2 - 1), label

    for _ in range(40):
        x, label = pictures(16)
        optimiser.zero_grad()
        F.cross_entropy(classifier(x), label).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    classifier.eval()
    x, label = pictures(100)
    with torch.no_grad():
        assert (classifier(x).argmax(dim=1) == label).float().mean() > 0.9


def test_classifier_of_any_size_ends_in_four_by_four() -> None:
    for size, convolutions in ((16, 4), (32, 6), (64, 8)):
        classifier = Classifier(size, 10)
        assert sum(isinstance(module, nn.Conv2d) for module in classifier.modules()) == convolutions
        assert classifier.layers(torch.zeros(2, 3, size, size)).shape[2:] == (4, 4)
        assert classifier(torch.zeros(2, 3, size, size)).shape == (2, 10)


def test_deviation_is_within_classes() -> None:
    """Eight pictures of two classes, mixed: each class's four make a group, wherever they stand."""
    values = torch.tensor([0.0, 10, 2, 10, 4, 10, 6, 10])
    label = torch.tensor([0, 1, 0, 1, 0, 1, 0, 1])
    x = values.view(8, 1, 1, 1) * torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)
    found = deviation(x, label.argsort(stable=True)).flatten(1)
    expected = values[label == 0].std(correction=0).item()
    assert found[label == 0].tolist() == [pytest.approx([expected, 3 * expected])] * 4
    assert found[label == 1].abs().max().item() == pytest.approx(0, abs=2e-4)


def test_equalised_layers_start_with_variance_one() -> None:
    torch.manual_seed(0)
    assert EqualLinear(400, 300)(torch.randn(100, 400)).var().item() == pytest.approx(1, rel=0.05)
    assert EqualConv(64, 64, 3)(torch.randn(4, 64, 16, 16)).var().item() == pytest.approx(1, rel=0.15)
    slow = EqualLinear(400, 300, lr_scale=0.01, bias=2.0)
    assert slow(torch.randn(100, 400)).mean().item() == pytest.approx(2, abs=0.05)


def test_settings_describe_themselves() -> None:
    settings = Settings(torch.tensor([100, 1, 50]), ((Subsampling.BOTH, 1), (Subsampling.NONE, 2)))
    features = settings.features()
    assert features[:2, 0].tolist() == pytest.approx([-1, 1], abs=0.01)
    assert -1 < features[2, 0] < 1
    assert features[:, 1:].tolist() == [[0, 0, 1], [1, 0, 0], [1, 0, 0]]


def test_drawn_settings() -> None:
    torch.manual_seed(0)
    drawn = draw(64, (100, 50), ALL, 0.0, "cpu")
    assert sorted(n for _, n in drawn.runs) == [21, 21, 22]
    assert {s for s, _ in drawn.runs} == set(ALL)
    assert set(drawn.quality.tolist()) == {50, 100}
    anywhere = draw(1000, (90, 20), ALL, 0.5, "cpu").quality
    assert anywhere.min() >= 20 and anywhere.max() <= 90
    assert len(set(anywhere.tolist())) > 60
    assert ((anywhere == 90) | (anywhere == 20)).float().mean().item() == pytest.approx(0.5, abs=0.07)
    assert draw(2, (75,), ALL, 0.0, "cpu").quality.tolist() == [75, 75]
