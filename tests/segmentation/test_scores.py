from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganic import segmentation
from ganic.errors import UsageError
from ganic.labels import VOID, LabelMap
from ganic.segmentation.scores import Scoring, class_shares, score

NAMES = ("sky", "road", "car")


def label_map(rows: list[list[int]], names: tuple[str, ...] = NAMES) -> LabelMap:
    return LabelMap(np.array(rows, dtype=np.uint8), names)


def test_counted_by_hand() -> None:
    truth = label_map([[0, 0, 0, 1], [1, 1, VOID, VOID]])
    given = label_map([[0, 0, 1, 1], [1, VOID, 0, 2]])
    scores = score([(truth, given)])
    # sky: 2 right of 3 true and 2 called so (the one called sky in void is not counted)
    # road: 2 right of 3 true and 3 called so; one true road pixel was given no class
    # car: called so only in void, so it does not occur
    assert scores.confusion == ((2, 1, 0, 0), (0, 2, 0, 1), (0, 0, 0, 0))
    assert scores.iou == {"sky": 2 / 3, "road": 2 / 4, "car": None}
    assert scores.miou == pytest.approx((2 / 3 + 2 / 4) / 2)
    assert scores.accuracy == 4 / 6
    assert scores.pictures == 1


def test_pixels_of_all_pictures_are_counted_together() -> None:
    pairs = [
        (label_map([[0, 0]]), label_map([[0, 1]])),  # alone: sky 1/2, road 0/1
        (label_map([[0, 0, 0, 2]]), label_map([[0, 0, 0, 2]])),  # alone: sky 1, car 1
    ]
    scores = score(pairs)
    assert scores.iou == {"sky": 4 / 5, "road": 0.0, "car": 1.0}
    assert scores.miou == pytest.approx((0.8 + 0 + 1) / 3)
    assert scores.pictures == 2


def test_nothing_labelled() -> None:
    scores = score([(label_map([[VOID]]), label_map([[0]]))])
    assert scores.miou is None and scores.accuracy is None and set(scores.iou.values()) == {None}
    with pytest.raises(UsageError, match="no pictures"):
        score([])


def test_what_does_not_belong_together() -> None:
    with pytest.raises(UsageError, match="2x1 and 1x2"):
        score([(label_map([[0, 1]]), label_map([[0], [1]]))])
    with pytest.raises(UsageError, match=r"labels: classes are a, b, not sky, road, car"):
        score([(label_map([[0]]), label_map([[0]], ("a", "b")))])
    with pytest.raises(UsageError, match=r"truth: classes are a, b"):
        Scoring(NAMES).add(label_map([[0]], ("a", "b")), label_map([[0]]))


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2, VOID]), st.sampled_from([0, 1, 2, VOID])), min_size=1))
def test_equals_the_definition_with_sets(pixels: list[tuple[int, int]]) -> None:
    scores = score([(label_map([[t for t, _ in pixels]]), label_map([[g for _, g in pixels]]))])
    labelled = [(i, t, g) for i, (t, g) in enumerate(pixels) if t != VOID]
    for number, name in enumerate(NAMES):
        true = {i for i, t, _ in labelled if t == number}
        called = {i for i, _, g in labelled if g == number}
        expected = len(true & called) / len(true | called) if true | called else None
        assert scores.iou[name] == expected


def test_scores_cost_no_torch() -> None:
    code = "import sys, ganic.segmentation as s; s.score; assert 'torch' not in sys.modules; s.Segmenter"
    source = str(Path(segmentation.__file__).parents[2])
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": source})


def test_shares() -> None:
    maps = [label_map([[0, 0, VOID, 1]]), label_map([[0]])]
    assert class_shares(maps) == (0.75, 0.25, 0.0)
    with pytest.raises(UsageError, match="no labelled pixel"):
        class_shares([label_map([[VOID]])])
    with pytest.raises(UsageError, match="their classes differ"):
        class_shares([label_map([[0]]), label_map([[0]], ("a",))])
