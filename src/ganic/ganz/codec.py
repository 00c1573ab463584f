"""GANZ as a codec: pictures to ``.ganic`` files by search, and back without.

Encoding looks for quantised latents whose picture is close and whose code is short (`ganic.ganz.encoding`),
from where an encoder starts it or, without one, from a search for unquantised latents.  Decoding reads the
integers, which are the same everywhere, and runs the generator once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ganic import bitstream, boxes, images, models
from ganic.amounts import Amount
from ganic.entropy import SymbolDecoder
from ganic.errors import CorruptError, InputError, LimitError, ModelMissingError, UsageError
from ganic.ganz import payload
from ganic.ganz.budget import Report, Settings
from ganic.ganz.encoding import Encoding, Job
from ganic.ganz.layout import Fit, Layout
from ganic.ganz.model import Model, from_file
from ganic.ganz.payload import Head, StoredLayer
from ganic.ganz.random_linear import RATIOS
from ganic.ganz.rows import Parts
from ganic.ganz.stored_latents import coder_of, layer_of, step_of
from ganic.hardware import Precision, device_of, uses_bf16
from ganic.regions import Regions

if TYPE_CHECKING:
    from PIL import Image

Symbols = NDArray[np.int16]

NO_REGIONS = (
    "regions: a GANZ model treats all of a picture alike; name a model of the generative codec to keep parts "
    "of it"
)

RATES = {"low": 0.15, "medium": 0.3, "high": 0.6}
"""Named rate points of this system, in bits per pixel of everything but boxes."""

DEFAULT_STEPS = 40


class Codec:
    """Encodes and decodes with one model.

    Args:
        model: a loaded model (`ganic.ganz.model.load`).
        precision: of the first part of a search; its end, and decoding, are always fp32.  "auto" is bf16
            where the processor multiplies it in hardware.
        device: where the networks run.  Symbols are decoded in integers on the CPU whatever it is.
    """

    def __init__(
        self, model: Model, *, precision: Precision = "auto", device: str | torch.device = "cpu"
    ) -> None:
        self.device = device_of(device)
        self.model = model.to(self.device)
        self.bf16 = uses_bf16(precision, self.device)

    @classmethod
    def load(
        cls,
        model: str | PathLike[str] | bytes = "ganz-photo128",
        *,
        precision: Precision = "auto",
        device: str | torch.device = "cpu",
    ) -> Codec:
        """Load a model by name, path or 6-byte id.  Raises ModelError."""
        return cls(from_file(models.load(model)), precision=precision, device=device)

    def encode(
        self,
        image: images.Source | images.Picture,
        *,
        regions: Regions | None = None,
        background: float = 0.6,
        **options: Any,
    ) -> bytes:
        """Compress one picture; the other options, and what is raised, are those of `encode_many`.

        Raises UsageError for ``regions``: a latent search has none.
        """
        if regions is not None:
            raise UsageError(NO_REGIONS)
        (data,) = self.encode_many([image], **options)
        return data

    def encode_many(
        self,
        sources: Iterable[images.Source | images.Picture],
        *,
        quality: float | None = None,
        rate: str | None = None,
        target_bpp: float | None = None,
        target_bytes: int | None = None,
        steps: int | None = None,
        seconds: float | None = None,
        report: Report | None = None,
        first_layer: StoredLayer | Literal["auto"] = "auto",
        ratio: float = 50.0,
        seed: int = 0,
        fit: Fit | Literal["auto"] = "auto",
        on_interrupt: Callable[[], None] | None = None,
    ) -> list[bytes]:
        """Compress pictures together, one file each; a picture's file does not depend on the others.

        Args:
            sources: anything that `ganic.images.read` takes.
            quality: 0 (smallest) to 1 (best).
            rate: "low", "medium" or "high": 0.15, 0.3 and 0.6 bits per pixel of everything but boxes, or
                the smallest file where a picture cannot be made that small.  "medium" is what happens when
                nothing says how much.
            target_bpp: bits per pixel of the whole file, not to be exceeded.
            target_bytes: size of the whole file, not to be exceeded.
            steps: gradients per picture, 40 if None; 0 takes what the encoder says.
            seconds: a limit of time, for all pictures together.
            report: called after every step, with mean squared errors.
            first_layer: "auto" is the learned basis where the model has one, else a structured random layer.
            ratio, seed: of a random first layer.
            fit: how pictures of other sizes than the model's are treated; "auto" is the model's own choice.
            on_interrupt: called where Ctrl-C has ended the search; what it had found by then is returned.
                Without it KeyboardInterrupt is raised.

        Raises:
            UsageError: arguments contradict each other or are out of range.
            TargetError: the target is below the smallest file.
            InputError: a picture cannot be read.
            TrainingError: the search met a number that is not finite.
        """
        amount = Amount.of(
            RATES, quality=quality, rate=rate, target_bpp=target_bpp, target_bytes=target_bytes
        )
        kind = first_layer
        if kind == "auto":
            kind = "structured" if self.model.basis is None else "basis"
        inputs = self.model.latent_size(ratio) if kind in ("structured", "dense") else 0
        head = Head("tiles", 0, kind, 0, inputs=inputs, seed=seed)
        settings = Settings(steps=DEFAULT_STEPS if steps is None else steps, seconds=seconds)
        encoding = Encoding(self.model, head, amount.quality, settings, report, self.bf16)
        _ = encoding.layer  # raises before any work is done
        jobs = [self._job(images.read(source), fit, amount) for source in sources]
        if amount.is_goal:
            jobs = [encoding.feasible(job) for job in jobs]
        if not jobs:
            return []
        files, stopped = encoding.run(jobs)
        if stopped:
            if on_interrupt is None:
                raise KeyboardInterrupt
            on_interrupt()
        return files

    def _job(self, picture: images.Picture, fit: Fit | Literal["auto"], amount: Amount) -> Job:
        config = self.model.config
        chosen: Fit = config.fit if fit == "auto" else fit
        if (picture.width, picture.height) == (config.image_size, config.image_size):
            chosen = "tiles"
        several = chosen == "tiles" and max(picture.width, picture.height) > config.image_size
        overlap = config.overlap if several else 0
        try:
            layout = Layout(picture.width, picture.height, config.image_size, chosen, overlap)
        except LimitError as error:
            raise InputError(f"{error}; use the generative codec, or make it smaller") from error
        metadata = boxes.from_picture(picture)
        limit = None
        if amount.quality is None:
            limit = amount.limit(picture.width, picture.height, sum(map(len, metadata.values())))
        return Job(
            picture,
            layout,
            torch.from_numpy(layout.cut(picture)).to(self.device),
            torch.from_numpy(layout.weights).to(self.device),
            metadata,
            limit,
        )

    def verify(self, data: bytes) -> None:
        """Decode every symbol and compare the checksum, without making the picture.

        Raises StreamError if the file is damaged, MismatchError if its symbols are not those that were
        encoded, ModelMissingError if another model made it.
        """
        container, *_ = self._read(data)
        boxes.verify(container.boxes, container.width, container.height)

    def symbols(self, data: bytes) -> Symbols:
        """The latents in a file [tiles, d], in quantiser steps; raises as `verify`."""
        return self._read(data)[3]

    @torch.no_grad()
    def decode(self, data: bytes, *, fidelity: float = 0.0) -> Image.Image:
        """The picture in a file, mode RGB or RGBA; raises as `verify`.

        There is one picture for a file here, so ``fidelity`` other than 0 is a UsageError.
        """
        if fidelity != 0:
            raise UsageError("fidelity: a GANZ model has one picture for a file; leave it at 0")
        container, head, layout, symbols = self._read(data)
        layer, step = layer_of(self.model, head), step_of(self.model, head)
        parts = Parts.of(layout.count, self.model.size, self.device)

        def tiles(part: torch.Tensor) -> torch.Tensor:
            latents = part.to(self.device, torch.float32) * step
            return self.model.generator.synthesise(layer(latents)).cpu()

        made = parts.cat(tiles, parts.split(torch.from_numpy(symbols)))
        canvas = layout.join(made.contiguous().numpy())
        return boxes.onto_canvas(canvas, container.boxes, container.width, container.height)

    def _read(self, data: bytes) -> tuple[bitstream.Container, Head, Layout, Symbols]:
        container = bitstream.unpack(data)
        if container.model_id != self.model.model_id:
            raise ModelMissingError(
                f"file: made with model {container.model_id.hex()}, not with {self.model.model_id.hex()}; "
                "install that model, `ganic models` lists what is here"
            )
        if {"AREA", "LABL"} & container.boxes.keys():
            raise CorruptError("ganz file: has boxes of the generative codec; get it again")
        if len(container.streams) != 1:
            raise CorruptError(f"ganz file: {len(container.streams)} streams instead of one; get it again")
        (stream,) = container.streams
        head, layout, at = payload.parse(
            stream, container.width, container.height, self.model.size, self.model.latent_size(RATIOS[0])
        )
        if head.layer == "basis" and self.model.prior is None:
            raise CorruptError(
                "ganz file: needs a learned basis, which its model does not have; get it again"
            )
        coder = coder_of(self.model, head)
        decoder = SymbolDecoder(self.model.tables, stream[at:])
        symbols = np.empty((layout.count, coder.size), np.int16)
        for tile in symbols:
            tile[:] = coder.get(decoder)
        decoder.finish()
        container.check([stream[:at], symbols.astype("<i2").tobytes()])
        return container, head, layout, symbols
