"""Pictures per second of `ganic generate`, against loops of the same generator and Pillow, in the same run.

    python benchmarks/jpeg_files.py [--model cifar10] [-n 10000] [--repeats 3]

Four ways to a tar file of JPEG pictures from the same weights:

    ganic       coefficients in batches, the package's own file writer
    loop        one picture at a time: generator (float32), then Image.save into the tar file
    batched     the generator in batches of 64, in ganic's precision, Image.save for each picture
    batched, optimised   the same with optimize=True, which is what ganic writes

and, without any generator, the file writer alone against Image.save. Rounds are interleaved, the best of each
is kept, and only ratios mean anything on a shared machine. Without --model, a network of the recipe's size
has random weights: the time is the same.
"""

from __future__ import annotations

import argparse
import io
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ganic.hardware import has_fast_bf16
from ganic.jpeg import generate, model
from ganic.jpeg.evaluate import painted
from ganic.jpeg.files import write_files
from ganic.jpeg.model import JpegModel
from ganic.jpeg.modern_generator import ModernGenerator
from ganic.jpeg.noise import draws
from ganic.jpeg.sampling import Subsampling
from ganic.jpeg.settings import Settings
from ganic.jpeg.synthesis import Noise
from ganic.jpeg.tables import quantisation_tables

QUALITY, SUBSAMPLING = 75, Subsampling.BOTH


def random_model() -> JpegModel:
    """The recipe's network, untrained; its pictures are tamed to the contrast of photographs."""
    torch.manual_seed(0)
    generator = ModernGenerator((128, 128, 96, 48), 8, 10).eval().requires_grad_(False)
    for name, parameter in generator.named_parameters():
        if name.endswith("to_planes.conv.weight"):
            parameter.mul_(0.15)
    generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    device = torch.device("cpu")
    return JpegModel(generator, "random weights", bytes(6), (), device, has_fast_bf16(device))


def ganic(made: JpegModel, count: int, folder: Path) -> int:
    return generate.generate(
        made, count, folder / "ganic.tar", quality=QUALITY, subsampling=SUBSAMPLING, overwrite=True
    ).bytes


def pillow(made: JpegModel, count: int, folder: Path, together: int, optimize: bool) -> int:
    """The trunk's RGB pictures, ``together`` in a call, each saved by Pillow into a tar file."""
    total = 0
    settings = Settings.same(together, QUALITY, SUBSAMPLING, made.device)
    with tarfile.open(folder / "pillow.tar", "w") as archive:
        for start in range(0, count, together):
            drawn = draws(0, start, together, made.generator.latent, made.generator.classes)
            noise = Noise(torch.from_numpy(drawn.latent), torch.from_numpy(drawn.label))
            rgb = (
                ((made.paint(noise, settings)[:, :3] + 1) * 127.5)
                .round()
                .clamp(0, 255)
                .to(torch.uint8)
                .permute(0, 2, 3, 1)
                .numpy()
            )
            for i, picture in enumerate(rgb[: count - start]):
                data = saved(picture, optimize)
                for suffix, contents in (("jpg", data), ("cls", b"%d" % drawn.label[i])):
                    member = tarfile.TarInfo(f"{start + i:09d}.{suffix}")
                    member.size = len(contents)
                    archive.addfile(member, io.BytesIO(contents))
                total += len(data)
    return total


def saved(picture: np.ndarray, optimize: bool) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(
        file, "JPEG", quality=QUALITY, subsampling=str(SUBSAMPLING), optimize=optimize
    )
    return file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model")
    parser.add_argument("-n", "--count", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--loop-count", type=int, help="pictures of the one-by-one loop, if fewer")
    arguments = parser.parse_args()
    made = model.load(arguments.model) if arguments.model else random_model()
    count, few = arguments.count, arguments.loop_count or arguments.count

    pictures = painted(made, count, 0)
    drawn = [draws(0, s, 64, made.generator.latent, made.generator.classes) for s in range(0, count, 64)]
    planes = []
    for draw in drawn:
        noise = Noise(torch.from_numpy(draw.latent), torch.from_numpy(draw.label))
        planes.append(generate.coefficients_of(made, noise, QUALITY, SUBSAMPLING).planes())
    joined = generate.joined(planes)[:count]
    tables = quantisation_tables(QUALITY)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ways: dict[str, tuple[int, Callable[[], int]]] = {
            "ganic": (count, lambda: ganic(made, count, folder)),
            "loop": (few, lambda: pillow(replace(made, bf16=False), few, folder, 1, False)),
            "batched": (count, lambda: pillow(made, count, folder, 64, False)),
            "batched, optimised": (count, lambda: pillow(made, count, folder, 64, True)),
            "writer alone": (count, lambda: sum(map(len, write_files(joined, tables, SUBSAMPLING)))),
            "Image.save alone": (count, lambda: sum(len(saved(p, False)) for p in pictures)),
            "Image.save alone, optimised": (count, lambda: sum(len(saved(p, True)) for p in pictures)),
        }
        best: dict[str, float] = {}
        size: dict[str, float] = {}
        for _ in range(arguments.repeats):
            for way, (number, work) in ways.items():
                started = time.perf_counter()
                size[way] = work() / number
                best[way] = max(best.get(way, 0.0), number / (time.perf_counter() - started))

    kind = "bf16" if made.bf16 else "fp32"
    print(f"{made.name}, {kind}, {made.generator.size} px, quality {QUALITY}, {SUBSAMPLING}")
    for way in ways:
        peer = "writer alone" if "alone" in way else "ganic"
        rate = f"{way:28} {best[way]:10,.0f} pictures/s {size[way]:6.0f} bytes each"
        print(f"{rate}   {peer} is {best[peer] / best[way]:.2f}x as fast")


if __name__ == "__main__":
    main()
