"""Draw pictures; list the models that can."""

import json
from pathlib import Path
from typing import Annotated

import typer

from openimagen.cli.commands import Device, Guidance, Json, Sampler, Size, Steps, app


@app.command()
def generate(
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...", help="What to draw.")],
    model: Annotated[
        str, typer.Option(help="An embedded model, a model folder or a hub id.")
    ] = "emoji",
    count: Annotated[int, typer.Option("-n", min=1, help="Pictures of each prompt.")] = 1,
    seed: Annotated[int, typer.Option(help="Same seed, same picture; -n counts on from it.")] = 0,
    size: Size = None,
    steps: Steps = None,
    guidance: Guidance = None,
    negative: Annotated[str | None, typer.Option(help="What to steer away from.")] = None,
    sampler: Sampler = None,
    transparent: Annotated[
        bool, typer.Option("--transparent", help="Take the picture off its ground: RGBA.")
    ] = False,
    out: Annotated[Path, typer.Option(help="A file, or a folder for named files.")] = Path("."),
    trace: Annotated[
        Path | None, typer.Option(help="Write the strip of noise becoming image.")
    ] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Draw pictures from prompts."""
    from openimagen import pictures
    from openimagen.config import per_stage
    from openimagen.progress import progress_bar

    request = pictures.Request(
        prompts=prompts,
        count=count,
        seed=seed,
        size=size,
        steps=per_stage("--steps", steps, int),
        guidance=per_stage("--guidance", guidance, float),
        negative=negative,
        sampler=sampler,
        transparent=transparent,
        trace=trace,
    )
    with progress_bar("drawing", "steps") as advance:
        drawn = pictures.draw(model, request, out, device, advance)
    if as_json:
        typer.echo(json.dumps([vars(picture) for picture in drawn], indent=1))
    else:
        for picture in drawn:
            typer.echo(f"{picture.file}  {picture.size}x{picture.size}  seed {picture.seed}")
        if drawn[0].trace:
            typer.echo(f"{drawn[0].trace}  trace")


@app.command()
def models(as_json: Json = False) -> None:
    """List the models inside the package."""
    from openimagen.pictures import describe_models

    rows = describe_models()
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
    for row in rows if not as_json else ():
        sizes = ", ".join(map(str, row["sizes"]))
        typer.echo(f"{row['name']}  {sizes} pixels  {row['licence']}")
