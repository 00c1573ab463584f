"""A binary arithmetic coder whose probabilities are learned and mixed in integers only.

Every number here is an integer, ``>>`` rounds down (also below zero), and so every machine computes the same.
The design is that of Mahoney's lpaq: many adaptive probabilities, each chosen by another context, are mixed
in the logistic domain by a tiny network that learns while it codes. This docstring is the specification.

Decisions
    What is coded is a sequence of bits. Each belongs to a *model* and comes with one *key* for each of the
    model's inputs; equal keys of an input mean equal contexts. An input keeps a *slot* for every key it has
    seen: ``p``, the probability that the bit is 1 in units of 2**-16, at first 32768, and ``n``, how often
    it was used, at first 0. An input that has 32768 slots keeps no more of them: for a further key it takes
    a new slot that is forgotten after the decision. With weights ``w`` (one per input, at first what the
    model says) and ``t``, the number of decisions that the model took part in before, one decision is::

        s[i] = stretch(p[i])                                     for every input i
        d = (sum of w[i] * s[i]) >> 16, but at least -2047 and at most 2047
        P = squash(d)
        code the bit with the probability P / 2**16 of being 1
        e = ((65536 * bit - P) * (6 + 1280 // (128 + t))) >> 12
        w[i] = w[i] + ((s[i] * e) >> 6)                          for every input i
        p[i] = p[i] + (((65535 * bit - p[i]) * (327680 // (5 * n[i] + 7))) >> 16)
        n[i] = min(n[i] + 1, 24)

    ``squash(d)`` is the logistic function, 65536 / (1 + exp(-d / 256)), as straight lines between the 33
    points of ``KNEES``: with ``q, r = divmod(d + 2048, 128)`` it is
    ``(KNEES[q] * (128 - r) + KNEES[q + 1] * r) >> 7``. ``stretch(p)`` is its inverse: the smallest d of
    -2047 .. 2047 with ``squash(d) >= 16 * (p >> 4) + 8``, or 2047 if there is none.

Code
    ``low = 0`` and ``high = 2**32 - 1`` at first. A bit of probability P::

        middle = low + (((high - low) * P) >> 16)
        high = middle if the bit is 1, else low = middle + 1
        while the top bytes of low and high are equal:
            write that byte
            low = (low << 8) mod 2**32
            high = (high << 8) mod 2**32 + 255

    At the end come the top k bytes of the smallest multiple of 2**(32 - 8 k) in low .. high, with the
    smallest k of 0 .. 4 for which there is one. A reader takes zeros for what follows the last byte.

A sequence of decisions has one code and `BinaryCoder.finish` accepts no other, so what decodes is what an
encoder wrote. A bit costs at least 1/2066 bit: the number of bytes bounds how long decoding can take.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ganic.errors import CorruptError

__all__ = ["KNEES", "MAX_SLOTS", "BinaryCoder", "Model", "squash", "stretch"]

MAX_SLOTS: Final = 1 << 15

KNEES: Final = (
    *(22, 36, 60, 98, 162, 267, 439, 720, 1179, 1921, 3108),
    *(4971, 7812, 11955, 17625, 24743, 32768, 40793, 47911, 53581, 57724, 60565),
    *(62428, 63615, 64357, 64816, 65097, 65269, 65374, 65438, 65476, 65500, 65514),
)
"""65536 / (1 + exp(8 - q / 2)), rounded, for q = 0 .. 32."""

_REACH: Final = 2047
_MOST_USES: Final = 24


def squash(d: int) -> int:
    """The probability, in units of 2**-16, of the logit d / 256; d in -2047 .. 2047."""
    q, r = divmod(d + 2048, 128)
    return (KNEES[q] * (128 - r) + KNEES[q + 1] * r) >> 7


def stretch(p: int) -> int:
    """The logit, in units of 1 / 256, of the probability p / 2**16; p in 0 .. 65535."""
    return _STRETCH[p >> 4]


def _inverse() -> list[int]:
    table, d = [], -_REACH
    for p in range(8, 1 << 16, 16):
        while d < _REACH and squash(d) < p:
            d += 1
        table.append(d)
    return table


_SQUASH: Final = [squash(max(d, -_REACH)) for d in range(-2048, 2048)]
_STRETCH: Final = _inverse()
_RATES: Final = [327680 // (5 * n + 7) for n in range(_MOST_USES + 1)]


class Model:
    """What one kind of decision has learned: a table of slots [p, n] for each input, and the weights."""

    __slots__ = ("decisions", "tables", "weights")

    def __init__(self, inputs: int, weight: int) -> None:
        self.weights = [weight] * inputs
        self.tables: list[dict[int, list[int]]] = [{} for _ in range(inputs)]
        self.decisions = 0


class BinaryCoder:
    """Encodes if ``data`` is None, else decodes ``data``; both go through the same `decide`."""

    def __init__(self, data: bytes | None = None) -> None:
        self._data = data
        self._written = bytearray()
        self._low, self._high = 0, 0xFFFF_FFFF
        self._value = 0 if data is None else int.from_bytes(data[:4].ljust(4, b"\0"), "big")
        self._shifted = 0

    def decide(self, model: Model, keys: Sequence[int], bit: int = 0) -> int:
        """Code one bit and return it; a decoder ignores ``bit``. Raises CorruptError past the data's end."""
        weights, slots, inputs, total = model.weights, [], [], 0
        for table, key, weight in zip(model.tables, keys, weights, strict=True):
            slot = table.get(key)
            if slot is None:
                slot = [32768, 0]
                if len(table) < MAX_SLOTS:
                    table[key] = slot
            logit = _STRETCH[slot[0] >> 4]
            slots.append(slot)
            inputs.append(logit)
            total += weight * logit
        total >>= 16
        p = _SQUASH[(total if -2048 < total < 2048 else _REACH if total > 0 else -_REACH) + 2048]

        low, high = self._low, self._high
        middle = low + ((high - low) * p >> 16)
        if self._data is not None:
            bit = 1 if self._value <= middle else 0
        if bit:
            high = middle
        else:
            low = middle + 1
        while not (low ^ high) >> 24:
            self._shift(low >> 24)
            low = low << 8 & 0xFFFF_FFFF
            high = high << 8 & 0xFFFF_FFFF | 0xFF
        self._low, self._high = low, high

        error = ((bit << 16) - p) * (6 + 1280 // (128 + model.decisions)) >> 12
        goal = 65535 if bit else 0
        for i, slot in enumerate(slots):
            weights[i] += inputs[i] * error >> 6
            chance, uses = slot
            slot[0] = chance + ((goal - chance) * _RATES[uses] >> 16)
            if uses < _MOST_USES:
                slot[1] = uses + 1
        model.decisions += 1
        return bit

    def finish(self) -> bytes:
        """The code. A decoder gives its data back, or raises CorruptError if no encoder wrote them."""
        code = bytes(self._written if self._data is None else self._data[: self._shifted]) + self._ending()
        if self._data is not None and self._data != code:
            raise CorruptError(
                f"labels: {len(self._data)} bytes decode to a map that codes into {len(code)} other bytes; "
                "the file was damaged, get it again"
            )
        return code

    def _shift(self, byte: int) -> None:
        if self._data is None:
            self._written.append(byte)
            return
        if self._shifted >= len(self._data):
            raise CorruptError("labels: their bytes end too early; the file was damaged, get it again")
        follows = self._shifted + 4
        self._value = self._value << 8 & 0xFFFF_FFFF
        if follows < len(self._data):
            self._value |= self._data[follows]
        self._shifted += 1

    def _ending(self) -> bytes:
        drop = 32
        while (ending := -(-self._low >> drop) << drop) > self._high:
            drop -= 8
        return ending.to_bytes(4, "big")[: 4 - drop // 8]
