"""Probability tables of latents: those of rounded Laplace variables before a model has seen any, and what
symbols cost with tables."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ganic.entropy import MAX_SUPPORT, TOTAL, SymbolTables, laplacian_tables
from ganic.ganz.latent_coder import LEVELS, RATIO, SMALLEST_SCALE

TAIL = 2.0**-18
"""What the supports leave outside: little, because in a search a symbol that is clipped is an error."""

BEYOND = 4.0
"""Bits that every integer outside a table costs more than the one before: a slope that leads back."""


def scales() -> list[float]:
    """The standard deviations of tables 1 to 64."""
    return [SMALLEST_SCALE * RATIO**k for k in range(LEVELS)]


def laplace_tables() -> SymbolTables:
    """Table 0 certain of zero, then one table per scale.

    For use when a model is made, never when one is loaded; see `ganic.entropy.laplacian_tables`.
    """
    return with_certain_zero(laplacian_tables(scales(), tail=TAIL))


def with_certain_zero(tables: SymbolTables) -> SymbolTables:
    """The same tables behind a table 0 that is certain of the symbol 0."""
    return SymbolTables(np.insert(tables.counts, 0, TOTAL), np.insert(tables.supports, 0, 0))


def without_certain_zero(tables: SymbolTables) -> SymbolTables:
    """The inverse of `with_certain_zero`."""
    return SymbolTables(tables.counts[1:], tables.supports[1:])


def code_lengths(tables: SymbolTables) -> NDArray[np.float64]:
    """Bits of the magnitudes 0 .. MAX_SUPPORT + 1 with each table [tables, magnitudes]."""
    magnitudes = np.arange(MAX_SUPPORT + 2)
    rows = []
    for index, support in enumerate(tables.supports.tolist()):
        bits = tables.lengths(np.arange(support + 1), np.full(support + 1, index))  # tables are symmetric
        rows.append(bits[np.minimum(magnitudes, support)] + BEYOND * np.maximum(0, magnitudes - support))
    return np.array(rows)
