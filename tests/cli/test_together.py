"""Several pictures in one search: which are taken together, and whose error is whose."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

import ganic
from ganic import images
from ganic.cli.jobs import Job
from ganic.cli.together import PIXELS, Together
from ganic.errors import GanicError, InputError, TargetError

Run = Callable[..., Result]
TINY = Path(__file__).parent.parent / "ganz" / "golden" / "tiny.safetensors"


def picture(side: int) -> images.Picture:
    return images.read(Image.new("RGB", (side, side), (side % 256, 0, 0)))


class Bench:
    """Jobs whose source is the side of their picture, and what the searches were given."""

    def __init__(self, *sources: str, refused: Sequence[int] = ()) -> None:
        self.work = [Job(source, f"{n}.ganic") for n, source in enumerate(sources)]
        self.searches: list[list[int]] = []
        self.refused = refused
        self.together = Together(self.work, self.read, self.encode)

    def read(self, job: Job) -> images.Picture:
        if not job.source.isdecimal():
            raise InputError(f"{job.source}: no such file")
        return picture(int(job.source))

    def encode(self, pictures: Sequence[images.Picture]) -> list[bytes]:
        self.searches.append([found.width for found in pictures])
        if any(found.width in self.refused for found in pictures):
            raise TargetError("target: too small")
        return [str(found.width).encode() for found in pictures]

    def outcome(self, job: Job) -> bytes | type[Exception]:
        try:
            return self.together(job).data
        except GanicError as error:
            return type(error)


def test_small_pictures_are_searched_together_and_large_ones_alone() -> None:
    bench = Bench("64", "64", "1000", "64", "1000", "8")
    assert [bench.outcome(job) for job in bench.work] == [b"64", b"64", b"1000", b"64", b"1000", b"8"]
    assert 64**2 < PIXELS < 1000**2
    assert bench.searches == [[64, 64, 1000], [64, 1000], [8]]


def test_errors_are_of_their_own_picture() -> None:
    bench = Bench("nowhere", "8", "9", "nothing", "10", refused=[9])
    assert [bench.outcome(job) for job in bench.work] == [InputError, b"8", TargetError, InputError, b"10"]
    assert bench.searches == [[8, 9, 10], [8], [9], [10]]


def test_a_folder(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    Path("pictures").mkdir()
    for n in range(3):
        coarse = Image.fromarray(rng.integers(40, 216, (4, 4, 3), dtype=np.uint8))
        coarse.resize((32, 32), Image.Resampling.BICUBIC).save(f"pictures/{n}.png")
    Path("pictures/3.png").write_bytes(b"no picture")
    result = run(
        "encode",
        "-r",
        "pictures",
        "-o",
        "out",
        "--model",
        TINY,
        "--target-size",
        "100",
        "--steps",
        "3",
        "--json",
    )
    assert result.exit_code == 1
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(record["input"]).name for record in records] == ["0.png", "1.png", "2.png", "3.png"]
    assert records[3]["error"] == "InputError"
    for record in records[:3]:
        data = Path(record["output"]).read_bytes()
        assert len(data) == record["bytes"] <= 100
        assert ganic.decode(data, model=TINY).size == (32, 32)
    result = run("encode", "pictures/0.png", "--model", TINY, "--keep-box", "1,1,4,4")
    assert result.exit_code == 2 and "regions: a GANZ model" in result.stderr


def test_an_interrupted_search_keeps_its_files_and_begins_no_other(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def bar(*_: object, **__: object) -> Iterator[Callable[[int, str], None]]:
        def show(step: int, text: str) -> None:
            if step == 2:
                raise KeyboardInterrupt

        yield show

    monkeypatch.setattr("ganic.cli.encode.bar", bar)
    monkeypatch.setattr("ganic.cli.together.PIXELS", 1)
    Path("faces").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (32, 32), "red").save(f"faces/{name}.png")
    result = run("encode", "-r", "faces", "-o", "small", "--model", TINY, "--steps", "50")
    assert result.exit_code == 130 and result.stderr.endswith("ganic: interrupted\n")
    assert [path.name for path in Path("small").iterdir()] == ["a.ganic"]
    result = run("encode", "faces/b.png", "--model", TINY, "--steps", "50")
    assert result.exit_code == 130 and Path("faces/b.ganic").is_file()
