"""Let people judge pictures: make a study, serve it."""

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

Study = Annotated[Path, typer.Option(help="Folder for the study and its pictures.")]
Squares = Annotated[
    int | None, typer.Option("--side", min=1, help="Pixels of the squares that raters see.")
]


@evaluate_app.command()
def drawbench(
    model: Annotated[str, typer.Argument(help="An embedded model, a model folder or a hub id.")],
    prompts: Annotated[
        str, typer.Option(help="DrawBench or another .csv, .tsv, .jsonl or .txt of prompts.")
    ],
    out: Study,
    against: Annotated[
        str | None,
        typer.Option(help="Another model, or a folder of pictures captioned with the prompts."),
    ] = None,
    names: Annotated[
        str | None, typer.Option(help="What results call the two: ours,theirs.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, max=8, help="Pictures a prompt.")] = 8,
    categories: Annotated[str | None, typer.Option(help="Only these, as in Colors,Text.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Prompts a category.")] = None,
    seed: Seed = 0,
    size: Size = None,
    steps: Steps = None,
    guidance: Guidance = None,
    sampler: Sampler = None,
    side: Squares = None,
    cut: Cut = False,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Draw the paper's study: two models, 8 pictures a prompt, for `evaluate rate` to serve.

    Without --against one model draws alone, with contact sheets. Again, it goes on where it was.
    Several processes share the work if each is told its RANK and WORLD_SIZE.
    """
    from openimagen.device import find_device
    from openimagen.evaluate.drawbench import Order
    from openimagen.evaluate.drawbench import drawbench as make
    from openimagen.evaluate.drawing import Shard
    from openimagen.evaluate.prompts import read_prompts, selected
    from openimagen.progress import progress_bar

    ours, _, theirs = (names or "").partition(",")
    if names and not (ours.strip() and theirs.strip()):
        raise ValueError(f"--names {names}: write two names, as in ours,theirs")
    only = None if categories is None else categories.split(",")
    chosen = selected(read_prompts(Path(prompts)), only, limit)
    ways = overrides(size, steps, guidance, sampler)
    order = Order(model, out, ways, seed, side, cut, find_device(device))
    made = make(
        order,
        chosen,
        against=against,
        names=(ours.strip(), theirs.strip()) if names else None,
        samples=samples,
        watch=progress_bar,
        shard=Shard.of_environment(),
    )
    typer.echo(json.dumps(made.figures(), indent=1) if as_json else str(made))


@evaluate_app.command()
def realism(
    model: Annotated[str, typer.Argument(help="An embedded model, a model folder or a hub id.")],
    real: Annotated[
        Path, typer.Option(help="COCO with its val2014, or a folder of captioned pictures.")
    ],
    out: Study,
    pairs: Annotated[int, typer.Option(min=1, help="Real pictures, by lot.")] = 200,
    per_rater: Annotated[int, typer.Option(min=1, help="Pairs that one rater sees.")] = 50,
    name: Annotated[str | None, typer.Option(help="What results call the model.")] = None,
    seed: Seed = 0,
    size: Size = None,
    steps: Steps = None,
    guidance: Guidance = None,
    sampler: Sampler = None,
    side: Squares = None,
    cut: Cut = False,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Draw the paper's study on COCO: one drawn picture beside a real one, for `evaluate rate`."""
    from openimagen.device import find_device
    from openimagen.evaluate.drawbench import Order
    from openimagen.evaluate.drawbench import realism as make
    from openimagen.evaluate.drawing import Shard
    from openimagen.progress import progress_bar

    ways = overrides(size, steps, guidance, sampler)
    order = Order(model, out, ways, seed, side, cut, find_device(device))
    made = make(
        order,
        real,
        pairs=pairs,
        per_rater=per_rater,
        name=name,
        watch=progress_bar,
        shard=Shard.of_environment(),
    )
    typer.echo(json.dumps(made.figures(), indent=1) if as_json else str(made))


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
