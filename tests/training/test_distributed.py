from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import training_toys
from safetensors.torch import load_file
from training_toys import ToyGan, ToyTable, recipe, team_recipe, toy_data, toy_gradients

from ganic.training import checkpoint
from ganic.training.distributed import Team, join
from ganic.training.loop import train


def test_two_processes_are_one_with_the_joint_batch(tmp_path: Path, run_as_two: Callable[..., None]) -> None:
    run_as_two(training_toys.__file__, "gradients", str(tmp_path))
    alone = Team(0, 1, torch.device("cpu"))
    expected = toy_gradients(recipe(), alone)
    shares = [load_file(tmp_path / f"gradients-{rank}.safetensors") for rank in range(2)]
    for name, gradient in expected.items():
        assert torch.equal(shares[0][name], shares[1][name])
        assert torch.allclose(shares[0][name], gradient, rtol=1e-4, atol=1e-7)
        assert gradient.abs().max() > 1e-3

    torch.manual_seed(0)  # rank 0's initial weights
    train(team_recipe(), ToyGan(ToyTable()), tmp_path / "alone", data=toy_data, device="cpu")
    states = [checkpoint.latest(tmp_path / name / "checkpoints") for name in ("run", "alone")]
    assert states[0] is not None and states[1] is not None
    for name, tensor in states[1].tensors.items():
        if not name.startswith("random/"):
            assert torch.allclose(states[0].tensors[name], tensor, rtol=1e-4, atol=1e-6), name
    assert {name for name in states[0].tensors if name.startswith("random/")} == {
        "random/0/cpu",
        "random/1/cpu",
    }
    logged = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert logged.count('"event": "start"') == 1 and '"processes": 2' in logged


def test_alone_everything_is_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    team = join("cpu")
    assert team == Team(0, 1, torch.device("cpu")) and team.leads
    values = torch.tensor([1.0, 2.0])
    assert team.average(values) is values and team.any([True, False]) == [True, False]
    assert team.gather(values)[0].tolist() == [1.0, 2.0]
    weight = torch.nn.Parameter(values.clone())
    team.average_gradients([weight])
    assert weight.grad is None
    team.wait()
    team.leave()
    assert join("auto").device.type in ("cpu", "cuda")
