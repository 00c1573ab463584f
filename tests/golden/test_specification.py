"""A second decoder, written from the specification's text alone: loops over integers, no float, no tricks."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ganic import bitstream, models
from ganic.entropy import SymbolDecoder, SymbolTables
from ganic.extreme.codec import Codec

HERE = Path(__file__).parent
FILES = [
    path
    for path in sorted(HERE.rglob("*.ganic"))
    if "AREA" not in bitstream.read_header(path.read_bytes()).box_lengths
]

Numbers = NDArray[np.int64]


def layer(tensors: dict[str, Numbers], name: str, x: Numbers, band: int | None = None) -> Numbers:
    """``floor((a * multiplier + 2**(shift - 1)) / 2**shift)`` of x [channels, rows, columns]."""
    weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
    shift, side = int(tensors[f"{name}.shift"][0]), weight.shape[2]
    _, rows, columns = x.shape
    padded = np.pad(x, ((0, 0), (side // 2, side // 2), (side // 2, side // 2)))
    sums = np.zeros((len(weight), rows, columns), np.int64)
    for i in range(side):
        for j in range(side):
            sums += np.einsum("oc,chw->ohw", weight[:, :, i, j], padded[:, i : i + rows, j : j + columns])
    sums += (bias if band is None else bias[band])[:, None, None]
    return (sums * tensors[f"{name}.multiplier"][:, None, None] + 2 ** (shift - 1)) >> shift


def activated(x: Numbers) -> Numbers:
    return np.clip(x, 0, 255)


def doubled(x: Numbers) -> Numbers:
    return x.repeat(2, 1).repeat(2, 2)


def cuts(length: int) -> list[int]:
    """Ceil(n / 128) parts, cut at the multiples of 4 nearest to equal parts, the larger of two as near."""
    parts = -(-length // 128)
    return [0, *(4 * int(np.floor(i * length / parts / 4 + 0.5)) for i in range(1, parts)), length]


def decode_tile(
    tensors: dict[str, Numbers], tables: SymbolTables, stream: bytes, rows: int, columns: int, quality: int
) -> tuple[Numbers, list[Numbers]]:
    """Latents [channels, rows, columns] in 1/16, and the symbols as they are listed."""
    decoder, band, listed = SymbolDecoder(tables, stream), quality // 4, []
    mean, index = tensors["hyper_mean"][band], tensors["hyper_index"][band]
    grid = -(-rows // 4), -(-columns // 4)
    which = np.broadcast_to(index[:, None, None], (len(index), *grid))
    symbols = decoder.get(which.ravel()).astype(np.int64)
    listed.append(symbols)
    z = mean[:, None, None] + 16 * symbols.reshape(which.shape)

    x = activated(layer(tensors, "hyper_decoder.first", np.clip(z, -255, 255)))
    x = activated(layer(tensors, "hyper_decoder.second", doubled(x)))
    x = activated(layer(tensors, "hyper_decoder.third", doubled(x), band))
    psi = x[:, :rows, :columns]

    channels = len(tensors["passes.0.head.weight"]) // 2
    group = channels // 4
    latent, known = np.zeros((2, channels, rows, columns), np.int64)
    for number in range(4):
        seen = psi
        if number:
            seen = np.concatenate([psi, activated(layer(tensors, f"passes.{number}.context", known))])
        for name in ("first", "second"):
            seen = activated(layer(tensors, f"passes.{number}.{name}", seen))
        head = layer(tensors, f"passes.{number}.head", seen)
        means = np.clip(head[:channels], -4095, 4095)
        indices = np.clip(head[channels:], 0, tables.n_tables - 1)
        places = [
            (channel, row, column)
            for parity in range(4)
            for row in range(parity // 2, rows, 2)
            for column in range(parity % 2, columns, 2)
            for channel in range((number ^ parity) * group, ((number ^ parity) + 1) * group)
        ]
        where = tuple(np.array(places).T)
        symbols = decoder.get(indices[where]).astype(np.int64)
        listed.append(symbols)
        latent[where] = means[where] + 16 * symbols
        known[where] = np.clip((latent[where] + 2) // 4, -255, 255)
    if "shade_index" in tensors:
        which = np.broadcast_to(tensors["shade_index"][band][:, None, None], (3, *grid))
        listed.append(decoder.get(which.ravel()).astype(np.int64))
    decoder.finish()
    return latent, listed


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_text_is_enough_to_decode_every_symbol(path: Path) -> None:
    model = models.load(path.parent / "tiny.safetensors")
    tensors = {
        name.removeprefix("prior."): value.astype(np.int64)
        for name, value in model.tensors.items()
        if name.startswith("prior.")
    }
    parts = ("counts", "supports", "excess")
    tables = SymbolTables(*(tensors[f"tables.{part}"] for part in parts if f"tables.{part}" in tensors))
    container = bitstream.unpack(path.read_bytes())
    quality, listed = container.streams[0][0], [container.streams[0][:1]]
    streams = [container.streams[0][1:], *container.streams[1:]]
    rows, columns = cuts(-(-container.height // 16)), cuts(-(-container.width // 16))
    tiles = [(a, b, c, d) for a, b in pairwise(rows) for c, d in pairwise(columns)]
    assert len(tiles) == len(streams)
    expected = Codec.load(path.parent / "tiny.safetensors").symbols(path.read_bytes())
    for (top, bottom, left, right), stream, known in zip(tiles, streams, expected, strict=True):
        latent, symbols = decode_tile(tensors, tables, stream, bottom - top, right - left, quality)
        assert np.array_equal(latent.transpose(1, 2, 0), known.latent)
        listed += [part.astype("<i2").tobytes() for part in symbols]
    container.check(listed)
