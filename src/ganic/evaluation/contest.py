"""The contest: every picture through the tested codec, then through every opponent within the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ganic._api import naming
from ganic.baselines import Baseline, match_or_smallest
from ganic.errors import DataError, InputError, UsageError
from ganic.evaluation.instruments import Instruments
from ganic.evaluation.results import Codec, Evaluation, Measurement, SetDistance, SetResult, summarise
from ganic.evaluation.store import Store, digest
from ganic.metrics import Gaussian, frechet_distance

if TYPE_CHECKING:
    from PIL import Image

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".ppm"})

Progress = Callable[[int, int, str], None]
"""Called with (steps done, steps in all, what is next)."""


class PictureCodec(Protocol):
    """All an evaluation needs of the codec under test, bound to one rate point."""

    @property
    def identity(self) -> str:
        """Everything its bytes depend on (model digest, rate, ...): kept results are used again only if
        equal."""
        ...

    def encode(self, image: Image.Image) -> bytes:
        """An RGB picture -> the bytes of the whole file."""
        ...

    def decode(self, data: bytes) -> Image.Image:
        """Those bytes -> a picture of the same size."""
        ...


@dataclass(frozen=True)
class Opponent:
    """A baseline, and the multiple of the tested codec's bytes that it gets."""

    baseline: Baseline
    budget: float = 1.0

    def __post_init__(self) -> None:
        if not self.budget > 0:
            raise UsageError(f"{self.baseline.name}: a budget of {self.budget}; pass a positive multiple")

    @property
    def key(self) -> str:
        """``avif``, or ``avif-x2`` where it gets twice the bytes."""
        return self.baseline.name if self.budget == 1 else f"{self.baseline.name}-x{self.budget:g}"

    @property
    def title(self) -> str:
        """For readers."""
        title = self.baseline.title
        return title if self.budget == 1 else f"{title}, {self.budget:g}x the bytes"


def find_pictures(folder: Path) -> list[Path]:
    """The pictures of a folder and its subfolders by name; raises DataError when there are none."""
    pictures = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
    if not pictures:
        raise DataError(f"{folder}: no pictures there; name a folder with photographs")
    return pictures


@dataclass(frozen=True)
class Contest:
    """Pictures, the tested codec at its rate points (name -> codec), its opponents, and a folder for the
    files.

    An opponent without any file small enough takes part with its smallest one: the set stays the same for
    every codec, the comparison errs in the opponent's favour, and `Measurement.over_limit` says so.

    Raises UsageError when two pictures or two opponents have the same name, and when there are no rate
    points.
    """

    paths: Sequence[Path]
    ours: Mapping[str, PictureCodec]
    opponents: Sequence[Opponent]
    out: Path
    key: str = "ganic"
    title: str = "ganic"
    instruments: Instruments = field(default_factory=Instruments)
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        keys = [self.key, *(opponent.key for opponent in self.opponents)]
        if len(set(keys)) < len(keys):
            raise UsageError(f"codecs: {', '.join(keys)}; each may take part once")
        if not self.ours or not self.paths:
            raise UsageError("contest: needs at least one picture and one rate point")
        object.__setattr__(self, "folder", _common_folder(self.paths))
        if len({self.name(path) for path in self.paths}) < len(self.paths):
            raise UsageError("pictures: one is named twice; name each once")

    def name(self, path: Path) -> str:
        """A picture's name: its path below the folder all pictures share."""
        return path.relative_to(self.folder).as_posix()

    @cached_property
    def store(self) -> Store:
        """The kept files."""
        return Store(self.out)

    def evaluate(self, progress: Progress | None = None) -> Evaluation:
        """Code and measure everything that is not kept already."""
        tell = progress or (lambda done, total, what: None)
        codecs = self._codecs()
        total = (len(self.paths) + 1) * len(self.ours) * len(codecs)
        measurements: list[Measurement] = []
        for path in self.paths:
            coded = _Picture(self, path)
            for rate, codec in self.ours.items():
                tell(len(measurements), total, f"{coded.name} {rate} {self.title}")
                ours = coded.through_ours(rate, codec)
                measurements.append(ours)
                for opponent in self.opponents:
                    tell(len(measurements), total, f"{coded.name} {rate} {opponent.title}")
                    measurements.append(coded.through(opponent, rate, ours.bytes))
        sets: list[SetResult] = []
        for rate in self.ours:
            for codec_key in (codec.key for codec in codecs):
                tell(len(measurements) + len(sets), total, f"{rate} {codec_key}, patches")
                chosen = [m for m in measurements if (m.rate, m.codec) == (rate, codec_key)]
                sets.append(self._set_result(chosen))
        tell(total, total, "done")
        return Evaluation(
            folder=self.folder.name,
            pictures=tuple(self.name(path) for path in self.paths),
            rates=tuple(self.ours),
            codecs=codecs,
            measurements=tuple(measurements),
            sets=tuple(sets),
        )

    def original(self, picture: str) -> Image.Image:
        """An original by name, as every codec was given it: upright 8-bit RGB."""
        from ganic.images import read

        return read(self.folder / picture).image

    def decoded(self, rate: str, codec: str, picture: str) -> Image.Image:
        """A kept file, decoded; raises UsageError for an unknown codec, DataError when it is not there."""
        path = self.store.file(rate, codec, picture)
        if not path.is_file():
            raise DataError(f"{path}: is not there; run the evaluation first")
        data = path.read_bytes()
        if codec == self.key:
            return self.ours[rate].decode(data)
        for opponent in self.opponents:
            if opponent.key == codec:
                return opponent.baseline.decode(data)
        raise UsageError(f"{codec}: takes no part in this evaluation")

    def _codecs(self) -> tuple[Codec, ...]:
        identities = "; ".join(f"{rate}: {codec.identity}" for rate, codec in self.ours.items())
        opponents = (Codec(o.key, o.title, o.baseline.settings, o.budget) for o in self.opponents)
        return (Codec(self.key, self.title, identities), *opponents)

    # --- measures of sets

    def _set_result(self, measurements: Sequence[Measurement]) -> SetResult:
        tools = self.instruments
        nothing = SetDistance()
        frechet = (
            self._set_distance("patch Frechet", measurements, lambda: self._original_patches, tools.patches)
            if tools.with_patch_frechet
            else nothing
        )
        fid = (
            self._set_distance(
                f"FID {tools.fid_identity}",
                measurements,
                lambda: self._original_fid_patches,
                tools.fid_patches,
            )
            if tools.inception
            else nothing
        )
        return summarise(measurements, frechet, fid)

    def _set_distance(
        self,
        measure: str,
        measurements: Sequence[Measurement],
        originals: Callable[[], Gaussian | None],
        statistics: Callable[[Iterable[Image.Image]], Gaussian | None],
    ) -> SetDistance:
        """A Frechet distance between the originals and one codec's decoded pictures, kept or taken."""
        first = measurements[0]
        files = [self.store.file(m.rate, m.codec, m.picture).read_bytes() for m in measurements]
        # A decoder is part of what is compared, so the codec's settings count beside its bytes.
        settings = next(codec.settings for codec in self._codecs() if codec.key == first.codec)
        key = digest("\n".join([measure, settings, *self._source_digests, *map(digest, files)]).encode())
        kept = self.store.recall_set(key)
        if kept is None:
            kept = SetDistance()
            reference = originals()
            found = reference and statistics(self.decoded(m.rate, m.codec, m.picture) for m in measurements)
            if reference and found:
                distance = frechet_distance(
                    reference.mean, reference.covariance, found.mean, found.covariance
                )
                kept = SetDistance(distance, reference.count)
            self.store.keep_set(key, kept)
        return kept

    @cached_property
    def _original_patches(self) -> Gaussian | None:
        return self.instruments.patches(self.original(self.name(path)) for path in self.paths)

    @cached_property
    def _original_fid_patches(self) -> Gaussian | None:
        return self.instruments.fid_patches(self.original(self.name(path)) for path in self.paths)

    @cached_property
    def _source_digests(self) -> list[str]:
        return [digest(path.read_bytes()) for path in self.paths]


class _Picture:
    """One picture on its way through all codecs: read once, opponents' files shared between rate points."""

    def __init__(self, contest: Contest, path: Path) -> None:
        self.contest = contest
        self.name = contest.name(path)
        self.source = digest(path.read_bytes())
        self.tried: dict[str, dict[int, bytes]] = {
            opponent.baseline.name: {} for opponent in contest.opponents
        }

    @cached_property
    def original(self) -> Image.Image:
        return self.contest.original(self.name)

    def through_ours(self, rate: str, codec: PictureCodec) -> Measurement:
        request = self._request(codec.identity, None)
        kept = self.contest.store.recall(rate, self.contest.key, self.name, request)
        if kept is not None:
            return kept
        with self._named():
            data = codec.encode(self.original)
        return self._keep(rate, self.contest.key, request, data, None, None, codec.decode(data))

    def through(self, opponent: Opponent, rate: str, our_bytes: int) -> Measurement:
        baseline, limit = opponent.baseline, max(1, int(our_bytes * opponent.budget))
        request = self._request(f"{baseline.name}: {baseline.settings}", limit)
        kept = self.contest.store.recall(rate, opponent.key, self.name, request)
        if kept is not None:
            return kept
        tried = self.tried[baseline.name]
        with self._named():
            encoded = match_or_smallest(baseline, self.original, limit, tried=tried)
        decoded = baseline.decode(encoded.data)
        return self._keep(rate, opponent.key, request, encoded.data, limit, encoded.quality, decoded)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Errors about the picture name it."""
        try:
            yield
        except InputError as error:
            raise InputError(naming(error, self.name)) from error

    def _request(self, identity: str, limit: int | None) -> dict[str, str | int | bool | None]:
        return {
            "original": self.source,
            "codec": identity,
            "limit": limit,
            **self.contest.instruments.identity,
        }

    def _keep(
        self,
        rate: str,
        codec: str,
        request: Mapping[str, str | int | bool | None],
        data: bytes,
        limit: int | None,
        setting: int | None,
        decoded: Image.Image,
    ) -> Measurement:
        width, height = self.original.size
        if decoded.size != (width, height):
            raise DataError(
                f"{self.name}: {codec} decoded {decoded.width}x{decoded.height} from {width}x{height}; "
                "a codec must keep the size"
            )
        quality = self.contest.instruments.measure(self.original, decoded)
        measurement = Measurement(rate, codec, self.name, width, height, len(data), limit, setting, quality)
        self.contest.store.keep(data, measurement, request)
        return measurement


def _common_folder(paths: Sequence[Path]) -> Path:
    """The deepest folder that holds every picture."""
    folders = [path.parent for path in paths]
    common = folders[0]
    while not all(folder.is_relative_to(common) for folder in folders):
        if common.parent == common:
            raise UsageError("pictures: they share no folder; pass all paths absolute, or all relative")
        common = common.parent
    return common
