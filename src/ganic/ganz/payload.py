"""The one stream of a GANZ file: how the picture lies on tiles, which first layer, which step, then symbols.

    byte 0     bits 0-1  fit: 0 tiles, 1 the whole picture resized to one tile
               bits 2-4  first layer: 0 learned basis, 1 structured, 2 dense, 3 trained
               bits 5-7  zero
    byte 1     step index of the quantiser, 0 to 63
    byte       overlap of tiles in pixels, only where there are several
    byte       level of the one table, only for layers other than the basis
    varint     d, numbers of the latent; then varint, seed: only for structured and dense layers
    the rest   range-coded symbols of every tile, row by row (`ganic.ganz.latent_coder`, `ganic.entropy`)

Varints are the container's: LEB128, at most five bytes, none superfluous.  The container's checksum covers
everything before the symbols as the bytes they are, then the symbols as int16, tile by tile, each in the
order of its coefficients' indices, which is not the order of coding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from ganic.errors import CorruptError, LimitError, TruncatedError
from ganic.ganz.latent_coder import STEPS
from ganic.ganz.layout import Fit, Layout
from ganic.ganz.random_stream import MAX_SEED

StoredLayer = Literal["basis", "structured", "dense", "trained"]

FITS: Final[tuple[Fit, ...]] = ("tiles", "resized")
LAYERS: Final[tuple[StoredLayer, ...]] = ("basis", "structured", "dense", "trained")
MAX_LEVEL = 127

_GET_AGAIN = "the file was damaged, get it again"


@dataclass(frozen=True)
class Head:
    """Everything before the symbols."""

    fit: Fit
    overlap: int
    layer: StoredLayer
    step: int
    level: int = 0
    inputs: int = 0
    """d of a random layer; 0 for the others, whose size the model knows."""
    seed: int = 0

    def to_bytes(self, layout: Layout) -> bytes:
        data = bytes([FITS.index(self.fit) | LAYERS.index(self.layer) << 2, self.step])
        if layout.count > 1:
            data += bytes([self.overlap])
        if self.layer != "basis":
            data += bytes([self.level])
        if self.layer in ("structured", "dense"):
            data += _varint(self.inputs) + _varint(self.seed)
        return data


def parse(stream: bytes, width: int, height: int, size: int, largest: int) -> tuple[Head, Layout, int]:
    """The head of a stream, the layout it describes, and where the symbols begin.

    ``size``: the model's picture size; ``largest``: the largest d it takes.
    Raises CorruptError, TruncatedError, LimitError.
    """
    reader = _Reader(stream)
    first, step = reader.byte(), reader.byte()
    fit_index, layer_index = first & 3, first >> 2
    if fit_index >= len(FITS) or layer_index >= len(LAYERS) or step >= STEPS:
        raise CorruptError(f"ganz stream: it begins with {first:02x} {step:02x}; {_GET_AGAIN}")
    fit, layer = FITS[fit_index], LAYERS[layer_index]
    overlap = 0
    if fit == "tiles" and (width > size or height > size):
        overlap = reader.byte()
        if overlap > size // 2:
            raise CorruptError(f"ganz stream: tiles of {size} overlap by {overlap}; {_GET_AGAIN}")
    try:
        layout = Layout(width, height, size, fit, overlap)
    except LimitError as error:
        raise LimitError(f"{error}; do not trust the file") from error
    level = 0 if layer == "basis" else reader.byte()
    if level > MAX_LEVEL:
        raise CorruptError(f"ganz stream: table level {level}; {_GET_AGAIN}")
    inputs = seed = 0
    if layer in ("structured", "dense"):
        inputs, seed = reader.number(1, largest), reader.number(0, MAX_SEED)
    return Head(fit, overlap, layer, step, level, inputs, seed), layout, reader.at


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def byte(self) -> int:
        if self.at >= len(self.data):
            raise TruncatedError(f"ganz stream: ends after {self.at} bytes; {_GET_AGAIN}")
        self.at += 1
        return self.data[self.at - 1]

    def number(self, low: int, high: int) -> int:
        value = byte = 0
        for shift in range(0, 35, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
        else:
            raise CorruptError(f"ganz stream: a number has more than five bytes; {_GET_AGAIN}")
        if (byte == 0 and shift) or not low <= value <= high:
            raise CorruptError(f"ganz stream: the number {value} is not within {low} to {high}; {_GET_AGAIN}")
        return value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
