"""Label maps: bytes and milliseconds against PNG, lossless WebP, lossless JPEG XL and a chain-code bound.

    python benchmarks/labels.py DIR [STEP]     # every STEPth map of DIR; all by default

DIR holds indexed or grey PNG files. Every coder gets the numbers of the classes only, no metadata, and its
best setting for each map:

- PNG: Pillow with optimize, and zlib level 9 over each of the five filter types with the fewest bits per
  pixel and with 8; the smallest, with PNG's own chunks.
- WebP: Pillow, lossless, quality 100, method 6, with the classes as grey, in green alone, or spread over the
  grey levels. (Lossless WebP gathers up to 16 colours into a palette of packed pixels itself.)
- JPEG XL: lossless, effort 9, grey, if imagecodecs is installed.
- Chain codes: not a coder but what none of them can go below: for each map the entropy of its outlines'
  turns (straight, left, right) given the two before, by the map's own statistics, which a decoder would not
  know. It leaves out where outlines begin, how they meet, and all labels.

Times are of this process's CPU on one core. Our maps are decoded and compared.
"""

from __future__ import annotations

import importlib
import io
import math
import sys
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganic.labels import decode, encode, read, simplify

Labels = NDArray[np.uint8]
RADII = (1, 2, 4)


def png_bytes(labels: Labels) -> int:
    height = len(labels)
    palette = Image.fromarray(labels).convert("L")
    palette.putpalette([level for level in range(256) for _ in range(3)])
    sizes = []
    for image in (Image.fromarray(labels), palette):
        file = io.BytesIO()
        image.save(file, "PNG", optimize=True)
        sizes.append(len(file.getvalue()))
    most = int(labels.max())
    depth = next(depth for depth in (1, 2, 4, 8) if most < 1 << depth)
    frame = 8 + 25 + 12 + 12  # signature, IHDR, and the frames of IDAT and IEND
    for bits, plte in ((8, 0), (depth, 12 + 3 * (most + 1))):
        packed = np.packbits(
            np.unpackbits(labels[:, :, None], axis=2)[:, :, 8 - bits :].reshape(height, -1), axis=1
        )
        for kind in range(5):
            rows = filtered(packed, kind)
            body = zlib.compress(np.insert(rows, 0, kind, axis=1).tobytes(), 9)
            sizes.append(frame + (plte if bits < 8 else 0) + len(body))
    return min(sizes)


def filtered(rows: Labels, kind: int) -> Labels:
    """PNG's filters 0 none, 1 sub, 2 up, 3 average, 4 Paeth, one byte per pixel."""
    padded = np.pad(rows, ((1, 0), (1, 0))).astype(np.int16)
    a, b, c = padded[1:, :-1], padded[:-1, 1:], padded[:-1, :-1]
    p = a + b - c
    near_a = (abs(p - a) <= abs(p - b)) & (abs(p - a) <= abs(p - c))
    paeth = np.where(near_a, a, np.where(abs(p - b) <= abs(p - c), b, c))
    return (rows - (np.zeros_like(a), a, b, (a + b) // 2, paeth)[kind]).astype(np.uint8)


def webp_bytes(labels: Labels) -> int:
    sizes = []
    for colours in (
        (labels, labels, labels),
        (0 * labels, labels, 0 * labels),
        (labels * (255 // labels.max()),) * 3,
    ):
        file = io.BytesIO()
        Image.fromarray(np.dstack(colours)).save(file, "WEBP", lossless=True, quality=100, method=6)
        sizes.append(len(file.getvalue()))
    return min(sizes)


def jpeg_xl_bytes(labels: Labels) -> float:
    try:
        imagecodecs = importlib.import_module("imagecodecs")
    except ImportError:
        return math.nan
    return len(imagecodecs.jpegxl_encode(labels, lossless=True, effort=9))


def chain_code_bytes(labels: Labels) -> float:
    """The bound that the module docstring describes."""
    # Outlines run between pixels. Steps from each corner: 0 right, 1 down, 2 left, 3 up.
    steps: dict[tuple[int, int], set[int]] = {}
    for y, x in np.argwhere(labels[1:] != labels[:-1]).tolist():
        steps.setdefault((y + 1, x), set()).add(0)
        steps.setdefault((y + 1, x + 1), set()).add(2)
    for y, x in np.argwhere(labels[:, 1:] != labels[:, :-1]).tolist():
        steps.setdefault((y, x + 1), set()).add(1)
        steps.setdefault((y + 1, x + 1), set()).add(3)
    ends = {corner for corner, there in steps.items() if len(there) != 2}
    turns: Counter[tuple[int, int, int]] = Counter()
    for start in [*ends, *steps]:  # first the outlines that end somewhere, then the closed ones
        while steps[start]:
            corner, last, before = start, -1, (0, 0)
            while last < 0 or (corner not in ends and steps[corner]):
                step = steps[corner].pop()
                y, x = corner
                corner = (y + (step == 1) - (step == 3), x + (step == 0) - (step == 2))
                steps[corner].discard((step + 2) % 4)
                if last >= 0:
                    turn = (step - last) % 4
                    turns[(*before, turn)] += 1
                    before = (before[1], turn)
                last = step
    totals: Counter[tuple[int, int]] = Counter()
    for (first, second, _), count in turns.items():
        totals[first, second] += count
    bits = sum(count * math.log2(totals[key[:2]] / count) for key, count in turns.items())
    return bits / 8


def measure(labels: Labels) -> dict[str, float]:
    """Bytes and milliseconds for one map, by the names of the table's rows."""
    start = time.process_time()
    data = encode(labels)
    encoded = time.process_time()
    decoded = decode(data, *labels.shape)
    done = time.process_time()
    if not np.array_equal(decoded, labels):
        raise SystemExit("a map did not survive: report that")
    found: dict[str, float] = {
        "ganic": len(data),
        "encode ms": 1000 * (encoded - start),
        "decode ms": 1000 * (done - encoded),
        "PNG": png_bytes(labels),
        "WebP, lossless": webp_bytes(labels),
        "JPEG XL, lossless": jpeg_xl_bytes(labels),
        "chain codes, bound": chain_code_bytes(labels),
    }
    for radius in RADII:
        start = time.process_time()
        simpler = simplify(labels, radius)
        found[f"simplify ms, radius {radius}"] = 1000 * (time.process_time() - start)
        found[f"ganic, radius {radius}"] = len(encode(simpler))
        found[f"changed %, radius {radius}"] = 100 * float((simpler != labels).mean())
    return found


def report(rows: Sequence[dict[str, float]], pixels: int) -> str:
    """The rows of all maps, as Markdown; ``pixels`` of all maps together."""
    names = ["PNG", "WebP, lossless", "JPEG XL, lossless", "chain codes, bound", "ganic"]
    names += [f"ganic, radius {radius}" for radius in RADII]
    total = {name: sum(row[name] for row in rows) for name in rows[0]}
    lines = [
        f"{len(rows)} maps",
        "",
        "| code | bytes, total | bytes, mean | bits per pixel | of PNG | of WebP | of JPEG XL |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in names:
        ratios = (f"{total[name] / total[other]:.3f}" for other in names[:3])
        size, mean = total[name], total[name] / len(rows)
        lines.append(f"| {name} | {size:.0f} | {mean:.0f} | {8 * size / pixels:.4f} | {' | '.join(ratios)} |")
    lines += ["", "| per map | mean | largest |", "| --- | ---: | ---: |"]
    for name in rows[0]:
        if "ms" in name or "%" in name:
            values = [row[name] for row in rows]
            lines.append(f"| {name} | {sum(values) / len(values):.2f} | {max(values):.2f} |")
    over = [sum(row["ganic"] >= row[other] for row in rows) for other in names[:3]]
    lines += [
        "",
        f"Maps on which ganic needs no fewer bytes than PNG, WebP, JPEG XL: {over[0]}, {over[1]}, {over[2]}",
    ]
    return "\n".join(lines)


def main(folder: str, step: int = 1) -> None:
    rows, pixels = [], 0
    for path in sorted(Path(folder).glob("*.png"))[::step]:
        labels = read(path, "indexed").labels
        rows.append(measure(labels))
        pixels += labels.size
    print(report(rows, pixels))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(sys.argv[1], *map(int, sys.argv[2:]))
