"""The codec end to end, with the tiny model."""

from __future__ import annotations

import dataclasses
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import ganic
from ganic import bitstream, images, models
from ganic.errors import (
    CorruptError,
    GanicError,
    MismatchError,
    ModelFormatError,
    ModelMissingError,
    TargetError,
    UsageError,
)
from ganic.extreme import codec as codec_module
from ganic.extreme import windowed
from ganic.extreme.allocation import Plan
from ganic.extreme.codec import Codec, _View
from ganic.extreme.compact import Encoder
from ganic.extreme.windowed import analyse

PHOTO = Path(__file__).parents[1] / "data" / "photo.webp"
TINY = Path(__file__).parents[1] / "golden" / "tiny.safetensors"


def photo(width: int, height: int) -> Image.Image:
    return Image.open(PHOTO).convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def psnr(a: Image.Image, b: Image.Image) -> float:
    difference = np.asarray(a.convert("RGB"), dtype=float) - np.asarray(b.convert("RGB"), dtype=float)
    return float(10 * np.log10(255**2 / (difference**2).mean()))


def test_quality_buys_fidelity_with_bytes(codec: Codec) -> None:
    picture = photo(192, 160)
    files = [codec.encode(picture, quality=q) for q in (0.0, 0.5, 1.0)]
    sizes = [len(file) for file in files]
    values = [psnr(codec.decode(file), picture) for file in files]
    assert sizes[0] < sizes[1] < sizes[2]
    assert values[0] < values[1] < values[2]
    assert values[2] > 22


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (17, 1), (16, 16), (63, 65), (129, 47)])
def test_any_size_comes_back(codec: Codec, size: tuple[int, int]) -> None:
    picture = photo(*size)
    decoded = codec.decode(codec.encode(picture, quality=1.0))
    assert decoded.size == size and decoded.mode == "RGB"
    assert (
        np.abs(np.asarray(decoded, float).mean((0, 1)) - np.asarray(picture, float).mean((0, 1))).max() < 25
    )


def test_the_bare_overhead_is_at_most_24_bytes(codec: Codec) -> None:
    data = codec.encode(photo(768, 512), quality=0.2)
    (stream,) = bitstream.unpack(data).streams
    assert len(data) - (len(stream) - 1) <= 24  # the quality byte counts as overhead


@pytest.mark.parametrize("share", [0.35, 0.6, 0.95])
def test_targets_are_met_within_three_per_cent(codec: Codec, share: float) -> None:
    picture = photo(256, 192)
    low, high = (len(codec.encode(picture, quality=q)) for q in (0.0, 1.0))
    target = round(low + share * (high - low))
    data = codec.encode(picture, target_bytes=target)
    assert 0.97 * target <= len(data) <= target
    bpp = 8 * target / (256 * 192)
    assert len(codec.encode(picture, target_bpp=bpp)) <= target


def test_a_target_that_cannot_be_reached_says_what_can(codec: Codec) -> None:
    picture = photo(192, 160)
    lowest = len(codec.encode(picture, quality=0.0))
    assert len(codec.encode(picture, target_bytes=lowest)) == lowest
    with pytest.raises(TargetError, match="this picture needs") as caught:
        codec.encode(picture, target_bytes=40)
    least = int(re.findall(r"needs (\d+)", str(caught.value))[0])
    assert 40 < least < lowest
    assert len(codec.encode(picture, target_bytes=least)) == least


def test_below_the_lowest_quality_bits_become_dearer(codec: Codec) -> None:
    picture = photo(256, 192)
    lowest = codec.encode(picture, quality=0.0)
    data = codec.encode(picture, target_bytes=round(0.97 * len(lowest)))
    assert 0.94 * len(lowest) <= len(data) <= 0.97 * len(lowest)
    streams = [bitstream.unpack(file).streams[0] for file in (lowest, data)]
    assert [stream[0] for stream in streams] == [0, 0]  # the quality index
    area = Plan.uniform(12, 16).at(0)
    kept, left = (np.concatenate(codec.prior.read(stream[1:], area).symbols) for stream in streams)
    assert np.abs(left).sum() < np.abs(kept).sum()
    # A name is an aim, which is not worth a picture without its details.
    assert codec.encode(photo(64, 64), rate="low") == codec.encode(photo(64, 64), quality=0.0)


def test_a_named_rate_is_an_aim_and_leaves_boxes_aside(codec: Codec) -> None:
    """One pixel cannot have 0.1 bits; and metadata do not eat the picture's bits."""
    assert codec.encode(photo(1, 1)) == codec.encode(photo(1, 1), quality=0.0)
    picture = photo(256, 192)
    plain = codec.encode(picture, rate="high")
    picture.info["xmp"] = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>" + b" " * 3000 + b"</x:xmpmeta>"
    with_box = codec.encode(picture, rate="high")
    boxes = sum(map(len, bitstream.unpack(with_box).boxes.values()))
    assert boxes > 2000
    assert abs(len(with_box) - boxes - len(plain)) < 100


def test_more_than_the_best_gives_the_best(codec: Codec) -> None:
    picture = photo(64, 64)
    assert codec.encode(picture, target_bytes=10**6) == codec.encode(picture, quality=1.0)


def test_alpha_and_metadata_travel(codec: Codec) -> None:
    picture = photo(70, 50)
    alpha = Image.linear_gradient("L").resize((70, 50))
    picture.putalpha(alpha)
    exif = Image.Exif()
    exif[0x010E] = "what it shows"
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", exif=exif.tobytes())
    decoded = codec.decode(codec.encode(buffer.getvalue(), quality=0.5))
    assert decoded.mode == "RGBA"
    assert (np.asarray(decoded.getchannel("A")) == np.asarray(alpha)).all()
    assert decoded.getexif()[0x010E] == "what it shows"


def test_an_encoder_that_is_told_the_quality_looks_again_where_it_is_another(
    conditioned: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []

    def watched(encoder: Encoder, picture: images.Picture, quality: NDArray[np.uint8], coded: None) -> Any:
        assert (quality == quality[0, 0]).all()
        told.append(int(quality[0, 0]))
        return analyse(encoder, picture, quality, coded)

    monkeypatch.setattr(codec_module, "analyse", watched)
    picture = photo(256, 192)
    files = [conditioned.encode(picture, quality=q) for q in (0.0, 0.2, 1.0)]
    assert told == [0, 51, 255]
    whole = conditioned.symbols(files[1])[0].latent
    monkeypatch.setattr(codec_module, "NEAR", 255)  # whatever it was told first will do
    told.clear()
    view = _View(conditioned._encoder, images.read(picture), None)
    plan = Plan.uniform(12, 16)
    first = view.latent(plan, 255)
    assert view.latent(plan, 51) is first and told == [255]
    monkeypatch.undo()
    assert not np.allclose(view.latent(plan, 51), first, atol=1e-3)
    assert whole.shape == first.shape
    for share in (0.3, 0.7):
        target = round(len(files[0]) + share * (len(files[2]) - len(files[0])))
        data = conditioned.encode(picture, target_bytes=target)
        assert 0.97 * target <= len(data) <= target
        conditioned.verify(data)


def test_windows_leave_no_seams(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same picture coded whole and in windows: latents and pixels agree to rounding."""
    picture = images.read(photo(400, 336))
    quality = np.full((21, 25), 204, np.uint8)
    whole = analyse(codec._encoder, picture, quality)
    data = codec.encode(picture, quality=0.8)
    decoded = np.asarray(codec.decode(data), dtype=int)
    monkeypatch.setattr(windowed, "WHOLE", 0)
    monkeypatch.setattr(windowed, "WINDOW", 7)
    assert np.abs(analyse(codec._encoder, picture, quality) - whole).max() < 1e-4
    assert np.abs(np.asarray(codec.decode(data), dtype=int) - decoded).max() <= 1


def test_the_shipped_models_windows_leave_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its networks reach farther than the margin; what is cut off does not show."""
    shipped = Codec.load("photo", precision="fp32")
    picture = images.read(photo(704, 640))
    data = shipped.encode(picture, quality=0.4)
    whole = np.asarray(shipped.decode(data), dtype=int)
    monkeypatch.setattr(windowed, "WHOLE", 0)
    monkeypatch.setattr(windowed, "WINDOW", 22)
    difference = np.abs(np.asarray(shipped.decode(data), dtype=int) - whole).max(axis=2)
    seam = 22 * 16
    assert difference.max() <= 2 and difference.mean() < 0.02, (difference.max(), difference.mean())
    assert difference[:, seam - 8 : seam + 8].mean() < 0.1


def test_large_pictures_have_several_streams(codec: Codec) -> None:
    picture = photo(2064, 48)
    data = codec.encode(picture, quality=0.5)
    assert len(bitstream.unpack(data).streams) == 2
    assert codec.decode(data).size == (2064, 48)


def test_another_models_file_is_refused_by_name(codec: Codec) -> None:
    data = bytearray(codec.encode(photo(32, 32), quality=0.5))
    data[6] ^= 1  # in the model id
    with pytest.raises(ModelMissingError, match=codec.model_id.hex()):
        codec.decode(bytes(data))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutations_are_detected_or_harmless(codec: Codec, data: st.DataObject) -> None:
    """Flip, cut or insert anywhere: ganic's own error, or exactly the same symbols."""
    good = GOOD.setdefault("file", codec.encode(photo(48, 32), quality=0.6))
    before = [tile.canonical() for tile in codec.symbols(good)]
    position = data.draw(st.integers(0, len(good) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "insert", "delete"]))
    if kind == "flip":
        bad = (
            good[:position]
            + bytes([good[position] ^ (1 << data.draw(st.integers(0, 7)))])
            + good[position + 1 :]
        )
    elif kind == "cut":
        bad = good[:position]
    elif kind == "insert":
        bad = good[:position] + data.draw(st.binary(min_size=1, max_size=3)) + good[position:]
    else:
        bad = good[:position] + good[position + 1 :]
    try:
        after = [tile.canonical() for tile in codec.symbols(bad)]
    except GanicError:
        return
    assert after == before


GOOD: dict[str, bytes] = {}


def test_a_flipped_quality_byte_is_a_mismatch_or_corrupt(codec: Codec) -> None:
    picture = photo(64, 48)
    good = bitstream.unpack(codec.encode(picture, quality=0.5))
    stream = bytes([good.streams[0][0] ^ 1]) + good.streams[0][1:]
    # Rebuilt with the old checksum in place: only the symbols' checksum can tell.
    bad = bytearray(codec.encode(picture, quality=0.5))
    at = bytes(bad).index(good.streams[0])
    bad[at : at + len(stream)] = stream
    with pytest.raises((MismatchError, CorruptError)):
        codec.verify(bytes(bad))


@pytest.mark.parametrize(
    "arguments",
    [
        {"quality": 0.5, "target_bpp": 0.1},
        {"quality": 1.5},
        {"rate": "enormous"},
        {"target_bpp": 0.0},
        {"target_bpp": float("nan")},
        {"target_bytes": 0},
    ],
)
def test_wrong_arguments_are_usage_errors(codec: Codec, arguments: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        codec.encode(photo(16, 16), **arguments)  # type: ignore[arg-type]


def test_too_few_streams_are_noticed_before_the_picture_is_made(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty bytes must not commit the memory of 400 megapixels."""
    data = bitstream.pack(codec.model_id, 65535, 6103, [b"\0"], {}, b"")
    monkeypatch.setattr("ganic.images.Canvas", lambda *size: pytest.fail("allocated"))
    with pytest.raises(CorruptError, match="1 streams where 65535x6103 pixels have 96"):
        codec.decode(data)


def test_verify_looks_at_what_is_beside_the_symbols(codec: Codec) -> None:
    picture = photo(32, 32)
    picture.putalpha(100)
    good = bitstream.unpack(codec.encode(picture, quality=0.5))
    symbols = [codec.symbols(codec.encode(picture, quality=0.5))]
    canonical = [good.streams[0][:1], *(value.canonical() for value in symbols[0])]
    broken = bitstream.pack(good.model_id, 32, 32, good.streams, {"ALPH": b"\0"}, canonical)
    with pytest.raises(CorruptError, match="box ALPH"):
        codec.verify(broken)


@pytest.mark.parametrize(
    ("drop", "config"),
    [
        ("gain.anchors", {}),
        ("prior.hyper_mean", {}),
        ("generator.out.weight", {}),
        ("", {"generator": {"of": "a later version"}}),
        ("", {"encoder": {}}),
    ],
)
def test_models_that_are_not_whole(drop: str, config: dict[str, Any]) -> None:
    model = models.load(TINY)
    tensors = {name: value for name, value in model.tensors.items() if name != drop}
    with pytest.raises(ModelFormatError):
        broken = Codec(dataclasses.replace(model, tensors=tensors, config=model.config | config))
        broken.decode(broken.encode(photo(32, 32), quality=0.5))


@pytest.mark.parametrize(
    ("drop", "config"),
    [
        ("afar.enter.weight", {}),
        ("", {"shade_steps": None}),
        ("", {"shade_steps": [1.0]}),
        ("", {"shade_steps": [0.0, 1.0]}),
        ("", {"shade_steps": [2.0, float("inf")]}),
        ("", {"afar": {"latent": 8}}),
    ],
)
def test_shades_that_are_not_whole(shaded: Codec, drop: str, config: dict[str, Any]) -> None:
    model = models.load(shaded._path)
    tensors = {name: value for name, value in model.tensors.items() if name != drop}
    with pytest.raises(ModelFormatError):
        broken = Codec(dataclasses.replace(model, tensors=tensors, config=model.config | config))
        broken.decode(broken.encode(photo(32, 32), quality=0.5))


def test_fidelity_needs_a_second_generator(codec: Codec) -> None:
    data = codec.encode(photo(32, 32), quality=0.5)
    with pytest.raises(UsageError, match="fidelity"):
        codec.decode(data, fidelity=0.5)
    with pytest.raises(UsageError, match="0 and 1"):
        codec.decode(data, fidelity=2)


def test_fidelity_blends_the_generators() -> None:
    model = models.load(TINY)
    second = {
        name.replace("generator.", "generator_mse."): value.copy()
        for name, value in model.tensors.items()
        if name.startswith("generator.")
    }
    second["generator_mse.out.bias"] += np.float16(0.1)
    blended = Codec(
        models.ModelFile(
            path=model.path,
            name=model.name,
            system=model.system,
            config=model.config,
            digest=model.digest,
            card="",
            tensors=model.tensors | second,
        ),
        precision="fp32",
    )
    data = blended.encode(photo(32, 32), quality=0.5)
    means = [np.asarray(blended.decode(data, fidelity=f), dtype=float).mean() for f in (0.0, 0.5, 1.0)]
    assert means[1] - means[0] == pytest.approx(12.75, abs=0.7)
    assert means[2] - means[0] == pytest.approx(25.5, abs=0.7)


def test_the_public_functions_use_installed_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANIC_MODELS", str(TINY.parent))
    picture = photo(48, 48)
    data = ganic.encode(picture, model="tiny", quality=50)
    assert ganic.info(data).model == "tiny"
    ganic.verify(data)
    assert ganic.decode(data).size == (48, 48)
