"""What the U-Nets are built of: norms, embeddings, residual blocks, attention."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from openimagen.config import AttentionKind, NormKind, UNetConfig

Features = Float[Tensor, "b c h w"]
Resized = Float[Tensor, "b c2 h2 w2"]  # channels and size that may differ from Features'
Vector = Float[Tensor, "b e"]


class TextContext(NamedTuple):
    """Text as a network keeps it through all steps of one picture: read once, used at each step."""

    pooled: Float[Tensor, "b e"]  # joins the time embedding
    mask: Bool[Tensor, "b n"]
    keys_values: list[tuple[Tensor, Tensor]]  # of each attention layer, 2 x [b heads n d]


# --- small parts --------------------------------------------------------------------------------


class PixelNorm(nn.LayerNorm):
    """Normalise the channels of each pixel by themselves: a crop is treated as the whole is."""

    def forward(self, x: Features) -> Features:
        """Channels go last and back; in channels-last memory nothing moves."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def make_norm(kind: NormKind, channels: int) -> nn.GroupNorm | PixelNorm:
    """Of each pixel, or of the picture in 32 groups, or as many as divide the channels."""
    if kind == "pixel":
        return PixelNorm(channels)
    return nn.GroupNorm(math.gcd(32, channels), channels)


def conv3(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    """3x3 convolution that keeps the size, or halves it with stride 2."""
    return nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1)


def fourier_features(log_snr: Float[Tensor, "b"], width: int) -> Float[Tensor, "b {width}"]:
    """Sines and cosines of log-SNR, with periods from 0.5 to 128 (its range is about 30)."""
    periods = torch.logspace(-1, 7, width // 2, base=2, device=log_snr.device)
    angles = 2 * math.pi * log_snr[:, None].float() / periods  # [b width/2]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class LogSNREmbedding(nn.Module):
    """A noise level as a vector."""

    def __init__(self, width: int, width_out: int) -> None:
        super().__init__()
        self.width = width
        self.mlp = nn.Sequential(
            nn.Linear(width, width_out), nn.SiLU(), nn.Linear(width_out, width_out)
        )

    def forward(self, log_snr: Float[Tensor, "b"]) -> Vector:
        """Embed a log-SNR per picture."""
        return self.mlp(fourier_features(log_snr, self.width).to(next(self.parameters()).dtype))


class TextPool(nn.Module):
    """Attention pooling: the mean token asks all tokens, in several ways (Imagen, section 2.5)."""

    def __init__(self, width: int, width_out: int) -> None:
        super().__init__()
        self.heads = 4
        self.norm = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, width)
        self.to_kv = nn.Linear(width, 2 * width)
        self.out = nn.Sequential(
            nn.Linear(width, width_out), nn.SiLU(), nn.Linear(width_out, width_out)
        )

    def forward(self, tokens: Float[Tensor, "b n c"], mask: Bool[Tensor, "b n"]) -> Vector:
        """One vector per caption; padding has no say."""
        tokens = self.norm(tokens)
        weight = mask[..., None].to(tokens.dtype)
        mean = (tokens * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)  # [b 1 c]
        q = split_heads(self.to_q(mean), self.heads)
        k, v = (split_heads(t, self.heads) for t in self.to_kv(tokens).chunk(2, dim=-1))
        pooled = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None])
        return self.out((merge_heads(pooled) + mean).squeeze(1))


def split_heads(x: Float[Tensor, "b n c"], heads: int) -> Float[Tensor, "b heads n d"]:
    """Give each head its share of the channels."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def merge_heads(x: Float[Tensor, "b heads n d"]) -> Float[Tensor, "b n c"]:
    """Undo `split_heads`."""
    return x.transpose(1, 2).flatten(2)


class HeadNorm(nn.RMSNorm):
    """Bring the queries or keys of each head to one length, times a learned gain per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Float[Tensor, "b heads n d"]) -> Float[Tensor, "b heads n d"]:
        """In the dtype of x, whatever the gain's is."""
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


# --- blocks -------------------------------------------------------------------------------------


class ResBlock(nn.Module):
    """Two convolutions and a skip (figure A.27); conditioning scales and shifts between them.

    The figure has a 1x1 convolution in every skip; here only where the channels change.

    `resample` "down" or "up" changes the size inside the block, as the base U-Net does.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        cond_width: int | None,
        resample: str = "",
        norm: NormKind = "group",
    ) -> None:
        super().__init__()
        self.resample = resample
        self.norm_in = make_norm(norm, channels_in)
        self.conv_in = conv3(channels_in, channels_out)
        self.to_film = nn.Linear(cond_width, 2 * channels_out) if cond_width else None
        self.norm_out = make_norm(norm, channels_out)
        self.last = conv3(channels_out, channels_out)
        same = channels_in == channels_out
        self.skip = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Features, cond: Vector) -> Resized:
        """Refine x under the conditioning vector."""
        h = self.conv_in(self._resize(F.silu(self.norm_in(x))))
        h = self.norm_out(h)
        if self.to_film is not None:
            scale, shift = self.to_film(F.silu(cond))[..., None, None].chunk(2, dim=1)
            h = h * (1 + scale) + shift
        return self.last(F.silu(h)) + self.skip(self._resize(x))

    def _resize(self, x: Features) -> Resized:
        match self.resample:
            case "down":
                return F.avg_pool2d(x, 2)
            case "up":
                return F.interpolate(x, scale_factor=2.0, mode="nearest")
        return x


class Attention(nn.Module):
    """Pixels attend to text: "fused" with themselves in one softmax, or "cross", to text alone.

    Fused: text keys and values stand before those of the pixels (Imagen, appendix D.3.1). With
    `qk_norm`, queries and keys are normalised (Henry et al., 2020; Dehghani et al., 2023).
    """

    def __init__(self, kind: AttentionKind, channels: int, config: UNetConfig) -> None:
        super().__init__()
        inner = channels * config.attention_expansion
        self.fused = kind == "fused"
        self.heads = config.heads or math.gcd(inner, max(1, inner // 64))
        self.norm = make_norm(config.norm, channels)
        self.to_qkv = nn.Linear(channels, 3 * inner if self.fused else inner)
        self.text_to_kv = nn.Linear(config.context_width, 2 * inner)
        self.last = nn.Linear(inner, channels)
        head = inner // self.heads
        self.norm_q = HeadNorm(head) if config.qk_norm else nn.Identity()
        self.norm_k = HeadNorm(head) if config.qk_norm else nn.Identity()
        self.number = 0  # its place in TextContext.keys_values

    def read(self, tokens: Float[Tensor, "b n c"]) -> tuple[Tensor, Tensor]:
        """Keys and values of the text, each [b heads n d]."""
        k, v = self.text_to_kv(tokens).chunk(2, dim=-1)
        return self.norm_k(split_heads(k, self.heads)), split_heads(v, self.heads)

    def forward(self, x: Features, text: TextContext) -> Features:
        """Mix in what the text, and for fused attention the picture, has to say."""
        pixels = self.norm(x).flatten(2).transpose(1, 2)  # [b hw c]
        k, v = text.keys_values[self.number]
        mask = text.mask
        if self.fused:
            parts = self.to_qkv(pixels).chunk(3, dim=-1)
            q, k_self, v_self = (split_heads(part, self.heads) for part in parts)
            k, v = torch.cat([k, self.norm_k(k_self)], dim=2), torch.cat([v, v_self], dim=2)
            mask = F.pad(mask, (0, k_self.shape[2]), value=True)  # pixels are never masked
        else:
            q = split_heads(self.to_qkv(pixels), self.heads)
        mixed = F.scaled_dot_product_attention(self.norm_q(q), k, v, attn_mask=mask[:, None, None])
        return x + self.last(merge_heads(mixed)).transpose(1, 2).reshape(x.shape)


class Layer(nn.Module):
    """A residual block and, if asked for, attention after it."""

    def __init__(self, block: ResBlock, attention: Attention | None = None) -> None:
        super().__init__()
        self.block, self.attention = block, attention

    def forward(self, x: Features, cond: Vector, text: TextContext) -> Resized:
        """Refine x."""
        x = self.block(x, cond)
        return x if self.attention is None else self.attention(x, text)
