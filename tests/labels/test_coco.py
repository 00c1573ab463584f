"""COCO's run-length masks: cases worked out by hand, properties, documents, hostile ones."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganic.errors import GanicError, InputError, UsageError
from ganic.labels import VOID, read
from ganic.labels.coco import decode_mask, run_lengths, to_label_map


def compressed(runs: list[int]) -> str:
    """As pycocotools writes it: differences to the run two before from the fourth on, 5 bits at a time."""
    text = ""
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        more = True
        while more:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)
            text += chr(48 + (group | 32 if more else group))
    return text


def test_runs_go_down_the_columns() -> None:
    # 2 rows, 3 columns: out 1, in 2, out 1, in 2 covers (1,0), (0,1), then (0,2), (1,2).
    mask = decode_mask({"size": [2, 3], "counts": [1, 2, 1, 2]})
    assert mask.tolist() == [[False, True, True], [True, False, True]]


def test_a_mask_that_begins_inside() -> None:
    assert decode_mask({"size": [1, 3], "counts": [0, 2, 1]}).tolist() == [[True, True, False]]
    assert decode_mask({"size": [2, 1], "counts": [2]}).tolist() == [[False], [False]]


def test_strings_by_hand() -> None:
    # 6 = 00110: chr(48 + 6). 1 = 00001: "1". 40 = 01 01000: low group 8 + 32 more = chr(88), then 1: "X1".
    # Then the fourth is 5, less the second (1) is 4: "4". The fifth is 38, less 40 is -2: 11110 = chr(78).
    assert run_lengths("61X14N") == [6, 1, 40, 5, 38]
    # 16 needs a second group, for bit 16 of a last group is the sign: 10000 + more = chr(96), then 0.
    assert run_lengths("`0") == [16]
    assert run_lengths("") == []
    assert decode_mask({"size": [1, 90], "counts": "61X14N"}).sum() == 6


@given(st.lists(st.integers(0, 300_000), max_size=12))
def test_strings_give_what_went_in(runs: list[int]) -> None:
    assert run_lengths(compressed(runs)) == runs


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_masks_give_what_went_in(height: int, width: int, seed: int) -> None:
    mask = np.random.default_rng(seed).integers(0, 2, (height, width)).astype(np.bool_)
    flat = mask.T.ravel()
    ends = [*np.flatnonzero(np.diff(np.concatenate([[False], flat]))).tolist(), flat.size]
    runs = np.diff([0, *ends]).tolist()
    for counts in (runs, compressed(runs)):
        assert np.array_equal(decode_mask({"size": [height, width], "counts": counts}), mask)


def test_against_pycocotools() -> None:
    oracle = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(5)
    for height, width in ((1, 1), (7, 5), (480, 640), (33, 1)):
        mask = np.repeat(rng.integers(0, 2, (height, 1 + width // 8)), 8, axis=1)[:, :width].astype(np.uint8)
        rle = oracle.encode(np.asfortranarray(mask))
        rle["counts"] = rle["counts"].decode("ascii")
        assert np.array_equal(decode_mask({"size": rle["size"], "counts": rle["counts"]}), mask == 1)


def square(left: int, top: int, side: int, height: int = 6, width: int = 8) -> dict[str, Any]:
    mask = np.zeros((height, width), np.int64)
    mask[top : top + side, left : left + side] = 1
    flat = np.concatenate([[0], mask.T.ravel(), [1 - mask[-1, -1]]])
    return {"size": [height, width], "counts": np.diff([0, *np.flatnonzero(np.diff(flat)).tolist()]).tolist()}


def test_an_annotation_file() -> None:
    document = {
        "images": [{"id": 4, "file_name": "a.jpg"}, {"id": 5, "file_name": "b.jpg"}],
        "categories": [{"id": 70, "name": "lantern"}, {"id": 1, "name": "person"}],
        "annotations": [
            {"image_id": 4, "category_id": 70, "segmentation": square(1, 1, 2)},
            {"image_id": 4, "category_id": 1, "segmentation": square(0, 0, 5)},
            {"image_id": 5, "category_id": 1, "segmentation": square(0, 0, 6)},
        ],
    }
    found = read(json.dumps(document).encode(), image=4)
    assert found.names == ("lantern", "person")
    assert found.labels[:3, :6].tolist() == [
        [1, 1, 1, 1, 1, VOID],
        [1, 0, 0, 1, 1, VOID],
        [1, 0, 0, 1, 1, VOID],
    ]
    assert found.areas() == {"lantern": 4, "person": 21}
    assert read(json.dumps(document).encode(), image="b.jpg").areas() == {"person": 36}
    assert read(json.dumps(document).encode(), names=("pedestrian",), image=5).areas() == {"pedestrian": 36}
    with pytest.raises(UsageError, match="2 images"):
        read(json.dumps(document).encode())
    for missing in (6, "c.jpg"):
        with pytest.raises(UsageError, match="no masks of image"):
            read(json.dumps(document).encode(), image=missing)


def test_other_documents() -> None:
    assert to_label_map(square(2, 2, 2), "x").areas() == {"object": 4}
    results = [
        {"image_id": 9, "category_id": 3, "segmentation": square(0, 0, 1), "score": 0.9},
        {"image_id": 9, "category_id": 12, "segmentation": square(3, 3, 1)},
    ]
    assert to_label_map(results, "x").areas() == {"car": 1, "12": 1}
    named = [{"category": "tree", **square(0, 0, 1)}, {"label": "sky", "segmentation": square(4, 4, 2)}]
    assert to_label_map(named, "x").areas() == {"tree": 1, "sky": 4}


@pytest.mark.parametrize(
    ("mask", "match"),
    [
        ([[1, 1, 2, 2, 3, 1]], "polygons"),
        (None, "without its size"),
        ({"counts": [1]}, "without its size"),
        ({"size": [2, 0], "counts": []}, "without its size"),
        ({"size": [True, 1], "counts": [1]}, "without its size"),
        ({"size": [2, 2], "counts": None}, "neither numbers nor a string"),
        ({"size": [2, 2], "counts": [1, -1, 4]}, "neither numbers nor a string"),
        ({"size": [2, 2], "counts": [1.5, 2.5]}, "neither numbers nor a string"),
        ({"size": [2, 2], "counts": [1, 2]}, "whose runs have 3"),
        ({"size": [2, 2], "counts": [10**12]}, "neither numbers nor a string"),
        ({"size": [65536, 1], "counts": [65536]}, "over the limit"),
        ({"size": [60000, 60000], "counts": [1]}, "over the limit"),
        ({"size": [2, 2], "counts": "6\u20ac"}, "where no run length has it"),
        ({"size": [2, 2], "counts": "P"}, "end within a number"),
        ({"size": [2, 2], "counts": "P" * 1000}, "where no run length has it"),
        ({"size": [2, 2], "counts": "N"}, "negative"),
    ],
)
def test_masks_that_are_none(mask: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        decode_mask(mask)


@pytest.mark.parametrize(
    "document", [{}, [], 7, "x", None, [1], {"annotations": []}, {"annotations": 3}, [{}]]
)
def test_documents_without_masks(document: Any) -> None:
    with pytest.raises(InputError):
        to_label_map(document, "x")


def test_masks_of_different_sizes_and_too_many_classes() -> None:
    with pytest.raises(InputError, match="different sizes"):
        to_label_map([square(0, 0, 1), square(0, 0, 1, 7, 8)], "x")
    with pytest.raises(InputError, match="more than 255"):
        to_label_map([{"name": str(i), **square(0, 0, 1)} for i in range(256)], "x")
    with pytest.raises(InputError, match="categories"):
        to_label_map({"annotations": [square(0, 0, 1)], "categories": 3}, "x")


@given(st.text(alphabet=st.characters(min_codepoint=40, max_codepoint=120), max_size=30))
def test_any_string_is_refused_or_runs(text: str) -> None:
    try:
        runs = run_lengths(text)
    except GanicError:
        return
    assert all(run >= 0 for run in runs)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 50) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "size",
                    "counts",
                    "annotations",
                    "categories",
                    "images",
                    "id",
                    "name",
                    "image_id",
                    "segmentation",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_like)
@settings(max_examples=60, deadline=None)
def test_any_document_is_refused_or_a_map(document: Any) -> None:
    try:
        found = read(json.dumps(document).encode(), "coco")
    except GanicError:
        return
    assert found.labels.size
