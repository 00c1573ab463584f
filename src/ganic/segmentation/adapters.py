"""Segmenters of networks that the user has: any module, TorchScript, torch.export, ONNX.

A semantic network of torchvision, weights by path (torchvision is the user's; nothing here needs it):

    network = torchvision.models.segmentation.deeplabv3_resnet50(num_classes=21)
    network.load_state_dict(torch.load("deeplab.pth", weights_only=True), strict=False)
    segmenter = from_torch(network, PASCAL_VOC_NAMES)
    labels = segmenter("street.png")

Mask R-CNN, which takes a list of pictures and returns objects:

    network = torchvision.models.detection.maskrcnn_resnet50_fpn(weights="DEFAULT")
    segmenter = from_torch(network, ganic.labels.COCO, kind="instance", threshold=0.7)

The same without Python code of the network, from files:

    from_torchscript("pspnet_cityscapes.pt", ganic.labels.CITYSCAPES)
    from_onnx("deeplab.onnx", PASCAL_VOC_NAMES)

``names`` are the classes by number, the background's first where the network has one, or a mapping from
numbers to names; ``keep`` and ``drop`` of an encoder mean these names.

Files of ``torch.save`` are pickles, which run whatever code they contain when they are opened: they are
refused.  Build the network, load its weights with ``weights_only=True``, and pass the module.
"""

from __future__ import annotations

import contextlib
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ganic.errors import ModelFormatError, ModelMissingError, UsageError
from ganic.segmentation.outputs import instance_labels, semantic_labels
from ganic.segmentation.segmenter import WINDOW, Pixels, Segmenter

Kind = Literal["semantic", "instance"]
"""What a network returns: scores of pixels (FCN, DeepLab, PSPNet), or objects with masks (Mask R-CNN)."""

Names = Sequence[str] | Mapping[int, str]
Triple = tuple[float, float, float]

IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)
SIDE = 520
"""The short side that torchvision's semantic networks expect."""
THRESHOLD = 0.5


def from_torch(
    network: Callable[..., Any],
    names: Names,
    *,
    kind: Kind = "semantic",
    mean: Triple | None = None,
    std: Triple | None = None,
    side: int = SIDE,
    threshold: float = THRESHOLD,
    device: str | torch.device = "cpu",
) -> Segmenter:
    """A segmenter of a module, or of anything that is called like one.

    Args:
        network: called with float32 RGB: a semantic network with [1, 3, h, w], an instance network with a
            list of one [3, h, w]. A module is put into eval mode on ``device``. For what it may return see
            ``ganic.segmentation.outputs``.
        names: of the classes, by number. Numbers that a mapping leaves out are called "background" (0) or
            "class 12", say.
        mean, std: what pictures in [0, 1] are normalised with. Default: ImageNet's for semantic networks, and
            nothing for instance networks, which do it themselves.
        side: short sides beyond it are reduced to it.
        threshold: smallest score of an object (instance networks).

    Raises:
        UsageError: an argument is wrong; and, when the segmenter is called, a network whose output is
            something else or has more classes than names.
    """
    normalise = _Normalise(kind, mean, std)
    if isinstance(network, torch.nn.Module):
        with contextlib.suppress(NotImplementedError):  # modules of torch.export stay as they were exported
            network.eval()
        network.to(device)

    @torch.inference_mode()
    def run(pixels: Pixels) -> Any:
        picture = torch.from_numpy(normalise(pixels)).to(device)
        return network([picture] if kind == "instance" else picture[None])

    return _segmenter(run, names, kind, side, threshold)


def from_torchscript(
    path: str | PathLike[str],
    names: Names,
    *,
    kind: Kind = "semantic",
    mean: Triple | None = None,
    std: Triple | None = None,
    side: int = SIDE,
    threshold: float = THRESHOLD,
    device: str | torch.device = "cpu",
) -> Segmenter:
    """A segmenter of a TorchScript file (``torch.jit.script`` or ``trace``, then ``save``).

    The arguments are those of ``from_torch``. Such a file holds a program in TorchScript's own language, and
    no pickles of Python objects.
    Raises ModelMissingError, ModelFormatError (something else, pickles among them) and UsageError.
    """
    name = fspath(path)
    kind_of_file = _archive(Path(path))
    if kind_of_file == "export":
        raise ModelFormatError(
            f"{name}: is a program of torch.export, and its file may hold pickles, which run any code; "
            "if you trust it, pass from_torch the module torch.export.load(...).module()"
        )
    if kind_of_file != "script":
        raise ModelFormatError(
            f"{name}: is not TorchScript but, it seems, a file of torch.save: a pickle, which runs any code "
            "when it is opened; build the network, load its weights with torch.load(..., weights_only=True), "
            "and pass it to from_torch"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the format is old, and so are many networks
            network = torch.jit.load(name, map_location=device)  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise ModelFormatError(f"{name}: TorchScript that this torch cannot load ({error})") from error
    return from_torch(
        network, names, kind=kind, mean=mean, std=std, side=side, threshold=threshold, device=device
    )


def from_onnx(
    path: str | PathLike[str],
    names: Names,
    *,
    kind: Kind = "semantic",
    mean: Triple | None = None,
    std: Triple | None = None,
    side: int = SIDE,
    threshold: float = THRESHOLD,
    providers: Sequence[str] = ("CPUExecutionProvider",),
) -> Segmenter:
    """A segmenter of an ONNX file, run by onnxruntime; see ``from_torch``.

    A file whose input has a fixed size gets pictures resized to it, whatever their shape.
    Raises UsageError (also where onnxruntime is missing), ModelMissingError and ModelFormatError.
    """
    try:
        import onnxruntime  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ModuleNotFoundError as error:
        raise UsageError("ONNX networks: onnxruntime is not installed; pip install onnxruntime") from error
    name = _existing(Path(path))
    try:
        session = onnxruntime.InferenceSession(name, providers=list(providers))
    except Exception as error:  # onnxruntime's exceptions have no common class
        raise ModelFormatError(f"{name}: onnxruntime cannot load it ({error})") from error
    inputs = session.get_inputs()
    shape = inputs[0].shape if len(inputs) == 1 else []
    if len(shape) not in (3, 4):
        described = ", ".join(f"{one.name} {one.shape}" for one in inputs)
        raise ModelFormatError(f"{name}: has the inputs {described}; one picture [1, 3, h, w] is needed")
    fixed = (shape[-1], shape[-2]) if all(isinstance(n, int) for n in shape[-2:]) else None
    normalise = _Normalise(kind, mean, std)

    def run(pixels: Pixels) -> Any:
        picture = normalise(pixels)
        return session.run(None, {inputs[0].name: picture[None] if len(shape) == 4 else picture})

    return _segmenter(run, names, kind, side, threshold, fixed)


def _segmenter(
    run: Callable[[Pixels], Any],
    names: Names,
    kind: Kind,
    side: int,
    threshold: float,
    fixed: tuple[int, int] | None = None,
) -> Segmenter:
    """``fixed``: the one (width, height) that ``run`` takes."""
    names = _listed(names)
    if not 0 < side <= WINDOW:
        raise UsageError(f"side: {side} pixels; choose 1 to {WINDOW}")
    if kind not in ("semantic", "instance"):
        raise UsageError(f"kind: {kind!r} is neither 'semantic' nor 'instance'")

    def classify(pixels: Pixels) -> Pixels:
        if fixed is not None:
            pixels = np.array(Image.fromarray(pixels).resize(fixed, Image.Resampling.BICUBIC))
        height, width = pixels.shape[:2]
        output = run(pixels)
        if kind == "instance":
            return instance_labels(output, height, width, len(names), threshold)
        return semantic_labels(output, height, width, len(names))

    def classify_at_its_size(pixels: Pixels) -> Pixels:
        height, width = pixels.shape[:2]
        return np.array(Image.fromarray(classify(pixels)).resize((width, height), Image.Resampling.NEAREST))

    if fixed is not None:
        return Segmenter(names, classify_at_its_size, (1, side), windows=False)
    return Segmenter(names, classify, (1, side), windows=kind == "semantic")


def _listed(names: Names) -> tuple[str, ...]:
    if isinstance(names, Mapping):
        numbers = range(max(names, default=-1) + 1)
        if not names or min(names) < 0:
            raise UsageError("names: no classes; give a name for each number from 0 to 254 that occurs")
        names = [names.get(n, f"class {n}" if n else "background") for n in numbers[:256]]
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise UsageError(
            f"names: {repeated[0]!r} stands for several classes; pass a mapping from numbers to names, "
            "such as ganic.labels.COCO"
        )
    if not 0 < len(names) < 256:
        raise UsageError(f"names: {len(names)} classes; a label map holds 1 to 255")
    return tuple(names)


class _Normalise:
    """RGB uint8 [h, w, 3] -> float32 [3, h, w], (x / 255 - mean) / std."""

    def __init__(self, kind: Kind, mean: Triple | None, std: Triple | None) -> None:
        plain = kind == "instance"
        self._mean = np.array(mean or ((0, 0, 0) if plain else IMAGENET_MEAN), dtype=np.float32)
        self._std = np.array(std or ((1, 1, 1) if plain else IMAGENET_STD), dtype=np.float32)
        if self._mean.shape != (3,) or self._std.shape != (3,) or not (self._std > 0).all():
            raise UsageError("mean, std: three numbers each, for R, G and B in [0, 1]; std above 0")

    def __call__(self, pixels: Pixels) -> NDArray[np.float32]:
        values = (pixels.astype(np.float32) / np.float32(255) - self._mean) / self._std
        return np.ascontiguousarray(values.transpose(2, 0, 1))


def _archive(path: Path) -> Literal["script", "export", "other"]:
    """What kind of file torch wrote, by the names in its zip archive; nothing in it is opened."""
    name = _existing(path)
    if not zipfile.is_zipfile(path):
        return "other"
    try:
        with zipfile.ZipFile(path) as archive:
            members = ["/".join(member.split("/")[1:]) for member in archive.namelist()]
    except (zipfile.BadZipFile, OSError) as error:
        raise ModelFormatError(f"{name}: a damaged archive ({error})") from error
    if "constants.pkl" in members and any(member.startswith("code/") for member in members):
        return "script"
    return "export" if "models/model.json" in members else "other"


def _existing(path: Path) -> str:
    if not path.is_file():
        raise ModelMissingError(f"{path}: no such file; give the path of the network's file")
    return str(path)
