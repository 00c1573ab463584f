"""Pictures in and out.

``read`` opens whatever Pillow opens and returns a ``Picture``: upright 8-bit RGB pixels, an alpha channel if
anything is transparent, and the metadata that go with them. ``Canvas`` is the way back: decoded windows are
pasted in, a Pillow image with the same metadata comes out.

- The EXIF orientation is applied to the pixels and removed from the EXIF and XMP data.
- EXIF data are written anew without the thumbnail, which is of the picture before turning and often larger
  than the whole coded file. Of a TIFF file only the descriptive tags are kept, not those of its pixel layout.
- Colour, grey, palettes, 16 bits and ICC profiles: see ``ganic.colour``.
- Of animations and other files with several pictures the first is taken.

Memory: Pillow stores RGB with 4 bytes per pixel, 400 MB for 100 megapixels. That copy is the only one that
lives on; converting from another mode or turning needs a second one for a moment. Nothing here holds a whole
picture as a NumPy array.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile

from ganic.bitstream import MAGIC, MAX_PIXELS, MAX_SIDE
from ganic.colour import UnsupportedPixels, to_rgb, white_of
from ganic.errors import InputError
from ganic.files import write_atomic

__all__ = ["Canvas", "Picture", "Source", "clean_exif", "clean_xmp", "read", "write_atomic"]

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image

# How to turn the stored pixels upright, by EXIF orientation (EXIF 2.32, 4.6.4, tag 0x0112); 1 is upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF_PREAMBLE = b"Exif\0\0"
_XMP_ORIENTATION = re.compile(
    rb"""\s*tiff:Orientation\s*=\s*(?:"[^"]*"|'[^']*')|<tiff:Orientation>[^<]*</tiff:Orientation>"""
)
_DESCRIPTIVE_TAGS = frozenset(
    {
        ExifTags.Base.ImageDescription,
        ExifTags.Base.Make,
        ExifTags.Base.Model,
        ExifTags.Base.Software,
        ExifTags.Base.DateTime,
        ExifTags.Base.Artist,
        ExifTags.Base.Copyright,
        ExifTags.IFD.Exif,
        ExifTags.IFD.GPSInfo,
    }
)


@dataclass(frozen=True)
class Picture:
    """An upright picture and what belongs to it. The pixels may be shared with the image it was read from."""

    image: Image.Image  # mode RGB
    alpha: Image.Image | None = None  # mode L, same size; None: opaque everywhere
    icc: bytes | None = None  # an RGB profile; None: sRGB
    exif: bytes | None = None  # the TIFF structure without the "Exif" preamble, without orientation
    xmp: bytes | None = None  # an XMP packet, without orientation

    def __post_init__(self) -> None:
        if self.image.mode != "RGB":
            raise ValueError(f"a Picture holds RGB pixels, not {self.image.mode}; use ganic.images.read")
        if self.alpha is not None and (self.alpha.mode != "L" or self.alpha.size != self.image.size):
            raise ValueError(f"alpha is {self.alpha.mode} {self.alpha.size}, not L {self.image.size}")

    @property
    def width(self) -> int:
        return self.image.width

    @property
    def height(self) -> int:
        return self.image.height

    def window(self, x0: int, y0: int, x1: int, y1: int) -> NDArray[np.uint8]:
        """The pixels x0 <= x < x1, y0 <= y < y1 as a writable uint8 array [y1-y0, x1-x0, 3]."""
        if not (0 <= x0 < x1 <= self.width and 0 <= y0 < y1 <= self.height):
            raise ValueError(f"window {x0, y0, x1, y1} is empty or not inside {self.width}x{self.height}")
        return np.array(self.image.crop((x0, y0, x1, y1)))


class Canvas:
    """An output picture that is filled window by window."""

    def __init__(self, width: int, height: int) -> None:
        self._image = Image.new("RGB", (width, height))

    def paste(self, x: int, y: int, window: NDArray[np.uint8]) -> None:
        """Put ``window``, uint8 [h, w, 3], with its upper left corner at (x, y) >= 0.

        What reaches over the right or the lower edge is cut off.
        """
        if window.ndim != 3 or window.shape[2] != 3 or window.dtype != np.uint8 or x < 0 or y < 0:
            raise ValueError(f"cannot paste {window.dtype} {window.shape} at {x, y}")
        self._image.paste(Image.fromarray(window), (x, y))

    def fill(self, picture: Image.Image) -> None:
        """Take a whole picture of this size, mode RGB; it is used up."""
        if (picture.size, picture.mode) != (self._image.size, "RGB"):
            raise ValueError(f"cannot fill {self._image.size} with {picture.mode} {picture.size}")
        self._image = picture

    def to_image(
        self,
        alpha: Image.Image | None = None,
        icc: bytes | None = None,
        exif: bytes | None = None,
        xmp: bytes | None = None,
    ) -> Image.Image:
        """The finished picture, mode RGB or RGBA, with the metadata where Pillow looks for them.

        Not a copy: the canvas is used up. ``exif`` is without the "Exif" preamble, ``image.info`` has it, as
        Pillow's JPEG writer wants it.
        """
        image = self._image
        if alpha is not None:
            image.putalpha(alpha)  # in place: Pillow's RGB has the fourth byte already
        if icc is not None:
            image.info["icc_profile"] = icc
        if exif is not None:
            image.info["exif"] = _EXIF_PREAMBLE + exif
        if xmp is not None:
            image.info["xmp"] = xmp
        return image


def read(source: Source | Picture, *, name: str | None = None) -> Picture:
    """Read a picture from a path, the bytes of a file, a binary file object, or a Pillow image.

    ``name`` is what errors call it; by default the path or what else is known. A Pillow image is not changed.
    Raises InputError if there is no such file or it is not a picture, is damaged or truncated, is of a kind
    without a defined conversion, or is larger than ganic.bitstream.MAX_PIXELS or MAX_SIDE.
    """
    if isinstance(source, Picture):
        return source
    name = name or _name(source)
    if isinstance(source, Image.Image):
        return _convert(source, name, detach=False)
    with _open(source, name) as stream:
        return _convert(_identify(stream, name), name, detach=True)


# --- opening


def _name(source: Source) -> str:
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    named = getattr(source, "filename", None) or getattr(source, "name", None)
    return named if isinstance(named, str) else "picture"


def _open(source: Source, name: str) -> BinaryIO:
    """The file as something seekable that begins at 0, for the caller to close."""
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(source)
    if not isinstance(source, str | os.PathLike):
        try:
            return io.BytesIO(cast(BinaryIO, source).read())
        except (OSError, AttributeError, TypeError, ValueError) as error:
            raise InputError(f"{name}: is not a readable binary file: {error}") from error
    try:
        path = Path(source)
        if path.exists() and not path.is_file() and not path.is_dir():  # a pipe, a device
            return io.BytesIO(path.read_bytes())
        return path.open("rb")
    except FileNotFoundError as error:
        raise InputError(f"{name}: no such file; check the name") from error
    except IsADirectoryError as error:
        raise InputError(f"{name}: is a folder; name the pictures in it, or use -r") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: cannot be opened: {getattr(error, 'strerror', None) or error}") from error


def _identify(stream: BinaryIO, name: str) -> ImageFile.ImageFile:
    """What Image.open does, without its check of the pixel count.

    That check follows the module global Image.MAX_IMAGE_PIXELS: it warns from 89 megapixels on and refuses
    179. ganic has a limit of its own (_check_size) and must not change a global that other users of Pillow,
    perhaps in other threads, rely on. So the registered openers are called directly.
    """
    prefix = stream.read(16)
    tried: set[str] = set()
    for load_plugins in (Image.preinit, Image.init):  # the common ones first: the others take time to import
        load_plugins()
        for kind in [kind for kind in Image.ID if kind not in tried]:
            tried.add(kind)
            opener, accept = Image.OPEN[kind]
            stream.seek(0)
            try:
                accepted = accept(prefix) if accept else True
                if accepted and not isinstance(accepted, str):  # a string says why not
                    return opener(stream, "")
            except (SyntaxError, IndexError, TypeError, struct.error):
                continue  # by Pillow's convention: not this format after all
            except Exception as error:
                raise InputError(f"{name}: broken {kind} file: {error or type(error).__name__}") from error
    if (heif := _heif(stream, prefix)) is not None:
        return heif
    raise InputError(f"{name}: {_not_a_picture(prefix)}")


def _heif(stream: BinaryIO, prefix: bytes) -> ImageFile.ImageFile | None:
    """HEIC, what many telephones write, if the optional pillow-heif is installed; registers nothing."""
    if prefix[4:8] != b"ftyp":
        return None
    try:
        plugin: Any = importlib.import_module("pillow_heif.as_plugin")
        stream.seek(0)
        return cast(ImageFile.ImageFile, plugin.HeifImageFile(stream, ""))
    except (ImportError, SyntaxError):
        return None


def _not_a_picture(prefix: bytes) -> str:
    if not prefix:
        return "is empty"
    if prefix.startswith(MAGIC):
        return "is a .ganic file already; decode it first"
    if prefix[4:8] == b"ftyp":
        return "is an HEIF file or a film that cannot be opened here; for HEIC install pillow-heif"
    return "is not a picture in a format that Pillow opens; convert it to PNG"


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise InputError(f"{name}: has no pixels ({width}x{height})")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise InputError(
            f"{name}: {width}x{height} pixels are over the limit of {MAX_SIDE} a side and {MAX_PIXELS} in "
            "all; cut it into parts"
        )


def _explain(error: Exception, kind: str) -> str:
    if isinstance(error, MemoryError):
        return "its pixels do not fit into memory; free some, or cut the picture into parts"
    if isinstance(error, UnsupportedPixels):
        return str(error)
    return f"broken {kind} data: {error or type(error).__name__}"


# --- converting


def _convert(image: Image.Image, name: str, *, detach: bool) -> Picture:
    """Load, turn upright, split into RGB and alpha. ``detach``: let go of the file and its decoder.

    One name for the picture all along, so that what it was before a step is freed after it.
    """
    _check_size(image, name)
    kind = getattr(image, "format", None) or "image"
    try:
        white = white_of(image)
        image.load()
        orientation, exif = _orientation(image), _exif(image)
        xmp = clean_xmp(image.info.get("xmp"))
        icc = image.info.get("icc_profile") or None
        if detach:
            # An opened file keeps its decoder, some with buffers as large as the picture. No copy is made.
            image = image._new(image.im)
        if orientation in _UPRIGHT:
            image = image.transpose(_UPRIGHT[orientation])
        rgb, alpha, icc = to_rgb(image, icc, white=white)
        return Picture(rgb, alpha, icc, exif, xmp)
    except Exception as error:
        # Pillow's plugins raise nearly everything on damaged data, from OSError to KeyError to zlib.error.
        raise InputError(f"{name}: {_explain(error, kind)}") from error


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a picture with broken metadata is still a picture
        return 1
    return value if isinstance(value, int) else 1


def _exif(image: Image.Image) -> bytes | None:
    try:
        exif = image.getexif()
    except Exception:  # as above
        return None
    return clean_exif(exif, only_descriptive=getattr(image, "format", None) == "TIFF")


def clean_exif(exif: bytes | Image.Exif | None, *, only_descriptive: bool = False) -> bytes | None:
    """EXIF data for the exif box: no preamble, no orientation, no thumbnail; None if nothing is left.

    Data that cannot be parsed and written again are dropped: they must not keep a picture from being coded.
    """
    if exif is None:
        return None
    try:
        clean = Image.Exif()  # a copy: deleting from the image's own would change the image
        clean.load(exif if isinstance(exif, bytes) else exif.tobytes())
        for tag in list(clean):
            if tag == ExifTags.Base.Orientation or (only_descriptive and tag not in _DESCRIPTIVE_TAGS):
                del clean[tag]
        if not list(clean):
            return None
        return clean.tobytes().removeprefix(_EXIF_PREAMBLE)
    except Exception:  # Pillow's EXIF parser, like its plugins, raises nearly everything on damaged data
        return None


def clean_xmp(xmp: bytes | str | None) -> bytes | None:
    """An XMP packet for the xmp_ box: UTF-8 bytes without the orientation, None if there is none."""
    if not isinstance(xmp, bytes | str):
        return None
    packet = xmp.encode("utf-8", "surrogateescape") if isinstance(xmp, str) else xmp
    return _XMP_ORIENTATION.sub(b"", packet) or None
