from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import training_toys
from PIL import Image
from torch import Tensor
from training_toys import KILLED, ToyGan, ToyTable, recipe, toy_data

from ganic.errors import RecipeError, TrainingError
from ganic.training import checkpoint
from ganic.training.distributed import Team
from ganic.training.loop import Result, train
from ganic.training.run_log import Means, grid, run_recipe


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def run(folder: Path, gan: ToyGan | None = None, **changes: Any) -> tuple[Result, ToyGan]:
    settings = recipe(**changes)
    torch.manual_seed(1)
    gan = gan or ToyGan(settings.objective_as(ToyTable))
    return train(settings, gan, folder, data=toy_data, device="cpu"), gan


def lines(folder: Path, event: str | None = None) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in found if event in (None, line["event"])]


def saved(folder: Path) -> dict[str, Tensor]:
    state = checkpoint.latest(folder / "checkpoints")
    assert state is not None
    return dict(state.tensors)


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def test_a_run_from_beginning_to_end(tmp_path: Path) -> None:
    result, gan = run(tmp_path, sample_every=3)
    assert (result.step, result.finished) == (6, True)
    assert result.checkpoint == tmp_path / "checkpoints" / "00000006" and result.checkpoint.is_dir()
    assert gan.turns == [(p, s) for s in range(6) for p in ("critic", "critic", "generator")]
    state = checkpoint.latest(tmp_path / "checkpoints")
    assert state is not None
    assert state.draw == 12  # both turns of the critic start with fresh batches, the generator's does not
    steps = lines(tmp_path, "step")
    assert [line["step"] for line in steps] == [2, 4, 6]
    assert steps[0]["generator/lr"] == pytest.approx(1e-2 * (0.5 + 1) / 2)
    assert steps[-1]["critic/lr"] == pytest.approx(3e-3 * (0.25 + 0) / 2)  # a cosine over 4 steps
    assert {"generator/loss", "generator/grad_norm", "generator/mse", "critic/penalty"} < set(steps[0])
    assert steps[-1]["generator/mse"] < steps[0]["generator/mse"]
    assert gan.balance.k.item() == pytest.approx(2 * sum(line["generator/mse"] for line in steps), rel=1e-5)
    (start,) = lines(tmp_path, "start")
    assert start["recipe"]["players"]["critic"]["lr"] == 3e-3 and start["data"]["pictures"] == 8
    pictures = sorted((tmp_path / "samples").iterdir())
    assert [path.name for path in pictures] == ["00000003.png", "00000006.png"]
    with Image.open(pictures[0]) as image:
        assert image.size == (48, 48)  # 8 samples of 16 x 16 in 3 columns
    kept = {n: t for n, t in saved(tmp_path).items() if n.startswith("network/")}
    assert same(kept, {f"network/{n}": t for n, t in gan.networks.state_dict().items()})


def test_one_step_by_hand(tmp_path: Path) -> None:
    """Clipping, AdamW's first step, the frozen opponent, and the average, against plain arithmetic."""
    generator = {"lr": 0.01, "clip": 0.05, "eps": 1e-3, "weight_decay": 0.1}
    settings = recipe(steps=1, schedule={}, players={"generator": generator, "critic": {"lr": 1e-9}})
    torch.manual_seed(1)
    gan = ToyGan(ToyTable())
    before = {n: p.detach().clone() for n, p in gan.generator.named_parameters()}
    train(settings, gan, tmp_path, data=toy_data, device="cpu")
    after = {n: p.detach().clone() for n, p in gan.generator.named_parameters()}

    gan.generator.load_state_dict(before)
    batch = toy_data(settings, Team(0, 1, torch.device("cpu"))).batch(1)  # the critic's second one
    for parameter in gan.networks.parameters():
        parameter.requires_grad_(True)
    loss, _ = gan.loss("generator", batch, 0)
    gradients = torch.autograd.grad(loss, list(gan.generator.parameters()))
    norm = torch.cat([g.flatten() for g in gradients]).norm()
    (line,) = lines(tmp_path, "step")
    assert line["generator/grad_norm"] == pytest.approx(norm.item(), rel=1e-4) and norm > 0.1
    for (name, old), gradient in zip(before.items(), gradients, strict=True):
        clipped = gradient * 0.05 / norm.item()
        expected = old * (1 - 0.01 * 0.1) - 0.01 * clipped / (clipped.abs() + 1e-3)
        assert torch.allclose(after[name], expected, atol=1e-6)
        average = saved(tmp_path)[f"ema/generator.{name}"]
        assert torch.allclose(average, 0.1 * old + 0.9 * expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["adam", "muon"])
def test_some_parameters_may_move_faster(tmp_path: Path, kind: str) -> None:
    """Adam's first step is the learning rate, whatever the gradient; these are too small for Muon's own."""
    times = {"generator.0": 4.0, "generator.0.bias": 0.5}
    generator = {"kind": kind, "lr": 1e-3, "times": times}
    settings = recipe(steps=1, schedule={}, players={"generator": generator, "critic": {"lr": 1e-9}})
    torch.manual_seed(1)
    gan = ToyGan(ToyTable())
    before = {n: p.detach().clone() for n, p in gan.generator.named_parameters()}
    train(settings, gan, tmp_path, data=toy_data, device="cpu")
    for name, parameter in gan.generator.named_parameters():
        moved = (parameter - before[name]).abs().mean().item()
        assert moved == pytest.approx({"0.weight": 4e-3, "0.bias": 5e-4}.get(name, 1e-3), rel=1e-3)


def test_opponents_get_no_gradient(tmp_path: Path) -> None:
    class Watching(ToyGan):
        def after_step(self, step: int, stats: Mapping[str, float]) -> None:
            super().after_step(step, stats)
            assert [p.requires_grad for p in self.generator.parameters()] == [True] * 4
            assert [p.requires_grad for p in self.critic.parameters()] == [False] * 4

    run(tmp_path, Watching(ToyTable()), steps=2)


def test_a_killed_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    """Conv nets, batch norm, noise from torch's generator, gradient penalty; SIGKILL at some step."""
    process = subprocess.Popen([sys.executable, training_toys.__file__, "killed", str(tmp_path / "killed")])
    folder = tmp_path / "killed" / "checkpoints"
    deadline = time.monotonic() + 200
    while process.poll() is None and not any(folder.glob("000000[2-9]?")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    before = checkpoint.latest(folder)
    assert before is not None and 20 <= before.step < 900
    changes = {**KILLED, "steps": before.step + 3, "sample_every": 0}
    resumed, gan = run(tmp_path / "killed", **changes)
    straight, reference = run(tmp_path / "straight", **changes)
    assert resumed.step == straight.step == before.step + 3
    assert len(gan.turns) == 9 and len(reference.turns) == 3 * straight.step
    assert same(
        saved(tmp_path / "killed"), saved(tmp_path / "straight")
    )  # weights, averages, moments, generators
    numbers = [
        {line["step"]: line["generator/loss"] for line in lines(tmp_path / name, "step")}
        for name in ("killed", "straight")
    ]
    assert numbers[0] == numbers[1]  # no step twice, none missing
    assert [line["step"] for line in lines(tmp_path / "killed", "start")] == [0, before.step]


def test_sigterm_saves_and_returns(tmp_path: Path) -> None:
    class Terminated(ToyGan):
        def after_step(self, step: int, stats: Mapping[str, float]) -> None:
            super().after_step(step, stats)
            if step == 2:
                os.kill(os.getpid(), signal.SIGTERM)

    handler = signal.getsignal(signal.SIGTERM)
    result, _ = run(tmp_path, Terminated(ToyTable()))
    assert (result.step, result.finished) == (3, False) and result.checkpoint.name == "00000003"
    assert lines(tmp_path, "stopped") == [{"event": "stopped", "step": 3, "reason": "signal"}]
    assert signal.getsignal(signal.SIGTERM) is handler
    resumed, gan = run(tmp_path)
    assert resumed.finished and len(gan.turns) == 9
    again, gan = run(tmp_path)  # nothing left to do
    assert again.finished and again.checkpoint == resumed.checkpoint and gan.turns == []


def test_who_goes_on_with_other_settings_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "ganic.training")
    run(tmp_path, steps=2)
    changed = {"steps": 4, "objective": {"poison_step": 99}, "init": "elsewhere"}

    def said() -> list[tuple[str, str]]:
        found = [(r.levelname, r.getMessage()) for r in caplog.records if "pictures/s" not in r.getMessage()]
        caplog.clear()
        return found

    assert said() == []
    run(tmp_path, **changed)
    assert set(said()) == {
        ("INFO", "steps: 4 from step 2 on, 2 before"),
        ("INFO", "objective.poison_step: 99 from step 2 on, None before"),
        ("WARNING", "init: only a run's first start reads it; begin in another folder"),
    }
    run(tmp_path, **changed)
    assert said() == []  # the same again
    (tmp_path / "metrics.jsonl").unlink()
    run(tmp_path, **{**changed, "steps": 5})
    assert said() == []  # nobody knows what was before


def test_a_loss_that_is_not_finite_stops_the_run_with_good_weights(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"toy: step 4: a loss or gradient is not finite; .*00000004"):
        run(tmp_path, objective={"poison_step": 4})
    assert all(
        tensor.isfinite().all() for name, tensor in saved(tmp_path).items() if tensor.is_floating_point()
    )
    assert lines(tmp_path, "stopped")[0]["step"] == 4
    result, _ = run(tmp_path)  # the remedy: go on without the poison
    assert result.finished and lines(tmp_path, "start")[1]["from"] == "step 4"


def test_bad_steps_may_be_left_out(tmp_path: Path) -> None:
    class OnceBad(ToyGan):
        def loss(self, player: str, batch: Any, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
            loss, scalars = super().loss(player, batch, step)
            return (loss * torch.inf if step in (1, 3) else loss), scalars

    result, gan = run(tmp_path, OnceBad(ToyTable()), bad_steps=1)
    assert result.finished and all(p.isfinite().all() for p in gan.networks.parameters())
    assert [turn[1] for turn in gan.turns] == [0, 0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 5, 5, 5]
    with pytest.raises(TrainingError, match="step 2"):
        run(tmp_path / "b", objective={"poison_step": 1}, bad_steps=1)


def test_validation_sees_averaged_weights(tmp_path: Path) -> None:
    photos, held = tmp_path / "photos", np.full((40, 48, 3), 77, dtype=np.uint8)
    photos.mkdir()
    Image.fromarray(held).save(photos / "held.png")
    seen: list[Tensor] = []

    class Validated(ToyGan):
        def validate(self, pictures: Sequence[Tensor]) -> Mapping[str, float]:
            assert not self.generator.training and not torch.is_grad_enabled()
            assert [np.array_equal(p.permute(1, 2, 0), held) for p in pictures] == [True]
            seen.append(next(self.generator.parameters()).clone())
            return {"quality": float(len(seen)), "worst": float("inf")}

    ema, data = {"decay": 0.9, "start": 2}, {"sources": [str(photos)], "validation": ["held"]}
    run(tmp_path, Validated(ToyTable()), validate_every=3, ema=ema, data=data)
    expected = [
        {"event": "validation", "step": 3 * i, "quality": float(i + 1), "worst": None} for i in range(3)
    ]
    assert lines(tmp_path, "validation") == expected
    assert torch.equal(seen[2], saved(tmp_path)["ema/generator.0.weight"])
    assert not torch.equal(seen[2], saved(tmp_path)["network/generator.0.weight"])
    state = checkpoint.latest(tmp_path / "checkpoints")
    assert state is not None and state.ema_updates == 4  # two steps of following, then four of averaging


def test_starting_from_another_runs_weights(tmp_path: Path) -> None:
    _, first = run(tmp_path / "first")
    settings = recipe(
        init=str(tmp_path / "first"), steps=1, players={"generator": {"lr": 1e-12}, "critic": {"lr": 1e-12}}
    )
    torch.manual_seed(2)
    second = ToyGan(ToyTable())
    train(settings, second, tmp_path / "second", data=toy_data, device="cpu")
    average = saved(tmp_path / "first")["ema/generator.0.weight"]
    assert torch.allclose(second.generator[0].weight, average, atol=1e-9)
    assert torch.allclose(second.critic[0].weight, first.critic[0].weight, atol=1e-9)
    (start,) = lines(tmp_path / "second", "start")
    assert "first (generator, critic, balance)" in start["from"]

    def larger(path: Path) -> Mapping[str, Tensor]:
        return {**checkpoint.weights(path), "critic.3.weight": torch.zeros(2), "judge.weight": torch.zeros(2)}

    train(settings, second, tmp_path / "smaller", data=toy_data, weights=larger, device="cpu")
    (start,) = lines(tmp_path / "smaller", "start")
    assert start["from"].endswith("(generator, critic, balance without critic.3.weight)")
    with pytest.raises(TrainingError, match="no checkpoint here"):
        run(tmp_path / "third", init=str(tmp_path / "nowhere"))


def test_networks_start_from_the_first_of_several_that_has_them(tmp_path: Path) -> None:
    run(tmp_path / "first")
    whole = checkpoint.weights(tmp_path / "first")

    def weights(path: Path) -> Mapping[str, Tensor]:
        """The networks that the name says, all of whose values are larger by 1 in what is named later."""
        names = path.name.split("+")
        later = path.parent.name == "later"
        return {name: value + later for name, value in whole.items() if name.split(".")[0] in names}

    gan, still = ToyGan(ToyTable()), {"generator": {"lr": 1e-12}, "critic": {"lr": 1e-12}}
    settings = recipe(init=["generator", "later/generator+critic"], steps=1, players=still)
    train(settings, gan, tmp_path / "second", data=toy_data, weights=weights, device="cpu")
    for name, more in (("generator", 0), ("critic", 1)):
        expected = whole[f"{name}.0.weight"] + more
        assert torch.allclose(gan.networks[name].get_parameter("0.weight"), expected, atol=1e-6)
    (start,) = lines(tmp_path / "second", "start")
    assert start["from"] == "generator (generator), later/generator+critic (critic)"
    again = recipe(init=["generator", "later/generator"])
    with pytest.raises(
        TrainingError, match=r"later/generator: has the networks .*, none of \['balance', 'cr"
    ):
        train(again, gan, tmp_path / "third", data=toy_data, weights=weights, device="cpu")
    again = recipe(init=["generator+critic+balance", "later/generator"])
    with pytest.raises(TrainingError, match="later/generator: every network starts from what init names bef"):
        train(again, gan, tmp_path / "fourth", data=toy_data, weights=weights, device="cpu")


def test_starting_from_the_mean_of_two(tmp_path: Path) -> None:
    run(tmp_path / "first")
    whole = checkpoint.weights(tmp_path / "first")

    def weights(path: Path) -> Mapping[str, Tensor]:
        if path.name == "less":
            return {name: value for name, value in whole.items() if name != "critic.0.weight"}
        return {name: value + 3 * (path.name == "other") for name, value in whole.items()}

    gan, still = ToyGan(ToyTable()), {"generator": {"lr": 1e-12}, "critic": {"lr": 1e-12}}
    settings = recipe(init="one + other + one", steps=1, players=still)
    train(settings, gan, tmp_path / "second", data=toy_data, weights=weights, device="cpu")
    for name in ("generator", "critic"):
        expected = whole[f"{name}.0.weight"] + 1
        assert torch.allclose(gan.networks[name].get_parameter("0.weight"), expected, atol=1e-6)
    (start,) = lines(tmp_path / "second", "start")
    assert start["from"] == "one + other + one (generator, critic, balance)"
    with pytest.raises(
        TrainingError, match=r"less: critic\.0\.weight is not as in one, so they have no mean"
    ):
        train(
            recipe(init="one + less"), gan, tmp_path / "third", data=toy_data, weights=weights, device="cpu"
        )


def test_mismatches_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"players\.critic: missing"):
        run(tmp_path / "a", players={"generator": {"lr": 1.0}})
    with pytest.raises(RecipeError, match=r"players\.judge: this objective trains only critic, generator"):
        run(tmp_path / "a", players={name: {"lr": 1.0} for name in ("critic", "generator", "judge")})
    faster = {"generator": {"lr": 1.0, "times": {"encoder": 2.0}}, "critic": {"lr": 1.0}}
    with pytest.raises(RecipeError, match=r"players\.generator\.times: 'encoder' begins none of its"):
        run(tmp_path / "a", players=faster)
    assert not list(tmp_path.rglob("checkpoints"))  # found before any work
    with pytest.raises(RecipeError, match=r"compile: no network 'decoder' \(there are \['balance', 'critic'"):
        run(tmp_path / "b", compile=["decoder"])
    run(tmp_path / "c", steps=1)
    gan = ToyGan(ToyTable())
    gan.networks["critic"] = torch.nn.Linear(3, 2)
    with pytest.raises(TrainingError, match=r"critic\.weight is missing; the networks are not those"):
        run(tmp_path / "c", gan)
    outside = ToyGan(ToyTable())
    del outside.networks["critic"]
    outside.parameters = lambda player: list(outside.critic.parameters())  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match="parameters outside the objective's networks"):
        run(tmp_path / "d", outside)


def test_another_optimiser_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the last one remembered means nothing to it."""
    monkeypatch.setattr("ganic.training.muon.SMALLEST", 1)
    kinds = [{"generator": {"kind": kind, "lr": 1e-3}, "critic": {"lr": 1e-3}} for kind in ("adam", "muon")]
    for first, second in (kinds, kinds[::-1]):
        folder = tmp_path / str(first["generator"]["kind"])
        run(folder, steps=2, players=first)
        result, _ = run(folder, steps=4, players=second)
        assert result.step == 4


def test_a_log_that_a_power_cut_left_in_the_middle_of_a_line(tmp_path: Path) -> None:
    run(tmp_path, steps=1)
    with (tmp_path / "metrics.jsonl").open("a") as log:
        log.write('{"event": "step", "st')
    assert run_recipe(tmp_path).steps == 1


def test_validation_that_nobody_does_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="validate_every: nothing validates"):
        run(tmp_path, validate_every=2, data={"validation": ["a"]})
    with pytest.raises(RecipeError, match=r"validate_every needs pictures; name some in data\.validation"):
        recipe(validate_every=2)


def test_bf16_half_saving_and_parts(tmp_path: Path) -> None:
    kept = {"half": True, "keep": 1, "part_mib": 1}
    result, gan = run(tmp_path, precision="bf16", objective={"noise": 0.05}, checkpoint=kept)
    assert result.finished and gan.generator[0].weight.dtype == torch.float32
    assert saved(tmp_path)["network/generator.0.weight"].dtype == torch.float16
    resumed, _ = run(tmp_path, precision="bf16", objective={"noise": 0.05}, checkpoint=kept, steps=8)
    assert resumed.finished and [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["00000008"]


def test_grid_and_means() -> None:
    samples = torch.zeros(3, 3, 2, 4)
    samples[1], samples[2, 0] = 0.5, 2.0
    picture = grid(samples).numpy()
    assert picture.shape == (4, 8, 3)
    assert (
        (picture[:2, 4:] == 128).all() and (picture[2:, :4, 0] == 255).all() and (picture[2:, 4:] == 0).all()
    )
    assert picture.dtype == np.uint8
    means = Means()
    means.add({"a": 1.0, "b": 5.0})
    means.add({"a": 3.0})
    assert means.take() == {"a": 2.0, "b": 5.0} and means.take() == {}
