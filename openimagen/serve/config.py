"""What `openimagen serve` is told: a TOML file, and flags that win over it."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, ValidationError, field_validator

from openimagen.config import Config, Positive, PositiveFloat
from openimagen.door import Safety
from openimagen.serve.errors import first_problem

MEGABYTE = 2**20
HERE = ("127.0.0.1", "::1", "localhost")


class Limits(Config):
    """How much one may ask for, and hold."""

    upload_bytes: Positive = 32 * MEGABYTE  # of a request with pictures
    json_bytes: Positive = MEGABYTE // 16  # of one without
    pixels: Positive = 4096 * 4096  # of an uploaded picture; more is refused before decoding
    uploads: Positive = 16  # at once, from their first byte until they are decoded
    upload_seconds: PositiveFloat = 60.0  # that a body may take to arrive
    steps: Positive = 256  # of a stage
    rate: PositiveFloat | None = (
        None  # pictures a minute, for each key or address; None is no limit
    )
    burst: Positive = 20  # pictures at once, before the rate counts
    waiting: Positive = 64  # pictures in the queue
    batch: Positive | None = None  # pictures drawn at once; None is 8, on a CPU 1
    deadline: PositiveFloat = 300.0  # seconds until a picture that was not drawn is given up
    drain: PositiveFloat = 120.0  # seconds that accepted work has after SIGTERM
    link_bytes: Positive = 256 * MEGABYTE  # of pictures kept for response_format "url"
    link_seconds: PositiveFloat = 3600.0  # that each is kept


class ServeConfig(Config):
    """A server. Paths are relative to the folder it is started in."""

    model: str = "emoji"  # an embedded model, a model folder or a hub id
    aliases: tuple[str, ...] = ()  # other names that clients may call it by, as in "dall-e-2"
    device: str | None = None
    replicas: Positive = 1  # workers: one on each GPU from `device` on, or on each machine of Ray's
    ray: bool = False  # replicas are spread over a Ray cluster
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    url: str | None = None  # what clients call, if they come through a proxy
    proxies: tuple[str, ...] = ()  # addresses that are believed whom they forward for
    keys: Path | None = None  # file of name:sha256; None: everybody may draw
    open: bool = False  # serve others than this machine without keys
    log_prompts: bool = False
    limits: Limits = Limits()
    safety: Safety = Safety()

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError("write it whole, as in https://pictures.example.org")
        return None if url is None else url.rstrip("/")

    @property
    def keeps_links(self) -> bool:
        """Whether a link comes back to where its picture is kept."""
        return not self.ray or self.replicas == 1

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in HERE


def read_config(path: Path | None, flags: Mapping[str, Any]) -> ServeConfig:
    """The file's settings, if there is one, and over them the flags that were given (not None).

    Types are JSON's, and strict: "8765" is no port, "yes" is not true, a path is a string.
    Raises ValueError, in one line, naming the key that is wrong.
    """
    settings: dict[str, Any] = {}
    if path is not None:
        try:
            settings = tomllib.loads(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ValueError(f"{path}: {reason}; it must be a TOML file") from None
    settings |= {key: value for key, value in flags.items() if value is not None}
    try:
        return ServeConfig.model_validate_json(json.dumps(settings, default=str), strict=True)
    except ValidationError as error:
        where, why, kind = first_problem(error, known_keys(ServeConfig, error))
        wrong = (
            f"{where}: no such setting, {why}" if kind == "extra_forbidden" else f"{where}: {why}"
        )
        raise ValueError(f"{path or 'serve'}: {wrong}") from None


def known_keys(model: type[BaseModel], error: ValidationError) -> list[str]:
    """The keys that could have been meant where the first stranger stands."""
    strangers = [one for one in error.errors() if one["type"] == "extra_forbidden"]
    for key in strangers[0]["loc"][:-1] if strangers else ():
        inner = model.model_fields[str(key)].annotation
        assert isinstance(inner, type) and issubclass(inner, BaseModel)
        model = inner
    return list(model.model_fields)


def check_exposure(config: ServeConfig) -> list[str]:
    """What to warn of. ValueError for a server open to others that was not told to be."""
    if (way := way_in(config)) is None:
        return []
    if config.keys is None and not config.open:
        raise ValueError(
            f"{way} lets others draw: give --keys FILE (make one with --add-key NAME), "
            "or --open to let everybody"
        )
    warnings = []
    if config.keys is None:
        warnings.append("everybody who reaches it may draw: there are no keys")
    if config.limits.rate is None:
        warnings.append("no rate is set: [limits] rate = 60 allows each 60 pictures a minute")
    if config.url is None or config.url.startswith("http://"):
        warnings.append("pictures, prompts and keys travel unencrypted: put a TLS proxy before it")
    return warnings


def way_in(config: ServeConfig) -> str | None:
    """The setting by which others reach it, if any: its host, or a proxy's address."""
    if not config.is_local:
        return f"--host {config.host}"
    if config.url is not None and urlsplit(config.url).hostname not in HERE:
        return f"url {config.url}"
    return None
