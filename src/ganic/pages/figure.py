"""Pictures side by side with what they are written above, as one picture: for papers and READMEs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

GAP = 12
"""Pixels between panels and around them."""
LINE = 20
"""Height of a line of text in pixels."""


@dataclass(frozen=True)
class Panel:
    """One picture and the one or two lines above it."""

    title: str
    note: str
    picture: Image.Image


def figure(panels: Sequence[Panel], columns: int) -> Image.Image:
    """Panels on white, row by row, pixels as they are; mode RGB.

    Raises ValueError for no panels, or for pictures of several sizes.
    """
    sizes = {panel.picture.size for panel in panels}
    if len(sizes) != 1:
        raise ValueError(f"panels have the sizes {sorted(sizes)}; they must have one")
    ((width, height),) = sizes
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    above = 2 * LINE + GAP // 2
    across, down = width + GAP, above + height + GAP
    sheet = Image.new("RGB", (GAP + columns * across, rows * down), "white")
    draw = ImageDraw.Draw(sheet)
    title_font, note_font = ImageFont.load_default(16), ImageFont.load_default(13)
    for number, panel in enumerate(panels):
        left, top = GAP + number % columns * across, number // columns * down
        draw.text((left, top + 4), panel.title, "black", title_font)
        draw.text((left, top + 4 + LINE), panel.note, "#555555", note_font)
        sheet.paste(panel.picture, (left, top + above))
    return sheet
