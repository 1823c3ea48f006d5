"""Measure pictures, and models by what they draw."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from openimagen.cli.commands import (
    FAILED,
    Cut,
    Device,
    Guidance,
    Json,
    Sampler,
    Seed,
    Size,
    Steps,
    evaluate_app,
    overrides,
    say,
)

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
def bias(
    model: Annotated[str, typer.Argument(help="An embedded model, a model folder or a hub id.")],
    out: Annotated[Path, typer.Option(help="Folder for the pictures, the sheet and the table.")],
    prompts: Annotated[
        Path | None, typer.Option(help="Prompts of your own, with a category each: a .csv.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=2, help="Pictures of each prompt.")] = 8,
    seed: Seed = 0,
    size: Size = None,
    steps: Steps = None,
    guidance: Guidance = None,
    sampler: Sampler = None,
    cut: Cut = False,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Draw people by profession and adjective; the skin tones and brightness that come out."""
    from openimagen.device import find_device
    from openimagen.evaluate.bias import probe
    from openimagen.evaluate.bias_sheet import write
    from openimagen.evaluate.drawing import load_model
    from openimagen.evaluate.prompts import read_prompts
    from openimagen.progress import progress_bar

    asked = None if prompts is None else read_prompts(prompts)
    loaded = load_model(model, find_device(device))
    settings = overrides(size, steps, guidance, sampler).settings(loaded)
    found, drawing = probe(
        loaded, out, asked, seeds=seeds, seed=seed, size=size, settings=settings, cut=cut,
        watch=progress_bar,
    )  # fmt: skip
    sheet = write(found, drawing, out)
    typer.echo(json.dumps(found.figures(), indent=1) if as_json else str(found))
    if not as_json:
        typer.echo(f"{sheet}  contact sheet")


@evaluate_app.command()
def alignment(
    subject: Annotated[
        str,
        typer.Argument(metavar="MODEL|FOLDER", help="A model, or captioned pictures it drew."),
    ],
    prototypes: Annotated[
        Path | None,
        typer.Option(help="Real pictures, captioned by name: is what is drawn nearest to its own?"),
    ] = None,
    scenes: Annotated[
        Path | None,
        typer.Option(help="Icons with alpha: are the things there, as many, in colour and place?"),
    ] = None,
    clip: Annotated[
        str | None, typer.Option(metavar="WEIGHTS", help="CLIP score by a folder or hub id.")
    ] = None,
    ceiling: Annotated[
        Path | None, typer.Option(help="Real pictures of another style, to read scores against.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="What to draw: .txt, .csv, .tsv, or .jsonl as GenEval's.")
    ] = None,
    names: Annotated[
        int, typer.Option(min=1, help="How many names to choose for --prototypes.")
    ] = 200,
    whole_gallery: Annotated[
        bool, typer.Option("--whole-gallery", help="Look up among all names, not the chosen.")
    ] = False,
    side: Annotated[
        int | None,
        typer.Option(min=8, help="Bring every picture to this side; else to the drawn ones'."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Keep what is drawn here, and resume it from here.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Pictures of each prompt.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of names, scenes and first picture.")] = 0,
    size: Size = None,
    steps: Steps = None,
    guidance: Guidance = None,
    sampler: Sampler = None,
    cut: Cut = False,
    sheet: Annotated[
        Path | None, typer.Option(help="Write the pictures, framed green if right, else red.")
    ] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Whether pictures show what their texts say, beside what real pictures and chance get."""
    from functools import partial

    from openimagen.device import find_device
    from openimagen.evaluate.drawing import load_model
    from openimagen.evaluate.examined import (
        check_sheet,
        examine_drawn,
        examine_model,
        is_drawn,
        read_drawn,
    )
    from openimagen.evaluate.exams import load_exams
    from openimagen.evaluate.prompts import read_prompts
    from openimagen.progress import progress_bar

    if sheet and (prototypes or scenes or clip):
        check_sheet(sheet, judged=bool(prototypes or scenes))
    where, asked = find_device(device), read_prompts(prompts) if prompts else None
    exams = partial(
        load_exams, prototypes=prototypes, scenes=scenes, clip=clip, ceiling=ceiling, names=names,
        whole_gallery=whole_gallery, seed=seed, device=where, watch=progress_bar,
    )  # fmt: skip
    if is_drawn(Path(subject)):
        drawn = read_drawn(Path(subject), asked)
        side = side or drawn.side
        found = examine_drawn(drawn, exams(prompts=drawn.prompts, side=side), side, progress_bar)
    else:
        model = load_model(subject, where)
        settings = overrides(size, steps, guidance, sampler).settings(model)
        side = side or size or model.cascade.config.stages[-1].side
        found = examine_model(
            model, exams(prompts=asked, side=side), side, out, samples=samples, seed=seed,
            size=size, settings=settings, cut=cut, watch=progress_bar,
        )  # fmt: skip
    typer.echo(json.dumps(found.figures(), indent=1) if as_json else str(found))
    for path in found.write_sheets(sheet) if sheet else []:
        typer.echo(f"{path}  sheet", err=as_json)


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
    size: Size = None,
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
