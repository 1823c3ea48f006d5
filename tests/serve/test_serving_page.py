"""What docs/serving.md gives one to copy is what the server takes."""

import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import typer
from pydantic import BaseModel
from servers import MakeClient

from openimagen.cli import app
from openimagen.serve import config as config_module
from openimagen.serve.config import ServeConfig, read_config

PAGE = (Path(__file__).parents[2] / "docs/serving.md").read_text()


def block(kind: str) -> str:
    """The page's one block of a kind."""
    (text,) = re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
    return text


def accepted(words: list[str]) -> bool:
    """Whether the command takes these words; an exception says why not."""
    command = typer.main.get_command(app).commands[words[0]]  # type: ignore[attr-defined]
    with command.make_context("openimagen", words[1:]):
        return True


def settings_of(model: type[BaseModel]) -> dict[str, object]:
    """Every key with its default; None is left out."""
    found = {}
    for name, field in model.model_fields.items():
        value = field.default
        found[name] = settings_of(type(value)) if isinstance(value, BaseModel) else value
    return found


def test_the_settings_are_all_there_with_their_defaults(tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text(block("toml"))
    assert read_config(file, {}) == ServeConfig()
    file.write_text(re.sub(r"^# (?=\w+ = )", "", block("toml"), flags=re.MULTILINE))
    assert read_config(file, {})
    told, there = tomllib.loads(file.read_text()), settings_of(ServeConfig)
    assert set(told) == set(there)
    for name in ("limits", "safety"):
        assert set(told[name]) == set(there[name])  # type: ignore[call-overload]


def test_the_container_s_command_is_accepted() -> None:
    lines = dict(re.findall(r"^(ENTRYPOINT|CMD) \[(.*)\]$", block("dockerfile"), re.MULTILINE))
    words = [word.strip(' "') for word in f"{lines['ENTRYPOINT']},{lines['CMD']}".split(",")]
    assert words[0] == "openimagen" and accepted(words[1:])


def test_the_unit_s_command_is_accepted(tmp_path: Path) -> None:
    unit = block("ini")
    (line,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    command, *words = shlex.split(line)
    assert command.endswith("/openimagen") and accepted(words)
    limit = re.search(r"TimeoutStopSec=(\d+)", unit)
    assert limit and int(limit[1]) > ServeConfig().limits.drain
    if (checker := shutil.which("systemd-analyze")) is not None:
        file = tmp_path / "openimagen.service"
        file.write_text(unit.replace(command, "/bin/true"))
        words = [checker, "verify", str(file)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert "openimagen.service" not in done.stderr, done.stderr


def test_the_proxy_s_settings_are_taken(tmp_path: Path) -> None:
    (lines,) = re.findall(r"((?:^ {4}(?:url|proxies|keys) = .*\n)+)", PAGE, re.MULTILINE)
    file = tmp_path / "serve.toml"
    file.write_text(re.sub(r"^ +", "", lines, flags=re.MULTILINE))
    assert read_config(file, {}).proxies == ("127.0.0.1",)


def test_the_metrics_are_all_there(client_of: MakeClient) -> None:
    told = client_of().get("/metrics").text
    there = set(re.findall(r"^# TYPE (openimagen_\w+) ", told, re.MULTILINE))
    there = {name for name in there if not name.endswith("_created")}  # when counting began
    assert there == set(re.findall(r"`(openimagen_\w+)`", PAGE))


ERRORS = PAGE[PAGE.index("| status |") : PAGE.index("## For others")]


@pytest.mark.parametrize("code", re.findall(r"`([a-z_]+)`", ERRORS))
def test_codes_are_the_server_s_own(code: str) -> None:
    sources = Path(config_module.__file__).parent.glob("*.py")
    assert code == "param" or any(f'"{code}"' in source.read_text() for source in sources)
