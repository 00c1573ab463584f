"""``ganic encode --keep ...`` and what ``ganic info`` says of it, with the tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import Result
from PIL import Image

import ganic
from ganic.cli.encode import command
from ganic.errors import UsageError
from ganic.labels import CONVENTIONS, LabelMap
from ganic.labels.simplify import MAX_RADIUS

Run = Callable[..., Result]
GOLDEN = Path(__file__).parent.parent / "golden"
pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """CamVid's numbers: sky above, road below, a car on it."""
    values = np.zeros((96, 160), np.uint8)
    values[48:] = 3
    values[32:64, 64:96] = 8
    path = tmp_path / "maps" / "photo.png"
    path.parent.mkdir()
    Image.fromarray(values).save(path)
    return path


def info(run: Run) -> dict[str, object]:
    found: dict[str, object] = json.loads(run("info", "--json", "photo.ganic").stdout)
    return found


def encode(run: Run, *arguments: str | Path) -> Result:
    return run("encode", "--model", "tiny", "--quality", "80", "-f", "photo.png", *arguments)


@pytest.mark.parametrize("folder", [False, True])
def test_classes_of_a_label_map(run: Run, picture: Path, labels: Path, folder: bool) -> None:
    where = labels.parent if folder else labels
    result = encode(run, "--labels", where, "--label-format", "camvid", "--keep", "car, sign")
    assert result.exit_code == 0, result.stderr
    found = info(run)
    assert found["qualities"] == 2 and found["kept"] == 1.0 and found["labels"] is None
    assert list(found["boxes"]) == ["AREA"]  # type: ignore[call-overload]
    line = run("info", "photo.ganic").stdout
    assert "allocation" in line and "symbols" in line and "100% kept at 2 qualities" in line
    assert run("decode", "photo.ganic", "-o", "again.png").exit_code == 0


def test_a_name_from_elsewhere_is_understood(run: Run, picture: Path, labels: Path) -> None:
    said = ("--labels", labels, "--label-format", "camvid", "--drop")
    assert encode(run, *said, "sky").exit_code == 0
    sky = Path("photo.ganic").read_bytes()
    assert encode(run, *said, "sky,sidewalk").exit_code == 0  # pavement, of which there is none
    assert Path("photo.ganic").read_bytes() == sky
    wrong = encode(run, *said, "elephant")
    assert wrong.exit_code == 2 and "elephant" in wrong.stderr and "pedestrian" in wrong.stderr


def test_boxes_and_masks_say_the_same(run: Run, picture: Path) -> None:
    assert encode(run, "--keep-box", "32,16,48,32", "--keep-box", "0,0,1,1").exit_code == 0
    by_box = Path("photo.ganic").read_bytes()
    mask = np.zeros((96, 160), np.uint8)
    mask[16:48, 32:80] = mask[0, 0] = 255
    Image.fromarray(mask).save("mask.png")
    assert encode(run, "--keep-mask", "mask.png").exit_code == 0
    assert Path("photo.ganic").read_bytes() == by_box
    assert encode(run, "--keep-mask", "mask.png", "--background", "0").exit_code == 0
    assert info(run)["boxes"] == {}  # nothing is worse: the plain file


@pytest.mark.parametrize(
    ("arguments", "code", "match"),
    [
        (("--keep-box", "1,2,3"), 2, "x,y,width,height"),
        (("--keep-box", "900,900,10,10"), 2, "no pixel"),
        (("--keep", "car"), 3, "street-segmenter"),
        (("--labels", "nowhere.png"), 1, "nowhere.png"),
        (("--labels", "empty"), 1, "no photo.png or photo.json"),
        (("--keep-mask", "small.png"), 2, "4x4"),
        (("--background", "101"), 2, "101"),
    ],
)
def test_mistakes_have_names_and_codes(
    run: Run,
    picture: Path,
    arguments: tuple[str, ...],
    code: int,
    match: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ganic import models

    monkeypatch.setattr(models, "WEIGHTS", GOLDEN)  # no shipped segmenter
    Image.new("L", (4, 4)).save("small.png")
    Path("empty").mkdir()
    result = encode(run, *arguments)
    assert result.exit_code == code and match in result.stderr
    assert not list(Path().glob("*.ganic"))


def test_the_api_takes_the_same(picture: Path, labels: Path) -> None:
    options = {"model": "tiny", "quality": 80.0}
    by_path = ganic.encode(picture, labels=labels, label_format="camvid", keep=["car"], **options)  # type: ignore[arg-type]
    with Image.open(labels) as file:
        names = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car")
        label_map = LabelMap(np.array(file), names)
    assert ganic.encode(picture, labels=label_map, keep=["car"], **options) == by_path  # type: ignore[arg-type]
    assert ganic.encode(picture, keep_boxes=[(64, 32, 32, 32)], **options) == by_path  # type: ignore[arg-type]
    assert ganic.info(by_path).qualities == 2
    with pytest.raises(UsageError, match="background"):
        ganic.encode(picture, keep_boxes=[(0, 0, 9, 9)], background=120, **options)  # type: ignore[arg-type]


def test_every_convention_of_label_maps_can_be_named() -> None:
    """The option repeats them, so that starting the command imports no numpy."""
    (option,) = (parameter for parameter in command.params if parameter.name == "label_format")
    assert isinstance(option.type, click.Choice)
    assert tuple(option.type.choices) == CONVENTIONS


def test_labels_can_be_off_by_what_simplify_allows() -> None:
    """The option repeats that too."""
    (option,) = (parameter for parameter in command.params if parameter.name == "simplify_labels")
    assert isinstance(option.type, click.IntRange)
    assert (option.type.min, option.type.max) == (0, MAX_RADIUS)
