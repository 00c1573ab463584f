from __future__ import annotations

import io
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from ganic.baselines import Baseline, available, match_bytes
from ganic.baselines.classical import JPEG2000_FLOOR_BPP, JPEG2000_STEP, encode_jpeg, encode_jpeg2000
from ganic.metrics import psnr

BASELINES = available()
each = pytest.mark.parametrize("baseline", BASELINES, ids=[b.name for b in BASELINES])

MIDDLING = {"db4": 70, "jpeg": 60, "jpeg2000": 600, "webp": 60, "heic": 50, "avif": 55, "jxl": 60}


def test_what_is_built_into_pillow_is_there_and_every_name_once() -> None:
    names = [b.name for b in BASELINES]
    assert set(names) >= {"jpeg", "webp"}
    assert len(set(names)) == len(names)
    assert all(b.settings and b.title for b in BASELINES)
    with pytest.raises(FrozenInstanceError):
        BASELINES[0].name = "best"  # type: ignore[misc]


@each
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (17, 9), (130, 95)])
def test_every_size_comes_back(baseline: Baseline, size: tuple[int, int], picture) -> None:  # type: ignore[no-untyped-def]
    image = picture(*size)
    decoded = baseline.decode(baseline.encode(image, MIDDLING[baseline.name]))
    assert (decoded.size, decoded.mode) == (size, "RGB")
    if size == (130, 95):
        assert psnr(image, decoded) > 29


@each
def test_the_scale_goes_from_worse_to_better(baseline: Baseline, picture) -> None:  # type: ignore[no-untyped-def]
    image = picture(96, 80)
    scale = baseline.qualities
    files = [baseline.encode(image, q) for q in (scale[0], scale[len(scale) // 2], scale[-1])]
    assert len(files[0]) < len(files[1]) < len(files[2])
    decoded = [psnr(image, baseline.decode(file)) for file in files]
    assert decoded[0] < decoded[1] < decoded[2]


@each
def test_metadata_are_not_counted(baseline: Baseline, picture) -> None:  # type: ignore[no-untyped-def]
    plain = picture(64, 48)
    exif = Image.Exif()
    exif[0x010E] = "a long description " * 50
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    file = io.BytesIO()
    plain.save(file, "PNG", exif=exif, icc_profile=profile)
    tagged = Image.open(file)
    assert tagged.info["icc_profile"] and tagged.getexif()
    quality = MIDDLING[baseline.name]
    assert baseline.encode(tagged, quality) == baseline.encode(plain, quality)


@each
def test_matched_files_keep_to_the_bytes(baseline: Baseline, picture) -> None:  # type: ignore[no-untyped-def]
    image = picture(128, 96)
    limit = len(baseline.encode(image, MIDDLING[baseline.name]))
    found = match_bytes(baseline, image, limit)
    assert found is not None
    assert found.quality >= MIDDLING[baseline.name]
    assert 0.97 * limit <= len(found.data) <= limit
    assert found.data == baseline.encode(image, found.quality)


def test_jpeg_is_never_larger_than_pillow_makes_it(picture) -> None:  # type: ignore[no-untyped-def]
    for size in ((24, 24), (160, 120)):
        image = picture(*size)
        for options in ({}, {"optimize": True}, {"progressive": True}):
            file = io.BytesIO()
            image.save(file, "JPEG", quality=40, subsampling="4:2:0", **options)
            assert len(encode_jpeg(image, 40)) <= len(file.getvalue())


def test_jpeg_takes_the_smaller_of_sequential_and_progressive(picture) -> None:  # type: ignore[no-untyped-def]
    kinds = {
        bool(Image.open(io.BytesIO(encode_jpeg(picture(*size), quality))).info.get("progressive"))
        for size, quality in (((8, 8), 10), ((320, 240), 90))
    }
    assert kinds == {False, True}


WITH_JPEG2000 = pytest.mark.skipif(not features.check("jpg_2000"), reason="Pillow without OpenJPEG")


@WITH_JPEG2000
def test_jpeg2000_meets_its_rate(picture) -> None:  # type: ignore[no-untyped-def]
    image = picture(256, 256)
    for quality in (480, 560, 620):
        wanted = JPEG2000_FLOOR_BPP * JPEG2000_STEP**quality * 256 * 256 / 8
        assert 0.95 * wanted <= len(encode_jpeg2000(image, quality)) <= wanted


@WITH_JPEG2000
def test_jpeg2000_gets_its_colour_transform(picture) -> None:  # type: ignore[no-untyped-def]
    # A grey picture must cost hardly more than its one channel; without the transform it costs three.
    grey = picture(128, 128).convert("L")
    as_rgb = encode_jpeg2000(grey.convert("RGB"), 560)
    file = io.BytesIO()
    ratio = 8 * 128 * 128 / (8 * len(as_rgb))
    grey.save(file, "JPEG2000", no_jp2=True, irreversible=True, quality_layers=[ratio])
    decoded = Image.open(io.BytesIO(as_rgb)).convert("RGB")
    single = Image.open(io.BytesIO(file.getvalue())).convert("RGB")
    assert psnr(grey.convert("RGB"), decoded) > psnr(grey.convert("RGB"), single) - 0.3


def test_pillow_does_not_learn_heic_from_being_measured(picture) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("pillow_heif")
    from ganic.baselines.optional import decode_heic, encode_heic

    before = set(Image.SAVE), list(Image.ID)
    data = encode_heic(picture(64, 64), 50)
    assert decode_heic(data).size == (64, 64)
    assert np.asarray(decode_heic(data)).std() > 5
    assert (set(Image.SAVE), list(Image.ID)) == before
