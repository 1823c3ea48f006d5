"""The U-Net (Dhariwal & Nichol, 2021) and the Efficient U-Net (Imagen, appendix B).

Both are one set of blocks in two arrangements. They know no schedule, no guidance and no device:
a network sees a noisy picture, its log-SNR, text and perhaps the picture of the stage below.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from openimagen.blocks import (
    Attention,
    Features,
    Layer,
    LogSNREmbedding,
    ResBlock,
    Resized,
    TextContext,
    TextPool,
    Vector,
    conv3,
    make_norm,
)
from openimagen.config import UNetConfig

IMAGE_CHANNELS = 3


# --- the base's arrangement ---------------------------------------------------------------------


class AdmBody(nn.Module):
    """Residual blocks change the size; every one hands its output across (concatenated skips)."""

    def __init__(self, config: UNetConfig, cond_width: int) -> None:
        super().__init__()

        def layer(level: int, channels_in: int, resample: str = "") -> Layer:
            channels, kind = config.channels[level], config.attention[level]
            attends = kind != "none" and not resample
            block = ResBlock(channels_in, channels, cond_width, resample, config.norm)
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
        first, second = (
            ResBlock(channels, channels, cond_width, norm=config.norm) for _ in range(2)
        )
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
            width = cond_width if config.scale_shift else None
            block = ResBlock(channels, channels, width, norm=config.norm)
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
        x = torch.zeros_like(x)  # the deepest comes back as the first skip
        for up, grow in zip(reversed(self.up), reversed(self.grow), strict=True):
            x = grow(up(x + skips.pop() * 2**-0.5, cond, text))
        return x + skips.pop() * 2**-0.5


# --- the network --------------------------------------------------------------------------------


class FinePath(nn.Module):
    """Detail that a stem of patches loses: added to the picture, at first nothing.

    Features are spread to full resolution, joined to what the network was shown (z, and the
    enlarged picture below) and mixed: [b c h/patch w/patch], [b c_shown h w] -> [b 3 h w].
    """

    def __init__(self, config: UNetConfig, channels: int) -> None:
        super().__init__()
        shown = IMAGE_CHANNELS * (2 if config.lowres else 1)
        self.patch = config.patch
        self.spread = nn.Conv2d(channels, config.fine * config.patch**2, 1)
        self.mix = conv3(config.fine + shown, config.fine)
        self.last = conv3(config.fine, IMAGE_CHANNELS)

    def forward(self, x: Features, shown: Resized) -> Float[Tensor, "b 3 h2 w2"]:
        """From features of patches to pixels."""
        x = F.pixel_shuffle(self.spread(x), self.patch)
        x = F.silu(self.mix(torch.cat([x, shown.to(x.dtype)], dim=1)))
        return self.last(x)


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
        self.pool_text = TextPool(config.context_width, cond_width) if config.pool else None

        pixel = IMAGE_CHANNELS * config.patch**2
        self.stem = conv3(pixel * (2 if config.lowres else 1), config.width)
        body = AdmBody if config.arrangement == "adm" else EfficientBody
        self.body = body(config, cond_width)
        channels_out = config.channels[0] if config.arrangement == "adm" else config.width
        self.norm_out = make_norm(config.norm, channels_out)
        self.last = conv3(channels_out, pixel)
        self.fine = FinePath(config, channels_out) if config.fine else None

        for number, attention in enumerate(self.attentions()):
            attention.number = number
        self.initialise()

    def initialise(self) -> None:
        """Draw fresh weights; the last layer of every residual branch starts at zero."""
        drawn = nn.Conv2d | nn.Linear | nn.GroupNorm | nn.LayerNorm | nn.RMSNorm
        for module in self.modules():
            if isinstance(module, drawn):
                module.reset_parameters()
        for module in self.modules():
            if isinstance(module, UNet | ResBlock | Attention | FinePath):
                for parameter in module.last.parameters():
                    nn.init.zeros_(parameter)
            if isinstance(module, Level) and module.position is not None:
                nn.init.zeros_(module.position)

    def attentions(self) -> list[Attention]:
        """Its attention layers, in the order of `TextContext.keys_values`."""
        return [module for module in self.modules() if isinstance(module, Attention)]

    def read(self, text: tuple[Tensor, Tensor]) -> TextContext:
        """Pool the text and compute each attention layer's keys and values, once per picture."""
        tokens, mask = text
        tokens = self.to_context(self.norm_text(tokens.to(self.norm_text.weight.dtype)))
        pooled = tokens.new_zeros(len(tokens), 4 * self.config.width)
        if self.pool_text is not None:
            pooled = self.pool_text(tokens, mask)
        keys_values = [attention.read(tokens) for attention in self.attentions()]
        return TextContext(pooled, mask, keys_values)

    def forward(
        self,
        z: Float[Tensor, "b 3 h w"],
        log_snr: Float[Tensor, "b"],
        text: TextContext | tuple[Tensor, Tensor],
        lowres: Float[Tensor, "b 3 h_low w_low"] | None = None,
        aug_log_snr: Float[Tensor, "b"] | None = None,
        keeps_pooled: Bool[Tensor, "b"] | None = None,
    ) -> Float[Tensor, "b 3 h w"]:
        """Estimate what the wrapper asks for (eps, x0, v ...) from z at log_snr.

        `keeps_pooled`: pictures whose pooled text joins the time embedding; None: all.
        """
        text = text if isinstance(text, TextContext) else self.read(text)
        pooled = text.pooled
        if keeps_pooled is not None:
            pooled = pooled.masked_fill(~keeps_pooled[:, None], 0)
        cond = self.embed_log_snr(log_snr) + pooled
        if self.embed_aug is not None:
            if lowres is None or aug_log_snr is None:
                raise ValueError("a super-resolution network needs lowres and aug_log_snr")
            cond = cond + self.embed_aug(aug_log_snr)
            enlarged = F.interpolate(lowres, size=z.shape[-2:], mode="bilinear")
            z = torch.cat([z, enlarged.to(z.dtype)], dim=1)

        height, width = z.shape[-2:]
        z = self._pad(z)
        x = F.pixel_unshuffle(z, self.config.patch)
        x = self.body(self.stem(x), cond, text)
        x = F.silu(self.norm_out(x))
        picture = F.pixel_shuffle(self.last(x), self.config.patch)
        if self.fine is not None:
            picture = picture + self.fine(x, z)
        if self.config.residual:
            picture = picture + z[:, IMAGE_CHANNELS:]
        return picture[..., :height, :width]

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
