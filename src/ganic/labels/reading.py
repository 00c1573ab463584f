"""Label maps in the conventions of other people's files.

    indexed               grey or palette pictures: the value of a pixel is its class, whatever colour a
                          palette gives it; 255 is no class
    camvid                CamVid's colours, folded into the 11 classes; or grey 0 to 10, 11 and 255 no class
    cityscapes            Cityscapes' colours, label ids or train ids, whichever it is
    cityscapes-ids        grey label ids 0 to 33, all of them kept as classes
    cityscapes-train-ids  grey train ids 0 to 18, 255 no class
    coco                  JSON with COCO's run-length masks, see ganic.labels.coco
    auto                  JSON is coco; a file named as Cityscapes names them, or a picture in colours that
                          only one of the others has, is that; the rest is indexed

A colour picture whose red, green and blue are equal everywhere counts as grey.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Literal, Union, cast

import numpy as np
from numpy.typing import NDArray

from ganic.bitstream import MAX_PIXELS, MAX_SIDE
from ganic.colour import raw_mode
from ganic.errors import InputError, UsageError
from ganic.labels import coco
from ganic.labels.classes import CAMVID, CAMVID_COLOURS, CITYSCAPES, CITYSCAPES_COLOURS, CITYSCAPES_IDS
from ganic.labels.maps import VOID, LabelMap

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["CONVENTIONS", "Convention", "read"]

Convention = Literal[
    "auto", "indexed", "camvid", "cityscapes", "cityscapes-ids", "cityscapes-train-ids", "coco"
]
CONVENTIONS: Final[tuple[Convention, ...]] = (
    *("auto", "indexed", "camvid", "cityscapes", "cityscapes-ids", "cityscapes-train-ids", "coco"),
)

Source = Union[str, os.PathLike[str], bytes, bytearray, memoryview, BinaryIO, "Image.Image"]
_Colours = Sequence[tuple[tuple[int, int, int], str | None]]

_MAX_BYTES: Final = 1 << 29
_ROWS: Final = 256  # how many are looked at together
_NAME_ENDS: Final[dict[str, Convention]] = {
    "_labelIds.png": "cityscapes-ids",
    "_labelTrainIds.png": "cityscapes-train-ids",
    "_color.png": "cityscapes",
}
_CAMVID_FOLD: Final = [(colour, fold) for colour, _, fold in CAMVID_COLOURS]

_LOSSY: Final = {b"\xff\xd8\xff": "JPEG", b"RIFF": "WebP", b"\0\0\0": "AVIF or HEIF"}


def read(
    source: Source | LabelMap,
    convention: Convention = "auto",
    names: Sequence[str] | None = None,
    *,
    image: int | str | None = None,
    name: str | None = None,
) -> LabelMap:
    """Read a label map from a path, the bytes of a file, a binary file object or a Pillow image.

    ``names`` are, for ``indexed``, the classes by number; without them they are called "0", "1", ... For all
    other conventions the map is given in these classes (`LabelMap.onto`) instead of its own. ``auto`` takes a
    grey picture for ``camvid`` if they are CamVid's. ``image`` chooses from a COCO file of several.
    ``name`` is what errors call the source.

    Raises InputError if it cannot be read, is over the limits of a picture, or does not follow the
    convention; UsageError for a convention that is none, for no or too many ``names``, and for ``image`` as
    `coco.to_label_map`.
    """
    if convention not in CONVENTIONS:
        raise UsageError(f"convention {convention!r}: is none; use one of {', '.join(CONVENTIONS)}")
    if names is not None and not 1 <= len(names) <= VOID:
        raise UsageError(f"{len(names)} classes: are not 1 to {VOID}; give other names")
    name = name or _name(source)
    found = source if isinstance(source, LabelMap) else _read(source, convention, names, image, name)
    return found if names is None or tuple(names) == found.names else found.onto(names)


def _read(
    source: Source, convention: Convention, names: Sequence[str] | None, image: int | str | None, name: str
) -> LabelMap:
    from PIL import Image

    if not isinstance(source, Image.Image):
        data = _bytes(source, name)
        if convention in ("auto", "coco") and _looks_like_json(data):
            return coco.to_label_map(_parsed(data, name), name, image)
        source = _opened(data, name)
    if convention == "coco":
        raise InputError(f"{name}: is a picture, not JSON; name another convention")
    return _interpret(_pixels(source, name), convention, names, name)


def _interpret(
    pixels: NDArray[np.uint8], convention: Convention, names: Sequence[str] | None, name: str
) -> LabelMap:
    if convention == "auto":
        ending = next((end for end in _NAME_ENDS if name.endswith(end)), None)
        if ending is not None:
            convention = _NAME_ENDS[ending]
        elif pixels.ndim == 3:
            convention = _by_colours(pixels, name)
        else:
            convention = "camvid" if names is not None and tuple(names) == CAMVID else "indexed"
    if pixels.ndim == 3 and convention in ("camvid", "cityscapes"):
        table, classes = (
            (_CAMVID_FOLD, CAMVID) if convention == "camvid" else (CITYSCAPES_COLOURS, CITYSCAPES)
        )
        if not _is_grey(pixels) or set(_colours(pixels)) <= _codes(table).keys():
            return _from_colours(pixels, table, classes, convention, name)
    if pixels.ndim == 3:
        if not _is_grey(pixels):
            raise InputError(f"{name}: has colours where {convention} has numbers; name another convention")
        pixels = pixels[:, :, 0]
    if convention == "indexed":
        if names is None:
            highest = int(pixels.max(initial=0, where=pixels != VOID))
            return LabelMap(pixels, tuple(map(str, range(highest + 1))))
        return _numbered(pixels, tuple(names), {VOID}, "the classes given", name)
    if convention == "camvid":
        return _numbered(pixels, CAMVID, {len(CAMVID), VOID}, convention, name)
    if convention == "cityscapes":
        convention = _ids_or_train_ids(pixels, name)
    if convention == "cityscapes-ids":
        return _numbered(pixels, CITYSCAPES_IDS, set(), convention, name)
    return _numbered(pixels, CITYSCAPES, {VOID}, convention, name)


# --- numbers


def _numbered(
    pixels: NDArray[np.uint8], names: tuple[str, ...], void: set[int], convention: str, name: str
) -> LabelMap:
    """Values that are classes, but those in ``void``."""
    table = np.full(256, VOID, np.uint8)
    table[: len(names)] = np.arange(len(names))
    wrong = np.ones(256, np.bool_)
    wrong[: len(names)] = False
    wrong[list(void)] = False
    for value in _values(pixels):
        if wrong[value]:
            raise InputError(
                f"{name}: label {value} is beyond the palette: {convention} has {len(names)} classes, 0 to "
                f"{len(names) - 1}; name the convention or the classes the map was made with"
            )
    return LabelMap(table[pixels], names)


def _ids_or_train_ids(pixels: NDArray[np.uint8], name: str) -> Convention:
    values = _values(pixels)
    ids, train_ids = any(len(CITYSCAPES) <= value < VOID for value in values), VOID in values
    if ids == train_ids:
        raise InputError(
            f"{name}: may be Cityscapes label ids or train ids; say cityscapes-ids or cityscapes-train-ids"
            if not ids
            else f"{name}: has both label ids and void train ids of Cityscapes; name another convention"
        )
    return "cityscapes-ids" if ids else "cityscapes-train-ids"


def _values(pixels: NDArray[np.uint8]) -> list[int]:
    occurs = np.zeros(256, np.bool_)
    for row in pixels:
        occurs[row] = True
    return [int(value) for value in np.flatnonzero(occurs)]


# --- colours


def _by_colours(pixels: NDArray[np.uint8], name: str) -> Convention:
    colours = set(_colours(pixels))
    tables: dict[Convention, _Colours] = {"camvid": _CAMVID_FOLD, "cityscapes": CITYSCAPES_COLOURS}
    fitting = [convention for convention, table in tables.items() if colours <= _codes(table).keys()]
    if len(fitting) == 1 and not _is_grey(pixels):
        return fitting[0]
    if not fitting and _is_grey(pixels):
        return "indexed"
    if not fitting:
        known = min((colours - _codes(table).keys() for table in tables.values()), key=len)
        raise InputError(
            f"{name}: has the colour {_triple(min(known))}, which neither CamVid nor Cityscapes has; save "
            "the numbers of the classes in a grey or palette PNG"
        )
    raise InputError(
        f"{name}: has only colours of several conventions; say which: {', '.join(fitting)}, indexed"
    )


def _from_colours(
    pixels: NDArray[np.uint8], table: _Colours, names: tuple[str, ...], convention: str, name: str
) -> LabelMap:
    numbers = {
        code: VOID if found is None else names.index(found) for code, found in sorted(_codes(table).items())
    }
    codes = np.array(list(numbers), np.uint32)
    label_of = np.array(list(numbers.values()), np.uint8)
    labels = np.empty(pixels.shape[:2], np.uint8)
    for top, block in _blocks(pixels):
        places = np.searchsorted(codes, block).clip(max=len(codes) - 1)
        unknown = codes[places] != block
        if unknown.any():
            colour = _triple(int(block[unknown][0]))
            raise InputError(
                f"{name}: has the colour {colour}, which {convention} has not; name its convention"
            )
        labels[top : top + len(block)] = label_of[places]
    return LabelMap(labels, names)


def _codes(table: _Colours) -> dict[int, str | None]:
    return {red << 16 | green << 8 | blue: found for (red, green, blue), found in table}


def _triple(code: int) -> tuple[int, int, int]:
    return code >> 16, code >> 8 & 255, code & 255


def _colours(pixels: NDArray[np.uint8]) -> Iterable[int]:
    """Every colour that occurs as one number, perhaps more than once."""
    for _, block in _blocks(pixels):
        yield from np.unique(block).tolist()


def _blocks(pixels: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.uint32]]]:
    """(first row, the colours [rows, w] of some rows as numbers)."""
    for top in range(0, len(pixels), _ROWS):
        red, green, blue = np.moveaxis(pixels[top : top + _ROWS].astype(np.uint32), 2, 0)
        yield top, red << 16 | green << 8 | blue


def _is_grey(pixels: NDArray[np.uint8]) -> bool:
    return bool((pixels[:, :, :1] == pixels[:, :, 1:]).all())


# --- files


def _name(source: Source | LabelMap) -> str:
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    named = getattr(source, "filename", None) or getattr(source, "name", None)
    return named if isinstance(named, str) else "label map"


def _bytes(source: Source, name: str) -> bytes:
    try:
        if isinstance(source, str | os.PathLike):
            with Path(source).open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
        elif isinstance(source, bytes | bytearray | memoryview):
            data = bytes(source)
        else:
            data = cast(BinaryIO, source).read(_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise InputError(f"{name}: no such file; check the name") from error
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > _MAX_BYTES:
        raise InputError(f"{name}: is over the limit of {_MAX_BYTES} bytes; give a smaller file")
    return data


def _looks_like_json(data: bytes) -> bool:
    return data[:64].removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


def _parsed(data: bytes, name: str) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: is not JSON: {error}; write it again") from error


def _opened(data: bytes, name: str) -> Image.Image:
    # The plugins' own classes: Image.open would apply its own limit to the pixel count (see ganic.images).
    from PIL.BmpImagePlugin import BmpImageFile
    from PIL.GifImagePlugin import GifImageFile
    from PIL.PngImagePlugin import PngImageFile
    from PIL.PpmImagePlugin import PpmImageFile
    from PIL.TiffImagePlugin import TiffImageFile

    file = io.BytesIO(data)
    try:
        if data.startswith(b"\x89PNG"):
            return PngImageFile(file)
        if data.startswith(b"GIF8"):
            return GifImageFile(file)
        if data.startswith(b"BM"):
            return BmpImageFile(file)
        if data.startswith((b"II*\0", b"MM\0*")):
            return TiffImageFile(file)
        if data.startswith((b"P1", b"P2", b"P4", b"P5", b"P6")):
            return PpmImageFile(file)
    except Exception as error:
        # On damaged data Pillow raises nearly everything, from OSError and SyntaxError to struct.error.
        raise InputError(f"{name}: is a broken picture: {error}; get the file again") from error
    lossy = next((kind for start, kind in _LOSSY.items() if data.startswith(start)), None)
    if lossy is not None:
        raise InputError(f"{name}: is {lossy}, which may change the numbers of classes; save the map as PNG")
    raise InputError(f"{name}: is neither a PNG, GIF, BMP, TIFF or PNM picture nor JSON; save the map as PNG")


def _pixels(image: Image.Image, name: str) -> NDArray[np.uint8]:
    """Values [h, w], or colours [h, w, 3]."""
    width, height = image.size
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS or not width * height:
        raise InputError(f"{name}: {width}x{height} pixels are none or over the limit; cut it into parts")
    levels = stored_levels(image)
    try:
        if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B", "RGB"):
            image = image.convert({"LA": "L", "PA": "P", "RGBA": "RGB", "RGBX": "RGB"}[image.mode])
        values = np.asarray(image)
    except KeyError:
        raise InputError(f"{name}: holds {image.mode} values, not classes; save it as a grey PNG") from None
    except Exception as error:  # as in _opened
        raise InputError(f"{name}: cannot be decoded: {error}; get the file again") from error
    if values.dtype not in (np.uint8, np.bool_) and (values.min() < 0 or values.max() > VOID):
        raise InputError(
            f"{name}: has values from {values.min()} to {values.max()}, where classes are 0 to 254 and 255 "
            "is none; give the map of classes, not one of instances or depths"
        )
    return values.astype(np.uint8, copy=False) // (255 // (levels - 1))


def stored_levels(image: Image.Image) -> int:
    """How many levels a picture's file has that Pillow stretches to 0 .. 255 as it loads it, else 256.

    Grey of 2 and 4 bits: the file's own values are those divided by 255 // (levels - 1).
    """
    return {"L;2": 4, "L;4": 16}.get(raw_mode(image), 256)
