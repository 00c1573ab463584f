"""The .ganic file format, version 1. This text is the specification; docs/format.md explains it by example.

Integers of a fixed width are unsigned and little-endian. A *varint* is LEB128: seven bits to a byte, the
lowest first, with the top bit set in every byte but the last; at most five bytes, and never longer than the
value needs (a last byte of zero stands only alone). A file is these fields, one after the other:

    magic        4 bytes   9C 47 4E 43 (the byte 9C, then "GNC")
    version      u8        1
    flags        u8        bit 0: boxes follow the streams; bits 1 to 7 are 0
    model id     6 bytes   the first 6 bytes of the SHA-256 digest of the model that decodes the file
    width        varint    1 to 65535 pixels
    height       varint    1 to 65535 pixels; width * height is at most 400,000,000
    checksum     u32       see below
    streams      varint    how many streams, 1 to 65536
    lengths      varint    for each stream, its bytes; 0 is allowed
    stream data  bytes     the streams, in order, with nothing between them

and, if bit 0 of the flags is set:

    boxes        varint    how many boxes, 1 to 64
    each box     4 bytes   its type: an ASCII letter, then three ASCII letters or underscores
                 varint    the length of its data, at most 67,108,864
                 bytes     its data

The file ends there. It has at most 1,073,741,824 bytes.

Streams belong to the model: what symbols they carry, in what order, with which probability tables, is its
system's to say, and ganic.entropy specifies how symbols become bytes. Of a model of the system ``extreme``
there is one stream for each tile of the latent (ganic.extreme.tiling), row by row; the first one begins with
the file's quality index, a byte of its own; the rest of each is the code of the tile's symbols
(ganic.extreme.integer_prior). Of a model of the system ``ganz`` there is one stream (ganic.ganz.payload).

Boxes carry what is beside the picture. Each type occurs at most once. As in PNG, the case of the first letter
says what a reader that does not know the type must do: upper case is *critical*, it must refuse the file;
lower case is *ancillary*, it must go on without it. The types of version 1:

    ALPH   critical    the alpha channel, lossless, as ganic.alpha specifies
    AREA   critical    how bits are spread, where not evenly, as ganic.extreme.allocation specifies
    LABL   critical    the label map of what is synthesised, as ganic.extreme.selection specifies
    iccp   ancillary   an ICC profile
    exif   ancillary   EXIF metadata, the TIFF structure without the "Exif" preamble
    xmp_   ancillary   an XMP packet

The checksum is the CRC-32 of zlib and PNG over: every byte before the checksum field; every byte after it up
to the first byte of stream data; every byte after the last byte of stream data (that is, all of the file but
the checksum and the streams); and then what the streams decode to: bytes before the symbols, such as the
quality index, as they are, and the symbols in the order in which the system lists them, before they are
sorted by table, as 16-bit two's complement little-endian integers. A checksum over symbols, not stream bytes,
also finds a decoder that does not compute what the encoder computed; and since symbols have only one code
(see ganic.entropy), a stream cannot change without its symbols. Damage goes unnoticed only by chance, one
time in 2**32.

A reader must reject a file that breaks any rule above, before it allocates what a length in it asks for:
here with a child of StreamError, or MismatchError for the checksum. Flags, versions and critical boxes it
does not know say that the file is of a later version, which VersionError reports.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ganic.errors import (
    CorruptError,
    InputError,
    LimitError,
    MismatchError,
    NotGanicError,
    TrailingDataError,
    TruncatedError,
    VersionError,
)

__all__ = [
    "MAGIC",
    "MAX_BOXES",
    "MAX_BOX_BYTES",
    "MAX_FILE_BYTES",
    "MAX_PIXELS",
    "MAX_SIDE",
    "MAX_STREAMS",
    "MODEL_ID_BYTES",
    "VERSION",
    "Container",
    "Header",
    "pack",
    "read_header",
    "unpack",
]

MAGIC = b"\x9cGNC"
VERSION = 1
MODEL_ID_BYTES = 6

MAX_FILE_BYTES = 1 << 30
MAX_SIDE = 65535
MAX_PIXELS = 400_000_000
MAX_STREAMS = 65536
MAX_BOXES = 64
MAX_BOX_BYTES = 1 << 26

_HAS_BOXES = 0x01
_BOX_TYPE = re.compile(rb"[A-Za-z][A-Za-z_]{3}")
_KNOWN_CRITICAL = frozenset({"ALPH", "AREA", "LABL"})
_GET_AGAIN = "the file was cut off or damaged, get it again"


@dataclass(frozen=True)
class Header:
    """What a file says about itself without decoding anything."""

    model_id: bytes
    width: int
    height: int
    crc: int
    stream_lengths: tuple[int, ...]
    box_lengths: dict[str, int]
    """Bytes of data in each box, by type, in file order."""
    size: int
    """Bytes of the whole file."""

    @property
    def bits_per_pixel(self) -> float:
        return 8.0 * self.size / (self.width * self.height)


@dataclass(frozen=True)
class Container:
    """A file taken apart; `check` its symbols once they are decoded."""

    model_id: bytes
    width: int
    height: int
    streams: tuple[bytes, ...]
    boxes: dict[str, bytes]
    """Data by type, in file order; ancillary boxes of unknown types are here too."""
    crc: int

    def check(self, symbols: bytes | Iterable[bytes]) -> None:
        """Compare the checksum with that of what the streams decode to, in the bytes that the format says.

        Raises MismatchError if they differ.
        """
        before, after = _head(self.model_id, self.width, self.height, self.streams, self.boxes)
        found = _checksum(before, after, _tail(self.boxes), symbols)
        if found != self.crc:
            raise MismatchError(
                f"symbols: their checksum is {found:08x} where the file has {self.crc:08x}; either the file "
                "was damaged (get it again) or this machine decodes its model differently (report that)"
            )


def pack(
    model_id: bytes,
    width: int,
    height: int,
    streams: Iterable[bytes],
    boxes: Mapping[str, bytes],
    symbols: bytes | Iterable[bytes],
) -> bytes:
    """The bytes of a file; ``symbols`` as in `Container.check`.

    Raises InputError if the picture or its metadata are too large for the format, ValueError if an argument
    cannot stand in any file.
    """
    streams = tuple(streams)
    if len(model_id) != MODEL_ID_BYTES:
        raise ValueError(f"a model id has {MODEL_ID_BYTES} bytes, not {len(model_id)}")
    if width < 1 or height < 1 or not 1 <= len(streams) <= MAX_STREAMS or len(boxes) > MAX_BOXES:
        raise ValueError(f"no file has {width}x{height} pixels, {len(streams)} streams, {len(boxes)} boxes")
    for kind in boxes:
        if not _is_box_type(kind) or (kind[0].isupper() and kind not in _KNOWN_CRITICAL):
            raise ValueError(f"{kind!r} is not a box type that version {VERSION} can write")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise InputError(
            f"picture: {width}x{height} pixels are over the limit of {MAX_SIDE} a side and {MAX_PIXELS} in "
            "all; cut it into parts"
        )
    for kind, data in boxes.items():
        if len(data) > MAX_BOX_BYTES:
            raise InputError(
                f"metadata {kind}: {len(data)} bytes are over the limit of {MAX_BOX_BYTES}; remove it"
            )
    before, after = _head(model_id, width, height, streams, boxes)
    tail = _tail(boxes)
    crc = _checksum(before, after, tail, symbols)
    packed = b"".join([before, crc.to_bytes(4, "little"), after, *streams, tail])
    if len(packed) > MAX_FILE_BYTES:
        raise InputError(
            f"picture: its {len(packed)} bytes are over the limit of {MAX_FILE_BYTES}; shrink it"
        )
    return packed


def read_header(data: bytes) -> Header:
    """Check the structure of a whole file and describe it. Raises a StreamError."""
    return _parse(data)[0]


def unpack(data: bytes) -> Container:
    """Check the structure of a whole file and take it apart. Raises a StreamError."""
    header, at, box_starts = _parse(data)
    streams = []
    for length in header.stream_lengths:
        streams.append(bytes(data[at : at + length]))
        at += length
    boxes = {
        kind: bytes(data[start : start + length])
        for (kind, length), start in zip(header.box_lengths.items(), box_starts, strict=True)
    }
    return Container(header.model_id, header.width, header.height, tuple(streams), boxes, header.crc)


def _parse(data: bytes) -> tuple[Header, int, list[int]]:
    """The header, where the first stream begins, and where the data of each box begin."""
    if len(data) > MAX_FILE_BYTES:
        raise LimitError(f"file: {len(data)} bytes are over the limit of {MAX_FILE_BYTES}; it is no picture")
    if data[: len(MAGIC)] != MAGIC[: len(data)]:
        raise NotGanicError("file: does not begin as a .ganic file does; give one that ganic encode made")
    reader = _Reader(data)
    reader.take(len(MAGIC), "magic")
    version = reader.byte("version")
    if version != VERSION:
        raise VersionError(f"file: format version {version}, only {VERSION} is known here; upgrade ganic")
    flags = reader.byte("flags")
    if flags & ~_HAS_BOXES:
        raise VersionError(f"file: flags {flags:#04x} are not all known here; upgrade ganic")
    model_id = reader.take(MODEL_ID_BYTES, "model id")
    width, height = reader.number("width", 1, MAX_SIDE), reader.number("height", 1, MAX_SIDE)
    if width * height > MAX_PIXELS:
        raise LimitError(f"file: {width}x{height} pixels are over the limit of {MAX_PIXELS}; do not trust it")
    crc = int.from_bytes(reader.take(4, "checksum"), "little")
    n_streams = reader.number("number of streams", 1, MAX_STREAMS)
    lengths = tuple(reader.number("stream length", 0, MAX_FILE_BYTES) for _ in range(n_streams))
    streams_start = reader.skip(sum(lengths), "streams")

    box_lengths: dict[str, int] = {}
    box_starts: list[int] = []
    for _ in range(reader.number("number of boxes", 1, MAX_BOXES) if flags & _HAS_BOXES else 0):
        raw = reader.take(4, "box type")
        if not _BOX_TYPE.fullmatch(raw):
            raise CorruptError(f"box type: {raw.hex()} is none; {_GET_AGAIN}")
        kind = raw.decode("ascii")
        if kind in box_lengths:
            raise CorruptError(f"box {kind}: occurs twice; {_GET_AGAIN}")
        if kind[0].isupper() and kind not in _KNOWN_CRITICAL:
            raise VersionError(f"box {kind}: needed for decoding, but not known here; upgrade ganic")
        box_lengths[kind] = reader.number(f"length of box {kind}", 0, MAX_BOX_BYTES)
        box_starts.append(reader.skip(box_lengths[kind], f"box {kind}"))
    if reader.left:
        raise TrailingDataError(f"file: {reader.left} bytes follow its end; {_GET_AGAIN}")
    return Header(model_id, width, height, crc, lengths, box_lengths, len(data)), streams_start, box_starts


class _Reader:
    """Goes through ``data`` once; every method that finds too few bytes left raises TruncatedError."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def skip(self, length: int, what: str) -> int:
        """Pass over ``length`` bytes and return where they begin."""
        if length > self.left:
            raise TruncatedError(f"{what}: {length} bytes expected, {self.left} are left; {_GET_AGAIN}")
        start = self._at
        self._at += length
        return start

    def take(self, length: int, what: str) -> bytes:
        start = self.skip(length, what)
        return bytes(self._data[start : start + length])

    def byte(self, what: str) -> int:
        return self._data[self.skip(1, what)]

    def number(self, what: str, low: int, high: int) -> int:
        """A varint that must be within low .. high: CorruptError below, LimitError above."""
        value = 0
        for shift in range(0, 35, 7):
            byte = self.byte(what)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
        else:
            raise CorruptError(f"{what}: its number has more than five bytes; {_GET_AGAIN}")
        if byte == 0 and shift:
            raise CorruptError(f"{what}: its number has a superfluous byte; {_GET_AGAIN}")
        if value < low:
            raise CorruptError(f"{what}: {value}, but at least {low} is needed; {_GET_AGAIN}")
        if value > high:
            raise LimitError(f"{what}: {value} is over the limit of {high}; do not trust the file")
        return value


def _head(
    model_id: bytes, width: int, height: int, streams: tuple[bytes, ...], boxes: Mapping[str, bytes]
) -> tuple[bytes, bytes]:
    """The fields before the checksum, and those after it up to the stream data."""
    flags = _HAS_BOXES if boxes else 0
    before = MAGIC + bytes([VERSION, flags]) + model_id + _varint(width) + _varint(height)
    return before, _varint(len(streams)) + b"".join(_varint(len(stream)) for stream in streams)


def _tail(boxes: Mapping[str, bytes]) -> bytes:
    """Everything after the stream data."""
    if not boxes:
        return b""
    parts = [_varint(len(boxes))]
    for kind, data in boxes.items():
        parts += [kind.encode("ascii"), _varint(len(data)), data]
    return b"".join(parts)


def _checksum(before: bytes, after: bytes, tail: bytes, symbols: bytes | Iterable[bytes]) -> int:
    crc = zlib.crc32(tail, zlib.crc32(after, zlib.crc32(before)))
    for chunk in [symbols] if isinstance(symbols, bytes | bytearray | memoryview) else symbols:
        crc = zlib.crc32(chunk, crc)
    return crc


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _is_box_type(kind: str) -> bool:
    return kind.isascii() and _BOX_TYPE.fullmatch(kind.encode("ascii")) is not None
