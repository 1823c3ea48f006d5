"""The U-Net (Dhariwal & Nichol, 2021) and the Efficient U-Net (Imagen, appendix B).

Both are one set of blocks in two arrangements. They know no schedule, no guidance and no device:
a network sees a noisy picture, its log-SNR, text and perhaps the picture of the stage below.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from openimagen.config import Attention as AttentionKind
from openimagen.config import UNetConfig

IMAGE_CHANNELS = 3
Features = Float[Tensor, "b c h w"]
Resized = Float[Tensor, "b c2 h2 w2"]  # channels and size that may differ from Features'
Vector = Float[Tensor, "b e"]


class TextContext(NamedTuple):
    """Text as a network keeps it through all steps of one picture: read once, used at each step."""

    pooled: Float[Tensor, "b e"]  # joins the time embedding
    mask: Bool[Tensor, "b n"]
    keys_values: list[tuple[Tensor, Tensor]]  # of each attention layer, 2 x [b heads n d]


# --- small parts --------------------------------------------------------------------------------


def norm(channels: int) -> nn.GroupNorm:
    """Group normalisation with 32 groups, or as many as divide the channels."""
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
    """Attention pooling: the mean token asks all tokens, in `heads` ways (Imagen, section 2.4)."""

    def __init__(self, width: int, width_out: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
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


# --- blocks -------------------------------------------------------------------------------------


class ResBlock(nn.Module):
    """Two convolutions and a skip (figure A.27); conditioning scales and shifts between them.

    `resample` "down" or "up" changes the size inside the block, as the base U-Net does.
    """

    def __init__(
        self, channels_in: int, channels_out: int, cond_width: int | None, resample: str = ""
    ) -> None:
        super().__init__()
        self.resample = resample
        self.norm_in = norm(channels_in)
        self.conv_in = conv3(channels_in, channels_out)
        self.to_film = nn.Linear(cond_width, 2 * channels_out) if cond_width else None
        self.norm_out = norm(channels_out)
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

    Fused: text keys and values stand before those of the pixels (Imagen, section 2.4).
    """

    def __init__(self, kind: AttentionKind, channels: int, config: UNetConfig) -> None:
        super().__init__()
        inner = channels * config.attention_expansion
        self.fused = kind == "fused"
        self.heads = config.heads or math.gcd(inner, max(1, inner // 64))
        self.norm = norm(channels)
        self.to_qkv = nn.Linear(channels, 3 * inner if self.fused else inner)
        self.text_to_kv = nn.Linear(config.context_width, 2 * inner)
        self.last = nn.Linear(inner, channels)
        self.number = 0  # its place in TextContext.keys_values

    def read(self, tokens: Float[Tensor, "b n c"]) -> tuple[Tensor, Tensor]:
        """Keys and values of the text, each [b heads n d]."""
        k, v = self.text_to_kv(tokens).chunk(2, dim=-1)
        return split_heads(k, self.heads), split_heads(v, self.heads)

    def forward(self, x: Features, text: TextContext) -> Features:
        """Mix in what the text, and for fused attention the picture, has to say."""
        pixels = self.norm(x).flatten(2).transpose(1, 2)  # [b hw c]
        k, v = text.keys_values[self.number]
        mask = text.mask
        if self.fused:
            parts = self.to_qkv(pixels).chunk(3, dim=-1)
            q, k_self, v_self = (split_heads(part, self.heads) for part in parts)
            k, v = torch.cat([k, k_self], dim=2), torch.cat([v, v_self], dim=2)
            mask = F.pad(mask, (0, k_self.shape[2]), value=True)  # pixels are never masked
        else:
            q = split_heads(self.to_qkv(pixels), self.heads)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None])
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


# --- the base's arrangement ---------------------------------------------------------------------


class AdmBody(nn.Module):
    """Residual blocks change the size; every one hands its output across (concatenated skips)."""

    def __init__(self, config: UNetConfig, cond_width: int) -> None:
        super().__init__()

        def layer(level: int, channels_in: int, resample: str = "") -> Layer:
            channels, kind = config.channels[level], config.attention[level]
            attends = kind != "none" and not resample
            block = ResBlock(channels_in, channels, cond_width, resample)
            return Layer(block, Attention(kind, channels, config) if attends else None)

        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        channels, skips = config.width, [config.width]
        last = len(config.channels) - 1
        for level, blocks in enumerate(config.blocks):
            for _ in range(blocks):
                self.down.append(layer(level, channels))
                channels = config.channels[level]
                skips.append(channels)
            if level < last:
                self.down.append(layer(level, channels, "down"))
                skips.append(channels)

        attention = Attention("fused", channels, config)
        first, second = (ResBlock(channels, channels, cond_width) for _ in range(2))
        self.middle = nn.ModuleList([Layer(first, attention), Layer(second)])

        for level in range(last, -1, -1):
            for _ in range(config.blocks[level] + 1):
                self.up.append(layer(level, channels + skips.pop()))
                channels = config.channels[level]
            if level > 0:
                self.up.append(layer(level, channels, "up"))

    def forward(self, x: Features, cond: Vector, text: TextContext) -> Resized:
        """Down, middle, up."""
        skips = [x]
        for layer in self.down:
            x = layer(x, cond, text)
            skips.append(x)
        for layer in self.middle:
            x = layer(x, cond, text)
        for layer in self.up:
            assert isinstance(layer, Layer)
            if layer.block.resample != "up":
                x = torch.cat([x, skips.pop()], dim=1)
            x = layer(x, cond, text)
        return x


# --- the Efficient U-Net ------------------------------------------------------------------------


class Level(nn.Module):
    """The middle of a DBlock or UBlock: add conditioning, residual blocks, attention."""

    def __init__(self, config: UNetConfig, level: int, cond_width: int) -> None:
        super().__init__()
        channels, kind = config.channels[level], config.attention[level]
        self.position = None
        if config.position_side is not None:
            shrunk = config.patch * math.prod(config.level_strides[: level + 1])
            side = config.position_side // shrunk
            self.position = nn.Parameter(torch.zeros(1, channels, side, side))
        self.to_shift = None if config.scale_shift else nn.Linear(cond_width, channels)
        self.layers = nn.ModuleList()
        for number in range(config.blocks[level]):
            final = number == config.blocks[level] - 1
            attends = kind != "none" and (config.attend == "block" or final)
            block = ResBlock(channels, channels, cond_width if config.scale_shift else None)
            self.layers.append(Layer(block, Attention(kind, channels, config) if attends else None))

    def forward(self, x: Features, cond: Vector, text: TextContext) -> Features:
        """Refine x at one resolution."""
        if self.position is not None:  # learned at one size, stretched to others
            x = x + F.interpolate(self.position, size=x.shape[-2:], mode="bilinear").to(x.dtype)
        if self.to_shift is not None:
            x = x + self.to_shift(F.silu(cond))[..., None, None]
        for layer in self.layers:
            x = layer(x, cond, text)
        return x


class EfficientBody(nn.Module):
    """Convolutions change the size, before a DBlock's work and after a UBlock's.

    Skips are summed, scaled by 1/sqrt(2) (figures A.28, A.29).
    """

    def __init__(self, config: UNetConfig, cond_width: int) -> None:
        super().__init__()
        channels = (config.width, *config.channels)
        self.shrink, self.down = nn.ModuleList(), nn.ModuleList()
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        for level, stride in enumerate(config.level_strides):
            above, here = channels[level], channels[level + 1]
            self.shrink.append(conv3(above, here, stride))
            self.down.append(Level(config, level, cond_width))
            self.up.append(Level(config, level, cond_width))
            upsample = nn.Upsample(scale_factor=2.0) if stride == 2 else nn.Identity()
            self.grow.append(nn.Sequential(upsample, conv3(here, above)))

    def forward(self, x: Features, cond: Vector, text: TextContext) -> Features:
        """Down, up; the stem's output is the finest skip."""
        skips = [x]
        for shrink, down in zip(self.shrink, self.down, strict=True):
            x = down(shrink(x), cond, text)
            skips.append(x)
        x = torch.zeros_like(x)
        for up, grow in zip(reversed(self.up), reversed(self.grow), strict=True):
            x = grow(up(x + skips.pop() * 2**-0.5, cond, text))
        return x + skips.pop() * 2**-0.5


# --- the network --------------------------------------------------------------------------------


class UNet(nn.Module):
    """One stage's network: net(z, log_snr, text, lowres, aug_log_snr) -> [b 3 h w], of any size.

    `text` is (tokens [b n d], mask [b n]) from a text encoder, or what `read` made of it. Build
    under `torch.device("meta")` for counting; then `to_empty` and `initialise` make it real.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        cond_width = 4 * config.width
        self.embed_log_snr = LogSNREmbedding(config.width, cond_width)
        self.embed_aug = LogSNREmbedding(config.width, cond_width) if config.lowres else None
        self.norm_text = nn.LayerNorm(config.text_width)
        self.to_context = nn.Linear(config.text_width, config.context_width)
        self.pool_text = TextPool(config.context_width, cond_width)

        pixel = IMAGE_CHANNELS * config.patch**2
        self.stem = conv3(pixel * (2 if config.lowres else 1), config.width)
        body = AdmBody if config.arrangement == "adm" else EfficientBody
        self.body = body(config, cond_width)
        channels_out = config.channels[0] if config.arrangement == "adm" else config.width
        self.norm_out = norm(channels_out)
        self.last = conv3(channels_out, pixel)

        attentions = [module for module in self.modules() if isinstance(module, Attention)]
        for number, attention in enumerate(attentions):
            attention.number = number
        self.initialise()

    def initialise(self) -> None:
        """Draw fresh weights; the last layer of every residual branch starts at zero."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear | nn.GroupNorm | nn.LayerNorm):
                module.reset_parameters()
        for module in self.modules():
            if isinstance(module, UNet | ResBlock | Attention):
                for parameter in module.last.parameters():
                    nn.init.zeros_(parameter)
            if isinstance(module, Level) and module.position is not None:
                nn.init.zeros_(module.position)

    def read(self, text: tuple[Tensor, Tensor]) -> TextContext:
        """Pool the text and compute each attention layer's keys and values, once per picture."""
        tokens, mask = text
        tokens = self.to_context(self.norm_text(tokens.to(self.norm_text.weight.dtype)))
        attentions = [module for module in self.modules() if isinstance(module, Attention)]
        return TextContext(
            self.pool_text(tokens, mask), mask, [attention.read(tokens) for attention in attentions]
        )

    def forward(
        self,
        z: Float[Tensor, "b 3 h w"],
        log_snr: Float[Tensor, "b"],
        text: TextContext | tuple[Tensor, Tensor],
        lowres: Float[Tensor, "b 3 h_low w_low"] | None = None,
        aug_log_snr: Float[Tensor, "b"] | None = None,
    ) -> Float[Tensor, "b 3 h w"]:
        """Estimate what the wrapper asks for (eps, x0, v ...) from z at log_snr."""
        text = text if isinstance(text, TextContext) else self.read(text)
        cond = self.embed_log_snr(log_snr) + text.pooled
        if self.embed_aug is not None:
            if lowres is None or aug_log_snr is None:
                raise ValueError("a super-resolution network needs lowres and aug_log_snr")
            cond = cond + self.embed_aug(aug_log_snr)
            enlarged = F.interpolate(lowres, size=z.shape[-2:], mode="bilinear")
            z = torch.cat([z, enlarged.to(z.dtype)], dim=1)

        height, width = z.shape[-2:]
        x = F.pixel_unshuffle(self._pad(z), self.config.patch)
        x = self.body(self.stem(x), cond, text)
        x = self.last(F.silu(self.norm_out(x)))
        return F.pixel_shuffle(x, self.config.patch)[..., :height, :width]

    def _pad(self, z: Features) -> Resized:
        """Repeat the right and bottom edges until every level divides evenly."""
        grain = self.config.granularity
        height, width = z.shape[-2:]
        right, down = -width % grain, -height % grain
        return F.pad(z, (0, right, 0, down), mode="replicate") if right or down else z


def count_parameters(config: UNetConfig) -> int:
    """Number of parameters of a network, without allocating it."""
    with torch.device("meta"):
        return sum(p.numel() for p in UNet(config).parameters())
