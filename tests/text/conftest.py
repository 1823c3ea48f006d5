"""No network in the tests of text, and the encoders they share."""

import shutil
import socket
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from tiny_models import randomize, save_tokenizer, tiny_bert, tiny_clip, tiny_t5

from openimagen.config import TextConfig
from openimagen.text import TextEncoder


@pytest.fixture(autouse=True)
def attempts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """No network. The addresses asked for all the same; a test that may ask clears the list."""
    asked: list[object] = []

    def refuse(self: socket.socket, address: object) -> None:
        asked.append(address)
        raise OSError("no network in tests")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *to, **_: refuse(socket.socket(), to))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    yield asked
    assert not asked


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    @cache
    def folder(family: str) -> Path:
        path = tmp_path_factory.mktemp(family)
        build = {"t5": tiny_t5, "clip": tiny_clip, "bert": tiny_bert}[family]
        randomize(build()).save_pretrained(path)  # type: ignore[operator]
        start = {"t5": "", "clip": "<start>", "bert": "[CLS]"}[family]
        padding = "<end>" if family == "clip" else "<pad>"  # CLIP pads with its end token
        save_tokenizer(path, start, "<end>", padding)
        return path

    return folder


@pytest.fixture
def copy(tiny: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A tiny model to spoil."""
    return lambda family: Path(shutil.copytree(tiny(family), tmp_path / family))


@pytest.fixture(scope="session")
def minilm() -> TextEncoder:
    return TextEncoder.load(TextConfig(encoder="minilm", max_tokens=64))
