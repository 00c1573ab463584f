"""A trained generator from a ganic model file of the system "jpeg"."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganic import models
from ganic.errors import ModelError, ModelFormatError, UsageError
from ganic.hardware import Precision, device_of, uses_bf16
from ganic.jpeg.direct import convolutional, fully_connected
from ganic.jpeg.generator import JpegGenerator
from ganic.jpeg.modern_generator import ModernGenerator
from ganic.jpeg.settings import Settings
from ganic.jpeg.synthesis import Generator, Noise


@dataclass(frozen=True)
class JpegModel:
    """A generator ready for use, in eval mode, without gradients, on ``device``.

    ``bf16``: its convolutions are computed in bfloat16 (coefficients always in float32).
    """

    generator: Generator
    name: str
    model_id: bytes
    class_names: tuple[str, ...]
    device: torch.device
    bf16: bool = False

    def paint(self, noise: Noise, settings: Settings) -> Tensor:
        """The network: planes [b, p, size, size], float32. Raises ModelError where it gives no numbers."""
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            planes = self.generator(noise, settings.features()).float()
        if not torch.isfinite(planes).all():
            raise ModelError(f"{self.name}: gives values that are not finite; its training failed")
        return planes  # type: ignore[no-any-return]

    def label_of(self, text: str | int) -> int:
        """A class by number or name; raises UsageError if the model has no such class."""
        classes = self.generator.classes
        if isinstance(text, str) and text in self.class_names:
            return self.class_names.index(text)
        if str(text).isdecimal() and int(text) < classes:
            return int(text)
        names = f" or {', '.join(self.class_names)}" if self.class_names else ""
        known = f"0 to {classes - 1}{names}" if classes else "none: it is not class-conditional"
        raise UsageError(f"class: {text!r}; the classes of {self.name} are {known}")


def load(
    which: str | os.PathLike[str] | bytes,
    device: torch.device | str = "cpu",
    *,
    precision: Precision = "auto",
    truncation: float = 1.0,
) -> JpegModel:
    """The model that ``which`` means (see ``ganic.models.find``).

    ``precision``: fp32, bf16, or auto, which is bf16 where the processor has it; ``truncation``: see
    `Generator.truncate`. Raises ModelMissingError, ModelFormatError, ModelError for a model of another
    system, and UsageError for a truncation that is not possible.
    """
    info = models.find(which)
    if info.system != "jpeg":
        raise ModelError(f"{info.path}: is of the system {info.system!r}, which does not generate JPEG files")
    return from_file(models.load(info.path), device, precision=precision, truncation=truncation)


def from_file(
    file: models.ModelFile,
    device: torch.device | str = "cpu",
    *,
    precision: Precision = "auto",
    truncation: float = 1.0,
) -> JpegModel:
    """The model in a loaded file of this system, see `load`.  Raises ModelFormatError."""
    generator = build(file.config, str(file.path))
    tensors = {name: torch.from_numpy(np.asarray(value)).float() for name, value in file.tensors.items()}
    try:
        missing, unexpected = generator.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise ModelFormatError(f"{file.path}: its tensors do not fit its config ({error})") from error
    damaged = [name for name, value in tensors.items() if not value.isfinite().all()]
    if damaged:
        raise ModelFormatError(f"{file.path}: {damaged[0]} has numbers that are not finite; export it again")
    if unexpected or any(not name.endswith("num_batches_tracked") for name in missing):
        raise ModelFormatError(f"{file.path}: lacks tensors of its config, or has others; export it again")
    generator.requires_grad_(False).eval()
    where = device_of(device)
    generator.to(where).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator.truncate(truncation)
    names = tuple(map(str, file.config.get("class_names", ())))
    bf16 = uses_bf16(precision, where)
    return JpegModel(generator, file.name, file.model_id, names, where, bf16)


def build(config: Mapping[str, Any], name: str) -> Generator:
    """The generator a config describes, with arbitrary weights; raises ModelFormatError naming ``name``."""
    kind = config.get("generator")
    try:
        if kind == "modern":
            widths = [int(width) for width in config["widths"]]
            return ModernGenerator(widths, int(config["features"]), int(config["classes"]))
        if kind == "trunk":
            return JpegGenerator(int(config["size"]))
        if kind == "convolutional":
            return convolutional(int(config["size"]))
        if kind == "fully_connected":
            return fully_connected(int(config["size"]))
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise ModelFormatError(f"{name}: its config is not that of a JPEG generator ({error})") from error
    raise ModelFormatError(f"{name}: generator {kind!r} is unknown to this ganic; update ganic")
