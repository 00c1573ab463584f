"""What an evaluation measures with, each instrument loaded once and only when something must be measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from ganic.errors import ModelMissingError, UsageError
from ganic.evaluation.store import digest
from ganic.metrics import Gaussian, Quality, measure
from ganic.metrics.ssimulacra import ssimulacra2_installed

if TYPE_CHECKING:
    from PIL import Image

    from ganic.metrics import DISTS, LPIPS, InceptionFeatures, SqueezeNetFeatures


@dataclass(frozen=True)
class Instruments:
    """Which measures to take. LPIPS, DISTS and FID/256 need a file with weights each, given by the user.

    `ganic.metrics.user_weights` says how to make these files. Raises ModelMissingError when one is not there.
    """

    with_ssimulacra2: bool = True
    with_patch_frechet: bool = True
    lpips: Path | None = None
    dists: Path | None = None
    inception: Path | None = None

    def __post_init__(self) -> None:
        for path in (self.lpips, self.dists, self.inception):
            if path is not None and not path.is_file():
                raise ModelMissingError(f"{path}: is not there; see ganic.metrics.user_weights")

    @cached_property
    def identity(self) -> dict[str, str | bool | None]:
        """What a kept measurement depends on, beside the pictures."""
        files = {"lpips": self.lpips, "dists": self.dists}
        weights = {name: digest(path.read_bytes()) if path else None for name, path in files.items()}
        measures = " ".join(field.name for field in fields(Quality))  # another release may have fewer
        scorer = None
        if self.with_ssimulacra2:
            scorer = version("ssimulacra2") if ssimulacra2_installed() else "missing"
        return {"measures": measures, "ssimulacra2": scorer, **weights}

    @cached_property
    def fid_identity(self) -> str:
        """What a kept FID depends on, beside the pictures."""
        return digest(self.inception.read_bytes()) if self.inception else ""

    def measure(self, original: Image.Image, decoded: Image.Image) -> Quality:
        """The measures of one decoded picture."""
        return measure(
            original,
            decoded,
            network=self._network,
            lpips=self._lpips,
            dists=self._dists,
            with_ssimulacra2=self.with_ssimulacra2,
        )

    def patches(self, pictures: Iterable[Image.Image]) -> Gaussian | None:
        """The Gaussian of a set's 64-pixel patches; None when there are too few."""
        from ganic.metrics.patch_frechet import patch_statistics

        try:
            return patch_statistics(pictures, self._network)
        except UsageError:
            return None

    def fid_patches(self, pictures: Iterable[Image.Image]) -> Gaussian | None:
        """The Gaussian of a set's 256-pixel patches as FID sees them; None when there are too few."""
        from ganic.metrics.inception import fid_statistics

        try:
            return fid_statistics(pictures, self._inception)
        except UsageError:
            return None

    @cached_property
    def _network(self) -> SqueezeNetFeatures:
        from ganic.metrics import SqueezeNetFeatures

        return SqueezeNetFeatures()

    @cached_property
    def _lpips(self) -> LPIPS | None:
        from ganic.metrics import LPIPS

        return LPIPS(self.lpips) if self.lpips else None

    @cached_property
    def _dists(self) -> DISTS | None:
        from ganic.metrics import DISTS

        return DISTS(self.dists) if self.dists else None

    @cached_property
    def _inception(self) -> InceptionFeatures:
        from ganic.metrics import InceptionFeatures

        if self.inception is None:
            raise ModelMissingError("FID: needs Inception weights; see ganic.metrics.user_weights")
        return InceptionFeatures(self.inception)
