"""Model files, with the safetensors library and a digest computed here as references."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from ganic import models
from ganic.errors import GanicError, ModelFormatError, ModelMissingError, OutputError

CONFIG: dict[str, Any] = {
    "width": 8,
    "rates": [0.05, 0.1],
    "name": "\u00e9",
    "nested": {"b": None, "a": True},
}


def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "g.weight": rng.normal(size=(3, 2, 5)).astype(np.float16),
        "g.bias": rng.normal(size=3).astype(np.float32),
        "tables": rng.integers(-100, 100, (4, 4)).astype(np.int8),
        "a.counts": np.arange(7, dtype=np.int16),
        "sums": np.array([2**31 - 1, -5], dtype=np.int32),
        "indices": np.arange(250, 256, dtype=np.uint8),
        "scalar": np.array(2.5, dtype=np.float32),
        "empty": np.zeros((0, 4), dtype=np.float16),
    }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is searched, and nothing else is."""
    searched = tmp_path / "models"
    searched.mkdir()
    monkeypatch.setenv("GANIC_MODELS", str(searched))
    monkeypatch.setattr(models, "WEIGHTS", tmp_path / "weights")
    return searched


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    info = models.save(path, "tiny", "extreme", CONFIG, tensors(), card="# Tiny\n\u2713")
    assert (info.name, info.system, info.config, info.card) == ("tiny", "extreme", CONFIG, "# Tiny\n\u2713")
    assert info.parameters == 30 + 3 + 16 + 7 + 2 + 6 + 1
    assert info.file_bytes == path.stat().st_size and info.path == path
    model = models.load(path)
    assert (model.name, model.system, model.config, model.card) == (
        "tiny",
        "extreme",
        CONFIG,
        "# Tiny\n\u2713",
    )
    assert model.digest == info.digest and model.model_id == info.model_id == bytes.fromhex(info.digest[:12])
    assert model.tensors.keys() == tensors().keys()
    for name, value in tensors().items():
        found = model.tensors[name]
        assert found.dtype == value.dtype and found.shape == value.shape and (found == value).all()
        assert found.flags.writeable and found.flags.aligned and found.flags.c_contiguous


def test_digest_is_as_specified() -> None:
    expected = hashlib.sha256()
    expected.update(b"ganic model 1\n")
    expected.update(rb'["ganz",{"a":[1,2.5],"b":"\u00e9"}]' + b"\n")
    expected.update(b'["a","I16",[2]]\n' + bytes([1, 0, 0xFE, 0xFF]))
    expected.update(b'["b.c","F16",[1,2]]\n' + bytes([0x00, 0x3C, 0x00, 0xC0]))
    found = models.digest(
        "ganz",
        {"b": "\u00e9", "a": [1, 2.5]},
        {"b.c": np.array([[1, -2]], dtype=np.float16), "a": np.array([1, -2], dtype=np.int16)},
    )
    assert found == expected.hexdigest()


def test_digest_does_not_depend_on_memory_layout() -> None:
    values = np.arange(24, dtype=np.float32).reshape(4, 6)
    plain = models.digest("jpeg", {}, {"w": values})
    assert models.digest("jpeg", {}, {"w": np.asfortranarray(values)}) == plain
    assert models.digest("jpeg", {}, {"w": np.repeat(values, 2, axis=1)[:, ::2]}) == plain
    assert models.digest("jpeg", {}, {"w": values.astype(">f4")}) == plain
    assert models.digest("jpeg", {}, {"w": values.reshape(6, 4)}) != plain
    assert models.digest("ganz", {}, {"w": values}) != plain
    assert models.digest("jpeg", {"x": 1}, {"w": values}) != plain
    assert models.digest("jpeg", {}, {"v": values}) != plain
    assert models.digest("jpeg", {}, {"w": values.astype(np.int32)}) != plain


def test_other_layouts_are_stored_right(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.float32).reshape(4, 6)
    odd = {"t": values.T, "step": values[:, ::2], "big": values.astype(">f4")}
    models.save(tmp_path / "m.safetensors", "m", "jpeg", {}, odd)
    loaded = models.load(tmp_path / "m.safetensors").tensors
    assert all((loaded[name] == value).all() for name, value in odd.items())
    assert loaded["big"].dtype == np.float32


def test_the_safetensors_library_reads_ours_and_we_read_its(tmp_path: Path) -> None:
    ours = tmp_path / "ours.safetensors"
    info = models.save(ours, "m", "extreme", CONFIG, tensors())
    with safetensors.safe_open(ours, framework="np") as file:
        description = json.loads(file.metadata()["ganic"])
        assert set(file.keys()) == set(tensors())
        assert all((file.get_tensor(name) == value).all() for name, value in tensors().items())
    assert description["digest"] == info.digest and description["format"] == 1

    theirs = tmp_path / "theirs.safetensors"
    metadata = {"ganic": json.dumps(description), "format": "pt"}
    safetensors.numpy.save_file(tensors(), theirs, metadata=metadata)
    assert models.load(theirs).digest == info.digest


def test_name_and_card_do_not_change_the_identity(tmp_path: Path) -> None:
    first = models.save(tmp_path / "1.safetensors", "one", "extreme", CONFIG, tensors(), card="x")
    second = models.save(tmp_path / "2.safetensors", "two", "extreme", CONFIG, tensors(), card="y")
    assert first.digest == second.digest


def test_same_model_same_bytes(tmp_path: Path) -> None:
    for name in ("1", "2"):
        models.save(tmp_path / name, "m", "extreme", CONFIG, dict(reversed(tensors().items())))
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"name": "a/b"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"name": "m.safetensors"}, "name"),
        ({"system": "other"}, "system"),
        ({"config": {"t": (1, 2)}}, "changes"),
        ({"config": {1: 2}}, "changes"),
        ({"config": {"x": float("nan")}}, "not JSON"),
        ({"config": {"x": {1, 2}}}, "not JSON"),
        ({"tensors": {"x": np.zeros(2)}}, "float64"),
        ({"tensors": {"x": np.zeros(2, dtype=np.int64)}}, "int64"),
        ({"tensors": {"x": np.zeros(2, dtype=bool)}}, "bool"),
        ({"tensors": {"x": np.array(["a"])}}, "cannot be stored"),
    ],
)
def test_what_cannot_be_stored_is_refused(tmp_path: Path, arguments: dict[str, Any], reason: str) -> None:
    good: dict[str, Any] = {"name": "m", "system": "extreme", "config": {}, "tensors": {}}
    with pytest.raises(ModelFormatError, match=reason):
        models.save(tmp_path / "m.safetensors", **(good | arguments))
    assert not list(tmp_path.iterdir())


def test_overwriting(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    models.save(path, "one", "extreme", {}, {})
    with pytest.raises(OutputError, match="exists"):
        models.save(path, "two", "extreme", {}, {}, overwrite=False)
    assert models.save(path, "two", "extreme", {}, {}).name == "two"


# --- finding


def test_find_by_name_id_and_path(folder: Path) -> None:
    info = models.save(folder / "file.safetensors", "photo", "extreme", {"v": 1}, tensors())
    other = models.save(folder / "other.safetensors", "other", "ganz", {"v": 2}, {})
    assert models.find("photo") == models.find(info.model_id) == models.find(info.model_id.hex()) == info
    assert models.find(info.path) == models.find(str(info.path)) == info
    assert models.find("other") == other
    assert models.list_models() == (info, other)
    assert models.load(other.model_id).digest == other.digest


def test_a_header_is_read_again_where_its_file_has_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    read_info = models.read_info
    monkeypatch.setattr(models, "read_info", lambda path: read.append(path) or read_info(path))
    path = folder / "changing.safetensors"
    first = models.save(path, "changing", "extreme", CONFIG, tensors())
    read.clear()
    assert models.find("changing").digest == models.find("changing").digest == first.digest
    assert read.count(path) == 1
    second = models.save(path, "changing", "jpeg", CONFIG, tensors(), overwrite=True)
    read.clear()
    assert models.find("changing").digest == second.digest != first.digest and read.count(path) == 1
    path.unlink()
    with pytest.raises(ModelMissingError):
        models.find("changing")


def test_relative_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models.save(folder / "file.safetensors", "photo", "extreme", {}, {})
    monkeypatch.chdir(folder)
    for path in ("file.safetensors", "./file.safetensors", Path("file.safetensors")):
        assert models.find(path).name == "photo"


def test_search_order(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped, second = tmp_path / "weights", tmp_path / "second"
    for place, version in ((shipped, 3), (second, 2), (folder, 1)):
        place.mkdir(exist_ok=True)
        models.save(place / "photo.safetensors", "photo", "extreme", {"version": version}, {})
    monkeypatch.setenv(
        "GANIC_MODELS", os.pathsep.join([str(folder), "", str(tmp_path / "gone"), str(second)])
    )
    assert [info.config["version"] for info in models.list_models()] == [1, 2, 3]
    assert models.find("photo").config["version"] == 1
    monkeypatch.delenv("GANIC_MODELS")
    assert models.find("photo").config["version"] == 3


def test_missing_model_says_where_and_what(folder: Path) -> None:
    models.save(folder / "a.safetensors", "here", "extreme", {}, {})
    safetensors.numpy.save_file({"x": np.zeros(2, np.float32)}, folder / "foreign.safetensors")
    (folder / "photo.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid ...\n")
    with pytest.raises(ModelMissingError) as caught:
        models.find("photo")
    message = str(caught.value)
    assert str(folder) in message and str(models.WEIGHTS) in message and "$GANIC_MODELS" in message
    assert "here (" in message
    assert "foreign.safetensors: not a ganic model" in message
    assert "photo.safetensors: not a safetensors file" in message
    with pytest.raises(ModelMissingError, match="model id 0102030a0b0c"):
        models.find(bytes([1, 2, 3, 10, 11, 12]))
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("path", ["gone.safetensors", "no/where"])
def test_missing_path(folder: Path, path: str) -> None:
    with pytest.raises(ModelMissingError, match="no such file"):
        models.load(path)


def test_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError, match="cannot be read"):
        models.load(tmp_path)


# --- damaged and foreign files


def rewritten(data: bytes, **changes: object) -> bytes:
    """The file with changed entries in its description; None removes one."""
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    description = json.loads(header["__metadata__"]["ganic"])
    for key, value in changes.items():
        description[key] = value
        if value is None:
            del description[key]
    header["__metadata__"]["ganic"] = json.dumps(description)
    return with_header(header, data[8 + length :])


def with_header(header: object, payload: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + payload


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "m.safetensors"
    models.save(path, "m", "extreme", {"x": 1}, {"w": np.arange(6, dtype=np.float32)}, card="card")
    return path.read_bytes()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": 2}, "update ganic"),
        ({"format": None}, "unknown"),
        ({"name": None}, "name"),
        ({"name": "../x"}, "name"),
        ({"system": "later"}, "update ganic"),
        ({"config": None}, "config"),
        ({"config": [1]}, "config"),
        ({"card": None}, "card"),
        ({"digest": None}, "digest"),
        ({"digest": "AB" * 32}, "digest"),
    ],
)
def test_wrong_descriptions(tmp_path: Path, good: bytes, changes: dict[str, object], reason: str) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(rewritten(good, **changes))
    with pytest.raises(ModelFormatError, match=reason) as caught:
        models.read_info(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("changes", [{"config": {"x": 2}}, {"system": "ganz"}, {"digest": "0" * 64}])
def test_changed_contents_fail_the_digest(tmp_path: Path, good: bytes, changes: dict[str, object]) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(rewritten(good, **changes))
    models.read_info(path)
    with pytest.raises(ModelFormatError, match="digest"):
        models.load(path)


def test_any_flipped_tensor_bit_fails_the_digest(tmp_path: Path, good: bytes) -> None:
    path = tmp_path / "m.safetensors"
    for position in range(len(good) - 24, len(good)):
        path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        with pytest.raises(ModelFormatError, match="digest"):
            models.load(path)


OK = {"__metadata__": {"ganic": json.dumps({"format": 1})}}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"12345678",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 50) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 2) + b"{x",
        struct.pack("<Q", 20000) + b"[" * 20000,
        with_header({}),
        with_header({"__metadata__": []}),
        with_header({"__metadata__": {"ganic": 3}}),
        with_header({"__metadata__": {"ganic": "{"}}),
        with_header({"__metadata__": {"ganic": "[]"}}),
        with_header(OK | {"w": 1}),
        with_header(OK | {"w": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}, b"12"),
        with_header(OK | {"w": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}, b"1234"),
        with_header(OK | {"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"1234"),
        with_header(OK | {"w": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}}, b"1234"),
        with_header(OK | {"w": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, b"1234"),
        with_header(OK | {"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, b"1234"),
        with_header(OK | {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}, b"1234"),
        with_header(OK | {"w": {"dtype": "F32", "shape": [10**400], "data_offsets": [0, 4]}}, b"1234"),
        with_header(OK | {"w": {"dtype": "F32", "shape": [1] * 70, "data_offsets": [0, 4]}}, b"1234"),
    ],
)
def test_malformed_files(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(data)
    with pytest.raises(ModelFormatError):
        models.read_info(path)


@pytest.mark.parametrize(
    ("offsets", "payload"),
    [((4, 28), 28), ((0, 24), 25), ((0, 24), 23), ((0, 24), 0), ((0, 24), 48)],
)
def test_holes_and_left_over_bytes(
    tmp_path: Path, good: bytes, offsets: tuple[int, int], payload: int
) -> None:
    header = json.loads(good[8 : 8 + struct.unpack("<Q", good[:8])[0]])
    header["w"]["data_offsets"] = offsets
    path = tmp_path / "m.safetensors"
    path.write_bytes(with_header(header, b"\0" * payload))
    with pytest.raises(ModelFormatError, match=r"holes|declared"):
        models.read_info(path)


def test_overlapping_tensors(tmp_path: Path, good: bytes) -> None:
    header = json.loads(good[8 : 8 + struct.unpack("<Q", good[:8])[0]])
    header["v"] = header["w"]
    path = tmp_path / "m.safetensors"
    path.write_bytes(with_header(header, b"\0" * 24))
    with pytest.raises(ModelFormatError, match="overlap"):
        models.read_info(path)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_mutated_files_raise_only_our_errors(
    tmp_path_factory: pytest.TempPathFactory, good: bytes, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "mutated.safetensors"
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(changed[: data.draw(st.integers(0, len(good)))])
    try:
        model = models.load(path)
    except GanicError:
        return
    # Only name, card and padding may have been hit.
    assert model.digest == models.digest("extreme", {"x": 1}, {"w": np.arange(6, dtype=np.float32)})


def test_looking_imports_neither_numpy_nor_torch(folder: Path) -> None:
    models.save(folder / "m.safetensors", "photo", "extreme", {}, tensors())
    program = (
        "import sys; from ganic import models; assert models.find('photo').parameters == 65; "
        "print([m for m in ('numpy', 'torch', 'PIL', 'safetensors') if m in sys.modules])"
    )
    source = Path(models.__file__).parent.parent
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(source), "GANIC_MODELS": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "[]\n"


def test_names_that_no_system_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANIC_MODELS", "~nobody-of-that-name/models")
    with pytest.raises(ModelMissingError, match="~nobody-of-that-name"):
        models.find("somebody")
    with pytest.raises(ModelMissingError):
        models.find("a\0b.safetensors")
