"""Golden files: every later version decodes them to the same symbols."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from ganic.bitstream import unpack
from ganic.extreme.codec import Codec

HERE = Path(__file__).parent
EXPECTED = json.loads((HERE / "expected.json").read_text())


@cache
def load(folder: Path, precision: Literal["fp32", "bf16"]) -> Codec:
    return Codec.load(folder / "tiny.safetensors", precision=precision)


def codec(name: str, precision: Literal["fp32", "bf16"] = "fp32") -> Codec:
    """Of a golden file."""
    return load((HERE / name).parent, precision)


def test_every_golden_file_has_its_facts() -> None:
    found = (path.relative_to(HERE).with_suffix("").as_posix() for path in HERE.rglob("*.ganic"))
    assert sorted(EXPECTED) == sorted(found)
    assert len(EXPECTED) >= 6


def test_the_tiny_models_are_those_the_files_were_made_with() -> None:
    assert codec("uneven").model_id.hex() == "6e1ffd4cb7a9"
    assert codec("beyond/water").model_id.hex() == "4061810422bd"
    assert codec("shaded/photo").model_id.hex() == "f2a29ccab031"


def test_golden_files_have_shades() -> None:
    for name, cells in (("shaded/photo", [(3, 4, 5)]), ("shaded/two-tiles", [(3, 16, 1), (3, 17, 1)])):
        tiles = codec(name).symbols((HERE / f"{name}.ganic").read_bytes())
        shades = [tile.shades for tile in tiles if tile.shades is not None]
        assert [part.shape for part in shades] == cells
        assert all(np.abs(part).max() > 1 for part in shades)


def test_a_golden_file_goes_beyond_its_tables() -> None:
    name = "beyond/water"
    tables = codec(name).prior.tables
    (tile,) = codec(name).symbols((HERE / f"{name}.ganic").read_bytes())
    symbols, index = np.concatenate(tile.symbols), np.concatenate(tile.indices)
    assert (np.abs(symbols) > tables.supports[index]).sum() > 20


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_symbols_and_latents_are_the_same_for_ever(name: str) -> None:
    symbols, latents = hashlib.sha256(), hashlib.sha256()
    for tile in codec(name).symbols((HERE / f"{name}.ganic").read_bytes()):
        symbols.update(tile.canonical())
        latents.update(np.ascontiguousarray(tile.latent, dtype="<i4").tobytes())
    assert symbols.hexdigest() == EXPECTED[name]["symbols"]
    assert latents.hexdigest() == EXPECTED[name]["latent"]


@pytest.mark.parametrize("name", sorted(EXPECTED))
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_pictures_agree_within_a_grey_level(name: str, precision: Literal["fp32", "bf16"]) -> None:
    picture = codec(name, precision).decode((HERE / f"{name}.ganic").read_bytes())
    assert [picture.mode, list(picture.size)] == [EXPECTED[name]["mode"], EXPECTED[name]["size"]]
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float64)
    rows, columns = (-(-side // 2) for side in pixels.shape[:2])
    halves = (pixels[:rows], pixels[-rows:])
    quarters = [quarter for half in halves for quarter in (half[:, :columns], half[:, -columns:])]
    means = np.array([quarter.mean((0, 1)) for quarter in quarters])
    assert np.abs(means - EXPECTED[name]["quarters"]).max() < 1


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_boxes_come_back(name: str) -> None:
    boxes = unpack((HERE / f"{name}.ganic").read_bytes()).boxes
    assert {kind: hashlib.sha256(data).hexdigest() for kind, data in boxes.items()} == EXPECTED[name]["boxes"]
