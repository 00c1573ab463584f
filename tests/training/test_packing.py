from __future__ import annotations

import gc
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from training_toys import smooth

from ganic.errors import DataError, OutputError
from ganic.training import sources
from ganic.training.packing import pack


def textured(seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A picture that costs bytes: uint8 [150, 200, 3]."""
    grain = np.random.default_rng(seed).integers(-30, 31, (150, 200, 1))
    return np.clip(smooth(seed, 150, 200) + grain, 0, 255).astype(np.uint8)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub.dir").mkdir(parents=True)
    for i in range(6):
        Image.fromarray(textured(i)).save(folder / f"{i}.png")
    Image.fromarray(textured(7)).save(folder / "sub.dir" / "a.b.jpg", quality=75)
    return folder


def opened(path: Path) -> dict[str, Image.Image]:
    return {r.key: Image.open(io.BytesIO(r.picture.read())) for r in sources.find([str(path)])}


def test_within_the_limit_nothing_is_scaled(photos: Path, tmp_path: Path) -> None:
    packed = pack(sources.find([str(photos)]), tmp_path / "out", limit=10**6)
    assert (packed.pictures, packed.scale, packed.skipped) == (7, 1.0, ())
    assert packed.bytes == sum(path.stat().st_size for path in packed.shards) <= 10**6
    pictures = opened(tmp_path / "out")
    assert set(pictures) == {"0", "1", "2", "3", "4", "5", "sub_dir/a_b"}
    for i in range(6):
        assert pictures[str(i)].format == "WEBP"
        error = np.asarray(pictures[str(i)].convert("RGB"), dtype=float) - textured(i)
        assert np.sqrt((error**2).mean()) < 6  # quality 92
    # smaller as it is than what would replace it
    (original,) = [r for r in sources.find([str(photos)]) if "sub" in r.key]
    (carried,) = [r for r in sources.find([str(tmp_path / "out")]) if "sub" in r.key]
    assert carried.picture.read() == original.picture.read()


@pytest.mark.parametrize("kind", ["webp", "jpeg"])
def test_a_limit_scales_all_alike(photos: Path, tmp_path: Path, kind: str) -> None:
    records = sources.find([str(photos)])
    whole = pack(records, tmp_path / "whole", limit=10**7, kind=kind)  # type: ignore[arg-type]
    limit = whole.bytes // 2
    packed = pack(records, tmp_path / "half", limit=limit, kind=kind, smallest_side=16)  # type: ignore[arg-type]
    assert 0.6 * limit < packed.bytes <= limit
    assert 0.3 < packed.scale < 0.9
    sizes = {picture.size for picture in opened(tmp_path / "half").values()}
    assert sizes == {(round(200 * packed.scale), round(150 * packed.scale))}


def test_shards_have_their_own_limit(photos: Path, tmp_path: Path) -> None:
    packed = pack(sources.find([str(photos)]), tmp_path / "out", limit=10**6, shard_bytes=61_440)
    assert len(packed.shards) > 1
    assert all(path.stat().st_size <= 61_440 for path in packed.shards)
    assert [path.name for path in packed.shards[:2]] == ["shard-000000.tar", "shard-000001.tar"]
    assert len(opened(tmp_path / "out")) == 7


def test_impossible_limits(photos: Path, tmp_path: Path) -> None:
    records = sources.find([str(photos)])
    with pytest.raises(DataError, match="need more than 9000 bytes"):
        pack(records, tmp_path / "out", limit=9000)
    with pytest.raises(DataError, match="alone is larger than a shard"):
        pack(records, tmp_path / "out", limit=10**6, shard_bytes=2048)
    assert not (tmp_path / "out").exists()


def test_classes_maps_and_damage(photos: Path, tmp_path: Path) -> None:
    labels = np.repeat(np.arange(150, dtype=np.uint8)[:, None], 200, axis=1)
    (tmp_path / "maps").mkdir()
    records = sources.find([str(photos)])[:3]
    for record in records:
        Image.fromarray(labels).save(tmp_path / "maps" / f"{record.key}.png")
    (photos / "1.png").write_bytes(b"damaged")
    Image.fromarray(labels[1:]).save(tmp_path / "maps" / "2.png")
    tree = tmp_path / "tree" / "classone"
    tree.mkdir(parents=True)
    records = sources.find([str(photos)], [str(tmp_path / "maps")])[:3]
    labelled = [sources.Record(r.key, r.name, r.picture, 5, r.map) for r in records]
    packed = pack(labelled, tmp_path / "out", limit=10**6)
    assert packed.pictures == 1 and len(packed.skipped) == 2 and "1.png" in packed.skipped[0]
    assert "its label map has 200 x 149 pixels, the picture 200 x 150" in packed.skipped[1]
    found = sources.find([str(tmp_path / "out")])
    assert [(r.key, r.label) for r in found] == [("0", 5)]
    assert found[0].map is not None
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(found[0].map.read()))), labels)


def test_keys_must_differ_and_old_shards_must_go(tmp_path: Path) -> None:
    for name in ("a.b.png", "a_b.png"):
        Image.fromarray(smooth(0, 16, 16)).save(tmp_path / name)
    records = sources.find([str(tmp_path)])
    with pytest.raises(DataError, match="would get the same key"):
        pack(records, tmp_path / "out", limit=10**6)
    pack(records[:1], tmp_path / "out", limit=10**6)
    with pytest.raises(OutputError, match=r"holds \.tar files already"):
        pack(records[:1], tmp_path / "out", limit=10**6)


def test_the_webdataset_library_reads_them(photos: Path, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    long = photos / ("folder" * 20)
    long.mkdir()
    Image.fromarray(smooth(0, 16, 16)).save(long / ("name" * 10 + ".png"))
    records = [sources.Record(r.key, r.name, r.picture, 3) for r in sources.find([str(photos)])]
    packed = pack(records, tmp_path / "out", limit=10**6)
    urls = [str(path) for path in packed.shards]
    pipeline = webdataset.WebDataset(urls, shardshuffle=False, empty_check=False).decode("rgb8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its files to the garbage collector
        samples = list(pipeline)
        del pipeline
        gc.collect()
    assert [sample["__key__"] for sample in samples] == [r.key.replace(".", "_") for r in records]
    assert all(sample["cls"] == 3 for sample in samples)
    own = opened(tmp_path / "out")
    for sample in samples:
        array = next(value for name, value in sample.items() if name in ("webp", "jpg"))
        assert np.array_equal(array, np.asarray(own[sample["__key__"]].convert("RGB")))
