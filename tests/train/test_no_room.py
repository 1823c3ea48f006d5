"""A full disk, wherever it is met, is one line that says how to go on; and going on is exact."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jobs
import pytest
from left import left_by

from openimagen.config import Recipe

BEGIN, GO_ON = "Make room and start again", "Make room and go on with --resume"
SAVES = "/checkpoints/base/000000000012", "/checkpoints/base/000000000024"
FILES = {  # that find no room, in turn; what could not be written then, and what to do
    "config.json": ("", BEGIN),
    "data_report": ("", GO_ON),
    "tfevents": ("", GO_ON),
    "previews": ("", GO_ON),
    "step": ("", GO_ON),
    "distcp": (SAVES[0], GO_ON),
    ".metadata": (SAVES[0], GO_ON),
    ".000000000024": (SAVES[1], "000000000012 is whole: make room and go on with --resume"),
    "safetensors": ("", GO_ON),
    "model.json": ("", GO_ON),
}


@pytest.mark.filterwarnings("ignore:torch.distributed is")
def test_a_run_out_of_room_says_so_and_resumes_exactly(
    recipe: Recipe, folder: Path, tmp_path: Path, on_ranks: Callable[..., list[Any]]
) -> None:
    out, roomy = tmp_path / "run", tmp_path / "roomy"
    (said,) = on_ranks(1, jobs.cramped_run, recipe, folder, out, [*FILES])
    for line, (what, then) in zip(said, FILES.values(), strict=True):
        assert line == f"{out}{what} could not be written: File too large. {then}"
    on_ranks(1, jobs.run, recipe, folder, roomy)
    assert left_by(out) == left_by(roomy)
