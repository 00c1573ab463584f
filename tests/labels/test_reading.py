"""Label maps from files in other people's conventions, which the tests write."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ganic.errors import GanicError, InputError, UsageError
from ganic.labels import CAMVID, CITYSCAPES, CITYSCAPES_IDS, VOID, LabelMap, read
from ganic.labels.classes import CAMVID_COLOURS, CITYSCAPES_COLOURS

Array = np.ndarray[Any, Any]


def png(array: Array, mode: str | None = None) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(file, "PNG")
    return file.getvalue()


def raw_png(width: int, height: int, depth: int, rows: list[bytes]) -> bytes:
    """A grey PNG of any bit depth, which Pillow cannot write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


GREY = np.array([[0, 1, 2], [10, 8, 255]], np.uint8)


def test_indexed_grey() -> None:
    found = read(png(GREY))
    assert found.names == tuple(map(str, range(11)))
    assert np.array_equal(found.labels, GREY)
    assert read(png(GREY), "indexed", CAMVID).names == CAMVID


def test_a_palette_gives_indices_not_colours() -> None:
    image = Image.new("P", (3, 2))
    image.putdata([0, 1, 2, 2, 1, 5])
    image.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200, 1, 1, 1, 2, 2, 2, 9, 9, 9])
    for kind, options in (("PNG", {}), ("PNG", {"bits": 4}), ("BMP", {}), ("TIFF", {})):
        file = io.BytesIO()
        image.save(file, kind, **options)
        assert read(file.getvalue()).labels.tolist() == [[0, 1, 2], [2, 1, 5]], kind
    assert read(image).labels.tolist() == [[0, 1, 2], [2, 1, 5]]


def test_grey_of_few_bits() -> None:
    assert read(raw_png(8, 1, 1, [b"\x51"])).labels.tolist() == [[0, 1, 0, 1, 0, 0, 0, 1]]
    assert read(raw_png(4, 1, 2, [b"\x1b"])).labels.tolist() == [[0, 1, 2, 3]]
    assert read(raw_png(4, 1, 4, [b"\x0b\x7f"])).labels.tolist() == [[0, 11, 7, 15]]
    assert read(raw_png(2, 1, 16, [b"\0\x05\0\xff"])).labels.tolist() == [[5, 255]]
    with pytest.raises(InputError, match="from 5 to 24001"):
        read(raw_png(2, 1, 16, [b"\0\x05\x5d\xc1"]))


def test_colour_without_colours_is_grey() -> None:
    grey = np.repeat(GREY[:, :, None], 3, axis=2)
    assert np.array_equal(read(png(grey)).labels, GREY)
    assert np.array_equal(read(png(grey, "RGBA")).labels, GREY)
    assert np.array_equal(read(png(GREY, "LA")).labels, GREY)


def test_sources(tmp_path: Path) -> None:
    path = tmp_path / "map.png"
    path.write_bytes(png(GREY))
    for source in (path, str(path), png(GREY), bytearray(png(GREY)), io.BytesIO(png(GREY))):
        assert np.array_equal(read(source).labels, GREY)
    with path.open("rb") as file:
        assert np.array_equal(read(file).labels, GREY)
    known = LabelMap(np.zeros((2, 2), np.uint8), ("person",))
    assert read(known) is known
    assert read(known, names=CAMVID).present() == ("pedestrian",)


def test_camvid_grey() -> None:
    values = np.array([[0, 10, 11, 255]], np.uint8)
    for convention, names in (("camvid", None), ("auto", CAMVID)):
        found = read(png(values), convention, names)  # type: ignore[arg-type]
        assert found.names == CAMVID and found.labels.tolist() == [[0, 10, VOID, VOID]]
    with pytest.raises(InputError, match="label 12 is beyond the palette"):
        read(png(values + np.uint8(1)), "camvid")


def test_camvid_colours() -> None:
    colours = np.array([[colour for colour, _, _ in CAMVID_COLOURS]], np.uint8)
    expected = [VOID if fold is None else CAMVID.index(fold) for _, _, fold in CAMVID_COLOURS]
    for convention in ("auto", "camvid"):
        found = read(png(colours), convention)  # type: ignore[arg-type]
        assert found.names == CAMVID and found.labels.tolist() == [expected]
    colours[0, 5] = (1, 2, 3)
    with pytest.raises(InputError, match=r"colour \(1, 2, 3\), which camvid has not"):
        read(png(colours), "camvid")
    with pytest.raises(InputError, match=r"colour \(1, 2, 3\), which neither CamVid nor Cityscapes has"):
        read(png(colours))


def test_cityscapes_colours(tmp_path: Path) -> None:
    colours = np.array([[colour for colour, _ in CITYSCAPES_COLOURS]], np.uint8)
    expected = [VOID if found is None else CITYSCAPES.index(found) for _, found in CITYSCAPES_COLOURS]
    for convention in ("auto", "cityscapes"):
        found = read(png(colours), convention)  # type: ignore[arg-type]
        assert found.names == CITYSCAPES and found.labels.tolist() == [expected]
    path = tmp_path / "aachen_000000_000019_gtFine_color.png"
    path.write_bytes(png(colours[:, :1]))  # road alone is in both tables: the name decides
    assert read(path).present() == ("road",)
    with pytest.raises(InputError, match="say which: camvid, cityscapes"):
        read(png(colours[:, :1]))


def test_cityscapes_ids(tmp_path: Path) -> None:
    ids, train_ids = np.array([[0, 7, 33, 26]], np.uint8), np.array([[255, 0, 18, 13]], np.uint8)
    assert read(png(ids), "cityscapes").names == CITYSCAPES_IDS
    assert read(png(ids), "cityscapes").present() == ("unlabeled", "road", "car", "bicycle")
    assert read(png(train_ids), "cityscapes").names == CITYSCAPES
    assert read(png(train_ids), "cityscapes").present() == ("road", "car", "bicycle")
    few = png(np.array([[7, 11]], np.uint8))
    with pytest.raises(InputError, match="say cityscapes-ids or cityscapes-train-ids"):
        read(few, "cityscapes")
    assert read(few, "cityscapes-ids").present() == ("road", "building")
    assert read(few, "cityscapes-train-ids").present() == ("traffic sign", "person")
    for ending, names in (("labelIds", CITYSCAPES_IDS), ("labelTrainIds", CITYSCAPES)):
        path = tmp_path / f"ulm_000001_000019_gtFine_{ending}.png"
        path.write_bytes(few)
        assert read(path).names == names
        assert read(path, names=CAMVID).names == CAMVID
    assert read(path, names=CAMVID).present() == ("sign", "pedestrian")
    with pytest.raises(InputError, match="beyond the palette: cityscapes-ids has 34 classes"):
        read(png(train_ids), "cityscapes-ids")
    with pytest.raises(InputError, match="both label ids and void train ids"):
        read(png(np.array([[255, 26]], np.uint8)), "cityscapes")


def test_labels_beyond_the_given_classes() -> None:
    with pytest.raises(InputError, match="label 2 is beyond the palette: the classes given has 2"):
        read(png(GREY), "indexed", ("a", "b"))
    with pytest.raises(UsageError, match="0 classes"):
        read(png(GREY), "indexed", ())


def jpeg() -> bytes:
    file = io.BytesIO()
    Image.fromarray(GREY).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "convention", "match"),
    [
        (b"", "auto", "neither a PNG"),
        (b"hello", "auto", "neither a PNG"),
        (b"{", "auto", "not JSON"),
        (b"[" * 100_000, "auto", "not JSON"),
        (b"\x89PNG\r\n\x1a\nrest", "auto", "broken picture"),
        (png(GREY)[:-28], "auto", "cannot be decoded"),
        (jpeg(), "auto", "is JPEG, which may change"),
        (png(GREY), "coco", "is a picture, not JSON"),
        (b'{"size": [1, 1], "counts": [1]}', "indexed", "neither a PNG"),
        (png(np.array([[[1, 2, 3]]], np.uint8)), "indexed", "colours where indexed has numbers"),
        (raw_png(65536, 1, 8, [b""]), "auto", "over the limit"),
        (raw_png(30000, 30000, 8, [b""]), "auto", "over the limit"),
        (raw_png(0, 3, 8, [b""]), "auto", "broken picture"),
    ],
)
def test_bad_files(data: bytes, convention: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        read(data, convention)


def test_pictures_that_hold_no_classes() -> None:
    with pytest.raises(InputError, match="holds F values"):
        read(Image.new("F", (2, 2)))
    with pytest.raises(InputError, match="holds CMYK values"):
        read(Image.new("CMYK", (2, 2)))


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "nothing.png")
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path)
    with pytest.raises(UsageError, match="convention 'ade20k': is none; use one of auto, indexed"):
        read(png(GREY), "ade20k")  # type: ignore[arg-type]


def test_a_map_of_many_pixels_needs_no_leave_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow warns of pictures of 89 megapixels and refuses those of 179; ganic's limit is another."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2)
    assert np.array_equal(read(png(GREY)).labels, GREY)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=80, deadline=None)
def test_damaged_files_are_refused_or_maps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = bytearray(png(GREY, "P" if seed % 2 else None))
    for _ in range(rng.integers(1, 4)):
        data[rng.integers(len(data))] = rng.integers(256)
    try:
        found = read(bytes(data[: rng.integers(len(data) // 2, len(data) + 1)]))
    except GanicError:
        return
    assert found.labels.size
