"""Pictures of a model in training: the same prompts, or the same crops, from the same noise."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from openimagen.cascade import PictureNoise, Stage, draw
from openimagen.data.batch import below_of
from openimagen.data.dataset import Batch, Examples
from openimagen.data.images import to_float, to_pil
from openimagen.data.sheet import SIDE, captioned_sheet
from openimagen.text import Encoder
from openimagen.train.parallel import is_first
from openimagen.train.trainee import Trainee

CROPS, PROMPTS = 6, 16  # that a stage shows if it has no preview prompts
SHOWN = 30  # of the first batch


def write_batch(stage: str, batch: Batch, folder: Path) -> None:
    """Show the first batch, as the network will see it, in <stage>-batch.png. The first rank's."""
    if not is_first():
        return
    folder.mkdir(parents=True, exist_ok=True)
    pictures = [to_pil(to_float(image)) for image in batch.image[:SHOWN]]
    scale = max(1, SIDE // pictures[0].width)
    size = (scale * pictures[0].width, scale * pictures[0].height)
    large = [picture.resize(size, Image.Resampling.NEAREST) for picture in pictures]
    captioned_sheet([*zip(large, batch.captions, strict=False)]).save(folder / f"{stage}-batch.png")


@torch.no_grad()
def write_preview(trainee: Trainee, dataset: Examples, encoder: Encoder, folder: Path) -> None:
    """Draw with the averaged weights and write <stage>-<images>.png.

    The base draws its preview prompts. Super-resolution shows what it saw, drew, should draw.
    All ranks call it, the first draws.
    """
    stage = Stage(trainee.config, trainee.drawing_net())
    if stage.net is None:
        return
    if trainee.config.unet.lowres:
        examples = dataset.first(CROPS)
        text = encoder([example.caption for example in examples]).to(trainee.device, torch.float32)
        truth = to_float(torch.stack([example.image for example in examples])).to(trainee.device)
        below = below_of(examples)
        lowres = avg_pool2d(truth, trainee.scale)
        if below is not None:
            lowres = to_float(below).to(trainee.device)
        size = (truth.shape[-2], truth.shape[-1])
        noise = PictureNoise(range(CROPS), 0, trainee.device)
        drawn = draw(stage, text, text.null(), noise, lowres, size=size)
        rows = [interpolate(lowres, size=size, mode="nearest"), drawn, truth]
    else:
        prompts = trainee.train.preview_prompts or [e.caption for e in dataset.first(PROMPTS)]
        text = encoder(prompts).to(trainee.device, torch.float32)
        noise = PictureNoise(range(len(prompts)), 0, trainee.device)
        rows = list(torch.split(draw(stage, text, text.null(), noise), 8))
    folder.mkdir(parents=True, exist_ok=True)
    sheet(rows).save(folder / f"{trainee.config.name}-{trainee.images:010d}.png")


def sheet(rows: list[Tensor]) -> Image.Image:
    """Rows of pictures, each [b 3 h w] in [-1, 1], as one picture."""
    height, width = rows[0].shape[-2:]
    page = Image.new("RGB", (width * max(map(len, rows)), height * len(rows)), "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            page.paste(to_pil(picture.float().cpu()), (x * width, y * height))
    return page
