"""`import ganic`: what is public, what it costs, what it does."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ganic
from ganic import _api, errors
from ganic.bitstream import pack

GOLDEN = Path(__file__).parent / "golden"
PHOTO = Path(__file__).parent / "data" / "photo.webp"


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANIC_MODELS", str(GOLDEN))


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    with Image.open(PHOTO) as photo:
        return photo.crop((300, 200, 460, 296))


def test_the_public_names() -> None:
    functions = ["decode", "encode", "generate", "info", "register_pillow", "verify"]
    assert ganic.__all__ == sorted([*functions, "Codec", "Info", "__version__", *errors.__all__])
    for name in ganic.__all__:
        assert getattr(ganic, name) is not None
    assert set(ganic.__all__) <= set(dir(ganic))
    with pytest.raises(AttributeError):
        _ = ganic.codec


def test_importing_is_cheap() -> None:
    program = "import sys, ganic; print(*sys.modules)"
    source = str(Path(ganic.__file__).parent.parent)
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"torch", "numpy", "PIL", "constriction", "click"} & set(run.stdout.split())


def test_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", ganic.__version__)


def test_encode_decode_info_verify(picture: Image.Image, tmp_path: Path) -> None:
    data = ganic.encode(picture, model="tiny", target_bpp=0.25)
    info = ganic.info(data)
    assert (info.width, info.height, info.bytes, info.model, info.version) == (160, 96, len(data), "tiny", 1)
    assert 0.25 * 0.97 <= info.bpp <= 0.25 and info.bpp == 8 * len(data) / (160 * 96)
    assert sum(info.streams) < len(data) <= sum(info.streams) + 24 and info.boxes == {}
    ganic.verify(data)
    decoded = ganic.decode(data)
    assert (decoded.size, decoded.mode) == ((160, 96), "RGB")

    path = tmp_path / "x.ganic"
    path.write_bytes(data)
    assert ganic.info(path) == ganic.info(str(path)) == ganic.info(memoryview(data)) == info
    assert np.array_equal(np.asarray(ganic.decode(path)), np.asarray(decoded))


def test_quality_is_0_to_100(picture: Image.Image) -> None:
    sizes = [len(ganic.encode(picture, model="tiny", quality=quality)) for quality in (0, 50, 100)]
    assert sizes == sorted(set(sizes))
    codec = ganic.Codec.load("tiny")
    assert codec.encode(picture, quality=0.5) == ganic.encode(picture, model="tiny", quality=50)


def test_a_model_is_loaded_once(picture: Image.Image) -> None:
    by_name = _api.load_codec("tiny")
    data = ganic.encode(picture, model="tiny", quality=10)
    assert _api.load_codec(bytes.fromhex(ganic.info(data).model_id)) is by_name
    assert _api.load_codec(GOLDEN / "tiny.safetensors") is by_name
    assert _api.load_codec("tiny", "fp32") is not by_name


def test_wrong_arguments(picture: Image.Image, tmp_path: Path) -> None:
    with pytest.raises(ganic.UsageError, match="give one"):
        ganic.encode(picture, quality=5, rate="low")
    for quality in (-1, 101, float("nan")):
        with pytest.raises(ganic.UsageError, match="quality"):
            ganic.encode(picture, quality=quality)
    with pytest.raises(ganic.UsageError, match="fidelity"):
        ganic.decode(b"", fidelity=1.5)
    with pytest.raises(ganic.ModelMissingError, match="nowhere"):
        ganic.encode(picture, model="nowhere")
    with pytest.raises(ganic.TruncatedError):
        ganic.decode(b"")
    with pytest.raises(ganic.InputError, match="no such file"):
        ganic.info(tmp_path / "nothing")
    with pytest.raises(ganic.InputError, match="is a folder"):
        ganic.info(tmp_path)


def test_a_model_that_is_not_here() -> None:
    data = pack(bytes([1, 2, 3, 4, 5, 6]), 3, 2, [b""], {}, b"")
    assert ganic.info(data).model is None
    for function in (ganic.decode, ganic.verify):
        with pytest.raises(ganic.ModelMissingError, match="010203040506"):
            function(data)


def test_naming_says_the_file_once() -> None:
    assert (
        _api.naming(ganic.CorruptError("file: broken; get it again"), "x.ganic")
        == "x.ganic: broken; get it again"
    )
    assert _api.naming(ganic.CorruptError("width: 0; get it again"), "x") == "x: width: 0; get it again"
    assert (
        _api.naming(ganic.InputError("x.png: no such file; check"), "x.png") == "x.png: no such file; check"
    )


def test_pillow(picture: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.init()  # all the other plugins, before the tables are copied
    for table in ("OPEN", "SAVE", "EXTENSION", "MIME"):
        monkeypatch.setattr(Image, table, getattr(Image, table).copy())
    monkeypatch.setattr(Image, "ID", Image.ID.copy())
    ganic.register_pillow()
    picture.save(tmp_path / "x.ganic", model="tiny", quality=40)
    data = (tmp_path / "x.ganic").read_bytes()
    assert data == ganic.encode(picture, model="tiny", quality=40)
    with Image.open(io.BytesIO(data)) as opened:
        assert (opened.format, opened.size) == ("GANIC", (160, 96))
        assert np.array_equal(np.asarray(opened), np.asarray(ganic.decode(data)))
