"""Label maps to bytes and back: lossless, small, and the same on every machine.

A label map is mostly the outlines of its regions. So the code spends nothing on pixels whose surroundings are
all of one label, but one decision for each run of them, and otherwise asks of every pixel whether it
continues the outline that comes from above or from the left. `ganic.labels.mixing` specifies how a decision
becomes bits; this docstring specifies the decisions. Below, the *keys* of a decision are one tuple for each
input of its model, in order: keys of an input are equal if and only if the tuples are.

Labels present
    For each label from 0 to 255, one decision of the model PRESENT (weights 30000): does it occur? Keys:
    (was the one before present?), (were the two before present?); before the first there were none. The
    labels that occur are numbered from 0 in ascending order and, from here on, stand for themselves by
    these numbers. If there is only one, nothing follows. There is at least one.

Rows
    Rows are coded from the top, each from the left. ``c`` is the row being coded, ``a`` the row above it,
    ``b`` and ``d`` the two above that; ``a[x]`` is the label in column x of 0 .. width - 1. Above the first
    row everything is 0. ``row[-1]``, ``row[-2]`` ... are column 0 of the row above ``row``;
    ``row[width]``, ``row[width + 1]`` ... are the last column of ``row``. An *edge* of a row is an x of
    0 .. width - 1 with ``row[x] != row[x - 1]``. At a column x, W = c[x-1], N = a[x], NW = a[x-1],
    NE = a[x+1]. If W = NW = N = NE, a run begins at x, else x is a single pixel.

Runs
    The run goes from x up to, not including, ``end`` = (the first edge of ``a`` beyond x) - 1, or width if
    there is no such edge; it has L = end - x pixels. If there is an edge, Q = a[end + 1], K = how many of
    b[end + 1], b[end + 2] ... (in columns below width) are W before one is not, but at most 8, and H is the
    history of that edge (see below); else Q = W, K = 0, H = (0, 0, 0). Of a number v > 0, log(v) is how many
    bits it has, less 1.

    1. BROKEN (weights 14000): is any pixel of the run not W? Keys: (W), (K, is there an edge?),
       (W, Q, min(K, 5)), (log(L), min(K, 5)), (H, min(K, 3)). If none is, coding goes on at ``end``.
    2. Else the first that is not is at column end - v, with v in 1 .. L. Let S = log(v). For i = 0, 1 ...
       while i < log(L), until the bit is 0: PREFIX (weights 14000): is S > i? Keys: (i, H), (i, K),
       (i, log(L)), (i, W, Q). Then the S lower bits of v, from the highest, bit i: SUFFIX (weights 14000).
       Keys: (S, i, H without its first number), (S, i), (S, i, K if i = S - 1 else none).
    3. If Q is not W, ENDING (weights 14000): is the label of that pixel Q? Keys: (Q), (W), (Q, W,
       min(S, 5)), (min(S, 5)). If it is not, or Q is W, the label follows as OTHER than W and Q.
    Coding goes on in the column after that pixel.

Single pixels
    The first guess G is N if W = NW, else W. The second, F, is the first of W, N, NE, NW that is not G.
    Neighbours are seen relative to these: 0 for G, 1 for F, 2 for anything else. Three patterns::

        A = c[x-1], a[x-1 .. x+1]
        B = A and c[x-2], a[x+2], b[x]
        C = c[x-2], c[x-1], a[x-2 .. x+2], b[x-1 .. x+1]
        D = c[x-4 .. x-1], a[x-3 .. x+5], b[x-3 .. x+3], d[x-1 .. x+1]

    Further: KIND is 0 if W = NW and N is not W, 2 if W = NW = N, 1 if W is not NW and N = NW, else 3.
    H is the history of the edge of ``a`` at x if there is one, else at x + 1 if there is one, else (0, 0, 0).
    BEHIND = x - (the last edge below x of ``a`` or ``c``, 0 if neither has one), START = x - BEHIND,
    at most 8 is used of it. STEP, if W is not NW: how many of the columns START - 1, START - 2 ... down to 0
    have a = W and b = NW before one has not, at most 8; 0 if W = NW. AHEAD = (the first edge of ``a`` beyond
    x) - x - 1, at most 6, and 6 if there is none.

    1. FIRST (weights 10500): is the label G? Keys: (A), (C), (D), (A, G, F), (B, G, F),
       (BEHIND, STEP, AHEAD, KIND), (H, KIND, how a[x+1] is seen), (H, KIND, G, F).
    2. If not, SECOND (weights 14000): is it F? Keys: (A), (B), (A, G, F), (G, F), (C).
    3. If not, the label follows as OTHER than G and F.

Other labels
    OTHER (weights 14000), a label that is neither of two, P and R: its bits from the highest, as many as the
    highest number of a label present has. A bit is not coded if all labels that begin with the bits so far,
    other than P and R, agree in it. Keys: (bits so far, P), (bits so far), (bits so far, P, R).

Histories
    When a row is complete, each of its edges x gets a history of three numbers (run, before, shift) from the
    row above. If ``a`` has an edge at x between the same two labels in the same order, the history of that
    one, with run increased by 1 up to at most 31. Else, if it has such an edge at x + s for an s of
    -1, 1, -2, 2, -3, 3 (the first of these counts), (1, that edge's run, s). Else (1, 0, 0).

Limits
    The size is that of the picture or of whatever else the map belongs to; it is not in the code. A map
    for which more than 8,388,608 decisions, those of which labels are present not counted, were made at
    the end of any row is refused on both sides: it is noise, not regions. A label that is said to be
    present must occur.

What was measured is in docs/results/labels.md.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ganic.bitstream import MAX_PIXELS, MAX_SIDE
from ganic.errors import CorruptError, InputError, LimitError
from ganic.labels.mixing import BinaryCoder, Model

__all__ = ["MAX_DECISIONS", "decode", "encode"]

MAX_DECISIONS: Final = 1 << 23

# Rows are kept with this many columns more than the map has, so that neighbours outside need no tests.
_LEFT: Final = 4
_RIGHT: Final = 6
_NO_EDGE: Final = 1 << 30

# Patterns as masks over the neighbours of D, a byte each, in the order in which they are listed there.
_A: Final = sum(0xFF << 8 * i for i in (3, 6, 7, 8))
_B: Final = _A | sum(0xFF << 8 * i for i in (2, 9, 16))
_C: Final = _A | sum(0xFF << 8 * i for i in (2, 5, 9, 15, 16, 17))
_NE: Final = 64  # where in D the byte for a[x + 1] begins


def encode(labels: NDArray[np.uint8]) -> bytes:
    """The code of ``labels`` uint8 [h, w], any values, at least one pixel.

    Raises InputError if the map is larger than a picture may be, or noise; ValueError for another array.
    """
    if labels.ndim != 2 or labels.dtype != np.uint8 or not labels.size:
        raise ValueError(f"labels are uint8 [h, w], not {labels.dtype} {list(labels.shape)}")
    height, width = labels.shape
    if max(height, width) > MAX_SIDE or labels.size > MAX_PIXELS:
        raise InputError(f"label map: {width}x{height} pixels are over the limit; cut it into parts")
    occurs = np.zeros(256, np.bool_)
    for row in labels:
        occurs[row] = True
    present = np.flatnonzero(occurs)
    coder = BinaryCoder()
    _code_present(coder, occurs.tolist())
    if len(present) > 1:
        number = np.zeros(256, np.uint8)
        number[present] = np.arange(len(present))
        scan = _Scan(coder, len(present), width)
        for row in labels:
            scan.row(number[row])
            if scan.decisions > MAX_DECISIONS:
                raise InputError(
                    "label map: has too many regions to be coded; simplify it, or use one with larger regions"
                )
    return coder.finish()


def decode(data: bytes, height: int, width: int) -> NDArray[np.uint8]:
    """The labels uint8 [height, width] that ``data`` are the code of.

    Raises LimitError for a size that no picture has and for more decisions than any map takes, CorruptError
    for data that `encode` does not write for any map of this size.
    """
    if height < 1 or width < 1:
        raise ValueError(f"a label map has at least one pixel, not {width}x{height}")
    if max(height, width) > MAX_SIDE or height * width > MAX_PIXELS:
        raise LimitError(f"labels: {width}x{height} pixels are over the limit; do not trust the file")
    coder = BinaryCoder(data)
    present = [label for label, occurs in enumerate(_code_present(coder, None)) if occurs]
    if not present:
        raise CorruptError("labels: none is present; the file was damaged, get it again")
    if len(present) == 1:
        labels = np.full((height, width), present[0], np.uint8)
    else:
        labels = np.empty((height, width), np.uint8)
        scan = _Scan(coder, len(present), width)
        label_of = bytes(present).ljust(256, b"\0")
        for row in labels:
            row[:] = np.frombuffer(scan.row(None).translate(label_of), np.uint8)
            if scan.decisions > MAX_DECISIONS:
                raise LimitError("labels: take longer to decode than any map should; do not trust the file")
        if len(scan.seen) < len(present):
            raise CorruptError("labels: not all that are listed occur; the file was damaged, get it again")
    coder.finish()
    return labels


def _code_present(coder: BinaryCoder, occurs: list[bool] | None) -> list[bool]:
    model, found, two = Model(2, 30000), [], 0
    for label in range(256):
        bit = coder.decide(model, (two & 1, two), 1 if occurs is not None and occurs[label] else 0)
        found.append(bit == 1)
        two = (two << 1 | bit) & 3
    return found


class _Scan:
    """Goes through a map once, row by row, encoding what it is given or decoding if it is given None."""

    def __init__(self, coder: BinaryCoder, n_labels: int, width: int) -> None:
        self.seen: set[int] = set()
        self._decide = coder.decide
        self._n_labels, self._n_bits = n_labels, (n_labels - 1).bit_length()
        self._end = _LEFT + width
        self._broken, self._prefix, self._suffix = Model(5, 14000), Model(4, 14000), Model(3, 14000)
        self._ending, self._other = Model(4, 14000), Model(3, 14000)
        self._first, self._second = Model(8, 10500), Model(5, 14000)
        self._relative: dict[int, bytes] = {}
        self._a = self._b = self._d = bytes(_LEFT + width + _RIGHT)
        self._edges = [_NO_EDGE, _NO_EDGE]
        self._histories: dict[int, int] = {}  # of the edges of a; see _history

    @property
    def decisions(self) -> int:
        runs = (self._broken, self._prefix, self._suffix, self._ending)
        return sum(model.decisions for model in (*runs, self._other, self._first, self._second))

    def row(self, truth: NDArray[np.uint8] | None) -> bytes:
        """Code the next row [w], in numbers of present labels, and return it."""
        a, end = self._a, self._end
        c = bytearray(a[_LEFT : _LEFT + 1] * _LEFT)
        edges: list[int] = []
        known, coming = b"", iter([_NO_EDGE])
        if truth is not None:
            known = bytes(c) + truth.tobytes()
            coming = iter(_edges(known))
        next_known = next(coming, _NO_EDGE)

        at, last = 0, _LEFT  # of the edges of a: the index of the first at or beyond x, and the last below x
        x, w = _LEFT, c[-1]
        while x < end:
            while self._edges[at] < x:
                last = self._edges[at]
                at += 1
            if w == a[x] == a[x - 1] == a[x + 1]:
                stop = min(self._edges[at] - 1, end)
                while next_known < x:
                    next_known = next(coming, _NO_EDGE)
                x_new, w_new = self._run(x, stop, w, known, next_known)
                c += bytes((w,)) * (x_new - x)
                x = x_new
                if w_new == w:
                    continue
                w = w_new
                edges.append(x)
            else:
                behind = max(last, edges[-1]) if edges else last
                w_new = self._pixel(x, at, behind, c, known)
                if w_new != w:
                    w = w_new
                    edges.append(x)
            c.append(w)
            x += 1
        c += c[-1:] * _RIGHT
        self.seen.add(c[_LEFT])
        self.seen.update([c[x] for x in edges])
        self._histories = {x: self._history(x, c) for x in edges}
        self._edges = [*edges, _NO_EDGE, _NO_EDGE]
        self._d, self._b, self._a = self._b, a, bytes(c)
        return self._a[_LEFT:end]

    def _run(self, x: int, stop: int, w: int, known: bytes, edge: int) -> tuple[int, int]:
        """Code the run of ``w`` that begins at x: where it ends, and the label there (w: not before stop).

        ``edge`` is the first edge at or beyond x of ``known``, the row if it is to be encoded, or b"".
        """
        decide, a, b = self._decide, self._a, self._b
        q, k, h = w, 0, 0
        if stop < self._end:
            q, h = a[stop + 1], self._histories[stop + 1]
            while k < 8 and stop + 1 + k < self._end and b[stop + 1 + k] == w:
                k += 1
        length, k5 = (stop - x).bit_length() - 1, min(k, 5)
        keys: tuple[int, ...] = (
            w,
            k << 1 | (stop < self._end),
            (w << 8 | q) << 3 | k5,
            length << 3 | k5,
            h << 2 | min(k, 3),
        )
        if not decide(self._broken, keys, edge < stop):
            return stop, w

        back = stop - edge if known else 0
        size = 0
        while size < length:
            keys = (size << 16 | h, size << 4 | k, size << 5 | length, (size << 8 | w) << 8 | q)
            if not decide(self._prefix, keys, back >> size > 1):
                break
            size += 1
        v = 1
        for i in range(size - 1, -1, -1):
            place = size << 5 | i
            keys = (place << 16 | h >> 5, place, place << 4 | (k if i == size - 1 else 15))
            v = v << 1 | decide(self._suffix, keys, back >> i & 1)
        x, stop = stop - v, x
        if x < stop:
            raise CorruptError("labels: a region begins before its row's last; get the file again")
        label = known[x] if known else 0
        s5 = min(size, 5)
        if q != w and decide(self._ending, (q, w, (q << 8 | w) << 3 | s5, s5), label == q):
            return x, q
        return x, self._another(w, q, label)

    def _pixel(self, x: int, at: int, behind: int, c: bytearray, known: bytes) -> int:
        """Code the single pixel x of the row ``c``, of which x columns are known, and return its label.

        ``at`` is the index of the first edge of a at or beyond x; ``behind`` the last edge below x.
        """
        a, b = self._a, self._b
        w, n, nw, ne = c[x - 1], a[x], a[x - 1], a[x + 1]
        g = n if w == nw else w
        f = w if w != g else n if n != g else ne if ne != g else nw
        pair = g << 8 | f
        relative = self._relative.get(pair)
        if relative is None:
            relative = self._relative[pair] = bytes(0 if i == g else 1 if i == f else 2 for i in range(256))
        near = c[x - 4 : x] + a[x - 3 : x + 6] + b[x - 3 : x + 4] + self._d[x - 1 : x + 2]
        pattern = int.from_bytes(near.translate(relative), "little")
        step = 0
        if w == nw:
            kind = 2 if w == n else 0
        else:
            kind = 1 if n == nw else 3
            i = behind - 1
            while step < 8 and i >= _LEFT and a[i] == w and b[i] == nw:
                step += 1
                i -= 1
        h, edge = 0, self._edges[at]
        if edge <= x + 1:
            h = self._histories[edge]
            if edge == x:
                edge = self._edges[at + 1]
        run = ((min(x - behind, 8) << 4 | step) << 4 | min(edge - x - 1, 6)) << 2 | kind
        h = h << 2 | kind
        pattern_a, pattern_b, pattern_c = pattern & _A, pattern & _B, pattern & _C
        a_pair = pattern_a << 16 | pair

        label = known[x] if known else 0
        keys = (
            *(pattern_a, pattern_c, pattern, a_pair, pattern_b << 16 | pair, run),
            *(h << 2 | pattern >> _NE & 3, h << 16 | pair),
        )
        if self._decide(self._first, keys, label == g):
            return g
        if self._decide(self._second, (pattern_a, pattern_b, a_pair, pair, pattern_c), label == f):
            return f
        return self._another(g, f, label)

    def _another(self, p: int, r: int, label: int) -> int:
        """Code a label that is neither p nor r."""
        left = [i for i in range(self._n_labels) if i != p and i != r]
        if not left:
            raise CorruptError("labels: a third one where only two are present; get the file again")
        node = 1
        for i in range(self._n_bits - 1, -1, -1):
            ones = [number for number in left if number >> i & 1]
            if not ones or len(ones) == len(left):
                bit = 1 if ones else 0
            else:
                key = node << 8 | p
                bit = self._decide(self._other, (key, node, key << 8 | r), label >> i & 1)
                left = ones if bit else [number for number in left if not number >> i & 1]
            node = node << 1 | bit
        return left[0]

    def _history(self, x: int, c: bytearray) -> int:
        """run + 32 * before + 1024 * (shift + 4, or 0 for none) of the edge of c at x."""
        a = self._a
        left, right = c[x - 1], c[x]
        if a[x - 1] == left and a[x] == right:
            history = self._histories[x]
            return history + 1 if history & 31 < 31 else history
        for shift in (-1, 1, -2, 2, -3, 3):
            if a[x + shift - 1] == left and a[x + shift] == right and x + shift in self._histories:
                return 1 | (self._histories[x + shift] & 31) << 5 | shift + 4 << 10
        return 1


def _edges(row: bytes) -> list[int]:
    """Where beyond the columns to the left of it ``row`` differs from the column before."""
    labels = np.frombuffer(row, np.uint8)
    return (np.flatnonzero(labels[_LEFT:] != labels[_LEFT - 1 : -1]) + _LEFT).tolist()
