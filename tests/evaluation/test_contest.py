from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from ganic.baselines import match_bytes
from ganic.errors import DataError, ModelMissingError, UsageError
from ganic.evaluation import Contest, Evaluation, Instruments, Opponent, find_pictures, markdown
from ganic.metrics import LPIPS, measure, patch_frechet_distance

Make = Callable[..., Contest]


def test_pictures_of_a_folder_are_found_by_name(folder: Path, tmp_path: Path) -> None:
    assert find_pictures(folder) == [folder / "b.png", folder / "sub" / "a.png"]
    with pytest.raises(DataError):
        find_pictures(tmp_path)


def test_bytes_are_those_of_the_files_and_opponents_keep_to_ours(
    contest: Contest, evaluation: Evaluation
) -> None:
    assert evaluation.pictures == ("b.png", "sub/a.png")
    assert len(evaluation.measurements) == 2 * 2 * 3
    ours = {(m.rate, m.picture): m.bytes for m in evaluation.measurements if m.codec == "ganic"}
    for m in evaluation.measurements:
        file = contest.store.file(m.rate, m.codec, m.picture).read_bytes()
        assert len(file) == m.bytes
        assert m.bpp == 8 * len(file) / (m.width * m.height)
        if m.codec != "ganic":
            assert m.limit == ours[m.rate, m.picture] * (4 if m.codec == "jpeg-x4" else 1)
            assert m.over_limit == (m.bytes > m.limit)


def test_measures_are_taken_on_what_the_file_decodes_to(contest: Contest, evaluation: Evaluation) -> None:
    for m in evaluation.measurements[:3]:
        decoded = contest.decoded(m.rate, m.codec, m.picture)
        assert m.quality == measure(contest.original(m.picture), decoded, with_ssimulacra2=False)


def test_the_opponent_is_the_best_within_the_bytes(contest: Contest, evaluation: Evaluation) -> None:
    jpeg = contest.opponents[0].baseline
    for m in evaluation.measurements:
        if m.codec == "jpeg-x4":
            assert m.limit is not None
            expected = match_bytes(jpeg, contest.original(m.picture), m.limit)
            assert expected is not None and m.setting == expected.quality and not m.over_limit


def test_without_a_small_enough_file_the_smallest_takes_part_and_is_marked(evaluation: Evaluation) -> None:
    low = [m for m in evaluation.measurements if (m.rate, m.codec) == ("low", "jpeg")]
    # WebP at its worst needs fewer bytes than JPEG's header and tables.
    assert all(m.over_limit and m.setting in range(1, 5) for m in low)
    assert evaluation.set_result("low", "jpeg").over_limit == 2
    assert evaluation.set_result("low", "jpeg-x4").over_limit == 0


def test_sets_are_means_over_pictures_and_joint_patches(contest: Contest, evaluation: Evaluation) -> None:
    result = evaluation.set_result("high", "ganic")
    chosen = [m for m in evaluation.measurements if (m.rate, m.codec) == ("high", "ganic")]
    assert result.bpp == pytest.approx(sum(m.bpp for m in chosen) / 2)
    assert result.mean.psnr == pytest.approx(sum(m.quality.psnr for m in chosen) / 2)
    assert result.mean.ms_ssim is None  # The pictures are too small for it.
    pairs = [(contest.original(p), contest.decoded("high", "ganic", p)) for p in evaluation.pictures]
    expected = patch_frechet_distance(pairs)
    assert result.patches == expected.patches == 3 * 2 + 2 * 2
    assert result.patch_frechet == pytest.approx(expected.distance, rel=1e-6)


def test_comparisons_are_ours_against_theirs(evaluation: Evaluation) -> None:
    comparison = next(c for c in evaluation.comparisons() if (c.rate, c.opponent) == ("high", "jpeg-x4"))
    ours, theirs = (evaluation.set_result("high", key) for key in ("ganic", "jpeg-x4"))
    assert comparison.bytes_ratio == pytest.approx(ours.bpp / theirs.bpp) and comparison.bytes_ratio < 0.4
    assert comparison.psnr_difference == ours.mean.psnr - theirs.mean.psnr
    assert ours.patch_frechet is not None and theirs.patch_frechet is not None
    assert comparison.patch_frechet_ratio == ours.patch_frechet / theirs.patch_frechet > 1
    assert comparison.ms_ssim_difference is None
    with pytest.raises(UsageError):
        evaluation.set_result("medium", "ganic")


def test_it_goes_on_where_it_stopped(make_contest: Make, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(done: int, total: int, what: str) -> None:
        if done == 7:
            raise Stopped

    first = make_contest(tmp_path)
    with pytest.raises(Stopped):
        first.evaluate(stop)
    assert first.ours["low"].encoded == [(128, 96), (96, 112)]  # type: ignore[attr-defined]
    second = make_contest(tmp_path)
    evaluation = second.evaluate()
    assert [second.ours[r].encoded for r in ("low", "high")] == [[], [(96, 112)]]  # type: ignore[attr-defined]
    third = make_contest(tmp_path)
    assert third.evaluate() == evaluation
    assert "_network" not in vars(third.instruments)  # Nothing had to be measured again.


def test_a_changed_codec_is_measured_again_and_a_damaged_file_too(make_contest: Make, tmp_path: Path) -> None:
    contest = make_contest(tmp_path, opponents=[], instruments=Instruments(False, False))
    evaluation = contest.evaluate()
    assert evaluation.sets[0].patch_frechet is None

    low = contest.ours["low"]
    low.quality = 30  # type: ignore[attr-defined]
    changed = contest.evaluate()
    assert changed.set_result("low", "ganic").bpp > evaluation.set_result("low", "ganic").bpp
    assert changed.set_result("high", "ganic") == evaluation.set_result("high", "ganic")

    low.encoded.clear()  # type: ignore[attr-defined]
    contest.store.file("low", "ganic", "b.png").write_bytes(b"damaged")
    contest.store.file("low", "ganic", "sub/a.png").with_suffix(".json").write_text("{half a rec")
    assert contest.evaluate() == changed
    assert low.encoded == [(128, 96), (96, 112)]  # type: ignore[attr-defined]

    # Kept by a release that did not know one of the measures.
    low.encoded.clear()  # type: ignore[attr-defined]
    kept = contest.store.file("low", "ganic", "b.png").with_suffix(".json")
    record = json.loads(kept.read_text())
    del record["measurement"]["quality"]["screen"]
    record["request"]["measures"] = record["request"]["measures"].replace("screen ", "")
    kept.write_text(json.dumps(record))
    assert contest.evaluate() == changed
    assert len(low.encoded) == 1  # type: ignore[attr-defined]


def lpips_weights(path: Path) -> Path:
    """AlexNet's shapes under the names of the lpips package, with random numbers."""
    rng = np.random.default_rng(0)
    shapes = {
        "1.0": (64, 3, 11),
        "2.3": (192, 64, 5),
        "3.6": (384, 192, 3),
        "4.8": (256, 384, 3),
        "5.10": (256, 256, 3),
    }
    tensors = {}
    for k, (layer, (out, channels, kernel)) in enumerate(shapes.items()):
        weight = rng.standard_normal((out, channels, kernel, kernel)) / (channels * kernel * kernel) ** 0.5
        tensors[f"net.slice{layer}.weight"] = weight.astype(np.float32)
        tensors[f"net.slice{layer}.bias"] = np.zeros(out, np.float32)
        tensors[f"lin{k}.model.1.weight"] = np.full((1, out, 1, 1), 1 / out, np.float32)
    save_file(tensors, path)
    return path


def test_the_users_weights_add_a_measure(make_contest: Make, tmp_path: Path) -> None:
    def evaluate(instruments: Instruments) -> tuple[Contest, Evaluation]:
        contest = make_contest(tmp_path, opponents=[], instruments=instruments)
        return contest, contest.evaluate()

    _, without = evaluate(Instruments(False, False))
    assert without.sets[0].mean.lpips is None
    weights = lpips_weights(tmp_path / "lpips.safetensors")
    contest, evaluation = evaluate(Instruments(False, False, lpips=weights))
    first = evaluation.measurements[0]
    pictures = contest.original(first.picture), contest.decoded(first.rate, first.codec, first.picture)
    tensors = [torch.from_numpy(np.array(p)).permute(2, 0, 1)[None].float() / 255 for p in pictures]
    with torch.inference_mode():
        expected = LPIPS(weights)(*tensors).item()
    assert first.quality.lpips == pytest.approx(expected) and expected > 0
    assert "LPIPS" in markdown(evaluation) and "LPIPS" not in markdown(without)
    with pytest.raises(ModelMissingError):
        Instruments(inception=tmp_path / "none.safetensors")


def test_progress_counts_every_step(make_contest: Make, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    make_contest(tmp_path, opponents=[]).evaluate(lambda *step: seen.append(step))
    assert [s[0] for s in seen] == [0, 1, 2, 3, 4, 5, 6]
    assert {s[1] for s in seen} == {6}
    assert seen[-1][2] == "done"


def test_a_codec_that_changes_the_size_is_refused(make_contest: Make, tmp_path: Path) -> None:
    class Cropping:
        identity = "cropping"

        def encode(self, image: Image.Image) -> bytes:
            return b"?"

        def decode(self, data: bytes) -> Image.Image:
            return Image.new("RGB", (8, 8))

    with pytest.raises(DataError, match="8x8 from 128x96"):
        make_contest(tmp_path, ours={"only": Cropping()}).evaluate()


def test_contests_without_sense_are_refused(make_contest: Make, tmp_path: Path, folder: Path) -> None:
    contest = make_contest(tmp_path)
    with pytest.raises(UsageError):
        make_contest(tmp_path, opponents=[contest.opponents[0]] * 2)
    with pytest.raises(UsageError):
        make_contest(tmp_path, ours={})
    with pytest.raises(UsageError):
        make_contest(tmp_path, paths=[folder / "b.png", folder / "b.png"])
    with pytest.raises(UsageError):
        Opponent(contest.opponents[0].baseline, 0)
    with pytest.raises(DataError):
        contest.decoded("low", "ganic", "b.png")
