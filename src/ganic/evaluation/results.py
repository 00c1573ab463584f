"""What an evaluation found: frozen records, and the arithmetic from pictures to sets to comparisons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

from ganic.errors import UsageError
from ganic.metrics import Quality, bd_rate


@dataclass(frozen=True)
class Measurement:
    """One picture through one codec at one rate point."""

    rate: str
    """The name of the tested codec's rate point."""
    codec: str
    """The key of a codec of the evaluation."""
    picture: str
    width: int
    height: int
    bytes: int
    """Of the whole file."""
    limit: int | None
    """The bytes it was allowed; None for the tested codec, whose bytes are the measure for the others."""
    setting: int | None
    """The quality on the opponent's own scale; None for the tested codec."""
    quality: Quality

    @property
    def bpp(self) -> float:
        """Bits per pixel, 8 x bytes / pixels."""
        return 8 * self.bytes / (self.width * self.height)

    @property
    def over_limit(self) -> bool:
        """Whether the opponent's smallest file is larger than allowed, and was taken all the same."""
        return self.limit is not None and self.bytes > self.limit


@dataclass(frozen=True)
class SetResult:
    """All pictures through one codec at one rate point."""

    rate: str
    codec: str
    pictures: int
    bpp: float
    """Mean over pictures of their bits per pixel."""
    over_limit: int
    """Pictures for which the opponent took more bytes than allowed, having no smaller file."""
    mean: Quality
    """Each measure averaged over pictures; None where some picture lacks it."""
    patch_frechet: float | None
    """Over all patches of the set; None when it was not asked for or there are too few patches."""
    patches: int
    """Of 64 pixels."""
    fid_256: float | None = None
    """FID over 256-pixel patches; needs the user's Inception weights and two patches."""
    fid_patches: int = 0
    """Of 256 pixels."""


@dataclass(frozen=True)
class Comparison:
    """The tested codec against one opponent at one rate point: ratios and differences are ours / - theirs."""

    rate: str
    opponent: str
    bytes_ratio: float
    """Mean bits per pixel, ours / theirs; above 1 we took more."""
    over_limit: int
    patch_frechet_ratio: float | None
    squeezenet_ratio: float | None
    psnr_difference: float
    psnr_8x8_difference: float
    ms_ssim_difference: float | None
    ssimulacra2_difference: float | None
    grid: float
    screen: float | None
    """Both ours, for there is nothing to be won by having less than the opponent."""


@dataclass(frozen=True)
class Codec:
    """A codec of the evaluation, by name."""

    key: str
    title: str
    settings: str
    budget: float = 1.0
    """The multiple of the tested codec's bytes that it was given."""


@dataclass(frozen=True)
class Evaluation:
    """Everything measured; `codecs[0]` is the codec under test."""

    folder: str
    pictures: tuple[str, ...]
    rates: tuple[str, ...]
    codecs: tuple[Codec, ...]
    measurements: tuple[Measurement, ...]
    sets: tuple[SetResult, ...]

    def set_result(self, rate: str, codec: str) -> SetResult:
        """The result of one codec at one rate point; raises UsageError when there is none."""
        for result in self.sets:
            if (result.rate, result.codec) == (rate, codec):
                return result
        raise UsageError(f"{codec} at {rate}: not in this evaluation; it has {self.rates}")

    def comparisons(self) -> tuple[Comparison, ...]:
        """The tested codec against every opponent at every rate point."""
        return tuple(
            _compare(self.set_result(rate, self.codecs[0].key), self.set_result(rate, opponent.key))
            for rate in self.rates
            for opponent in self.codecs[1:]
        )

    def bd_rates(self, opponent: str) -> dict[str, float | None]:
        """Bjontegaard delta rates in percent against one opponent, by measure; None where not defined.

        Curves over the rate points of set means. A curve needs two rate points, must be monotone and must
        share some quality with the other; with GAN codecs, whose PSNR lags at every rate, it often does not.
        """
        measures: dict[str, Callable[[SetResult], float | None]] = {
            "psnr": lambda s: s.mean.psnr,
            "ms_ssim": lambda s: s.mean.ms_ssim,
            "ssimulacra2": lambda s: s.mean.ssimulacra2,
            "squeezenet": lambda s: s.mean.squeezenet,
            "lpips": lambda s: s.mean.lpips,
            "dists": lambda s: s.mean.dists,
            "patch_frechet": lambda s: s.patch_frechet,
            "fid_256": lambda s: s.fid_256,
        }
        curves = [
            [self.set_result(rate, codec) for rate in self.rates] for codec in (opponent, self.codecs[0].key)
        ]
        return {name: _bd_rate(curves, value) for name, value in measures.items()}


def _bd_rate(
    curves: Sequence[Sequence[SetResult]], value: Callable[[SetResult], float | None]
) -> float | None:
    points: list[list[float]] = []
    for curve in curves:
        values = [value(result) for result in curve]
        known = [v for v in values if v is not None]
        if len(known) < len(values):
            return None
        points += [[result.bpp for result in curve], known]
    try:
        return bd_rate(*points)
    except UsageError:
        return None


@dataclass(frozen=True)
class SetDistance:
    """A Frechet distance between all patches of a set, and their number; None when it was not or cannot be
    taken."""

    distance: float | None = None
    patches: int = 0


def summarise(measurements: Sequence[Measurement], patch_frechet: SetDistance, fid: SetDistance) -> SetResult:
    """The set result of the measurements [>= 1] of one codec at one rate point."""
    first = measurements[0]
    return SetResult(
        rate=first.rate,
        codec=first.codec,
        pictures=len(measurements),
        bpp=_mean([m.bpp for m in measurements]),
        over_limit=sum(m.over_limit for m in measurements),
        mean=mean_quality([m.quality for m in measurements]),
        patch_frechet=patch_frechet.distance,
        patches=patch_frechet.patches,
        fid_256=fid.distance,
        fid_patches=fid.patches,
    )


def mean_quality(qualities: Sequence[Quality]) -> Quality:
    """Each measure averaged; None where some picture lacks it, for means over different pictures mislead."""
    means: dict[str, float | None] = {}
    for field in fields(Quality):
        values = [getattr(quality, field.name) for quality in qualities]
        means[field.name] = None if any(value is None for value in values) else _mean(values)
    return Quality(**means)  # type: ignore[arg-type]  # PSNR and grid are never None.


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _compare(ours: SetResult, theirs: SetResult) -> Comparison:
    return Comparison(
        rate=ours.rate,
        opponent=theirs.codec,
        bytes_ratio=ours.bpp / theirs.bpp,
        over_limit=theirs.over_limit,
        patch_frechet_ratio=_ratio(ours.patch_frechet, theirs.patch_frechet),
        squeezenet_ratio=_ratio(ours.mean.squeezenet, theirs.mean.squeezenet),
        psnr_difference=ours.mean.psnr - theirs.mean.psnr,
        psnr_8x8_difference=ours.mean.psnr_8x8 - theirs.mean.psnr_8x8,
        ms_ssim_difference=_difference(ours.mean.ms_ssim, theirs.mean.ms_ssim),
        ssimulacra2_difference=_difference(ours.mean.ssimulacra2, theirs.mean.ssimulacra2),
        grid=ours.mean.grid,
        screen=ours.mean.screen,
    )


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or not theirs else ours / theirs


def _difference(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or theirs is None else ours - theirs
