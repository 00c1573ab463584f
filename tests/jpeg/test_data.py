from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from ganic.errors import DataError, RecipeError, UsageError
from ganic.jpeg import datasets
from ganic.jpeg.batches import SmallBatches, batches_of
from ganic.jpeg.cifar10 import CLASSES, is_cifar10, read_cifar10
from ganic.jpeg.labelled import LabelledPictures
from ganic.training import recipes
from ganic.training.data import PictureBatches
from ganic.training.distributed import Team

Pixels = NDArray[np.uint8]
ALONE = Team(0, 1, torch.device("cpu"))


@pytest.fixture
def cifar() -> tuple[Pixels, NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8), rng.integers(0, 10, 12)


def planes(pictures: Pixels) -> NDArray[np.uint8]:
    """As the official files have them: [n, 3072], red first."""
    return pictures.transpose(0, 3, 1, 2).reshape(len(pictures), 3072)


def write_binary(folder: Path, pictures: Pixels, labels: NDArray[np.int64]) -> None:
    for batch in (0, 1):
        records = np.concatenate([labels[:, None].astype(np.uint8), planes(pictures)], axis=1)
        (folder / f"data_batch_{batch + 1}.bin").write_bytes(records[batch * 6 : batch * 6 + 6].tobytes())


def write_python(folder: Path, pictures: Pixels, labels: NDArray[np.int64]) -> None:
    for batch in (0, 1):
        some = slice(batch * 6, batch * 6 + 6)
        contents = {b"data": planes(pictures)[some], b"labels": labels[some].tolist(), b"batch_label": b"x"}
        (folder / f"data_batch_{batch + 1}").write_bytes(pickle.dumps(contents, protocol=2))


def write_sheets(folder: Path, pictures: Pixels, labels: NDArray[np.int64]) -> None:
    """Two sheets of 2 x 3 tiles; the table names them out of order."""
    rows = ["sheet,row,col,label"]
    for sheet in (0, 1):
        tiles = pictures[sheet * 6 : sheet * 6 + 6].reshape(2, 3, 32, 32, 3)
        pixels = tiles.transpose(0, 2, 1, 3, 4).reshape(64, 96, 3)
        Image.fromarray(pixels).save(folder / f"sheet_0{sheet}.webp", lossless=True)
        rows += [f"0{sheet},{i // 3},{i % 3},{labels[sheet * 6 + i]}" for i in range(6)]
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")


@pytest.mark.parametrize("write", [write_binary, write_python, write_sheets])
def test_cifar10_in_its_three_forms(
    write: Callable[..., None], cifar: tuple[Pixels, NDArray[np.int64]], tmp_path: Path
) -> None:
    inner = tmp_path / "cifar-10"
    inner.mkdir()
    assert not is_cifar10(tmp_path)
    write(inner, *cifar)
    for folder in (inner, tmp_path):
        assert is_cifar10(folder)
        found = read_cifar10(folder)
        assert np.array_equal(found.pictures, cifar[0])
        assert found.labels is not None
        assert found.labels.tolist() == cifar[1].tolist()
        assert found.classes == CLASSES


class Evil:
    """A pickle that would make a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


def test_pickles_run_nothing(tmp_path: Path) -> None:
    for contents in (Evil(tmp_path / "owned"), {b"data": Evil(tmp_path / "owned"), b"labels": []}):
        (tmp_path / "data_batch_1").write_bytes(pickle.dumps(contents))
        with pytest.raises(DataError, match=r"mkdir has no place"):
            read_cifar10(tmp_path)
    assert not (tmp_path / "owned").exists()


def array(shape: tuple[int, ...], dtype: str = "uint8") -> NDArray[np.generic]:
    return np.zeros(shape, dtype=dtype)


@pytest.mark.parametrize(
    "contents",
    [
        [1, 2],
        {},
        {b"data": array((2, 3072)), b"labels": [1]},
        {b"data": array((2, 3071)), b"labels": [1, 2]},
        {b"data": array((2, 3072), "int64"), b"labels": [1, 2]},
        {b"data": array((2, 3072)), b"labels": [1, "x"]},
        {b"data": array((2, 3072)), b"labels": [1, 10]},
        {b"data": array((2, 3072)), b"labels": [1, -1]},
    ],
)
def test_other_pickles_are_refused(contents: object, tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(contents))
    with pytest.raises(DataError):
        read_cifar10(tmp_path)


def test_damaged_cifar10_is_refused(cifar: tuple[Pixels, NDArray[np.int64]], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no CIFAR-10 here"):
        read_cifar10(tmp_path)
    write_sheets(tmp_path, *cifar)
    table = tmp_path / "labels.csv"
    good = table.read_text()
    for bad, message in (
        ("sheet,row\n00,1\n", "no table of"),
        ("sheet,row,col,label\n00,2,0,1\n", "outside sheet 00 of 2 x 3"),
        ("sheet,row,col,label\n00,0,-1,1\n", "outside sheet"),
        ("sheet,row,col,label\n../0,0,0,1\n", "is missing"),
        ("sheet,row,col,label\n07,0,0,1\n", "sheet_07 is missing"),
        ("sheet,row,col,label\n00,0,0,x\n", "no table of"),
    ):
        table.write_text(bad)
        with pytest.raises(DataError, match=message):
            read_cifar10(tmp_path)
    table.write_text(good)
    (tmp_path / "sheet_01.webp").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"sheet_01.webp: cannot be read"):
        read_cifar10(tmp_path)
    (tmp_path / "data_batch_1.bin").write_bytes(bytes(3072))
    with pytest.raises(DataError, match="records of 3073"):
        read_cifar10(tmp_path)
    (tmp_path / "data_batch_1.bin").unlink()
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x02garbage")
    with pytest.raises(DataError, match="not a CIFAR-10 batch"):
        read_cifar10(tmp_path)


def png(picture: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def test_folder_with_classes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    originals = {}
    for name in ("dog/1.png", "cat/2.png", "cat/deep/3.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        originals[name] = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        path.write_bytes(png(originals[name]))
    (tmp_path / "cat" / "notes.txt").write_text("no picture")
    found = datasets.read_folder(tmp_path, 16)
    assert found.classes == ("cat", "dog")
    assert found.labels is not None and found.labels.tolist() == [0, 0, 1]
    expected = [originals[name] for name in ("cat/2.png", "cat/deep/3.png", "dog/1.png")]
    assert np.array_equal(found.pictures, np.stack(expected))
    assert len(datasets.read_folder(tmp_path, 16, limit=2)) == 2
    (tmp_path / "loose.png").write_bytes(png(expected[0]))
    assert datasets.read_folder(tmp_path, 16).labels is None


def test_fitting_cuts_the_centre() -> None:
    picture = np.zeros((20, 40, 3), dtype=np.uint8)
    picture[4:12, 10:26] = 200
    boxed = datasets.fitted("x", png(picture), 8, (10, 4, 16, 8))
    assert (boxed == 200).all() and boxed.shape == (8, 8, 3)
    whole = datasets.fitted("x", png(picture), 10, None)  # columns 10 to 29, halved
    assert (whole[2:6, 0:8] > 150).all()
    assert (whole[8:] < 20).all()
    with pytest.raises(DataError, match="do not hold the box"):
        datasets.fitted("x", png(picture), 8, (30, 0, 16, 8))
    with pytest.raises(DataError, match="fewer than 21"):
        datasets.fitted("x", png(picture), 21, None)
    with pytest.raises(DataError, match="not a readable picture"):
        datasets.fitted("x", b"\xff\xd8\xff", 8, None)


def test_zip(tmp_path: Path) -> None:
    picture = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    path = tmp_path / "some.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("b.png", png(picture))
        archive.writestr("a.png", png(picture[::-1]))
        archive.writestr("readme.txt", "no picture")
    found = datasets.load(path, 8)
    assert found is not None and found.labels is None
    assert np.array_equal(found.pictures, np.stack([picture[::-1], picture]))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match="cannot be read as a zip"):
        datasets.load(path, 8)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(1000))
    damaged = bytearray(path.read_bytes())
    damaged[35 : 35 + 8] = b"\xff" * 8  # of the deflated member, which zlib then refuses
    path.write_bytes(damaged)
    with pytest.raises(DataError, match="cannot be read as a zip"):
        datasets.load(path, 8)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no picture")
    with pytest.raises(DataError, match="no pictures in it"):
        datasets.load(path, 8)


def test_lsun_lmdb(tmp_path: Path) -> None:
    lmdb = pytest.importorskip("lmdb")
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (5, 24, 16, 3), dtype=np.uint8)
    with (
        lmdb.open(str(tmp_path / "bedroom"), map_size=2**20) as database,
        database.begin(write=True) as writing,
    ):
        for i, picture in enumerate(pictures):
            file = io.BytesIO()
            Image.fromarray(picture).save(file, "WEBP", lossless=True)
            writing.put(f"{i:040d}".encode(), file.getvalue())
    found = datasets.load(tmp_path / "bedroom", 16)
    assert found is not None
    assert np.array_equal(found.pictures, pictures[:, 4:20])  # the central square
    assert len(datasets.read_lmdb(tmp_path / "bedroom", 16, limit=3)) == 3
    upper = datasets.load(tmp_path / "bedroom", 16, box=(0, 0, 16, 16))
    assert upper is not None and np.array_equal(upper.pictures, pictures[:, :16])
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "data.mdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(DataError, match="cannot be read as an lmdb"):
        datasets.load(tmp_path / "broken", 16)
    with lmdb.open(str(tmp_path / "empty")):
        pass
    with pytest.raises(DataError, match="empty"):
        datasets.load(tmp_path / "empty", 16)


@pytest.fixture
def numbered() -> LabelledPictures:
    """Picture i is i everywhere, but for a brighter left half."""
    values = np.arange(100, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 8, 8, 3), dtype=np.uint8)
    values[:, :, :4] += 100
    return LabelledPictures(values, np.arange(100) % 10, ())


def test_batches_are_the_same_however_they_are_split(numbered: LabelledPictures) -> None:
    whole = SmallBatches(numbered, batch=32, seed=1, flip=True, team=ALONE)
    batch = whole.batch(5)
    assert batch["image"].shape == (32, 3, 8, 8)
    assert torch.equal(batch["image"], whole.batch(5)["image"])
    assert not torch.equal(batch["image"], whole.batch(6)["image"])
    halves = [
        SmallBatches(numbered, batch=32, seed=1, flip=True, team=Team(r, 2, torch.device("cpu")))
        for r in (0, 1)
    ]
    assert torch.equal(batch["image"], torch.cat([half.batch(5)["image"] for half in halves]))
    values = batch["image"] * 255
    mirrored = values[:, 0, 0, 0] < values[:, 0, 0, 7]
    assert 5 < mirrored.sum() < 27
    which = values.amin(dim=(1, 2, 3)).round().long()
    assert torch.equal(batch["label"], which % 10)
    plain = SmallBatches(numbered, batch=32, seed=1, flip=False, team=ALONE).batch(5)["image"]
    assert (plain[:, 0, 0, 0] > plain[:, 0, 0, 7]).all()
    with pytest.raises(RecipeError, match="do not divide"):
        SmallBatches(numbered, batch=31, seed=1, flip=True, team=Team(0, 2, torch.device("cpu")))


def recipe(*sources: Path, **data: object) -> recipes.Recipe:
    values = {
        "name": "x",
        "system": "jpeg",
        "steps": 1,
        "batch": 4,
        "crop": 32,
        "players": {"generator": {"lr": 1e-4}},
        "data": {"sources": [str(source) for source in sources], **data},
        "objective": {"size": 32},
    }
    return recipes.parse(values)


def test_what_a_recipe_trains_on(cifar: tuple[Pixels, NDArray[np.int64]], tmp_path: Path) -> None:
    sheets, folder = tmp_path / "cifar", tmp_path / "pictures"
    for path in (sheets, folder):
        path.mkdir()
    write_sheets(sheets, *cifar)
    whole = batches_of(recipe(sheets), ALONE)
    assert isinstance(whole, SmallBatches)
    assert whole.describe() == {"pictures": 12, "labels": True, "flips": True}
    assert len(whole.batch(0)["label"]) == 4
    twice = batches_of(recipe(sheets, sheets, flips="none"), ALONE)
    assert twice.describe() == {"pictures": 24, "labels": True, "flips": False}
    (folder / "a.png").write_bytes(png(cifar[0][0]))
    single = batches_of(recipe(folder), ALONE)
    assert isinstance(single, PictureBatches)
    with pytest.raises(RecipeError, match="cannot be mixed"):
        batches_of(recipe(sheets, folder), ALONE)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.png", png(cifar[0][0]))
    with pytest.raises(RecipeError, match="some sets have labels"):
        batches_of(recipe(sheets, tmp_path / "x.zip"), ALONE)


def test_what_sets_in_memory_cannot_do_is_refused(
    cifar: tuple[Pixels, NDArray[np.int64]], tmp_path: Path
) -> None:
    write_sheets(tmp_path, *cifar)
    with pytest.raises(RecipeError, match=r"data.exclude, data.colour, data.vivid, data.flips: not for sets"):
        batches_of(recipe(tmp_path, flips="hv", exclude=["a*"], colour=0.1, vivid=0.1), ALONE)
    with pytest.raises(UsageError, match="box: pictures of CIFAR-10 are taken whole"):
        batches_of(recipe(tmp_path, box=[0, 0, 16, 16]), ALONE)


def test_pictures_and_labels_have_to_fit_the_objective(
    cifar: tuple[Pixels, NDArray[np.int64]], tmp_path: Path
) -> None:
    sheets, folder, unlabelled = tmp_path / "cifar", tmp_path / "pictures", tmp_path / "x.zip"
    for path in (sheets, folder):
        path.mkdir()
    write_sheets(sheets, *cifar)
    (folder / "a.png").write_bytes(png(cifar[0][0]))
    with zipfile.ZipFile(unlabelled, "w") as archive:
        archive.writestr("a.png", png(cifar[0][0]))

    def asking(source: Path, crop: int = 32, **objective: object) -> None:
        modern = {"kind": "modern", "widths": [8] * (crop // 4).bit_length(), **objective}
        batches_of(recipe(source).model_copy(update={"crop": crop, "objective": modern}), ALONE)

    asking(sheets, classes=10)
    asking(unlabelled)
    for source, objective, message in (
        (sheets, {"classes": int(cifar[1].max())}, "there are labels up to"),
        (sheets, {"crop": 64}, "crop: 64; the pictures of data.sources have 32x32 pixels"),
        (unlabelled, {"classes": 10}, "no labels, and the objective has 10 classes"),
        (folder, {"classes": 10}, 'data.classes = "folders"'),
    ):
        with pytest.raises(RecipeError, match=message):
            asking(source, **objective)


def test_generated_pictures_are_not_taken_for_cifar10(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,label\n000000000.jpg,3\n")
    assert not is_cifar10(tmp_path)
    Image.new("RGB", (32, 32)).save(tmp_path / "sheet_00.png")
    (tmp_path / "labels.csv").write_text("sheet,row,col,label\n")
    assert is_cifar10(tmp_path)
    with pytest.raises(DataError, match=r"labels.csv: names no pictures"):
        read_cifar10(tmp_path)
