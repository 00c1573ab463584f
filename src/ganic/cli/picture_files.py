"""Decoded pictures as files: which format a name means, and what each format can keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import click
from PIL import Image, PngImagePlugin

from ganic.errors import OutputError
from ganic.images import clean_exif

_SETTINGS: dict[str, dict[str, Any]] = {
    "PNG": {"compress_level": 6},
    "WEBP": {"lossless": True, "exact": True},
    "TIFF": {"compression": "tiff_adobe_deflate"},
    # These lose something; what they lose should not show.
    "JPEG": {"quality": 95, "subsampling": 0},
    "AVIF": {"quality": 90, "subsampling": "4:4:4"},
    "JPEG2000": {"irreversible": False},
}
_KEEP_ALPHA = frozenset({"PNG", "WEBP", "TIFF", "AVIF", "JPEG2000", "TGA", "DDS", "ICNS", "ICO", "HEIF"})
_XMP_TAG = 700
_KEEP_METADATA = frozenset({"PNG", "WEBP", "TIFF", "AVIF", "JPEG", "HEIF"})


def kind_of(name: str) -> str:
    """Pillow's name of the format that a file name, or an extension, means. Raises click.UsageError."""
    suffix = (Path(name).suffix or name).lower()
    if suffix in (".heic", ".heif"):
        try:
            import pillow_heif
        except ImportError as error:
            raise click.UsageError(f"{name}: to write HEIC install ganic[baselines].") from error
        pillow_heif.register_heif_opener()
    Image.preinit()  # the usual formats: to import all of them takes a tenth of a second
    kind = Image.EXTENSION.get(suffix) or Image.registered_extensions().get(suffix)
    if kind is None or kind not in Image.SAVE:
        raise click.UsageError(f"{name}: no picture format that can be written; try .png, .webp or .jpg.")
    return kind


def save(image: Image.Image, file: BinaryIO, kind: str, name: str) -> None:
    """Write a decoded picture with its metadata, as far as the format keeps them.

    Raises OutputError where the format cannot hold the picture: transparency, or too many pixels.
    """
    if image.mode == "RGBA" and kind not in _KEEP_ALPHA:
        raise OutputError(f"{name}: {kind} cannot hold transparency; write .png or .webp")
    settings = dict(_SETTINGS.get(kind, {}))
    if kind in _KEEP_METADATA:
        icc, exif, xmp = (image.info.get(key) for key in ("icc_profile", "exif", "xmp"))
        if icc:
            settings["icc_profile"] = icc
        if kind == "TIFF":
            # EXIF data become tags of the TIFF file itself: none may speak of another file's pixels.
            tags = Image.Exif()
            tags.load(clean_exif(exif, only_descriptive=True) or b"")
            if xmp:
                tags[_XMP_TAG] = xmp
            settings["exif"] = tags
        elif exif:
            settings["exif"] = exif
        if xmp and kind == "PNG":  # Pillow reads this chunk, but writes it only when told in this way
            chunks = PngImagePlugin.PngInfo()
            chunks.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"), zip=False)
            settings["pnginfo"] = chunks
        elif xmp and kind != "TIFF":
            settings["xmp"] = xmp
    try:
        image.save(file, kind, **settings)
    except (ValueError, OverflowError, KeyError) as error:
        raise OutputError(f"{name}: {kind} cannot hold this picture ({error}); write .png") from error
