"""Captions -> embeddings: a frozen T5, CLIP or BERT behind one call, and a cache in front of it.

The diffusion models see only `TextEmbedding`. transformers is imported when it must load a model,
never with this file.
"""

import json
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple, Protocol, TypeVar, cast, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from safetensors.torch import load_file
from tokenizers import Encoding, Tokenizer
from torch import Tensor, nn
from torch.nn.functional import layer_norm, pad
from torch.nn.utils.rnn import pad_sequence

from openimagen.bert import Bert, rename_bert
from openimagen.config import TextConfig
from openimagen.encoder_files import find_encoder, load_tokenizer

BATCH = 64  # captions that a GPU encodes together
TOLD = 8  # captions that are named as too long, or as unreadable
UNKNOWN = ("[UNK]", "<unk>")  # what BERT's and T5's tokenizers put for what they do not know
Device = str | torch.device
Module = TypeVar("Module", bound=nn.Module)


# --- the embedding --------------------------------------------------------------------------------


class TextEmbedding(NamedTuple):
    """What an encoder says of b captions: a state per token, and which tokens are there.

    States outside the mask are zero; every row has a token, so cross-attention has a key.
    """

    tokens: Float[Tensor, "b n d"]
    mask: Bool[Tensor, "b n"]

    def to(self, device: Device | None = None, dtype: torch.dtype | None = None) -> "TextEmbedding":
        """The same embedding on a device, its states in a dtype; None leaves either as it is."""
        return TextEmbedding(self.tokens.to(device=device, dtype=dtype), self.mask.to(device))

    def null(self) -> "TextEmbedding":
        """No text, in this shape: zero states, as in the paper, and one token to attend to."""
        mask = torch.zeros_like(self.mask)
        mask[:, 0] = True
        return TextEmbedding(torch.zeros_like(self.tokens), mask)

    def drop(self, dropped: Bool[Tensor, "b"]) -> "TextEmbedding":
        """Null text in the rows that are dropped, as classifier-free guidance is trained."""
        null = self.null()
        return TextEmbedding(
            torch.where(dropped[:, None, None], null.tokens, self.tokens),
            torch.where(dropped[:, None], null.mask, self.mask),
        )

    def pad(self, length: int) -> "TextEmbedding":
        """Lengthened to n = length with tokens that are not there. ValueError if already longer."""
        extra = length - self.mask.shape[1]
        if extra < 0:
            raise ValueError(f"{self.mask.shape[1]} tokens cannot be padded to {length}")
        return TextEmbedding(pad(self.tokens, (0, 0, 0, extra)), pad(self.mask, (0, extra)))

    @staticmethod
    def concatenate(embeddings: Sequence["TextEmbedding"]) -> "TextEmbedding":
        """One batch out of several, padded to the longest."""
        length = max(embedding.mask.shape[1] for embedding in embeddings)
        tokens, masks = zip(*(embedding.pad(length) for embedding in embeddings), strict=True)
        return TextEmbedding(torch.cat(tokens), torch.cat(masks))


def stack_rows(rows: Sequence[Tensor]) -> tuple[Tensor, Bool[Tensor, "b n"]]:
    """Rows of different lengths as one tensor [b n ...], filled up with zeros, and its mask."""
    lengths = torch.tensor([len(row) for row in rows])
    stacked = pad_sequence(list(rows), batch_first=True)
    return stacked, torch.arange(stacked.shape[1]) < lengths[:, None]


def as_captions(captions: Sequence[str]) -> list[str]:
    """Captions as a list. ValueError if there are none, or one that is not in a list."""
    if isinstance(captions, str) or not captions:
        raise ValueError("captions must be a list of at least one string")
    return list(captions)


# --- the encoder ----------------------------------------------------------------------------------


@runtime_checkable
class Encoder(Protocol):
    """Whatever embeds captions: a network, with or without a memory, or embeddings on disk."""

    width: int
    max_tokens: int
    identity: str

    def __call__(self, captions: Sequence[str]) -> TextEmbedding:
        """Embed captions, as long as the longest of them. ValueError if there are none."""
        ...


@dataclass(frozen=True)
class Network:
    """One family's network, reduced to what the encoder needs of it."""

    module: nn.Module
    # ids [b n], mask [b n] -> states [b n d] of every layer, the embedding first
    states: Callable[[Tensor, Tensor], Sequence[Tensor]]
    width: int  # d
    positions: int | None = None  # the most tokens it can take; None: no limit
    usual: int = -1  # the layer whose states are taken where none is named


class TextEncoder:
    """A frozen language model that turns captions into one state per token.

    `layers`: whose states are side by side in a token's, each normalised; none: the family's usual.
    `width`: size of a state. `positions`: the most tokens the model takes, None if any number.
    `max_tokens`: where captions are cut. `identity`: names encoder and limit, for whoever keeps
    embeddings.
    """

    def __init__(
        self,
        name: str,
        network: Network,
        tokenizer: Tokenizer,
        max_tokens: int,
        layers: Sequence[int] = (),
    ) -> None:
        self.width, self.positions = network.width * max(1, len(layers)), network.positions
        self.max_tokens, self.layers = min(max_tokens, network.positions or max_tokens), layers
        self.name, self.identity = name, identity_of(name, layers, self.max_tokens)
        special = tokenizer.num_special_tokens_to_add(False)
        if self.max_tokens <= special:
            raise ValueError(f"max_tokens must be over {special}: {name} adds as many itself")
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.max_tokens)
        self._tokenizer, self._network = tokenizer, network
        self._unknown = {tokenizer.token_to_id(token) for token in UNKNOWN} - {None}
        self._told = 0  # captions that are not read as they are, as the caller was told
        network.module.eval().requires_grad_(False)  # so calls build no graph
        weight = next(network.module.parameters())
        self.device, self.dtype = weight.device, weight.dtype

    @classmethod
    def load(
        cls, config: TextConfig, device: Device = "cpu", dtype: torch.dtype = torch.float32
    ) -> "TextEncoder":
        """Load "minilm", a local folder or a hub id, and put it on a device in a dtype.

        The family is the `model_type` in the model's own config.json. A hub id is looked up on this
        machine first. T5 overflows in float16: take bfloat16.
        ValueError if the encoder is missing, incomplete, altered or of an unknown family.
        """
        folder = find_encoder(config.encoder)
        family = json.loads((folder / "config.json").read_text("utf-8")).get("model_type")
        if family not in FAMILIES:
            raise ValueError(f"text encoder {config.encoder!r} is {family}, not in {[*FAMILIES]}")
        network = FAMILIES[family](folder, dtype)
        network.module.to(device)
        tokenizer = load_tokenizer(folder)
        return cls(config.encoder, network, tokenizer, config.max_tokens, config.layers)

    def __call__(self, captions: Sequence[str]) -> TextEmbedding:
        """Embed captions, as long as the longest of them. ValueError if there are none.

        A row depends on its caption alone, but for the last bits: a batch of another shape may be
        summed in another order. A caption over `max_tokens` is cut, and what the tokenizer does not
        know is read as nothing in particular, with a warning for the first few.
        """
        ids, mask = self._tokenize(as_captions(captions))
        states = self._network.states(ids, mask)
        if (most := max(self.layers, default=0)) >= len(states):
            raise ValueError(f"text.layers {most}: {self.identity} has up to {len(states) - 1}")
        chosen = [layer_norm(states[layer], states[layer].shape[-1:]) for layer in self.layers]
        tokens = torch.cat(chosen, dim=-1) if chosen else states[self._network.usual]  # [b n d]
        return TextEmbedding(tokens.masked_fill(~mask[:, :, None], 0), mask)

    def cut(self, captions: Sequence[str]) -> list[str]:
        """Those of the captions that are over `max_tokens`."""
        encodings = self._tokenizer.encode_batch(as_captions(captions))
        return [c for c, encoding in zip(captions, encodings, strict=True) if encoding.overflowing]

    def _tokenize(self, captions: list[str]) -> tuple[Int[Tensor, "b n"], Bool[Tensor, "b n"]]:
        valid = [c.encode("utf-8", "replace").decode() for c in captions]  # no half emoji
        encodings = self._tokenizer.encode_batch(valid)
        for caption, encoding in zip(valid, encodings, strict=True):
            for what in self._misread(caption, encoding):
                if self._told < TOLD:
                    self._told += 1
                    more = "; other such texts will not be named" if self._told == TOLD else ""
                    warnings.warn(what + more, stacklevel=3)
        ids, mask = stack_rows([torch.tensor(encoding.ids) for encoding in encodings])
        return ids.to(self.device), mask.to(self.device)  # any id will do where the mask is false

    def _misread(self, caption: str, encoding: Encoding) -> Iterator[str]:
        """What of a caption is not read as it is."""
        start = " ".join(caption[:40].split())
        if encoding.overflowing:
            yield f'cut to {self.max_tokens} tokens: "{start}..."'
        spans = zip(encoding.ids, encoding.offsets, strict=True)
        if unread := [caption[slice(*span)] for id, span in spans if id in self._unknown]:
            yield f'{self.name} has no token for {"".join(unread)} in "{start}"'


# --- the families ---------------------------------------------------------------------------------


def _load_t5(folder: Path, dtype: torch.dtype) -> Network:
    """T5's encoder half (Raffel et al., 2020), the paper's choice."""
    from transformers.models.t5.modeling_t5 import T5EncoderModel

    model = from_transformers(T5EncoderModel, folder, dtype)
    return Network(
        model,
        lambda ids, mask: model(ids, mask, output_hidden_states=True).hidden_states,
        width=model.config.d_model,
    )


def _load_clip(folder: Path, dtype: torch.dtype) -> Network:
    """CLIP's text half (Radford et al., 2021), its penultimate layer as in the paper."""
    from transformers.models.clip.modeling_clip import CLIPTextModel

    model = from_transformers(CLIPTextModel, folder, dtype)
    return Network(
        model,
        lambda ids, mask: model(ids, mask, output_hidden_states=True).hidden_states,
        width=model.config.hidden_size,
        positions=model.config.max_position_embeddings,
        usual=-2,
    )


def from_transformers(kind: type[Module], folder: Path, dtype: torch.dtype) -> Module:
    """One half of a model with all its weights, and no report on the other half's."""
    from transformers.utils import logging

    log, load = cast(Any, logging), cast(Any, kind).from_pretrained  # untyped
    verbosity = log.get_verbosity()
    log.set_verbosity_error()
    if not sys.stderr.isatty():
        log.disable_progress_bar()
    try:
        safe = {"weights_only": True, "local_files_only": True, "output_loading_info": True}
        model, report = load(folder, dtype=dtype, **safe)
    except UnpicklingError as error:
        raise ValueError(f"{folder} has weights that are more than tensors: not read") from error
    finally:
        log.set_verbosity(verbosity)
    if report["missing_keys"]:
        raise ValueError(f"{folder} has no weight {min(report['missing_keys'])}")
    return cast(Module, model)


def _load_bert(folder: Path, dtype: torch.dtype) -> Network:
    """BERT (Devlin et al., 2019) without transformers, which takes 2 s to import."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    if config["hidden_act"] != "gelu":
        raise ValueError(f"a BERT with {config['hidden_act']} in {folder}; only gelu is known")
    with torch.device("meta"):
        model = Bert(config)
    if not (file := folder / "model.safetensors").is_file():
        raise ValueError(f"a BERT without model.safetensors in {folder}: convert it")
    weights = rename_bert(load_file(file))
    missing, _ = model.load_state_dict(weights, strict=False, assign=True)  # heads are left over
    if missing:
        raise ValueError(f"{folder} has no weight {missing[0]}")
    return Network(model.to(dtype), model, config["hidden_size"], config["max_position_embeddings"])


FAMILIES: dict[str, Callable[[Path, torch.dtype], Network]] = {
    "t5": _load_t5,
    "clip": _load_clip,
    "clip_text_model": _load_clip,
    "bert": _load_bert,
}


# --- the cache ------------------------------------------------------------------------------------


def identity_of(name: str, layers: Sequence[int], max_tokens: int) -> str:
    """Who gives states, of which layers, and where captions are cut: "minilm@3+6:32"."""
    named = f"{name}@{'+'.join(map(str, layers))}" if layers else name
    return f"{named}:{max_tokens}"


def rows_of(encoder: TextEncoder, captions: Sequence[str], batch: int = 1) -> list[Tensor]:
    """What is kept of captions: each one's states, trimmed to its tokens [n d], in bfloat16.

    One caption at a time, and on a CPU in one thread, what is kept of it depends on nothing else,
    to the bit. A short caption is no slower so; with a GPU, `batch` together are faster.
    """
    rows: list[Tensor] = []
    with _one_thread() if encoder.device.type == "cpu" else nullcontext():
        for start in range(0, len(captions), batch):
            tokens, mask = encoder(captions[start : start + batch]).to("cpu", torch.bfloat16)
            rows += (row[there] for row, there in zip(tokens, mask, strict=True))  # copies
    return rows


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class CachedEncoder:
    """An encoder that remembers: training sees a caption every epoch and encodes it once.

    States are kept in bfloat16 in main memory, as `openimagen.embeddings` has them on disk: a run
    gets the same from either. 16 tokens take 12 kB a layer with MiniLM, 128 kB with T5-XXL. Over
    `capacity` bytes, the least recently used is forgotten.
    """

    def __init__(self, encoder: TextEncoder, capacity: int = 2**30) -> None:
        self.encoder, self.identity = encoder, encoder.identity
        self.width, self.max_tokens = encoder.width, encoder.max_tokens
        self._kept: OrderedDict[str, Tensor] = OrderedDict()  # caption -> states [n d]
        self.capacity, self._bytes = capacity, 0  # of them

    def __call__(self, captions: Sequence[str]) -> TextEmbedding:
        """Embed captions as the encoder does; each that is not kept is encoded, once."""
        captions = as_captions(captions)
        states = self._look_up(captions)
        batch = TextEmbedding(*stack_rows([states[caption] for caption in captions]))
        return batch.to(self.encoder.device, self.encoder.dtype)

    def _look_up(self, captions: list[str]) -> dict[str, Tensor]:
        unknown = [caption for caption in dict.fromkeys(captions) if caption not in self._kept]
        batch = 1 if self.encoder.device.type == "cpu" else BATCH
        self._kept |= zip(unknown, rows_of(self.encoder, unknown, batch), strict=True)
        self._bytes += sum(self._kept[caption].nbytes for caption in unknown)
        for caption in captions:
            self._kept.move_to_end(caption)
        states = {caption: self._kept[caption] for caption in captions}
        while self._bytes > self.capacity:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return states
