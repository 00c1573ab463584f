"""Checkpoints: everything a run needs to go on, as safetensors and JSON.

A checkpoint is a folder ``checkpoints/<step>`` with ``state.json`` and one or more ``part-NN.safetensors``.
It appears by one rename, so a killed run leaves either a whole one or none.  Tensors:

    network/<name>           the networks, by their names in the objective
    ema/<name>               their moving averages, where kept
    optimiser/<player>/<parameter>/<entry>   Adam's moments and step counts, by parameter name
    random/<rank>/...        the state of torch's generators in each process

A tensor larger than a part is cut into flat pieces ``<name>@0``, ``<name>@1``, ...; ``state.json`` holds its
shape.  With full precision, a resumed run continues bit for bit.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ganic.errors import TrainingError
from ganic.tensor_names import below

FORMAT = 1
STATE = "state.json"


@dataclass(frozen=True)
class State:
    """A run at the beginning of a step.

    ``step``: steps done; ``draw``: batches drawn; ``seconds``: of training so far; ``ema_updates``: see Ema.
    """

    step: int
    draw: int = 0
    seconds: float = 0.0
    ema_updates: int = 0
    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors below ``prefix/``, without it."""
        return below(self.tensors, f"{prefix}/")


def save(folder: Path, state: State, *, keep: int = 2, half: bool = False, part_bytes: int = 0) -> Path:
    """Write ``folder/<step>`` and remove all but the last ``keep``; returns where it is.

    ``half``: networks and averages as float16 (float32 where that would overflow), optimiser state as
    bfloat16, which has float32's range.  ``part_bytes``: no file becomes larger (0: no limit; at least 64 KiB
    otherwise).
    A checkpoint of that step that exists already is left as it is: it has the same contents.
    """
    target = folder / f"{state.step:08d}"
    if _readable(target):
        return target
    write(target, state, half=half, part_bytes=part_bytes)
    for old in _complete(folder)[:-keep]:
        _discard(old)
    return target


def write(target: Path, state: State, *, half: bool = False, part_bytes: int = 0) -> None:
    """Write one checkpoint folder, all at once; ``half`` and ``part_bytes`` as in :func:`save`."""
    folder = target.parent
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(".partial-*"):
        shutil.rmtree(stale, ignore_errors=True)
    partial = folder / f".partial-{uuid.uuid4().hex}"
    partial.mkdir()
    tensors = {name: _stored(name, tensor, half) for name, tensor in sorted(state.tensors.items())}
    shapes: dict[str, list[int]] = {}
    sizes: list[int] = []
    for number, part in enumerate(_parts(tensors, part_bytes, shapes)):
        path = partial / f"part-{number:02d}.safetensors"
        save_file(part, path)
        _sync(path)
        sizes.append(path.stat().st_size)
    head = {
        "format": FORMAT,
        "step": state.step,
        "draw": state.draw,
        "seconds": state.seconds,
        "ema_updates": state.ema_updates,
        "half": half,
        "parts": sizes,
        "cut": shapes,
    }
    path = partial / STATE
    path.write_text(json.dumps(head, indent=1), encoding="utf-8")
    _sync(path)
    if target.exists():
        _discard(target)
    partial.rename(target)
    _sync(folder)


def latest(folder: Path) -> State | None:
    """The newest checkpoint of ``folder`` that is whole; None where there is none."""
    complete = _complete(folder)
    return read(complete[-1]) if complete else None


def find(path: Path) -> Path:
    """The checkpoint folder meant by ``path``: itself, or the newest one of a run folder.

    Raises TrainingError when there is none.
    """
    for candidate in (path, *reversed(_complete(path)), *reversed(_complete(path / "checkpoints"))):
        if _readable(candidate):
            return candidate
    raise TrainingError(f"{path}: no checkpoint here; give a run folder or a folder with {STATE}")


def read(path: Path) -> State:
    """Read one checkpoint folder, all tensors on the CPU and as they were stored.

    Raises TrainingError naming the file when it is damaged or of another format.
    """
    try:
        head: dict[str, Any] = json.loads((path / STATE).read_text(encoding="utf-8"))
        if head.get("format") != FORMAT:
            raise TrainingError(f"{path}: checkpoint format {head.get('format')}; this ganic reads {FORMAT}")
        stored: dict[str, Tensor] = {}
        for number in range(len(head["parts"])):
            stored.update(load_file(path / f"part-{number:02d}.safetensors"))
        for name, shape in head["cut"].items():
            pieces = [stored.pop(f"{name}@{i}") for i in range(sum(n.startswith(f"{name}@") for n in stored))]
            stored[name] = torch.cat(pieces).reshape(shape)
        return State(head["step"], head["draw"], head["seconds"], head["ema_updates"], stored)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise TrainingError(
            f"{path}: damaged checkpoint ({error}); remove the folder to use an older one"
        ) from error


def means_run(source: Path) -> bool:
    """Whether this is a run's folder (or would be, if it existed) and not a model's name or file."""
    missing = not source.is_file()
    return source.is_dir() or (missing and len(source.parts) > 1 and source.suffix != ".safetensors")


def weights(path: Path, *, averaged: bool = True) -> dict[str, Tensor]:
    """The networks' weights in a run folder or checkpoint, float32: what models are exported from.

    ``averaged``: the moving averages of the networks that have one.  Names are ``<network>.<parameter>``.
    """
    state = read(find(path))
    found = state.part("network")
    if averaged:
        found.update(state.part("ema"))
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in found.items()}


def slim(source: Path, target: Path, *, part_bytes: int = 0) -> None:
    """Write ``target``, a checkpoint with what export and ``init`` need of ``source``, in half precision.

    That is the averages, and the networks that have none: no optimiser state, so no run resumes from it.
    """
    state = read(find(source))
    averages = state.part("ema")
    tensors = {
        f"network/{name}": value for name, value in state.part("network").items() if name not in averages
    }
    tensors |= {f"ema/{name}": value for name, value in averages.items()}
    write(target, replace(state, tensors=tensors), half=True, part_bytes=part_bytes)


def _stored(name: str, tensor: Tensor, half: bool) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    if not half or tensor.dtype != torch.float32 or tensor.ndim == 0:
        return tensor
    if name.startswith("optimiser/"):
        return tensor.bfloat16()
    small = tensor.half()
    return tensor if small.isinf().any() else small


def _parts(
    tensors: Mapping[str, Tensor], limit: int, shapes: dict[str, list[int]]
) -> Iterator[dict[str, Tensor]]:
    """Fill parts in order; notes the shape of every tensor it cuts in ``shapes``."""
    part: dict[str, Tensor] = {}
    room = limit
    for name, tensor in tensors.items():
        overhead = len(name) + 128  # its entry in the part's header, generously
        if not limit or _bytes(tensor) + overhead <= room - 1024:
            part[name] = tensor
            room -= _bytes(tensor) + overhead
            continue
        flat = tensor.reshape(-1)
        count = max(1, math.ceil(4 * _bytes(tensor) / limit))
        if count > 1:
            shapes[name] = list(tensor.shape)
        pieces = {f"{name}@{i}": piece.clone() for i, piece in enumerate(flat.chunk(count))}
        for piece_name, piece in pieces.items() if count > 1 else [(name, tensor)]:
            if part and _bytes(piece) + overhead > room - 1024:
                yield part
                part, room = {}, limit
            part[piece_name] = piece
            room -= _bytes(piece) + overhead
    yield part


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _complete(folder: Path) -> list[Path]:
    """Whole checkpoints in ``folder``, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(
        (p for p in folder.iterdir() if p.name.isdigit() and _readable(p)), key=lambda p: int(p.name)
    )


def _readable(path: Path) -> bool:
    """Whether the head can be read and every part has its size."""
    try:
        head = json.loads((path / STATE).read_text(encoding="utf-8"))
        files = [path / f"part-{number:02d}.safetensors" for number in range(len(head["parts"]))]
        return bool([file.stat().st_size for file in files] == head["parts"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _discard(path: Path) -> None:
    """Remove a checkpoint so that a kill half-way leaves nothing that looks like one."""
    doomed = path.with_name(f".partial-{uuid.uuid4().hex}")
    path.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _sync(path: Path) -> None:
    """Put a file, or a folder's list of names, on the disk."""
    if os.name == "nt" and path.is_dir():  # Windows cannot open folders, and needs no such thing
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
