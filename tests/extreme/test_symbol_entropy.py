from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ganic.extreme.quantiser import Quantised, Quantiser
from ganic.extreme.symbol_entropy import SymbolEntropy, causal_mask


def trained(channels: int, levels: int, features: int = 4, seed: int = 0) -> SymbolEntropy:
    """A model with random weights everywhere, as after some training."""
    torch.manual_seed(seed)
    model = SymbolEntropy(channels, levels, features)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.5)
    return model


def quantised(symbols: Tensor, levels: int) -> Quantised:
    return Quantiser(levels)(symbols - (levels - 1) / 2)  # type: ignore[no-any-return]


def test_mask_by_hand() -> None:
    """Two channels, a 3x3 kernel: rows above and the left are seen, at the centre only earlier channels."""
    past = [[1, 1, 1], [1, 0, 0], [0, 0, 0]]
    here = [[1, 1, 1], [1, 1, 0], [0, 0, 0]]
    assert causal_mask(2, 1, 1, 3, strict=True).tolist() == [[past, past], [here, past]]
    assert causal_mask(2, 1, 1, 3, strict=False).tolist() == [[here, past], [here, here]]
    wide = causal_mask(2, 3, 2, 1, strict=False)
    assert wide[:, :, 0, 0].tolist() == [[1, 1, 1, 0, 0, 0]] * 2 + [[1] * 6] * 2


def test_causality() -> None:
    """Changing a symbol changes no probability of earlier symbols, nor its own; later ones do change."""
    channels, height, width, levels = 3, 4, 5, 5
    model = trained(channels, levels, features=16)  # so many that no symbol meets dead rectifiers only
    symbols = torch.randint(levels, (1, channels, height, width))
    before = model.log2_probabilities(quantised(symbols, levels).values)
    order = list(itertools.product(range(height), range(width), range(channels)))
    for number, (row, column, channel) in enumerate(order):
        changed = symbols.clone()
        changed[0, channel, row, column] = (changed[0, channel, row, column] + 2) % levels
        after = model.log2_probabilities(quantised(changed, levels).values)
        touched = (after != before).any(-1)[0]
        positions = {number for number, (y, x, c) in enumerate(order) if touched[c, y, x]}
        assert all(position > number for position in positions)
        last_of_row = column == width - 1 and channel == channels - 1
        assert last_of_row or number + 1 in positions  # across channels and columns


@pytest.mark.parametrize("shape", [(1, 2, 2), (2, 1, 2), (2, 2, 1)])
def test_every_sequence_together_has_probability_one(shape: tuple[int, int, int]) -> None:
    """Only a causal, normalised model gives code lengths that satisfy Kraft with equality."""
    levels, size = 3, math.prod(shape)
    model = trained(shape[0], levels)
    sequences = torch.tensor(list(itertools.product(range(levels), repeat=size)))
    with torch.no_grad():
        bits = model(quantised(sequences.reshape(-1, *shape), levels))
    assert bits.shape == (levels**size,) and bits.std() > 0.1
    assert np.exp2(-bits.double().numpy()).sum() == pytest.approx(1, abs=1e-4)


def test_bits_are_the_code_length() -> None:
    model = trained(3, 5)
    w = 2 * torch.randn(2, 3, 4, 4)
    q: Quantised = Quantiser(5)(w)
    with torch.no_grad():
        bits, table = model(q), np.exp2(model.log2_probabilities(q.values).double().numpy())
    for picture in range(2):
        total = 0.0
        for c, y, x in itertools.product(range(3), range(4), range(4)):
            total -= math.log2(table[picture, c, y, x, int(q.symbols[picture, c, y, x])])
        assert bits[picture].item() == pytest.approx(total, rel=1e-5)


def test_costs_the_bound_before_training() -> None:
    q: Quantised = Quantiser(5)(torch.randn(2, 8, 6, 6))
    assert SymbolEntropy(8, 5)(q).tolist() == pytest.approx([8 * 36 * math.log2(5)] * 2, rel=1e-5)


def test_factorised_logits_by_hand() -> None:
    """Without context (as at the start) the model is one categorical distribution per channel."""
    model = SymbolEntropy(2, 2)
    with torch.no_grad():
        model.factorised.copy_(torch.tensor([[0.0, math.log(3)], [math.log(7), 0.0]]))
    q = quantised(torch.tensor([[[[0, 1]], [[0, 1]]]]), 2)
    assert model(q).item() == pytest.approx(2 - math.log2(3 / 4) - math.log2(7 / 8) + 3, rel=1e-5)


def test_gradient_through_the_soft_assignment() -> None:
    """d bits / d w = sum_j -log2 p_j da_j/dw, here with p fixed, against finite differences in float64."""
    model = SymbolEntropy(1, 5)
    p = np.array([0.05, 0.1, 0.5, 0.3, 0.05])
    with torch.no_grad():
        model.factorised.copy_(torch.from_numpy(np.log(p))[None])

    def expected_bits(value: float) -> float:
        soft = np.exp(-((value - np.arange(-2.0, 3.0)) ** 2))
        return float(-(soft / soft.sum() * np.log2(p)).sum())

    w = torch.tensor([-1.7, -0.4, 0.3, 1.2]).reshape(1, 1, 1, 4).requires_grad_()
    model(Quantiser(5)(w)).sum().backward()
    assert w.grad is not None
    for value, slope in zip(w.flatten().tolist(), w.grad.flatten().tolist(), strict=True):
        difference = (expected_bits(value + 1e-5) - expected_bits(value - 1e-5)) / 2e-5
        assert slope == pytest.approx(difference, rel=1e-3)


def test_gradient_through_the_context() -> None:
    """The first symbol's gradient holds what it does to the second's probabilities."""
    model = trained(1, 5)
    w = torch.tensor([0.2, -0.9]).reshape(1, 1, 1, 2).requires_grad_()
    q: Quantised = Quantiser(5)(w)
    log2_p = model.log2_probabilities(q.values)
    (through_context,) = torch.autograd.grad(-log2_p[0, 0, 0, 1, q.symbols[0, 0, 0, 1]], w, retain_graph=True)
    (through_soft,) = torch.autograd.grad(-(q.soft[0, 0, 0, 0] * log2_p[0, 0, 0, 0].detach()).sum(), w)
    (total,) = torch.autograd.grad(model(Quantiser(5)(w)).sum(), w)
    assert through_context[0, 0, 0, 0] != 0
    assert total[0, 0, 0, 0].item() == pytest.approx(
        (through_context + through_soft)[0, 0, 0, 0].item(), rel=1e-4
    )


def test_learns_what_there_is_to_learn() -> None:
    """Stripes cost nothing where the context sees them; independent symbols cost their entropy."""
    torch.manual_seed(0)
    p = torch.tensor([0.7, 0.2, 0.1])
    entropy = -(p * p.log2()).sum().item()

    def draw(pictures: int) -> Quantised:
        stripes = (torch.arange(8) % 2 * 2).expand(pictures, 1, 8, 8)
        noise = torch.multinomial(p, pictures * 64, replacement=True).reshape(pictures, 1, 8, 8)
        return quantised(torch.cat([stripes, noise], dim=1), 3)

    model = SymbolEntropy(2, 3, features=6)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(80):
        optimiser.zero_grad()
        model(draw(8)).mean().backward()
        optimiser.step()
    with torch.no_grad():
        q = draw(64)
        log2_p = model.log2_probabilities(q.values)
    bits = -log2_p.gather(-1, q.symbols[..., None])[..., 0].mean((0, 2, 3))
    assert bits[0].item() < 0.05
    assert bits[1].item() == pytest.approx(entropy, abs=0.08)


def test_symbols_outside_a_heat_map_are_free() -> None:
    """Bits are those of the preserved symbols, coded with zeros where there are none."""
    model, levels = trained(2, 5, features=8), 5
    heat = (torch.rand(2, 1, 4, 5) < 0.5).float()
    symbols = torch.randint(levels, (2, 2, 4, 5))
    other = torch.where(heat > 0, symbols, torch.randint_like(symbols, levels))
    kept, changed = (
        replace(q, values=q.values * heat) for q in (quantised(symbols, levels), quantised(other, levels))
    )
    with torch.no_grad():
        bits, log2_p = model(kept, heat), model.log2_probabilities(kept.values)
        assert torch.equal(model(changed, heat), bits)
        assert (model(kept) > bits + 1).all()
        assert not model(kept, torch.zeros_like(heat)).any()
    for picture in range(2):
        total = -sum(
            log2_p[picture, c, y, x, symbols[picture, c, y, x]].item()
            for c, y, x in itertools.product(range(2), range(4), range(5))
            if heat[picture, 0, y, x]
        )
        assert bits[picture].item() == pytest.approx(total, rel=1e-5)
