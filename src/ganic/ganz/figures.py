"""The paper's Figures 2 to 5, 7 and 8, each by one function, as tables and plots.

    python -m ganic.ganz.figures 5 --model ganz-faces64 --set train=faces.zip --set test=more/ --out results/

Pictures come from folders, zips or single files (`ganic.ganz.pictures`).  Beside what the paper shows, every
comparison has the untrained generator as a control, the learned basis, and the wavelets in three versions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import click
import torch
from torch import Tensor

from ganic.errors import UsageError
from ganic.ganz.budget import Settings
from ganic.ganz.experiments import (
    VARIANTS,
    How,
    Outcome,
    compress,
    lasso,
    measurement_of,
    sense,
    untrained,
    wavelets,
)
from ganic.ganz.model import FirstLayer, Model, load
from ganic.ganz.objective import uniform_latents
from ganic.ganz.pictures import How as Fitting
from ganic.ganz.pictures import load as load_pictures
from ganic.ganz.plots import Cell, Points, Table, picture_grid, scatter
from ganic.hardware import device_of
from ganic.module_command import run

RATIOS = (10.0, 20.0, 50.0, 100.0, 768.0)
SHARES = (0.08, 0.2)
"""M / N in Fig. 8 and in Bora et al."""

PAPER_RATIO_SENSING = 6.0
"""Of the random first layer in Fig. 8."""

Layer = Literal["dense", "structured", "basis", "chosen", "untrained"]

LAYERS: Mapping[Layer, str] = {
    "dense": "dense",
    "structured": "structured",
    "basis": "learned basis",
    "chosen": "learned basis, chosen numbers",
    "untrained": "untrained",
}
"""First layers that Figure 5 compares, and what its table calls them."""

Sets = Mapping[str, Tensor]
"""Pictures [n, 3, s, s] in [0, 1] by name: train, test, out of domain."""

Say = Callable[[str], None]


def figure2(models: Sequence[Model], sets: Sets, how: How, out: Path, ratio: float = 10.0) -> Table:
    """PSNR against wavelets at one ratio, for generators trained with different latent sizes."""
    rows: list[tuple[Cell, ...]] = []
    for name, truth in sets.items():
        baseline = wavelets(truth, ratio)
        points = []
        for model in models:
            made = compress(model, "dense", truth, how, ratio)
            rows.append((name, model.generator.latent_dim, made.mean, *(baseline[v].mean for v in VARIANTS)))
            points.append(_points(f"d_t = {model.generator.latent_dim}", baseline["formula"], made))
        scatter(out / f"figure2_{name}.png", f"ratio {ratio:g}, {name}", "db4 PSNR", "GANZ PSNR", points)
    columns = ("set", "training latent", "GANZ", *(f"db4 {v}" for v in VARIANTS))
    return _saved(
        Table(f"Figure 2: training latent size, compression ratio {ratio:g}", columns, tuple(rows)), out, 2
    )


def figure3(model: Model, sets: Sets, how: How, out: Path) -> Table:
    """A square random layer against none: both have 8192 numbers (ratio 6 at 128 x 128)."""
    rows: list[tuple[Cell, ...]] = []
    grid = []
    kinds: tuple[FirstLayer, ...] = ("none", "square")
    for name, truth in sets.items():
        made = [compress(model, kind, truth, how) for kind in kinds]
        control = compress(untrained(model), "none", truth, how)
        rows.append((name, *(outcome.mean for outcome in (*made, control))))
        captions = [("original", truth[0])]
        captions += [
            (f"{kind}_linear {float(outcome.psnr[0]):.2f} dB", outcome.pictures[0])
            for kind, outcome in zip(("no", "square"), made, strict=True)
        ]
        grid.append(captions)
    picture_grid(out / "figure3.png", "first layer: none, or square and random", grid)
    columns = ("set", "no_linear", "square_linear", "no_linear, untrained")
    return _saved(Table("Figure 3: square linear layer against none", columns, tuple(rows)), out, 3)


def figure4(model: Model, sets: Sets, how: How, out: Path, ratios: Sequence[float] = RATIOS) -> Table:
    """One picture of each set through all ratios, beside wavelets."""
    rows: list[tuple[Cell, ...]] = []
    for name, pictures in sets.items():
        truth = pictures[:1]
        kept = compress(model, "trained", truth, how)
        rows.append((name, "keep_linear", kept.mean, *("" for _ in (*VARIANTS, "basis"))))
        grid = [[("original", truth[0]), (f"keep_linear {kept.mean:.2f} dB", kept.pictures[0])]]
        for ratio in ratios:
            made, baseline = compress(model, "dense", truth, how, ratio), wavelets(truth, ratio)
            learned = _learned(model, truth, how, ratio)
            rows.append(
                (
                    name,
                    f"{ratio:g}",
                    made.mean,
                    *(baseline[v].mean for v in VARIANTS),
                    learned.mean if learned else "",
                )
            )
            shown = [(f"R {ratio:g}: {made.mean:.2f} dB", made.pictures[0])]
            if learned:
                shown.append((f"basis {learned.mean:.2f} dB", learned.pictures[0]))
            shown += [(f"db4 {v} {baseline[v].mean:.2f} dB", baseline[v].pictures[0]) for v in VARIANTS]
            grid.append(shown)
        picture_grid(out / f"figure4_{name}.png", f"{name}: compression ratios", grid)
    columns = ("set", "ratio", "GANZ", *(f"db4 {v}" for v in VARIANTS), "learned basis")
    return _saved(Table("Figure 4: compression ratios", columns, tuple(rows)), out, 4)


def figure5(
    model: Model,
    sets: Sets,
    how: How,
    out: Path,
    ratios: Sequence[float] = RATIOS,
    say: Say = lambda line: None,
    *,
    layers: Sequence[Layer] = tuple(LAYERS),
) -> Table:
    """Mean PSNR over sets at every ratio: random layers, learned basis, untrained control, wavelets.

    ``layers``: which of `LAYERS`; each costs a search for every picture and ratio.
    """
    rows: list[tuple[Cell, ...]] = []
    control = untrained(model)
    for name, truth in sets.items():
        points = []
        for ratio in ratios:
            baseline = wavelets(truth, ratio)
            made: dict[str, Outcome] = {}
            for layer in layers:
                if layer == "untrained":
                    made[layer] = compress(control, "structured", truth, how, ratio)
                elif layer not in ("basis", "chosen") or model.basis is not None:
                    made[layer] = compress(model, layer, truth, how, ratio)
            if not made:
                raise UsageError("figure 5: this model has no learned basis; choose other layers")
            best = max(made.values(), key=lambda outcome: outcome.mean)
            points.append(_points(f"R = {ratio:g}", baseline["formula"], best))
            cells = [made[layer].mean if layer in made else "" for layer in layers]
            row = (name, ratio, model.latent_size(ratio), *cells, *(baseline[v].mean for v in VARIANTS))
            rows.append(row)
            say(" ".join(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row))
        scatter(out / f"figure5_{name}.png", name, "db4 PSNR (formula)", "GANZ PSNR", points)
    columns = (
        "set",
        "ratio",
        "numbers",
        *(LAYERS[layer] for layer in layers),
        *(f"db4 {v}" for v in VARIANTS),
    )
    return _saved(Table("Figure 5: PSNR by compression ratio", columns, tuple(rows)), out, 5)


def figure7(models: Sequence[Model], out: Path, seed: int = 0) -> Table:
    """Six pictures of random latents from each generator."""
    grid = []
    rows: list[tuple[Cell, ...]] = []
    for model in models:
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed)
            z = uniform_latents(6, model.generator.latent_dim, model.generator.last.weight)
            made = model.generator(z).clamp(0, 1)
        grid.append([(f"d_t = {model.generator.latent_dim}", picture) for picture in made])
        spread = float(made.std(dim=0).mean())
        rows.append((model.generator.latent_dim, spread))
    picture_grid(out / "figure7.png", "samples", grid)
    columns = ("training latent", "standard deviation between samples")
    return _saved(Table("Figure 7: samples", columns, tuple(rows)), out, 7)


def figure8(
    model: Model,
    sets: Sets,
    how: How,
    out: Path,
    shares: Sequence[float] = SHARES,
    *,
    structured: bool = False,
    noise: float = 0.0,
    say: Say = lambda line: None,
    layers: Sequence[Layer] = tuple(LAYERS),
) -> Table:
    """Compressive sensing with M / N of ``shares``: the paper's layer ("dense" among ``layers``), the learned
    basis ("basis"), FISTA."""
    rows: list[tuple[Cell, ...]] = []
    numbers = 3 * model.size**2
    for name, truth in sets.items():
        grid = [[("original", truth[0])]]
        for share in shares:
            count = round(share * numbers)
            measurement = measurement_of(model, count, structured, how.seed)
            paper = learned = None
            if "dense" in layers:
                paper = sense(model, "dense", truth, measurement, how, ratio=PAPER_RATIO_SENSING, noise=noise)
            if "basis" in layers and model.basis is not None:
                learned = sense(model, "basis", truth, measurement, how, noise=noise)
            rgb = lasso(truth, measurement, noise=noise, seed=how.seed, opponent=False)
            opponent = lasso(truth, measurement, noise=noise, seed=how.seed)
            cells = [outcome.mean if outcome else "" for outcome in (paper, learned)]
            row = (name, count, share, *cells, rgb.mean, opponent.mean)
            rows.append(row)
            say(" ".join(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row))
            shown = {"R 6": paper, "basis": learned, "FISTA": opponent}
            grid.append(
                [
                    (f"M {count} {label} {float(o.psnr[0]):.2f} dB", o.pictures[0])
                    for label, o in shown.items()
                    if o is not None
                ]
            )
        picture_grid(out / f"figure8_{name}.png", f"{name}: compressive sensing", grid)
    columns = ("set", "M", "M / N", "GANZ, R = 6", "GANZ, learned basis", "FISTA, RGB", "FISTA, opponent")
    return _saved(Table("Figure 8: compressive sensing, PSNR", columns, tuple(rows)), out, 8)


def _learned(model: Model, truth: Tensor, how: How, ratio: float) -> Outcome | None:
    return None if model.basis is None else compress(model, "basis", truth, how, ratio)


def _points(label: str, x: Outcome, y: Outcome) -> Points:
    return Points(label, x.psnr.tolist(), y.psnr.tolist())


def _saved(table: Table, out: Path, number: int) -> Table:
    table.save(out, f"figure{number}")
    return table


def read_sets(
    sets: Sequence[str], size: int, fitting: Fitting, box: Sequence[int] | None, count: int
) -> dict[str, Tensor]:
    """``NAME=PATH`` or ``NAME=PATH@FIRST`` -> pictures; raises UsageError, DataError."""
    found: dict[str, Tensor] = {}
    for text in sets:
        name, equals, rest = text.partition("=")
        path, _, first = rest.partition("@")
        if not (name and equals and path and (first or "0").isdigit()):
            raise UsageError(f"--set {text}: write NAME=PATH, or NAME=PATH@FIRST to begin at a later picture")
        squares = load_pictures(Path(path), size, how=fitting, box=box, first=int(first or 0), count=count)
        found[name] = squares.values
    return found


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("figure", type=click.Choice(["2", "3", "4", "5", "7", "8"]))
@click.option(
    "--model", "models", multiple=True, required=True, metavar="NAME|FILE", help="2 and 7 take several."
)
@click.option(
    "--set", "sets", multiple=True, metavar="NAME=PATH[@FIRST]", help="Pictures: folder, zip or file."
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("figures"), show_default=True)
@click.option("--count", default=20, show_default=True, help="Pictures per set.")
@click.option("--fitting", type=click.Choice(["crop", "resize"]), default="crop", show_default=True)
@click.option(
    "--box", type=int, nargs=4, default=None, metavar="LEFT TOP WIDTH HEIGHT", help="Cut out first."
)
@click.option("--steps", default=500, show_default=True, help="Gradients per search; the authors took 7500.")
@click.option("--finish", default=0.3, show_default=True, help="Share of the steps that L-BFGS takes.")
@click.option("--restarts", default=1, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--bf16", is_flag=True, help="Adam's part of a search in bfloat16.")
@click.option("--device", default="cpu", show_default=True)
@click.option(
    "--layers",
    default=",".join(LAYERS),
    show_default=True,
    help="5 and 8: the first layers to compare; each costs its searches.",
)
@click.option("--noise", default=0.0, show_default=True, help="8: standard deviation of measurement noise.")
@click.option(
    "--structured", is_flag=True, help="8: partial circulant measurements instead of Gaussian ones."
)
def command(
    figure: str,
    models: tuple[str, ...],
    sets: tuple[str, ...],
    out: Path,
    count: int,
    fitting: Fitting,
    box: tuple[int, int, int, int] | None,
    steps: int,
    finish: float,
    restarts: int,
    seed: int,
    bf16: bool,
    device: str,
    layers: str,
    noise: float,
    structured: bool,
) -> None:
    """Make one of the paper's figures: figureN.csv, figureN.md and plots in the folder --out."""
    loaded = [load(name).to(device_of(device)) for name in models]
    chosen = [layer for layer in LAYERS if layer in layers.split(",")]
    if unknown := [layer for layer in layers.split(",") if layer not in LAYERS]:
        raise UsageError(f"--layers: {', '.join(unknown)}: none of {', '.join(LAYERS)}")
    how = How(Settings(steps=steps, finish=finish), restarts, seed, bf16)
    model = loaded[0]
    if figure != "7" and not sets:
        raise UsageError(f"figure {figure}: no pictures; give --set train=FOLDER")
    pictures = {
        name: values.to(device) for name, values in read_sets(sets, model.size, fitting, box, count).items()
    }
    table = {
        "2": lambda: figure2(loaded, pictures, how, out),
        "3": lambda: figure3(model, pictures, how, out),
        "4": lambda: figure4(model, pictures, how, out),
        "5": lambda: figure5(model, pictures, how, out, say=click.echo, layers=chosen),
        "7": lambda: figure7(loaded, out, seed),
        "8": lambda: figure8(
            model, pictures, how, out, structured=structured, noise=noise, say=click.echo, layers=chosen
        ),
    }[figure]()
    click.echo(table.to_markdown())


if __name__ == "__main__":
    run(command)
