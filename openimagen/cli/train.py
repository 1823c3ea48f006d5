"""Train a recipe."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from openimagen.cli.commands import DONE, FAILED, Device, app, say, speaks


@app.command()
def train(
    recipe: Annotated[
        str, typer.Argument(help="A recipe's name, as tiny or own_folder, or a .py file.")
    ],
    data: Annotated[Path, typer.Option(help="Captioned pictures: a folder, or shards.")],
    out: Annotated[Path, typer.Option(help="Where the run lives.")],
    stage: Annotated[str, typer.Option(help="A stage's name, or all in turn.")] = "all",
    images: Annotated[int | None, typer.Option(min=1, help="Pictures to see, per stage.")] = None,
    init: Annotated[
        str | None, typer.Option(help="Start from this embedded model, model folder or hub id.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change the recipe.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes that read pictures; found by itself if left out."),
    ] = None,
    device: Device = None,
) -> None:
    """Train a recipe's stages on your pictures; the result is a model folder, OUT/export.

    On several GPUs: torchrun --nproc-per-node 8 -m openimagen train ...
    """
    with _ending_on_sigterm(out):
        from openimagen import recipes
        from openimagen.model_folder import find_model
        from openimagen.train.loop import Diverged, Interrupted
        from openimagen.train.run import train as run

        plan = recipes.load(recipe)
        lengths = [f"train.{name}.images={images}" for name in plan.train if images is not None]
        plan = recipes.override(plan, [*lengths, *(settings or [])])
        start = find_model(init) if init else None
        try:
            folder = run(
                plan,
                data,
                out,
                stage=stage,
                init=start,
                resume=resume,
                device=device,
                workers=workers,
            )
        except Interrupted as stopped:
            if speaks():
                say(stopped)
        except Diverged as error:
            say(error)
            raise typer.Exit(FAILED) from None
        else:
            if speaks():
                typer.echo(folder)


@contextmanager
def _ending_on_sigterm(run: Path) -> Iterator[None]:
    """End well where there is nothing to save: before, between and after the steps of a run.

    At once, as all that is on disk is whole at any time: what is raised from a signal's handler may
    meet code of torch's that aborts.
    """

    def end(number: int, frame: object) -> None:
        then = "--resume goes on" if (run / "config.json").exists() else "nothing is begun yet"
        if speaks():  # past what may be half written to sys.stderr
            os.write(2, f"openimagen: stopped; {then}\n".encode())
        os._exit(DONE)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
