from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ganic.errors import TrainingError
from ganic.training import checkpoint
from ganic.training.checkpoint import State


def tensors() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        "network/g.weight": torch.randn(64, 33, 3, 3).contiguous(memory_format=torch.channels_last),
        "network/g.big": torch.tensor([1e6, -1.0]),
        "network/g.count": torch.tensor(7),
        "network/d.weight": torch.randn(1000),
        "ema/g.weight": torch.randn(64, 33, 3, 3),
        "optimiser/g/g.weight/exp_avg_sq": torch.rand(64, 33, 3, 3) * 1e-12,
        "optimiser/g/g.weight/step": torch.tensor(12.0),
        "random/0/cpu": torch.get_rng_state(),
        "network/e.empty": torch.zeros(0, 3),
    }


def equal(first: State, second: State) -> bool:
    return first.tensors.keys() == second.tensors.keys() and all(
        torch.equal(value, second.tensors[name]) and value.dtype == second.tensors[name].dtype
        for name, value in first.tensors.items()
    )


@pytest.mark.parametrize("part_bytes", [0, 2**16, 100_000, 10**9])
def test_round_trip_in_parts(tmp_path: Path, part_bytes: int) -> None:
    state = State(12, 30, 1.5, 11, tensors())
    path = checkpoint.save(tmp_path, state, part_bytes=part_bytes)
    assert path == tmp_path / "00000012"
    found = checkpoint.latest(tmp_path)
    assert found is not None and equal(state, found)
    assert (found.step, found.draw, found.seconds, found.ema_updates) == (12, 30, 1.5, 11)
    files = sorted(path.glob("part-*.safetensors"))
    if part_bytes in (0, 10**9):
        assert len(files) == 1
    else:
        assert 3 <= len(files) <= 10
        assert all(file.stat().st_size <= part_bytes for file in files)
    assert set(found.part("optimiser/g")) == {"g.weight/exp_avg_sq", "g.weight/step"}


def test_half_precision(tmp_path: Path) -> None:
    exact, half = State(1, tensors=tensors()), State(2, tensors=tensors())
    sizes = []
    for state, flag in ((exact, False), (half, True)):
        path = checkpoint.save(tmp_path, state, half=flag)
        sizes.append(sum(file.stat().st_size for file in path.iterdir()))
    assert sizes[1] < 0.55 * sizes[0]
    found = checkpoint.read(path)
    dtypes = {name: value.dtype for name, value in found.tensors.items()}
    assert dtypes["network/g.weight"] == torch.float16 and dtypes["network/g.count"] == torch.int64
    assert dtypes["network/g.big"] == torch.float32  # 1e6 is no float16
    assert dtypes["optimiser/g/g.weight/exp_avg_sq"] == torch.bfloat16
    small = found.tensors["optimiser/g/g.weight/exp_avg_sq"].float()
    assert torch.allclose(small, half.tensors["optimiser/g/g.weight/exp_avg_sq"], rtol=0.01, atol=0)
    assert found.tensors["optimiser/g/g.weight/step"].item() == 12.0
    weights = checkpoint.weights(path)
    assert weights["g.weight"].dtype == torch.float32


def test_weights_are_averaged_where_kept(tmp_path: Path) -> None:
    run = tmp_path / "run"
    checkpoint.save(run / "checkpoints", State(3, tensors=tensors()))
    for path in (run, run / "checkpoints", run / "checkpoints" / "00000003"):
        found = checkpoint.weights(path)
        assert torch.equal(found["g.weight"], tensors()["ema/g.weight"])
        assert torch.equal(found["d.weight"], tensors()["network/d.weight"])
        assert found["g.count"].dtype == torch.int64
    assert torch.equal(checkpoint.weights(run, averaged=False)["g.weight"], tensors()["network/g.weight"])
    with pytest.raises(TrainingError, match="no checkpoint here"):
        checkpoint.weights(tmp_path)


def test_a_slim_copy_has_the_same_weights_to_export(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path / "run" / "checkpoints", State(3, tensors=tensors()))
    checkpoint.slim(tmp_path / "run", tmp_path / "slim", part_bytes=2**16)
    whole, small = checkpoint.weights(path), checkpoint.weights(tmp_path / "slim")
    assert small.keys() == whole.keys()
    for name, value in whole.items():
        assert torch.allclose(small[name], value, rtol=1e-3, atol=1e-6)
    sizes = [sum(file.stat().st_size for file in folder.iterdir()) for folder in (path, tmp_path / "slim")]
    assert sizes[1] < 0.25 * sizes[0]
    assert not checkpoint.read(tmp_path / "slim").part("optimiser/g")


def test_only_the_last_ones_are_kept(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    for step in (9, 10, 11, 100):
        checkpoint.save(tmp_path, State(step, tensors=tensors()))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["00000011", "00000100", "notes"]
    found = checkpoint.latest(tmp_path)
    assert found is not None and found.step == 100
    assert checkpoint.latest(tmp_path / "none") is None


def test_interrupted_writing_leaves_the_older_one(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, State(1, tensors=tensors()))
    newer = checkpoint.save(tmp_path, State(2, tensors=tensors()))
    (newer / "part-00.safetensors").write_bytes(b"")  # a disk that lost the file's contents
    headless = tmp_path / "00000003"
    headless.mkdir()
    stale = tmp_path / ".partial-abc"
    stale.mkdir()
    found = checkpoint.latest(tmp_path)
    assert found is not None and found.step == 1
    again = checkpoint.save(tmp_path, State(2, 5, tensors=tensors()))  # replaces the broken one
    assert checkpoint.read(again).draw == 5 and not stale.exists()
    assert checkpoint.save(tmp_path, State(2, 6, tensors=tensors())) == again
    assert checkpoint.read(again).draw == 5  # whole: left as it is


def test_damage_is_a_training_error(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, State(1, tensors=tensors()))
    part = path / "part-00.safetensors"
    data = bytearray(part.read_bytes())
    data[:8] = b"\xff" * 8
    part.write_bytes(data)
    with pytest.raises(TrainingError, match="damaged checkpoint"):
        checkpoint.latest(tmp_path)
    head = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps({**head, "format": 2}))
    with pytest.raises(TrainingError, match="checkpoint format 2; this ganic reads 1"):
        checkpoint.read(path)
    (path / "state.json").write_text(json.dumps({"format": 1}))
    with pytest.raises(TrainingError, match="damaged checkpoint"):
        checkpoint.read(path)


def test_what_means_a_run(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"")
    assert checkpoint.means_run(tmp_path)
    assert checkpoint.means_run(Path("runs/not-there"))
    assert not checkpoint.means_run(Path("photo"))
    assert not checkpoint.means_run(Path("models/not-there.safetensors"))
    assert not checkpoint.means_run(tmp_path / "model")
