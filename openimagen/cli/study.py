"""Let people judge pictures."""

import json
from pathlib import Path
from typing import Annotated

import typer

from openimagen.cli.commands import Json, evaluate_app


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
