"""One self-contained HTML report, and the folder of results around it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from ganic import images
from ganic.errors import OutputError
from ganic.evaluation.plots import curves
from ganic.evaluation.published import PublishedPoint
from ganic.evaluation.results import Evaluation, Measurement
from ganic.evaluation.tables import (
    MEASURES,
    SET_MEASURES,
    comparisons_csv,
    markdown,
    measurements_csv,
    set_value,
    summary_csv,
    to_json,
)
from ganic.pages.comparison import Coding, Measure, page

if TYPE_CHECKING:
    from ganic.evaluation.contest import Contest

SHOWN = 3
"""Pictures in the report when none are named; each adds all its codings at all rates."""
PIXELS = 500_000
"""Of each that are shown: there are dozens in one file."""

STYLE = """
:root { color-scheme: light dark; --line: #8885; --ours: light-dark(#c8102e, #ff7b8a) }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 90rem; margin: 2rem auto; padding: 0 1rem }
h1, h2 { line-height: 1.2 } h2 { margin-top: 2.5rem }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top }
th:first-child, td:first-child { text-align: left } thead th { white-space: nowrap }
small { display: block; opacity: .7; font-weight: normal } tr.ours { font-weight: 600; color: var(--ours) }
figure { margin: 0; background: #fff; overflow-x: auto } figure svg { max-width: 100%; height: auto }
iframe { width: 100%; height: 60rem; border: 1px solid var(--line) } summary { cursor: pointer; margin: .5rem
0 }
""".strip()


def report(
    contest: Contest,
    evaluation: Evaluation,
    *,
    title: str = "Rate, distortion, perception",
    shown: Sequence[str] | None = None,
    published: Sequence[PublishedPoint] = (),
) -> str:
    """The HTML text: tables, curves, and some pictures side by side with a slider; it fetches nothing.

    `shown` names pictures (default: three spread over the set), each at every rate point. A browser starts on
    a picture when it is unfolded. Raises UsageError when matplotlib is not installed.
    """
    if shown is None:
        count = len(evaluation.pictures)
        shown = (
            [evaluation.pictures[i * count // SHOWN] for i in range(SHOWN)]
            if count > SHOWN
            else evaluation.pictures
        )
    pictures = "\n".join(
        _viewer(contest, evaluation, picture, rate) for picture in shown for rate in evaluation.rates
    )
    sources = sorted({point.source for point in published})
    cited = f"<p>Published points from: {escape('; '.join(sources))}.</p>" if sources else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{STYLE}
</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p>{len(evaluation.pictures)} pictures of {escape(evaluation.folder)}. Bytes are those of whole files. At each
rate point every opponent gets, picture by picture, at most the bytes that
{escape(evaluation.codecs[0].title)} took, or the multiple in its name; where its smallest file is larger,
that one is used and counted as "over". All measures are taken on whole 8-bit RGB pictures and averaged over
the set, except the patch Frechet distance, which compares all patches of the set at once and can only be
compared within it.</p> <h2>Sets</h2> {"".join(_set_table(evaluation, rate) for rate in evaluation.rates)}
<h2>Against each opponent</h2> {_comparison_table(evaluation)} <h2>Curves</h2>
<figure>{_inline(curves(evaluation, published))}</figure> {cited} <h2>Pictures</h2> {pictures} <h2>Codecs</h2>
{_codec_table(evaluation)} </body> </html>
"""


def write_results(
    contest: Contest,
    evaluation: Evaluation,
    *,
    title: str = "Rate, distortion, perception",
    shown: Sequence[str] | None = None,
    published: Sequence[PublishedPoint] = (),
) -> Path:
    """Write results.json, results.md, three CSV files, curves.svg and report.html to the contest's folder.

    Returns the report's path; raises OutputError when the folder cannot be written.
    """
    texts = {
        "results.json": to_json(evaluation),
        "results.md": markdown(evaluation),
        "measurements.csv": measurements_csv(evaluation),
        "summary.csv": summary_csv(evaluation),
        "comparisons.csv": comparisons_csv(evaluation),
        "curves.svg": curves(evaluation, published),
        "report.html": report(contest, evaluation, title=title, shown=shown, published=published),
    }
    try:
        contest.out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (contest.out / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{contest.out}: cannot be written ({error.strerror}); choose another") from error
    return contest.out / "report.html"


def _inline(svg: str) -> str:
    """The svg element without the XML prolog, which has no place inside HTML."""
    return svg[svg.index("<svg") :]


def _set_table(evaluation: Evaluation, rate: str) -> str:
    measures = list(SET_MEASURES)
    measures = [m for m in measures if any(set_value(s, m) is not None for s in evaluation.sets)]
    patches = evaluation.set_result(rate, evaluation.codecs[0].key).patches
    rows = []
    for codec in evaluation.codecs:
        result = evaluation.set_result(rate, codec.key)
        over = f"<small>{result.over_limit} over the bytes allowed</small>" if result.over_limit else ""
        cells = [f"<td>{escape(codec.title)}{over}</td><td>{result.bpp:.4f}</td>"]
        cells += [_cell(set_value(result, measure), measure.digits) for measure in measures]
        mark = ' class="ours"' if codec is evaluation.codecs[0] else ""
        rows.append(f"<tr{mark}>{''.join(cells)}</tr>")
    heads = "".join(f"<th>{escape(m.title)}<small>{_direction(m)}</small></th>" for m in measures)
    caption = f"<h3>{escape(rate)}</h3><p>{patches} patches</p>"
    return f"{caption}{_table(f'<th>codec</th><th>bits per pixel</th>{heads}', rows)}"


def _direction(measure: Measure) -> str:
    better = "higher is better" if measure.higher_is_better else "lower is better"
    return f"{measure.unit}, {better}" if measure.unit else better


def _comparison_table(evaluation: Evaluation) -> str:
    titles = {codec.key: codec.title for codec in evaluation.codecs}
    columns = (
        ("rate point", ""),
        ("opponent", ""),
        ("bytes", "ours / theirs"),
        ("patch Frechet", "ours / theirs"),
        ("SqueezeNet", "ours / theirs"),
        ("PSNR", "ours - theirs, dB"),
        ("PSNR of 8x8 means", "ours - theirs, dB"),
        ("MS-SSIM", "ours - theirs"),
        ("SSIMULACRA2", "ours - theirs"),
        ("grid", "ours"),
        ("screen", "ours"),
    )
    rows = []
    for c in evaluation.comparisons():
        numbers = [
            (c.bytes_ratio, 3),
            (c.patch_frechet_ratio, 3),
            (c.squeezenet_ratio, 3),
            (c.psnr_difference, 2),
            (c.psnr_8x8_difference, 2),
            (c.ms_ssim_difference, 4),
            (c.ssimulacra2_difference, 1),
            (c.grid, 3),
            (c.screen, 2),
        ]
        over = f"<small>{c.over_limit} over the bytes allowed</small>" if c.over_limit else ""
        first = f"<td>{escape(c.rate)}</td><td>{escape(titles[c.opponent])}{over}</td>"
        rows.append(f"<tr>{first}{''.join(_cell(value, digits) for value, digits in numbers)}</tr>")
    return _table("".join(f"<th>{name}<small>{note}</small></th>" for name, note in columns), rows)


def _codec_table(evaluation: Evaluation) -> str:
    rows = [f"<tr><td>{escape(c.title)}</td><td>{escape(c.settings)}</td></tr>" for c in evaluation.codecs]
    return _table("<th>codec</th><th>settings</th>", rows)


def _table(head: str, rows: Sequence[str]) -> str:
    body = "\n".join(rows)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>\n'
    )


def _cell(value: float | None, digits: int) -> str:
    return "<td></td>" if value is None else f"<td>{value:.{digits}f}</td>"


def _viewer(contest: Contest, evaluation: Evaluation, picture: str, rate: str) -> str:
    """One picture at one rate point, folded: a comparison page in a frame of its own."""
    measured = {m.codec: m for m in evaluation.measurements if (m.rate, m.picture) == (rate, picture)}
    ours = measured[evaluation.codecs[0].key]
    original = images.read(contest.folder / picture)
    codings = [
        _coding(contest, measured[codec.key], codec.title)
        for codec in evaluation.codecs
        if codec.key in measured
    ]
    source_bytes = (contest.folder / picture).stat().st_size
    title = f"{picture}, {rate}"
    source = Coding("original", original.image, source_bytes)
    inner = page(title, source, codings, MEASURES, pixels=PIXELS, icc=original.icc)
    summary = f"{escape(title)}: {ours.bytes:,} bytes, {ours.bpp:.3f} bits per pixel"
    # A frame inside a closed <details> is not rendered; lazy keeps it from being parsed until it is.
    return (
        f"<details><summary>{summary}</summary>"
        f'<iframe loading="lazy" title="{escape(title)}" srcdoc="{escape(inner)}"></iframe></details>'
    )


def _coding(contest: Contest, measured: Measurement, title: str) -> Coding:
    return Coding(
        name=title,
        picture=contest.decoded(measured.rate, measured.codec, measured.picture),
        bytes=measured.bytes,
        values={measure.key: getattr(measured.quality, measure.key) for measure in MEASURES},
        note="has no smaller file" if measured.over_limit else "",
    )
