"""ganic: GAN image compression. Photographs at a tenth of a bit per pixel, as real files.

    >>> import ganic                                                   # doctest: +SKIP
    >>> data = ganic.encode("photo.jpg", target_bpp=0.1)               # doctest: +SKIP
    >>> picture = ganic.decode(data)          # a PIL.Image.Image        doctest: +SKIP
    >>> ganic.info(data).bpp                                           # doctest: +SKIP
    0.0987

`register_pillow()` makes ``Image.open("photo.ganic")`` and ``picture.save("photo.ganic")`` work. To choose a
device or to read one's own model file again and again, keep a `Codec`. Everything raised on purpose is a
`GanicError`.

Importing ganic imports neither torch nor numpy; the first call that needs them does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganic._api import Info, decode, encode, generate, info, register_pillow, verify
from ganic.errors import (
    CorruptError,
    DataError,
    GanicError,
    InputError,
    LimitError,
    MismatchError,
    ModelError,
    ModelFormatError,
    ModelMissingError,
    NotGanicError,
    OutputError,
    RecipeError,
    StreamError,
    TargetError,
    TrailingDataError,
    TrainingError,
    TruncatedError,
    UsageError,
    VersionError,
)

if TYPE_CHECKING:
    from ganic.extreme.codec import Codec as Codec

__version__ = "0.1.0"

__all__ = [
    "Codec",
    "CorruptError",
    "DataError",
    "GanicError",
    "Info",
    "InputError",
    "LimitError",
    "MismatchError",
    "ModelError",
    "ModelFormatError",
    "ModelMissingError",
    "NotGanicError",
    "OutputError",
    "RecipeError",
    "StreamError",
    "TargetError",
    "TrailingDataError",
    "TrainingError",
    "TruncatedError",
    "UsageError",
    "VersionError",
    "__version__",
    "decode",
    "encode",
    "generate",
    "info",
    "register_pillow",
    "verify",
]


def __getattr__(name: str) -> object:
    if name == "Codec":
        from ganic.extreme.codec import Codec

        return Codec
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
