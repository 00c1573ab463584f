"""The layout of the paper's Table I, and its numbers for orientation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ganic.jpeg.evaluate import Cell

REAL, RGB, CONVOLUTIONAL, FULLY_CONNECTED, PROPOSED = (
    "Real data",
    "TTUR, RGB + JPEG",
    "TTUR, coefficients",
    "FC generator",
    "Proposed",
)

PAPER_QUALITIES = (100, 75, 50, 25)

# Table I of the paper: FID on CIFAR-10, columns are PAPER_QUALITIES.
PAPER_FID: dict[tuple[str, str], tuple[float, float, float, float]] = {
    (REAL, "4:4:4"): (0.02, 6.49, 16.89, 35.76),
    (REAL, "4:2:2"): (0.68, 10.59, 23.89, 45.40),
    (REAL, "4:2:0"): (1.86, 16.30, 32.47, 55.83),
    (RGB, "4:4:4"): (26.10, 31.77, 41.02, 54.21),
    (RGB, "4:2:2"): (25.79, 37.03, 48.45, 63.37),
    (RGB, "4:2:0"): (26.90, 43.31, 56.22, 72.30),
    (CONVOLUTIONAL, "4:4:4"): (68.80, 75.23, 82.20, 89.80),
    (CONVOLUTIONAL, "4:2:2"): (62.23, 71.85, 81.30, 91.39),
    (CONVOLUTIONAL, "4:2:0"): (75.99, 93.07, 102.39, 109.08),
    (FULLY_CONNECTED, "4:4:4"): (83.31, 87.71, 94.40, 96.67),
    (FULLY_CONNECTED, "4:2:2"): (91.32, 104.28, 110.62, 108.09),
    (FULLY_CONNECTED, "4:2:0"): (71.37, 93.27, 101.73, 104.64),
    (PROPOSED, "4:4:4"): (25.57, 31.78, 40.94, 54.20),
    (PROPOSED, "4:2:2"): (25.80, 37.01, 48.25, 63.22),
    (PROPOSED, "4:2:0"): (26.78, 43.35, 56.30, 72.19),
}


def markdown(cells: Sequence[Cell], network: str, seed: int, *, paper: bool = True) -> str:
    """Distances as Table I has them, with the paper's FID in brackets if ``paper``, then bytes per file.

    ``network`` names the features, ``seed`` the noise; N is the smallest number of files in a cell.
    """
    fewest = min((cell.count for cell in cells), default=0)
    title = f"Frechet distance to the real pictures ({network}; N = {fewest:,}; seed {seed})"
    if paper:
        title += "; in brackets the paper's FID, which is on another scale"

    def distance(cell: Cell) -> str:
        known = PAPER_FID.get((cell.method, cell.subsampling))
        if not paper or known is None or cell.quality not in PAPER_QUALITIES:
            return f"{cell.distance:.2f}"
        return f"{cell.distance:.2f} ({known[PAPER_QUALITIES.index(cell.quality)]:.2f})"

    sizes = _table(cells, lambda cell: f"{cell.bytes_per_file:.0f}")
    said = "Mean bytes per file, all in libjpeg's layout (`ganic generate` writes smaller ones)"
    return f"{title}\n\n{_table(cells, distance)}\n\n{said}\n\n{sizes}\n"


def _table(cells: Sequence[Cell], text: Callable[[Cell], str]) -> str:
    qualities = list(dict.fromkeys(cell.quality for cell in cells))
    rows = list(dict.fromkeys((cell.method, cell.output, cell.subsampling) for cell in cells))
    found = {(cell.method, cell.subsampling, cell.quality): cell for cell in cells}
    header = ["Method", "Generator output", "Subsampling", *(f"Quality {quality}" for quality in qualities)]
    lines = [header, ["---"] * 3 + ["---:"] * len(qualities)]
    for method, output, subsampling in rows:
        values = [found.get((method, subsampling, quality)) for quality in qualities]
        lines.append([method, output, subsampling, *("" if v is None else text(v) for v in values)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
