"""Figures: pictures side by side, pixels as they are."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ganic.pages.figure import GAP, LINE, Panel, figure


def test_panels_stand_row_by_row_as_they_are() -> None:
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (40, 200, 3), dtype=np.uint8)) for _ in range(3)]
    sheet = figure([Panel(f"codec {i}", "0.1 bpp", picture) for i, picture in enumerate(pictures)], 2)
    above = 2 * LINE + GAP // 2
    assert sheet.size == (3 * GAP + 2 * 200, 2 * (above + 40 + GAP))
    values = np.asarray(sheet)
    for number, picture in enumerate(pictures):
        top, left = number // 2 * (above + 40 + GAP), GAP + number % 2 * (200 + GAP)
        assert (values[top + above : top + above + 40, left : left + 200] == np.asarray(picture)).all()
        for line in range(2):  # something is written on both
            text = values[top + line * LINE + 4 : top + (line + 1) * LINE + 4, left : left + 200]
            assert text.min() < 120 and text.max() == 255
    assert (values[above + 40 + GAP :, GAP + 200 :] == 255).all()  # no fourth panel


def test_panels_have_one_size() -> None:
    with pytest.raises(ValueError, match="sizes"):
        figure([Panel("a", "", Image.new("RGB", (4, 4))), Panel("b", "", Image.new("RGB", (4, 5)))], 2)
