from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ganic.baselines import Baseline, available, match_bytes
from ganic.errors import InputError, UsageError

IMAGE = Image.new("RGB", (1, 1))


def ladder(sizes: list[int], first: int = 0) -> tuple[Baseline, list[int]]:
    """A baseline with files of these sizes, and the list of qualities it was asked for."""
    asked: list[int] = []

    def encode(image: Image.Image, quality: int) -> bytes:
        asked.append(quality)
        return bytes(sizes[quality - first])

    return Baseline("b", "B", "", encode, lambda data: IMAGE, range(first, first + len(sizes))), asked


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=120).map(sorted), st.integers(1, 1100))
def test_on_monotone_sizes_it_is_the_best_there_is_in_few_trials(sizes: list[int], limit: int) -> None:
    baseline, asked = ladder(sizes, first=1)
    found = match_bytes(baseline, IMAGE, limit)
    best = max((i for i, size in enumerate(sizes) if size <= limit), default=None)
    if best is None:
        assert found is None
    else:
        assert found is not None
        assert (found.quality, len(found.data)) == (best + 1, sizes[best])
    assert len(asked) == len(set(asked)) <= 7 + 3


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(1, 50))
def test_on_any_sizes_it_keeps_to_the_limit_and_nothing_just_above_fits(sizes: list[int], limit: int) -> None:
    found = match_bytes(ladder(sizes)[0], IMAGE, limit)
    if found is not None:
        assert len(found.data) == sizes[found.quality] <= limit
    above = 0 if found is None else found.quality + 1
    assert all(size > limit for size in sizes[above : above + 3])


def test_it_looks_beyond_a_bump() -> None:
    #        quality 0   1   2   3   4   5   6   7
    found = match_bytes(ladder([10, 20, 30, 41, 39, 42, 40, 50])[0], IMAGE, 40)
    assert found is not None and found.quality == 6


def test_files_are_shared_between_searches_on_one_picture() -> None:
    baseline, asked = ladder(list(range(10, 110)))
    tried: dict[int, bytes] = {}
    match_bytes(baseline, IMAGE, 60, tried=tried)
    before = len(asked)
    again = match_bytes(baseline, IMAGE, 60, tried=tried)
    assert again is not None and again.quality == 50
    assert len(asked) == before == len(tried)


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError):
        match_bytes(ladder([1])[0], IMAGE, 0)


def test_a_picture_that_a_codec_has_no_file_for() -> None:
    """WebP's sides have 14 bits."""
    webp = next(baseline for baseline in available() if baseline.name == "webp")
    with pytest.raises(InputError, match=r"WebP: cannot code 17000x1 pixels .*; leave it out"):
        match_bytes(webp, Image.new("RGB", (17000, 1)), 100)
