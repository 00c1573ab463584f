"""The code for label maps against a second implementation, golden bytes, round trips, and hostile bytes."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ganic.bitstream import MAX_PIXELS
from ganic.errors import CorruptError, GanicError, InputError, LimitError
from ganic.labels import coding, mixing
from ganic.labels.coding import decode, encode
from ganic.labels.mixing import KNEES, BinaryCoder, Model, squash, stretch

Labels = NDArray[np.uint8]


def scene(height: int, width: int, n: int = 5) -> Labels:
    """A made-up street: sky, road, two discs, a pole, a slanted roof, specks; labels 0 .. n - 1 and 255."""
    y, x = np.mgrid[:height, :width]
    labels = np.where(3 * y < height, 0, np.where(5 * y + x > 3 * height, 1, 2))
    labels[(x - width // 3) ** 2 + (y - height // 2) ** 2 < (height // 5) ** 2] = 3
    labels[(x - 2 * width // 3) ** 2 + 2 * (y - height // 3) ** 2 < (height // 4) ** 2] = 4
    labels[:, 4 * width // 5] = 1
    labels[(7 * x + 13 * y) % 211 == 5] = 0
    labels[(labels + 1 == n) & (x < width // 2)] = 255
    return np.minimum(labels, 255).astype(np.uint8)


@st.composite
def label_maps(draw: st.DrawFn) -> Labels:
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    palette = draw(st.lists(st.integers(0, 255), min_size=1, max_size=8, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if draw(st.booleans()):  # noise
        return np.array(palette, np.uint8)[rng.integers(0, len(palette), (height, width))]
    labels = np.full((height, width), palette[0], np.uint8)  # rectangles
    for _ in range(draw(st.integers(0, 8))):
        (top, bottom), (left, right) = np.sort(rng.integers(0, [[height + 1], [width + 1]], (2, 2)))
        labels[top:bottom, left:right] = rng.choice(palette)
    return labels


class Reference:
    """The specification once more, slowly: keys are tuples, rows are looked up pixel by pixel."""

    def __init__(self) -> None:
        self.models: dict[str, dict[str, Any]] = {}
        self.low, self.high, self.code = 0, 2**32 - 1, bytearray()

    def squash(self, d: int) -> int:
        q, r = divmod(d + 2048, 128)
        return (KNEES[q] * (128 - r) + KNEES[q + 1] * r) >> 7

    def stretch(self, p: int) -> int:
        least, most = -2047, 2047
        while least < most:
            middle = (least + most) // 2
            least, most = (least, middle) if self.squash(middle) >= 16 * (p >> 4) + 8 else (middle + 1, most)
        return least

    def bit(self, name: str, weight: int, bit: bool, *keys: tuple[Any, ...]) -> bool:
        model = self.models.setdefault(
            name,
            {"t": 0, "w": [weight] * len(keys), "slots": [defaultdict(lambda: [32768, 0]) for _ in keys]},
        )
        slots = [table[key] for table, key in zip(model["slots"], keys, strict=True)]
        s = [self.stretch(p) for p, _ in slots]
        d = sum(w * one for w, one in zip(model["w"], s, strict=True)) >> 16
        p = self.squash(max(-2047, min(2047, d)))
        middle = self.low + ((self.high - self.low) * p >> 16)
        self.low, self.high = (self.low, middle) if bit else (middle + 1, self.high)
        while self.low >> 24 == self.high >> 24:
            self.code.append(self.low >> 24)
            self.low, self.high = self.low * 256 % 2**32, self.high * 256 % 2**32 + 255
        e = ((65536 * bit - p) * (6 + 1280 // (128 + model["t"]))) >> 12
        model["t"] += 1
        for i, slot in enumerate(slots):
            model["w"][i] += (s[i] * e) >> 6
            slot[0] += ((65535 * bit - slot[0]) * (327680 // (5 * slot[1] + 7))) >> 16
            slot[1] = min(slot[1] + 1, 24)
        return bit

    def encode(self, labels: Labels) -> bytes:
        present = sorted(set(labels.ravel().tolist()))
        before = (0, 0)
        for label in range(256):
            bit = int(self.bit("PRESENT", 30000, label in present, (before[1],), before))
            before = (before[1], bit)
        if len(present) > 1:
            self.rows([[present.index(label) for label in row] for row in labels.tolist()], len(present))
        for k in range(5):
            unit = 2 ** (32 - 8 * k)
            least = -(-self.low // unit) * unit
            if least <= self.high:
                return bytes(self.code) + least.to_bytes(4, "big")[:k]
        raise AssertionError

    def rows(self, rows: list[list[int]], n: int) -> None:
        width = len(rows[0])

        def at(y: int, x: int) -> int:
            if y < 0:
                return 0
            return at(y - 1, 0) if x < 0 else rows[y][min(x, width - 1)]

        def edges(y: int) -> list[int]:
            return [x for x in range(width) if at(y, x) != at(y, x - 1)] if y >= 0 else []

        history: dict[int, tuple[int, int, int]] = {}
        for y in range(len(rows)):
            above = edges(y - 1)
            x = 0
            while x < width:
                x = self.at(y, x, at, above, edges(y), history, width, n)
            new = {}
            for x in edges(y):
                for s in (0, -1, 1, -2, 2, -3, 3):
                    same = (at(y - 1, x + s - 1), at(y - 1, x + s)) == (at(y, x - 1), at(y, x))
                    if x + s in above and same:
                        run, past, shift = history[x + s]
                        new[x] = (min(run + 1, 31), past, shift) if s == 0 else (1, run, s)
                        break
                else:
                    new[x] = (1, 0, 0)
            history = new

    def at(
        self,
        y: int,
        x: int,
        at: Any,
        above: list[int],
        here: list[int],
        history: dict[int, tuple[int, int, int]],
        width: int,
        n: int,
    ) -> int:
        """Code what is at x; where it goes on."""
        none = (0, 0, 0)
        w, nn, nw, ne = at(y, x - 1), at(y - 1, x), at(y - 1, x - 1), at(y - 1, x + 1)
        if w == nn == nw == ne:
            beyond = [edge for edge in above if edge > x]
            end = beyond[0] - 1 if beyond else width
            length = end - x
            q, k, h = w, 0, none
            if beyond:
                q, h = at(y - 1, end + 1), history[end + 1]
                while k < 8 and end + 1 + k < width and at(y - 2, end + 1 + k) == w:
                    k += 1
            log_l = int(math.log2(length))
            v = next((end - i for i in range(x, end) if at(y, i) != w), 0)
            keys: list[tuple[Any, ...]] = [(w,), (k, bool(beyond)), (w, q, min(k, 5)), (log_l, min(k, 5))]
            if not self.bit("BROKEN", 14000, v > 0, *keys, (h, min(k, 3))):
                return end
            s = int(math.log2(v))
            for i in range(log_l):
                if not self.bit("PREFIX", 14000, s > i, (i, h), (i, k), (i, log_l), (i, w, q)):
                    break
            for i in range(s - 1, -1, -1):
                keys = [(s, i, h[1:]), (s, i), (s, i, k if i == s - 1 else None)]
                self.bit("SUFFIX", 14000, bool(v >> i & 1), *keys)
            label, s5 = at(y, end - v), min(s, 5)
            if q == w or not self.bit("ENDING", 14000, label == q, (q,), (w,), (q, w, s5), (s5,)):
                self.other(label, w, q, n)
            return end - v + 1

        g = nn if w == nw else w
        f = next(label for label in (w, nn, ne, nw) if label != g)

        def seen(dy: int, *columns: int) -> tuple[int, ...]:
            labels = (at(y - dy, x + dx) for dx in columns)
            return tuple(0 if label == g else 1 if label == f else 2 for label in labels)

        a = seen(0, -1) + seen(1, -1, 0, 1)
        b = a + seen(0, -2) + seen(1, 2) + seen(2, 0)
        c = seen(0, -2, -1) + seen(1, *range(-2, 3)) + seen(2, -1, 0, 1)
        d = seen(0, *range(-4, 0)) + seen(1, *range(-3, 6)) + seen(2, *range(-3, 4)) + seen(3, -1, 0, 1)
        kind = (2 if w == nn else 0) if w == nw else (1 if nn == nw else 3)
        h = history[x] if x in above else history[x + 1] if x + 1 in above else none
        start = max([0] + [edge for edge in above + here if edge < x])
        step = 0
        if w != nw:
            while (
                step < 8
                and start - 1 - step >= 0
                and (at(y - 1, start - 1 - step), at(y - 2, start - 1 - step)) == (w, nw)
            ):
                step += 1
        ahead = min([6] + [edge - x - 1 for edge in above if edge > x])
        label = at(y, x)
        keys = [(a,), (c,), (d,), (a, g, f), (b, g, f), (min(x - start, 8), step, ahead, kind)]
        if not self.bit(
            "FIRST", 10500, label == g, *keys, (h, kind, seen(1, 1)), (h, kind, g, f)
        ) and not self.bit("SECOND", 14000, label == f, (a,), (b,), (a, g, f), (g, f), (c,)):
            self.other(label, g, f, n)
        return x + 1

    def other(self, label: int, p: int, r: int, n: int) -> None:
        bits = (n - 1).bit_length()
        written = f"{label:0{bits}b}"
        possible = [f"{other:0{bits}b}" for other in range(n) if other not in (p, r)]
        for i in range(bits):
            choices = {other[i] for other in possible if other.startswith(written[:i])}
            if len(choices) == 2:
                self.bit(
                    "OTHER", 14000, written[i] == "1", (written[:i], p), (written[:i],), (written[:i], p, r)
                )


def noise(height: int, width: int, n: int) -> Labels:
    return np.random.default_rng(height).integers(0, n, (height, width)).astype(np.uint8)


MAPS = {
    "scene": scene(40, 60),
    "large scene": scene(60, 90),
    "noise of 3": noise(20, 31, 3),
    "noise of 200": noise(12, 17, 200),
    "stripes": np.tile(np.array([[7, 7, 9]], np.uint8), (15, 9)),
    "column": scene(60, 40)[:, 13:14].copy(),
    "row": scene(60, 90)[30:31].copy(),
    "diagonal": np.tri(33, 47, 5, np.uint8),
    "other diagonal": np.tri(33, 47, 5, np.uint8)[:, ::-1].copy(),
    "flat diagonal": np.tri(80, 40, 0, np.uint8)[::7].copy(),
}


@pytest.mark.parametrize("name", MAPS)
def test_encoder_follows_the_specification(name: str) -> None:
    assert encode(MAPS[name]) == Reference().encode(MAPS[name])


@given(label_maps())
@settings(max_examples=25, deadline=None)
def test_encoder_follows_the_specification_anywhere(labels: Labels) -> None:
    assert encode(labels) == Reference().encode(labels)


@given(label_maps())
@settings(max_examples=60, deadline=None)
def test_round_trip(labels: Labels) -> None:
    decoded = decode(encode(labels), *labels.shape)
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, labels)


@pytest.mark.parametrize("name", MAPS)
def test_round_trip_of_larger_maps(name: str) -> None:
    assert np.array_equal(decode(encode(MAPS[name]), *MAPS[name].shape), MAPS[name])


def test_rows_of_any_stride() -> None:
    turned = MAPS["scene"].T[::-1, 3:]
    assert encode(turned) == encode(np.ascontiguousarray(turned))


def test_golden_bytes() -> None:
    """Frozen: a change here means that files of earlier versions can no longer be read."""
    assert encode(np.zeros((1, 1), np.uint8)).hex() == "7fec"
    assert encode(np.full((300, 400), 255, np.uint8)).hex() == "d16c"
    assert encode(np.array([[0, 1], [1, 0]], np.uint8)).hex() == "3ffcbf"
    assert encode(scene(23, 30)).hex() == "23a84fbb2acde546020a6d4aa8121f0f4b621cff116a55c26ed847c4d43af486"
    assert encode(MAPS["stripes"]).hex() == "b39606ed5683aa3d666d"


def test_small_maps_are_tiny() -> None:
    assert len(encode(np.full((720, 1280), 3, np.uint8))) <= 4
    y, x = np.mgrid[:23, :30]
    disc = ((x - 14) ** 2 + (y - 9) ** 2 < 40).astype(np.uint8)
    assert len(encode(disc)) <= 40
    assert len(encode((y > 11).astype(np.uint8))) <= 8


def test_noise_costs_little_more_than_its_entropy() -> None:
    labels = noise(60, 60, 2)
    assert len(encode(labels)) < 1.08 * labels.size / 8


def test_speed() -> None:
    labels = np.kron(scene(90, 120), np.ones((4, 4), np.uint8))
    start = time.process_time()
    decode(encode(labels), *labels.shape)
    assert time.process_time() - start < 3.0  # about 0.15


@given(st.binary(max_size=60), st.integers(1, 30), st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_refused_or_canonical(data: bytes, height: int, width: int) -> None:
    try:
        labels = decode(data, height, width)
    except GanicError:
        return
    assert encode(labels) == data


def test_mutations_are_refused_or_canonical() -> None:
    data, rng = encode(scene(23, 30)), np.random.default_rng(1)
    refused = 0
    for _ in range(100):
        mutant = bytearray(data)
        for _ in range(int(rng.integers(1, 4))):
            mutant[rng.integers(len(mutant))] = rng.integers(256)
        try:
            decoded = decode(bytes(mutant), 23, 30)
        except CorruptError:
            refused += 1
            continue
        assert encode(decoded) == bytes(mutant)
    assert refused > 85


def test_truncation_and_trailing_bytes_are_refused() -> None:
    data = encode(scene(23, 30))
    for length in range(len(data) - 2):
        with pytest.raises(CorruptError):
            decode(data[:length], 23, 30)
    for more in (b"\0", b"\1", b"\xff", bytes(100)):
        with pytest.raises(CorruptError, match="other bytes"):
            decode(data + more, 23, 30)


@pytest.mark.parametrize(("height", "width"), [(41, 60), (39, 60), (40, 61), (40, 59), (60, 40), (1, 1)])
def test_other_sizes_are_refused_or_canonical(height: int, width: int) -> None:
    data = encode(scene(40, 60))
    try:
        labels = decode(data, height, width)
    except CorruptError:
        return
    assert encode(labels) == data


def presence(labels: set[int]) -> BinaryCoder:
    coder, model, two = BinaryCoder(), Model(2, 30000), 0
    for label in range(256):
        two = (two << 1 | coder.decide(model, (two & 1, two), label in labels)) & 3
    return coder


def test_no_label_present_is_refused() -> None:
    with pytest.raises(CorruptError, match="none is present"):
        decode(presence(set()).finish(), 3, 3)


def test_a_label_that_does_not_occur_is_refused() -> None:
    coder = presence({4, 6})
    scan = coding._Scan(coder, 2, 10)
    for _ in range(5):
        scan.row(np.zeros(10, np.uint8))
    with pytest.raises(CorruptError, match="not all"):
        decode(coder.finish(), 5, 10)


def test_sizes_are_limited_before_anything_is_allocated() -> None:
    for height, width in ((1, 65536), (65536, 1), (20001, 20000)):
        assert max(height, width) > 65535 or height * width > MAX_PIXELS
        with pytest.raises(LimitError):
            decode(b"", height, width)
    with pytest.raises(InputError, match="limit"):
        encode(np.broadcast_to(np.uint8(0), (65536, 1)))


def test_a_huge_map_of_few_bytes_is_refused_quickly() -> None:
    start = time.process_time()
    for data in (b"", b"\x80" * 20, bytes(range(1, 60))):
        with pytest.raises(GanicError):
            decode(data, 20000, 20000)
    assert time.process_time() - start < 5.0


def test_noise_is_refused_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = noise(40, 40, 4)
    data = encode(labels)
    monkeypatch.setattr(coding, "MAX_DECISIONS", 1000)
    with pytest.raises(InputError, match="too many regions"):
        encode(labels)
    with pytest.raises(LimitError, match="longer"):
        decode(data, 40, 40)


def test_memory_of_contexts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixing, "MAX_SLOTS", 50)
    labels = noise(40, 60, 3)
    data = encode(labels)
    assert np.array_equal(decode(data, 40, 60), labels)
    monkeypatch.undo()
    assert encode(labels) != data


@pytest.mark.parametrize(
    "labels", [np.zeros(4, np.uint8), np.zeros((2, 2), np.int64), np.zeros((0, 3), np.uint8)]
)
def test_other_arrays_are_errors(labels: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="uint8"):
        encode(labels)


def test_an_empty_size_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        decode(b"", 0, 3)


def test_logistic_tables() -> None:
    assert tuple(round(65536 / (1 + math.exp(8 - q / 2))) for q in range(33)) == KNEES
    assert [squash(d) for d in (-2047, 0, 2047)] == [22, 32768, 65513]
    assert all(squash(d) <= squash(d + 1) for d in range(-2047, 2047))
    assert stretch(32768) == 1  # the middle of 32768 .. 32783
    assert all(abs(squash(stretch(p)) - p) <= 80 for p in range(100, 65400, 7))


def test_an_uncertain_bit_costs_one_bit_and_a_certain_one_nearly_none() -> None:
    rng = np.random.default_rng(2)
    coder, model = BinaryCoder(), Model(2, 20000)
    for bit in rng.integers(0, 2, 4000).tolist():
        coder.decide(model, (0, 1), bit)
    assert 500 <= len(coder.finish()) <= 512
    coder, model = BinaryCoder(), Model(2, 20000)
    for _ in range(40000):
        coder.decide(model, (0, 1), 1)
    assert len(coder.finish()) <= 40000 / 2066 / 8 + 8  # while it learns
