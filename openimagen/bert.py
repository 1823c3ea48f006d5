"""BERT's encoder (Devlin et al., 2019) on torch's own layers: transformers takes 2 s to import."""

from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn


class Bert(nn.Module):
    """BERT's encoder. Its layer is torch's own, only the weights go by other names."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width, eps = config["hidden_size"], config["layer_norm_eps"]
        hidden, heads = config["intermediate_size"], config["num_attention_heads"]
        self.words = nn.Parameter(torch.empty(config["vocab_size"], width))
        self.positions = nn.Parameter(torch.empty(config["max_position_embeddings"], width))
        self.types = nn.Parameter(torch.empty(config["type_vocab_size"], width))
        self.norm = nn.LayerNorm(width, eps)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, hidden, 0.0, "gelu", eps, batch_first=True)
            for _ in range(config["num_hidden_layers"])
        )

    def forward(self, ids: Int[Tensor, "b n"], mask: Bool[Tensor, "b n"]) -> list[Tensor]:
        """States [b n d] of every layer, the embedding first."""
        words = self.words[ids] + self.positions[: ids.shape[1]] + self.types[0]  # [b n d]
        states = [self.norm(words)]
        for layer in self.layers:
            states.append(layer(states[-1], src_key_padding_mask=~mask))
        return states


BERT_NAMES = {  # of published weights -> of `Bert`'s, replaced in this order
    "bert.": "",
    "embeddings.word_embeddings.weight": "words",
    "embeddings.position_embeddings.weight": "positions",
    "embeddings.token_type_embeddings.weight": "types",
    "embeddings.LayerNorm": "norm",
    "encoder.layer.": "layers.",
    "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "linear1",
    "output.dense": "linear2",
    "output.LayerNorm": "norm2",
    "gamma": "weight",  # of the first BERTs, from TensorFlow
    "beta": "bias",
}


def rename_bert(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Published weights under the names of `Bert`, whose q, k and v are one matrix."""
    ours = {}
    for name, weight in weights.items():
        for old, new in BERT_NAMES.items():
            name = name.replace(old, new)
        ours[name] = weight
    for name in [name for name in ours if ".attention.self.query." in name]:
        parts = [name.replace("query", part) for part in ("query", "key", "value")]
        if all(part in ours for part in parts):
            whole = name.replace("attention.self.query.", "self_attn.in_proj_")
            ours[whole] = torch.cat([ours[part] for part in parts])
    return ours
