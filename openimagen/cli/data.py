"""Make and look at captioned pictures."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from openimagen.cli.commands import Device, Json, data_app


@data_app.command()
def icons(
    out: Annotated[Path, typer.Argument(help="Folder for the pictures.")],
    styles: Annotated[
        str | None, typer.Option(help="Comma-separated sets; the corpus's ten if left out.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option(help="A tarball of @iconify/json, or a folder of set tarballs.")
    ] = None,
    side: Annotated[
        int, typer.Option(min=8, help="Pixels; 256, for all but the last stage, is far quicker.")
    ] = 1024,
    limit: Annotated[int | None, typer.Option(min=1, help="Icons per set.")] = None,
    as_json: Json = False,
) -> None:
    """Build the illustration corpus: about 10,000 captioned icons in ten styles."""
    from openimagen.data.icons import build
    from openimagen.progress import progress_bar

    with progress_bar("drawing icons", "icons") as advance:
        report = build(
            out,
            styles=None if styles is None else styles.split(","),
            source=source,
            side=side,
            limit=limit,
            on_progress=advance,
        )
    typer.echo(json.dumps(asdict(report), indent=1) if as_json else str(report))


@data_app.command()
def check(
    path: Annotated[
        str, typer.Argument(help="A folder of captioned pictures or shards, or {000..099}.tar.")
    ],
    sheet: Annotated[
        Path | None, typer.Option(help="Write a contact sheet of some pictures: a PNG file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Look through a data set: sizes, captions, what is broken and what is double."""
    from openimagen.data.check import check as look
    from openimagen.progress import progress_bar

    with progress_bar("checking", "pictures") as advance:
        report = look(Path(path), sheet, advance)
    if as_json:
        typer.echo(json.dumps(report.as_json(), indent=1, ensure_ascii=False))
    else:
        typer.echo(report)
        if sheet:
            typer.echo(f"{sheet}  contact sheet")


@data_app.command()
def embed(
    path: Annotated[
        str, typer.Argument(help="A folder of captioned pictures or shards, or {000..099}.tar.")
    ],
    encoder: Annotated[
        str | None,
        typer.Option(help="minilm, a folder or a hub id; NAME:128 cuts captions to 128 tokens."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Take the encoder from a recipe, and embed its prompts too.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change the recipe.")
    ] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Embed all captions once, next to the data: training then loads no text encoder."""
    from openimagen import recipes
    from openimagen.config import TextConfig
    from openimagen.embed import embed as write
    from openimagen.embeddings import parse, prompts_of
    from openimagen.progress import progress_bar

    if recipe is None and settings:
        raise ValueError("--set changes a recipe: give --recipe too")
    if recipe is not None and encoder is not None:
        raise ValueError("--recipe names its encoder: leave --encoder out")
    text, prompts = TextConfig() if encoder is None else parse(encoder), list[str]()
    if recipe is not None:
        plan = recipes.override(recipes.load(recipe), settings or [])
        text, prompts = plan.model.text, prompts_of(plan, plan.train)
    with progress_bar("embedding captions", "pictures") as advance:
        done = write(Path(path), text, prompts, device, advance)
    typer.echo(json.dumps(asdict(done), indent=1) if as_json else str(done))
