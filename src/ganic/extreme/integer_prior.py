"""The entropy model as it runs: integers only, the same numbers on every machine.

The trained network of :mod:`ganic.extreme.prior`, exported to 8-bit weights, is evaluated here with matrix
products of integers (:mod:`ganic.byte_products`): of bytes where the processor is made for them, else with
float32 products whose operands and partial sums are all integers below 2**24.  float32 represents those
exactly, so neither the order of summation, nor fused multiply-adds, nor the number of threads, nor the BLAS
in use can change a result.  (The operands even have 8 bits at most, so products taken in bfloat16 or TF32 and
added in float32, as some settings ask for, are the same too.)  Rescaling is done in float64 on integers below
2**42, again exactly.  The bound is checked when a model is loaded, not assumed.

Symbols are listed and coded in this order (part of the file format), the hyper-latent's at once, each pass's
at once and shades at once, which :mod:`ganic.entropy` then sorts by table:

1. hyper-latent symbols, index order [channel, row, column];
2. for pass p = 0..3, for parity f = 0..3 (f = 2 * (row % 2) + column % 2), the channel group ``p XOR f`` of
   the positions with that parity, index order [row, column, channel];
3. of models that have ``shade_index``, the shades (:mod:`ganic.extreme.shades`) of the hyper-latent's
   positions, index order [colour, row, column].

Positions that an :class:`~ganic.extreme.allocation.Allocation` does not code have no symbols and latent 0,
and so has a hyper-latent position all of whose sixteen are such; the quality of a hyper-latent position is
the best of its coded ones.

Tables and latents follow from the model's tensors in this way (part of the file format).  A *layer* has 1x1
or 3x3 weights and zeros beyond the borders; of the sum ``a`` of its products and its bias it makes
``floor((a * multiplier + 2**(shift - 1)) / 2**shift)``, and *activated* clips that to 0..255.  Latents y,
means and hyper-latents z are in units of 1/16; q is a quality index and q // 4 its band.

- z = mean + 16 symbol, 0 where not coded; mean and table are those of ``hyper_mean`` and ``hyper_index`` for
  the band of the hyper-latent position and the channel.
- psi: z clipped to +-255; first layer, activated; every position doubled in both directions; second layer,
  activated; doubled again; third layer with the biases of the band of every position's q, coded or not,
  activated.  All this on the hyper-latent's grid, a multiple of four positions, to which q is extended by
  repeating its last row and column; then the tile's rows and columns of it.
- Pass p sees at each position psi, and for p > 0 after it its context layer, activated, which runs over
  ``clip(floor((y + 2) / 4), -255, 255)`` of the latents of passes before, 0 for all others and beyond the
  tile.  First and second layer, activated; the head, not activated: its first half are means, clipped to
  +-4095, its second half the tables, clipped to those there are, both for all channels of the latent.
- y = mean + 16 symbol.
- The table of a shade is that of ``shade_index`` for the band of its position and its colour.
- Symbols go as far beyond their tables as the model's counts of the excess allow; not at all where it has
  none.

Arrays of this module are numpy, channels last: [height, width, channels].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ganic.byte_products import ExactMatrix, Integers, in_bytes
from ganic.entropy import SymbolDecoder, SymbolEncoder, SymbolTables
from ganic.errors import ModelFormatError
from ganic.extreme.allocation import Allocation

GRID = 16
GROUPS = 4
ACTIVATION_MAX = 255
ACCUMULATOR_LIMIT = 2**24
MEAN_LIMIT = 4095
BAND_SIZE, BANDS = 4, 64
"""Quality indices per band of the hyper-latent prior, and how many bands there are."""
COLOURS = 3
"""Of shades."""
MAX_SCALES = 256
"""Scale indices are bytes."""

Bytes = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
Int16 = npt.NDArray[np.int16]
Int32 = npt.NDArray[np.int32]
Index = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Coder = Callable[[int, Int32, Index], Int16]
"""Given the pass, means [n] in 1/16 and scale indices [n]: the symbols [n], from a stream or from a
latent."""


def blocks(number: int, channels: int) -> tuple[tuple[slice, slice, slice], ...]:
    """What pass ``number`` codes, in order: index expressions into [height, width, channels], one per
    parity."""
    size = channels // GROUPS
    return tuple(
        (slice(parity // 2, None, 2), slice(parity % 2, None, 2), slice(group * size, (group + 1) * size))
        for parity in range(GROUPS)
        for group in [number ^ parity]
    )


class Layer:
    """One integer convolution: ``y = floor((acc * multiplier + 2**(shift - 1)) / 2**shift)``, size 1 or 3,
    zero padding."""

    def __init__(self, tensors: Mapping[str, npt.NDArray[Any]], name: str) -> None:
        weight = _tensor(tensors, f"{name}.weight", np.int8, 4)
        bias = _tensor(tensors, f"{name}.bias", np.int32, None)
        multiplier = _tensor(tensors, f"{name}.multiplier", np.int32, 1)
        shift = int(_tensor(tensors, f"{name}.shift", np.int32, 1)[0])
        outputs, _, size, _ = weight.shape
        if size not in (1, 3) or bias.shape[-1] != outputs or multiplier.shape != (outputs,):
            raise ModelFormatError(f"{name}: tensors of inconsistent shapes; the model file is damaged")
        products = np.abs(weight.astype(np.int64)).sum((1, 2, 3)) * ACTIVATION_MAX
        worst = int(products.max(initial=0)) + int(np.abs(bias.astype(np.int64)).max(initial=0))
        if worst >= ACCUMULATOR_LIMIT or not 1 <= shift <= 40:
            raise ModelFormatError(
                f"{name}: sums could reach 2**24, so decoding would not be exact; export it again"
            )
        if not ((multiplier >= 0) & (multiplier < 2**17)).all():
            raise ModelFormatError(f"{name}: a multiplier is outside 0..131071; export the model again")
        self.size = size
        self.weight: npt.NDArray[np.int8] = weight.transpose(2, 3, 1, 0).reshape(-1, outputs)
        factor = multiplier.astype(np.float64) * 2.0**-shift
        self.factor = torch.from_numpy(factor)
        self.offset = torch.from_numpy(bias * factor + 0.5)

    @cached_property
    def matrix(self) -> ExactMatrix:
        """Of all outputs."""
        return ExactMatrix(self.weight)

    def accumulate(self, x: Integers) -> Float32:
        """[h, w, inputs] -> [h, w, outputs] sums, without bias."""
        numbers, zero = in_bytes(x)
        seen = _neighbourhoods(numbers, zero) if self.size == 3 else numbers
        return _sums(seen, self.matrix, zero)

    def rescale(self, sums: Float32, offset: torch.Tensor | None = None) -> torch.Tensor:
        """Sums without bias -> float64 whose whole part is on the next layer's grid, not yet clipped."""
        return _rescaled(sums, self.factor, self.offset if offset is None else offset)

    def activate(self, x: Integers, offset: torch.Tensor | None = None) -> Bytes:
        """The layer followed by rectification to 0..255.  ``offset``: of every position, where the layer has
        several."""
        scaled = self.rescale(self.accumulate(x), offset=offset)
        return _clipped(scaled, ACTIVATION_MAX)


class ContextLayer(Layer):
    """The 3x3 layer of pass ``number``, over latents in the order of the passes.

    That is, channels [p * group, (p + 1) * group) of a position are those that pass p codes there.  What a
    pass can see of a position are then the first ``number`` of these groups, whatever its parity, and the
    rest of the arithmetic, on zeros, is left out.
    """

    def __init__(self, tensors: Mapping[str, npt.NDArray[Any]], name: str, number: int) -> None:
        super().__init__(tensors, name)
        latent = len(self.weight) // 9
        size = latent // GROUPS
        self.known = number * size
        self.by_parity = []  # of the output
        for parity in range(GROUPS):
            rows = [
                tap * latent + (p ^ parity ^ seen) * size + np.arange(size)
                for tap, seen in enumerate((3, 2, 3, 1, 0, 1, 3, 2, 3))  # by how much a neighbour's differs
                for p in range(number)
            ]
            self.by_parity.append(ExactMatrix(self.weight[np.concatenate(rows)]))

    def accumulate(self, x: Integers) -> Float32:
        height, width, _ = x.shape
        numbers, zero = in_bytes(x[:, :, : self.known])
        seen = _neighbourhoods(numbers, zero)
        sums = np.empty((height, width, self.weight.shape[1]), dtype=np.float32)
        for parity, matrix in enumerate(self.by_parity):
            at = slice(parity // 2, None, 2), slice(parity % 2, None, 2)
            sums[at] = _sums(seen[at], matrix, zero)
        return sums


class HeadLayer(Layer):
    """The last layer of a pass: means and scale indices.  A position needs those of one channel group."""

    def __init__(self, tensors: Mapping[str, npt.NDArray[Any]], name: str) -> None:
        super().__init__(tensors, name)
        latent = self.weight.shape[1] // 2
        self.group = latent // GROUPS
        self.by_group = []
        for number in range(GROUPS):
            means = np.arange(number * self.group, (number + 1) * self.group)
            columns = np.concatenate([means, latent + means])
            parts = self.factor[columns], self.offset[..., columns]
            self.by_group.append((ExactMatrix(self.weight[:, columns]), *parts))

    def of_group(self, number: int, x: Bytes) -> tuple[torch.Tensor, torch.Tensor]:
        """Of one channel group at n positions [n, inputs]: means and scale indices [n, group] as `rescale`
        gives them."""
        matrix, factor, offset = self.by_group[number]
        both = _rescaled(matrix(x), factor, offset)
        return both[:, : self.group], both[:, self.group :]


def _neighbourhoods(x: Integers, zero: int) -> Integers:
    """[h, w, c] -> a view [h, w, 3, 3, c] of every position's neighbours, ``zero`` beyond the borders."""
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)), constant_values=zero)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))
    return windows.transpose(0, 1, 3, 4, 2)


def _sums(x: Integers, matrix: ExactMatrix, zero: int) -> Float32:
    """[h, w, ...] times a matrix [inputs, outputs] -> [h, w, outputs]."""
    height, width = x.shape[:2]
    sums = matrix(x.reshape(height * width, matrix.shape[0]), zero)
    return sums.reshape(height, width, sums.shape[1])


def _rescaled(sums: Float32, factor: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    """``sums * factor + offset``."""
    # The factor and every number here are multiples of 2**-shift with at most 42 bits: exact, and so in any
    # order.
    return torch.addcmul(offset, torch.from_numpy(sums), factor)


def _clipped(scaled: torch.Tensor, most: int) -> Bytes:
    """floor, clipped to 0..``most``. Overwrites its input."""
    # What is not negative is rounded down by the conversion.
    numbers: Bytes = scaled.clamp_(0, most).to(torch.uint8).numpy()
    return numbers


def _taken(x: npt.NDArray[Any], part: Mask | None) -> npt.NDArray[Any]:
    """[h, w, c] -> [n, c], of the positions that are coded; None: of all."""
    return x.reshape(-1, x.shape[2]) if part is None else x[part]


def _put(values: npt.NDArray[Any], x: npt.NDArray[Any], part: Mask | None) -> None:
    """The inverse: [n, c] into [h, w, c]."""
    if part is None:
        x[...] = values.reshape(x.shape)
    else:
        x[part] = values


def _tensor(
    tensors: Mapping[str, npt.NDArray[Any]], name: str, dtype: type, ndim: int | None
) -> npt.NDArray[Any]:
    value = tensors.get(name)
    if value is None or value.dtype != dtype or (ndim is not None and value.ndim != ndim):
        raise ModelFormatError(
            f"{name}: missing or of the wrong type; the model file is damaged or of another system"
        )
    return value


def _twice(x: Bytes) -> Bytes:
    return x.repeat(2, axis=0).repeat(2, axis=1)


class IntegerPrior:
    """Codes the latents of one tile; see the module's docstring.

    Args:
        tensors: the ``prior.*`` tensors of a model file, the prefix removed.
        price: what a bit of the latent is worth when its symbols are chosen, in squared steps.

    Raises:
        ModelFormatError: a tensor is missing or could make arithmetic inexact.
    """

    def __init__(self, tensors: Mapping[str, npt.NDArray[Any]], price: float = 0.0) -> None:
        self.price = price
        self.decoder = [Layer(tensors, f"hyper_decoder.{n}") for n in ("first", "second", "third")]
        self.context: list[ContextLayer | None] = [None]
        self.context += [ContextLayer(tensors, f"passes.{p}.context", p) for p in range(1, GROUPS)]
        self.first = [Layer(tensors, f"passes.{p}.first") for p in range(GROUPS)]
        self.second = [Layer(tensors, f"passes.{p}.second") for p in range(GROUPS)]
        self.head = [HeadLayer(tensors, f"passes.{p}.head") for p in range(GROUPS)]
        self.hyper_mean: Int32 = _tensor(tensors, "hyper_mean", np.int16, 2).astype(np.int32)
        self.hyper_index: Index = _tensor(tensors, "hyper_index", np.uint8, 2).astype(np.uint8)
        self.shade_index: Index | None = None
        if "shade_index" in tensors:  # the first twelve releases had none
            self.shade_index = _tensor(tensors, "shade_index", np.uint8, 2)
        counts = _tensor(tensors, "tables.counts", np.int32, 1)
        supports = _tensor(tensors, "tables.supports", np.int16, 1)
        excess = [_tensor(tensors, "tables.excess", np.int32, 1)] if "tables.excess" in tensors else []
        self.tables = SymbolTables(counts, supports, *excess)  # the first seven releases had no excess
        self.scales = self.tables.n_tables
        self.latent = self.head[0].weight.shape[1] // 2
        self.hyper = self.hyper_mean.shape[1]
        banded = self.hyper_mean.shape == self.hyper_index.shape == (BANDS, self.hyper)
        banded = banded and self.decoder[2].offset.shape[:1] == (BANDS,)
        tables = [self.hyper_index]
        if self.shade_index is not None:
            banded = banded and self.shade_index.shape == (BANDS, COLOURS)
            tables.append(self.shade_index)
        few = self.scales <= MAX_SCALES and max(int(t.max(initial=0)) for t in tables) < self.scales
        if self.latent % GROUPS or not (banded and few):
            raise ModelFormatError(
                "prior: tables and layers do not belong together; the model file is damaged"
            )

    def _features(self, hyper: Int32, area: Allocation) -> Bytes:
        """z-hat in 1/16 [hyper, h/4, w/4] -> psi [height, width, features]."""
        z = np.clip(hyper, -ACTIVATION_MAX, ACTIVATION_MAX).astype(np.int16).transpose(1, 2, 0)
        first, second, third = self.decoder
        x = first.activate(z)
        x = second.activate(_twice(x))
        bands = torch.from_numpy((area.padded() // BAND_SIZE).astype(np.int64))
        x = third.activate(_twice(x), third.offset[bands])
        height, width = area.shape
        return x[:height, :width]

    def _walk(self, psi: Bytes, area: Allocation, code: Coder) -> Int32:
        """The four passes; returns the latent y-hat in 1/16 [height, width, latent], 0 where not coded."""
        height, width, _ = psi.shape
        known = np.zeros((height, width, self.latent), dtype=np.int16)  # in the order of the passes
        group = self.latent // GROUPS
        latent = np.zeros((height, width, self.latent), dtype=np.int32)
        for number in range(GROUPS):
            context, head = self.context[number], self.head[number]
            x = psi if context is None else np.concatenate([psi, context.activate(known)], axis=2)
            x = self.second[number].activate(self.first[number].activate(x))
            places = self._places(number, area)
            outputs = [
                self._head(head, _taken(x[rows, columns], part), channels.start // group)
                for (rows, columns, channels), part in places
            ]
            mean = np.concatenate([mean.ravel() for mean, _ in outputs])
            index = np.concatenate([index.ravel() for _, index in outputs])
            value = mean + GRID * code(number, mean, index).astype(np.int32)
            start = 0
            for (block, part), (shaped, _) in zip(places, outputs, strict=True):
                coded_now = value[start : start + shaped.size].reshape(shaped.shape)
                _put(coded_now, latent[block], part)
                # Contexts see a quarter of a latent: floor((16 y + 2) / 4), within +-255.
                seen = np.clip((coded_now + 2) >> 2, -ACTIVATION_MAX, ACTIVATION_MAX)
                _put(seen, known[block[0], block[1], number * group : (number + 1) * group], part)
                start += shaped.size
        return latent

    def _places(self, number: int, area: Allocation) -> list[tuple[tuple[slice, slice, slice], Mask | None]]:
        """The `blocks` of a pass, and which of their positions are coded; None: all, as in most tiles, where
        masks would only take time."""
        whole = bool(area.coded.all())
        found = blocks(number, self.latent)
        return [(block, None if whole else area.coded[block[:2]]) for block in found]

    def _head(self, head: HeadLayer, x: Bytes, group: int) -> tuple[Int32, Index]:
        """Mean and scale index [n, channels of a group] of one channel group at n positions [n, hidden]; the
        other groups are not computed."""
        mean, index = head.of_group(group, x)
        means: Int32 = mean.floor_().clamp_(-MEAN_LIMIT, MEAN_LIMIT).to(torch.int32).numpy()
        return means, _clipped(index, self.scales - 1)

    def _quantise(self, value: Float32, mean: Int32, index: Index, price: float = 0.0) -> Int16:
        """The nearest symbol that the table can code, or its neighbour towards 0 where the bits that it saves
        are worth more than the squared error that it adds."""
        offset = value - mean.astype(np.float32) / GRID
        symbols = self.tables.clip(np.rint(offset), index)
        if price:
            some = np.flatnonzero(symbols)
            nearest, offset, index = symbols[some], offset[some], index[some]
            lower = nearest - np.sign(nearest)
            saved = self.tables.lengths(nearest, index) - self.tables.lengths(lower, index)
            added = (offset - lower) ** 2 - (offset - nearest) ** 2
            symbols[some] = np.where(price * saved > added, lower, nearest)
        return symbols

    def quantise(
        self, latent: Float32, hyper: Float32, area: Allocation, price: float | None = None
    ) -> Quantised:
        """Choose the symbols of one tile, but for shades.

        Args:
            latent: gained latent [height, width, latent].
            hyper: hyper-latent [hyper, ceil(height / 4), ceil(width / 4)].
            area: what each position gets, [height, width].
            price: in place of the model's.
        """
        price = self.price if price is None else price

        def code(number: int, mean: Int32, index: Index) -> Int16:
            value = [_taken(latent[block], part).ravel() for block, part in self._places(number, area)]
            return self._quantise(np.concatenate(value), mean, index, price)

        def code_hyper(mean: Int32, index: Index) -> Int16:
            return self._quantise(hyper[:, area.coarse().coded].ravel(), mean, index)

        return self._code(area, code_hyper, code)

    def _code(self, area: Allocation, code_hyper: Callable[[Int32, Index], Int16], code: Coder) -> Quantised:
        """Everything in coding order; the two coders make or read the symbols."""
        coarse = area.coarse()
        bands = coarse.quality[coarse.coded] // BAND_SIZE
        mean, index = self.hyper_mean[bands].T, self.hyper_index[bands].T  # [hyper, coded positions]
        symbols, indices = [code_hyper(mean.ravel(), index.ravel())], [index.ravel()]

        def keep(number: int, mean: Int32, index: Index) -> Int16:
            symbols.append(code(number, mean, index))
            indices.append(index)
            return symbols[-1]

        hyper = np.zeros((self.hyper, *coarse.shape), dtype=np.int32)
        hyper[:, coarse.coded] = mean + GRID * symbols[0].reshape(mean.shape).astype(np.int32)
        latent = self._walk(self._features(hyper, area), area, keep)
        return Quantised(latent=latent, symbols=tuple(symbols), indices=tuple(indices))

    def with_shades(self, quantised: Quantised, values: Float32, area: Allocation, price: float) -> Quantised:
        """Choose the shades of a tile of a model that has them.

        Args:
            values: in steps [3, ceil(height / 4), ceil(width / 4)].
            price: what a bit is worth, in squared steps.
        """
        value = values[:, area.coarse().coded].ravel()

        def code(index: Index) -> Int16:
            return self._quantise(value, np.zeros(value.shape, dtype=np.int32), index, price)

        return self._shaded(quantised, area, code)

    def _shaded(self, quantised: Quantised, area: Allocation, code: Callable[[Index], Int16]) -> Quantised:
        """With shades, which ``code`` makes or reads, given their tables."""
        assert self.shade_index is not None
        coarse = area.coarse()
        index = self.shade_index[coarse.quality[coarse.coded] // BAND_SIZE].T.ravel()
        symbols = code(index)
        shades = np.zeros((COLOURS, *coarse.shape), dtype=np.int16)
        shades[:, coarse.coded] = symbols.reshape(COLOURS, -1)
        return Quantised(quantised.latent, (*quantised.symbols, symbols), (*quantised.indices, index), shades)

    def on_grid(self, quantised: Quantised, area: Allocation) -> tuple[Int16, Index]:
        """A latent's symbols and their tables where they belong, [height, width, latent]; 0 where not
        coded."""
        symbols = np.zeros((*area.shape, self.latent), dtype=np.int16)
        tables = np.zeros((*area.shape, self.latent), dtype=np.uint8)
        for number in range(GROUPS):
            start = 0
            for block, part in self._places(number, area):
                shape = _taken(symbols[block], part).shape
                stop = start + shape[0] * shape[1]
                _put(quantised.symbols[1 + number][start:stop].reshape(shape), symbols[block], part)
                _put(quantised.indices[1 + number][start:stop].reshape(shape), tables[block], part)
                start = stop
        return symbols, tables

    def bits(self, quantised: Quantised) -> float:
        """Ideal code length of a tile."""
        return self.tables.bits(np.concatenate(quantised.symbols), np.concatenate(quantised.indices))

    def write(self, quantised: Quantised) -> bytes:
        """The tile's stream."""
        encoder = SymbolEncoder(self.tables)
        for symbols, index in quantised.parts():
            encoder.put(symbols, index)
        return encoder.finish()

    def read(self, data: bytes, area: Allocation) -> Quantised:
        """Inverse of :meth:`write` for a tile.

        Raises:
            CorruptError: the stream is not one that an encoder writes.
        """
        decoder = SymbolDecoder(self.tables, data)
        quantised = self._code(
            area, lambda _, index: decoder.get(index), lambda _, __, index: decoder.get(index)
        )
        if self.shade_index is not None:
            quantised = self._shaded(quantised, area, decoder.get)
        decoder.finish()
        return quantised


@dataclass(frozen=True)
class Quantised:
    """One tile's latent and the symbols that say it."""

    latent: Int32
    """y-hat in 1/16, [height, width, latent]."""
    symbols: tuple[Int16, ...]
    """In coding order: the hyper-latent's, then one array per pass, then shades, where there are any."""
    indices: tuple[Index, ...]
    """The table of each symbol."""
    shades: Int16 | None = None
    """In steps [3, ceil(height / 4), ceil(width / 4)], 0 where not coded."""

    def parts(self) -> Iterator[tuple[Int16, Index]]:
        """What is put into the stream at once: the hyper-latent, each pass, shades."""
        return zip(self.symbols, self.indices, strict=True)

    def canonical(self) -> bytes:
        """The bytes that the file's checksum covers: int16, little-endian, in coding order."""
        return np.concatenate(self.symbols).astype("<i2").tobytes()
