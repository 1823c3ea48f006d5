"""The noise-to-image strip: how each stage turned noise into its picture."""

from dataclasses import dataclass, field

from PIL import Image, ImageDraw

from openimagen.cascade import Progress
from openimagen.data.images import to_pil

TILE, MARGIN, LABEL = 192, 8, 22  # pixels
COLUMNS = 8
Frame = tuple[Image.Image, Image.Image]


@dataclass
class Trace:
    """Collects what a cascade reports; `strip` draws it.

    Per stage two rows: above, z as the network sees it; below, the picture it makes out in that.
    """

    frames: dict[str, list[Frame]] = field(default_factory=dict)

    def __call__(self, progress: Progress) -> None:
        """Keep this step of the first picture; those of later batches are let pass."""
        frames = self.frames.setdefault(progress.stage, [])
        if len(frames) == progress.calls:
            return
        pair = tuple(
            to_pil(tensor[0].float().cpu().clamp(-1, 1)).resize((TILE, TILE), Image.Resampling.BOX)
            for tensor in (progress.z, progress.x0)
        )
        frames.append((pair[0], pair[1]))

    def shown(self) -> dict[str, list[Frame]]:
        """What the strip has of each stage: at most eight steps."""
        return {stage: _spread(frames, COLUMNS) for stage, frames in self.frames.items()}

    def strip(self) -> Image.Image:
        """All stages, noise on the left to picture on the right, at most eight steps of each."""
        chosen = self.shown()
        columns = max(map(len, chosen.values()))
        row = LABEL + 2 * TILE + 3 * MARGIN
        size = (columns * (TILE + MARGIN) + MARGIN, row * len(chosen) + MARGIN)
        page = Image.new("RGB", size, "white")
        pen = ImageDraw.Draw(page)
        for number, (stage, frames) in enumerate(chosen.items()):
            top = number * row + MARGIN
            count = len(self.frames[stage])
            steps = "1 step" if count == 1 else f"{count} steps"
            caption = f"{stage}, {steps}: above what it sees, below what it makes out"
            pen.text((MARGIN, top), caption, "black", font_size=14)
            for column, frame in enumerate(frames):
                x = MARGIN + column * (TILE + MARGIN)
                for line, tile in enumerate(frame):
                    page.paste(tile, (x, top + LABEL + line * (TILE + MARGIN)))
        return page


def _spread(items: list[Frame], most: int) -> list[Frame]:
    """First, last, and evenly spaced items between, `most` in all."""
    if len(items) <= most:
        return items
    return [items[round(n * (len(items) - 1) / (most - 1))] for n in range(most)]
