"""CLIP score: how near a picture and its text lie for a CLIP (Hessel et al., 2021).

Two conventions are about. The CLIP score is 100 max(cos, 0), as torchmetrics' CLIPScore has it
(Hessel et al. multiply by 2.5). Papers that draw it over guidance weights, Imagen's too, give the
plain cosine, about 0.25 to 0.35. Both are given, and either is named with its network: other
networks, other figures.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import Module
from torch.nn.functional import normalize

from openimagen.data.images import load, square
from openimagen.encoder_files import load_tokenizer
from openimagen.evaluate.alignment import Score
from openimagen.evaluate.bootstrap import mean_interval
from openimagen.evaluate.prompts import Prompt
from openimagen.evaluate.transformer_features import (
    CLIP_MEAN,
    CLIP_STD,
    TransformerFeatures,
    clip_name,
    find_folder,
)
from openimagen.text import from_transformers

TURNS = 8  # other prompts that a picture is held to, for what chance would give
BATCH = 64  # texts in the network at once


class Clip:
    """Both halves of a CLIP: pictures and texts in, vectors of length 1 in one space out."""

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        from transformers.models.clip.modeling_clip import CLIPModel

        model: Module = from_transformers(CLIPModel, folder, torch.float32)
        net = cast(Any, model.eval().requires_grad_(False).to(device))
        config = net.config.vision_config
        self.name, self.device = clip_name(config), torch.device(device)
        self.positions: int = net.config.text_config.max_position_embeddings
        self._tokenizer, self._net = load_tokenizer(folder), net
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.positions)
        self._pictures = TransformerFeatures(
            self.name,
            net.config.projection_dim,
            config.image_size,
            lambda batch: net.visual_projection(net.vision_model(pixel_values=batch).pooler_output),
            CLIP_MEAN,
            CLIP_STD,
            self.device,
        )

    def pictures(self, pictures: Iterable[Image.Image]) -> Float[Tensor, "n d"]:
        """Embeddings of pictures, stretched to the square that the network takes."""
        return normalize(self._pictures(pictures), dim=1)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Embeddings of texts; of too many tokens the first count, and there is a warning."""
        encodings = self._tokenizer.encode_batch(list(texts))
        if long := [n for n, encoding in enumerate(encodings) if encoding.overflowing]:
            warnings.warn(
                f"{len(long)} of {len(texts)} texts are over the {self.positions} tokens that "
                f'{self.name} reads, and are cut for it, as "{texts[long[0]][:40]}..."',
                stacklevel=2,
            )
        return normalize(torch.cat([*self._embedded([each.ids for each in encodings])]), dim=1)

    def _embedded(self, ids: list[list[int]]) -> Iterator[Tensor]:
        for start in range(0, len(ids), BATCH):
            some = ids[start : start + BATCH]
            longest = max(map(len, some))  # after its end: the text half looks back only
            padded = torch.tensor([each + each[-1:] * (longest - len(each)) for each in some])
            out = self._net.text_model(padded.to(self.device))
            yield self._net.text_projection(out.pooler_output).float().cpu()


def load_whole_clip(name: str, device: torch.device | str = "cpu") -> Clip:
    """A CLIP from a folder or hub id. ValueError if it is no whole one, or not there."""
    return Clip(find_folder(name, ("clip",)), device)


class ClipScore:
    """CLIP score of pictures with their prompts.

    `real`: caption -> real pictures of it; those of the prompts are the ceiling. With `side` every
    picture is brought to it first.
    """

    def __init__(
        self,
        clip: Clip,
        real: Mapping[str, Sequence[Path]] | None = None,
        side: int | None = None,
    ) -> None:
        self.clip, self.real, self.side = clip, real or {}, side
        self._ceilings: dict[tuple[str, ...], Float[Tensor, n] | None] = {}

    def check(self, prompts: Sequence[Prompt]) -> None:
        """ValueError if there is no prompt; any text can be measured."""
        if not prompts:
            raise ValueError("a CLIP score of no prompt: give some")

    def __call__(self, pictures: Iterable[Image.Image], prompts: Sequence[Prompt]) -> list[Score]:
        """100 max(cos, 0), and the plain cosine."""
        self.check(prompts)
        names = [prompt.text for prompt in prompts]
        known = list(dict.fromkeys(names))
        rows = dict(zip(known, self.clip.texts(known), strict=True))
        texts = torch.stack([rows[name] for name in names])
        drawn = self.clip.pictures(self._brought(pictures))
        if len(drawn) != len(names):
            raise ValueError(f"{len(drawn)} pictures and {len(names)} prompts: give one for each")
        cosines = (drawn * texts).sum(1)
        ceiling, chance = self._real(known, rows), _chance(drawn, texts, names)
        return [
            _score(title, convert, cosines, names, ceiling, chance)
            for title, convert in (
                (f"CLIP score ({self.clip.name})", lambda cosine: 100 * cosine.clamp(min=0)),
                (f"cosine ({self.clip.name})", lambda cosine: cosine),
            )
        ]

    def _real(self, names: Sequence[str], texts: Mapping[str, Tensor]) -> Tensor | None:
        """Cosines of real pictures with their captions, of the prompts that have some."""
        key = tuple(names)
        if key not in self._ceilings:
            pairs = [(name, path) for name in names for path in self.real.get(name, ())[:1]]
            rows = self.clip.pictures(self._brought(load(path) for _, path in pairs))
            own = [texts[name] for name, _ in pairs]
            self._ceilings[key] = (rows * torch.stack(own)).sum(1) if own else None
        return self._ceilings[key]

    def _brought(self, pictures: Iterable[Image.Image]) -> Iterator[Image.Image]:
        return (square(each, self.side) if self.side else each for each in pictures)


def _score(
    title: str,
    convert: Callable[[Tensor], Tensor],
    cosines: Tensor,
    names: Sequence[str],
    ceiling: Tensor | None,
    chance: Tensor | None,
) -> Score:
    value, low, high = mean_interval(convert(cosines.double()).tolist(), names)
    known = [None if each is None else float(convert(each).mean()) for each in (ceiling, chance)]
    return Score(title, value, low, high, len(set(names)), *known)


def _chance(drawn: Tensor, texts: Tensor, names: Sequence[str]) -> Tensor | None:
    """Cosines of pictures with other pictures' texts; None if all texts are one."""
    found = []
    for turn in range(1, min(TURNS, len(names) - 1) + 1):
        others = [*names[turn:], *names[:turn]]
        unlike = torch.tensor([one != other for one, other in zip(names, others, strict=True)])
        found.append((drawn * texts.roll(-turn, 0)).sum(1)[unlike])
    rows = torch.cat(found) if found else torch.empty(0)
    return rows if len(rows) else None
