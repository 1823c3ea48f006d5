"""Pictures, and what the stage below an upscaler makes of them, as one stream of examples."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from openimagen.data.batch import Example
from openimagen.data.folder import Pictures
from openimagen.data.images import load, to_tensor
from openimagen.data.picture_cache import decoded, opened
from openimagen.data.picture_set import PictureSet


class RedrawnSet(PictureSet):
    """Pictures with those of the same names in the folder `below`, `align` times smaller.

    The parts of both that an example shows are of one place. All else is as of a PictureSet.
    """

    def __init__(
        self,
        pictures: Pictures,
        below: Path,
        side: int,
        *,
        align: int,
        crop: int | None = None,
        seed: int = 0,
        hold_out: int = 0,
        cache: Path | None = None,
    ) -> None:
        self._below = [below / pair.path.name for pair in pictures.pairs]
        self._below_cache: Path | None = None
        if cache is not None:
            self._below_cache, broken = decoded(self._below, side // align, cache, "RGB", None)
            for path, why in broken.items():
                raise ValueError(f"{path}: {why}: delete {below.parent} to have it drawn again")
        super().__init__(
            pictures, side, crop=crop, align=align, seed=seed, hold_out=hold_out, cache=cache
        )

    def _example(self, index: int, window: tuple[slice, slice]) -> Example:
        rows, columns = (part.indices(self.view.side) for part in window)
        small = tuple(
            slice(first // self.view.align, last // self.view.align)
            for first, last, _ in (rows, columns)
        )
        return super()._example(index, window)._replace(below=self._pixels_below(index)[:, *small])

    def _pixels_below(self, index: int) -> UInt8[Tensor, "3 h w"]:
        row = self._rows[index]
        if self._below_cache is None:
            return to_tensor(load(self._below[row]))
        return torch.from_numpy(np.array(opened(self._below_cache)[row]))
