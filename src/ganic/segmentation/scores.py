"""How well labels are found: confusion matrix, intersection over union per class, and their mean.

Pixels without a true class (void) count nowhere.  A pixel that has one but was given none is an error of its
class.  Over a set of pictures all pixels are counted together, as Cityscapes and CamVid do it: scores of
single pictures are not averaged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ganic.errors import UsageError
from ganic.labels import VOID, LabelMap


@dataclass(frozen=True)
class Scores:
    """Counts of a set of pictures, and what follows from them."""

    names: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    """[true class][given class] pixels; the last column: given none."""
    pictures: int

    @property
    def iou(self) -> Mapping[str, float | None]:
        """Per class, pixels that are and were called so / pixels that are or were; None: there are none."""
        table = np.array(self.confusion, dtype=np.int64).reshape(len(self.names), len(self.names) + 1)
        both = np.diagonal(table)
        either = table.sum(axis=1) + table[:, :-1].sum(axis=0) - both
        return {
            name: int(both[i]) / int(either[i]) if either[i] else None for i, name in enumerate(self.names)
        }

    @property
    def miou(self) -> float | None:
        """The mean of ``iou`` over classes that occur in truth or labels; None where none does."""
        present = [value for value in self.iou.values() if value is not None]
        return sum(present) / len(present) if present else None

    @property
    def accuracy(self) -> float | None:
        """The share of pixels with the right class; None where no pixel has one."""
        total = sum(map(sum, self.confusion))
        return sum(row[i] for i, row in enumerate(self.confusion)) / total if total else None


class Scoring:
    """Collects pairs of label maps; ``result`` at any time."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self._counts = np.zeros((len(names), len(names) + 1), dtype=np.int64)
        self._pictures = 0

    def add(self, truth: LabelMap, given: LabelMap) -> None:
        """One picture. Raises UsageError where sizes or class names are not those of the others."""
        for what, label_map in (("truth", truth), ("labels", given)):
            if label_map.names != self.names:
                raise UsageError(
                    f"{what}: classes are {', '.join(label_map.names)}, not {', '.join(self.names)}; "
                    "map them to the same classes first"
                )
        if truth.labels.shape != given.labels.shape:
            raise UsageError(
                f"label maps: {truth.width}x{truth.height} and {given.width}x{given.height}; "
                "labels must have the size of the truth"
            )
        columns = len(self.names) + 1
        known = truth.labels != VOID
        called = np.minimum(given.labels[known], len(self.names)).astype(np.int64)
        cells = truth.labels[known] * np.int64(columns) + called
        self._counts += np.bincount(cells, minlength=self._counts.size).reshape(self._counts.shape)
        self._pictures += 1

    def result(self) -> Scores:
        return Scores(self.names, tuple(tuple(map(int, row)) for row in self._counts), self._pictures)


def score(pairs: Iterable[tuple[LabelMap, LabelMap]]) -> Scores:
    """The scores of (truth, labels) pairs, held one at a time.

    Raises UsageError where there is no pair, or where sizes or class names differ.
    """
    scoring: Scoring | None = None
    for truth, given in pairs:
        scoring = scoring or Scoring(truth.names)
        scoring.add(truth, given)
    if scoring is None:
        raise UsageError("scores: no pictures; give at least one pair of label maps")
    return scoring.result()


def class_shares(maps: Iterable[LabelMap]) -> tuple[float, ...]:
    """Each class's share of all labelled pixels: a recipe's ``objective.shares``.

    Raises UsageError where there is no labelled pixel, or where class names differ.
    """
    names: tuple[str, ...] = ()
    counts: Counter[str] = Counter()
    for label_map in maps:
        if names and label_map.names != names:
            raise UsageError("label maps: their classes differ; map them to the same classes first")
        names = label_map.names
        counts.update(label_map.areas())
    total = counts.total()
    if not total:
        raise UsageError("label maps: no labelled pixel; give maps with classes")
    return tuple(counts[name] / total for name in names)
