"""Take a picture off its plain ground: RGB in, RGBA out, as icons are used.

The ground is what its border shows most of, and all that is like it and hangs together with the
border; white inside a thing stays. How like is told by the border itself, so that a ghost, nearly
white on white, is not eaten; of what differs a little more only thin bands are ground, haze.
At the edge a pixel is a mixture, C = a F + (1 - a) B: with the thing's colour F from further
inside and the ground's B, that gives a, and the colour without B.
"""

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

SMALL = 256  # side at which the ground is followed from the border
GROUND_LIKE = 0.09  # of the range of levels: what differs less from the ground may be ground
SAME = 0.02  # of the range, at least: what differs less from the ground is ground
HAZE = 1 / 28  # of the side: bands of the ground-like up to twice this wide are no things
PLAIN = 0.5  # of the border must be ground-like, or there is no plain ground
EDGE = 1 / 200  # of the side: the width over which thing and ground mix
FAINT = 0.1  # alpha under which a pixel does not tell its colour
SPECK = 1 / 256  # of the side: narrower islands on the ground are no things

Plane = Float[Tensor, "1 1 h w"]
Colours = Float[Tensor, "1 3 h w"]


def cut_out(picture: Image.Image) -> Image.Image:
    """A picture, RGB, off its ground: RGBA of the same size.

    Raises ValueError if its border shows no plain ground.
    """
    levels = np.asarray(picture.convert("RGB"))
    c: Colours = torch.from_numpy(levels.copy()).permute(2, 0, 1)[None].float() / 255
    b = ground_colour(levels)
    away = (c - b).abs().amax(1, keepdim=True)  # [1 1 h w]
    ground = spread(away, wavering(away))
    radius = max(1, round(EDGE * max(c.shape[-2:])))
    inside = ~grown(ground, 2 * radius)
    f = near_colours(c, inside, ~ground & (away > GROUND_LIKE))
    alpha = share_of(c, f, b).masked_fill(ground & ~grown(~ground, radius), 0.0)
    alpha = torch.where(grown(ground, radius), alpha, alpha.new_ones(()))
    clean = ((c - (1 - alpha) * b) / alpha.clamp(min=FAINT)).clamp(0, 1)
    colours = torch.where(alpha < FAINT, f, clean)
    rgba = torch.cat([colours, alpha], 1)[0].permute(1, 2, 0)
    return Image.fromarray((255 * rgba).round().byte().numpy(), "RGBA")


def ground_colour(levels: npt.NDArray[np.uint8]) -> Float[Tensor, "1 3 1 1"]:
    """What the border shows most of, in [0, 1]. ValueError if it shows no colour often enough."""
    border = np.concatenate([levels[0], levels[-1], levels[:, 0], levels[:, -1]]).astype(np.int64)
    bins = (border // 16) @ np.array([256, 16, 1])
    most = border[bins == np.bincount(bins).argmax()]
    colour = np.median(most, 0)
    like = (np.abs(border - colour).max(1) < 255 * GROUND_LIKE).mean()
    if like < PLAIN:
        raise ValueError(
            f"the picture has no plain ground ({like:.0%} of its border is of one colour): "
            'ask for one, as in "on a white background"'
        )
    return torch.from_numpy(colour / 255).float()[None, :, None, None]


def wavering(away: Plane) -> float:
    """How much the ground differs from its colour, by what the border shows of it."""
    border = torch.cat([away[..., 0, :], away[..., -1, :], away[..., 0], away[..., -1]], 2)
    most = float(border[border < GROUND_LIKE].quantile(0.98))
    return min(max(1.5 * most, SAME), GROUND_LIKE)


def spread(away: Plane, same: float) -> Bool[Tensor, "1 1 h w"]:
    """The ground: what is the same, from the border inwards, and thin bands of what is like it."""
    height, width = away.shape[-2:]
    like = (away < GROUND_LIKE).float()
    side = min(SMALL, max(height, width))
    scale = side / max(height, width)
    small = (max(1, round(height * scale)), max(1, round(width * scale)))
    open_, reached = (
        closed((interpolate(mask, small, mode="area") > 0.5).float(), round(SPECK * side))
        for mask in (like, (away < same).float())
    )
    reached = flooded(frame(reached) * reached, reached)
    rest, reach = open_ * (1 - reached), max(1, round(HAZE * side))
    body = widest(core(rest, reach), reach)
    reached = flooded(reached, torch.maximum(reached, rest * (1 - body)))
    whole = interpolate(reached, (height, width), mode="nearest")
    room = torch.maximum(like, interpolate(open_, (height, width), mode="nearest"))
    near = widest(whole, -(-max(height, width) // side))
    return (near * room) > 0.5


def frame(x: Plane) -> Plane:
    """Ones along the edges of a picture, zeros within."""
    edges = torch.ones_like(x)
    edges[..., 1:-1, 1:-1] = 0.0
    return edges


def core(mask: Plane, radius: int) -> Plane:
    """What of a mask is farther than `radius` from its end."""
    return 1 - widest(1 - mask, radius)


def closed(mask: Plane, radius: int) -> Plane:
    """A mask without holes narrower than `radius` to each side."""
    return core(widest(mask, radius), radius)


def widest(x: Plane, radius: int) -> Plane:
    """The largest value around each pixel, in a square: by rows, then by columns."""
    step = 2 * radius + 1
    return max_pool2d(max_pool2d(x, (1, step), 1, (0, radius)), (step, 1), 1, (radius, 0))


def mean(x: Tensor, radius: int) -> Tensor:
    """The mean around each pixel, likewise; beyond the edges are zeros."""
    step = 2 * radius + 1
    return avg_pool2d(avg_pool2d(x, (1, step), 1, (0, radius)), (step, 1), 1, (radius, 0))


def flooded(seeds: Plane, mask: Plane) -> Plane:
    """All of the mask that hangs together with a seed."""
    count = -1.0
    while (now := float(seeds.sum())) > count:
        count = now
        for _ in range(16):
            seeds = max_pool2d(seeds, 3, 1, 1) * mask
    return seeds


def grown(mask: Bool[Tensor, "1 1 h w"], radius: int) -> Bool[Tensor, "1 1 h w"]:
    """A mask, so many pixels wider."""
    return widest(mask.float(), radius) > 0.5


def near_colours(
    c: Colours, inside: Bool[Tensor, "1 1 h w"], thing: Bool[Tensor, "1 1 h w"]
) -> Colours:
    """The thing's colour around each pixel: from well inside; where it is thin, from all of it.

    Looked for at SMALL, as colours change slowly.
    """
    size = c.shape[-2:]
    scale = min(1.0, SMALL / max(size))
    small = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    found = known = torch.zeros(())
    for mask, reach in ((inside, 4), (thing, 4), (thing, 16)):
        weight = mask.float()
        total = mean(interpolate(weight, small, mode="area"), reach)
        colour = mean(interpolate(c * weight, small, mode="area"), reach) / total.clamp(min=1e-6)
        there = (total > 1e-4).float() * (1 - known)
        found, known = found + there * colour, known + there
    rest = (1 - known) * interpolate(c, small, mode="area")
    return interpolate(found + rest, size, mode="bilinear")


def share_of(c: Colours, f: Colours, b: Float[Tensor, "1 3 1 1"]) -> Plane:
    """How much of F is in C = a F + (1 - a) B, by least squares; all where F is as B."""
    along = f - b
    length = along.square().sum(1, keepdim=True)
    share = ((c - b) * along).sum(1, keepdim=True) / length.clamp(min=1e-6)
    return torch.where(length < GROUND_LIKE**2, share.new_ones(()), share.clamp(0, 1))
