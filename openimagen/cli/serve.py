"""Serve a model: the studio for browsers, OpenAI's image API for programs."""

from pathlib import Path
from typing import Annotated

import typer

from openimagen.cli.commands import Device, app


@app.command()
def serve(
    model: Annotated[
        str | None, typer.Option(help="An embedded model, a model folder or a hub id. [emoji]")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to serve at; 0.0.0.0 for all. [127.0.0.1]")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="0 finds a free one. [8000]")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file of settings; flags win over it.")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(help="Who may draw: a file of name:sha256 of a key.")
    ] = None,
    add_key: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Make a key, print it this once, and end."),
    ] = None,
    is_open: Annotated[
        bool | None,
        typer.Option("--open", help="Let everybody draw who reaches a --host of many."),
    ] = None,
    device: Device = None,
    replicas: Annotated[
        int | None, typer.Option(min=1, help="Workers, each on a device of its own. [1]")
    ] = None,
    ray: Annotated[
        bool | None, typer.Option("--ray", help="Spread the replicas over a Ray cluster.")
    ] = None,
) -> None:
    """Serve the studio and the API until Ctrl-C."""
    try:
        from openimagen.serve.config import read_config
        from openimagen.serve.keys import add_key as make_key
    except ModuleNotFoundError as error:
        raise ValueError(f"{error.name} is missing: pip install 'openimagen[serve]'") from None

    flags = {"model": model, "host": host, "port": port, "keys": keys, "device": device}
    more = {"open": is_open, "replicas": replicas, "ray": ray}
    settings = read_config(config, flags | more)
    if add_key is not None:
        if settings.keys is None:
            raise ValueError("--add-key needs the file to write to: give --keys FILE")
        typer.echo(make_key(settings.keys, add_key))
        return
    if settings.ray:
        from openimagen.serve.on_ray import serve as run
    else:
        from openimagen.serve.run import serve as run
    run(settings, typer.echo)
