"""The Pillow plugin, as far as it needs no model: accepting, declining, headers, errors."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

import ganic
from ganic import alpha, pillow_plugin
from ganic.bitstream import pack
from ganic.errors import GanicError, ModelMissingError, UsageError

NO_MODEL = bytes([1, 2, 3, 4, 5, 6])


@pytest.fixture(autouse=True)
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Registered for one test, and forgotten again."""
    monkeypatch.setenv("GANIC_MODELS", str(tmp_path))
    Image.init()
    tables: tuple[dict[str, Any], ...] = (Image.OPEN, Image.SAVE, Image.EXTENSION, Image.MIME)
    before, known = [table.copy() for table in tables], Image.ID.copy()
    pillow_plugin.register()
    yield
    Image.ID[:] = known
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


def file(width: int = 30, height: int = 20, boxes: dict[str, bytes] | None = None) -> bytes:
    return pack(NO_MODEL, width, height, [b"stream"], boxes or {}, b"\0\0")


def test_registering_is_explicit_and_may_be_repeated() -> None:
    known = Image.ID.copy()
    ganic.register_pillow()
    assert known == Image.ID and Image.ID.count("GANIC") == 1
    assert Image.registered_extensions()[".ganic"] == "GANIC"
    assert Image.MIME["GANIC"] == "image/x-ganic"
    program = (
        "import ganic, ganic.pillow_plugin; from PIL import Image; Image.init(); print('GANIC' in Image.OPEN)"
    )
    source = str(Path(ganic.__file__).parent.parent)
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "False\n"


@pytest.mark.parametrize(
    ("prefix", "accepted"),
    [
        (file()[:16], True),
        (b"\x9cGNC", True),
        (b"\x9cGN", False),
        (b"\x89PNG\r\n\x1a\n", False),
        (b"", False),
    ],
)
def test_accept_looks_at_the_magic(prefix: bytes, accepted: bool) -> None:
    assert pillow_plugin._accept(prefix) is accepted


def test_header_without_pixels(tmp_path: Path) -> None:
    path = tmp_path / "picture.bin"  # the magic decides, not the suffix
    path.write_bytes(file(1234, 56))
    with Image.open(path) as image:
        assert isinstance(image, pillow_plugin.GanicImageFile)
        assert (image.format, image.size, image.mode, image.info) == ("GANIC", (1234, 56), "RGB", {})
        assert image.get_format_mimetype() == "image/x-ganic"


def test_boxes_are_known_without_pixels() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "Ann"
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    boxes = {
        "ALPH": alpha.encode(Image.new("L", (30, 20), 9)),
        "iccp": icc,
        "exif": exif.tobytes().removeprefix(b"Exif\0\0"),
        "xmp_": b"<x/>",
        "new_": b"ancillary, unknown",
    }
    with Image.open(io.BytesIO(file(boxes=boxes))) as image:
        assert image.mode == "RGBA"
        assert image.info == {"icc_profile": icc, "exif": exif.tobytes(), "xmp": b"<x/>"}
        assert image.getexif()[ExifTags.Base.Artist] == "Ann"


def damaged() -> dict[str, bytes]:
    good = file()
    return {
        "truncated": good[:-1],
        "magic only": good[:4],
        "trailing": good + b"x",
        "version 2": good[:4] + b"\2" + good[5:],
        "unknown flag": good[:5] + b"\x80" + good[6:],
        "no pixels": good[:12] + b"\0" + good[13:],
        "too many pixels": good[:12] + b"\xff\xff\x03\xff\xff\x03" + good[14:],
    }


@pytest.mark.parametrize("name", damaged())
def test_damaged_files_are_declined(name: str) -> None:
    data = damaged()[name]
    with pytest.raises(SyntaxError):
        pillow_plugin.GanicImageFile(io.BytesIO(data))
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(data))


def test_other_formats_still_open() -> None:
    out = io.BytesIO()
    Image.new("RGB", (3, 2)).save(out, "PNG")
    with Image.open(out) as image:
        assert image.format == "PNG"


def test_pixels_that_cannot_be_decoded_are_an_oserror(tmp_path: Path) -> None:
    path = tmp_path / "x.ganic"
    path.write_bytes(file())
    with Image.open(path) as image:
        for _ in range(2):  # failing once does not make it empty
            with pytest.raises(OSError, match="model id 010203040506") as caught:
                image.load()
            assert isinstance(caught.value.__cause__, ModelMissingError)


def test_save_passes_options_on_and_leaves_no_file_behind(tmp_path: Path) -> None:
    path, image = tmp_path / "x.ganic", Image.new("P", (4, 3))
    with pytest.raises(ModelMissingError, match="no-such-model"):
        image.save(path, model="no-such-model")
    with pytest.raises(UsageError, match="give one"):
        image.save(path, target_bpp=0.1, target_size=1000)
    for option in ({"quality": 101}, {"rate": "huge", "model": "no-such-model"}, {"quality": -1}):
        with pytest.raises(GanicError):
            image.save(path, **option)
    assert not list(tmp_path.iterdir())


def test_save_takes_what_matters(tmp_path: Path) -> None:
    image = Image.effect_noise((64, 48), 40).convert("RGB")
    kept: dict[str, Any] = {"keep_boxes": [(0, 0, 16, 16)], "background": 40, "quality": 60}
    image.save(tmp_path / "x.ganic", **kept)
    assert (tmp_path / "x.ganic").read_bytes() == ganic.encode(image, **kept)
    assert ganic.info(tmp_path / "x.ganic").qualities == 2
