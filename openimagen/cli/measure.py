"""Measure pictures, and models by what they draw."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from openimagen.cli.commands import FAILED, Cut, Device, Json, Seed, evaluate_app, say

FeatureName = Annotated[
    str, typer.Option("--features", help="efflite2 (works offline), inception, clip or dinov2.")
]
Weights = Annotated[
    str | None,
    typer.Option(help="Of the features: inception's file; a folder or hub id of the others."),
]


@evaluate_app.command()
def quality(
    real: Annotated[
        str, typer.Argument(help="Real pictures: a folder, captioned or not, or shards.")
    ],
    fake: Annotated[str, typer.Argument(help="Drawn ones, as from generate --out FOLDER.")],
    features: FeatureName = "efflite2",
    weights: Weights = None,
    side: Annotated[
        int | None, typer.Option(min=1, help="Bring pictures to this side, by bicubic.")
    ] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """How close drawn pictures are to real ones: every distance, with its interval."""
    from openimagen.device import find_device
    from openimagen.evaluate.networks import load_features
    from openimagen.evaluate.quality import quality as measure
    from openimagen.progress import progress_bar

    network = load_features(features, weights, find_device(device))
    found = measure(Path(real), Path(fake), network, side, progress_bar)
    typer.echo(json.dumps(found.figures(), indent=1) if as_json else str(found))


@evaluate_app.command()
def sweep(
    model: Annotated[str, typer.Argument(help="An embedded model, a model folder or a hub id.")],
    prompts: Annotated[
        Path, typer.Option(help="What to draw: a .txt, .csv, .tsv, .jsonl, or captioned pictures.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the sweep; again, it goes on there.")],
    over: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=V,V,V",
            help="guidance=1,1.5,3, steps, sampler, threshold, percentile, aug_level ...; of one "
            "stage: base.guidance=1,2. Several: every combination. One value: held there.",
        ),
    ] = None,
    real: Annotated[
        Path | None, typer.Option(help="Real pictures; if left out, those that give the prompts.")
    ] = None,
    prototypes: Annotated[
        Path | None,
        typer.Option(help="Pictures captioned with the prompts, for R@1; if left out, --real."),
    ] = None,
    ceiling: Annotated[
        Path | None, typer.Option(help="Real pictures of another style: what scores they get.")
    ] = None,
    clip: Annotated[
        str | None,
        typer.Option(metavar="WEIGHTS", help="CLIP score, by a folder or hub id, instead of R@1."),
    ] = None,
    size: Annotated[int | None, typer.Option(help="Side to draw, one of the stages'.")] = None,
    side: Annotated[
        int | None, typer.Option(min=8, help="Bring all pictures to this side; else to --size.")
    ] = None,
    features: FeatureName = "efflite2",
    weights: Weights = None,
    samples: Annotated[int, typer.Option(min=1, help="Pictures of each prompt.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="So many prompts, by lot.")] = None,
    seed: Seed = 0,
    cut: Cut = False,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """The paper's figure: alignment against distance, as a setting of sampling changes.

    OUT gets sweep.png, sweep.json and the pictures.
    """
    with _going_on(out):
        from openimagen.device import find_device
        from openimagen.evaluate.drawing import load_model
        from openimagen.evaluate.networks import load_features
        from openimagen.evaluate.prompts import by_lot, read_prompts
        from openimagen.evaluate.sweep.measures import load_alignments, real_of
        from openimagen.evaluate.sweep.plan import Plan
        from openimagen.evaluate.sweep.run import sweep as run
        from openimagen.evaluate.sweep.settings import read_settings
        from openimagen.progress import progress_bar

        where, asked = find_device(device), read_prompts(prompts)
        asked, real = by_lot(asked, limit, seed) if limit else asked, real or real_of(prompts)
        drawing = load_model(model, where)
        settings = read_settings(over or [], drawing.cascade, size)
        seen = side or size or drawing.cascade.config.stages[-1].side
        plan = Plan(
            drawing, asked, real, settings, out, load_features(features, weights, where),
            load_alignments(prototypes, ceiling, clip, asked, real, seen, where),
            samples=samples, seed=seed, size=size, side=side, cut=cut,
        )  # fmt: skip
        found = run(plan, progress_bar)
    typer.echo(found.model_dump_json(indent=1) if as_json else str(found))
    for name in ("sweep.json", "sweep.png"):
        typer.echo(f"{out / name}", err=as_json)


@contextmanager
def _going_on(out: Path) -> Iterator[None]:
    """Ctrl-C ends in one line."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"stopped: the same command goes on with {out}")
        raise typer.Exit(FAILED) from None
