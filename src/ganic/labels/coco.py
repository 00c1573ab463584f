"""Masks in COCO's run-length code, and label maps from the JSON files that carry them.

A mask of h x w pixels is read column by column, from the top left, and is given by the lengths of its runs of
pixels that are alternately outside and inside, the first outside (perhaps of length 0). The lengths are
either a list of integers or, compressed, a string: each length, from the fourth on less the one two before
it, as groups of 5 bits, the lowest first, in characters from "0" (48) on; 32 added to a group says that more
follow, and bit 16 of the last group is the sign (pycocotools, common/maskApi.c).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeGuard

import numpy as np
from numpy.typing import NDArray

from ganic.bitstream import MAX_PIXELS, MAX_SIDE
from ganic.errors import InputError, UsageError
from ganic.labels.classes import COCO
from ganic.labels.maps import VOID, LabelMap

__all__ = ["decode_mask", "run_lengths", "to_label_map"]

_MOST_GROUPS: Final = 7  # 35 bits: more than any run of MAX_PIXELS needs


def to_label_map(document: Any, name: str, image: int | str | None = None) -> LabelMap:
    """A label map from a parsed JSON ``document``, which errors call ``name``.

    The document is an annotation file ({"annotations": [...], "categories": [...], "images": [...]}), a list
    of annotations or results ({"segmentation": mask, "category_id": ...}), or of bare masks ({"size": [h, w],
    "counts": ...}), or one of either. The class of each is its "category", "category_name", "label" or "name"
    if that is a string, else that of its "category_id" in the document's categories or else in COCO's; a mask
    without any of them is an "object". The classes are numbered as they first occur. Where masks
    overlap the smaller is seen: it lies in front, or is a part. Pixels of no mask are VOID.

    ``image`` chooses one of several images, by its id or its file name. Raises InputError if the document is
    none of these, UsageError if it has several images or not the one that was asked for.
    """
    entries, categories = _entries(document, name)
    entries = _of_one_image(entries, document, name, image)
    names: dict[str, int] = {}
    masks: list[tuple[int, int, list[int]]] = []
    sizes = set()
    for entry in entries:
        height, width, runs = _runs(entry if "counts" in entry else entry.get("segmentation"), name)
        number = names.setdefault(_class_of(entry, categories), len(names))
        masks.append((sum(runs[1::2]), number, runs))
        sizes.add((height, width))
    if len(sizes) > 1:
        raise InputError(f"{name}: its masks are of different sizes; give those of one image")
    if len(names) > VOID:
        raise InputError(f"{name}: has more than {VOID} classes; leave some out")
    columns = np.full(height * width, VOID, np.uint8)
    for _, number, runs in sorted(masks, key=lambda mask: -mask[0]):
        at = 0
        for outside, inside in zip(runs[::2], runs[1::2], strict=False):
            at += outside
            columns[at : at + inside] = number
            at += inside
    return LabelMap(np.ascontiguousarray(columns.reshape(width, height).T), tuple(names))


def decode_mask(rle: Any, name: str = "mask") -> NDArray[np.bool_]:
    """The mask bool [h, w] of ``rle``, {"size": [h, w], "counts": list of integers or string}.

    Raises InputError, before anything of the mask's size is allocated, if it is not that.
    """
    height, width, runs = _runs(rle, name)
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, np.array(runs, np.int64)).reshape(width, height).T


def run_lengths(counts: str, name: str = "mask") -> list[int]:
    """The run lengths in a compressed string. Raises InputError if it is none."""
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        group = ord(character) - 48
        if not 0 <= group < 64 or shift >= 5 * _MOST_GROUPS:
            raise _bad(name, f"a mask with {character!r} where no run length has it")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        if len(runs) > 2:
            value += runs[-2]
        if value < 0:
            raise _bad(name, "a mask with a run of negative length")
        runs.append(value)
        value = shift = 0
    if shift:
        raise _bad(name, "a mask whose counts end within a number")
    return runs


def _runs(rle: Any, name: str) -> tuple[int, int, list[int]]:
    """Height, width and run lengths of a mask, which fit each other and the limits of pictures."""
    if isinstance(rle, list):
        raise InputError(f"{name}: has polygons; convert them to RLE masks (pycocotools: COCO.annToRLE)")
    size, counts = (rle.get("size"), rle.get("counts")) if isinstance(rle, Mapping) else (None, None)
    if not (isinstance(size, list) and len(size) == 2 and all(_is_count(side) and side for side in size)):
        raise _bad(name, "a mask without its size, [height, width]")
    height, width = size
    if max(size) > MAX_SIDE or height * width > MAX_PIXELS:
        raise InputError(f"{name}: a mask of {width}x{height} pixels is over the limit; cut it into parts")
    if isinstance(counts, str):
        runs = run_lengths(counts, name)
    elif isinstance(counts, list) and all(_is_count(count) for count in counts):
        runs = counts
    else:
        raise _bad(name, "a mask whose counts are neither numbers nor a string")
    if sum(runs) != height * width:
        raise _bad(name, f"a mask of {width}x{height} pixels whose runs have {sum(runs)}")
    return height, width, runs


def _entries(document: Any, name: str) -> tuple[list[Mapping[str, Any]], Mapping[Any, str]]:
    """The annotations of a document, at least one, and its category names by id."""
    categories: dict[Any, str] = dict(COCO)
    found = document
    if isinstance(document, Mapping):
        found = document.get("annotations", [document])
        listed = document.get("categories")
        if listed is not None:
            if not _mappings(listed):
                raise _bad(name, "categories that are not a list of objects")
            categories = {
                one["id"]: one["name"]
                for one in listed
                if isinstance(one.get("id"), int) and isinstance(one.get("name"), str)
            }
    if not _mappings(found) or not found:
        raise _bad(name, "no annotations")
    return list(found), categories


def _of_one_image(
    entries: list[Mapping[str, Any]], document: Any, name: str, image: int | str | None
) -> list[Mapping[str, Any]]:
    ids = list(
        dict.fromkeys(entry["image_id"] for entry in entries if isinstance(entry.get("image_id"), int | str))
    )
    if image is None:
        if len(ids) > 1:
            raise UsageError(
                f"{name}: has masks of {len(ids)} images; read that of one with "
                f"ganic.labels.read({name!r}, image={ids[0]!r})"
            )
        return entries
    wanted = image
    if isinstance(image, str):
        images = document.get("images") if isinstance(document, Mapping) else None
        listed = images if _mappings(images) else []
        wanted = next((one.get("id", image) for one in listed if one.get("file_name") == image), image)
    chosen = [entry for entry in entries if entry.get("image_id") == wanted]
    if not chosen:
        raise UsageError(f"{name}: has no masks of image {image!r}; give the id or file name of one it has")
    return chosen


def _class_of(entry: Mapping[str, Any], categories: Mapping[Any, str]) -> str:
    for key in ("category", "category_name", "label", "name"):
        if isinstance(entry.get(key), str):
            return str(entry[key])
    number = entry.get("category_id")
    if not isinstance(number, int):
        return "object"
    return categories.get(number, str(number))


def _mappings(value: Any) -> TypeGuard[Sequence[Mapping[str, Any]]]:
    return isinstance(value, Sequence) and all(isinstance(one, Mapping) for one in value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_PIXELS


def _bad(name: str, what: str) -> InputError:
    return InputError(f"{name}: {what}; give masks in COCO's RLE format")
