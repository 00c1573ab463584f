"""``Image.open("x.ganic")`` and ``image.save("x.ganic")`` in Pillow, after ``ganic.register_pillow()``.

Pillow loads no plugins by itself, so registration is a call one makes once; calling it again changes nothing.

Opening reads the file and checks its structure; size, mode, ICC profile, EXIF and XMP are there at once. The
pixels are decoded when they are first needed, and only then is the model looked for and torch imported.

    image.save("x.ganic")                            the default rate
    image.save("x.ganic", target_bpp=0.1)            whole file, in bits per pixel
    image.save("x.ganic", target_size=20_000)        whole file, in bytes
    image.save("x.ganic", rate="low")                a named rate
    image.save("x.ganic", quality=50)                0..100
    image.save("x.ganic", model="photo", ...)        another model
    image.save("x.ganic", keep_boxes=[(x, y, w, h)]) what matters, in all the ways of `ganic.encode`
    image.save("x.ganic", icc_profile=..., exif=..., xmp=...)   instead of the image's own; None: none

As in Pillow's other plugins, what is not a usable .ganic file is declined when opening (Pillow then raises
UnidentifiedImageError) and pixels that cannot be decoded raise OSError, with ganic's error as its cause.
Saving raises ganic's own errors.
"""

from __future__ import annotations

import dataclasses
from typing import IO, TYPE_CHECKING

from PIL import Image, ImageFile

from ganic.bitstream import MAGIC, MAX_FILE_BYTES, unpack
from ganic.errors import GanicError, StreamError

if TYPE_CHECKING:
    from PIL._imaging import PixelAccess

__all__ = ["EXTENSION", "FORMAT", "MIME", "GanicImageFile", "register"]

FORMAT = "GANIC"
EXTENSION = ".ganic"
MIME = "image/x-ganic"

_OPTIONS = (
    *("quality", "rate", "target_bpp", "target_size", "model", "precision"),
    *("labels", "keep", "drop", "keep_boxes", "keep_mask", "simplify_labels"),
    *("background", "segmenter", "label_format", "steps"),
)
"""What `ganic.encode` takes, under the same names."""


def register() -> None:
    """Teach Pillow the format, for this process."""
    Image.register_open(FORMAT, GanicImageFile, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_extension(FORMAT, EXTENSION)
    Image.register_mime(FORMAT, MIME)


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


class GanicImageFile(ImageFile.ImageFile):
    """A .ganic file as Pillow's users see it."""

    format = FORMAT
    format_description = "GAN-compressed image"

    _stream = b""  # the file, until its pixels are decoded

    def _open(self) -> None:
        assert self.fp is not None
        data = self.fp.read(MAX_FILE_BYTES + 1)
        try:
            container = unpack(data)
        except StreamError as error:
            raise SyntaxError(str(error)) from error  # Pillow's word for "not mine"
        self._stream = data
        self._size = container.width, container.height
        self._mode = "RGBA" if "ALPH" in container.boxes else "RGB"
        self.info.update(_info(container.boxes))

    def load(self) -> PixelAccess | None:
        if self._stream:
            import ganic

            try:
                decoded = ganic.decode(self._stream)
            except GanicError as error:
                raise OSError(str(error)) from error
            self._mode = decoded.mode
            self.im = decoded.im
            self._stream = b""
            # Everything is in memory: a file that Image.open opened can be closed.
            if self.fp is not None and self._exclusive_fp:
                self.fp.close()
            self.fp = None
        return super().load()


def _info(boxes: dict[str, bytes]) -> dict[str, bytes]:
    """The boxes under the names by which Pillow's own plugins give them."""
    info = {}
    if "iccp" in boxes:
        info["icc_profile"] = boxes["iccp"]
    if "exif" in boxes:
        info["exif"] = b"Exif\0\0" + boxes["exif"]
    if "xmp_" in boxes:
        info["xmp"] = boxes["xmp_"]
    return info


def _save(image: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    import ganic
    from ganic.images import clean_exif, clean_xmp, read

    given = image.encoderinfo
    picture = read(image)
    if "icc_profile" in given:
        picture = dataclasses.replace(picture, icc=given["icc_profile"])
    if "exif" in given:
        # Cleaned of its orientation, which read() has applied to the pixels.
        picture = dataclasses.replace(picture, exif=clean_exif(given["exif"]))
    if "xmp" in given:
        picture = dataclasses.replace(picture, xmp=clean_xmp(given["xmp"]))
    fp.write(ganic.encode(picture, **{key: given[key] for key in _OPTIONS if key in given}))
