"""The `openimagen` command. Each command parses, calls the library once, and reports.

Torch and everything that needs it is imported inside the commands: `--help` must not wait for it.
"""

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

app = typer.Typer(
    no_args_is_help=True,
    help="Text to image with Imagen's cascade: 64 -> 256 -> 1024 pixels, offline.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(no_args_is_help=True, help="Make and look at captioned pictures.")
app.add_typer(data_app, name="data")

DONE, FAILED, WRONG_REQUEST = 0, 1, 2
Device = Annotated[str | None, typer.Option(help="cuda, mps or cpu; found by itself if left out.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn a wrong request (ValueError), a failure (OSError) and warnings into a line each."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: _say(message)
        try:
            yield
        except (ValueError, OSError) as error:
            _say(error)
            raise typer.Exit(FAILED if isinstance(error, OSError) else WRONG_REQUEST) from None


def _say(message: Warning | Exception | str) -> None:
    typer.echo(f"openimagen: {' '.join(str(message).split())}", err=True)


@app.callback()
def main() -> None:
    """Text to image."""


@app.command()
def generate(
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...", help="What to draw.")],
    model: Annotated[
        str, typer.Option(help="An embedded model, a model folder or a hub id.")
    ] = "emoji",
    count: Annotated[int, typer.Option("-n", min=1, help="Pictures of each prompt.")] = 1,
    seed: Annotated[int, typer.Option(help="Same seed, same picture; -n counts on from it.")] = 0,
    size: Annotated[int | None, typer.Option(help="Side in pixels, one of the stages'.")] = None,
    steps: Annotated[str | None, typer.Option(help="For every stage, or one each: 16,8,4.")] = None,
    guidance: Annotated[
        str | None,
        typer.Option(help="Weight of the text; 1 is off. For every stage, or one each: 4,1,1."),
    ] = None,
    negative: Annotated[str | None, typer.Option(help="What to steer away from.")] = None,
    sampler: Annotated[str | None, typer.Option(help="ddpm, ddim, dpmpp_2m or heun.")] = None,
    out: Annotated[Path, typer.Option(help="A file, or a folder for named files.")] = Path("."),
    trace: Annotated[
        Path | None, typer.Option(help="Write the strip of noise becoming image.")
    ] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Draw pictures from prompts."""
    with plain_errors():
        from openimagen import pictures

        request = pictures.Request(
            prompts=prompts,
            count=count,
            seed=seed,
            size=size,
            steps=_numbers("--steps", steps, int),
            guidance=_numbers("--guidance", guidance, float),
            negative=negative,
            sampler=sampler,
            trace=trace,
        )
        with _bar("drawing") as advance:
            drawn = pictures.draw(model, request, out, device, advance)
        if as_json:
            typer.echo(json.dumps([vars(picture) for picture in drawn], indent=1))
        else:
            for picture in drawn:
                typer.echo(f"{picture.file}  {picture.size}x{picture.size}  seed {picture.seed}")


def _numbers(flag: str, text: str | None, kind: Callable[[str], Any]) -> list[Any] | None:
    if text is None:
        return None
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(
            f"{flag} {text}: write one number, or one per stage as in 16,8,4"
        ) from None


@app.command()
def models(as_json: Json = False) -> None:
    """List the models inside the package."""
    with plain_errors():
        from openimagen.pictures import describe_models

        rows = describe_models()
        if as_json:
            typer.echo(json.dumps(rows, indent=1))
        else:
            for row in rows:
                typer.echo("  ".join(map(str, row.values())))


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name (tiny, emoji) or a .py file.")],
    data: Annotated[Path, typer.Option(help="Folder of captioned pictures.")],
    out: Annotated[Path, typer.Option(help="Where the run lives.")],
    stage: Annotated[str, typer.Option(help="A stage's name, or all in turn.")] = "all",
    images: Annotated[int | None, typer.Option(min=1, help="Pictures to see, per stage.")] = None,
    init: Annotated[Path | None, typer.Option(help="Model folder to start from.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change the recipe.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    device: Device = None,
) -> None:
    """Train a recipe's stages on your pictures; the result is a model folder, OUT/export."""
    with plain_errors():
        from openimagen import recipes
        from openimagen.train.loop import Interrupted
        from openimagen.train.run import train as run

        plan = recipes.load(recipe)
        if images is not None:
            every = [f"train.{name}.images={images}" for name in plan.train]
            plan = recipes.override(plan, every)
        plan = recipes.override(plan, settings or [])
        try:
            folder = run(plan, data, out, stage=stage, init=init, resume=resume, device=device)
        except Interrupted as stopped:
            typer.echo(str(stopped), err=True)
            return
        typer.echo(folder)


@data_app.command()
def icons(
    out: Annotated[Path, typer.Argument(help="Folder for the pictures.")],
    styles: Annotated[
        str | None, typer.Option(help="Comma-separated sets; all seven if left out.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option(help="A tarball of @iconify/json, or a folder of set tarballs.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Icons per set.")] = None,
    as_json: Json = False,
) -> None:
    """Build the illustration corpus: about 8,500 captioned icons in seven styles."""
    with plain_errors():
        from openimagen.data.icons import build

        with _bar("drawing icons") as advance:
            report = build(
                out,
                styles=styles.split(",") if styles else None,
                source=source,
                limit=limit,
                on_progress=advance,
            )
        typer.echo(report)


@contextmanager
def _bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr, silent when stderr is no terminal."""
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
