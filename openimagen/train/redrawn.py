"""Pictures below as the trained stage below really draws them: edges waver, shades are patchy.

An upscaler that is shown clean pictures made smaller takes all that for detail, and enlarges it;
the paper's augmentation, noise, is not what is wrong with them. So for the first upscaler pictures
are noised until their edges are lost, and drawn again from there by the base, as it draws. What
comes of it still lies where the picture has it, to a pixel of the base: for the one above that is
too far to know where an edge goes, and all that it learns is to leave edges soft. It is shown what
the upscaler below it makes of pictures made smaller.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from openimagen.cascade import Cascade, PictureNoise, match_colours
from openimagen.data.batch import Batch
from openimagen.data.images import to_float, write_picture
from openimagen.diffusion import add_noise, sampling_log_snrs
from openimagen.progress import progress_bar

TOGETHER = 8  # pictures that are drawn again from one noise level
LOG_SNRS = -3.0, 0.5  # of these levels: what is drawn from less noise is finer than a sample
PAGES, BELOW = "pictures", "below"  # the one folder and the other


@torch.inference_mode()
def redraw(
    cascade: Cascade,
    number: int,
    pictures: Float[Tensor, "b 3 s s"],
    captions: Sequence[str],
    seeds: Sequence[int],
) -> Float[Tensor, "b 3 s_low s_low"]:
    """What the stage below stage `number` makes of pictures in [-1, 1], in their own colours.

    Of the base the level is of the first seed, the noise of each picture of its own. It goes the
    last part of its usual walk, in steps as long.
    """
    if number > 1:
        small, below = (stage.config.side for stage in cascade.stages[number - 2 : number])
        lowres = interpolate(pictures.to(cascade.device), size=2 * (small,), mode="area")
        return cascade.sample(captions, seeds, size=below, start=number - 1, lowres=lowres)[-1]
    base = cascade.stages[0].config
    truth = interpolate(pictures.to(cascade.device), size=2 * (base.side,), mode="area")
    lot = torch.Generator().manual_seed(seeds[0])
    low, high = LOG_SNRS
    first = low + (high - low) * torch.rand((), generator=lot).item()
    sampling = base.sampling
    walk = sampling_log_snrs(base.diffusion.schedule, sampling.steps, sampling.log_snr_range)
    steps = max(1, int((walk[:-1] >= first).sum()))
    eps = PictureNoise(seeds, 0, cascade.device).draw(3, base.side, base.side)
    z = add_noise(truth, eps, torch.full((len(seeds),), first, device=cascade.device))
    settings = [{"steps": steps, "log_snr_range": (first, walk[-1].item())}]
    drawn = cascade.sample(captions, seeds, settings=settings, size=base.side, latents=z)[-1]
    return match_colours(drawn, truth).clamp(-1, 1)


def draw_again(
    cascade: Cascade, number: int, lessons: Iterator[Batch], numbers: range, folder: Path
) -> Iterator[int]:
    """Fill two data folders with lessons and with what the stage below makes of them.

    `numbers` of the lessons: those that are `left`. After each batch it says how many are there.
    """
    pages, below = folder / PAGES, folder / BELOW
    for each in (pages, below):
        each.mkdir(parents=True, exist_ok=True)
    done, name = numbers.start, cascade.stages[number].config.name
    with progress_bar(f"drawing what {name} is shown", "pictures") as advance:
        for batch in lessons:
            here = range(done, done + len(batch.captions))
            drawn = redraw(cascade, number, to_float(batch.image), batch.captions, here)
            for row, ticket in enumerate(here):
                file = f"{ticket:06d}.png"
                write_picture(below / file, drawn[row])
                (pages / file).with_suffix(".txt").write_text(batch.captions[row], "utf-8")
                write_picture(pages / file, to_float(batch.image[row]))  # last: now it is there
            done = here.stop
            advance(done, numbers.stop)
            yield done


def left(folder: Path, count: int) -> range:
    """Numbers of the lessons, from 0 to `count`, that are still to be drawn, in whole batches."""
    done = len([*(folder / PAGES).glob("*.png")])
    return range(done if done >= count else done // TOGETHER * TOGETHER, count)
