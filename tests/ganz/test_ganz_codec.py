"""The codec: files of every kind come back, and nothing else does."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from ganic import bitstream, images
from ganic.errors import (
    CorruptError,
    GanicError,
    InputError,
    MismatchError,
    ModelError,
    ModelFormatError,
    ModelMissingError,
    StreamError,
    TargetError,
    TrainingError,
    UsageError,
)
from ganic.ganz import model as model_file
from ganic.ganz.budget import Progress
from ganic.ganz.codec import Codec
from ganic.ganz.latent_coder import LEVELS, STEPS
from ganic.ganz.layout import Layout
from ganic.ganz.model import Config, Model
from ganic.ganz.payload import Head


@pytest.fixture(scope="module")
def codec(tiny_file: Path) -> Codec:
    return Codec.load(tiny_file, precision="fp32")


def to_image(pixels: Tensor) -> Image.Image:
    return Image.fromarray((pixels * 255).round().byte().permute(1, 2, 0).numpy())


def error(a: Image.Image, b: Image.Image) -> float:
    return float(((np.asarray(a, float) - np.asarray(b.convert("RGB"), float)) ** 2).mean())


def wide(width: int, height: int) -> Image.Image:
    ramp = np.add.outer(np.arange(height) * 2, np.arange(width)) % 256
    return Image.fromarray(np.stack([ramp, 255 - ramp, ramp // 2], axis=2).astype(np.uint8))


def test_file_comes_back_with_exactly_its_latents(codec: Codec, picture: Image.Image) -> None:
    data = codec.encode(picture, quality=0.7, steps=6)
    codec.verify(data)
    symbols = codec.symbols(data)
    assert symbols.shape == (1, 512) and symbols.any()
    decoded = codec.decode(data)
    assert decoded.mode == "RGB" and decoded.size == picture.size
    # The picture is that of the latents, and nothing else.
    assert codec.model.basis is not None
    head = bitstream.unpack(data).streams[0]
    latents = torch.from_numpy(symbols).float() * float(codec.model.steps[head[1]])
    with torch.no_grad():
        made = codec.model.generator.synthesise(codec.model.basis(latents))
    expected = (made[0].clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()
    assert np.abs(np.asarray(decoded, float) - expected).max() <= 1
    assert codec.encode(picture, quality=0.7, steps=6) == data


def test_latents_do_not_depend_on_precision_threads_or_a_reloaded_model(
    codec: Codec, picture: Image.Image, tiny_file: Path
) -> None:
    data = codec.encode(picture, quality=0.9, steps=3)
    expected, threads = codec.symbols(data), torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            for precision in ("fp32", "bf16"):
                other = Codec.load(tiny_file, precision=precision)  # type: ignore[arg-type]
                assert np.array_equal(other.symbols(data), expected)
                difference = np.asarray(other.decode(data), int) - np.asarray(codec.decode(data), int)
                assert np.abs(difference).max() <= 1
    finally:
        torch.set_num_threads(threads)


def test_searching_makes_the_picture_better(codec: Codec, picture: Image.Image) -> None:
    size = len(codec.encode(picture, quality=0.6, steps=0))
    errors = [
        error(codec.decode(codec.encode(picture, target_bytes=size, steps=steps)), picture)
        for steps in (0, 30)
    ]
    assert errors[1] < 0.9 * errors[0]


def test_quality_is_monotone(codec: Codec, picture: Image.Image) -> None:
    files = [codec.encode(picture, quality=q, steps=0) for q in (0.0, 0.5, 1.0)]
    assert len(files[0]) < len(files[1]) < len(files[2])
    assert files[0][0] == bitstream.MAGIC[0]


@pytest.mark.parametrize("target", [40, 80, 160])
def test_targets_are_kept(codec: Codec, picture: Image.Image, target: int) -> None:
    data = codec.encode(picture, target_bytes=target, steps=100)
    assert 0.85 * target < len(data) <= target
    codec.decode(data)


def test_named_rates_and_bits_per_pixel(codec: Codec) -> None:
    image = wide(70, 60)
    for way, bpp in (({"rate": "high"}, 0.6), ({"target_bpp": 0.5}, 0.5), ({}, 0.3)):
        assert len(codec.encode(image, steps=2, **way)) <= bpp * 70 * 60 / 8


def test_targets_below_the_smallest_file(codec: Codec, picture: Image.Image) -> None:
    said = set()
    for size in range(15, 40):
        try:
            smallest = codec.encode(picture, target_bytes=size, steps=0)
        except TargetError as error:
            said.add(int(str(error).split("smallest file has ")[1].split(";")[0]))
        else:
            break
    assert len(smallest) == size <= 23 and said == {size}  # 20 of the container, 2 of ours
    assert codec.decode(smallest).size == picture.size


def test_named_rates_are_goals(codec: Codec) -> None:
    """A picture too small for its rate gets its smallest file, and what it carries does not count."""
    dot = Image.new("RGB", (1, 1), (200, 30, 90))
    smallest = codec.encode(dot, steps=0)
    assert len(smallest) <= 23 and codec.decode(smallest).size == (1, 1)
    with pytest.raises(UsageError, match="0 bytes is not a size"):
        codec.encode(dot, target_bpp=0.3, steps=0)
    tagged = dot.copy()
    exif = tagged.getexif()
    exif[0x010E] = "a dot"
    tagged.info["exif"] = exif.tobytes()
    assert len(codec.encode(tagged, steps=0)) > len(smallest) + len("a dot")


@pytest.mark.parametrize("layer", ["structured", "dense", "trained"])
def test_other_first_layers(codec: Codec, picture: Image.Image, layer: str) -> None:
    files = [
        codec.encode(picture, first_layer=layer, ratio=40, seed=300, target_bytes=90, steps=steps)
        for steps in (0, 30)
    ]
    assert max(len(data) for data in files) <= 90
    assert codec.symbols(files[1]).shape == (1, 4 if layer == "trained" else 3072 // 40)
    errors = [error(codec.decode(data), picture) for data in files]
    assert errors[1] < 0.9 * errors[0]


def test_a_model_without_basis_searches_from_noise(codec: Codec, picture: Image.Image) -> None:
    bare = Codec(replace(codec.model, basis=None, scales=None, prior=None, encoder=None), precision="fp32")
    data = bare.encode(picture, ratio=60, target_bytes=70, steps=40)
    assert bare.symbols(data).shape == (1, 51) and bare.decode(data).size == picture.size
    with pytest.raises(UsageError, match="no learned basis"):
        bare.encode(picture, first_layer="basis", quality=0.5)
    with pytest.raises(CorruptError, match="learned basis"):
        bare.decode(codec.encode(picture, quality=0.1, steps=0))


def test_a_basis_without_encoder_is_searched_too(codec: Codec, picture: Image.Image) -> None:
    slow = Codec(replace(codec.model, encoder=None), precision="fp32")
    data = slow.encode(picture, target_bytes=100, steps=30)
    assert len(data) <= 100 and np.array_equal(codec.symbols(data), slow.symbols(data))


@pytest.mark.parametrize(
    "width, height, fit, tiles", [(70, 33, "tiles", 6), (70, 33, "resized", 1), (5, 3, "auto", 1)]
)
def test_other_sizes(codec: Codec, width: int, height: int, fit: str, tiles: int) -> None:
    image = wide(width, height)
    data = codec.encode(image, quality=0.5, steps=2, fit=fit)
    assert codec.symbols(data).shape == (tiles, 512)
    assert codec.decode(data).size == (width, height)


def test_alpha_profile_and_exif_travel_along(codec: Codec, picture: Image.Image) -> None:
    coverage = Image.linear_gradient("L").resize(picture.size)
    source = images.Picture(picture, alpha=coverage, icc=b"profile", xmp=b"<x/>")
    decoded = codec.decode(codec.encode(source, quality=0.3, steps=0))
    assert decoded.mode == "RGBA" and np.array_equal(np.asarray(decoded)[:, :, 3], np.asarray(coverage))
    assert decoded.info["icc_profile"] == b"profile" and decoded.info["xmp"] == b"<x/>"


def test_files_made_together_are_those_made_alone(codec: Codec, pictures: Tensor) -> None:
    sources = [to_image(pixels) for pixels in pictures[:3]]
    together = codec.encode_many(sources, target_bytes=90, steps=8)
    assert len({len(data) for data in together}) >= 1 and all(len(data) <= 90 for data in together)
    for source, data in zip(sources, together, strict=True):
        alone = codec.encode(source, target_bytes=90, steps=8)
        # To rounding: a batch may add up in another order, so a latent at a tie may differ.
        assert abs(error(codec.decode(alone), source) - error(codec.decode(data), source)) < 0.1 * error(
            codec.decode(alone), source
        )
    assert codec.encode_many([], quality=0.5) == []


def test_progress_and_interruption(codec: Codec, picture: Image.Image) -> None:
    seen: list[Progress] = []

    def report(progress: Progress) -> None:
        seen.append(progress)
        if progress.step == 4:
            raise KeyboardInterrupt

    stops: list[int] = []
    kept = {"report": report, "on_interrupt": lambda: stops.append(len(seen))}
    data = codec.encode(picture, target_bytes=120, steps=500, **kept)
    assert len(seen) == 4 and len(data) <= 120 and stops == [4]
    assert 0 < float(seen[-1].best[0]) < 1 and codec.decode(data).size == picture.size
    bare = Codec(replace(codec.model, encoder=None), precision="fp32")
    seen.clear()
    data = bare.encode(picture, target_bytes=120, steps=500, **kept)
    assert len(seen) == 4 and len(data) <= 120 and stops == [4, 4]
    seen.clear()
    with pytest.raises(KeyboardInterrupt):  # of who does not ask for what there is
        codec.encode(picture, target_bytes=120, steps=500, report=report)


def test_a_time_budget(codec: Codec, picture: Image.Image) -> None:
    data = codec.encode(picture, target_bytes=120, steps=10**6, seconds=0.5)
    assert len(data) <= 120


@pytest.mark.parametrize(
    "options",
    [
        {"quality": 0.5, "rate": "low"},
        {"target_bpp": 0.1, "target_bytes": 10},
        {"quality": 1.1},
        {"quality": -0.1},
        {"rate": "huge"},
        {"target_bpp": 0.0},
        {"target_bpp": float("nan")},
        {"target_bytes": 0},
        {"first_layer": "structured", "ratio": 5.9},
        {"first_layer": "dense", "ratio": 769},
        {"first_layer": "structured", "seed": -1},
        {"steps": -1},
        {"seconds": 0.0},
    ],
)
def test_wrong_arguments(codec: Codec, picture: Image.Image, options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        codec.encode(picture, **options)


def test_a_search_that_is_not_finite_is_an_error(codec: Codec, picture: Image.Image) -> None:
    broken = model_file.Generator(4, 32, 8)
    with torch.no_grad():
        broken.last.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="nan"):
        Codec(replace(codec.model, generator=broken), precision="fp32").encode(picture, quality=0.5, steps=2)


def test_fidelity_is_refused(codec: Codec, picture: Image.Image) -> None:
    data = codec.encode(picture, quality=0.0, steps=0)
    with pytest.raises(UsageError, match="fidelity"):
        codec.decode(data, fidelity=0.5)


# Hostile files


@pytest.fixture(scope="module")
def sample(codec: Codec, pictures: Tensor) -> bytes:
    return codec.encode(to_image(pictures[0]), target_bytes=60, steps=0)


def repack(codec: Codec, data: bytes, streams: list[bytes], canonical: bytes = b"") -> bytes:
    """A file whose container is valid, whatever its streams hold."""
    container = bitstream.unpack(data)
    return bitstream.pack(codec.model.model_id, container.width, container.height, streams, {}, canonical)


def test_files_of_another_model(codec: Codec, sample: bytes) -> None:
    other = Codec(replace(codec.model, model_id=b"others"))
    for action in (other.decode, other.verify):
        with pytest.raises(ModelMissingError, match=codec.model.model_id.hex()):
            action(sample)


def test_every_flipped_bit_is_found(codec: Codec, sample: bytes) -> None:
    for at in range(len(sample)):
        for bit in (0, 3, 7):
            damaged = bytearray(sample)
            damaged[at] ^= 1 << bit
            with pytest.raises(GanicError):
                codec.verify(bytes(damaged))


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_mutated_files_raise_ganics_own_errors(codec: Codec, sample: bytes, data: st.DataObject) -> None:
    mutated = bytearray(sample)
    for _ in range(data.draw(st.integers(1, 4))):
        at, how = (
            data.draw(st.integers(0, len(mutated))),
            data.draw(st.sampled_from(["change", "cut", "add"])),
        )
        if how == "cut":
            del mutated[at:]
        else:
            mutated[at : at + (how == "change")] = data.draw(st.binary(max_size=6))
    if bytes(mutated) != sample:
        with pytest.raises((StreamError, MismatchError, ModelError)):
            codec.decode(bytes(mutated))


@settings(deadline=None, max_examples=100)
@given(stream=st.binary(max_size=60))
def test_any_stream_is_decoded_or_refused(codec: Codec, sample: bytes, stream: bytes) -> None:
    forged = repack(codec, sample, [stream])
    with pytest.raises((StreamError, MismatchError)):
        codec.decode(forged)  # its checksum is over no symbols, so nothing at all passes


def test_other_numbers_of_streams(codec: Codec, sample: bytes) -> None:
    (stream,) = bitstream.unpack(sample).streams
    with pytest.raises(CorruptError, match="streams"):
        codec.decode(repack(codec, sample, [stream, b""]))


def test_bytes_after_the_symbols_are_refused(codec: Codec, sample: bytes) -> None:
    (stream,) = bitstream.unpack(sample).streams
    symbols = codec.symbols(sample).astype("<i2").tobytes()
    assert repack(codec, sample, [stream], stream[:2] + symbols) == sample
    with pytest.raises(CorruptError):
        codec.decode(repack(codec, sample, [stream + b"\0"], stream[:2] + symbols))


def test_checksum_covers_the_head(codec: Codec, sample: bytes) -> None:
    (stream,) = bitstream.unpack(sample).streams
    container = bitstream.unpack(sample)
    changed = bytes([stream[0], stream[1] ^ 1]) + stream[2:]
    forged = bitstream.Container(container.model_id, 32, 32, (changed,), {}, container.crc)
    at = sample.index(stream)
    with pytest.raises(GanicError):
        codec.verify(sample[:at] + changed + sample[at + len(stream) :])
    assert forged.crc == container.crc and zlib.crc32(b"") == 0


# Model files


def test_model_file_round_trip(tiny_model: Model, tiny_file: Path, pictures: Tensor) -> None:
    loaded = model_file.load(tiny_file)
    assert loaded.config == tiny_model.config and loaded.model_id != bytes(6)
    assert loaded.encoder is not None and loaded.prior is not None and tiny_model.prior is not None
    assert np.array_equal(loaded.prior.levels, tiny_model.prior.levels)
    assert np.array_equal(loaded.tables.counts, tiny_model.tables.counts)
    z = torch.randn(2, 4)
    assert torch.allclose(loaded.generator(z), tiny_model.generator(z), atol=1e-2)  # half precision
    assert not any(p.requires_grad for p in loaded.generator.parameters())


def test_damaged_models_are_refused(tiny_model: Model, tmp_path: Path) -> None:
    from ganic import models

    def file(config: dict[str, object], tensors: dict[str, object], system: str = "ganz") -> Path:
        models.save(tmp_path / "m.safetensors", "m", system, config, tensors)  # type: ignore[arg-type]
        return tmp_path / "m.safetensors"

    config = {"latent_dim": 4, "image_size": 32, "width": 8, "encoder_features": 4}
    good = tiny_model.tensors()
    assert model_file.load(file(config, dict(good))).size == 32
    with pytest.raises(ModelError, match="not of ganz"):
        model_file.load(file(config, dict(good), "jpeg"))
    damages: list[tuple[dict[str, object], dict[str, object]]] = [
        (config | {"width": 16}, dict(good)),
        (config | {"image_size": 40}, dict(good)),
        (config | {"price": -1.0}, dict(good)),
        (config | {"fit": "other"}, dict(good)),
        (config | {"unknown": 1}, dict(good)),
        (config, {k: v for k, v in good.items() if k != "generator.last.weight"}),
        (config, {k: v for k, v in good.items() if k != "tables.counts"}),
        (config, {**good, "steps": np.zeros(STEPS, np.float32)}),
        (config, {**good, "prior.shifts": np.zeros((5, 6), np.int8)}),
        (config, {**good, "tables.supports": good["tables.supports"][:LEVELS]}),
    ]
    for wrong, tensors in damages:
        with pytest.raises(ModelFormatError):
            model_file.load(file(wrong, tensors))


def test_price_grows_with_the_square_of_the_step() -> None:
    config = Config(price=0.5)
    model_steps = model_file.quantiser_steps()
    assert config.price_at(10) == pytest.approx(0.5 * float(model_steps[10] / model_steps[0]) ** 2, rel=1e-5)
    assert Head("tiles", 0, "basis", 3).to_bytes(Layout(32, 32, 32)) == b"\0\x03"


def test_too_many_tiles_are_an_input_error(codec: Codec) -> None:
    with pytest.raises(InputError, match=r"over the limit of 1024.*generative codec"):
        codec.encode(Image.new("RGB", (32 * 1025, 1)), quality=0.5, fit="tiles")


def test_a_whole_picture_is_joined_without_copies() -> None:
    layout = Layout(50, 30, 32, "resized")
    tile = np.linspace(0, 1, 3 * 32 * 32, dtype=np.float32).reshape(1, 3, 32, 32)
    expected = Image.fromarray(np.rint(tile[0].transpose(1, 2, 0) * 255).astype(np.uint8))
    made = layout.join(tile).to_image()
    assert made.tobytes() == expected.resize((50, 30), Image.Resampling.LANCZOS).tobytes()
