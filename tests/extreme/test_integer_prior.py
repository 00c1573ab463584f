"""The integer entropy model against independent arithmetic, and round trips."""

from __future__ import annotations

import contextlib
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ganic.entropy import MAX_SUPPORT, TOTAL, SymbolTables
from ganic.errors import CorruptError, ModelFormatError
from ganic.extreme.allocation import Allocation, Plan
from ganic.extreme.integer_prior import GROUPS, ContextLayer, IntegerPrior, Layer, blocks
from ganic.extreme.prior import Prior, pass_masks
from ganic.extreme.symbol_costs import (
    index_of_scale,
    nearest_symbols,
    quantised,
    rate_bits,
    scale_of_index,
    symbol_bits,
    symbol_tables,
)

LATENT, HYPER = 16, 8
TABLES = symbol_tables()


def layer_tensors(
    weight: NDArray[np.int8], bias: NDArray[np.int32], multiplier: int, shift: int
) -> dict[str, Any]:
    return {
        "l.weight": weight,
        "l.bias": bias,
        "l.multiplier": np.full(len(weight), multiplier, np.int32),
        "l.shift": np.array([shift], np.int32),
    }


def slow_layer(x: NDArray[np.int64], tensors: dict[str, Any]) -> NDArray[np.int64]:
    """The definition in Python integers: zero padding, cross-correlation, floor((acc m + 2^(s-1)) / 2^s),
    clip."""
    weight = tensors["l.weight"].astype(int)
    outputs, inputs, size, _ = weight.shape
    height, width, _ = x.shape
    shift = int(tensors["l.shift"][0])
    y = np.zeros((height, width, outputs), np.int64)
    for i in range(height):
        for j in range(width):
            for o in range(outputs):
                total = int(tensors["l.bias"][o])
                for di in range(size):
                    for dj in range(size):
                        a, b = i + di - size // 2, j + dj - size // 2
                        if 0 <= a < height and 0 <= b < width:
                            total += sum(int(weight[o, c, di, dj]) * int(x[a, b, c]) for c in range(inputs))
                scaled = (total * int(tensors["l.multiplier"][o]) + (1 << (shift - 1))) >> shift
                y[i, j, o] = min(max(scaled, 0), 255)
    return y


@pytest.mark.parametrize("size", [1, 3])
def test_a_layer_equals_its_definition_in_python_integers(size: int) -> None:
    rng = np.random.default_rng(3)
    tensors = layer_tensors(
        rng.integers(-127, 128, (5, 7, size, size)).astype(np.int8),
        rng.integers(-(2**20), 2**20, 5).astype(np.int32),
        multiplier=40_503,
        shift=27,
    )
    x = rng.integers(-255, 256, (4, 5, 7))
    assert (Layer(tensors, "l").activate(x.astype(np.int16)) == slow_layer(x, tensors)).all()


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("shape", [(5, 6), (1, 1), (1, 4), (3, 1)])
def test_a_context_layer_sees_what_earlier_passes_coded(number: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(number)
    tensors = layer_tensors(
        rng.integers(-127, 128, (5, 8, 3, 3)).astype(np.int8),
        rng.integers(-(2**20), 2**20, 5).astype(np.int32),
        multiplier=40_503,
        shift=27,
    )
    latent = np.zeros((*shape, 8), np.int64)
    by_pass = rng.integers(-255, 256, (*shape, 8))  # of later passes too, which must not be looked at
    for earlier in range(number):
        for rows, columns, channels in blocks(earlier, 8):
            some = by_pass[rows, columns, earlier * 8 // GROUPS : (earlier + 1) * 8 // GROUPS]
            latent[rows, columns, channels] = some
    found = ContextLayer(tensors, "l", number).activate(by_pass.astype(np.int16))
    assert (found == slow_layer(latent, tensors)).all()


def test_the_largest_sums_are_exact_in_any_order() -> None:
    """At the bound itself: K inputs of 255 times weights whose sums just stay below 2**24, against int64."""
    inputs = 512
    weight = np.full((1, inputs, 1, 1), 127, np.int8)
    weight[0, ::5] = -126
    bound = 2**24 - 1 - int(np.abs(weight.astype(np.int64)).sum()) * 255
    tensors = layer_tensors(weight, np.array([bound], np.int32), multiplier=1, shift=1)
    layer = Layer(tensors, "l")
    rng = np.random.default_rng(0)
    x = np.where(
        rng.random((64, 1, inputs)) < 0.9, 255 * np.sign(weight[:, :, 0, 0].astype(int)), -255
    ).astype(np.int16)
    for _ in range(5):
        order = rng.permutation(inputs)
        shuffled = Layer(layer_tensors(weight[:, order], tensors["l.bias"], 1, 1), "l")
        sums = shuffled.accumulate(np.ascontiguousarray(x[..., order]))
        assert (
            sums == x.astype(np.int64)[..., order] @ weight[0, order, 0, 0].astype(np.int64)[:, None]
        ).all()
        assert (sums == layer.accumulate(x)).all()


def test_a_layer_whose_sums_could_be_inexact_is_refused() -> None:
    weight = np.full((1, 600, 1, 1), 127, np.int8)  # 600 * 127 * 255 > 2**24
    with pytest.raises(ModelFormatError, match=r"2\*\*24"):
        Layer(layer_tensors(weight, np.zeros(1, np.int32), 1, 1), "l")


@pytest.mark.parametrize("name", ["weight", "bias", "multiplier", "shift"])
def test_a_missing_tensor_is_named(name: str) -> None:
    tensors = layer_tensors(np.ones((1, 1, 1, 1), np.int8), np.zeros(1, np.int32), 1, 1)
    del tensors[f"l.{name}"]
    with pytest.raises(ModelFormatError, match=rf"l\.{name}"):
        Layer(tensors, "l")


def integers(prior: Prior) -> dict[str, NDArray[Any]]:
    """A prior's tensors in a model file, with tables."""
    tensors = {name: value.numpy() for name, value in prior.integers().items()}
    return tensors | {f"tables.{part}": getattr(TABLES, part) for part in ("counts", "supports", "excess")}


def trained(seed: int = 0, price: float = 0.0, *, shades: bool = False) -> tuple[Prior, IntegerPrior]:
    """A small prior with random weights, as it trains and as it runs."""
    torch.manual_seed(seed)
    prior = Prior(LATENT, HYPER, features=12, hidden=20, context=8, price=price)
    with torch.no_grad():
        prior.hyper_mean.anchors.normal_()
        prior.hyper_index.anchors.add_(torch.randn_like(prior.hyper_index.anchors) * 0.1)
        prior.hyper_decoder.quality.anchors.normal_(std=0.3)
    tensors = integers(prior)
    if shades:
        tensors["shade_index"] = np.arange(64 * 3, dtype=np.uint8).reshape(64, 3) % 40 + 10
    return prior, IntegerPrior(tensors, price)


def test_training_goes_on_from_integers() -> None:
    prior, _ = trained()
    integers = prior.integers()
    other = Prior(LATENT, HYPER, features=12, hidden=20, context=8)
    state = other.state_dict()
    reals = other.reals(integers)
    assert reals.keys() == {name for name in state if not name.startswith("hyper_encoder.")}
    other.load_state_dict(state | reals)
    for name, again in other.integers().items():
        # The step of a kernel is that of its rounded values, which may differ in the last place.
        largest = 1e-3 * float(integers[name].abs().max()) if name.endswith("multiplier") else 1
        assert (again.long() - integers[name].long()).abs().max() <= largest, name
    # The same functions: of every quality, and of a kernel to half of its step.
    quality = torch.tensor([0.0, 36.0, 100.0, 252.0])
    assert torch.allclose(other.hyper_mean(quality), prior.hyper_mean(quality), atol=1 / 16)
    steps = prior.hyper_decoder.first.steps()[:, None, None, None]
    weights = other.hyper_decoder.first.weight, prior.hyper_decoder.first.weight
    assert ((weights[0] - weights[1]).abs() <= 0.51 * steps).all()


def example(height: int, width: int, seed: int = 1) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    latent = rng.normal(0, 1.5, (height, width, LATENT)).astype(np.float32)
    hyper = rng.normal(0, 2, (HYPER, -(-height // 4), -(-width // 4))).astype(np.float32)
    return latent, hyper


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (5, 3), (8, 12), (13, 4)])
@pytest.mark.parametrize("quality", [0, 130, 255])
def test_what_is_written_is_read(shape: tuple[int, int], quality: int) -> None:
    _, prior = trained()
    area = Plan.uniform(*shape).at(quality)
    written = prior.quantise(*example(*shape), area)
    data = prior.write(written)
    read = prior.read(data, area)
    assert read.canonical() == written.canonical()
    assert (read.latent == written.latent).all()
    assert len(written.canonical()) == 2 * (
        shape[0] * shape[1] * LATENT + HYPER * -(-shape[0] // 4) * -(-shape[1] // 4)
    )
    assert len(data) * 8 - prior.bits(written) < 16


def test_shades_are_coded_after_the_latent() -> None:
    plain, shaded = trained()[1], trained(shades=True)[1]
    levels = np.zeros((5, 9), np.int64)
    levels[:, 4:] = 40
    coded = np.ones((5, 9), bool)
    coded[:4, :4] = False
    area = Plan.of(levels, coded).at(150)
    latent, hyper = example(5, 9)
    values = np.random.default_rng(3).normal(0, 2, (3, 2, 3)).astype(np.float32)
    values[1, 1, 2] = 300.4  # beyond its table
    before = plain.quantise(latent, hyper, area)
    written = shaded.with_shades(shaded.quantise(latent, hyper, area), values, area, 0.0)
    assert written.symbols[:-1] and all(map(np.array_equal, written.symbols[:-1], before.symbols))
    expected = np.rint(values)
    expected[:, 0, 0] = 0
    assert written.shades is not None and (written.shades == expected).all()
    # Five cells, colour by colour; only that below the one without symbols has the higher quality's table.
    bands = np.array([110, 110, 150, 110, 110]) // 4
    assert written.indices[-1].tolist() == shaded.shade_index[bands].T.ravel().tolist()  # type: ignore[index]
    read = shaded.read(shaded.write(written), area)
    assert read.canonical() == written.canonical() and read.shades is not None
    assert (read.shades == written.shades).all() and (read.latent == before.latent).all()


@pytest.mark.parametrize("table", [np.zeros((64, 2), np.uint8), np.full((64, 3), 200, np.uint8)])
def test_tables_of_shades_that_do_not_fit_are_refused(table: NDArray[np.uint8]) -> None:
    tensors = integers(Prior(LATENT, HYPER, features=12, hidden=20, context=8)) | {"shade_index": table}
    with pytest.raises(ModelFormatError, match="do not belong together"):
        IntegerPrior(tensors)


@pytest.mark.parametrize("excess", [True, False])
def test_latents_are_as_near_as_their_tables_allow(excess: bool) -> None:
    _, prior = trained()
    if not excess:
        prior.tables = SymbolTables(TABLES.counts, TABLES.supports)
    latent, hyper = example(9, 7)
    coded = prior.quantise(latent, hyper, Plan.uniform(9, 7).at(99))
    error = np.abs(coded.latent / 16 - latent)
    inside = np.abs(np.concatenate(coded.symbols[1:])) < prior.tables.reach[np.concatenate(coded.indices[1:])]
    assert inside.mean() > 0.8
    assert np.sort(error.ravel())[: int(inside.sum())].max() <= 0.5 + 1e-6


def test_a_latent_that_nobody_expected_is_coded_all_the_same() -> None:
    """Saturated water at high quality was decoded with brown bars, where predictions were off by fifty."""
    _, prior = trained()
    latent, hyper = example(9, 7)
    latent[4, 3] += 300.0
    area = Plan.uniform(9, 7).at(99)
    coded = prior.quantise(latent, hyper, area)
    assert np.abs(coded.latent / 16 - latent)[4, 3].max() <= 0.5 + 1e-5
    assert (prior.read(prior.write(coded), area).latent == coded.latent).all()
    prior.tables = SymbolTables(TABLES.counts, TABLES.supports)
    assert np.abs(prior.quantise(latent, hyper, area).latent / 16 - latent)[4, 3].min() > 100


def test_training_simulates_what_runs() -> None:
    """The float network with simulated integers gives the same features, and almost always the same latents.

    Not always: a latent may lie on the edge between two symbols, and the tables clip outliers.
    """
    prior, integer = trained()
    _, hyper = example(16, 12)
    quality = 77
    with torch.no_grad():
        band = torch.tensor([float(quality)])
        mean, _ = prior.hyper_prior(band)
        z = torch.round(torch.from_numpy(hyper)[None] - mean) + mean
        psi = prior.hyper_decoder(z, torch.tensor([float(quality // 4 * 4)]))
        simulated, index = prior.passes[0](psi, torch.zeros(1, LATENT, 16, 12))
    features = integer._features((z[0] * 16).round().int().numpy(), Plan.uniform(16, 12).at(quality))
    assert np.abs(features - psi[0].permute(1, 2, 0).numpy() * 16).max() <= 1
    assert (features != psi[0].permute(1, 2, 0).numpy() * 16).mean() < 0.01
    hidden = integer.second[0].activate(integer.first[0].activate(features))
    flat = hidden.reshape(16 * 12, -1)
    groups = [integer._head(integer.head[0], flat, group) for group in range(GROUPS)]
    means, indices = (
        np.concatenate(parts, axis=1).reshape(16, 12, LATENT) for parts in zip(*groups, strict=True)
    )
    assert np.abs(means - simulated[0].permute(1, 2, 0).numpy() * 16).max() <= 1
    assert np.abs(indices - index[0].permute(1, 2, 0).numpy()).max() <= 1


def test_passes_partition_the_latent_alike_in_training_and_coding() -> None:
    masks = pass_masks(LATENT, 5, 6).permute(0, 2, 3, 1).numpy()
    assert (masks.sum(0) == 1).all()
    for number in range(4):
        coded = np.zeros((5, 6, LATENT), bool)
        for block in blocks(number, LATENT):
            assert not coded[block].any()
            coded[block] = True
        assert (coded == masks[number]).all()


def test_contexts_are_causal() -> None:
    """Changing a latent changes no mean or scale of its own pass or of an earlier one."""
    _, prior = trained()
    latent, hyper = example(6, 6)
    area = Plan.uniform(6, 6).at(10)
    before = prior.quantise(latent, hyper, area)
    for number in range(4):
        changed = latent.copy()
        changed[blocks(number, LATENT)[2]] += 3
        after = prior.quantise(changed, hyper, area)
        for earlier in range(number + 2):  # the hyper-latent's indices come first
            assert (after.indices[earlier] == before.indices[earlier]).all()


def uneven(height: int, width: int, seed: int = 2) -> Allocation:
    """Two thirds of the positions coded, at three qualities."""
    rng = np.random.default_rng(seed)
    drop = rng.choice([0, 40, 90], (height, width))
    return Plan.of(drop, rng.random((height, width)) < 0.67).at(120)


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (8, 12)])
def test_an_uneven_allocation_comes_back(shape: tuple[int, int]) -> None:
    _, prior = trained()
    area = uneven(*shape)
    written = prior.quantise(*example(*shape), area)
    read = prior.read(prior.write(written), area)
    assert read.canonical() == written.canonical() and (read.latent == written.latent).all()
    assert (read.latent[~area.coded] == 0).all()
    # As many symbols as positions that exist, and not one more.
    blocks_coded = int(area.coarse().coded.sum())
    assert len(written.canonical()) == 2 * (int(area.coded.sum()) * LATENT + blocks_coded * HYPER)


def test_what_is_not_coded_costs_nothing_and_changes_nothing() -> None:
    _, prior = trained()
    latent, hyper = example(8, 8)
    nothing = Allocation(np.zeros((8, 8), np.uint8), np.zeros((8, 8), bool))
    assert prior.write(prior.quantise(latent, hyper, nothing)) == b""
    left = Plan.of(np.zeros((8, 8), int), np.broadcast_to(np.arange(8) < 4, (8, 8))).at(60)
    changed = latent.copy()
    changed[:, 4:] = 99
    hyper_changed = hyper.copy()
    hyper_changed[:, :, 1] = 99
    assert prior.write(prior.quantise(latent, hyper, left)) == prior.write(
        prior.quantise(changed, hyper_changed, left)
    )


def test_an_even_allocation_is_what_one_quality_was() -> None:
    """Two qualities in one band of tables are coded alike: the map itself adds nothing."""
    _, prior = trained()
    latent, hyper = example(8, 8)
    even = prior.write(prior.quantise(latent, hyper, Plan.uniform(8, 8).at(100)))
    drop = np.zeros((8, 8), int)
    drop[:4] = 3
    assert prior.write(prior.quantise(latent, hyper, Plan.of(drop, drop == drop).at(103))) == even


def test_training_counts_the_same_symbols() -> None:
    """Bits per picture with a heat map: none at all where nothing is coded, all where everything is."""
    prior, _ = trained()
    y = torch.randn(3, LATENT, 8, 8)
    coded = torch.ones(3, 1, 8, 8)
    coded[1] = 0
    coded[2, :, :, 4:] = 0
    torch.manual_seed(0)
    some = prior(y, torch.full((3,), 90.0), coded)
    torch.manual_seed(0)
    every = prior(y, torch.full((3,), 90.0))
    assert some.bits[1] == 0 and (some.latent[1] == 0).all() and (some.latent[2, :, :, 4:] == 0).all()
    assert torch.allclose(some.bits[0], every.bits[0]) and torch.equal(some.latent[0], every.latent[0])
    assert 0 < some.bits[2] < every.bits[2]


def test_a_map_of_one_quality_trains_as_the_quality_does() -> None:
    prior, _ = trained()
    y = torch.randn(2, LATENT, 8, 4)
    torch.manual_seed(0)
    one = prior(y, torch.tensor([70.0, 200.0]))
    torch.manual_seed(0)
    as_map = prior(y, torch.tensor([70.0, 200.0])[:, None, None].expand(2, 8, 4))
    assert torch.allclose(one.bits, as_map.bits, rtol=1e-5)
    assert torch.equal(one.latent, as_map.latent)


@pytest.mark.parametrize("data", [b"", b"\x00", b"\xff" * 40, bytes(range(200))])
def test_foreign_bytes_decode_or_are_refused(data: bytes) -> None:
    _, prior = trained()
    with contextlib.suppress(CorruptError):
        prior.read(data, Plan.uniform(5, 5).at(3))


def test_a_quantised_value_is_a_symbol_beside_the_mean_and_both_learn_from_it() -> None:
    value = torch.tensor([0.4, -1.7, 3.0], requires_grad=True)
    mean = torch.tensor([0.25, 0.25, -0.5], requires_grad=True)
    symbols = nearest_symbols(value - mean)
    assert symbols.tolist() == [0, -2, 4]  # halves go to even numbers
    made = quantised(value, mean, symbols)
    assert made.tolist() == [0.25, -1.75, 3.5]
    made.backward(torch.tensor([1.0, 2.0, 3.0]))  # type: ignore[no-untyped-call]
    for tensor in (value, mean):
        assert tensor.grad is not None and tensor.grad.tolist() == [1, 2, 3]


def test_code_length_of_a_laplacian_by_hand() -> None:
    from math import erf, exp, log, log2, sqrt

    for value, index in [(0.0, 20.0), (0.3, 13.0), (0.5, 7.0), (1.0, 18.5), (2.5, 25.0), (-3.0, 40.0)]:
        certain = erf(0.5 / sqrt(2) / (0.11 * (64 / 0.11) ** (index / 63)))  # of symbol 0
        b = -0.5 / log(1 - certain)
        cdf = [1 - exp(-x / b) / 2 if x > 0 else exp(x / b) / 2 for x in (abs(value) - 0.5, abs(value) + 0.5)]
        bits = symbol_bits(torch.tensor(value), torch.tensor(index)).item()
        assert bits == pytest.approx(-log2(cdf[1] - cdf[0]), rel=1e-4)
    far = symbol_bits(torch.tensor([50.0, 51.0]), torch.zeros(2))
    assert torch.isfinite(far).all() and far[1] > far[0]


def test_tables_have_as_many_zeros_as_gaussian_ones_and_longer_tails() -> None:
    for scale, table in zip(np.geomspace(0.11, 64.0, 64), range(TABLES.n_tables), strict=True):
        gaussian, support = NormalDist(0.0, float(scale)), int(TABLES.supports[table])
        zeros = TABLES.table(table)[support] / TOTAL
        assert zeros == pytest.approx(gaussian.cdf(0.5) - gaussian.cdf(-0.5), rel=2e-2)
        assert (support > 0) == (2 * gaussian.cdf(-0.5) >= 2.0**-14)
        if support < MAX_SUPPORT:
            assert 2 * gaussian.cdf(-support - 0.5) < 2.0**-14


def test_training_counts_the_bits_that_the_tables_cost() -> None:
    for index in range(2, 50):
        support = int(TABLES.supports[index])
        symbols = torch.arange(-support, support + 1)
        counted = symbol_bits(symbols.float(), torch.full(symbols.shape, float(index)))
        probability = TABLES.table(index) / 2**16
        assert np.sum(probability * (counted.numpy() + np.log2(probability))) == pytest.approx(0, abs=2e-3)


def test_scales_learn_from_symbols_and_values_from_what_surrounds_them() -> None:
    offset = torch.tensor([0.2, 0.4, 1.3], requires_grad=True)
    index = torch.full((3,), 10.0, requires_grad=True)
    torch.manual_seed(0)
    bits = rate_bits(offset, index, nearest_symbols(offset))
    exact = symbol_bits(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64), index.double())
    assert torch.allclose(bits.double(), exact, rtol=2.0**-22, atol=0)  # a rounding or two of float32
    bits.sum().backward()  # type: ignore[no-untyped-call]
    assert index.grad is not None and offset.grad is not None
    assert index.grad[0] == index.grad[1] > 0 > index.grad[2]
    pulls = []
    for _ in range(500):
        offset.grad = None
        rate_bits(offset, index, nearest_symbols(offset)).sum().backward()  # type: ignore[no-untyped-call]
        pulls.append(offset.grad)
    mean = torch.stack(pulls).mean(0)  # type: ignore[arg-type]
    assert 0 < mean[0] < mean[1] < mean[2]


def test_gradients_of_code_lengths_are_those_of_their_formula() -> None:
    """Written out in `rate_bits`; here torch differentiates `symbol_bits`."""
    torch.manual_seed(2)
    index = torch.randint(0, 64, (4, 3, 50, 50)).float()
    offset = torch.randn(index.shape) * scale_of_index(index)
    symbols, weight = nearest_symbols(offset, index, 0.04), torch.rand(index.shape)
    assert 0.1 < (symbols != 0).float().mean() < 0.9
    found = []
    for written_out in (True, False):
        kind = torch.float32 if written_out else torch.float64
        at, which = (value.to(kind, copy=True).requires_grad_() for value in (offset, index))
        torch.manual_seed(3)
        if written_out:
            bits = rate_bits(at, which, symbols)
        else:
            noise = torch.empty(index.shape).uniform_(-0.5, 0.5)
            noisy = symbol_bits(at + noise, which.detach())
            bits = symbol_bits(symbols.double(), which) + noisy - noisy.detach()
        (weight * bits).sum().backward()  # type: ignore[no-untyped-call]
        assert at.grad is not None and which.grad is not None
        found.append([value.detach().double() for value in (bits, at.grad, which.grad)])
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, rtol=2e-3, atol=1e-5)


def test_one_scale_for_many_symbols_hears_of_all() -> None:
    index = torch.full((1, 3, 1, 1), 12.0, requires_grad=True)
    offset = torch.randn(2, 3, 4, 4)
    bits = rate_bits(offset, index, nearest_symbols(offset))
    bits.sum().backward()  # type: ignore[no-untyped-call]
    many = torch.full((2, 3, 4, 4), 12.0, requires_grad=True)
    rate_bits(offset, many, nearest_symbols(offset)).sum().backward()  # type: ignore[no-untyped-call]
    assert index.grad is not None and many.grad is not None
    assert torch.allclose(index.grad, many.grad.sum((0, 2, 3), keepdim=True))


def test_a_certain_scale_hears_of_a_symbol() -> None:
    prior, _ = trained()
    with torch.no_grad():
        for network in prior.passes:
            network.head.bias[LATENT:] = -2.0  # type: ignore[union-attr]
    prior(3 * torch.randn(1, LATENT, 4, 4), torch.tensor([9.0])).bits.sum().backward()
    for network in prior.passes:
        assert network.head.bias.grad[LATENT:].abs().max() > 0  # type: ignore[union-attr]


@pytest.mark.parametrize("price", [0.0, 0.04, 0.3])
def test_symbols_are_chosen_by_what_they_cost(price: float) -> None:
    """Of an integer and its neighbour towards 0, the one with less squared error + price * bits; in training
    as in coding."""
    rng = np.random.default_rng(5)
    index = rng.integers(2, 40, 4000)
    offset = (rng.laplace(size=4000) * 0.5 * 1.11**index / 5).astype(np.float32)
    chosen = nearest_symbols(torch.from_numpy(offset), torch.from_numpy(index), price).numpy()
    integer = IntegerPrior.__new__(IntegerPrior)
    integer.tables = TABLES
    coded = integer._quantise(offset, np.zeros(4000, np.int32), index.astype(np.uint8), price)
    inside = np.abs(np.rint(offset)) < TABLES.supports[index]
    assert inside.mean() > 0.9 and (chosen == coded)[inside].mean() > 0.995  # prices of tables are rounded
    for value, symbol, table in zip(offset[inside], coded[inside], index[inside], strict=True):
        nearest = np.rint(value)
        both = np.array([nearest, nearest - np.sign(nearest)])
        cost = (value - both) ** 2 + price * TABLES.lengths(both.astype(int), np.full(2, table))
        assert symbol == both[0 if cost[0] <= cost[1] else 1]


def test_a_price_saves_bits_and_files_still_come_back() -> None:
    latent, hyper = example(12, 12)
    area = Plan.uniform(12, 12).at(128)
    sizes = []
    for price in (0.0, 0.05, 0.2):
        _, prior = trained(price=price)
        written = prior.quantise(latent, hyper, area)
        sizes.append(len(prior.write(written)))
        assert prior.read(prior.write(written), area).canonical() == written.canonical()
    assert sizes[0] > sizes[1] > sizes[2]


def test_training_counts_the_bits_of_the_file() -> None:
    prior, integer = trained(price=0.04)
    latent, _ = example(16, 12)
    y = torch.from_numpy(latent).permute(2, 0, 1)[None]
    with torch.no_grad():
        counted = prior(y, torch.tensor([77.0])).bits.item()
        hyper = prior.hyper_encoder(y)[0].numpy()
    written = integer.quantise(latent, hyper, Plan.uniform(16, 12).at(77))
    assert integer.bits(written) == pytest.approx(counted, rel=0.02)


def test_scale_indices() -> None:
    index = torch.tensor([0.0, 17.0, 63.0])
    assert torch.allclose(index_of_scale(scale_of_index(index)), index, atol=1e-3)
    assert torch.allclose(
        scale_of_index(index), torch.tensor(np.geomspace(0.11, 64.0, 64))[[0, 17, 63]].float(), rtol=1e-4
    )
