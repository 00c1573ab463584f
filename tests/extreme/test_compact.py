"""The compact networks: what they promise about cost, shape and locality."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from ganic.errors import ModelFormatError
from ganic.extreme.compact import Encoder, Generator, Upsample, shuffled_conv, unshuffled
from ganic.extreme.conditioning import ANCHORS, QualityAffine, QualityTable, anchor_weights
from ganic.extreme.model import Architecture
from ganic.extreme.tiling import STRIDE


def test_the_generator_stays_within_150_kmac_per_pixel() -> None:
    with torch.device("meta"):
        architecture = Architecture()
        generator = Generator(**architecture.config()["generator"])
        latent, quality = torch.empty(1, architecture.latent, 16, 16), torch.zeros(1)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        generator(latent, quality)
    per_pixel = counter.get_total_flops() / 2 / (16 * STRIDE) ** 2
    assert 40_000 < per_pixel < 61_000


def test_shapes() -> None:
    encoder = Encoder(8, (4, 8, 8, 12), (0, 1, 1, 1))
    generator = Generator(8, (12, 8, 8, 4, 4), (1, 1, 0, 0))
    y = encoder(torch.rand(2, 3, 48, 80), torch.zeros(2))
    assert y.shape == (2, 8, 3, 5)
    assert generator(y, torch.tensor([0.0, 255.0])).shape == (2, 3, 48, 80)


def test_a_selective_encoder_sees_what_is_left_out_apart() -> None:
    """The linear path is A x + B (m x), m being ones in blocks that are left out; B and the first layer's
    part of it start as nothing."""
    torch.manual_seed(0)
    encoder = Encoder(8, (4, 8, 8, 12), (0, 1, 1, 1), selective=True)
    plain = Encoder(8, (4, 8, 8, 12), (0, 1, 1, 1))
    plain.load_state_dict({k: v for k, v in encoder.state_dict().items() if not k.startswith("beside")})
    x, q, coded = torch.rand(1, 3, 48, 80), torch.zeros(1), torch.ones(1, 1, 3, 5)
    coded[:, :, 1, 2:4] = 0
    assert torch.equal(encoder(x, q, coded), plain(x, q))

    assert encoder.beside is not None and encoder.beside_linear is not None
    torch.nn.init.normal_(encoder.beside_linear.conv.weight)
    assert torch.equal(encoder(x, q), encoder(x, q, torch.ones_like(coded)))
    assert torch.allclose(encoder(x, q), plain(x, q))
    m = coded.repeat_interleave(STRIDE, 2).repeat_interleave(STRIDE, 3) == 0
    expected = plain(x, q) + encoder.beside_linear((x - 0.5) * m)
    assert torch.allclose(encoder(x, q, coded), expected, atol=1e-4)

    torch.nn.init.normal_(encoder.beside.weight)
    assert not torch.allclose(encoder(x, q, coded), expected, atol=1e-2)


def test_an_encoder_that_is_told_the_quality() -> None:
    torch.manual_seed(0)
    told = Encoder(8, (4, 8, 8, 12), (0, 1, 1, 1), conditioned=True)
    plain = Encoder(8, (4, 8, 8, 12), (0, 1, 1, 1))
    assert told.conditioned and not plain.conditioned
    plain.load_state_dict({k: v for k, v in told.state_dict().items() if not k.startswith("affines")})
    x, q = torch.rand(2, 3, 48, 80), torch.tensor([0.0, 200.0])
    assert torch.equal(told(x, q), plain(x, q))  # it makes nothing of it at first
    for affine in told.affines:
        torch.nn.init.normal_(affine.scale.anchors, std=0.02)
        torch.nn.init.normal_(affine.bias.anchors, std=0.02)
    y = told(x, q)
    assert torch.allclose(y[:1], told(x[:1], q[:1]), atol=1e-5)
    assert not torch.allclose(y[1:], told(x[1:], q[:1]), atol=1e-2)
    # A map of one quality everywhere is that quality.
    assert torch.allclose(told(x, q[:, None, None].expand(2, 3, 5)), y, atol=1e-5)


def test_no_noise_that_differs_from_machine_to_machine() -> None:
    assert not hasattr(Generator(8, (12, 8, 8, 4, 4), (1, 1, 0, 0), noise=0), "noise")
    with pytest.raises(ModelFormatError, match="noise 3"):
        Generator(8, (12, 8, 8, 4, 4), (1, 1, 0, 0), noise=3)


@pytest.mark.parametrize(
    ("blocks", "up", "guided"),
    [(None, 0, False), ((1, 1, 1, 0), 3, False), ((1, 1, 1, 0), 3, True), ((0, 0, 1, 1), 1, True)],
)
def test_nothing_beyond_the_margin_matters(blocks: tuple[int, ...] | None, up: int, guided: bool) -> None:
    """Perturb one spot; whatever changes lies within the promised margin.  Without blocks: the encoder."""
    torch.manual_seed(0)
    if blocks is None:
        encoder = Encoder(4, (4, 4, 4, 4), (1, 1, 0, 1)).double()
        x = torch.rand(1, 3, 16 * 33, 16)
        changed = x.clone()
        changed[:, :, 16 * 16 : 16 * 17] += 1
        q = torch.zeros(1)
        rows = (encoder(x.double(), q) - encoder(changed.double(), q)).abs().amax((0, 1, 3))
        rows = rows.nonzero().flatten()
        reach = max(16 - int(rows.min()), int(rows.max()) - 16)
        assert 0 < reach <= encoder.margin // STRIDE
    else:
        generator = Generator(4, (4, 4, 4, 4, 4), blocks, up=up, guided=guided).double()
        torch.nn.init.normal_(generator.out.weight)
        for guide in generator.guides.values():
            torch.nn.init.normal_(guide.weight)
        y = torch.randn(1, 4, 33, 1).double()
        changed = y.clone()
        changed[:, :, 16] += 1
        quality = torch.zeros(1)
        rows = (generator(y, quality) - generator(changed, quality)).abs().amax((0, 1, 3)).nonzero().flatten()
        reach = max(16 * STRIDE - int(rows.min()), int(rows.max()) - 17 * STRIDE + 1)
        assert 0 < reach <= generator.margin * STRIDE


def test_a_guided_generator_starts_as_another_does_and_corrects_what_it_sees() -> None:
    torch.manual_seed(0)
    sizes = 8, (12, 8, 8, 4, 4), (1, 1, 0, 0)
    guided, plain = Generator(*sizes, guided=True), Generator(*sizes)
    plain.load_state_dict({k: v for k, v in guided.state_dict().items() if not k.startswith("guides.")})
    y, quality = torch.randn(1, 8, 3, 5), torch.zeros(1)
    assert torch.equal(guided(y, quality), plain(y, quality))

    # Of the latent the guides see the linear path's picture: without the rest of the deep path, and with
    # that picture taken away, nothing of the latent is left.
    torch.nn.init.normal_(guided.out.weight)
    torch.nn.init.zeros_(guided.enter.weight)
    blind = guided(y, quality) - guided.linear(y)
    for guide in guided.guides.values():
        torch.nn.init.normal_(guide.weight)
    seeing = guided(y, quality) - guided.linear(y)
    assert not torch.allclose(seeing, blind, atol=1e-2)
    guided.linear.conv.weight.data.zero_()
    assert torch.allclose(guided(y, quality), blind, atol=1e-6)


@pytest.mark.parametrize("size", [1, 3])
def test_upsampling_starts_without_a_lattice(size: int) -> None:
    torch.manual_seed(0)
    y = F.pixel_shuffle(Upsample(6, 5, size)(torch.randn(1, 6, 4, 4)), 2)
    blocks = y.unfold(2, 2, 2).unfold(3, 2, 2)
    assert torch.allclose(blocks, blocks[..., :1, :1].expand_as(blocks))


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))
def test_a_convolution_of_sub_pixels_is_that_of_the_picture(
    height: int, width: int, inputs: int, outputs: int
) -> None:
    conv = torch.nn.Conv2d(inputs, outputs, 3, padding=1).double()
    x = torch.randn(2, 4 * inputs, height, width, dtype=torch.float64)
    made = F.pixel_shuffle(shuffled_conv(x, conv), 2)
    assert torch.allclose(made, conv(F.pixel_shuffle(x, 2)), atol=1e-12)


def test_quality_interpolates_between_anchors() -> None:
    weights = anchor_weights(torch.tensor([0.0, 255.0, 255 / 14, 100.0]))
    assert torch.allclose(weights.sum(1), torch.ones(4))
    assert weights[0, 0] == 1 and weights[1, ANCHORS - 1] == 1
    assert torch.allclose(weights[2, :2], torch.tensor([0.5, 0.5]), atol=1e-6)
    table = QualityTable(2, torch.arange(float(ANCHORS)))
    assert table(torch.tensor([255 / 7 * 3.25])).flatten().tolist() == pytest.approx([3.25, 3.25])


def test_the_affine_starts_as_the_identity() -> None:
    x = torch.randn(2, 3, 4, 4)
    affine = QualityAffine(3, factor=4.0)
    assert torch.equal(affine(x, torch.tensor([3.0, 200.0])), x)
    torch.nn.init.constant_(affine.scale.anchors, 0.5)
    torch.nn.init.constant_(affine.bias.anchors, 0.25)
    assert torch.allclose(affine(x, torch.tensor([3.0, 200.0])), 3 * x + 1, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("factor", [2, 4])
def test_unshuffling_by_a_convolution_moves_and_scales_pixels_exactly(
    dtype: torch.dtype, factor: int
) -> None:
    picture = torch.randn(2, 3, 24, 16).to(dtype)
    assert torch.equal(unshuffled(picture, factor, 3.0), F.pixel_unshuffle(picture, factor) * 3)
