"""Statistics of real pictures in a file: those of 50,000 pictures take minutes, and are always the same."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from ganic.errors import UsageError
from ganic.files import write_atomic
from ganic.jpeg.evaluate import FeatureNetwork, Pixels, statistics
from ganic.metrics.frechet import Gaussian


def remembered(
    path: Path, pictures: Pixels, network: FeatureNetwork, device: torch.device | str = "cpu"
) -> Gaussian:
    """What `statistics` says of ``pictures`` uint8 [n, h, w, 3]: read from ``path`` (.npz), or kept there.

    Raises UsageError where the file is of other pictures, of another network or not such a file; OutputError
    where it cannot be written.
    """
    source = f"{network.identity}; {hashlib.sha256(pictures.tobytes()).hexdigest()}"
    if path.exists():
        return _read(path, source)
    found = statistics(pictures, network, device)

    def write(file: BinaryIO) -> None:
        np.savez(
            file, mean=found.mean, covariance=found.covariance, count=found.count, source=np.array(source)
        )

    write_atomic(path, write)
    return found


def _read(path: Path, source: str) -> Gaussian:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as kept:
            if str(kept["source"]) != source:
                raise UsageError(f"{path}: statistics of other pictures or another network; remove it")
            return Gaussian(kept["mean"], kept["covariance"], int(kept["count"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: no statistics of this command ({error}); remove it") from error
