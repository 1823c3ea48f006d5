"""The command itself: its groups, its version, its errors in one line."""

import os
import re
import sys
import warnings
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from openimagen import __version__

if TYPE_CHECKING:
    from openimagen.evaluate.drawing import SamplingOverrides

DONE, FAILED, WRONG_REQUEST = 0, 1, 2
NO_MEMORY = re.compile("[Tt]ried to allocate ([0-9.]+ [A-Za-z]+)")  # so says torch
LESS_MEMORY = (
    "draw fewer pictures at once (-n) or smaller ones (--size), train a batch in parts (--set "
    "train.STAGE.accumulate=4), or take --device cpu"
)
Device = Annotated[str | None, typer.Option(help="cuda, mps or cpu; found by itself if left out.")]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same pictures.")]
Size = Annotated[int | None, typer.Option(help="Side in pixels, one of the stages'.")]
Steps = Annotated[str | None, typer.Option(help="For every stage, or one each: 16,8,4.")]
Guidance = Annotated[
    str | None,
    typer.Option(help="Weight of the text; 1 is off. For every stage, or one each: 4,1,1."),
]
Sampler = Annotated[str | None, typer.Option(help="ddpm, ddim, dpmpp_2m or heun.")]
Cut = Annotated[
    bool, typer.Option("--cut", help="Cut prompts that are too long, instead of refusing them.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


class Commands(TyperGroup):
    """Commands whose errors and warnings are one line each on stderr, never a traceback.

    Exit status: 1 the work failed (OSError, or a device without memory), 2 the request was wrong
    (ValueError, or a command line that cannot be parsed).
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
            except (NotADirectoryError, FileExistsError) as error:
                say(f"{error.filename} is, or lies in, a file: name a folder that can be made")
                status = WRONG_REQUEST
            except (ValueError, OSError) as error:
                say(error)
                status = FAILED if isinstance(error, OSError) else WRONG_REQUEST
            except RuntimeError as error:
                if (wanted := NO_MEMORY.search(str(error))) is None:
                    raise
                say(f"out of memory, {wanted[1]} more were wanted: {LESS_MEMORY}")
                status = FAILED
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


def overrides(
    size: int | None, steps: str | None, guidance: str | None, sampler: str | None
) -> "SamplingOverrides":
    """How a model is to draw, from what was typed."""
    from openimagen.config import per_stage
    from openimagen.evaluate.drawing import SamplingOverrides

    each = per_stage("--steps", steps, int), per_stage("--guidance", guidance, float)
    return SamplingOverrides(size, *each, sampler)


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
