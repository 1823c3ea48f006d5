"""Pictures of a run: of its first batch, and of the same prompts or crops again and again."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small import small_stage, small_train
from torch.nn.functional import avg_pool2d

from openimagen.data.batch import Batch
from openimagen.data.dataset import PictureSet
from openimagen.data.folder import read_folder
from openimagen.data.images import to_float, to_pil
from openimagen.data.picture_cache import Pixels
from openimagen.text import CachedEncoder
from openimagen.train import loop, previews
from openimagen.train.loop import train_stage
from openimagen.train.previews import CROPS, write_batch, write_preview
from openimagen.train.trainee import Trainee
from openimagen.unet import UNet

NewTrainee = Callable[..., Trainee]


def pixels(path: Path) -> Pixels:
    return np.array(Image.open(path).convert("RGB"))


def test_prompts_are_drawn_from_the_same_noise_by_the_averaged_network(
    new_trainee: NewTrainee, dataset: PictureSet, encoder: CachedEncoder, tmp_path: Path
) -> None:
    trainee = new_trainee(preview_prompts=("a red disc", "a blue square"))
    pages = []
    for images in (0, 20, 40, 60):
        trainee.images = images
        changed = {20: trainee.net, 40: trainee.ema.net}.get(images)
        if changed is not None:
            with torch.no_grad():
                changed.last.weight.fill_(9.0)
        write_preview(trainee, dataset, encoder, tmp_path)
        pages.append(pixels(tmp_path / f"base-{images:010d}.png"))
    first, other_net, other_average, same = pages
    assert first.shape == (16, 32, 3)
    assert np.array_equal(first, other_net)
    assert not np.array_equal(first, other_average) and np.array_equal(other_average, same)


def test_super_resolution_shows_what_it_saw_and_what_it_should_draw(
    folder: Path, encoder: CachedEncoder, tmp_path: Path
) -> None:
    stage = small_stage("sr32", 32, lowres=True)
    trainee = Trainee(stage, small_train(), 2, UNet(stage.unet), torch.device("cpu"))
    dataset = PictureSet(read_folder(folder), 32, align=2)
    write_preview(trainee, dataset, encoder, tmp_path)
    page = pixels(tmp_path / "sr32-0000000000.png")
    for number, example in enumerate(dataset.first(CROPS)):
        saw, drew, truth = (page[row : row + 32, 32 * number :][:, :32] for row in (0, 32, 64))
        assert np.array_equal(truth, example.image.permute(1, 2, 0))
        small = to_pil(avg_pool2d(to_float(example.image), 2))
        assert np.array_equal(saw[::2, ::2], np.asarray(small))
        assert np.array_equal(saw[1::2, 1::2], saw[::2, ::2])
        assert not np.array_equal(drew, truth)


def test_the_first_batch_is_there_before_the_first_step(
    new_trainee: NewTrainee,
    dataset: PictureSet,
    encoder: CachedEncoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(loop, "train_step", fail)
    with pytest.raises(ZeroDivisionError):
        train_stage(new_trainee(), dataset, encoder, tmp_path)
    assert [*(tmp_path / "previews").iterdir()] == [tmp_path / "previews/base-batch.png"]


def test_each_picture_of_the_batch_has_its_caption(
    dataset: PictureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch: Batch = dataset.batch(range(4))
    shown: list[tuple[Image.Image, str]] = []

    def spy(pictures: list[tuple[Image.Image, str]]) -> Image.Image:
        shown.extend(pictures)
        return pictures[0][0]

    monkeypatch.setattr(previews, "captioned_sheet", spy)
    write_batch("base", batch, tmp_path)
    assert [caption for _, caption in shown] == [*batch.captions]
    for (picture, _), image in zip(shown, batch.image, strict=True):
        assert np.array_equal(np.asarray(picture)[::8, ::8], image.permute(1, 2, 0))
