"""Speed and memory of the codec, as ratios to Pillow's AVIF measured in the same run.

    make bench                       # everything; about three minutes
    python benchmarks/run.py speed   # one part: speed, cold, memory

speed   warm encode and decode of a 768x512 picture against AVIF's encode at speed 4 and the same size
cold    `ganic decode` as a whole process, interpreter start included
memory  peak resident memory of encoding and decoding 100 megapixels, each in a process of its own
"""

from __future__ import annotations

import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PHOTO = Path(__file__).parent.parent / "tests" / "data" / "photo.webp"
BPP = 0.1
REPEATS = 7


def seconds(function: Callable[[], object]) -> float:
    """Median of several calls, after one that is not counted."""
    function()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def speed() -> None:
    from PIL import Image

    from ganic.baselines import match_bytes
    from ganic.baselines.classical import avif as avif_baseline
    from ganic.bitstream import unpack
    from ganic.extreme.codec import Codec

    picture = Image.open(PHOTO).convert("RGB").resize((768, 512), Image.Resampling.LANCZOS)
    codec = Codec.load("photo")
    data = codec.encode(picture, target_bpp=BPP)
    quality = unpack(data).streams[0][0] / 255
    matched = match_bytes(avif_baseline(), picture, len(data))
    assert matched is not None

    def avif() -> None:
        picture.save(io.BytesIO(), "AVIF", quality=matched.quality, speed=4)

    base = seconds(avif)
    print(
        f"768x512 at {8 * len(data) / 768 / 512:.3f} bpp, {codec.dtype}; AVIF speed 4 encode = 1 "
        f"({base * 1e3:.0f} ms)"
    )
    for name, function in (
        ("encode, quality given", lambda: codec.encode(picture, quality=quality)),
        ("encode, target size searched", lambda: codec.encode(picture, target_bpp=BPP)),
        ("encode, fitted in 8 steps", lambda: codec.encode(picture, quality=quality, steps=8)),
        ("decode", lambda: codec.decode(data)),
        ("verify", lambda: codec.verify(data)),
    ):
        print(f"  {name:30s} {seconds(function) / base:6.2f} x")


def cold() -> None:
    import ganic

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "photo.ganic"
        source.write_bytes(ganic.encode(PHOTO, target_bpp=BPP))
        command = [
            sys.executable,
            "-m",
            "ganic",
            "decode",
            str(source),
            "-o",
            str(Path(folder) / "photo.png"),
            "-f",
        ]
        took = seconds(lambda: subprocess.run(command, check=True, capture_output=True))
        print(f"cold `ganic decode`: {took:.2f} s")


LARGE = (12_500, 8_000)

ENCODE = """
import sys, ganic
open(sys.argv[2], "wb").write(ganic.encode(sys.argv[1], rate="medium"))
"""
DECODE = """
import sys, ganic
ganic.decode(sys.argv[1]).save(sys.argv[2])
"""


def memory() -> None:
    from PIL import Image

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        picture = Image.open(PHOTO).convert("RGB")
        large = Image.new("RGB", LARGE)
        for y in range(0, LARGE[1], picture.height):
            for x in range(0, LARGE[0], picture.width):
                large.paste(picture, (x, y))
        large.save(folder / "large.jpg", quality=92)
        megapixels = LARGE[0] * LARGE[1] / 1e6
        for step, script, source, target in (
            ("encode", ENCODE, "large.jpg", "large.ganic"),
            ("decode", DECODE, "large.ganic", "large-decoded.jpg"),
        ):
            start = time.perf_counter()
            peak = peak_of([sys.executable, "-c", script, str(folder / source), str(folder / target)])
            print(
                f"{megapixels:.0f} megapixels, {step}: peak {peak / 1e9:.2f} GB = {peak / 2e9:.2f} x 2 GB, "
                f"{(time.perf_counter() - start) / megapixels:.2f} s per megapixel"
            )
        print(f"  {8 * (folder / 'large.ganic').stat().st_size / megapixels / 1e6:.4f} bpp")


def peak_of(command: list[str]) -> int:
    """Peak resident bytes of a command, which must succeed."""
    # A process between: the kernel keeps one maximum over all children of this one.
    script = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, *command], check=True, capture_output=True, text=True
    )
    unit = 1 if sys.platform == "darwin" else 1024
    return int(result.stdout.split()[-1]) * unit


PARTS = {"speed": speed, "cold": cold, "memory": memory}

if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
