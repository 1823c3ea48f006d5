"""Pictures below as a small base really draws them: edges waver, detail is soft, flats are blotchy.

White noise, the paper's augmentation, is not what is wrong with them: an upscaler that has seen no
other faults takes blotches for detail and enlarges them.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, pad

from openimagen.diffusion import column

WAVER = 0.5, 0.9  # pixels that an edge is off, root mean square, at level 1: close by and far off
NEAR, FAR = 3, 7  # pixels over which the one and the other are alike
SOFT = 0.8  # share of a picture that is its own 3x3 mean
BLOTCHES = 0.08  # root mean square, of pixels in [-1, 1]
FAULTS = 8  # channels of noise that faults are made of
GREY = 0.6  # of blotches: what all three channels share

Pictures = Float[Tensor, "b c h w"]


def rough(
    picture: Pictures, level: Float[Tensor, "b"], noise: Float[Tensor, "b 8 h w"]
) -> Pictures:
    """The picture with such faults, as strong as `level`, 0 to 1; `noise` is standard normal.

    Neighbours have a correlation of 2/3 in blotches, as in what the embedded base draws.
    """
    far, waver, grey, own = noise.tensor_split((2, 4, 5), dim=1)
    waver = WAVER[0] * smoothed(waver, NEAR) + WAVER[1] * smoothed(far, FAR)
    grey, own = smoothed(grey, NEAR), smoothed(own, NEAR)
    strength = column(level)
    picture = moved(picture, strength * waver)
    picture = picture + SOFT * strength * (mean(picture, NEAR) - picture)
    spots = GREY**0.5 * grey + (1 - GREY) ** 0.5 * own  # [b 3 h w]
    return picture + BLOTCHES * strength * spots


def moved(picture: Pictures, by: Float[Tensor, "b 2 h w"]) -> Pictures:
    """Each pixel from so many pixels to the right and below; beyond the edge is the edge."""
    height, width = picture.shape[-2:]
    rows = torch.arange(height, dtype=picture.dtype, device=picture.device)[:, None]
    columns = torch.arange(width, dtype=picture.dtype, device=picture.device)
    x = (2 * (columns + by[:, 0]) + 1) / width - 1  # -1 to 1 from edge to edge
    y = (2 * (rows + by[:, 1]) + 1) / height - 1
    grid = torch.stack([x, y], dim=-1)  # [b h w 2]
    return grid_sample(picture, grid, padding_mode="border", align_corners=False)


def smoothed(noise: Pictures, side: int) -> Pictures:
    """Standard normal noise as means of so large squares, standard normal again inside."""
    return side * mean(noise, side)


def mean(picture: Pictures, side: int) -> Pictures:
    """Mean of the square about each pixel, of odd side; beyond the edge is the edge."""
    edges = 4 * (side // 2,)
    return avg_pool2d(pad(picture, edges, mode="replicate"), side, stride=1)
