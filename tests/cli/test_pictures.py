"""encode, decode, verify, info and compare with the tiny model of the golden files."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import ExifTags, Image, ImageCms

import ganic

Run = Callable[..., Result]
GOLDEN = Path(__file__).parent.parent / "golden"
pytestmark = pytest.mark.usefixtures("tiny")


def encode(run: Run, *arguments: str) -> Result:
    return run("encode", "--model", "tiny", *arguments)


def test_there_and_back(run: Run, picture: Path) -> None:
    result = encode(run, "photo.png", "--quality", "60")
    size = Path("photo.ganic").stat().st_size
    assert result.exit_code == 0 and result.stdout == ""
    assert result.stderr == (
        f"photo.png -> photo.ganic: {size:,} bytes, {8 * size / (160 * 96):.4f} bpp, 160x96\n"
    )
    assert run("verify", "photo.ganic").stderr.startswith("photo.ganic: ok, ")
    assert "model tiny (" in run("info", "photo.ganic").stdout

    result = run("decode", "photo.ganic", "-o", "again.png")
    assert result.exit_code == 0 and result.stderr.startswith("photo.ganic -> again.png: ")
    with Image.open("again.png") as again, Image.open("photo.png") as original:
        assert (again.format, again.size, again.mode) == ("PNG", (160, 96), "RGB")
        difference = np.abs(np.asarray(again, float) - np.asarray(original, float))
        assert difference.mean() < 30  # the tiny model is no beauty, but this is the picture


def test_nothing_is_replaced_without_force(run: Run, picture: Path) -> None:
    Path("photo.ganic").write_bytes(b"precious")
    result = encode(run, "photo.png", "--quality", "0")
    assert result.exit_code == 1
    assert result.stderr.startswith("ganic: photo.png: photo.ganic: exists already; replace it with -f")
    assert Path("photo.ganic").read_bytes() == b"precious"
    assert encode(run, "photo.png", "--quality", "0", "-f", "-q").stderr == ""
    assert ganic.info("photo.ganic").width == 160
    assert run("decode", "photo.ganic").exit_code == 1  # photo.png is the original
    assert sorted(path.name for path in Path().iterdir()) == ["photo.ganic", "photo.png"]  # no leftovers


def test_target_size_holds_for_the_whole_file(run: Run, picture: Path) -> None:
    with Image.open(picture) as image:
        exif = image.getexif()
        exif[ExifTags.Base.Artist] = "Ann"
        image.save("meta.png", exif=exif)
    assert encode(run, "meta.png", "--target-size", "0.5k").exit_code == 0
    assert 485 <= Path("meta.ganic").stat().st_size <= 500
    assert "exif" in ganic.info("meta.ganic").boxes
    result = encode(run, "meta.png", "--target-size", "30", "-f")
    assert result.exit_code == 2 and result.stderr.startswith("ganic: meta.png: ")
    assert encode(run, "meta.png", "--target-bpp", "0.25", "-f", "--strip").exit_code == 0
    assert 0.25 * 0.97 <= ganic.info("meta.ganic").bpp <= 0.25
    assert not ganic.info("meta.ganic").boxes


def test_steps_fit_a_file_to_its_picture(run: Run, picture: Path) -> None:
    for steps in ("0", "2"):
        arguments = ("photo.png", "--quality", "50", "--steps", steps, "-o", f"{steps}.ganic")
        assert encode(run, *arguments).exit_code == 0
        assert run("decode", f"{steps}.ganic").exit_code == 0
    assert Path("0.ganic").read_bytes() == ganic.encode("photo.png", model="tiny", quality=50)
    assert Path("2.ganic").read_bytes() == ganic.encode("photo.png", model="tiny", quality=50, steps=2)
    assert Path("0.ganic").read_bytes() != Path("2.ganic").read_bytes()
    result = encode(run, "photo.png", "--seconds", "2")
    assert result.exit_code == 2 and "tiny has a search of --steps alone" in result.stderr


def test_json(run: Run, picture: Path) -> None:
    result = encode(run, "photo.png", "--quality", "50", "--json")
    record = json.loads(result.stdout)
    info = ganic.info("photo.ganic")
    assert result.stderr == ""
    assert record.pop("seconds") > 0
    assert record == {
        "input": "photo.png",
        "output": "photo.ganic",
        "bytes": info.bytes,
        "bpp": pytest.approx(info.bpp),
        "width": 160,
        "height": 96,
        "input_bytes": picture.stat().st_size,
        "model": "tiny",
        "model_id": info.model_id,
    }
    decoded = json.loads(run("decode", "photo.ganic", "-o", "x.webp", "--json").stdout)
    assert decoded["output_bytes"] == Path("x.webp").stat().st_size and decoded["bytes"] == info.bytes
    assert json.loads(run("verify", "photo.ganic", "--json").stdout)["ok"] is True


def test_folders(run: Run, picture: Path) -> None:
    Path("in/deep").mkdir(parents=True)
    picture.rename("in/deep/photo.png")
    Path("in/notes.txt").write_text("no picture")
    Path("in/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no")
    result = encode(run, "-r", "in", "-o", "out", "--quality", "0")
    assert result.exit_code == 1
    assert (
        "ganic: in/broken.jpg: " in result.stderr
        and "in/deep/photo.png -> out/deep/photo.ganic" in result.stderr
    )
    assert re.search(r"^2 files: \d+ bytes, 0\.\d+ bpp; 1 failed$", result.stderr, re.MULTILINE)
    assert "\x1b" not in result.stderr  # a progress bar is for terminals
    assert [str(path) for path in Path("out").rglob("*.*")] == ["out/deep/photo.ganic"]
    assert run("decode", "-r", "out", "--format", "jpg").exit_code == 0
    with Image.open("out/deep/photo.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (160, 96))


def test_damage_has_its_own_exit_code(run: Run, picture: Path) -> None:
    encode(run, "photo.png", "--quality", "60")
    good = Path("photo.ganic").read_bytes()
    crc = 4 + 1 + 1 + 6 + 2 + 1  # magic, version, flags, model id, 160 and 96 as varints: see ganic.bitstream
    for damaged, code in (
        (good[:-9], 4),
        (good + b"!", 4),
        (good[: crc + 1] + bytes([good[crc + 1] ^ 1]) + good[crc + 2 :], 5),
    ):
        Path("damaged.ganic").write_bytes(damaged)
        for name in ("verify", "decode"):
            result = run(name, "damaged.ganic")
            assert (result.exit_code, result.stdout) == (code, "")
            assert result.stderr.startswith("ganic: damaged.ganic: ") and result.stderr.count("\n") == 1
        assert not Path("damaged.png").exists()


def test_metadata_and_transparency_come_back(run: Run, picture: Path) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "Ann"
    with Image.open(picture) as image:
        image.putalpha(Image.linear_gradient("L").resize(image.size))
        alpha = np.asarray(image.getchannel("A"))
        image.save("rich.webp", lossless=True, exact=True, icc_profile=icc, exif=exif, xmp=b"<x:xmpmeta/>")
    assert encode(run, "rich.webp", "--quality", "20").exit_code == 0
    for suffix in ("png", "webp", "tiff"):
        assert run("decode", "rich.ganic", "-o", f"back.{suffix}").exit_code == 0
        with Image.open(f"back.{suffix}") as back:
            assert np.array_equal(np.asarray(back.convert("RGBA").getchannel("A")), alpha)
            assert back.info["icc_profile"] == icc
            assert back.getexif()[ExifTags.Base.Artist] == "Ann"
            assert back.info["xmp"].rstrip(b"\0") == b"<x:xmpmeta/>"
    result = run("decode", "rich.ganic", "-o", "back.jpg")
    assert result.exit_code == 1 and "cannot hold transparency" in result.stderr
    assert not Path("back.jpg").exists()


def test_pipes(command: list[str], environment: dict[str, str], picture: Path) -> None:
    environment["GANIC_MODELS"] = str(GOLDEN)
    there = subprocess.run(
        [*command, "encode", "-", "--model", "tiny", "--quality", "60"],
        input=picture.read_bytes(),
        capture_output=True,
        env=environment,
        check=True,
    )
    assert ganic.info(there.stdout).width == 160
    assert there.stderr.startswith(b"standard input: ")
    back = subprocess.run(
        [*command, "decode", "-", "-o", "-", "--format", "webp", "-q"],
        input=there.stdout,
        capture_output=True,
        env=environment,
        check=True,
    )
    assert back.stdout[:4] == b"RIFF" and back.stderr == b""


def test_models(run: Run) -> None:
    head, row = run("models").stdout.splitlines()[:2]
    assert head.split() == ["NAME", "ID", "SYSTEM", "SIZE", "PARAMETERS", "PATH"]
    assert row.startswith("tiny  ") and row.endswith(str(GOLDEN / "tiny.safetensors"))
    record = json.loads(run("models", "tiny", "--json").stdout)
    assert record["system"] == "extreme" and record["digest"].startswith(record["model_id"])


def test_compare_writes_one_page(run: Run, picture: Path) -> None:
    pytest.importorskip("ssimulacra2")
    result = run(
        "compare",
        "photo.png",
        "-o",
        "page.html",
        "--model",
        "tiny",
        "--quality",
        "30",
        "--against",
        "webp,jpeg",
    )
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines()]
    assert [row[0] for row in rows] == ["CODEC", "ganic", "WebP", "JPEG"]
    ours = int(rows[1][1].replace(",", ""))
    for row in rows[2:]:
        assert int(row[1].replace(",", "")) <= ours or "its smallest file" in " ".join(row)
    text = Path("page.html").read_text(encoding="utf-8")
    assert f"photo.png in {ours:,} bytes" in text and text.count("data:image/webp;base64,") == 4
    assert run("compare", "photo.png", "-o", "page.html").exit_code == 1  # exists


def test_compare_draws_a_figure(run: Run, picture: Path) -> None:
    arguments = ("compare", "photo.png", "--model", "tiny", "--quality", "60", "--against", "jpeg")
    result = run(*arguments, "-o", "figure.png", "--crop", "10,20,100,60")
    assert result.exit_code == 0, result.stderr
    with Image.open("figure.png") as file, Image.open("photo.png") as original:
        sheet, part = np.asarray(file), np.asarray(original.convert("RGB").crop((10, 20, 110, 80)))
    assert sheet.shape == (118, 348, 3)  # three panels of 100 x 60
    assert (sheet[46:106, 12:112] == part).all() and (sheet[46:106, 124:224] != part).any()
    assert run(*arguments, "-o", "figure.webp").exit_code == 0
    for wrong in (("-o", "page.html", "--crop", "0,0,9,9"), ("-o", "a.png", "--crop", "100,0,900,9")):
        assert run(*arguments, *wrong).exit_code == 2
    for wrong in ("-", "page.jpg", "page"):
        refused = run(*arguments, "-o", wrong)
        assert refused.exit_code == 2 and "neither a page" in refused.stderr
    assert {path.name for path in Path().iterdir()} == {"photo.png", "figure.png", "figure.webp"}


def test_decode_needs_a_format_from_somewhere(run: Run, picture: Path) -> None:
    encode(run, "photo.png")
    assert run("decode", "photo.ganic", "-o", "pictures").exit_code == 2 and not Path("pictures").exists()
    assert run("decode", "photo.ganic", "-o", "bare", "--format", "webp").exit_code == 0
    assert Path("bare").read_bytes()[8:12] == b"WEBP"
    assert run("decode", "photo.ganic", "-o", "/dev/null").exit_code == 0


def test_compare_measures_what_it_shows_and_leaves_out_who_cannot(run: Run) -> None:
    Image.new("RGB", (16400, 16), "white").save("strip.png")
    arguments = ("compare", "strip.png", "--model", "tiny", "--quality", "60", "--json")
    result = run(*arguments, "--against", "webp,jpeg")
    assert result.exit_code == 0, result.stderr
    assert "left out: WebP: cannot code 16400x16 pixels" in result.stderr
    ours, jpeg = map(json.loads, result.stdout.splitlines())
    assert ours["measured"] == [8192, 16] and jpeg["codec"] == "JPEG"
    assert jpeg["psnr"] == "inf"  # white is white; JSON has no infinity
    text = Path("strip-compare.html").read_text(encoding="utf-8")
    assert "Shown and measured is the middle 8192x16 pixels; bytes are those of the whole file." in text


def test_a_model_that_no_folder_has_is_given_by_path(
    run: Run, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANIC_MODELS", "")
    tiny = str(GOLDEN / "tiny.safetensors")
    assert run("encode", "photo.png", "--model", tiny, "--quality", "60").exit_code == 0
    assert run("decode", "photo.ganic", "-o", "x.png").exit_code == 3
    assert run("verify", "photo.ganic").exit_code == 3
    assert run("decode", "photo.ganic", "--model", tiny, "-o", "x.png").exit_code == 0
    assert "model by path (" in run("verify", "photo.ganic", "--model", tiny, "-v").stderr
    other = run("decode", "photo.ganic", "--model", "photo", "-o", "y.png")
    assert other.exit_code == 3 and "made with model" in other.stderr and not Path("y.png").exists()
    made = run("compare", "photo.png", "--model", tiny, "--quality", "60", "--against", "jpeg")
    assert made.exit_code == 0, made.stderr
    taken = ("compare", "photo.png", "photo.ganic", "--against", "jpeg", "-f")
    assert run(*taken).exit_code == 3 and run(*taken, "--model", tiny).exit_code == 0


def test_compare_takes_a_file_as_it_is(run: Run, picture: Path) -> None:
    encode(run, "photo.png", "--quality", "20")
    digest = hashlib.sha256(Path("photo.ganic").read_bytes()).hexdigest()
    result = run("compare", "photo.png", "photo.ganic", "--against", "jpeg", "--json")
    assert result.exit_code == 0 and Path("photo-compare.html").is_file()
    first = json.loads(result.stdout.splitlines()[0])
    assert first["codec"] == "ganic" and first["bytes"] == Path("photo.ganic").stat().st_size
    assert hashlib.sha256(Path("photo.ganic").read_bytes()).hexdigest() == digest
    with Image.open(picture) as image:
        image.crop((0, 0, 50, 50)).save("other.png")
    assert run("compare", "other.png", "photo.ganic").exit_code == 2
