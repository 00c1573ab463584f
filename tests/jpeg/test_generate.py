from __future__ import annotations

import errno
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from webdataset.tariterators import group_by_keys, tar_file_expander

import ganic
from ganic import models
from ganic.errors import ModelError, ModelFormatError, ModelMissingError, OutputError, UsageError
from ganic.hardware import has_fast_bf16
from ganic.jpeg import generate as module
from ganic.jpeg.folder import FolderWriter
from ganic.jpeg.generate import generate, pictures
from ganic.jpeg.generator import JpegGenerator
from ganic.jpeg.model import JpegModel, load
from ganic.jpeg.modern_generator import ModernGenerator
from ganic.jpeg.noise import draws
from ganic.jpeg.sampling import Subsampling
from ganic.jpeg.settings import Settings
from ganic.jpeg.synthesis import Noise, rendered
from ganic.jpeg.tables import quantisation_tables

COUNT = 150


def test_the_same_bytes_whatever_the_batch(model: JpegModel) -> None:
    whole = list(pictures(model, COUNT, seed=3))
    assert [p.index for p in whole] == list(range(COUNT))
    assert list(pictures(model, COUNT, seed=3, batch=1)) == whole
    assert list(pictures(model, COUNT, seed=3, batch=130)) == whole
    assert list(pictures(model, 20, seed=3, start=60)) == whole[60:80]
    assert list(pictures(model, 1, seed=3, start=149, batch=7)) == whole[149:]
    assert list(pictures(model, 3, seed=4)) != whole[:3]
    assert len({p.data for p in whole}) == COUNT


def test_files_show_what_the_network_painted(
    model: JpegModel, decode: Callable[[bytes], NDArray[np.float64]]
) -> None:
    made = list(pictures(model, 64, quality=40, subsampling="4:2:0", seed=1))
    drawn = draws(1, 0, 64, 128, 10)
    settings = Settings.same(64, 40, Subsampling.BOTH, "cpu")
    noise = Noise(torch.from_numpy(drawn.latent), torch.from_numpy(drawn.label))
    with torch.inference_mode():
        shown = rendered(model.generator, model.paint(noise, settings), settings)
    expected = ((shown + 1) * 127.5).permute(0, 2, 3, 1).numpy()
    difference = np.abs(np.stack([decode(p.data) for p in made]) - expected)
    assert difference.mean() < 0.1
    assert difference.max() <= 3
    assert [p.label for p in made] == drawn.label.tolist()


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_quality_and_subsampling_are_in_the_file(model: JpegModel, subsampling: str) -> None:
    (picture,) = pictures(model, 1, quality=33, subsampling=subsampling)
    image = Image.open(io.BytesIO(picture.data))
    image.load()
    assert image.size == (32, 32)
    assert image.mode == "RGB"
    tables = image.quantization  # type: ignore[attr-defined]
    assert tables[0] == quantisation_tables(33).luminance.ravel().tolist()
    assert tables[1] == quantisation_tables(33).chrominance.ravel().tolist()


def test_one_class(model: JpegModel) -> None:
    assert {p.label for p in pictures(model, 70, label=4)} == {4}
    free = list(pictures(model, 70))
    asked = list(pictures(model, 70, label=free[9].label))
    assert asked[9] == free[9]  # the class alone decides, not how it came about
    assert model.label_of("seven") == 7
    assert model.label_of("7") == model.label_of(7) == 7
    for wrong in ("eleven", "10", "-1", ""):
        with pytest.raises(UsageError, match="0 to 9 or zero"):
            model.label_of(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"quality": 0},
        {"quality": 101},
        {"subsampling": "4:1:1"},
        {"seed": -1},
        {"label": 10},
        {"count": -1},
        {"start": -1},
        {"batch": 0},
    ],
)
def test_wrong_arguments_are_refused_at_once(model: JpegModel, wrong: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        pictures(model, **({"count": 1} | wrong))  # type: ignore[arg-type]
    if "start" not in wrong and "batch" not in wrong:
        with pytest.raises(UsageError):
            generate(model, output=tmp_path / "x.tar", **({"count": 1} | wrong))  # type: ignore[arg-type]
        assert list(tmp_path.iterdir()) == []


def contents(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]


def test_tar(model: JpegModel, tmp_path: Path) -> None:
    path = tmp_path / "some.tar"
    told: list[int] = []
    summary = generate(model, 70, path, seed=2, batch=64, progress=told.append)
    expected = list(pictures(model, 70, seed=2))
    members = contents(path)
    assert list(members)[:3] == ["000000000.jpg", "000000000.cls", "000000001.jpg"]
    for p in expected:
        assert members[f"{p.index:09d}.jpg"] == p.data
        assert members[f"{p.index:09d}.cls"] == str(p.label).encode()
    assert told == [64, 70]
    assert (summary.count, summary.made, summary.bytes) == (70, 70, sum(len(p.data) for p in expected))
    assert summary.bytes_per_picture == summary.bytes / 70
    assert summary.pictures_per_second == 70 / summary.seconds
    assert [p.name for p in tmp_path.iterdir()] == ["some.tar"]

    with path.open("rb") as file:
        read = list(group_by_keys(tar_file_expander([{"url": str(path), "stream": file}])))
    assert len(read) == 70
    assert read[5]["__key__"] == "000000005"
    assert read[5]["jpg"] == expected[5].data
    assert read[5]["cls"] == str(expected[5].label).encode()


@pytest.mark.parametrize("where", [0, 700, 3000, 50_000, -1])
def test_a_tar_goes_on_where_it_was_cut(model: JpegModel, tmp_path: Path, where: int) -> None:
    generate(model, 70, tmp_path / "whole.tar", seed=2)
    whole = (tmp_path / "whole.tar").read_bytes()
    preamble = 1024  # the header that says what is being made
    (tmp_path / "cut.tar.part").write_bytes(whole[: where if where < 0 else preamble + where])
    with pytest.raises(OutputError, match=r"interrupted run.*--resume"):
        generate(model, 70, tmp_path / "cut.tar", seed=2)
    summary = generate(model, 70, tmp_path / "cut.tar", seed=2, resume=True)
    assert (tmp_path / "cut.tar").read_bytes() == whole
    assert summary.bytes == sum(
        len(d) for n, d in contents(tmp_path / "cut.tar").items() if n.endswith("jpg")
    )
    assert summary.made <= (70 if where < 3000 else 69)
    assert not (tmp_path / "cut.tar.part").exists()


def test_a_damaged_part_is_made_again(model: JpegModel, tmp_path: Path) -> None:
    generate(model, 20, tmp_path / "whole.tar")
    whole = bytearray((tmp_path / "whole.tar").read_bytes())
    reference = bytes(whole)
    at = whole.find(b"000000007.jpg")
    whole[at + 150] ^= 1  # its checksum
    (tmp_path / "cut.tar.part").write_bytes(whole)
    summary = generate(model, 20, tmp_path / "cut.tar", resume=True)
    assert summary.made == 13
    assert (tmp_path / "cut.tar").read_bytes() == reference


def test_a_run_can_be_made_longer(model: JpegModel, tmp_path: Path) -> None:
    generate(model, 70, tmp_path / "long.tar")
    generate(model, 30, tmp_path / "short.tar")
    (tmp_path / "short.tar").rename(tmp_path / "short.tar.part")
    assert generate(model, 70, tmp_path / "short.tar", resume=True).made == 40
    assert (tmp_path / "short.tar").read_bytes() == (tmp_path / "long.tar").read_bytes()
    (tmp_path / "short.tar").rename(tmp_path / "short.tar.part")
    with pytest.raises(OutputError, match="70 pictures already, more than 30"):
        generate(model, 30, tmp_path / "short.tar", resume=True)


def test_a_finished_tar_file_is_gone_on_with(model: JpegModel, tmp_path: Path) -> None:
    """The same command again does nothing, a larger count adds, and what is refused stays as it was."""
    path = tmp_path / "x.tar"
    generate(model, 10, path)
    before = path.read_bytes()
    assert generate(model, 10, path, resume=True).made == 0 and path.read_bytes() == before
    with pytest.raises(OutputError, match="10 pictures already, more than 5"):
        generate(model, 5, path, resume=True)
    with pytest.raises(OutputError, match="other options"):
        generate(model, 10, path, resume=True, seed=1)
    assert path.read_bytes() == before and [entry.name for entry in tmp_path.iterdir()] == ["x.tar"]
    assert generate(model, 15, path, resume=True).made == 5
    generate(model, 15, tmp_path / "whole.tar")
    assert path.read_bytes() == (tmp_path / "whole.tar").read_bytes()


def test_files_hold_the_generators_own_coefficients(model: JpegModel, tmp_path: Path) -> None:
    """Read back with libjpeg."""
    jpeglib = pytest.importorskip("jpeglib")
    drawn = draws(1, 0, 64, 128, 10)
    noise = Noise(torch.from_numpy(drawn.latent), torch.from_numpy(drawn.label))
    planes = module.coefficients_of(model, noise, 40, Subsampling.BOTH).planes()
    for i, made in enumerate(pictures(model, 3, quality=40, subsampling="4:2:0", seed=1)):
        (tmp_path / "x.jpg").write_bytes(made.data)
        found = jpeglib.read_dct(str(tmp_path / "x.jpg"))
        for read, plane in ((found.Y, planes.luminance), (found.Cb, planes.blue), (found.Cr, planes.red)):
            assert np.array_equal(read, plane[i]) and read.any()
        assert np.array_equal(found.qt[0], quantisation_tables(40).luminance)


@pytest.mark.parametrize("name", ["x.tar", "folder"])
def test_other_options_are_not_gone_on_with(
    model: JpegModel, model_path: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    generate(model, 10, path, seed=1)
    if path.is_file():
        path.rename(tmp_path / "x.tar.part")
    for change in ({"seed": 2}, {"quality": 74}, {"subsampling": "4:4:4"}, {"label": 1}):
        options: dict[str, object] = {"seed": 1} | change
        with pytest.raises(OutputError, match="other options or another model"):
            generate(model, 20, path, resume=True, **options)  # type: ignore[arg-type]
    with pytest.raises(OutputError, match="other options or another model"):
        generate(load(model_path, precision="fp32", truncation=0.5), 20, path, seed=1, resume=True)
    assert generate(model, 20, path, seed=1, resume=True).made == 10


def test_truncated_styles_are_nearer_to_the_mean_of_their_class(model: JpegModel, model_path: Path) -> None:
    half = load(model_path, precision="fp32", truncation=0.5).generator
    plain = model.generator
    assert isinstance(half, ModernGenerator) and isinstance(plain, ModernGenerator)
    torch.manual_seed(5)
    many = Noise(torch.randn(20_000, 128), torch.arange(20_000) % 10)
    with torch.no_grad():
        styles = plain.mapping(many)
        centre = torch.stack([styles[label::10].mean(dim=0) for label in range(10)])
        some = Noise(many.latent[:30], many.label[:30])
        seen: list[torch.Tensor] = []
        half.start.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        half(some, Settings.same(30, 75, Subsampling.BOTH, "cpu").features())
    expected = centre[some.label] + 0.5 * (styles[:30] - centre[some.label])
    spread = styles.std(dim=0).mean()
    assert ((seen[0] - expected).abs().mean() / spread).item() < 0.03


def test_public_function_makes_the_same_files(model_path: Path) -> None:
    found = ganic.generate(
        3,
        model=model_path,
        quality=40,
        subsampling="4:4:4",
        label="two",
        seed=5,
        start=2,
        truncation=0.5,
        precision="fp32",
    )
    model = load(model_path, precision="fp32", truncation=0.5)
    expected = pictures(model, 3, quality=40, subsampling="4:4:4", label=2, seed=5, start=2)
    assert list(found) == [picture.data for picture in expected]


def test_truncation_of_all_or_nothing(model: JpegModel, model_path: Path) -> None:
    assert list(pictures(load(model_path, precision="fp32", truncation=1), 9)) == list(pictures(model, 9))
    same = list(pictures(load(model_path, precision="fp32", truncation=0), 40, quality=90))
    by_class = {p.label: p.data for p in same}
    assert all(p.data == by_class[p.label] for p in same)
    assert len(set(by_class.values())) == len(by_class) > 5


@pytest.mark.parametrize("share", [-0.1, 1.01, float("nan")])
def test_impossible_truncations_are_refused(model_path: Path, share: float) -> None:
    with pytest.raises(UsageError, match=r"truncation: .* is not within 0"):
        load(model_path, truncation=share)


def test_a_generator_without_styles_has_nothing_to_truncate() -> None:
    JpegGenerator(32).truncate(1)
    with pytest.raises(UsageError, match="no styles that could be truncated"):
        JpegGenerator(32).truncate(0.7)


def test_folder(model: JpegModel, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    summary = generate(model, 20, folder, quality=50)
    expected = list(pictures(model, 20, quality=50))
    assert sorted(p.name for p in folder.iterdir()) == [
        *(f"{i:09d}.jpg" for i in range(20)),
        "ganic.json",
        "labels.csv",
    ]
    assert all((folder / f"{p.index:09d}.jpg").read_bytes() == p.data for p in expected)
    assert (folder / "labels.csv").read_text().splitlines()[:2] == [
        "file,label",
        f"000000000.jpg,{expected[0].label}",
    ]
    assert json.loads((folder / "ganic.json").read_text())["quality"] == 50
    assert summary.bytes == sum(len(p.data) for p in expected)


def test_a_folder_goes_on(model: JpegModel, tmp_path: Path) -> None:
    generate(model, 20, tmp_path / "whole")
    generate(model, 20, tmp_path / "cut")
    for i in range(12, 20):
        (tmp_path / "cut" / f"{i:09d}.jpg").unlink()
    (tmp_path / "cut" / "labels.csv").unlink()
    with pytest.raises(OutputError, match="--resume"):
        generate(model, 20, tmp_path / "cut")
    summary = generate(model, 20, tmp_path / "cut", resume=True)
    assert summary.made == 8
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "cut" / path.name).read_bytes() == path.read_bytes()


def test_what_is_there_is_replaced_only_when_asked(model: JpegModel, tmp_path: Path) -> None:
    for name in ("x.tar", "folder", "x.jpg"):
        count = 1 if name.endswith("jpg") else 5
        generate(model, count, tmp_path / name)
        with pytest.raises(OutputError, match=r"already|-f"):
            generate(model, count, tmp_path / name)
        generate(model, count, tmp_path / name, seed=1, overwrite=True)
    assert (tmp_path / "x.jpg").read_bytes() == next(pictures(model, 1, seed=1)).data
    generate(model, 2, tmp_path / "folder", overwrite=True)
    assert len(list((tmp_path / "folder").glob("*.jpg"))) == 2
    strange = tmp_path / "photographs"
    strange.mkdir()
    (strange / "holiday.jpg").write_bytes(b"mine")
    generate(model, 2, strange)  # nothing of ours is there
    assert (strange / "holiday.jpg").read_bytes() == b"mine"


def test_several_pictures_need_a_folder_or_tar(model: JpegModel, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one file for 2 pictures"):
        generate(model, 2, tmp_path / "x.jpg")
    with pytest.raises(UsageError, match="at least one"):
        generate(model, 0, tmp_path / "x.tar")


def test_no_space_is_noticed_early(model: JpegModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage._replace(free=10_000))
    with pytest.raises(OutputError, match=r"need about \d+ MB more.*--resume"):
        generate(model, 10_000, tmp_path / "x.tar", batch=64)
    monkeypatch.undo()
    assert generate(model, 100, tmp_path / "x.tar", resume=True).made == 36  # the first 64 were kept


def test_a_full_disk_keeps_what_was_written(
    model: JpegModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full from the fourth picture on."""
    add = FolderWriter.add

    def failing(self: FolderWriter, index: int, label: int | None, data: bytes) -> None:
        if index == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        add(self, index, label, data)

    monkeypatch.setattr(FolderWriter, "add", failing)
    with pytest.raises(OutputError, match=r"No space left on device; 3 of 10 pictures are kept.*--resume"):
        generate(model, 10, tmp_path / "x")
    monkeypatch.undo()
    assert generate(model, 10, tmp_path / "x", resume=True).made == 7


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a Linux device")
def test_a_full_disk_under_a_tar_file(model: JpegModel, tmp_path: Path) -> None:
    """Closing it finds the disk full once more, which must not hide what is to be done."""
    (tmp_path / "x.tar.part").symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"No space left on device; \d+ of 10 pictures .*--resume"):
        generate(model, 10, tmp_path / "x.tar", overwrite=True)


def test_other_pictures_do_not_get_into_a_set(model: JpegModel, tmp_path: Path) -> None:
    """Pictures of such names that are not said to be ours: replaced as a whole, or not at all."""
    folder = tmp_path / "unpacked"
    folder.mkdir()
    for i in range(9):
        (folder / f"{i:09d}.jpg").write_bytes(b"of another model")
    with pytest.raises(OutputError, match="has generated pictures already"):
        generate(model, 5, folder)
    generate(model, 5, folder, overwrite=True)
    assert [p.read_bytes() for p in sorted(folder.glob("*.jpg"))] == [p.data for p in pictures(model, 5)]


def test_models_that_do_not_fit_are_refused(model_path: Path, tmp_path: Path) -> None:
    good = models.load(model_path)
    assert good.system == "jpeg"
    assert good.tensors["head.luminance.loc2.linear.weight"].dtype == np.float32
    assert good.tensors["blocks.3.conv2.conv.weight"].dtype == np.float16

    def written(name: str, **changes: object) -> Path:
        fields: dict[str, object] = {"system": "jpeg", "config": dict(good.config), "tensors": good.tensors}
        fields |= changes
        path = tmp_path / f"{name}.safetensors"
        models.save(path, name, **fields)  # type: ignore[arg-type]
        return path

    with pytest.raises(ModelError, match="system 'ganz'"):
        load(written("other", system="ganz"))
    with pytest.raises(ModelFormatError, match="'quantum' is unknown"):
        load(written("kind", config=good.config | {"generator": "quantum"}))
    with pytest.raises(ModelFormatError, match="config"):
        load(written("keys", config={"generator": "modern"}))
    with pytest.raises(ModelFormatError, match="do not fit"):
        load(written("widths", config=good.config | {"widths": [16, 16, 16, 8]}))
    fewer = {name: value for name, value in good.tensors.items() if name != "start.weight"}
    with pytest.raises(ModelFormatError, match="lacks tensors"):
        load(written("fewer", tensors=fewer))
    with pytest.raises(ModelMissingError):
        load(tmp_path / "none.safetensors")
    broken = written(
        "nan", tensors=good.tensors | {"start.weight": np.full_like(good.tensors["start.weight"], np.nan)}
    )
    with pytest.raises(ModelError, match="not finite"):
        list(pictures(load(broken, precision="fp32"), 1))


def test_precision(model_path: Path, model: JpegModel) -> None:
    assert model.bf16 is False
    reduced = load(model_path, precision="bf16")
    assert reduced.bf16 is True
    assert load(model_path).bf16 is has_fast_bf16(torch.device("cpu"))
    exact, rough = (next(pictures(m, 1)).data for m in (model, reduced))
    assert exact != rough
    a, b = (np.asarray(Image.open(io.BytesIO(d)), dtype=float) for d in (exact, rough))
    assert np.abs(a - b).mean() < 8
