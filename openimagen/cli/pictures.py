"""Draw pictures, edit and raise them; verify what came of one; list the models that can."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openimagen.cli.commands import (
    FAILED,
    Device,
    Guidance,
    Json,
    Sampler,
    Size,
    Steps,
    app,
    say,
)

if TYPE_CHECKING:
    from openimagen.door import Safety
    from openimagen.pictures import Drawn, Request

Model = Annotated[str, typer.Option(help="An embedded model, a model folder or a hub id.")]
Count = Annotated[int, typer.Option("-n", min=1, help="Pictures of each prompt.")]
FirstSeed = Annotated[
    int, typer.Option("--seed", help="Same seed, same picture; -n counts on from it.")
]
Negative = Annotated[
    str | None,
    typer.Option(help="What to steer away from; it is drawn where guidance is below 1."),
]
Transparent = Annotated[
    bool, typer.Option("--transparent", help="Take the picture off its ground: RGBA.")
]
Out = Annotated[Path, typer.Option(help="A file, or a folder for named files.")]
Trace = Annotated[Path | None, typer.Option(help="Write the strip of noise becoming image.")]
Without = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PART",
        help="Turn a part of the door off: prompt-filter, picture-filter, watermark, credentials.",
    ),
]
Lists = Annotated[
    list[Path] | None, typer.Option(help="A file of more terms to refuse, or to allow.")
]
Source = Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture of any shape.")]


@app.command()
def generate(
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...", help="What to draw.")],
    model: Model = "emoji",
    count: Count = 1,
    seed: FirstSeed = 0,
    size: Size = None,
    steps: Steps = None,
    guidance: Guidance = None,
    negative: Negative = None,
    sampler: Sampler = None,
    transparent: Transparent = False,
    out: Out = Path("."),
    trace: Trace = None,
    without: Without = None,
    lists: Lists = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Draw pictures from prompts."""
    from openimagen import pictures
    from openimagen.config import per_stage

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
        safety=safety(without, lists),
    )
    draw(model, request, out, device, as_json)


@app.command()
def edit(
    image: Source,
    prompt: Annotated[str, typer.Argument(help="What it is to become.")] = "",
    mask: Annotated[
        Path | None,
        typer.Option(help="Of the same size: drawn anew where it is white, or transparent."),
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(help="How much may change, up to 1; 0.7, with a mask 1."),
    ] = None,
    model: Model = "emoji",
    count: Count = 1,
    seed: FirstSeed = 0,
    size: Size = None,
    steps: Steps = None,
    guidance: Guidance = None,
    negative: Negative = None,
    sampler: Sampler = None,
    transparent: Transparent = False,
    out: Out = Path("."),
    trace: Trace = None,
    without: Without = None,
    lists: Lists = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Draw a picture anew from one that is there, all of it or inside a mask.

    Without a prompt: a variation of it.
    """
    from openimagen import editing, pictures
    from openimagen.config import per_stage
    from openimagen.data.decode import load

    hole = None if mask is None else editing.load_mask(mask)
    request = pictures.Request(
        prompts=[prompt],
        count=count,
        seed=seed,
        size=size,
        steps=per_stage("--steps", steps, int),
        guidance=per_stage("--guidance", guidance, float),
        negative=negative,
        sampler=sampler,
        transparent=transparent,
        trace=trace,
        source=editing.Source(load(image), hole, strength),
        name=f"{image.stem}-edited",
        safety=safety(without, lists),
    )
    draw(model, request, out, device, as_json)


@app.command()
def upscale(
    image: Source,
    prompt: Annotated[str, typer.Option(help="What is on it, if that helps.")] = "",
    model: Model = "emoji",
    seed: Annotated[int, typer.Option(help="Same seed, same picture.")] = 0,
    size: Size = None,
    steps: Steps = None,
    out: Out = Path("."),
    without: Without = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Raise a picture to a larger size by the super-resolution stages."""
    from openimagen import editing, pictures
    from openimagen.config import per_stage
    from openimagen.data.decode import load

    request = pictures.Request(
        prompts=[prompt],
        seed=seed,
        size=size,
        steps=per_stage("--steps", steps, int),
        source=editing.Source(load(image), task="upscale"),
        name=f"{image.stem}-large",
        safety=safety(without, None),
    )
    draw(model, request, out, device, as_json)


def safety(without: list[str] | None, lists: list[Path] | None) -> "Safety":
    """What the door is to do, from what was typed."""
    from openimagen.door import PARTS, Safety

    off = [part.replace("-", "_") for part in without or ()]
    for part in off:
        if part not in PARTS:
            known = ", ".join(PARTS).replace("_", "-")
            raise ValueError(f"--without {part.replace('_', '-')}: there is {known}")
    return Safety.model_validate({"lists": lists or (), **dict.fromkeys(off, False)})


def draw(model: str, request: "Request", out: Path, device: str | None, as_json: bool) -> None:
    """Draw, and say where the pictures are. Exit status 1 if one, or the trace, was withheld."""
    from openimagen import pictures
    from openimagen.progress import progress_bar

    with progress_bar("drawing", "steps") as advance:
        drawn = pictures.draw(model, request, out, device, advance)
    report(drawn, as_json)
    for picture in drawn:
        if picture.flagged:
            say(f'"{picture.prompt[:60]}", seed {picture.seed}: {picture.flagged}')
    hides_trace = request.trace is not None and drawn[0].trace is None
    if hides_trace:
        say(f"{request.trace} was not written: it would show what the picture filter withholds")
    if hides_trace or any(picture.flagged for picture in drawn):
        raise typer.Exit(FAILED)


def report(drawn: "list[Drawn]", as_json: bool) -> None:
    """Name the pictures that were written."""
    if as_json:
        typer.echo(json.dumps([vars(picture) for picture in drawn], indent=1))
        return
    for picture in drawn:
        if picture.file:
            shape = f"{picture.width}x{picture.height}"
            typer.echo(f"{picture.file}  {shape}  seed {picture.seed}")
    if drawn[0].trace:
        typer.echo(f"{drawn[0].trace}  trace")


@app.command()
def verify(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="PNG, JPEG or WebP.")],
    anchors: Annotated[Path | None, typer.Option(help="Certificates that you trust, PEM.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model of yours whose mark is to be known: its folder or hub id."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell what a picture says of itself: its watermark, and who signed what.

    Exit status 1 if it was changed after it was signed.
    """
    from openimagen.model_folder import find_model, read_model_file
    from openimagen.verify import verify as look

    models = [read_model_file(find_model(name)).model.name for name in model or ()]
    found = look(image, anchors, models)
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=1))
    else:
        for line in found.lines():
            typer.echo(line)
    if found.credentials.status == "tampered":
        raise typer.Exit(FAILED)


@app.command()
def models(as_json: Json = False) -> None:
    """List the models inside the package."""
    from openimagen.pictures import describe_models

    rows = describe_models()
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
    for row in rows if not as_json else ():
        sizes = ", ".join(map(str, row["sizes"]))
        typer.echo(f"{row['name']}  {sizes} pixels  {row['licence']}  {row['card']}")
