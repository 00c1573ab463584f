"""Where an evaluation keeps its files and what it measured on them, so that it can go on after a stop.

    OUT/files/RATE/CODEC/PICTURE.bin      the file itself, to look at and to decode again
    OUT/files/RATE/CODEC/PICTURE.json     the request it answers, and its measurement
    OUT/sets/DIGEST.json                  a Frechet distance of a set, by the digest of all that it depends on

A kept result is used again only for the very same request: same original bytes, same codec at the same
settings, same limit, same measures.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ganic.errors import OutputError
from ganic.evaluation.results import Measurement, SetDistance
from ganic.metrics import Quality


def digest(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def jsonable(value: Any) -> Any:
    """A structure with the non-finite numbers, which JSON does not have, as strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return value


def quality_from(record: Mapping[str, Any]) -> Quality:
    """The inverse of `jsonable(asdict(quality))`."""
    return Quality(**{k: float(v) if isinstance(v, str) else v for k, v in record.items()})


def measurement_from(record: Mapping[str, Any]) -> Measurement:
    """The inverse of `jsonable(asdict(measurement))`."""
    return Measurement(**{**record, "quality": quality_from(record["quality"])})


@dataclass(frozen=True)
class Store:
    """The folder of one evaluation."""

    out: Path

    def file(self, rate: str, codec: str, picture: str) -> Path:
        """Where a coded picture is kept."""
        return self.out / "files" / rate / codec / f"{picture}.bin"

    def recall(self, rate: str, codec: str, picture: str, request: Mapping[str, Any]) -> Measurement | None:
        """The kept measurement that answers exactly this request, or None."""
        path = self.file(rate, codec, picture)
        record = _read(path.with_suffix(".json"))
        if record is None or record.get("request") != dict(request) or not path.is_file():
            return None
        if digest(path.read_bytes()) != record.get("file"):
            return None
        return measurement_from(record["measurement"])

    def keep(self, data: bytes, measurement: Measurement, request: Mapping[str, Any]) -> None:
        """Keep a coded picture and what was measured on it; raises OutputError."""
        path = self.file(measurement.rate, measurement.codec, measurement.picture)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError as error:
            raise OutputError(
                f"{path}: cannot be written ({error.strerror}); choose another folder"
            ) from error
        record = {"request": request, "file": digest(data), "measurement": asdict(measurement)}
        _write(path.with_suffix(".json"), record)

    def recall_set(self, key: str) -> SetDistance | None:
        """The kept distance of a set, or None."""
        record = _read(self.out / "sets" / f"{key}.json")
        return None if record is None else SetDistance(**record)

    def keep_set(self, key: str, distance: SetDistance) -> None:
        """Keep a set's distance; raises OutputError."""
        _write(self.out / "sets" / f"{key}.json", asdict(distance))


def _read(path: Path) -> dict[str, Any] | None:
    """A record, or None where there is none or it was only half written."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _write(path: Path, record: Mapping[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Replaced in one go, so that no reader finds half a record.
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps(jsonable(record), indent=1), encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); choose another folder") from error
