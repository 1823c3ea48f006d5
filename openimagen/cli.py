"""The `openimagen` command. Each command parses, calls the library once, and reports.

Torch and everything that needs it is imported inside the commands: `--help` must not wait for it.
"""

import json
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from openimagen import __version__

DONE, FAILED, WRONG_REQUEST = 0, 1, 2
Device = Annotated[str | None, typer.Option(help="cuda, mps or cpu; found by itself if left out.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


class Commands(TyperGroup):
    """Commands whose errors and warnings are one line each on stderr, never a traceback.

    Exit status: 1 the work failed (OSError), 2 the request was wrong (ValueError, or a command
    line that cannot be parsed).
    """

    def main(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401  (as typer has it)
        """Run the command line and exit."""
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: say(message) if speaks() else None
            try:
                status = super().main(*args, **options | {"standalone_mode": False})
            except typer.TyperException as error:
                say_usage(error)
                status = error.exit_code
            except (ValueError, OSError) as error:
                say(error)
                status = FAILED if isinstance(error, OSError) else WRONG_REQUEST
        sys.exit(status or DONE)


def say(message: object) -> None:
    """One line on stderr."""
    rank = os.environ.get("RANK", "0")
    who = "openimagen" if rank == "0" else f"openimagen, rank {rank}"
    typer.echo(f"{who}: {' '.join(str(message).split())}", err=True)


def speaks() -> bool:
    """Whether this is the first process of its machine: the others have the same to say."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def say_usage(error: typer.TyperException) -> None:
    """What is wrong with the command line, and whose help to ask."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "openimagen"
    if message := error.format_message().rstrip("."):  # none where the help was shown instead
        say(f"{message[0].lower()}{message[1:]} (see {command} --help)")


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Text to image with Imagen's cascade: 64 -> 256 -> 1024 pixels, offline.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(no_args_is_help=True, help="Make and look at captioned pictures.")
app.add_typer(data_app, name="data")
evaluate_app = typer.Typer(no_args_is_help=True, help="Measure pictures; let people judge them.")
app.add_typer(evaluate_app, name="evaluate")


def _print_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"openimagen {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def main(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version."
        ),
    ] = False,
) -> None:
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
    """Build the illustration corpus: about 8,300 captioned icons in seven styles."""
    from openimagen.data.icons import build
    from openimagen.progress import progress_bar

    with progress_bar("drawing icons", "icons") as advance:
        report = build(
            out,
            styles=None if styles is None else styles.split(","),
            source=source,
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


@evaluate_app.command()
def rate(
    folder: Annotated[Path, typer.Argument(help="A study: study.json and its pictures.")],
    host: Annotated[str, typer.Option(help="Address to serve at; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 finds a free one.")] = 8001,
    url: Annotated[
        str | None, typer.Option(help="What raters open, if they come through a proxy.")
    ] = None,
    invite: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Print a rater's link and end; again, a new link."),
    ] = None,
    results: Annotated[bool, typer.Option("--results", help="Count the votes and end.")] = False,
    chart: Annotated[Path | None, typer.Option(help="Write the bar chart: a PNG file.")] = None,
    all_raters: Annotated[
        bool, typer.Option("--all-raters", help="Count those who failed the controls, too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Let people judge the pictures of a study in their browsers; count what they say."""
    from openimagen.evaluate.study.run import Door, count_votes, invite_raters, serve

    door = Door(host, port, url)
    if results or chart:
        found = count_votes(folder, chart, keep_failed=all_raters)
        typer.echo(json.dumps(found.as_json(), indent=1) if as_json else str(found))
        if chart and not as_json:
            typer.echo(f"{chart}  chart")
    elif invite:
        links = invite_raters(folder, invite, door)
        rows = (f"{name}  {link}" for name, link in links.items())
        typer.echo(json.dumps(links, indent=1) if as_json else "\n".join(rows))
    elif as_json:
        raise ValueError("--json prints a result: use it with --results or --invite")
    else:
        serve(folder, door, typer.echo)


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
