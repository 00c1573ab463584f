"""One HTML file that compares codings of one picture: slider, flicker, linked zoom, and the numbers."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from typing import Literal

from PIL import Image

MAX_PIXELS = 4_000_000
MAX_SIDE = 8192


@dataclass(frozen=True)
class Measure:
    """A column of numbers."""

    key: str
    title: str
    digits: int
    higher_is_better: bool
    unit: str = ""


@dataclass(frozen=True)
class Coding:
    """One coding of the picture, or the original."""

    name: str
    picture: Image.Image
    bytes: int
    """Of the whole file."""
    values: Mapping[str, float | None] = field(default_factory=dict)
    """By the key of their `Measure`; none for the original."""
    note: str = ""
    """What must be known to compare it fairly, e.g. that it is larger than the others."""


def window(width: int, height: int, pixels: int = MAX_PIXELS) -> tuple[int, int, int, int]:
    """The part of a picture that the page shows, as Pillow's crop box: all of it, or so much of its middle.

    Pictures are never reduced, which would hide what the comparison is about.
    """
    shrink = min(1.0, (pixels / (width * height)) ** 0.5)
    wide = max(1, min(int(width * shrink), MAX_SIDE))
    high = max(1, min(int(height * shrink), MAX_SIDE))
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high


def page(
    title: str,
    original: Coding,
    codings: Sequence[Coding],
    measures: Sequence[Measure],
    *,
    lead: str = "",
    remarks: Sequence[str] = (),
    footnote: str = "",
    measured: Literal["whole", "shown"] = "whole",
    pixels: int = MAX_PIXELS,
    icc: bytes | None = None,
) -> str:
    """The HTML text; every argument is plain text. First shown are the first two codings, left and right.

    All pictures have the size of the original. Nothing in the file refers to anything outside it.
    ``measured``: what the codings' values are of, whole pictures or the `window` of ``pixels`` that is shown.
    ``icc``: the profile that all pictures' values mean; None: sRGB.
    """
    box = window(*original.picture.size, pixels)
    shown = (box[2] - box[0], box[3] - box[1])
    everything = [original, *codings]
    described = [
        {
            "name": coding.name,
            "bytes": f"{coding.bytes:,} B",
            "size": f"{coding.bytes:,} bytes · {_bpp(coding, original):.3f} bpp",
            "note": coding.note,
        }
        for coding in everything
    ]
    data = {
        "width": shown[0],
        "height": shown[1],
        "left": 1 if codings else 0,
        "right": 2 if len(codings) > 1 else 0,
        "pictures": described,
    }
    if shown != original.picture.size:
        middle = f"the middle {shown[0]}x{shown[1]} pixels"
        said = {
            "whole": f"Shown is {middle}; all numbers are of the whole picture.",
            "shown": f"Shown and measured is {middle}; bytes are those of the whole file.",
        }
        remarks = [*remarks, said[measured]]
    parts = {
        "title": escape(title),
        "lead": escape(lead),
        "style": _resource("comparison.css"),
        "script": _resource("comparison.js"),
        "table": _table(original, codings, measures),
        "remarks": "\n".join(f'    <p class="remark">{escape(remark)}</p>' for remark in remarks),
        "pictures": "\n".join(
            _figure(index, coding, str(described[index]["size"]), box, icc)
            for index, coding in enumerate(everything)
        ),
        "footnote": escape(footnote),
        # "<" could end the script element.
        "data": json.dumps(data).replace("<", "\\u003c"),
    }
    # One pass, so that nothing inserted is searched for placeholders again.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _resource("comparison.html"))


def _resource(name: str) -> str:
    return files("ganic.pages").joinpath(name).read_text(encoding="utf-8")


def _bpp(coding: Coding, original: Coding) -> float:
    return 8 * coding.bytes / (original.picture.width * original.picture.height)


def _figure(index: int, coding: Coding, size: str, box: tuple[int, int, int, int], icc: bytes | None) -> str:
    picture = coding.picture.crop(box).convert("RGB")
    file = io.BytesIO()
    picture.save(file, "WEBP", lossless=True, quality=50, method=3, icc_profile=icc)
    source = "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")
    return (
        f'    <figure><img id="picture-{index}" alt="{escape(coding.name)}" width="{picture.width}" '
        f'height="{picture.height}" src="{source}">'
        f"<figcaption>{escape(coding.name)}, {escape(size)} {escape(coding.note)}</figcaption></figure>"
    )


def _table(original: Coding, codings: Sequence[Coding], measures: Sequence[Measure]) -> str:
    used = [m for m in measures if any(coding.values.get(m.key) is not None for coding in codings)]
    head = "".join(
        f'<th scope="col">{escape(m.title)}<small>{escape(_direction(m))}</small></th>' for m in used
    )
    best = {m.key: _best(m, codings) for m in used}
    rows = [_row(coding, original, used, best) for coding in codings]
    rows.append(_row(original, original, used, {}))
    return (
        '      <table>\n        <thead><tr><th scope="col">Codec</th><th scope="col">Bytes</th>'
        f'<th scope="col">Bits per pixel</th>{head}</tr></thead>\n        <tbody>\n'
        + "\n".join(rows)
        + "\n        </tbody>\n      </table>"
    )


def _direction(measure: Measure) -> str:
    better = "higher is better" if measure.higher_is_better else "lower is better"
    return f"{measure.unit}, {better}" if measure.unit else better


def _row(
    coding: Coding, original: Coding, measures: Sequence[Measure], best: Mapping[str, float | None]
) -> str:
    note = f"<small>{escape(coding.note)}</small>" if coding.note else ""
    cells = [f"<td>{coding.bytes:,}</td><td>{_bpp(coding, original):.3f}</td>"]
    for measure in measures:
        value = coding.values.get(measure.key)
        text = "" if value is None else f"{value:.{measure.digits}f}"
        chosen = value is not None and value == best.get(measure.key)
        cells.append(f'<td class="best">{text}</td>' if chosen else f"<td>{text}</td>")
    return f'          <tr><th scope="row">{escape(coding.name)}{note}</th>{"".join(cells)}</tr>'


def _best(measure: Measure, codings: Sequence[Coding]) -> float | None:
    """Among the codings without a note: one that took more bytes does not win."""
    values = [
        v for coding in codings if not coding.note and (v := coding.values.get(measure.key)) is not None
    ]
    return (max(values) if measure.higher_is_better else min(values)) if len(values) > 1 else None
