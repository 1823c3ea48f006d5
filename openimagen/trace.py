"""The noise-to-image strip: how each stage turned noise into its picture."""

from dataclasses import dataclass, field

from PIL import Image, ImageDraw

from openimagen.cascade import Progress
from openimagen.data.images import to_pil

TILE, MARGIN, LABEL = 192, 8, 22  # pixels
COLUMNS, WIDEST = 8, 10  # tiles of a stage, and of a row
BAND = LABEL + 2 * TILE + 3 * MARGIN
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
        """All stages, noise on the left to picture on the right, beside each other where they fit.

        At most eight steps of each.
        """
        bands = _bands(self.shown())
        columns = max(sum(map(len, band.values())) for band in bands)
        size = (columns * (TILE + MARGIN) + MARGIN, len(bands) * BAND + MARGIN)
        page = Image.new("RGB", size, "white")
        pen = ImageDraw.Draw(page)
        for number, band in enumerate(bands):
            x, top = MARGIN, number * BAND + MARGIN
            for stage, frames in band.items():
                pen.text((x, top), self._caption(stage, len(frames)), "black", font_size=14)
                for frame in frames:
                    for line, tile in enumerate(frame):
                        page.paste(tile, (x, top + LABEL + line * (TILE + MARGIN)))
                    x += TILE + MARGIN
        return page

    def _caption(self, stage: str, columns: int) -> str:
        count = len(self.frames[stage])
        steps = "1 step" if count == 1 else f"{count} steps"
        more = ": above what it sees, below what it makes out" if columns > 2 else ""
        return f"{stage}, {steps}{more}"


def _bands(stages: dict[str, list[Frame]]) -> list[dict[str, list[Frame]]]:
    """The stages in as many rows as they need, each of at most `WIDEST` tiles."""
    bands = [dict[str, list[Frame]]()]
    for stage, frames in stages.items():
        if bands[-1] and sum(map(len, bands[-1].values())) + len(frames) > WIDEST:
            bands.append({})
        bands[-1][stage] = frames
    return bands


def _spread(items: list[Frame], most: int) -> list[Frame]:
    """First, last, and evenly spaced items between, `most` in all."""
    if len(items) <= most:
        return items
    return [items[round(n * (len(items) - 1) / (most - 1))] for n in range(most)]
