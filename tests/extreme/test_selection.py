"""What G's label encoder sees: class shares, what is synthesised, and the noise that textures are made of."""

from __future__ import annotations

import torch

from ganic.extreme.selection import NOISE, channels, noise, shares


def mixed(x: int) -> int:
    """The hash once more, in Python's integers."""
    x %= 1 << 32
    for factor in (0x2C1B3C6D, 0x297A2D39):
        x = (x ^ x >> 16) * factor % (1 << 32)
    return x ^ x >> 16


def test_shares_by_hand() -> None:
    labels = torch.zeros(1, 16, 32, dtype=torch.int64)
    labels[:, 1, 1] = 1
    labels[:, 2:4, 2:4] = torch.tensor([[1, 2], [2, 2]])
    labels[:, 4:6, :2] = 255  # void
    synthetic = torch.tensor([[[[1.0, 0.0]]]])
    found = shares(labels, synthetic, 3, torch.zeros(1, 2, dtype=torch.int64))
    assert found.shape == (1, channels(3), 8, 16) and channels(3) == 3 + 1 + NOISE
    assert found[0, :4, 0, 0].tolist() == [0.75, 0.25, 0, 1]
    assert found[0, :4, 1, 1].tolist() == [0, 0.25, 0.75, 1]
    assert found[0, :4, 2, 0].tolist() == [0, 0, 0, 1]
    assert found[0, :4, 0, 8].tolist() == [1, 0, 0, 0]
    assert (found[0, 4:, :, 8:] == 0).all() and (found[0, 4:, :, :8] != 0).all()


def test_noise_is_decided_by_integers() -> None:
    made = noise(torch.tensor([[0, 0], [1000, 70000]]), 3, 20)
    for picture, (top, left) in enumerate(((0, 0), (1000, 70000))):
        for level in range(NOISE):
            for row, column in ((0, 0), (2, 19), (1, 8)):
                y, x = (top + row) >> level, (left + column) >> level
                number = mixed(mixed(mixed(y + (level << 28)) + x))
                assert made[picture, level, row, column].item() == float(
                    torch.tensor(number / 2**31 - 1, dtype=torch.float64).float() * 3**0.5
                )


def test_noise_belongs_to_places() -> None:
    whole = noise(torch.tensor([[0, 0]]), 256, 256)
    assert torch.equal(noise(torch.tensor([[37, 101]]), 64, 32), whole[:, :, 37:101, 101:133])
    for level in range(NOISE):
        coarse = whole[0, level, :: 1 << level, :: 1 << level]
        assert torch.equal(
            coarse.repeat_interleave(1 << level, 0).repeat_interleave(1 << level, 1), whole[0, level]
        )
        assert abs(coarse.mean()) < 0.2 and abs(coarse.var() - 1) < 0.2
        across = (coarse[:, 1:] * coarse[:, :-1]).mean()
        down = (coarse[1:] * coarse[:-1]).mean()
        assert max(abs(across), abs(down)) < 0.12, level
        assert len(coarse.unique()) > 0.99 * coarse.numel()
