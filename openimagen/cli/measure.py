"""Measure pictures, and models by what they draw."""

import json
from pathlib import Path
from typing import Annotated

import typer

from openimagen.cli.commands import Device, Json, evaluate_app


@evaluate_app.command()
def quality(
    real: Annotated[
        str, typer.Argument(help="Real pictures: a folder, captioned or not, or shards.")
    ],
    fake: Annotated[str, typer.Argument(help="Drawn ones, as from generate --out FOLDER.")],
    features: Annotated[
        str, typer.Option(help="efflite2 (works offline), inception, clip or dinov2.")
    ] = "efflite2",
    weights: Annotated[
        str | None,
        typer.Option(help="Of the features: inception's file; a folder or hub id of the others."),
    ] = None,
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
    seed: Annotated[int, typer.Option(min=0, help="Of the first picture.")] = 0,
    size: Annotated[int | None, typer.Option(help="Side in pixels, one of the stages'.")] = None,
    steps: Annotated[str | None, typer.Option(help="For every stage, or one each: 16,8,4.")] = None,
    guidance: Annotated[str | None, typer.Option(help="Likewise: 4,1,1; 1 is off.")] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Draw people by profession and adjective; the skin tones and brightness that come out."""
    from openimagen.config import per_stage
    from openimagen.device import find_device
    from openimagen.evaluate.bias import probe
    from openimagen.evaluate.bias_sheet import write
    from openimagen.evaluate.drawing import load_model
    from openimagen.evaluate.prompts import read_prompts
    from openimagen.progress import progress_bar

    asked = None if prompts is None else read_prompts(prompts)
    loaded = load_model(model, find_device(device))
    settings = loaded.cascade.settings(
        size,
        steps=per_stage("--steps", steps, int),
        guidance=per_stage("--guidance", guidance, float),
    )
    found, drawing = probe(
        loaded,
        out,
        asked,
        seeds=seeds,
        seed=seed,
        size=size,
        settings=settings,
        watch=progress_bar,
    )
    sheet = write(found, drawing, out)
    typer.echo(json.dumps(found.figures(), indent=1) if as_json else str(found))
    if not as_json:
        typer.echo(f"{sheet}  contact sheet")
