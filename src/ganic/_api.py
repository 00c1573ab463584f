"""The functions of `import ganic`. What needs Pillow, numpy or torch is imported when it is first used."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ganic import bitstream, models
from ganic.errors import GanicError, InputError, LimitError, ModelError, ModelMissingError, UsageError

if TYPE_CHECKING:
    from PIL import Image

    from ganic.hardware import Precision
    from ganic.images import Picture, Source
    from ganic.labels import Convention, LabelMap
    from ganic.models import System
    from ganic.regions import Box, Mask, Regions

File = bytes | bytearray | memoryview | str | os.PathLike[str]
"""A .ganic file: its bytes, or its path."""


class FileCodec(Protocol):
    """What the codecs of all systems do; theirs say more about it, and can do more."""

    def encode(
        self,
        image: Source | Picture,
        *,
        quality: float | None = None,
        rate: str | None = None,
        target_bpp: float | None = None,
        target_bytes: int | None = None,
        regions: Regions | None = None,
        background: float = 0.6,
        steps: int | None = None,
    ) -> bytes:
        """A picture -> a whole file; ``quality`` and ``background`` are 0 .. 1 here."""
        ...

    def decode(self, data: bytes, *, fidelity: float = 0.0) -> Image.Image:
        """A whole file -> the picture."""
        ...

    def verify(self, data: bytes) -> None:
        """Raise what is wrong with a file, without making the picture."""
        ...


@dataclass(frozen=True)
class Info:
    """What a .ganic file says about itself; nothing is decoded to find out."""

    width: int
    height: int
    bytes: int
    """Of the whole file."""
    bpp: float
    """Bits per pixel: 8 * bytes / (width * height)."""
    model_id: str
    """12 hexadecimal digits: the beginning of the SHA-256 digest of the model that decodes the file."""
    model: str | None
    """The name of that model, or None if it is not installed here."""
    streams: tuple[int, ...]
    """Bytes of each stream of symbols."""
    boxes: dict[str, int]
    """Bytes of each box (ICC profile, EXIF, XMP, alpha) by type."""
    version: int
    """Of the file format."""
    kept: float = 1.0
    """Share of the picture that is coded; the rest is synthesised from its labels."""
    qualities: int = 1
    """How many different qualities the coded parts have."""
    labels: dict[str, float] | None = None
    """Share of the picture that is synthesised as each class; "void" is what has no label."""


def encode(
    image: Source | Picture,
    *,
    model: str | os.PathLike[str] = "photo",
    quality: float | None = None,
    rate: str | None = None,
    target_bpp: float | None = None,
    target_size: int | None = None,
    labels: LabelMap | File | None = None,
    keep: Iterable[str] = (),
    drop: Iterable[str] = (),
    keep_boxes: Sequence[Box] = (),
    keep_mask: Mask | None = None,
    simplify_labels: int = 0,
    background: float = 60,
    segmenter: str | os.PathLike[str] | None = None,
    label_format: Convention = "auto",
    steps: int | None = None,
    precision: Precision = "auto",
) -> bytes:
    """Compress a picture: a path, the bytes of a picture file, a binary file object, or a Pillow image.

    How many bytes to spend is said in at most one way: ``quality`` 0 .. 100; ``rate`` "low", "medium" (the
    default) or "high", which aim at 0.05, 0.1 and 0.2 bits per pixel (GANZ models at 0.15, 0.3 and 0.6);
    ``target_bpp`` bits per pixel or ``target_size`` bytes, both of the whole file, which is never larger, and
    at most 3 % smaller unless that is all that the model can spend (GANZ: up to 15 % smaller).

    What matters can be said in several ways at once: ``keep`` and ``drop`` name classes of the label map
    ``labels`` (a `ganic.labels.LabelMap` or a file of one, in the convention ``label_format`` of
    `ganic.labels.read`; where there is none the model ``segmenter`` makes it), ``keep_boxes`` are (x, y,
    width, height), ``keep_mask`` is a grey picture of the same size, 255 kept. The model ``street`` makes up
    what matters not at all from its labels, which ``simplify_labels`` lets be so many pixels off, to cost
    fewer bytes; others code it ``background`` quality points (0 .. 100) lower.

    ``steps`` are those of a search for what shows this picture best in so many bytes. GANZ models cannot do
    without and take 40; others say at once what is best for pictures like it, and find out more about this
    one only if asked to: eight steps take some forty times as long, and from 8 % of the perceptual distance
    at 0.05 to 18 % at 0.2 bits per pixel.

    ``model`` is the name of an installed model or the path of a model file. ``precision`` is that of the
    networks beside the entropy coder: bfloat16 is faster on processors that have it, and "auto" knows.

    Raises InputError if the picture cannot be read, TargetError if the model cannot reach the target with
    this picture, UsageError for other wrong arguments, ModelError if the model is missing or damaged.
    """
    if sum(way is not None for way in (quality, rate, target_bpp, target_size)) > 1:
        raise UsageError("encode: several of quality, rate, target_bpp and target_size; give one")
    if quality is not None and not 0 <= quality <= 100:
        raise UsageError(f"quality: {quality} is not within 0 .. 100; 100 is the best")
    if not 0 <= background <= 100:
        raise UsageError(f"background: {background} is not within 0 .. 100 quality points")
    from ganic import images

    codec = load_codec(model, precision)
    picture = images.read(image)
    matters = Matters(
        labels, tuple(keep), tuple(drop), keep_boxes, keep_mask, simplify_labels, segmenter, label_format
    )
    return codec.encode(
        picture,
        quality=None if quality is None else quality / 100,
        rate=rate,
        target_bpp=target_bpp,
        target_bytes=target_size,
        regions=matters.regions(picture, model),
        background=background / 100,
        steps=steps,
    )


@dataclass(frozen=True)
class Matters:
    """What is said of what matters in a picture: arguments of `encode`."""

    labels: LabelMap | File | None = None
    keep: Sequence[str] = ()
    drop: Sequence[str] = ()
    keep_boxes: Sequence[Box] = ()
    keep_mask: Mask | None = None
    simplify_labels: int = 0
    segmenter: str | os.PathLike[str] | None = None
    label_format: Convention = "auto"

    @property
    def is_said(self) -> bool:
        """Whether there is anything but defaults, and what only goes with other things."""
        said = self.labels is not None or self.keep_mask is not None or self.segmenter is not None
        return bool(said or self.keep or self.drop or self.keep_boxes)

    def regions(self, picture: Picture, model: str | os.PathLike[str]) -> Regions | None:
        """What that means for a picture; None where nothing is said.

        Labels are brought to the classes of ``model``, where it has some.

        Raises UsageError for contradictions and unknown classes, InputError for files that cannot be read,
        ModelError for a segmenter that is missing.
        """
        if not self.is_said:
            return None
        from ganic import regions
        from ganic.labels import read

        classes = models.find(model).config.get("classes")
        found: LabelMap | None = None
        if self.labels is not None:
            found = read(self.labels, self.label_format, classes)
        elif self.keep or self.drop or self.segmenter:
            from ganic.segmentation import Segmenter

            found = read(Segmenter.load(self.segmenter or "street-segmenter")(picture), names=classes)
        return regions.choose(
            picture.width,
            picture.height,
            labels=found,
            keep=self.keep,
            drop=self.drop,
            keep_boxes=self.keep_boxes,
            keep_mask=None if self.keep_mask is None else regions.read_mask(self.keep_mask),
            simplify_labels=self.simplify_labels,
        )


def decode(
    data: File,
    *,
    model: str | os.PathLike[str] | None = None,
    fidelity: float = 0.0,
    precision: Precision = "auto",
) -> Image.Image:
    """The picture in a .ganic file, mode RGB or RGBA, with its ICC profile, EXIF and XMP data in ``info``.

    The file says which installed model made it; ``model`` is the path of its model file where no folder of
    models has it.  ``fidelity`` 0 gives the most realistic picture, 1 the one with the least distortion
    (smoother).

    Raises a StreamError if the file is damaged, MismatchError if its symbols are not those that were encoded,
    ModelMissingError if the model that made it is not installed, or not the one given.
    """
    if not 0 <= fidelity <= 1:
        raise UsageError(f"fidelity: {fidelity} is not within 0 .. 1; 0 is the most realistic")
    file = read_file(data)
    return _decoder(file, model, precision).decode(file, fidelity=fidelity)


def info(data: File) -> Info:
    """Describe a .ganic file without decoding it. Raises a StreamError if its structure is damaged."""
    file = read_file(data)
    header = bitstream.read_header(file)
    found: models.ModelInfo | None
    try:
        found = models.find(header.model_id)
    except ModelMissingError:
        found = None
    described = Info(
        width=header.width,
        height=header.height,
        bytes=header.size,
        bpp=header.bits_per_pixel,
        model_id=header.model_id.hex(),
        model=None if found is None else found.name,
        streams=header.stream_lengths,
        boxes=header.box_lengths,
        version=bitstream.VERSION,
    )
    if not {"AREA", "LABL"} & header.box_lengths.keys():
        return described
    from ganic.extreme import layout  # numpy, but no torch

    container = bitstream.unpack(file)
    plan = layout.plan_of(container)
    classes = found.config.get("classes", ()) if found is not None else ()
    return replace(
        described,
        kept=plan.share,
        qualities=max(len(plan.drops), 1),
        labels=layout.label_shares(container, classes),
    )


def verify(data: File, *, model: str | os.PathLike[str] | None = None) -> None:
    """Decode every symbol of a .ganic file and compare their checksum; arguments and errors as of `decode`.

    The picture itself is not computed, so this takes a fraction of the time.
    """
    file = read_file(data)
    _decoder(file, model, "auto").verify(file)


def generate(
    count: int,
    *,
    model: str | os.PathLike[str] = "cifar10",
    quality: int = 75,
    subsampling: str = "4:2:0",
    label: str | int | None = None,
    seed: int = 0,
    start: int = 0,
    truncation: float = 1.0,
    precision: Precision = "auto",
) -> Iterator[bytes]:
    """JPEG files of pictures that never were, straight from a GAN's coefficients: pictures ``start`` to
    ``start + count - 1`` of ``seed``, whose bytes do not depend on ``start`` and ``count``.

    ``quality`` 1 .. 100 and ``subsampling`` 4:4:4, 4:2:2 or 4:2:0 are those of any JPEG file; ``label`` is a
    class by name or number, else classes are drawn at random; ``truncation`` below 1 makes pictures more
    typical of their class and less various (0 .. 1).

    Raises UsageError for arguments out of range, ModelError if the model is missing or of another system.
    """
    from ganic.jpeg import generate as system
    from ganic.jpeg import model as jpeg_models

    loaded = jpeg_models.load(model, precision=precision, truncation=truncation)
    pictures = system.pictures(
        loaded,
        count,
        quality=quality,
        subsampling=subsampling,
        seed=seed,
        label=None if label is None else loaded.label_of(label),
        start=start,
    )
    return (picture.data for picture in pictures)


def register_pillow() -> None:
    """Teach Pillow the format: ``Image.open("x.ganic")`` and ``picture.save("x.ganic", target_bpp=0.1)``."""
    from ganic.pillow_plugin import register

    register()


def load_codec(model: str | os.PathLike[str] | bytes, precision: Precision = "auto") -> FileCodec:
    """The codec of a model given by name, path or id, loaded once per model file and precision."""
    found = models.find(model)
    return _load(found.path, found.digest, found.system, precision)


def _decoder(file: bytes, model: str | os.PathLike[str] | None, precision: Precision) -> FileCodec:
    """The codec given, or that of the installed model that the file names; a codec refuses others' files."""
    return load_codec(bitstream.read_header(file).model_id if model is None else model, precision)


@functools.lru_cache(maxsize=4)
def _load(path: Path, digest: str, system: System, precision: Precision) -> FileCodec:
    # The digest belongs to the key: a model file that was replaced is loaded again.
    if system == "extreme":
        from ganic.extreme.codec import Codec

        return Codec.load(path, precision=precision)
    if system == "ganz":
        from ganic.ganz.codec import Codec as GanzCodec

        return GanzCodec.load(path, precision=precision)
    raise ModelError(f"{path}: is of the system {system!r}, which codes no .ganic files")


def read_file(data: File) -> bytes:
    """The bytes of a .ganic file. Raises InputError if it cannot be read, LimitError if it is huge."""
    if isinstance(data, bytes):
        return data
    if isinstance(data, bytearray | memoryview):
        return bytes(data)
    name = os.fspath(data)
    try:
        with Path(data).open("rb") as file:
            read = file.read(bitstream.MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise InputError(f"{name}: no such file; check the name") from error
    except IsADirectoryError as error:
        raise InputError(f"{name}: is a folder; name the files in it, or use -r") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(read) > bitstream.MAX_FILE_BYTES:
        raise LimitError(f"{name}: over {bitstream.MAX_FILE_BYTES} bytes; it is no .ganic file")
    return read


def naming(error: GanicError, name: str) -> str:
    """The error's message, beginning with the file that it is about."""
    message = str(error)
    return message if message.startswith(name) else f"{name}: {message.removeprefix('file: ')}"
