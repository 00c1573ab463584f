"""Model files: find them, look into them, load and verify them, write them.

A model file is one ``.safetensors`` file. Its metadata hold one key, ``ganic``, whose value is this JSON
object:

    {"format": 1, "name": "photo", "system": "extreme", "config": {...}, "digest": "<64 hex digits>",
     "card": "..."}

``config`` is whatever the system needs to rebuild its networks, ``card`` the model card as Markdown.

**Digest.** SHA-256 over these bytes, JSON being canonical (keys sorted, no spaces, ASCII only, no NaN):

    "ganic model 1\\n"
    JSON [system, config]              "\\n"
    for every tensor, sorted by name:
        JSON [name, dtype, shape]      "\\n"   (dtype as safetensors calls it: F16 F32 I8 I16 I32 U8)
        the values, row-major, little-endian

Name and card are left out, so that renaming a model or correcting its card does not make another model of
it. The first 6 bytes of the digest are the *model id* that every .ganic file carries. ``load`` computes the
digest anew and refuses a file that does not match its own.

**Search order** for a name or an id: the folders of ``$GANIC_MODELS`` (separated as in ``$PATH``), then the
package's own ``ganic/weights``; within a folder by file name; the first match wins. Anything with a slash or
ending in ``.safetensors`` is a path and is not searched for.

Looking into a file (``read_info``, ``find``, ``list_models``) parses the header by hand and imports neither
numpy nor torch.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeGuard, cast, get_args

from ganic.errors import ModelFormatError, ModelMissingError
from ganic.files import write_atomic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ModelFile", "ModelInfo", "System", "digest", "find", "list_models", "load", "read_info", "save"]

System = Literal["extreme", "ganz", "jpeg", "segmentation"]

FORMAT = 1
ID_BYTES = 6
WEIGHTS = Path(__file__).parent / "weights"
MAX_DIMENSIONS = 8
MAX_HEADER_BYTES = 16 * 2**20  # the safetensors library allows 100 MB; ours are under 100 kB

# safetensors' name -> numpy's. bfloat16 is missing on purpose: numpy has none.
_DTYPES = {"F16": "<f2", "F32": "<f4", "I8": "|i1", "I16": "<i2", "I32": "<i4", "U8": "|u1"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class ModelInfo:
    """What the header of a model file says; nothing of it is verified against the tensors."""

    path: Path
    name: str
    system: System
    config: Mapping[str, Any]
    digest: str  # 64 hex digits
    card: str  # Markdown
    parameters: int  # scalars in all tensors
    file_bytes: int  # size of the file

    @property
    def model_id(self) -> bytes:
        return bytes.fromhex(self.digest)[:ID_BYTES]


@dataclass(frozen=True)
class ModelFile:
    """A loaded model whose digest has been verified.

    The tensors are writable, contiguous and own their memory.
    """

    path: Path
    name: str
    system: System
    config: Mapping[str, Any]
    digest: str
    card: str
    tensors: dict[str, NDArray[Any]]

    @property
    def model_id(self) -> bytes:
        return bytes.fromhex(self.digest)[:ID_BYTES]


@dataclass(frozen=True)
class _Tensor:
    dtype: str  # a key of _DTYPES
    shape: tuple[int, ...]
    begin: int  # in bytes from the end of the header
    end: int


# --- looking


def read_info(path: str | os.PathLike[str]) -> ModelInfo:
    """Read a model file's header. Raises ModelMissingError (no such file) or ModelFormatError."""
    return _open(Path(path))[0]


def list_models() -> tuple[ModelInfo, ...]:
    """Every model in the searched folders, in search order. Files that are not ours are passed over."""
    return tuple(_scan()[0])


def find(which: str | os.PathLike[str] | bytes) -> ModelInfo:
    """The model that ``which`` means: a path, a name, or a model id (6 bytes, or their 12 hex digits).

    Raises ModelMissingError, which says where it looked, and ModelFormatError if a path leads to something
    else.
    """
    if not isinstance(which, bytes):
        text = os.fspath(which)
        separators = {os.sep, "/", os.altsep or "/"}
        if not isinstance(which, str) or text.endswith(".safetensors") or any(s in text for s in separators):
            return read_info(text)
    found, passed_over = _scan()
    for info in found:
        if info.model_id == which or which in (info.name, info.model_id.hex()):
            return info
    raise ModelMissingError(_missing(which, found, passed_over))


def _scan() -> tuple[list[ModelInfo], list[str]]:
    """The models found, and why other .safetensors files were passed over."""
    found, passed_over = [], []
    for folder in _folders():
        if not folder.is_dir():
            continue
        for path in sorted(folder.glob("*.safetensors")):
            try:
                found.append(_info(path))
            except (ModelFormatError, ModelMissingError) as error:
                passed_over.append(str(error))
    return found, passed_over


def _info(path: Path) -> ModelInfo:
    """As `read_info`, but a file that is as it was is not read again: every file that is decoded asks."""
    try:
        state = path.stat()
    except OSError:
        return read_info(path)  # which says what is wrong
    return _info_of(path, state.st_ino, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=128)
def _info_of(path: Path, *_state: int) -> ModelInfo:
    return read_info(path)


def _folders() -> list[Path]:
    named = os.environ.get("GANIC_MODELS", "").split(os.pathsep)
    return [*(_at_home(folder) for folder in named if folder), WEIGHTS]


def _at_home(folder: str) -> Path:
    try:
        return Path(folder).expanduser()
    except RuntimeError:  # of nobody here
        return Path(folder)


def _missing(which: str | bytes, found: list[ModelInfo], passed_over: list[str]) -> str:
    what = f"model id {which.hex()}" if isinstance(which, bytes) else f"model {which!r}"
    names = ", ".join(f"{info.name} ({info.model_id.hex()})" for info in found) or "none"
    text = (
        f"{what}: not found in {', '.join(map(str, _folders()))}; models there: {names}; "
        "put its .safetensors file in a folder and name that folder in $GANIC_MODELS"
    )
    return text + "".join(f"; passed over {reason}" for reason in passed_over)


# --- loading


def load(which: str | os.PathLike[str] | bytes) -> ModelFile:
    """Load the model that ``which`` means (see ``find``) and verify its digest.

    Raises ModelMissingError, or ModelFormatError if the file is damaged, changed or not a ganic model.
    """
    import numpy as np

    info, table, start = _open(find(which).path)
    try:
        payload = memoryview(info.path.read_bytes())[start:]
    except OSError as error:
        raise ModelMissingError(f"{info.path}: cannot be read: {error.strerror or error}") from error
    if len(payload) != info.file_bytes - start:
        raise ModelFormatError(f"{info.path}: changed while it was read; try again")
    tensors = {
        # The copy makes the array writable and aligned, and lets go of the file's bytes.
        name: np.frombuffer(payload[t.begin : t.end], dtype=_DTYPES[t.dtype]).reshape(t.shape).copy()
        for name, t in table.items()
    }
    actual = digest(info.system, info.config, tensors)
    if actual != info.digest:
        raise ModelFormatError(
            f"{info.path}: digest is {actual[:12]}..., the file says {info.digest[:12]}...; "
            "the file is damaged or was edited: get it again"
        )
    return ModelFile(info.path, info.name, info.system, info.config, info.digest, info.card, tensors)


def digest(system: str, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> str:
    """The SHA-256 of the module docstring, as 64 hex digits. Raises ModelFormatError as ``save`` does."""
    import numpy as np

    state = hashlib.sha256(b"ganic model 1\n")
    state.update(_canonical([system, config]) + b"\n")
    for name in sorted(tensors):
        values = tensors[name]
        dtype = _dtype_name(name, values.dtype)
        state.update(_canonical([name, dtype, list(values.shape)]) + b"\n")
        state.update(np.ascontiguousarray(values, dtype=_DTYPES[dtype]).data)
    return state.hexdigest()


def _canonical(value: object) -> bytes:
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelFormatError(f"model config: not JSON: {error}") from error
    return text.encode("ascii")


def _dtype_name(name: str, dtype: np.dtype[Any]) -> str:
    for code, numpy_name in _DTYPES.items():
        if dtype == numpy_name or dtype.newbyteorder("<") == numpy_name:
            return code
    raise ModelFormatError(
        f"tensor {name!r}: type {dtype} cannot be stored; convert it to one of {', '.join(_DTYPES)}"
    )


# --- writing


def save(
    path: str | os.PathLike[str],
    name: str,
    system: System,
    config: Mapping[str, Any],
    tensors: Mapping[str, NDArray[Any]],
    *,
    card: str = "",
    overwrite: bool = True,
) -> ModelInfo:
    """Write a model file (whole or not at all) and return what its header says.

    ``name``: letters, digits, ``_``, ``-``, ``.``; at most 64. ``config``: anything JSON holds exactly
    (string keys; tuples would come back as lists and are refused). ``tensors``: fp16, fp32, int8, int16,
    int32 or uint8.
    Raises ModelFormatError if the model cannot be stored so, OutputError if the file cannot be written.
    """
    import numpy as np
    import safetensors.numpy

    if not _NAME.fullmatch(name) or name.endswith(".safetensors"):
        raise ModelFormatError(f"model name {name!r}: use letters, digits, '_', '-' and '.', at most 64")
    if system not in get_args(System):
        raise ModelFormatError(f"system {system!r}: must be one of {', '.join(get_args(System))}")
    if json.loads(_canonical(config)) != config:
        raise ModelFormatError("model config: changes when written as JSON; use string keys and lists only")
    description = {
        "format": FORMAT,
        "name": name,
        "system": system,
        "config": config,
        "digest": digest(system, config, tensors),
        "card": card,
    }
    # asarray keeps zero-dimensional tensors as they are, ascontiguousarray would not.
    dense = {
        key: np.asarray(value, dtype=_DTYPES[_dtype_name(key, value.dtype)], order="C")
        for key, value in tensors.items()
    }
    metadata = {"ganic": json.dumps(description, ensure_ascii=False, allow_nan=False)}
    write_atomic(path, safetensors.numpy.save(dense, metadata=metadata), overwrite=overwrite)
    return read_info(path)


# --- the header


def _open(path: Path) -> tuple[ModelInfo, dict[str, _Tensor], int]:
    """Parse and check a file's header: its description, its tensors, and where their bytes start."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            header, start = _read_header(file, size)
        description, table = _split(header)
        info = _describe(path, size, description, sum(math.prod(t.shape) for t in table.values()))
        _check_layout(table, size - start)
    except FileNotFoundError as error:
        raise ModelMissingError(
            f"{path}: no such file; `ganic models` lists the models that are here"
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        reason = getattr(error, "strerror", None) or error
        raise ModelMissingError(f"{path}: cannot be read: {reason}") from error
    except _Malformed as error:
        raise ModelFormatError(f"{path}: {error}") from error
    return info, table, start


class _Malformed(Exception):
    """Why a header is not one of ours; ``_open`` adds the file's name."""


def _read_header(file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    """safetensors: the header's length as u64 little-endian, then that much JSON."""
    length = int.from_bytes(file.read(8), "little")
    if size < 10 or length > min(size - 8, MAX_HEADER_BYTES):
        raise _Malformed("not a safetensors file, or cut short; get the model again")
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError) as error:
        raise _Malformed("not a safetensors file: its header is not JSON") from error
    if not isinstance(header, dict):
        raise _Malformed("not a safetensors file: its header is not an object")
    return header, 8 + length


def _split(header: dict[str, Any]) -> tuple[dict[str, Any], dict[str, _Tensor]]:
    metadata = header.pop("__metadata__", None)
    text = metadata.get("ganic") if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise _Malformed(
            "not a ganic model: no 'ganic' entry in its metadata; `ganic export` makes model files"
        )
    try:
        description = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _Malformed("its 'ganic' entry is not JSON") from error
    if not isinstance(description, dict):
        raise _Malformed("its 'ganic' entry is not an object")
    return description, {name: _tensor(name, entry) for name, entry in header.items()}


def _describe(path: Path, size: int, description: dict[str, Any], parameters: int) -> ModelInfo:
    if description.get("format") != FORMAT:
        raise _Malformed(f"model format {description.get('format')!r} is unknown to this ganic; update ganic")
    name, system, config = (description.get(key) for key in ("name", "system", "config"))
    digest, card = description.get("digest"), description.get("card")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _Malformed("its name is missing or malformed")
    if system not in get_args(System):
        raise _Malformed(f"system {system!r} is unknown to this ganic; update ganic")
    if not isinstance(config, dict) or not isinstance(card, str):
        raise _Malformed("its config or its card is missing")
    if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise _Malformed("its digest is missing or malformed")
    return ModelInfo(path, name, cast(System, system), config, digest, card, parameters, size)


def _tensor(name: str, entry: object) -> _Tensor:
    fields = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = (fields.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise _Malformed(f"tensor {name!r}: type {dtype!r} is not one of {', '.join(_DTYPES)}")
    if not _is_sizes(shape) or len(shape) > MAX_DIMENSIONS or not _is_sizes(offsets) or len(offsets) != 2:
        raise _Malformed(f"tensor {name!r}: malformed shape or offsets")
    tensor = _Tensor(dtype, tuple(shape), offsets[0], offsets[1])
    if tensor.end - tensor.begin != math.prod(shape) * int(_DTYPES[dtype][-1]):
        raise _Malformed(f"tensor {name!r}: its shape and its length disagree")
    return tensor


def _is_sizes(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**48 for item in value)


def _check_layout(table: dict[str, _Tensor], available: int) -> None:
    """Tensors must fill the rest of the file: no holes, no overlaps, nothing left over."""
    position = 0
    for tensor in sorted(table.values(), key=lambda t: (t.begin, t.end)):
        if tensor.begin != position:
            raise _Malformed("its tensors overlap or leave holes")
        position = tensor.end
    if position != available:
        raise _Malformed(
            f"holds {available} bytes of tensors where {position} are declared; get the model again"
        )
