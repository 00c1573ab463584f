"""Generator, discriminator, encoder, basis: sizes, and equality with the plain definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ganic.errors import UsageError
from ganic.ganz.basis import ChosenLinear, KroneckerBasis, NestedLinear, cosines, fit, units
from ganic.ganz.discriminator import Discriminator
from ganic.ganz.encoder import Encoder
from ganic.ganz.enlarged_conv import LARGE, plus_enlarged_conv
from ganic.ganz.generator import Generator
from ganic.ganz.reconstruction import ReconstructionObjective


def parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def plain_synthesis(generator: Generator, h0: Tensor) -> Tensor:
    """The network as the paper draws it: enlarge, concatenate, convolve."""
    base = h0.view(-1, generator.width, 8, 8)
    x = base
    for i, block in enumerate(generator.blocks):
        if i:
            x = torch.cat([x, F.interpolate(base, scale_factor=2**i, mode="nearest")], dim=1)
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        x = F.elu(F.conv2d(x, block.first.weight, padding=1))
        x = F.elu(F.conv2d(x, block.second.weight, padding=1))
    return F.elu(F.conv2d(x, generator.last.weight, padding=1))


@pytest.mark.parametrize("factor", [2, 4, 8, 16])
def test_adding_a_convolution_after_enlarging(factor: int) -> None:
    x, weight = torch.randn(2, 5, 3, 4, dtype=torch.float64), torch.randn(7, 5, 3, 3, dtype=torch.float64)
    expected = F.conv2d(F.interpolate(x, scale_factor=factor, mode="nearest"), weight, padding=1)
    before = torch.randn_like(expected)
    both = before + expected
    assert torch.allclose(plus_enlarged_conv(before, x, weight, factor), both, atol=1e-12)


@pytest.mark.parametrize("factor", [2, LARGE])
def test_adding_a_convolution_after_enlarging_has_the_same_gradients(factor: int) -> None:
    x = torch.randn(1, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    before = torch.randn(1, 3, 2 * factor, 3 * factor, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda y, a, b: plus_enlarged_conv(y + 0, a, b, factor), (before, x, weight)
    )


@pytest.mark.parametrize(
    "latent, size, generator, discriminator",
    [(64, 128, 2_149_760, 15_096_704), (64, 64, 1_707_392, 8_821_632), (512, 128, 5_819_776, 37_116_800)],
)
def test_parameter_counts(latent: int, size: int, generator: int, discriminator: int) -> None:
    # The paper's network has 2.15 M and 15.1 M at 128 x 128 with a latent of 64.
    with torch.device("meta"):
        assert parameters(Generator(latent, size)) == generator
        assert parameters(Discriminator(latent, size)) == discriminator
        assert Discriminator(latent, size)(torch.empty(1, 3, size, size)).shape == (1, 3, size, size)


@pytest.mark.parametrize("size", [16, 32, 64])
def test_generator_equals_its_plain_definition(size: int) -> None:
    torch.manual_seed(0)
    generator = Generator(8, size, width=6, init="preserving").double()
    h0 = torch.randn(2, generator.h0_size, dtype=torch.float64)
    made = generator.synthesise(h0)
    assert made.shape == (2, 3, size, size) and float(made.detach().min()) > -1
    assert torch.allclose(made, plain_synthesis(generator, h0), atol=1e-10)
    z = torch.randn(2, 8, dtype=torch.float64)
    assert torch.allclose(
        generator(z), plain_synthesis(generator, z @ generator.linear.weight.mT), atol=1e-10
    )


def test_head_and_tail_make_the_whole() -> None:
    generator = Generator(8, 32, width=6)
    h0 = torch.randn(1, generator.h0_size)
    for cut, side in enumerate((8, 16, 32)):
        activation = generator.head(h0, cut)
        assert activation.shape == (1, 6, side, side)
        assert torch.allclose(generator.tail(activation, h0, cut), generator.synthesise(h0), atol=1e-6)


def test_narrowing_blocks() -> None:
    generator = Generator(8, 32, width=6, narrowing=(5, 3))
    # h0, two convolutions of the first block, the same of the second with h0 again, the last
    assert parameters(generator) == 8 * 6 * 64 + 9 * (6 * 5 + 5 * 5 + (5 + 6) * 3 + 3 * 3 + 3 * 3)
    h0 = torch.randn(2, generator.h0_size)
    assert generator.head(h0, 1).shape == (2, 5, 16, 16) and generator.head(h0, 2).shape == (2, 3, 32, 32)
    assert generator.synthesise(h0).shape == (2, 3, 32, 32)
    with pytest.raises(UsageError, match="narrowing"):
        Generator(8, 32, width=6, narrowing=(5,))


def test_preserving_initialisation_keeps_the_second_moment() -> None:
    torch.manual_seed(0)
    generator = Generator(16, 64, width=64, init="preserving")
    h0 = torch.randn(4, generator.h0_size)
    for cut in (1, 2, 3):
        moment = float(generator.head(h0, cut).detach().square().mean())
        assert 0.2 < moment < 3, (cut, moment)
    default = Generator(16, 64, width=64)
    assert float(default.head(h0, 3).detach().square().mean()) < 0.05


@pytest.mark.parametrize("latent, size, width", [(0, 64, 8), (4, 8, 8), (4, 48, 8), (4, 64, 0)])
def test_impossible_generators(latent: int, size: int, width: int) -> None:
    with pytest.raises(UsageError, match="generator"):
        Generator(latent, size, width)


def test_encoder_gives_as_many_coefficients_as_the_basis_takes() -> None:
    for size in (16, 32, 64):
        encoder = Encoder(size, width=6)
        assert encoder(torch.rand(2, 3, size, size)).shape == (2, 6 * 64)
    assert parameters(Encoder(128)) < 1.6e6


def test_cosines_are_orthonormal_and_begin_with_the_mean() -> None:
    basis = cosines().double()
    assert torch.allclose(basis.mT @ basis, torch.eye(64, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(basis[:, 0], torch.full((64,), 1 / 8, dtype=torch.float64), atol=1e-6)
    changes = basis.view(8, 8, 64).diff(dim=0).square().sum((0, 1)) + basis.view(8, 8, 64).diff(
        dim=1
    ).square().sum((0, 1))
    assert (changes[1:3] < changes[3:6].min()).all()  # slow before fast


def test_basis_is_its_formula() -> None:
    basis = KroneckerBasis(3)
    with torch.no_grad():
        for parameter in basis.parameters():
            parameter.normal_()
    z = torch.randn(1, 192)
    expected = torch.zeros(3, 64)
    maps = z.view(3, 64)
    for i in range(3):
        for j in range(64):
            expected += maps[i, j] * torch.outer(basis.channels[:, i], basis.space[:, j]).detach()
    assert torch.allclose(basis(z).detach()[0], expected.flatten() + basis.mean.detach(), atol=1e-3)


def test_a_local_basis_is_its_formula() -> None:
    basis = KroneckerBasis(5, local=True)
    with torch.no_grad():
        for parameter in basis.parameters():
            parameter.normal_()
    z = torch.randn(2, 320)
    unit = units(5, local=True).view(5, 64)
    expected = torch.zeros(2, 5, 64)
    for picture, maps in enumerate(z.view(2, 5, 64)):
        for i in range(5):
            for j in range(64):
                place = torch.eye(64)[j]
                if i < 3:
                    place = basis.space[:, j].detach() * unit[i, j]
                expected[picture] += maps[i, j] * torch.outer(basis.channels[:, i].detach(), place)
    assert torch.allclose(basis(z).detach(), expected.flatten(1) + basis.mean.detach(), atol=1e-3)
    for channel in unit[:3]:
        assert channel[:6].tolist() == [8, 4, 4, 2, 2, 2] and (channel[6:] == 1).all()
    assert (unit[3:] == 1).all() and (units(5, local=False) == 1).all()
    assert torch.equal(basis.sizes(z), z.abs() * unit.flatten())


@pytest.mark.parametrize("lapped", [False, True])
def test_an_untrained_local_encoder_inverts_basis_and_direct_path(lapped: bool) -> None:
    generator = Generator(4, 64, width=192, direct=True, lapped=lapped, init="preserving")
    objective = ReconstructionObjective(generator, None, encoder_features=4, local=True)
    with torch.no_grad():
        generator.last.weight.zero_()
        objective.encoder.last.weight.zero_()
        objective.encoder.last.bias.zero_()
        x = torch.rand(2, 3, 64, 64)
        again = generator.synthesise(objective.basis(objective.encoder(x)))
    assert torch.allclose(again, x, atol=1e-3)


def test_the_largest_numbers_are_chosen_for_each_picture() -> None:
    torch.manual_seed(2)
    basis = KroneckerBasis(4, local=True)
    scales = torch.rand(256) + 0.5
    coefficients = torch.randn(3, 256)
    layer = ChosenLinear.of(basis, scales, coefficients, 20)
    kept = torch.zeros(3, 256)
    for row, picture in enumerate(coefficients):
        importance = (picture.abs() * units(4, local=True)).tolist()
        for i in sorted(range(256), key=lambda i: -importance[i])[:20]:
            kept[row, i] = coefficients[row, i]
    assert torch.allclose(layer(layer.latents(coefficients)), basis(kept), atol=1e-5)


def test_fitted_basis_finds_a_kronecker_structure() -> None:
    torch.manual_seed(0)
    channels, space = (torch.linalg.qr(torch.randn(n, n)).Q for n in (5, 64))
    scales = torch.outer(0.5 ** torch.arange(5.0), 0.9 ** torch.arange(64.0))
    z = torch.randn(400, 5, 64) * scales
    h0 = (channels @ z @ space.mT).flatten(1) + 3.0
    fitted = fit(h0)
    assert torch.allclose(fitted.basis.mean, torch.full((320,), 3.0), atol=0.3)
    matrix = fitted.basis.channels.detach()
    assert torch.allclose(matrix.mT @ matrix, torch.eye(5), atol=1e-5)
    assert (matrix.mT @ channels).abs().diagonal().min() > 0.98
    found = fitted.scales.view(5, 64)
    assert torch.allclose(found[0, :10], scales[0, :10], rtol=0.25)
    # The d coefficients of largest scale carry more than any other choice of d here.
    layer = NestedLinear(fitted.basis, fitted.scales, 40)
    assert set(layer.places[0].tolist()) == set(fitted.scales.topk(40).indices.tolist())


def test_nested_layers_are_nested() -> None:
    torch.manual_seed(1)
    fitted = fit(torch.randn(9, 128))
    z = torch.randn(2, 128)
    small, large = (NestedLinear(fitted.basis, fitted.scales, d) for d in (5, 128))
    padded = torch.cat([z[:, :5], torch.zeros(2, 123)], dim=1)
    assert torch.allclose(small(z[:, :5]), large(padded), atol=1e-5)
    coefficients = torch.randn(2, 128)
    assert torch.allclose(large(large.latents(coefficients)), fitted.basis(coefficients), atol=1e-4)
    for wrong in (0, 129):
        with pytest.raises(UsageError, match="first layer"):
            NestedLinear(fitted.basis, fitted.scales, wrong)
    with pytest.raises(UsageError, match="two"):
        fit(torch.zeros(1, 128))
