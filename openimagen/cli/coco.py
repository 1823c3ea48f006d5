"""Measure a model by the paper's protocol on COCO."""

import json
from pathlib import Path
from typing import Annotated

import typer

from openimagen.cli.commands import (
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
)


@evaluate_app.command()
def fid30k(
    model: Annotated[str, typer.Argument(help="An embedded model, a model folder or a hub id.")],
    out: Annotated[Path, typer.Option(help="Folder for pictures, features and fid30k.json.")],
    coco: Annotated[
        Path | None, typer.Option(help="COCO: val2014 and annotations/captions_val2014.json.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Instead of COCO: any captioned pictures.")
    ] = None,
    prompts: Annotated[int, typer.Option(min=1, help="Captions to draw, by lot.")] = 30_000,
    features: Annotated[
        str, typer.Option(help="efflite2 (works offline), inception (FID), clip or dinov2.")
    ] = "efflite2",
    weights: Annotated[
        str | None,
        typer.Option(help="Of the features: inception's file; a folder or hub id of the others."),
    ] = None,
    side: Annotated[int, typer.Option(min=1, help="Pixels that pictures are compared at.")] = 256,
    seed: Seed = 0,
    size: Size = None,
    steps: Steps = None,
    guidance: Guidance = None,
    sampler: Sampler = None,
    cut: Cut = False,
    drop: Annotated[
        bool, typer.Option("--drop", help="Delete pictures when their features are there.")
    ] = False,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """FID-30K as in the paper: 30,000 of COCO's captions drawn, against all its val pictures.

    Again, it goes on where it was. Several processes share the work if each is told its RANK and
    WORLD_SIZE and sees the same folder; the last one to end measures.
    """
    from openimagen.device import find_device
    from openimagen.evaluate.captioned import read_captioned, read_coco
    from openimagen.evaluate.coco import Protocol
    from openimagen.evaluate.coco import fid30k as measure
    from openimagen.evaluate.drawing import Shard, load_model
    from openimagen.evaluate.networks import load_features
    from openimagen.progress import progress_bar

    if (path := coco or data) is None or (coco and data):
        raise ValueError("say what to compare with: --coco FOLDER, or --data of your own")
    ways = overrides(size, steps, guidance, sampler)
    where = find_device(device)
    found = measure(
        load_model(model, where),
        read_coco(path) if coco else read_captioned(path),
        load_features(features, weights, where),
        out,
        Protocol(prompts, seed, side, ways, cut, drop),
        weights=weights,
        watch=progress_bar,
        shard=Shard.of_environment(),
    )
    typer.echo(json.dumps(found.figures(), indent=1) if as_json else str(found))
