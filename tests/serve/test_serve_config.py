"""Settings: a file, flags over it, and one line for whatever is wrong."""

from pathlib import Path

import pytest
from servers import MakeClient

from openimagen.serve.config import ServeConfig, check_exposure, read_config


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "serve.toml"
    path.write_text(
        'model = "mine"\nport = 9000\nkeys = "keys.txt"\n[limits]\nrate = 60\n'
        "[safety]\nreal_people = true\n"
    )
    return path


def test_flags_win_over_the_file_and_the_file_over_defaults(file: Path) -> None:
    config = read_config(file, {"port": 9001, "host": None})
    assert (config.model, config.port, config.host) == ("mine", 9001, "127.0.0.1")
    assert (config.limits.rate, config.limits.waiting, config.keys) == (60.0, 64, Path("keys.txt"))
    assert config.safety.real_people and config.safety.watermark
    assert read_config(None, {}) == ServeConfig()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("prot = 1", "prot: no such setting, did you mean port"),
        ("zzz = 1", "zzz: no such setting"),
        ("[limits]\nbrust = 1", "limits.brust: no such setting, did you mean burst"),
        ("[safety]\nwater_mark = false", "safety.water_mark: .* did you mean watermark"),
        ("port = 70000", "port: Input should be less than"),
        ('port = "many"', "port: "),
        ("[limits]\nrate = 0", "limits.rate: "),
        ('url = "pictures.example"', "url: write it whole"),
        ('port = "8765"', "port: Input should be a valid integer"),
        ('open = "yes"', "open: Input should be a valid boolean"),
        ("open = 1", "open: Input should be a valid boolean"),
        ("host = 1", "host: Input should be a valid string"),
        ('[limits]\nuploads = "3"', "limits.uploads: Input should be a valid integer"),
        ("[limits]\nrate = true", "limits.rate: "),
        ("[limits]\nrate = nan", "limits.rate: "),
        ("[limits]\ndrain = inf", "limits.drain: "),
        ("keys = 3", "keys: "),
        ("aliases = 'x'", "aliases: "),
        ("port =", "must be a TOML file"),
        ("port = 1\nport = 2", "must be a TOML file"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "serve.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=why) as refused:
        read_config(path, {})
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        read_config(tmp_path / "none.toml", {})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "pictures.example"])
def test_others_are_let_in_only_with_keys_or_on_purpose(host: str) -> None:
    with pytest.raises(ValueError, match=r"--keys FILE .* or --open"):
        check_exposure(ServeConfig(host=host))
    warned = check_exposure(ServeConfig(host=host, open=True))
    assert "everybody" in warned[0] and len(warned) == 3
    limits = ServeConfig(host=host, keys=Path("k"), url="https://x", limits={"rate": 60})  # type: ignore[arg-type]
    assert check_exposure(limits) == []
    assert check_exposure(ServeConfig()) == []


def test_a_proxy_s_address_lets_others_in(client_of: MakeClient) -> None:
    with pytest.raises(ValueError, match=r"url https://pictures.example lets others draw"):
        check_exposure(ServeConfig(url="https://pictures.example"))
    assert check_exposure(ServeConfig(url="http://localhost:9")) == []
    client = client_of(url="https://pictures.example", open=True)
    for host, status in (("pictures.example", 200), ("evil.example", 400)):
        assert client.get("/healthz", headers={"host": host}).status_code == status
