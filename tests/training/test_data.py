from __future__ import annotations

import io
import math
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from training_toys import recipe, smooth

from ganic.errors import DataError, RecipeError
from ganic.training import sources, store
from ganic.training.data import CALM, PictureBatches, held_back
from ganic.training.distributed import Team
from ganic.training.recipes import Data
from ganic.training.store import read_map
from ganic.water_filling import RateCurve

ALONE = Team(0, 1, torch.device("cpu"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six pictures of several sizes and kinds in nested folders, lossless."""
    folder = tmp_path / "photos"
    for i, name in enumerate(("b.png", "a/x.webp", "a/b/y.png", "c.bmp", "a.png", "Z.PNG")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(smooth(i, 40 + i, 60 - 3 * i)).save(path, lossless=True)
    (folder / "notes.txt").write_text("no picture")
    return folder


def batches(folder: Path, team: Team = ALONE, **changes: Any) -> PictureBatches:
    return PictureBatches.of(recipe(data={"sources": [str(folder)], **changes}), team)


def draw(data: PictureBatches, draws: Sequence[int] = range(5)) -> list[Tensor]:
    return [data.batch(d)["image"] for d in draws]


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def shard(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def encoded(pixels: np.ndarray[Any, Any], kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **({"quality": 90} if kind == "JPEG" else {}))
    return file.getvalue()


def test_records_of_a_folder(photos: Path) -> None:
    records = sources.find([str(photos)])
    assert [record.key for record in records] == ["Z", "a", "a/b/y", "a/x", "b", "c"]
    assert records[3].picture.read() == (photos / "a/x.webp").read_bytes()


def test_batches_are_crops_of_the_pictures(photos: Path) -> None:
    data = batches(photos, flips="none")
    pictures = [
        torch.from_numpy(np.array(Image.open(r.name))).permute(2, 0, 1) for r in sources.find([str(photos)])
    ]
    batch = data.batch(0)
    assert set(batch) == {"image"}
    images = batch["image"]
    assert images.shape == (4, 3, 16, 16) and images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)
    for crop in (images * 255).round().byte():
        assert any(
            (p.unfold(1, 16, 1).unfold(2, 16, 1) == crop[:, None, None]).all((0, 3, 4)).any()
            for p in pictures
        )


def test_a_draw_is_a_function_of_seed_and_number(photos: Path) -> None:
    changes = {"colour": 0.2, "scale": (0.5, 1.0), "grey": 0.3, "flips": "hv"}
    first, second = batches(photos, **changes), batches(photos, **changes)
    assert same(draw(first, [0, 1, 2, 3]), draw(second, [3, 2, 1, 0])[::-1])
    other = PictureBatches.of(recipe(seed=1, data={"sources": [str(photos)], **changes}), ALONE)
    assert not torch.equal(first.batch(0)["image"], other.batch(0)["image"])
    assert not torch.equal(first.batch(0)["image"], first.batch(1)["image"])


def test_processes_share_the_draw_of_one(photos: Path) -> None:
    joint = batches(photos).batch(7)["image"]
    shares = [batches(photos, Team(rank, 2, torch.device("cpu"))).batch(7)["image"] for rank in range(2)]
    assert torch.equal(torch.cat(shares), joint)
    with pytest.raises(RecipeError, match="4 pictures do not divide among 3 processes"):
        batches(photos, Team(0, 3, torch.device("cpu")))


@pytest.mark.parametrize("memory", [4096, 0])
def test_rates_are_those_of_whole_pictures(photos: Path, memory: int) -> None:
    settings: dict[str, Any] = {"rates": [0.05, 0.4], "scale": (0.5, 1.0), "memory_mib": memory}
    data, rates = batches(photos, **settings), []
    curves = [
        RateCurve(torch.from_numpy(np.array(Image.open(r.name))).permute(2, 0, 1), 0.5)
        for r in sources.find([str(photos)])
    ]
    for number in range(10):
        batch = data.batch(number)
        assert batch["rate"].shape == batch["level"].shape == (4,)
        for rate, level in zip(batch["rate"].tolist(), batch["level"].tolist(), strict=True):
            limits = [(curve.level(rate, 1.0), curve.level(rate, 0.5)) for curve in curves]
            assert any(min(pair) * 0.999 <= level <= max(pair) * 1.001 for pair in limits)
        rates += batch["rate"].tolist()
    assert 0.05 <= min(rates) < 0.07 and 0.3 < max(rates) <= 0.4
    assert np.median(rates) == pytest.approx(math.sqrt(0.05 * 0.4), rel=0.35)  # log-uniform
    with pytest.raises(RecipeError, match=r"data\.rates: crops of 15 pixels .* at least 16"):
        PictureBatches.of(recipe(crop=15, data={"sources": [str(photos)], **settings}), ALONE)
    again = batches(photos, **settings)
    for name, values in again.batch(3).items():
        assert torch.equal(values, data.batch(3)[name])


def test_crops_with_many_bits_are_drawn_more_often_and_count_less(tmp_path: Path) -> None:
    """What any sum over crops is expected to be stays as it is."""
    pixels = np.full((64, 256, 3), 128, np.uint8)
    pixels[:, 192:] = np.random.default_rng(0).integers(0, 256, (64, 64, 3))
    Image.fromarray(pixels).save(tmp_path / "mostly_calm.png")
    data, plain = (batches(tmp_path, flips="none", **more) for more in ({"rates": [0.2, 0.2]}, {}))
    draws = [data.batch(number) for number in range(400)]
    weights = torch.cat([batch["weight"] for batch in draws])
    busy = torch.cat([batch["image"].std((1, 2, 3)) > 0.01 for batch in draws])
    expected = torch.cat([plain.batch(n)["image"].std((1, 2, 3)) > 0.01 for n in range(400)]).float().mean()
    assert busy.float().mean() > 1.5 * expected
    assert weights.mean() == pytest.approx(1, abs=0.05)
    assert (weights * busy).mean() == pytest.approx(expected.item(), abs=0.04)
    assert weights.max() <= 4


def test_calm_pictures_are_drawn_as_often_as_asked(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in "abc":
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / f"{name}.png")

    def share(**settings: Any) -> float:
        data = batches(tmp_path, flips="none", rates=[0.2, 0.4], **settings)
        draws = [data.batch(number) for number in range(100)]
        calm = torch.cat([batch["level"] for batch in draws]) < CALM
        assert torch.equal(calm, torch.cat([batch["image"].std((1, 2, 3)) for batch in draws]) < 0.1)
        return calm.float().mean().item()

    assert share(calm=1.0) == 0  # there are none
    Image.fromarray(smooth(0, 64, 64) // 8 + 100).save(tmp_path / "d.png")
    assert share() == pytest.approx(1 / 4, abs=0.08)
    assert share(calm=0.5) == pytest.approx(1 / 2 + 1 / 2 / 4, abs=0.08)
    assert share(calm=1.0) == 1


@pytest.mark.parametrize("memory", ["none", "some"])
def test_pictures_that_do_not_fit_are_decoded_at_use(photos: Path, memory: str) -> None:
    kept = batches(photos, scale=(0.5, 1.0))
    assert kept.describe()["in_memory"]
    settings = recipe(data={"sources": [str(photos)], "memory_mib": 0, "scale": (0.5, 1.0)})
    if memory == "some":
        records = sources.find([str(photos)])
        pictures = store.fill(records[:3], settings.data, crop=16)
        pictures = store.Store(
            [r.name for r in records],
            np.array([[45, 45], [44, 48], [42, 54], [41, 57], [40, 60], [43, 51]]),
            None,
            {1: store.Sample(torch.from_numpy(np.array(Image.open(records[1].name))).permute(2, 0, 1))},
            store.fill(records, settings.data, crop=16)._decode,
            [],
            torch.device("cpu"),
        )
        late = PictureBatches(pictures, settings.data, crop=16, batch=4, seed=0, team=ALONE)
    else:
        late = PictureBatches.of(settings, ALONE)
    assert not late.describe()["in_memory"]
    assert same(draw(kept), draw(late))
    assert same(draw(kept, [9, 3, 4]), draw(late, [9, 3, 4]))  # also against the order it prepared for


def test_shards_equal_the_folder(photos: Path, tmp_path: Path) -> None:
    """Written by the webdataset library itself."""
    webdataset = pytest.importorskip("webdataset")
    records = sources.find([str(photos)])
    target = tmp_path / "shards"
    target.mkdir()
    for number, part in enumerate((records[:2], records[2:])):
        with webdataset.TarWriter(str(target / f"{number}.tar"), encoder=False) as writer:
            for record in part:
                writer.write(
                    {"__key__": record.key, Path(record.name).suffix[1:].lower(): record.picture.read()}
                )
    assert [record.key for record in sources.find([str(target)])] == [record.key for record in records]
    assert same(draw(batches(photos)), draw(batches(target)))
    one = sources.find([str(target / "0.tar")])
    assert [record.key for record in one] == ["Z", "a"] and one[0].name.endswith("0.tar/Z.png")


def test_classes_and_maps_in_shards(tmp_path: Path) -> None:
    pixels, labels = smooth(0, 20, 24), np.arange(480, dtype=np.uint16).reshape(20, 24).astype(np.uint8)
    members = {
        "./k.png": encoded(pixels),
        "./k.cls": b"12\n",
        "./k.seg.png": encoded(labels),
        "d/readme.json": b"{}",
    }
    path = shard(tmp_path / "a.tar", members)
    (record,) = sources.find([str(path)])
    assert (record.key, record.label) == ("k", 12)
    batch = batches(path, classes="shards", flips="none").batch(0)
    assert batch["label"].tolist() == [12] * 4
    assert batch["map"].shape == (4, 16, 16) and batch["map"].dtype == torch.int64
    # labels number the pixels (modulo 256), so they say where the crop comes from
    for image, numbers in zip(batch["image"], batch["map"], strict=True):
        top, left = divmod(int(numbers[0, 0]), 24)
        assert torch.equal(
            (image * 255).round().byte(),
            torch.from_numpy(pixels[top : top + 16, left : left + 16]).permute(2, 0, 1),
        )


def test_classes_from_folders(tmp_path: Path) -> None:
    for i, name in enumerate(("dog/1.png", "cat/sub/2.png", "cat/3.png")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(smooth(i, 16, 16)).save(tmp_path / name)
    found = sources.find([str(tmp_path)], class_folders=True)
    assert [(record.key, record.label) for record in found] == [("cat/3", 0), ("cat/sub/2", 0), ("dog/1", 1)]
    assert set(batches(tmp_path, classes="folders").batch(0)["label"].tolist()) <= {0, 1}
    Image.fromarray(smooth(9, 16, 16)).save(tmp_path / "stray.png")
    with pytest.raises(DataError, match=r"stray\.png: lies in no class folder"):
        sources.find([str(tmp_path)], class_folders=True)


def test_maps_from_folders_are_prepared_alike(tmp_path: Path) -> None:
    pictures, maps = tmp_path / "images", tmp_path / "labels"
    for folder in (pictures, maps):
        folder.mkdir()
    for i in range(3):
        pixels = smooth(i, 40, 60)
        Image.fromarray(pixels).save(pictures / f"{i}.png")
        Image.fromarray(np.where(pixels[:, :, 0] > 127, 9, 2).astype(np.uint8)).save(maps / f"{i}.png")
    Image.fromarray(smooth(3, 40, 60)).save(pictures / "nomap.png")
    Image.fromarray(np.zeros((40, 59), np.uint8)).save(maps / "0.png")
    Image.fromarray(smooth(1, 40, 60)).save(maps / "1.png")
    data = batches(pictures, maps=[str(maps)], short_side=20, box=(10, 0, 40, 40))
    reasons = {Path(s.name).name: s.reason for s in data.newly_skipped()}
    assert set(reasons) == {"nomap.png", "0.png", "1.png"}
    assert "59 x 40 pixels, the picture 60 x 40" in reasons["0.png"]
    assert "mode RGB" in reasons["1.png"] and "No such file" in reasons["nomap.png"]
    # Grey of 4 bits, which Pillow stretches to 0 .. 255: the values are the file's all the same.
    header = struct.pack(">IIBBBBB", 60, 40, 4, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x29" * 30) * 40)
    chunks = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    packed = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    (maps / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
    narrow = read_map((maps / "1.png").read_bytes(), (60, 40))
    assert np.asarray(narrow)[0, :4].tolist() == [2, 9, 2, 9]
    batch = data.batch(0)
    red = batch["image"][:, 0]
    sure = (red - 0.5).abs() > 0.15
    assert torch.equal((red > 0.5)[sure], (batch["map"] == 9)[sure])


def damage(folder: Path) -> dict[str, str]:
    """Add unusable files; returns a fragment of each one's reason."""
    whole = encoded(smooth(1, 64, 64), "JPEG")
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.png").write_bytes(b"this is no picture")
    (folder / "small.png").write_bytes(encoded(smooth(1, 15, 64)))
    return {
        "cut.jpg": "",
        "empty.jpg": "not a readable picture",
        "text.png": "not a readable",
        "small.png": "64 x 15",
    }


def test_damaged_pictures_are_skipped_and_named(photos: Path) -> None:
    expected = damage(photos)
    data = batches(photos)
    skipped = {Path(s.name).name: s.reason for s in data.newly_skipped()}
    assert set(skipped) == set(expected)
    assert all(fragment in skipped[name] for name, fragment in expected.items())
    assert data.describe()["pictures"] == 6
    assert data.newly_skipped() == []
    data.batch(0)


def test_damage_found_at_use_changes_nothing_but_is_named(photos: Path) -> None:
    damage(photos)
    late = batches(photos, memory_mib=0)
    assert {Path(s.name).name for s in late.newly_skipped()} == {"empty.jpg", "text.png", "small.png"}
    first = draw(late, range(12))
    assert [Path(s.name).name for s in late.newly_skipped()] == ["cut.jpg"]
    again = batches(photos, memory_mib=0)
    assert same(draw(again, range(6, 12)), first[6:])  # as after a restart, with nothing known of the damage


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"none of 1 pictures can be used .*a\.jpg"):
        batches(tmp_path)
    whole = encoded(smooth(1, 64, 64), "JPEG")
    (tmp_path / "a.jpg").write_bytes(whole[:700])
    with pytest.raises(DataError, match=r"damaged pictures drawn in a row.*a\.jpg"):
        batches(tmp_path, memory_mib=0).batch(0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "none", "no such folder, .tar or .zip file"),
        (lambda p: p, "holds no pictures"),
        (
            lambda p: [(p / "x.tar").write_bytes(b"junk" * 300), p / "x.tar"][1],
            "not an uncompressed tar file",
        ),
        (lambda p: shard(p / "c.tar", {"k.jpg": b"", "k.cls": b"dog"}), "a class is a decimal number"),
    ],
)
def test_unusable_sources(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(DataError, match=message):
        batches(make(tmp_path))


def test_labels_of_only_some_pictures_are_an_error(tmp_path: Path) -> None:
    members = {"a.png": encoded(smooth(0, 16, 16)), "a.cls": b"1", "b.png": encoded(smooth(1, 16, 16))}
    path = shard(tmp_path / "x.tar", members)
    with pytest.raises(DataError, match="1 of 2 pictures have a class"):
        batches(path, classes="shards")
    assert "label" not in batches(path).batch(0)
    with pytest.raises(RecipeError, match=r"data\.sources: missing"):
        PictureBatches.of(recipe(), ALONE)


def test_excluded_names(photos: Path, tmp_path: Path) -> None:
    records = sources.find([str(photos)])
    kept, out, unmatched = sources.exclude(records, ["b", "x.webp", "a/b/*", "nothing"])
    assert [record.key for record in out] == ["a/b/y", "a/x", "b"]
    assert [record.key for record in kept] == ["Z", "a", "c"] and unmatched == ["nothing"]
    listed = tmp_path / "heldout.txt"
    listed.write_text("# set aside\nZ.PNG\n\nc.bmp  # and this\n")
    data = batches(photos, exclude=[str(listed), "y"])
    assert data.describe()["pictures"] == 3
    assert [Path(str(name)).name for name in data.describe()["excluded"]] == ["Z.PNG", "y.png", "c.bmp"]  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"gone\.txt: the list of excluded pictures cannot be read"):
        batches(photos, exclude=["gone.txt"])


def test_copies_of_test_pictures_are_left_out(photos: Path, tmp_path: Path) -> None:
    test = tmp_path / "test"
    test.mkdir()
    with Image.open(photos / "c.bmp") as original:  # a smaller, recompressed, mirrored copy
        mirrored = original.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((38, 31))
    mirrored.save(test / "copy.jpg", quality=70)
    Image.fromarray(smooth(77, 50, 50)).save(test / "other.png")
    for memory in (100, 0):
        data = batches(photos, test=[str(test)], memory_mib=memory)
        (skipped,) = data.newly_skipped()
        assert skipped.name.endswith("c.bmp") and "looks like the test picture" in skipped.reason
        assert "copy.jpg" in skipped.reason and data.describe()["pictures"] == 5


def test_copies_of_excluded_pictures_are_left_out_where_asked(photos: Path) -> None:
    with Image.open(photos / "c.bmp") as original:
        original.resize((38, 31)).save(photos / "copy.jpg", quality=70)
    for asked, left in ((False, 6), (True, 5)):
        data = batches(photos, exclude=["c"], exclude_alike=asked)
        assert data.describe()["pictures"] == left
        names = [Path(skipped.name).name for skipped in data.newly_skipped()]
        assert names == (["copy.jpg"] if asked else [])


def test_validation_pictures_and_their_copies_are_not_trained_on(
    photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Image.open(photos / "c.bmp") as original:
        held = np.array(original)
        original.resize((38, 31)).save(photos / "copy.jpg", quality=70)
    settings = recipe(data={"sources": [str(photos)], "validation": ["c", "a"], "exclude": ["a"]})
    data = PictureBatches.of(settings, ALONE)
    assert data.describe()["pictures"] == 4 and data.describe()["excluded"] == [str(photos / "a.png")]
    assert [Path(skipped.name).name for skipped in data.newly_skipped()] == ["copy.jpg"]
    assert data.describe()["excluded_patterns_without_match"] == ["a"]
    (picture,) = held_back(settings, ALONE)
    assert np.array_equal(picture.permute(1, 2, 0), held)
    others = recipe(data={"sources": [str(photos)], "validation": ["d"]})
    assert held_back(others, ALONE) == [] and "nothing is validated" in caplog.text
    (photos / "c.bmp").write_bytes(b"BM no more")
    with pytest.raises(DataError, match=r"training data: none of 1 pictures can be used .*c\.bmp"):
        held_back(settings, ALONE)


def test_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(smooth(0, 20, 40)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    pictures = store.fill(sources.find([str(tmp_path)]), Data(), crop=16)
    assert pictures.sizes.tolist() == [[40, 20]]
    sample = pictures.get(0)
    assert sample is not None and sample.image.shape == (3, 40, 20)


def test_box_and_short_side_as_the_faces_need(tmp_path: Path) -> None:
    pixels = smooth(0, 109, 89)
    Image.fromarray(pixels).save(tmp_path / "face.png")
    face = store.fill(sources.find([str(tmp_path)]), Data(box=(13, 25, 64, 64)), crop=64).get(0)
    assert face is not None and np.array_equal(face.image.permute(1, 2, 0).numpy(), pixels[25:89, 13:77])
    small = store.fill(sources.find([str(tmp_path)]), Data(short_side=40), crop=40).get(0)
    expected = np.asarray(Image.fromarray(pixels).resize((40, 49), Image.Resampling.LANCZOS))
    assert small is not None and np.array_equal(small.image.permute(1, 2, 0).numpy(), expected)
    with pytest.raises(DataError, match="89 x 109 pixels do not hold the box"):
        store.fill(sources.find([str(tmp_path)]), Data(box=(30, 25, 64, 64)), crop=64)


def test_weight_by_pixels() -> None:
    pictures = store.from_arrays(torch.zeros(2, 3, 16, 16, dtype=torch.uint8), labels=[0, 1])
    pictures.sizes[1] = (48, 16)  # three times the pixels

    def share(**changes: Any) -> float:
        data = PictureBatches(pictures, Data(**changes), crop=16, batch=1000, seed=0, team=ALONE)
        return float(data.batch(0)["label"].float().mean())

    assert share() == pytest.approx(0.5, abs=0.05)
    assert share(weight="pixels") == pytest.approx(0.75, abs=0.05)


def test_a_zip_of_stored_pictures_equals_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.png", "deep/b.png"):
        Image.fromarray(rng.integers(0, 256, (9, 7, 3), np.uint8)).save(folder / name)
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_STORED) as archive:
        for name in ("a.png", "deep/b.png"):
            archive.write(folder / name, name)
        archive.writestr("readme.txt", "not a picture")
    from_folder = sources.find([str(folder)])
    from_zip = sources.find([str(tmp_path / "all.zip")])
    assert [record.key for record in from_zip] == ["a", "deep/b"]
    assert [r.picture.read() for r in from_zip] == [r.picture.read() for r in from_folder]


def test_a_compressed_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", b"\0" * 1000)
    with pytest.raises(DataError, match="compressed"):
        sources.find([str(tmp_path / "all.zip")])
