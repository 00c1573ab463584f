"""The generative codec GC as a product: pictures to ``.ganic`` files and back.

Streams of the file: one per coding tile (:mod:`ganic.extreme.tiling`), each as
:class:`~ganic.extreme.integer_prior.IntegerPrior` writes it; the first stream starts with one more byte, the
quality index.  The checksum covers that byte and then every tile's symbols.

Files whose bits are not spread evenly have the box AREA (:mod:`ganic.extreme.allocation`); files of which a
part is synthesised also the box LABL (:mod:`ganic.extreme.selection`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from ganic import bitstream, boxes, byte_products, images, models
from ganic.allocator import expect_large_blocks
from ganic.amounts import Amount
from ganic.errors import (
    CorruptError,
    ModelError,
    ModelFormatError,
    ModelMissingError,
    TargetError,
    UsageError,
)
from ganic.extreme import eight_bit
from ganic.extreme.allocation import Allocation, Plan
from ganic.extreme.compact import Encoder, Generator
from ganic.extreme.conditioning import QUALITIES, anchor_weights
from ganic.extreme.integer_prior import COLOURS, GRID, IntegerPrior, Quantised
from ganic.extreme.layout import grid, plan_of
from ganic.extreme.prior import HyperEncoder
from ganic.extreme.rate_search import TOLERANCE, expected_index, largest_within
from ganic.extreme.selection import check_labels, conditions_of, labels_for
from ganic.extreme.shades import PRICE, Afar, Steps, in_steps, offsets
from ganic.extreme.tiling import CELL, STRIDE, Tile, in_pixels, tiles
from ganic.extreme.windowed import analyse, block_means, look_from_afar, synthesise
from ganic.hardware import Precision, device_of, uses_bf16
from ganic.regions import Regions
from ganic.tensor_names import below

if TYPE_CHECKING:
    from ganic.extreme.fitting import Fitter

Network = TypeVar("Network", bound=torch.nn.Module)

RATES = {"low": 0.05, "medium": 0.10, "high": 0.20}
"""Named rate points, in bits per pixel of everything but boxes."""

DEAREST = 2.0
"""Squared steps that a bit may be worth before a size counts as too small: symbols of 1 are all left out."""

NEAR = 24
"""Difference of quality indices for which an encoder that is told one need not look again."""

BACKGROUND_DROP = 0.6
"""How much lower, on the scale from 0 to 1, the quality of what is not kept is, unless told otherwise."""


@dataclass(frozen=True)
class _Coded:
    """A picture at one quality: no more of its symbols than a file needs, since pictures may be large."""

    quality: int
    streams: tuple[bytes, ...]
    """One per tile."""
    symbols: tuple[bytes, ...]
    """The same symbols as the checksum covers them."""

    def canonical(self) -> Iterator[bytes]:
        yield bytes([self.quality])
        yield from self.symbols


class _View:
    """What E makes of a picture: once and for all, or where E is told the quality, for one near that which is
    coded.

    ``coded``: positions [rows, columns] that will have symbols; None: all.
    """

    def __init__(
        self, encoder: Encoder, picture: images.Picture, coded: npt.NDArray[np.bool_] | None
    ) -> None:
        self._encoder, self._picture, self._coded = encoder, picture, coded
        self._told, self._fitted = 0, False
        self._latent: npt.NDArray[np.float32] | None = None

    @cached_property
    def means(self) -> npt.NDArray[np.float32]:
        """Of the pixels of every latent position [rows, columns, 3], in [0, 1]."""
        return block_means(self._picture)

    def fit(self, fitter: Fitter, plan: Plan, index: int, bpp: float, steps: int) -> None:
        """Fit the latent to the picture for files of this quality index; from then on it serves for all."""
        fitter(self.latent(plan, index), self._picture, plan.at(index), bpp, steps)
        self._fitted = True

    def latent(self, plan: Plan, index: int) -> npt.NDArray[np.float32]:
        """The latent [rows, columns, channels] for a file of this quality index."""
        elsewhere = self._encoder.conditioned and abs(index - self._told) > NEAR
        if self._latent is None or (elsewhere and not self._fitted):
            self._latent = None  # of a large picture there is no room for two
            self._latent = analyse(self._encoder, self._picture, plan.at(index).quality, self._coded)
            self._told = index
        return self._latent


class Codec:
    """Encodes and decodes with one model.

    Args:
        model: the loaded model file, of system ``extreme``.
        precision: arithmetic of encoder and generator. ``auto`` is bf16 where the processor has it, and for
            the generator's wide layers 8-bit integers where it has those and the model says how large their
            inputs get. Symbols in a file decode identically whatever is chosen; pixels differ by about half
            a grey level.
        device: where encoder and generator run; everything that decides symbols runs on the CPU in integers.
    """

    def __init__(
        self, model: models.ModelFile, *, precision: Precision = "auto", device: str | torch.device = "cpu"
    ) -> None:
        if model.system != "extreme":
            raise ModelError(
                f"{model.name}: is a model of {model.system}, not of the generative codec; choose another"
            )
        expect_large_blocks()
        self.model_id, self._path = model.model_id, model.path
        self.classes: tuple[str, ...] = tuple(model.config.get("classes", ()))
        self.device = device_of(device)
        self.dtype = torch.bfloat16 if uses_bf16(precision, self.device) else torch.float32
        self._reduces = precision == "auto" and self.device.type == "cpu"
        self._tensors = {name: torch.from_numpy(value) for name, value in model.tensors.items()}
        self._config = config = model.config
        self._generators: dict[float, Generator] = {}
        try:
            anchors = self._tensors["gain.anchors"].float()
            # Factor per quality index and latent channel: latents are multiplied by it, then rounded.
            self._gains: npt.NDArray[np.float32] = torch.exp(
                anchor_weights(torch.arange(QUALITIES)) @ anchors
            ).numpy()
            prior = {name: value.numpy() for name, value in self._part("prior").items()}
            self.prior = IntegerPrior(prior, config.get("bit_price", 0.0))
            self._shade_steps: Steps | None = None
            if self.prior.shade_index is not None:
                low, high = map(float, config["shade_steps"])
                if not (0 < low <= 256 and 0 < high <= 256):
                    raise ValueError(f"shade_steps {low}, {high}")
                self._shade_steps = low, high
        except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
            raise self._incomplete(error) from error

    @classmethod
    def load(
        cls,
        model: str | PathLike[str] | bytes = "photo",
        *,
        precision: Precision = "auto",
        device: str | torch.device = "cpu",
    ) -> Codec:
        """Load a model by name, path or 6-byte id. Raises ModelError."""
        return cls(models.load(model), precision=precision, device=device)

    # Encoding

    @torch.inference_mode()
    def encode(
        self,
        image: images.Source | images.Picture,
        *,
        quality: float | None = None,
        rate: str | None = None,
        target_bpp: float | None = None,
        target_bytes: int | None = None,
        regions: Regions | None = None,
        background: float = BACKGROUND_DROP,
        steps: int | None = None,
    ) -> bytes:
        """Compress a picture. At most one way of saying how much; without any, ``rate="medium"``.

        Args:
            image: anything that :func:`ganic.images.read` takes.
            quality: 0 (smallest) to 1 (best), without a search.
            rate: ``low``, ``medium`` or ``high``: 0.05, 0.10 and 0.20 bits per pixel of everything but boxes
                (alpha, ICC, EXIF, XMP), or the lowest quality where a picture cannot be made that small.
            target_bpp: bits per pixel of the whole file, not to be exceeded.
            target_bytes: size of the whole file, not to be exceeded.  Where the lowest quality needs more,
                symbols that cost more than they show are left out, as far as that goes.
            regions: what matters in the picture.  A selective model synthesises what matters not at all from
                its label; any model spends less on what matters less.
            background: how much lower the quality is where nothing matters, 0 to 1.
            steps: of gradient descent that fits the symbols to this picture (:mod:`ganic.extreme.fitting`):
                the same bytes then show more of it. Each takes longer than all else together; None: none.

        Raises:
            UsageError: arguments contradict each other or are out of range; regions are of another size, or
                lack the labels that this model needs to synthesise.
            TargetError: the target is below what this model can reach on this picture.
            InputError: the picture cannot be read.
        """
        picture = images.read(image)
        amount = Amount.of(
            RATES, quality=quality, rate=rate, target_bpp=target_bpp, target_bytes=target_bytes
        )
        plan, scene = self._plan(picture, regions, background)
        metadata = boxes.from_picture(picture)
        beside = sum(map(len, metadata.values()))
        guess = QUALITIES // 2  # where a search for a size begins, until more is known
        partial = 0 < plan.share < 1
        gradients = steps or 0
        if gradients:
            self._check_steps(gradients, plan)
        view = _View(self._encoder, picture, plan.coded if partial else None)

        def code(index: int, plan: Plan = plan, price: float | None = None) -> bytes:
            area = {} if plan.is_uniform else {"AREA": plan.pack()}
            coded = self._code(view, plan, index, price)
            return self._pack(picture, coded, metadata | area | scene)

        def thriftier(step: int) -> bytes:
            """Below the lowest quality bits become dearer, the more the lower the step."""
            dearness = (1 - step / QUALITIES) ** 2
            return code(0, price=self.prior.price + dearness * (DEAREST - self.prior.price))

        def search(limit: int) -> tuple[bytes | None, bytes]:
            best, smallest = largest_within(limit, code, guess)
            if best is None and not amount.is_goal:
                return largest_within(limit, thriftier)
            if best is None or len(plan.drops) < 2 or len(best) >= (1 - TOLERANCE) * limit:
                return best, smallest
            # What matters most has all that the model can give: the rest of the bytes is for the rest.
            softer, _ = largest_within(
                limit, lambda index: code(QUALITIES - 1, plan.softened(1 - index / (QUALITIES - 1)))
            )
            return max(best, softer or b"", key=len), smallest

        def look_again(data: bytes) -> None:
            """See the picture as its file shows it where nothing is coded.

            What is kept is drawn with functions that reach into its neighbours, and theirs into it.  With
            latents that take the neighbours for what G makes of them, they need not be there.
            """
            nonlocal view
            shown = self.decode(data)
            if shown.mode != "RGB":
                shown = shown.convert("RGB")
            coded = Image.fromarray(in_pixels(plan.coded, picture.height, picture.width))
            shown.paste(picture.image, mask=coded)
            view = _View(self._encoder, replace(picture, image=shown), plan.coded)

        def fit(data: bytes) -> None:
            """Fit what is seen to the picture, for files like this one."""
            nonlocal guess
            guess = bitstream.unpack(data).streams[0][0]
            bpp = 8 * (len(data) - beside) / (picture.width * picture.height)
            view.fit(self._fitter, plan, guess, bpp, gradients)

        revise = look_again if partial else fit if gradients else None

        if amount.quality is not None:
            index = round(amount.quality * (QUALITIES - 1))
            if revise:
                revise(code(index))
            return code(index)
        limit = amount.limit(picture.width, picture.height, beside)
        guess = expected_index(picture, 8 * (limit - beside) / (picture.width * picture.height))
        best, smallest = search(limit)
        if revise and (partial or best or amount.is_goal):
            revise(best or smallest)
            first = best
            best, smallest = search(limit)
            best = best or first  # a limit that could only just be kept
        if amount.is_goal:
            return best or smallest
        if best is None:
            raise TargetError(
                f"target: {limit} bytes are too few, this picture needs {len(smallest)} at the least; "
                "ask for more or make the picture smaller"
            )
        return best

    def _check_steps(self, steps: int, plan: Plan) -> None:
        if steps < 0:
            raise UsageError(f"steps: {steps}; give how many, or 0 for none")
        if plan.share < 1:
            raise UsageError(
                "steps: pictures of which a part is synthesised are not fitted; leave out, or keep everything"
            )

    def _plan(
        self, picture: images.Picture, regions: Regions | None, background: float
    ) -> tuple[Plan, dict[str, bytes]]:
        """What each latent position gets, and the label map of what gets nothing."""
        if not 0 <= background <= 1:
            raise UsageError(f"background: {background} is not within 0 and 1")
        rows, columns = -(-picture.height // STRIDE), -(-picture.width // STRIDE)
        if regions is None:
            return Plan.uniform(rows, columns), {}
        if (regions.width, regions.height) != (picture.width, picture.height):
            raise UsageError(
                f"regions: {regions.width}x{regions.height} pixels where the picture has "
                f"{picture.width}x{picture.height}; give a map of the picture's size"
            )
        importance = regions.pooled(STRIDE)
        coded = importance > 0 if self.classes else np.ones((rows, columns), dtype=bool)
        drop = np.rint((1 - importance) * background * (QUALITIES - 1)).astype(np.int64)
        scene = {} if coded.all() else {"LABL": labels_for(self.classes, regions, coded)}
        return Plan.of(drop, coded), scene

    # Networks are made when they are needed: who only decodes does not wait for the encoder.

    @cached_property
    def _encoder(self) -> Encoder:
        with torch.inference_mode(False):
            return self._placed(self._network(Encoder, "encoder"))

    @cached_property
    def _hyper_encoder(self) -> HyperEncoder:
        with torch.inference_mode(False):
            return self._network(HyperEncoder, "hyper_encoder")

    @cached_property
    def _afar(self) -> Afar:
        """Of a model with shades: what G's pictures are like from afar."""
        with torch.inference_mode(False):
            return self._network(Afar, "afar")

    @cached_property
    def _fitter(self) -> Fitter:
        # Who does not fit does not wait for what measures how pictures look.
        from ganic.extreme.fitting import Fitter
        from ganic.metrics.squeezenet import SqueezeNetFeatures

        with torch.inference_mode(False):
            generator = self._placed(self._network(Generator, "generator"))
            trunk = SqueezeNetFeatures().to(self.device)
        return Fitter(generator, trunk, self.prior, self._gains, self._choose)

    def _network(self, kind: Callable[..., Network], name: str, fidelity: float = 0.0) -> Network:
        """One of the model's networks, as float32 on the CPU.  Raises ModelFormatError."""
        state = self._part(name)
        try:
            if fidelity > 0:
                # Interpolating the weights of two generators of one lineage interpolates between their
                # pictures (network interpolation, arXiv:1811.10515).
                for key, value in self._part(f"{name}_mse").items():
                    state[key] = torch.lerp(state[key].float(), value.float(), fidelity)
            network = kind(**self._config[name])
            network.load_state_dict({key: value.float() for key, value in state.items()})
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise self._incomplete(error) from error
        return network.eval().requires_grad_(False)

    def _incomplete(self, error: Exception) -> ModelFormatError:
        return ModelFormatError(
            f"{self._path}: is no complete model of this version of ganic ({error}); get it again, or update"
        )

    def _placed(self, network: Network) -> Network:
        return network.to(self.device, self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def _part(self, name: str) -> dict[str, Tensor]:
        return below(self._tensors, f"{name}.")

    def _code(self, view: _View, plan: Plan, quality: int, price: float | None) -> _Coded:
        """Choose every tile's symbols at one quality index; ``price`` of a bit, in place of the model's."""
        area, latent = plan.at(quality), view.latent(plan, quality)
        streams, symbols = [], []
        for tile in tiles(*area.shape):
            part = area.tile(tile)
            gained = latent[tile.top : tile.bottom, tile.left : tile.right] * self._gains[part.quality]
            gained *= part.coded[:, :, None]
            chosen = self._choose(gained, part, price)
            if self._shade_steps is not None:
                chosen = self._with_shades(chosen, view, latent, area, tile, price)
            streams.append(self.prior.write(chosen))
            symbols.append(chosen.canonical())
        return _Coded(quality, tuple(streams), tuple(symbols))

    def _choose(
        self, gained: npt.NDArray[np.float32], part: Allocation, price: float | None = None
    ) -> Quantised:
        """Symbols of a tile's latent in steps [height, width, channels]."""
        height, width, _ = gained.shape
        padded = np.pad(gained, ((0, -height % CELL), (0, -width % CELL), (0, 0)), mode="edge")
        hyper = self._hyper_encoder(torch.from_numpy(padded).permute(2, 0, 1)[None])[0].contiguous().numpy()
        return self.prior.quantise(gained, hyper, part, price)

    def _with_shades(
        self,
        chosen: Quantised,
        view: _View,
        latent: npt.NDArray[np.float32],
        area: Allocation,
        tile: Tile,
        price: float | None,
    ) -> Quantised:
        """Choose a tile's shades: what its picture lacks that G draws of the symbols that are ``chosen``."""
        assert self._shade_steps is not None
        part = area.tile(tile)
        shown = chosen.latent.astype(np.float32) / (GRID * self._gains[part.quality])
        seen = look_from_afar(self._afar, latent, shown, area.quality, tile)
        missing = view.means[tile.top : tile.bottom, tile.left : tile.right] - seen
        missing *= part.coded[:, :, None]
        values = in_steps(missing, part.coarse().quality, self._shade_steps)
        return self.prior.with_shades(chosen, values, part, max(price or 0.0, PRICE))

    def _pack(self, picture: images.Picture, coded: _Coded, beside: dict[str, bytes]) -> bytes:
        streams = list(coded.streams)
        streams[0] = bytes([coded.quality]) + streams[0]
        return bitstream.pack(
            self.model_id, picture.width, picture.height, streams, beside, coded.canonical()
        )

    # Decoding

    @property
    def has_distortion_generator(self) -> bool:
        """Whether the model carries the generator of its distortion-only stage, for ``fidelity`` above 0."""
        return "generator_mse.enter.weight" in self._tensors

    def symbols(self, data: bytes) -> tuple[Quantised, ...]:
        """Every tile's symbols and latent, checked; for tests of exactness and for research. Raises as
        :meth:`verify`."""
        read: list[Quantised] = []
        container = self._unpack(data)
        area = self._area(container)
        self._read(container, area, lambda tile, value: read.append(value))
        return tuple(read)

    def verify(self, data: bytes) -> None:
        """Decode every symbol and compare the checksum, without making the picture.

        Raises:
            StreamError: the file is damaged.
            MismatchError: the symbols are not the ones that were encoded.
            ModelError: the file was made with another model.
        """
        container = self._unpack(data)
        area = self._area(container)
        self._read(container, area, lambda tile, value: None)
        if "LABL" in container.boxes:
            check_labels(container, len(self.classes))
        boxes.verify(container.boxes, container.width, container.height)

    @torch.inference_mode()
    def decode(self, data: bytes, *, fidelity: float = 0.0) -> Image.Image:
        """The picture in a ``.ganic`` file.

        Args:
            data: the whole file.
            fidelity: 0 for the most realistic picture, 1 for the one of lowest distortion (the network after
                its distortion-only stage), between them a blend of the two generators' weights.

        Raises: as :meth:`verify`; UsageError if this model has no second generator.
        """
        container = self._unpack(data)
        area = self._area(container)
        generator = self._generator(fidelity)
        latent = np.empty((*area.shape, self.prior.latent), dtype=np.int16)
        cells = area.coarse().quality
        shades = np.zeros((COLOURS, *cells.shape), dtype=np.int16)

        def place(tile: Tile, value: Quantised) -> None:
            latent[tile.top : tile.bottom, tile.left : tile.right] = value.latent
            if value.shades is not None:
                top, left = tile.top // CELL, tile.left // CELL
                _, height, width = value.shades.shape
                shades[:, top : top + height, left : left + width] = value.shades

        conditions = None
        if "LABL" in container.boxes:
            conditions = conditions_of(container, len(self.classes), area)
        self._read(container, area, place)
        canvas = images.Canvas(container.width, container.height)
        added = None
        if self._shade_steps is not None:
            added = offsets(torch.from_numpy(shades), torch.from_numpy(cells), self._shade_steps)
        synthesise(generator, latent, self._gains, area, canvas, conditions, added)
        return boxes.onto_canvas(canvas, container.boxes, container.width, container.height)

    def _unpack(self, data: bytes) -> bitstream.Container:
        container = bitstream.unpack(data)
        if container.model_id != self.model_id:
            raise ModelMissingError(
                f"file: made with model {container.model_id.hex()}, not with {self.model_id.hex()}; "
                "install that model, `ganic models` lists what is here"
            )
        return container

    def _area(self, container: bitstream.Container) -> Allocation:
        """What each latent position got; nothing large is allocated for it. Raises CorruptError."""
        count = len(tiles(*grid(container)))
        if len(container.streams) != count:
            raise CorruptError(
                f"file: {len(container.streams)} streams where {container.width}x{container.height} pixels "
                f"have {count}; the file is damaged, get it again"
            )
        if not container.streams[0]:
            raise CorruptError(
                "file: the first stream lacks its quality byte; the file is damaged, get it again"
            )
        if "LABL" in container.boxes and not self.classes:
            raise CorruptError(
                "file: has labels, of which its model knows nothing; the file is damaged, get it again"
            )
        return plan_of(container).at(container.streams[0][0])

    def _read(
        self, container: bitstream.Container, area: Allocation, place: Callable[[Tile, Quantised], None]
    ) -> None:
        """Decode tile by tile, hand each on, and compare the checksum at the end."""

        def symbols() -> Iterator[bytes]:
            yield container.streams[0][:1]
            for tile, value in self._tiles(container, area):
                place(tile, value)
                yield value.canonical()

        container.check(symbols())

    def _tiles(self, container: bitstream.Container, area: Allocation) -> Iterator[tuple[Tile, Quantised]]:
        """Every tile as the entropy model reads it, not yet checked. Raises CorruptError."""
        pairs = zip(tiles(*area.shape), container.streams, strict=True)
        for number, (tile, stream) in enumerate(pairs):
            yield tile, self.prior.read(stream[1:] if number == 0 else stream, area.tile(tile))

    def _generator(self, fidelity: float) -> Generator:
        """The generator for a fidelity; the last few are kept."""
        if not 0 <= fidelity <= 1:
            raise UsageError(f"fidelity: {fidelity} is not within 0 and 1")
        generator = self._generators.get(fidelity)
        if generator is None:
            if fidelity > 0 and not self.has_distortion_generator:
                raise UsageError("fidelity: this model has no distortion-only generator; leave it at 0")
            with torch.inference_mode(False):
                generator = self._network(Generator, "generator", fidelity)
                ranges = self._part("ranges")
                if self._reduces and ranges and byte_products.supported():
                    eight_bit.reduce(generator, ranges, self.dtype)
                self._placed(generator)
            if len(self._generators) >= 2:
                self._generators.pop(next(iter(self._generators)))
            self._generators[fidelity] = generator
        return generator
