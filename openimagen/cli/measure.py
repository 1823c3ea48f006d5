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
