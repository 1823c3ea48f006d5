"""CLIP and DINOv2 as features, by transformers' own classes; from a local folder or the hub.

Pictures are stretched to the square that the network takes by antialiased bicubic, so that all of
a picture counts; transformers' own processors, which cut, agree where pictures are square.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Module

from openimagen.evaluate.features import Pictures, batches, pixels, resized
from openimagen.text import from_transformers

CLIP_HUB = "openai/clip-vit-large-patch14-336"  # of CMMD (Jayasumana et al., 2024)
DINO_HUB = "facebook/dinov2-large"  # of FD-DINOv2 (Stein et al., 2023)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DINO_SIDE = 224  # at which its features are published; the network itself was tuned at 518
LETTERS = {384: "S", 768: "B", 1024: "L", 1280: "H", 1536: "g", 1664: "bigG"}  # by width
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "patch_size": 14}

Colour = tuple[float, float, float]


class TransformerFeatures:
    """A vision transformer as a measure sees it."""

    def __init__(
        self, name: str, width: int, side: int, look: Callable[[Tensor], Tensor], mean: Colour,
        std: Colour, device: torch.device,
    ) -> None:  # fmt: skip
        self.name, self.width, self.side, self.device = name, width, side, device
        self._look = look
        self._mean, self._std = (255 * torch.tensor(each)[:, None, None] for each in (mean, std))

    @torch.inference_mode()
    def __call__(self, pictures: Pictures) -> Float[Tensor, "n d"]:
        """Features of pictures; iterables are read as they are needed."""
        prepared = (self.prepared(pixels(picture)) for picture in pictures)
        rows = [self._look(batch.to(self.device)).float().cpu() for batch in batches(prepared)]
        return torch.cat(rows) if rows else torch.empty(0, self.width)

    def prepared(self, picture: Tensor) -> Float[Tensor, "3 side side"]:
        """A picture as the network takes it."""
        return (resized(picture, self.side) - self._mean) / self._std


def load_clip(name: str = CLIP_HUB, device: torch.device | str = "cpu") -> TransformerFeatures:
    """CLIP's projected picture embeddings (Radford et al., 2021), not yet of length 1.

    `name`: a folder or hub id of a whole CLIP or of its vision half. The features are called "CLIP"
    if it is a ViT-L/14-336 as OpenAI's, which CMMD was published with; any other says what it is.
    Raises ValueError if it is something else, or not there.
    """
    from transformers.models.clip.modeling_clip import CLIPVisionModelWithProjection

    folder = find_folder(name, ("clip", "clip_vision_model"))
    net: Module = from_transformers(CLIPVisionModelWithProjection, folder, torch.float32)
    net.requires_grad_(False).to(device)
    config = cast(Any, net.config)
    return TransformerFeatures(
        clip_name(config),
        config.projection_dim,
        config.image_size,
        lambda batch: net(pixel_values=batch).image_embeds,
        CLIP_MEAN,
        CLIP_STD,
        torch.device(device),
    )


def load_dinov2(name: str = DINO_HUB, device: torch.device | str = "cpu") -> TransformerFeatures:
    """DINOv2's class token (Oquab et al., 2023), normalised, of pictures at 224 pixels.

    `name`: a folder or hub id. The features are called "DINOv2" if it is the ViT-L/14; any other
    says what it is. Raises ValueError if it is something else, or not there.
    """
    from transformers.models.dinov2.modeling_dinov2 import Dinov2Model

    folder = find_folder(name, ("dinov2",))
    net: Module = from_transformers(Dinov2Model, folder, torch.float32)
    net.requires_grad_(False).to(device)
    config = cast(Any, net.config)
    return TransformerFeatures(
        dinov2_name(config),
        config.hidden_size,
        DINO_SIDE,
        lambda batch: net(pixel_values=batch).pooler_output,
        IMAGENET_MEAN,
        IMAGENET_STD,
        torch.device(device),
    )


def clip_name(config: Any) -> str:  # noqa: ANN401  (transformers')
    """What features of this network are called."""
    is_published = _is(config, LARGE | {"image_size": 336, "hidden_act": "quick_gelu"})
    return "CLIP" if is_published else f"CLIP-{_size(config)}-{config.image_size}"


def dinov2_name(config: Any) -> str:  # noqa: ANN401
    """What features of this network are called."""
    return "DINOv2" if _is(config, LARGE) else f"DINOv2-{_size(config)}"


def _is(config: Any, numbers: dict[str, Any]) -> bool:  # noqa: ANN401
    return all(getattr(config, key) == value for key, value in numbers.items())


def _size(config: Any) -> str:  # noqa: ANN401
    """As in L/14."""
    return f"{LETTERS.get(config.hidden_size, config.hidden_size)}/{config.patch_size}"


# --- where the weights are ------------------------------------------------------------------------


def find_folder(name: str, kinds: tuple[str, ...]) -> Path:
    """The folder of a local path or hub id; the network is asked for what is not here.

    ValueError if no model of these kinds is there.
    """
    folder = Path(name) if Path(name).is_dir() else _hub_folder(name)
    if not _has_weights(folder):
        raise ValueError(f"{name} lacks config.json or model.safetensors: finish its download")
    kind = json.loads((folder / "config.json").read_text("utf-8")).get("model_type")
    if kind not in kinds:
        raise ValueError(f"{name} is a model of type {kind}: give one of {' or '.join(kinds)}")
    return folder


def _has_weights(folder: Path) -> bool:
    weights = [*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")]
    return (folder / "config.json").is_file() and bool(weights)


def _hub_folder(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        with suppress(FileNotFoundError):  # not on this machine
            folder = Path(snapshot_download(name, local_files_only=True))
            if _has_weights(folder):
                return folder
        folder = Path(snapshot_download(name, allow_patterns=["config.json", "*.safetensors"]))
        old = ["config.json", "pytorch_model*.bin*"]  # of which torch reads no more than tensors
        return folder if _has_weights(folder) else Path(snapshot_download(name, allow_patterns=old))
    except Exception as error:  # whatever the HTTP library of the day raises
        raise ValueError(
            f"{name} is no folder, and the hub cannot be reached or lacks it: download it with "
            f"`hf download {name}`, or give its folder instead"
        ) from error
