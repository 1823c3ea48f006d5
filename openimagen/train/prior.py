"""DreamBooth's prior preservation (Ruiz et al., 2022): keep what a model can draw already.

The model draws pictures before it is trained; training then sees one of them for each of one's own.
"""

from pathlib import Path

from openimagen.cascade import Cascade
from openimagen.config import Prior
from openimagen.data.images import write_picture
from openimagen.progress import progress_bar


def draw_prior(cascade: Cascade, prior: Prior, side: int, folder: Path) -> None:
    """Fill a data folder with `prior.pictures` of the model's own, `side` x `side`, captioned.

    The prompts take turns; picture n has seed n. Pictures that are there already are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with progress_bar("drawing what to keep", "pictures") as advance:
        for number in range(prior.pictures):
            picture = folder / f"{number:06d}.png"
            if not picture.exists():
                prompt = prior.prompts[number % len(prior.prompts)]
                image = cascade.sample([prompt], [number], size=side)[-1][0]
                picture.with_suffix(".txt").write_text(prompt, encoding="utf-8")
                write_picture(picture, image)
            advance(number + 1, prior.pictures)
