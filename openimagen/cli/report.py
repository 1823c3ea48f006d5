"""Report a model: all that can be measured of it, in one page."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from openimagen import __version__
from openimagen.cli.commands import Cut, Device, Json, evaluate_app


@evaluate_app.command()
def report(
    model: Annotated[str, typer.Argument(help="An embedded model, a model folder or a hub id.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the page; report-MODEL if left out.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Captioned pictures that it was trained on.")
    ] = None,
    unseen: Annotated[
        Path | None, typer.Option(help="Others of the same names, which it was not trained on.")
    ] = None,
    scenes: Annotated[
        Path | None, typer.Option(help="Icons with alpha, to ask for scenes of.")
    ] = None,
    icons: Annotated[
        Path | None,
        typer.Option(
            help="Instead: the corpus of `data icons`, of which it was trained on a part."
        ),
    ] = None,
    clip: Annotated[str | None, typer.Option(help="A CLIP: a folder or hub id.")] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="What to draw; captions of --data if left out.")
    ] = None,
    names: Annotated[int, typer.Option(min=1, help="Captions of --data to draw.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice, and of the first picture.")] = 0,
    size: Annotated[
        int | None, typer.Option(help="Side to measure at, a stage's; the first's if left out.")
    ] = None,
    side: Annotated[
        int | None, typer.Option(min=8, help="Bring every picture to this side first.")
    ] = None,
    cut: Cut = False,
    timed: Annotated[bool, typer.Option("--speed/--no-speed", help="Time the drawing.")] = True,
    hourly: Annotated[
        float | None, typer.Option(min=0, help="Price of this machine, for what pictures cost.")
    ] = None,
    card: Annotated[
        list[Path] | None,
        typer.Option(help="Put the tables into this README or model card, between its marks."),
    ] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """All that can be measured of a model, in one page that needs no network."""
    from openimagen.device import find_device
    from openimagen.evaluate.drawing import load_model
    from openimagen.evaluate.prompts import read_prompts
    from openimagen.evaluate.report import run, table
    from openimagen.evaluate.report.request import Request
    from openimagen.imagen import Imagen
    from openimagen.progress import progress_bar

    if icons and (data or unseen or scenes or prompts or clip):
        raise ValueError(
            "--icons has pictures and prompts of its own: leave --data, --unseen, --scenes, "
            "--prompts and --clip out"
        )
    for path in card or []:
        table.check_place(path)
    measured = load_model(model, find_device(device))
    asked = Request(
        model=measured,
        out=out or Path(f"report-{Path(model).name}"),
        data=data,
        unseen=unseen,
        scenes=scenes,
        icons=icons,
        clip=clip,
        prompts=None if prompts is None else read_prompts(prompts),
        names=names,
        seed=seed,
        size=size,
        side=side,
        cut=cut,
        draw=Imagen(measured.cascade).draw_file if timed else None,
        hourly=hourly,
        version=__version__,
        command=shlex.join(["openimagen", *sys.argv[1:]]),
    )
    found, page = run.report(asked, progress_bar)
    for path in card or []:
        table.put_into(path, found)
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
    else:
        typer.echo(table.markdown(found))
        typer.echo(f"{page}  report")
