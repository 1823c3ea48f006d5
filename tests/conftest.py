"""A cascade small enough to draw in a blink, and a cheap text encoder; a real browser."""

import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, sync_playwright
from torch import Tensor

from openimagen import model_folder
from openimagen.cascade import Cascade, Stage
from openimagen.config import (
    AttentionKind,
    DiffusionConfig,
    ModelConfig,
    SamplingConfig,
    StageConfig,
    UNetConfig,
)
from openimagen.text import TextEmbedding, TextEncoder, stack_rows
from openimagen.unet import UNet

TEXT_WIDTH = 12
MakeNet = Callable[[UNetConfig], UNet]


class WordEncoder:
    """A state for each word, always the same; no word at all is the null text."""

    def __init__(self) -> None:
        self.captions: list[list[str]] = []  # of each call

    def __call__(self, captions: Sequence[str]) -> TextEmbedding:
        self.captions.append(list(captions))
        rows = [torch.stack([*map(state_of, caption.split() or [""])]) for caption in captions]
        return TextEmbedding(*stack_rows(rows))


def state_of(word: str) -> Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(word.encode()))
    return torch.randn(TEXT_WIDTH, generator=generator) if word else torch.zeros(TEXT_WIDTH)


@pytest.fixture(scope="session", autouse=True)
def data_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the self-made certificate is kept: not the user's own place."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("data-home")
        patch.setenv("XDG_DATA_HOME", str(home))
        yield home


@pytest.fixture
def encoder() -> WordEncoder:
    return WordEncoder()


@pytest.fixture(scope="session")
def make_net() -> MakeNet:
    """A network as after training: no weight is zero, where a fresh one's last layers are."""

    def make(config: UNetConfig) -> UNet:
        net, generator = UNet(config), torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in net.parameters():
                scale = 0.2 if weight.ndim == 1 else weight[0].numel() ** -0.5
                random = scale * torch.randn(weight.shape, generator=generator)
                weight.copy_(random + 1 if weight.ndim == 1 and weight.all() else random)
        return net.eval().requires_grad_(False)

    return make


def tiny_stage(name: str, side: int, attention: AttentionKind) -> StageConfig:
    return StageConfig(
        name=name,
        side=side,
        unet=UNetConfig(
            arrangement="adm" if side == 16 else "efficient",
            width=8,
            multipliers=(1, 2),
            blocks=(1, 1),
            attention=("none", attention),
            patch=side // 16,
            text_width=TEXT_WIDTH,
            context_width=8,
            lowres=side > 16,
        ),
        diffusion=DiffusionConfig(prediction="v"),
        sampling=SamplingConfig(steps=3, guidance=2.0),
    )


@pytest.fixture(scope="session")
def tiny_config() -> ModelConfig:
    """Three stages, 16 -> 32 -> 64: the base's arrangement, then two Efficient U-Nets."""
    stages = [("base", 16, "fused"), ("sr32", 32, "fused"), ("sr64", 64, "cross")]
    return ModelConfig(name="tiny", stages=tuple(tiny_stage(*stage) for stage in stages))


@pytest.fixture
def tiny(tiny_config: ModelConfig, make_net: MakeNet, encoder: WordEncoder) -> Cascade:
    """The cascade of `tiny_config`, with the cheap encoder."""
    stages = [Stage(stage, make_net(stage.unet)) for stage in tiny_config.stages]
    return Cascade(tiny_config, stages, encoder=encoder)


@pytest.fixture
def tiny_folder(
    tiny: Cascade, encoder: WordEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The cascade on disk; whoever loads it gets the cheap encoder."""
    model_folder.save(tiny, tmp_path / "tiny")
    monkeypatch.setattr(TextEncoder, "load", lambda config, device: encoder)
    return tmp_path / "tiny"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; in CI there must be one."""
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    if binary is None and "CI" not in os.environ:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    assert binary, "no chromium: .ci/run installs it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        yield browser
        browser.close()
