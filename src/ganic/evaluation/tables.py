"""Results as JSON, CSV and Markdown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from typing import Any

from ganic.errors import DataError
from ganic.evaluation.results import Codec, Comparison, Evaluation, SetResult
from ganic.evaluation.store import jsonable, measurement_from, quality_from
from ganic.pages.comparison import Measure

FORMAT = 1

MEASURES = (
    Measure("psnr", "PSNR", 2, True, "dB"),
    Measure("psnr_8x8", "PSNR of 8x8 means", 2, True, "dB"),
    Measure("ms_ssim", "MS-SSIM", 4, True),
    Measure("ssimulacra2", "SSIMULACRA2", 1, True),
    Measure("squeezenet", "SqueezeNet distance", 3, False),
    Measure("grid", "Grid", 3, False),
    Measure("screen", "Screen", 2, False),
    Measure("lpips", "LPIPS", 4, False),
    Measure("dists", "DISTS", 4, False),
)
"""The fields of `Quality`, as readers see them."""

PATCH_FRECHET = Measure("patch_frechet", "Patch Frechet distance", 0, False)
FID = Measure("fid_256", "FID/256", 2, False)
SET_MEASURES = (*MEASURES, PATCH_FRECHET, FID)
"""The measures of a set: means of the above, and two joint ones."""


def set_value(result: SetResult, measure: Measure) -> float | None:
    """A measure of a set, mean or joint."""
    joint = measure in (PATCH_FRECHET, FID)
    value = getattr(result if joint else result.mean, measure.key)
    return None if value is None else float(value)


def to_json(evaluation: Evaluation) -> str:
    """Everything, with the comparisons and Bjontegaard rates derived from it; `from_json` reads it back.

    Numbers that are not finite (the PSNR of identical pictures) are strings, for JSON has none.
    """
    record = {
        "format": FORMAT,
        **asdict(evaluation),
        "comparisons": [asdict(comparison) for comparison in evaluation.comparisons()],
        "bd_rate_percent": {
            codec.key: evaluation.bd_rates(codec.key) for codec in evaluation.codecs[1:] if codec.budget == 1
        },
    }
    return json.dumps(jsonable(record), indent=1) + "\n"


def from_json(text: str) -> Evaluation:
    """The evaluation `to_json` wrote; raises DataError for anything else."""
    try:
        record = json.loads(text)
        if record["format"] != FORMAT:
            raise DataError(f"evaluation: format {record['format']}, this ganic reads {FORMAT}; run it again")
        return Evaluation(
            folder=record["folder"],
            pictures=tuple(record["pictures"]),
            rates=tuple(record["rates"]),
            codecs=tuple(Codec(**codec) for codec in record["codecs"]),
            measurements=tuple(measurement_from(measurement) for measurement in record["measurements"]),
            sets=tuple(
                SetResult(**{**result, "mean": quality_from(result["mean"])}) for result in record["sets"]
            ),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"evaluation: not the JSON of one ({error}); run it again") from error


def measurements_csv(evaluation: Evaluation) -> str:
    """One line per picture, rate point and codec."""
    rows = (
        [m.rate, m.codec, m.picture, m.width, m.height, m.bytes, f"{m.bpp:.5f}"]
        + ["" if m.limit is None else m.limit, "" if m.setting is None else m.setting, int(m.over_limit)]
        + [_cell(getattr(m.quality, measure.key)) for measure in MEASURES]
        for m in evaluation.measurements
    )
    head = ["rate", "codec", "picture", "width", "height", "bytes", "bpp", "limit", "setting", "over_limit"]
    return _csv([*head, *(measure.key for measure in MEASURES)], rows)


def summary_csv(evaluation: Evaluation) -> str:
    """One line per rate point and codec: set means and the patch Frechet distance."""
    rows = (
        [s.rate, s.codec, s.pictures, f"{s.bpp:.5f}", s.over_limit]
        + [_cell(set_value(s, measure)) for measure in SET_MEASURES]
        + [s.patches, s.fid_patches]
        for s in evaluation.sets
    )
    names = [measure.key for measure in SET_MEASURES]
    return _csv(["rate", "codec", "pictures", "bpp", "over_limit", *names, "patches", "fid_patches"], rows)


def comparisons_csv(evaluation: Evaluation) -> str:
    """One line per rate point and opponent: ratios and differences, ours against theirs."""
    names = [field.name for field in fields(Comparison)]
    rows = ([_cell(getattr(c, name)) for name in names] for c in evaluation.comparisons())
    return _csv(names, rows)


def markdown(evaluation: Evaluation) -> str:
    """The set results as one Markdown table per rate point, for documents and terminals."""
    measures = [m for m in SET_MEASURES if any(set_value(s, m) is not None for s in evaluation.sets)]
    titles = {codec.key: codec.title for codec in evaluation.codecs}
    parts = []
    for rate in evaluation.rates:
        rows = []
        for codec in evaluation.codecs:
            result = evaluation.set_result(rate, codec.key)
            mark = f" ({result.over_limit} over)" if result.over_limit else ""
            values = (set_value(result, measure) for measure in measures)
            rows.append(
                [titles[codec.key] + mark, f"{result.bpp:.4f}"]
                + [_text(value, measure) for value, measure in zip(values, measures, strict=True)]
            )
        patches = evaluation.set_result(rate, evaluation.codecs[0].key).patches
        head = ["codec", "bpp", *(measure.title for measure in measures)]
        parts.append(
            f"Rate point {rate}: {len(evaluation.pictures)} pictures, {patches} patches\n\n"
            + _table(head, rows)
        )
    return "\n".join(parts)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [
        [cell.ljust(widths[0]) if i == 0 else cell.rjust(widths[i]) for i, cell in enumerate(row)]
        for row in [head, rule, *rows]
    ]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _text(value: float | None, measure: Measure) -> str:
    return "" if value is None else f"{value:.{measure.digits}f}"


def _cell(value: float | int | str | None) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _csv(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return file.getvalue()
